"""The statements of SQLite's repository, by name."""

from __future__ import annotations

from typing import Final

from annotation_queue.repositories.sql.files import load_statements

SQL: Final = load_statements("sql/queues", "sqlite/statements")
