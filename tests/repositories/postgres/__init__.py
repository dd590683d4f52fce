"""Tests of `PostgresRepository` on a real server."""
