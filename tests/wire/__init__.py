"""The messages of the published APIs, and what they mean here."""
