"""Items in an SQLite file."""

from annotation_queue.repositories.sqlite.repository import SQLiteRepository

__all__ = ["SQLiteRepository"]
