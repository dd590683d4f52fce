"""Cursors: walks over lists that change meanwhile, and what is refused."""

from __future__ import annotations

import itertools
import string
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from annotation_queue import (
    AnnotationQueue,
    AnnotationQueues,
    AnnotationState,
    Direction,
    InvalidCursor,
    ItemFilter,
    ItemQuery,
    NewItem,
    QueueQuery,
    SortBy,
)
from annotation_queue.cursors import decode_cursor, encode_cursor

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.clocks import Clock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUEUE = AnnotationQueue(id="q", project_id="p", name="Triage", created_at=NOON, created_by="ann", updated_at=NOON)
BINDING = ("items", "p", "q", None, [["priority", "desc"], ["created_at", "asc"], ["id", "asc"]])
CURSOR = encode_cursor([0, 1_767_268_800_000_000, "id-000001"], BINDING)
LETTERS = string.ascii_letters + string.digits + "-_"


@pytest.fixture
def queue(queues: AnnotationQueues) -> AnnotationQueue:
    """A queue with 30 items, named by two letters."""
    queue = queues.create("queue", created_by="ann", annotations_per_item=2)
    add(queues, queue, *(one + two for one in "bdfhj" for two in "acegik"))
    return queue


def add(queues: AnnotationQueues, queue: AnnotationQueue, *calls: str) -> None:
    """Add an item for each call; its name repeats, its priority too."""
    news = (NewItem(call_id=call, call_op_name=call[:1], priority=len(call) + ord(call[-1]) % 3) for call in calls)
    queues.add_items(queue.id, news, added_by="ann")


@pytest.mark.parametrize("limit", [1, 4, 29])
@pytest.mark.parametrize(
    "sort_by",
    [(), (SortBy("call_id"),), (SortBy("call_id", Direction.DESC),), (SortBy("call_op_name"), SortBy("priority"))],
    ids=lambda sort_by: "-".join(f"{by.field} {by.direction}" for by in sort_by) or "default",
)
def test_a_walk_shows_what_stays_exactly_once_while_items_come_go_and_are_annotated(
    queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock, sort_by: tuple[SortBy, ...], limit: int
) -> None:
    before = {item.id for item in queues.query_items(queue.id).items}
    removed: set[str] = set()
    seen: list[str] = []
    query = ItemQuery(sort_by=sort_by, limit=limit)
    for step in itertools.count():
        page = queues.query_items(queue.id, query)
        seen += [item.id for item in page.items]
        if page.next_cursor is None:
            break
        clock.move(1)
        # Before the walk, behind it and at the very place where it goes on; not for ever, or it would never end.
        if step < 20:
            add(queues, queue, f"a{step}", f"e{step}x", f"z{step}")
        gone = {page.items[-1].id, *itertools.islice(sorted(before - removed - set(seen)), 1)}
        removed |= gone
        queues.remove_items(queue.id, gone)
        for item in queues.query_items(queue.id, ItemQuery(limit=3, offset=step)).items:
            queues.update_progress(item.id, f"ann-{step % 3}", AnnotationState.COMPLETED)
        query = attrs.evolve(query, cursor=page.next_cursor)
    assert len(seen) == len(set(seen))
    assert before - removed <= set(seen)
    assert len(before - removed) >= 2 or limit == 1


def test_a_walk_by_iter_items_goes_on_while_its_items_are_worked_on(
    queues: AnnotationQueues, queue: AnnotationQueue
) -> None:
    # More than one page of the walk, so that it reads again after the changes.
    add(queues, queue, *(f"n{number}" for number in range(1_200)))
    seen = []
    for item in queues.iter_items(queue.id):
        seen.append(item.id)
        if len(seen) % 100 == 0:
            queues.update_progress(item.id, "bob", AnnotationState.COMPLETED)
            queues.remove_items(queue.id, seen[-3:-1])
    assert len(seen) == len(set(seen)) == 1_230


def test_a_walk_by_iter_items_is_bounded_by_its_limit_over_several_pages(
    queues: AnnotationQueues, queue: AnnotationQueue
) -> None:
    add(queues, queue, *(f"n{number}" for number in range(1_100)))
    everything = queues.query_items(queue.id).items
    for limit, offset in ((0, 0), (1, 3), (500, 0), (501, 10), (1_000, 0), (1_130, 0), (5_000, 900)):
        walked = tuple(queues.iter_items(queue.id, ItemQuery(limit=limit, offset=offset)))
        assert walked == everything[offset:][:limit]


def test_a_walk_that_starts_at_a_cursor_goes_on_from_there(queues: AnnotationQueues, queue: AnnotationQueue) -> None:
    page = queues.query_items(queue.id, ItemQuery(limit=7))
    rest = queues.iter_items(queue.id, ItemQuery(cursor=page.next_cursor))
    assert (*page.items, *rest) == queues.query_items(queue.id).items


def test_a_cursor_stays_good_when_its_item_is_gone_and_when_the_filter_changes(
    queues: AnnotationQueues, queue: AnnotationQueue
) -> None:
    whole = queues.query_items(queue.id).items
    page = queues.query_items(queue.id, ItemQuery(limit=7))
    queues.remove_items(queue.id, [page.items[-1].id])
    only = ItemFilter(call_op_name="d")
    on = queues.query_items(queue.id, ItemQuery(cursor=page.next_cursor, filter=only)).items
    assert on == tuple(item for item in whole[7:] if item.call_op_name == "d")


