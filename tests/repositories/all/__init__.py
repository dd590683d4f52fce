"""Tests of all."""
