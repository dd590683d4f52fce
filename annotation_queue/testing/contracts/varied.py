"""A queue on which answers to queries can differ."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.items import AnnotationQueue, NewItem
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState
START = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = ["é", "É", "e\u0301", "ß", "ss", "_", "10", "9", "😀", "\uffff", "%", "\\", "'", "", "a", "B", "aa", "\x01"]

PERSPECTIVES = [None, "bob", "é", "nobody"]


def varied_item(number: int) -> NewItem:
    """Make an item whose fields repeat at different lengths."""
    start = START + timedelta(microseconds=number % 5)
    return NewItem(
        call_id=f"{TEXTS[number % len(TEXTS)]}{number}",
        call_started_at=start,
        call_ended_at=None if number % 3 == 0 else start + timedelta(days=number % 4),
        call_op_name=TEXTS[number % 7],
        call_trace_id=TEXTS[-(number % 11)],
        priority=(0, 0, 5, -1, 2**63 - 1, -(2**63))[number % 6],
        payload={"number": number},
    )


class VariedQueue(Contract):
    """What the contracts of queries and of positions share."""

    @pytest.fixture
    def varied_queue(self, queues: AnnotationQueues, clock: Clock) -> AnnotationQueue:
        """A queue whose items differ in every field, with ties and absent values in each, beside another queue."""
        other = queues.create("other", created_by="ann")
        varied_queue = queues.create("queue", created_by="ann", annotations_per_item=3)
        for index, adder in enumerate(["ann", "é", "ann", "😀"]):
            clock.move(index % 2)
            news = [varied_item(6 * index + number) for number in range(6)]
            queues.add_items(varied_queue.id, news, added_by=adder)
            queues.add_items(other.id, news, added_by=adder)
        items = queues.query_items(varied_queue.id).items
        moves = itertools.cycle([COMPLETED, SKIPPED, IN_PROGRESS, COMPLETED])
        for index, item in enumerate(items):
            for annotator_id in ["bob", "é", "😀"][: index % 4]:
                clock.move(index % 2 * 0.000001)
                queues.update_progress(item.id, annotator_id, next(moves))
        queues.update_progress(items[3].id, "zoe", IN_PROGRESS)
        queues.update_progress(items[3].id, "zoe", UNSTARTED)
        queues.remove_items(varied_queue.id, [items[5].id, items[20].id])
        return varied_queue
