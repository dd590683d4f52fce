"""Queries: filters, sorts, perspectives and pages, beside a brute-force answer written here."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.sorting import QUEUE_ORDER, SORT_FIELDS, Direction, SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.varied import PERSPECTIVES, TEXTS, VariedQueue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.queues import AnnotationQueues

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState

SORTS: list[tuple[SortBy, ...]] = [
    (),
    (SortBy("annotation_state"), SortBy("call_op_name", Direction.DESC)),
    (SortBy("call_ended_at", Direction.DESC), SortBy("priority"), SortBy("call_trace_id")),
    (SortBy("annotator_user_id"), SortBy("updated_at", Direction.DESC), SortBy("id", Direction.DESC)),
    (SortBy("project_id"), SortBy("queue_id", Direction.DESC), SortBy("deleted_at"), SortBy("call_id")),
    (SortBy("priority", Direction.DESC), SortBy("added_by"), SortBy("call_started_at", Direction.DESC)),
    tuple(SortBy(field, Direction.DESC) for field in sorted(SORT_FIELDS)),
]


def compare(one: QueueItem, other: QueueItem, sort_by: Sequence[SortBy]) -> int:
    """Compare two items the slow and plain way."""
    for by in sort_by:
        mine, theirs = getattr(one, by.field), getattr(other, by.field)
        if mine == theirs:
            continue
        if mine is None or theirs is None:
            return 1 if mine is None else -1
        if isinstance(mine, AnnotationState):
            order = ["unstarted", "in_progress", "completed", "skipped"]
            mine, theirs = order.index(mine), order.index(theirs)
        elif isinstance(mine, str):
            mine, theirs = list(map(ord, mine)), list(map(ord, theirs))
        less = mine < theirs
        return -1 if less is (by.direction is Direction.ASC) else 1
    return 0


def read_each(queues: AnnotationQueues, queue: AnnotationQueue, annotator_id: str | None) -> list[QueueItem]:
    """Read every item on its own."""
    return [
        queues.get_item(item.id, annotator_id=annotator_id)
        for item in queues.query_items(queue.id, ItemQuery(sort_by=[SortBy("id")])).items
    ]


def brute_force(items: Sequence[QueueItem], query: ItemQuery) -> list[QueueItem]:
    """Answer a query, without its page, from all items."""
    seen = list(items)
    sort_by = (*(query.sort_by or QUEUE_ORDER), SortBy("id"))
    seen.sort(key=functools.cmp_to_key(functools.partial(compare, sort_by=sort_by)))
    if query.include_position:
        seen = [attrs.evolve(item, position_in_queue=place) for place, item in enumerate(seen, 1)]
    wanted = {
        name: {value} if isinstance(value := getattr(query.filter, name), str) else value
        for name in ("id", "call_id", "call_op_name", "call_trace_id", "added_by")
    }
    return [
        item
        for item in seen
        if all(values is None or getattr(item, name) in values for name, values in wanted.items())
        and (query.filter.annotation_states is None or item.annotation_state in query.filter.annotation_states)
    ]


def check(
    queues: AnnotationQueues, queue: AnnotationQueue, items: Sequence[QueueItem], query: ItemQuery
) -> list[QueueItem]:
    """Compare the answer to a query, and to every page of it, with the brute-force one."""
    expected = brute_force(items, query)
    page = queues.query_items(queue.id, attrs.evolve(query, include_total=True))
    assert list(page.items) == expected
    assert (page.total, page.next_cursor) == (len(expected), None)
    for limit in (1, 7):
        for offset in (0, 1, len(expected) - 1, len(expected), len(expected) + 1):
            part = queues.query_items(
                queue.id, attrs.evolve(query, limit=limit, offset=max(offset, 0), include_total=True)
            )
            assert list(part.items) == expected[max(offset, 0) :][:limit]
            assert part.total == len(expected)
            assert (part.next_cursor is None) == (max(offset, 0) + limit >= len(expected))
    assert list(queues.iter_items(queue.id, query)) == expected
    walked: list[QueueItem] = []
    cursor = None
    while cursor is not None or not walked:
        step = queues.query_items(queue.id, attrs.evolve(query, limit=5, cursor=cursor))
        walked += step.items
        cursor = step.next_cursor
        if cursor is None:
            break
    assert walked == expected
    return expected


def filters() -> Iterable[dict[str, Any]]:
    """List conditions, each alone and several together, that match some items, one, or none."""
    texts = {
        "call_id": ["é0", "É1", "e\u03012", "nothing", ""],
        "call_op_name": [*TEXTS[:7], "e"],
        "call_trace_id": ["", "a", "aa", "\x01", "A"],
        "added_by": ["ann", "é", "e", "😀", "", "ANN"],
        "id": ["id-000003", "id-", ""],
    }
    for name, values in texts.items():
        yield from ({name: value} for value in values)
    every_subset = (set(some) for size in range(5) for some in itertools.combinations(AnnotationState, size))
    yield from ({"annotation_states": states} for states in every_subset)
    yield {"added_by": "ann", "call_op_name": "é", "annotation_states": {COMPLETED, UNSTARTED}}
    yield {"added_by": "ann", "call_trace_id": "aa", "annotation_states": {"skipped"}}
    yield {"call_id": "é0", "call_op_name": "é", "call_trace_id": "é", "added_by": "ann", "annotation_states": None}
    yield {"call_id": "é0", "added_by": "é"}


class QueriesContract(VariedQueue):
    """Queries: filters, sorts, perspectives and pages, beside a brute-force answer written here."""

    def test_the_data_of_these_tests_has_ties_and_absent_values(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue
    ) -> None:
        items = queues.query_items(varied_queue.id).items
        constant = {"project_id", "queue_id", "deleted_at"}
        for field in SORT_FIELDS - constant - {"id", "call_id"}:
            values = [getattr(item, field) for item in items]
            assert 1 < len(set(values)) < len(values), field
        for field in ("call_ended_at", "annotator_user_id"):
            assert {None} < {getattr(item, field) for item in items}
        assert {item.annotation_state for item in items} == set(AnnotationState)

    def test_an_empty_set_of_states_matches_nothing_and_none_matches_all(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue
    ) -> None:
        assert (
            queues.query_items(varied_queue.id, ItemQuery(filter=ItemFilter(annotation_states=frozenset()))).items == ()
        )
        assert (
            len(queues.query_items(varied_queue.id, ItemQuery(filter=ItemFilter(annotation_states=None))).items) == 22
        )

    def test_every_item_can_be_found_by_its_id(self, queues: AnnotationQueues, varied_queue: AnnotationQueue) -> None:
        for item in queues.query_items(varied_queue.id).items:
            assert queues.query_items(varied_queue.id, ItemQuery(filter=ItemFilter(id=item.id))).items == (item,)
            assert queues.query_items(varied_queue.id, ItemQuery(filter=ItemFilter(call_id=item.call_id))).items == (
                item,
            )

    def test_a_perspective_shows_the_annotators_own_state(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue
    ) -> None:
        for annotator_id in ("bob", "é", "zoe", "nobody"):
            for item in queues.query_items(varied_queue.id, ItemQuery(annotator_id=annotator_id)).items:
                own = [each for each in queues.progress(item.id) if each.annotator_id == annotator_id]
                state = own[0].state if own else UNSTARTED
                assert item.annotation_state is state
                assert item.annotator_user_id == (None if state is UNSTARTED else annotator_id)

    def test_a_limit_of_nothing_shows_nothing_but_counts(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue
    ) -> None:
        page = queues.query_items(varied_queue.id, ItemQuery(limit=0, include_total=True))
        assert (page.items, page.next_cursor, page.total) == ((), None, 22)
        assert queues.query_items(varied_queue.id).total is None

    @pytest.mark.parametrize("offset", [22, 23, 2**31, 2**63 - 1])
    def test_past_the_end_there_is_an_empty_page(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue, offset: int
    ) -> None:
        page = queues.query_items(
            varied_queue.id, ItemQuery(offset=offset, limit=5, include_total=True, include_position=True)
        )
        assert (page.items, page.next_cursor, page.total) == ((), None, 22)

    def test_a_limit_beyond_the_items_shows_all(self, queues: AnnotationQueues, varied_queue: AnnotationQueue) -> None:
        page = queues.query_items(varied_queue.id, ItemQuery(limit=2**63 - 1, offset=1))
        assert len(page.items) == 21
        assert page.next_cursor is None

    @pytest.mark.parametrize("annotator_id", [None, "é"])
    def test_filters_alone_and_together_in_the_view_that_is_asked_for(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue, annotator_id: str | None
    ) -> None:
        items = read_each(queues, varied_queue, annotator_id)
        sizes = set()
        for conditions in filters():
            query = ItemQuery(
                filter=ItemFilter(**conditions),
                sort_by=[SortBy("call_op_name", Direction.DESC)],
                annotator_id=annotator_id,
                include_position=True,
            )
            sizes.add(len(check(queues, varied_queue, items, query)))
        assert {0, 1, 22} < sizes

    @pytest.mark.parametrize("annotator_id", [None, "é"])
    @pytest.mark.parametrize("direction", Direction)
    def test_items_sort_by_each_field_in_both_directions_with_absent_values_last(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue, annotator_id: str | None, direction: Direction
    ) -> None:
        items = read_each(queues, varied_queue, annotator_id)
        for field in sorted(SORT_FIELDS):
            query = ItemQuery(sort_by=[SortBy(field, direction)], include_position=True, annotator_id=annotator_id)
            values = [getattr(item, field) for item in check(queues, varied_queue, items, query)]
            assert len(values) == 22
            present = [value for value in values if value is not None]
            assert values[: len(present)] == present

    @pytest.mark.parametrize("annotator_id", PERSPECTIVES)
    def test_items_sort_by_several_fields_in_every_perspective(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue, annotator_id: str | None
    ) -> None:
        items = read_each(queues, varied_queue, annotator_id)
        for sort_by in SORTS:
            query = ItemQuery(sort_by=sort_by, annotator_id=annotator_id, include_position=True)
            check(queues, varied_queue, items, query)

    @pytest.mark.parametrize("annotator_id", PERSPECTIVES)
    def test_a_page_without_payloads_has_all_the_rest(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue, annotator_id: str | None
    ) -> None:
        query = ItemQuery(annotator_id=annotator_id, limit=7, offset=2, include_position=True, include_total=True)
        page = queues.query_items(varied_queue.id, query)
        bare = queues.query_items(varied_queue.id, attrs.evolve(query, include_payload=False))
        assert all(item.payload for item in page.items)
        assert bare.items == tuple(attrs.evolve(item, payload=None) for item in page.items)
        assert (bare.next_cursor, bare.total) == (page.next_cursor, 22)
        # The one goes on where the other stopped.
        on = queues.query_items(varied_queue.id, ItemQuery(annotator_id=annotator_id, cursor=bare.next_cursor, limit=1))
        assert all(item.payload for item in on.items)
        assert {
            item.payload is None for item in queues.iter_items(varied_queue.id, ItemQuery(include_payload=False))
        } == {True}

    @pytest.mark.parametrize("max_bytes", [1, 30, 2**63 - 1])
    def test_a_page_that_ends_by_its_bytes_has_an_item_and_goes_on(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue, max_bytes: int
    ) -> None:
        query = ItemQuery(include_position=True, include_total=True, max_bytes=max_bytes)
        whole = queues.query_items(varied_queue.id, attrs.evolve(query, max_bytes=None))
        walked: list[QueueItem] = []
        cursor: str | None = ""
        while cursor is not None:
            page = queues.query_items(varied_queue.id, attrs.evolve(query, cursor=cursor or None, limit=9))
            assert page.items
            assert len(walked) < 22
            assert page.total == 22
            walked += page.items
            cursor = page.next_cursor
        assert tuple(walked) == whole.items
        assert tuple(queues.iter_items(varied_queue.id, query)) == whole.items
        # Where no payload is read there is nothing to end a page by.
        bare = queues.query_items(varied_queue.id, attrs.evolve(query, include_payload=False))
        assert (len(bare.items), bare.next_cursor) == (22, None)
