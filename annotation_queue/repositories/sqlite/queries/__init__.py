"""Pages and positions of items in SQLite."""

from annotation_queue.repositories.sqlite.queries.selection import query_items

__all__ = ["query_items"]
