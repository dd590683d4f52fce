"""The log, read on and on, and the pace that it tells."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    InvalidCursor,
    InvalidValue,
    MemoryRepository,
    NewItem,
)
from annotation_queue.changes import throughput_of
from annotation_queue.cursors import encode_cursor
from annotation_queue.testing.clock import Clock

COMPLETED, SKIPPED = AnnotationState.COMPLETED, AnnotationState.SKIPPED


def opened() -> tuple[AnnotationQueues, Clock, str]:
    clock = Clock()
    queues = AnnotationQueues(MemoryRepository(), "project", clock=clock)
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id=str(n)) for n in range(10)], added_by="ann")
    return queues, clock, queue_id


def taken(queues: AnnotationQueues, queue_id: str, who: str) -> Claim:
    claim = queues.claim(queue_id, who)
    assert isinstance(claim, Claim)
    return claim


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_whoever_follows_the_cursors_sees_every_transition_once(limit: int) -> None:
    queues, _, queue_id = opened()
    seen: list[object] = []
    cursor: str | None = None
    for number in range(8):
        claim = taken(queues, queue_id, "ann")
        queues.complete(claim, number)
        if number % 3 == 0:
            queues.remove_items(queue_id, [claim.item.id])
        page = queues.changes(queue_id, after=cursor, limit=limit)
        seen += page.transitions
        cursor = page.cursor
    while page.transitions:
        page = queues.changes(queue_id, after=page.cursor, limit=limit)
        seen += page.transitions
    assert seen == list(queues.changes(queue_id).transitions)
    assert len(seen) == 16


def test_a_cursor_of_another_queue_or_a_forged_one_is_refused() -> None:
    queues, _, queue_id = opened()
    other = queues.create("other", created_by="ann").id
    binding = ("changes", "project", queue_id)
    forged = [encode_cursor(values, binding) for values in ([-1], [2**63], ["a"], [], [True])]
    for cursor in (queues.changes(other).cursor, "x", *forged):
        with pytest.raises(InvalidCursor) as refused:
            queues.changes(queue_id, after=cursor)
        assert refused.value.field == "after"


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": True}, {"limit": None}, {"after": 5}, {"after": b"x"}])
def test_changes_refuse_what_they_do_not_take(arguments: dict[str, Any]) -> None:
    queues, _, queue_id = opened()
    with pytest.raises(InvalidValue):
        queues.changes(queue_id, **arguments)


def test_throughput_counts_steps_to_completed_and_skipped_within_the_window_and_no_revisions() -> None:
    queues, clock, queue_id = opened()
    queues.complete(taken(queues, queue_id, "ann"), "too long ago")
    clock.move(3_600)
    for who, seconds in (("ann", 10), ("bob", 20), ("ann", 30)):
        claim = taken(queues, queue_id, who)
        clock.move(seconds)
        queues.complete(claim, "label")
        queues.complete(claim, "corrected")
    queues.skip(taken(queues, queue_id, "bob"))
    told = queues.throughput(queue_id)
    assert (told.settled, told.by_annotator, told.per_hour) == (4, {"ann": 2, "bob": 2}, 4.0)
    assert (told.median_seconds, told.left, told.eta) == (20.0, 5, timedelta(hours=1) * 5 / 4)


def test_without_a_settlement_nobody_knows_how_long_it_takes() -> None:
    told = throughput_of([], window=timedelta(hours=2), left=3, annotations_per_item=2)
    assert (told.settled, told.by_annotator, told.per_hour, told.median_seconds, told.eta) == (0, {}, 0.0, None, None)
