"""Items in PostgreSQL (extra ``postgres``)."""

from annotation_queue.repositories.postgres.repository import PostgresRepository

__all__ = ["PostgresRepository"]
