"""A queue whose items are in some states, and orders that begin with what annotating changes."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING

from annotation_queue import AnnotationState, NewItem, SortBy

if TYPE_CHECKING:
    from annotation_queue import AnnotationQueues

WHO = ("ann", "bob", "carol", "Zoë", "dora")
DIRECTIONS = ("asc", "desc")
RESTS: list[tuple[str, ...]] = [
    (),
    ("id",),
    ("created_at",),
    ("priority", "created_at"),
    ("call_op_name",),
    ("call_id",),
]
ORDERS = [
    tuple(SortBy(field, direction) for field, direction in zip((first, *rest), directions, strict=True))
    for first in ("annotation_state", "annotator_user_id")
    for rest in RESTS
    for directions in product(DIRECTIONS, repeat=1 + len(rest))
]


def annotated(queues: AnnotationQueues, size: int, states: list[AnnotationState]) -> tuple[str, list[str]]:
    """Add items, each with the next state by the next annotator; what the first annotator has in progress is released."""
    chance = random.Random(size)  # noqa: S311 - data, not a secret
    queue_id = queues.create("Triage", created_by="ann", annotations_per_item=3).id
    news = [
        NewItem(call_id=f"call-{n}", call_op_name=f"op-{n % 3}", priority=chance.choice([0, 1])) for n in range(size)
    ]
    ids = [item.id for item in queues.add_items(queue_id, news, added_by="ann").added]
    for n, item_id in enumerate(ids):
        who = WHO[n % len(WHO)]
        queues.update_progress(item_id, who, states[n % len(states)])
        if who == WHO[0] and states[n % len(states)] is AnnotationState.IN_PROGRESS:
            queues.update_progress(item_id, who, AnnotationState.UNSTARTED)
    return queue_id, ids


MIXED = [AnnotationState.IN_PROGRESS, AnnotationState.COMPLETED, AnnotationState.UNSTARTED, AnnotationState.SKIPPED]
ALIKE = [AnnotationState.COMPLETED]
