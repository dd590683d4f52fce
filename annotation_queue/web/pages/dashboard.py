"""The dashboard: the queues, a queue's items, an item, the annotators, and who holds what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import iterate_in_threadpool
from starlette.responses import StreamingResponse

from annotation_queue.exports import csv_lines, json_lines, label_texts
from annotation_queue.labels import LabelQuery
from annotation_queue.query import QueueQuery
from annotation_queue.states import IN_PROGRESS, AnnotationState
from annotation_queue.web.pages.listing import COLUMNS, PAGE, Listing
from annotation_queue.web.pages.payloads import parts_of
from annotation_queue.web.pages.visits import Visit
from annotation_queue.web.requests import Denied

if TYPE_CHECKING:
    from starlette.responses import Response

_QUEUES: Final = 50
_HELD: Final = 200
_WINDOW: Final = timedelta(hours=1)
_FORMS: Final = {"jsonl": (json_lines, "application/x-ndjson"), "csv": (csv_lines, "text/csv; charset=utf-8")}
_LINES_AT_ONCE: Final = 200


def queues(visit: Visit) -> Response:
    """The queues of the project, the newest first, with how far each has come."""
    name, after = visit.text("name"), visit.text("after")
    page = visit.queues.query(QueueQuery(name=name or None, limit=_QUEUES, cursor=after or None))
    stats = visit.queues.stats([queue.id for queue in page.queues])
    return visit.render(
        "queues.html",
        rows=list(zip(page.queues, stats, strict=True)),
        name=name,
        following=page.next_cursor,
        projects=sorted(visit.session.principal.project_ids),
    )


def items(visit: Visit) -> Response:
    """A queue's items: filtered, sorted, a page of them, each with its position."""
    listing = Listing.of(dict(visit.given))
    queue_id = visit.ids["queue_id"]
    page = visit.queues.query_items(queue_id, listing.query)
    total = page.total or 0
    return visit.render(
        "items.html",
        **_head(visit),
        page=page,
        total=total,
        pages=max(1, -(-total // PAGE)),
        listing=listing,
        columns=COLUMNS,
        states=list(AnnotationState),
        removed=visit.session.removed.get(queue_id, ()),
    )


def annotators(visit: Visit) -> Response:
    """Who labels in a queue: counts, pace, and who holds what."""
    queue_id = visit.ids["queue_id"]
    query = LabelQuery(states={IN_PROGRESS}, limit=_HELD, include_payload=False, max_bytes=1 << 20)
    page = visit.queues.labels(queue_id, query)
    return visit.render("annotators.html", **_head(visit), held=page.labels, has_more=page.next_cursor is not None)


def item(visit: Visit) -> Response:
    """An item: its payload, what each annotator said, and its history."""
    head = _head(visit)
    found = visit.queues.get_item(visit.ids["item_id"], queue_id=visit.ids["queue_id"], include_position=True)
    return visit.render(
        "item.html",
        **head,
        item=found,
        parts=parts_of(found),
        progresses=[each for each in visit.queues.progress(found.id) if each.step or each.annotation is not None],
        history=list(enumerate(visit.queues.history(found.id), start=1))[::-1],
    )


def export(visit: Visit) -> Response:
    """The labels and skips of a queue as a file to keep."""
    queue = visit.queues.get(visit.ids["queue_id"])
    form = visit.ids["form"]
    if form not in _FORMS:
        raise Denied(404, "there is no such form; ask for jsonl or csv")
    lines_of, kind = _FORMS[form]
    lines = _together(lines_of(label_texts(visit.queues, queue.id)))
    # A name for any system, whatever the queue is called.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", queue.name).strip("-.")[:80] or "labels"
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingResponse(iterate_in_threadpool(lines), media_type=kind, headers=headers)


def _together(lines: Iterator[str]) -> Iterator[bytes]:
    """Send many lines at a time."""
    some: list[str] = []
    for line in lines:
        some.append(line)
        if len(some) == _LINES_AT_ONCE:
            yield "".join(some).encode()
            some.clear()
    yield "".join(some).encode()


def _head(visit: Visit) -> dict[str, Any]:
    """What stands above every page of a queue."""
    queue = visit.queues.get(visit.ids["queue_id"])
    (stats,) = visit.queues.stats([queue.id])
    return {"queue": queue, "stats": stats, "pace": visit.queues.throughput(queue.id, window=_WINDOW)}
