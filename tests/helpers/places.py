"""A queue in which items come, go and are annotated, with many ties; orders and filters to look at it in."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import count, product
from typing import TYPE_CHECKING

from annotation_queue import AnnotationState, ItemFilter, NewItem, SortBy
from helpers.pairs import START

if TYPE_CHECKING:
    from annotation_queue import AnnotationQueues

FIRST = [("created_at",), ("call_started_at",), ("call_op_name",), ("call_started_at", "created_at")]
FIELDS = [
    (),
    ("priority",),
    ("id",),
    *FIRST,
    ("call_op_name", "created_at"),
    ("updated_at",),
    ("priority", "created_at"),
]
ORDERS = [
    tuple(SortBy(field, direction) for field, direction in zip((*fields, "id"), directions, strict=False))
    for fields in FIELDS
    for directions in product(("asc", "desc"), repeat=len({*fields, "id"}) if fields else 0)
]
FILTERS = [
    ItemFilter(),
    ItemFilter(call_op_name="op-1"),
    ItemFilter(added_by="bob"),
    ItemFilter(annotation_states={AnnotationState.UNSTARTED}),
    ItemFilter(annotation_states={AnnotationState.UNSTARTED, AnnotationState.COMPLETED}),
    ItemFilter(call_op_name="op-0", annotation_states={AnnotationState.COMPLETED}),
]


def work(queues: AnnotationQueues, seed: int, queue_ids: list[str]) -> str:
    """Add, remove and annotate items: the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - data, not a secret
    queue_id = queues.create("Triage", created_by="ann").id
    queue_ids.append(queue_id)
    live: list[str] = []
    names = count()
    for _ in range(25):
        news = [
            NewItem(
                call_id=f"call-{next(names)}",
                call_op_name=f"op-{chance.randrange(3)}",
                call_started_at=START + timedelta(days=chance.randrange(4)),
                priority=chance.choice([0, 0, 1, -1]),
            )
            for _ in range(chance.choice([1, 2, 9]))
        ]
        live += [item.id for item in queues.add_items(queue_id, news, added_by=chance.choice(["ann", "bob"])).added]
        for item_id in chance.sample(live, min(2, len(live))):
            state = chance.choice([AnnotationState.COMPLETED, AnnotationState.SKIPPED, AnnotationState.IN_PROGRESS])
            if queues.get_item(item_id).annotation_state is AnnotationState.UNSTARTED:
                queues.update_progress(item_id, "carol", state)
        gone = chance.sample(live, min(chance.choice([0, 0, 3]), len(live)))
        queues.remove_items(queue_id, gone)
        live = [item_id for item_id in live if item_id not in gone]
    return queue_id
