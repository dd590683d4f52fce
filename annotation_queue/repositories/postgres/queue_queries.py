"""Answering queries for queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annotation_queue.query import search_text
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.sql.queue_pages import QueueSource, index_of
from annotation_queue.repositories.sql.rows import queue_of

if TYPE_CHECKING:
    from annotation_queue.query import QueuePage, QueueQuery
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.orders import Fragment

_TIMES: Final = {field: f"q.{field}" for field in ("created_at", "updated_at")}
_INDEXED: Final = {"id": "left(q.id, 160)", "name": "left(q.name, 160)"}
"""What the indexes hold of texts; it sorts as the texts do if all of them are so short."""


def query_queues(session: Session, project_id: str, query: QueueQuery) -> QueuePage:
    """Answer a query; result and errors are those of `Repository.query_queues`."""
    after = query.after(project_id)
    ((has_long_ids, has_long_names),) = session.rows("has_long_queue_texts", (project_id,) * 4)
    columns = {
        **_TIMES,
        "id": "q.id" if has_long_ids else _INDEXED["id"],
        "name": "q.name" if has_long_names else _INDEXED["name"],
    }
    word = index_of(query.order()).replace("_", " ")
    wanted: list[Fragment] = [
        (f"left(q.project_id, 160) || ' {word}' = left(?, 160) || ' {word}'", (project_id,)),
        ("q.project_id = ?", (project_id,)),
        ("q.deleted_at IS NULL", ()),
    ]
    if query.name is not None:
        wanted.append(("strpos(q.search_name, ?) > 0", (search_text(query.name),)))
    nums = QueueSource("queues AS q", columns, tuple(wanted)).nums(query, after, session.composed)
    rows = session.rows("queues_by_num", (integers(nums),))
    queues = {num: queue_of(row) for num, *row in rows}
    return query.page(project_id, [queues[num] for num in nums])
