"""Following a queue: its cursors, and the pace that its log tells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import (
    AnnotationQueue,
    AnnotationState,
    InvalidCursor,
    InvalidQuery,
    InvalidValue,
    MemoryRepository,
    NewItem,
    Transition,
)
from annotation_queue.changes import Settlement, change_cursor, is_settlement, place_of_cursor, throughput_of
from annotation_queue.cursors import encode_cursor
from helpers.clocks import Clock
from helpers.memory import service

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState
QUEUE = AnnotationQueue(id="q", project_id="p", name="queue", created_at=NOON, created_by="ann", updated_at=NOON)
OTHER = AnnotationQueue(id="r", project_id="p", name="queue", created_at=NOON, created_by="ann", updated_at=NOON)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3))
def test_a_cursor_is_read_back_for_its_own_queue_only(place: list[int]) -> None:
    cursor = change_cursor(QUEUE, place)
    assert place_of_cursor(QUEUE, cursor) == tuple(place)
    for queue, text in ((OTHER, cursor), (QUEUE, cursor + "A"), (QUEUE, cursor[:-2]), (QUEUE, "é"), (QUEUE, "")):
        with pytest.raises(InvalidCursor, match="after: "):
            place_of_cursor(queue, text)


FORGED: list[Any] = [[], ["a"], [None], [True], [1.5], [-1], [2**63], [1, "a"], {"a": 1}, 5]


@pytest.mark.parametrize("values", FORGED)
def test_a_forged_place_in_a_log_is_no_cursor(values: Any) -> None:  # noqa: ANN401 - what must be refused
    with pytest.raises(InvalidCursor, match="after: "):
        place_of_cursor(QUEUE, encode_cursor(values, ("changes", "p", "q")))


@pytest.mark.parametrize("before", AnnotationState)
@pytest.mark.parametrize("after", AnnotationState)
def test_a_settlement_leads_from_another_state_to_completed_or_skipped(
    before: AnnotationState, after: AnnotationState
) -> None:
    step = Transition(item_id="i", annotator_id="ann", from_state=before, to_state=after, at=NOON)
    assert is_settlement(step) is (after in {COMPLETED, SKIPPED} and before is not after)


def settled(who: str, seconds: float | None, state: AnnotationState = COMPLETED) -> Settlement:
    step = Transition(item_id="i", annotator_id=who, from_state=IN_PROGRESS, to_state=state, at=NOON)
    return Settlement(step, None if seconds is None else NOON - timedelta(seconds=seconds))


def test_the_pace_counts_what_was_settled_and_times_what_was_started_and_completed() -> None:
    found = [settled("bob", 10), settled("ann", None), settled("bob", 500, SKIPPED), settled("bob", 30)]
    told = throughput_of(found, window=HOUR / 2, left=5, annotations_per_item=2)
    assert (told.settled, told.per_hour, told.left) == (4, 8.0, 5)
    assert list(told.by_annotator.items()) == [("ann", 1), ("bob", 3)]
    assert told.median_seconds == 20.0
    assert told.eta == HOUR / 2 * 10 / 4


def test_a_queue_in_which_nothing_was_settled_has_no_eta() -> None:
    told = throughput_of([], window=HOUR, left=5, annotations_per_item=1)
    assert (told.settled, told.by_annotator, told.per_hour, told.median_seconds, told.eta) == (0, {}, 0.0, None, None)


@pytest.mark.parametrize(
    ("settlements", "left", "expected"),
    [(1_000, 3_000_000, timedelta(days=3_000 * 36_500)), (1, 3_000_000, timedelta.max), (1, 2**62, timedelta.max)],
)
def test_an_eta_is_as_long_as_a_timedelta_can_be_at_most(settlements: int, left: int, expected: timedelta) -> None:
    told = throughput_of(
        [settled("ann", None)] * settlements, window=timedelta(days=36_500), left=left, annotations_per_item=1
    )
    assert told.eta == expected


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": 2**63}, "limit"),
        ({"after": 5}, "after"),
        ({"after": "x"}, "after"),
    ],
)
def test_a_page_of_changes_refuses_what_its_arguments_do_not_take(arguments: dict[str, Any], field: str) -> None:
    queues = service(MemoryRepository(), Clock())
    queue_id = queues.create("queue", created_by="ann").id
    with pytest.raises(InvalidQuery) as refused:
        queues.changes(queue_id, **arguments)
    assert refused.value.field == field


@pytest.mark.parametrize("window", [timedelta(), timedelta(-1), 60, None, timedelta.max])
def test_a_window_is_more_than_nothing(window: Any) -> None:  # noqa: ANN401 - what must be refused
    queues = service(MemoryRepository(), Clock())
    queue_id = queues.create("queue", created_by="ann").id
    with pytest.raises(InvalidValue, match="window: "):
        queues.throughput(queue_id, window=window)


@given(st.lists(st.sampled_from(["claim", "complete", "reset", "read"]), max_size=30), st.integers(1, 3))
def test_whoever_follows_the_cursors_sees_every_change_once_and_in_order(calls: list[str], limit: int) -> None:
    queues = service(MemoryRepository(), Clock())
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=9).id
    items = queues.add_items(queue_id, [NewItem(call_id=each) for each in "ab"], added_by="ann").added
    cursor, seen = None, list[Transition]()
    for call in calls:
        if call == "claim":
            queues.claim(queue_id, "bob")
        elif call == "complete":
            for claim in queues.holds(queue_id, "bob"):
                queues.complete(claim, "label")
        elif call == "reset":
            queues.reset(queue_id, [item.id for item in items], actor_id="eve")
        else:
            page = queues.changes(queue_id, after=cursor, limit=limit)
            seen += page.transitions
            cursor = page.cursor
    while (page := queues.changes(queue_id, after=cursor, limit=limit)).transitions:
        seen += page.transitions
        cursor = page.cursor
    assert tuple(seen) == queues.changes(queue_id).transitions
    assert queues.changes(queue_id, after=cursor) == page
