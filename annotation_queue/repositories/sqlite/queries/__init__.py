"""Pages of items and of queues in SQLite, and positions."""

from annotation_queue.repositories.sqlite.queries.queues import query_queues
from annotation_queue.repositories.sqlite.queries.selection import query_items

__all__ = ["query_items", "query_queues"]