def test_a_walk_can_sort_by_absent_values(queues: AnnotationQueues, queue: AnnotationQueue) -> None:
    items = queues.query_items(queue.id, ItemQuery(sort_by=[SortBy("id")])).items
    for item in items[::2]:
        queues.update_progress(item.id, "bob", AnnotationState.SKIPPED)
    query = ItemQuery(sort_by=[SortBy("annotator_user_id")], limit=4)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = queues.query_items(queue.id, attrs.evolve(query, cursor=cursor or None))
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
    assert seen == [item.id for item in (*items[::2], *items[1::2])]


@pytest.mark.parametrize("field", ["call_op_name", "call_trace_id", "call_id"])
def test_a_walk_passes_items_whose_sorted_text_is_as_long_as_text_may_be(queues: AnnotationQueues, field: str) -> None:
    queue = queues.create("queue", created_by="ann")
    for call in "abc":
        text = {"call_id": call, field: call + "😀" * (2**18 - 1)}
        queues.add_items(queue.id, [NewItem(**text)], added_by="ann")  # type: ignore[arg-type]  # three texts
    query = ItemQuery(sort_by=[SortBy(field)], limit=1)
    for call in "abc":
        page = queues.query_items(queue.id, query)
        assert [item.call_id[:1] for item in page.items] == [call]
        query = attrs.evolve(query, cursor=page.next_cursor)
    assert page.next_cursor is None


def test_a_cursor_of_another_sort_view_queue_project_or_kind_is_refused(
    make_queues: Callable[..., AnnotationQueues], queue: AnnotationQueue
) -> None:
    queues, others = make_queues(), make_queues("other")
    second = queues.create("second", created_by="ann")
    foreign = others.create("foreign", created_by="ann")
    cursor = queues.query_items(queue.id, ItemQuery(limit=1)).next_cursor
    of_bob = queues.query_items(queue.id, ItemQuery(limit=1, annotator_id="bob")).next_cursor
    of_queues = queues.query(QueueQuery(limit=1)).next_cursor
    assert None not in {cursor, of_bob, of_queues}
    refused = [
        (queues, queue, ItemQuery(cursor=cursor, sort_by=[SortBy("priority")])),
        (queues, queue, ItemQuery(cursor=cursor, sort_by=[SortBy("priority"), SortBy("created_at"), SortBy("id")])),
        (queues, queue, ItemQuery(cursor=cursor, annotator_id="bob")),
        (queues, queue, ItemQuery(cursor=of_bob)),
        (queues, queue, ItemQuery(cursor=of_bob, annotator_id="eve")),
        (queues, queue, ItemQuery(cursor=of_queues)),
        (queues, second, ItemQuery(cursor=cursor)),
        (others, foreign, ItemQuery(cursor=cursor)),
    ]
    for asked, of, query in refused:
        with pytest.raises(InvalidCursor):
            asked.query_items(of.id, query)
    # The default sort and the same one in words are one.
    words = [SortBy("priority", Direction.DESC), SortBy("created_at")]
    assert queues.query_items(queue.id, ItemQuery(cursor=cursor, sort_by=words)).items


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "====", "!!!!", "é", "😀", "a" * 1_000_000, "AQ", "\ud800", "\0", " ", "None", "0", "null", "[]"],
)
def test_what_is_no_cursor_is_refused(queues: AnnotationQueues, queue: AnnotationQueue, cursor: str) -> None:
    with pytest.raises(InvalidCursor) as refused:
        queues.query_items(queue.id, ItemQuery(cursor=cursor))
    assert refused.value.field == "cursor"


def test_a_cursor_with_one_character_changed_lost_or_doubled_is_refused(
    queues: AnnotationQueues, queue: AnnotationQueue
) -> None:
    cursor = queues.query_items(queue.id, ItemQuery(limit=1)).next_cursor
    assert cursor is not None
    for place in range(len(cursor)):
        start, old, end = cursor[:place], cursor[place], cursor[place + 1 :]
        other = LETTERS[(LETTERS.index(old) + 1) % len(LETTERS)]
        for changed in (start + other + end, start + end, start + old + cursor[place:], start, cursor[place + 1 :]):
            if changed != cursor:
                with pytest.raises(InvalidCursor):
                    queues.query_items(queue.id, ItemQuery(cursor=changed))


@settings(max_examples=3_000)
@given(
    place=st.integers(0, len(CURSOR)),
    cut=st.integers(0, 8),
    patch=st.text(st.sampled_from(LETTERS), max_size=8) | st.text(max_size=8),
)
def test_no_mutated_cursor_is_read(place: int, cut: int, patch: str) -> None:
    assert ItemQuery(cursor=CURSOR).after(QUEUE) == (0, 1_767_268_800_000_000, "id-000001")
    changed = CURSOR[:place] + patch + CURSOR[place + cut :]
    assume(changed != CURSOR)
    with pytest.raises(InvalidCursor):
        decode_cursor(changed, BINDING)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0, 0],
        [0, 0, "id", 0],
        ["0", 0, "id"],
        [0, "0", "id"],
        [0, 0, 0],
        [0, 0, None],
        [None, 0, "id"],
        [True, 0, "id"],
        [2**63, 0, "id"],
        [0, -(2**63) - 1, "id"],
        [0, 0, "a\0"],
        [0, 0, "\ud800"],
    ],
    ids=repr,
)
def test_a_forged_cursor_whose_values_no_item_can_have_is_refused(values: list[int | str | None]) -> None:
    with pytest.raises(InvalidCursor):
        ItemQuery(cursor=encode_cursor(values, BINDING)).after(QUEUE)


def test_a_cursor_is_text_of_letters_digits_dashes_and_underscores(
    queues: AnnotationQueues, queue: AnnotationQueue
) -> None:
    for annotator_id in (None, "é 😀 '"):
        cursor = queues.query_items(queue.id, ItemQuery(limit=1, annotator_id=annotator_id)).next_cursor
        assert cursor is not None
        assert set(cursor) <= set(LETTERS)
