"""An example of every entity: what frameworks and converters have to take and give."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from annotation_queue import (
    STANDARD,
    AnnotationQueues,
    AnnotationState,
    BatchReport,
    ItemFilter,
    ItemPatch,
    ItemQuery,
    ItemResult,
    LabelQuery,
    MemoryRepository,
    NewItem,
    QueueQuery,
    SlowItem,
    SortBy,
    StopReason,
    Unavailable,
    UnavailableReason,
    run_batch,
)
from annotation_queue.agreement import agreement_of
from annotation_queue.batch import Failure

if TYPE_CHECKING:
    from annotation_queue.entities import Entity


def every_entity() -> list[Entity]:
    """Make one of each, as the service gives them, with as few fields empty as can be."""
    ticks = itertools.count()
    queues = AnnotationQueues(
        MemoryRepository(), "project", clock=lambda: datetime(2026, 1, 1, 0, 0, next(ticks), 5, tzinfo=UTC)
    )
    queue = queues.create("Queue", created_by="ann", annotations_per_item=2, label_schema={"type": "object"})
    new = NewItem(call_id="call-1", display_fields=("text",), priority=-1, payload={"text": "Ä", "n": [1, 2.5, None]})
    added = queues.add_items(queue.id, [new, NewItem(call_id="call-2"), new], added_by="ann")
    queues.add_items(queue.id, [NewItem(call_id="call-3")], added_by="ann")
    for annotator in ("ann", "bob"):
        queues.complete(queues.claim_batch(queue.id, annotator, 2)[0], {"label": "good"})
    claim = queues.claim_batch(queue.id, "cat", 1)[0]
    report = run_batch(queues, queue.id, lambda _item: {"label": "bad"}, annotator_id="bot", limit=1)
    item = added.added[0]
    return [
        queue,
        new,
        item,
        added,
        claim,
        claim.ref,
        queues.progress(claim.item.id)[0],
        queues.history(claim.item.id)[0],
        queues.stats([queue.id])[0],
        queues.query(QueueQuery(limit=1)),
        queues.query_items(queue.id, ItemQuery(limit=1, include_position=True, include_total=True)),
        queues.labels(queue.id),
        queues.labels(queue.id).labels[0],
        queues.changes(queue.id),
        queues.throughput(queue.id),
        agreement_of(queues, queue.id, field="label"),
        agreement_of(queues, queue.id, field="label").pairs[0],
        report,
        *report.slowest,
        SlowItem(item_id="item", call_id="call", seconds=0.5),
        Failure("item", "call", 3, "ValueError: no"),
        ItemResult(item, "completed", {"label": "good"}),
        BatchReport(stop_reason=StopReason.DONE, failures=(Failure("item", "call", 3, "error"),), labels={"call": [1]}),
        Unavailable(reason=UnavailableReason.LEASED, retry_at=claim.expires_at),
        STANDARD,
        SortBy("id", "desc"),
        ItemPatch(priority=-1, payload=None),
        queues.purge(removed_before=datetime(2027, 1, 1, tzinfo=UTC)),
        ItemFilter(id={"item-1", "item-2"}, finished=False, updated_from=claim.expires_at, assignee="ann"),
        ItemFilter(call_id="call-1", annotation_states={AnnotationState.COMPLETED, AnnotationState.SKIPPED}),
        ItemQuery(sort_by=[SortBy("priority"), SortBy("id", "desc")], limit=5, filter=ItemFilter(added_by="ann")),
        QueueQuery(name="q", sort_by=[SortBy("name")]),
        LabelQuery(states={AnnotationState.SKIPPED}, newest_first=True, limit=1),
    ]
