"""Answering queries for queues."""

from __future__ import annotations

import json
from typing import Final

from annotation_queue.query import QueuePage, QueueQuery, search_text
from annotation_queue.repositories.sql.orders import Fragment
from annotation_queue.repositories.sql.queue_pages import QueueSource, index_of
from annotation_queue.repositories.sql.rows import queue_of
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.statements import SQL

_COLUMNS: Final = {field: f"q.{field}" for field in ("id", "name", "created_at", "updated_at")}


def query_queues(session: Session, project_id: str, query: QueueQuery) -> QueuePage:
    """Answer a query; result and errors are those of `Repository.query_queues`."""
    after = query.after(project_id)
    wanted: list[Fragment] = [("q.project_id = ?", (project_id,)), ("q.deleted_at IS NULL", ())]
    if query.name is not None:
        wanted.append(("instr(q.search_name, ?) > 0", (search_text(query.name),)))
    source = QueueSource(f"queues AS q INDEXED BY queues_{index_of(query.order())}", _COLUMNS, tuple(wanted))
    nums = source.nums(query, after, session.execute)
    rows = session.execute(SQL["queues_by_num"], (json.dumps(nums),))
    queues = {num: queue_of(row) for num, *row in rows}
    return query.page(project_id, [queues[num] for num in nums])
