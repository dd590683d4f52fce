"""Pages from memory, beside sorting and filtering all items."""

from __future__ import annotations

from datetime import timedelta
from functools import cmp_to_key
from typing import TYPE_CHECKING

import attrs
import pytest

from annotation_queue import (
    SORT_FIELDS,
    AnnotationQueues,
    AnnotationState,
    ItemFilter,
    ItemQuery,
    NewItem,
    QueueItem,
    QueueQuery,
    SortBy,
)
from annotation_queue.repositories.memory.listings import MAX_ORDERS
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, UNSTARTED
from helpers.memory import History

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.repositories.memory import MemoryRepository
    from helpers.clocks import Clock


DEFAULT_SORT = (SortBy("priority", "desc"), SortBy("created_at"))


def _compare(sort_by: tuple[SortBy, ...]) -> Callable[[QueueItem, QueueItem], int]:
    states = list(AnnotationState)

    def compare(left: QueueItem, right: QueueItem) -> int:
        for by in (*sort_by, SortBy("id")):
            a, b = getattr(left, by.field), getattr(right, by.field)
            if a != b:
                if a is None or b is None:
                    return 1 if a is None else -1
                if isinstance(a, AnnotationState):
                    a, b = states.index(a), states.index(b)
                return -1 if (a < b) == (by.direction == "asc") else 1
        return 0

    return compare


def _assert_page(queues: AnnotationQueues, queue_id: str, query: ItemQuery, all_items: list[QueueItem]) -> None:
    """Compare a page, and the walk by cursor from it, with sorting and filtering all items of the view."""
    ordered = sorted(all_items, key=cmp_to_key(_compare(query.sort_by or DEFAULT_SORT)))
    numbered = [attrs.evolve(item, position_in_queue=place) for place, item in enumerate(ordered, 1)]
    matching = [item for item in numbered if query.filter.matches(item, finished=False)]
    if not query.include_position:
        matching = [attrs.evolve(item, position_in_queue=None) for item in matching]
    stop = None if query.limit is None else query.offset + query.limit
    page = queues.query_items(queue_id, query)
    assert list(page.items) == matching[query.offset : stop]
    assert page.total == (len(matching) if query.include_total else None)
    walked = list(page.items)
    while page.next_cursor is not None:
        page = queues.query_items(queue_id, attrs.evolve(query, offset=0, cursor=page.next_cursor))
        walked += page.items
    assert walked == (matching[query.offset :] if query.limit else walked)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_pages_show_what_sorting_and_filtering_all_items_shows(
    seed: int, repository: MemoryRepository, clock: Clock
) -> None:
    history = History(seed, repository, clock)
    rng, queues, queue_id = history.random, history.queues, history.queue_id
    queues.add_items(
        queue_id,
        [
            NewItem(
                call_id=f"c{number}",
                call_op_name=rng.choice(["é", "_", "10", "9", "rare" if number == 5 else "9"]),
                call_trace_id=f"trace-{number % 7}",
                call_ended_at=rng.choice([None, clock.now - timedelta(seconds=number % 3)]),
                priority=rng.randint(-1, 1),
                payload={"n": [number]} if number % 2 else None,
            )
            for number in range(60)
        ],
        added_by="ann",
    )
    for round_ in range(60):
        history.step()
        annotator_id = rng.choice([None, None, "ann", "nobody"])
        all_items = [queues.get_item(item.id, annotator_id=annotator_id) for item in queues.query_items(queue_id).items]
        fields = rng.sample(sorted(SORT_FIELDS), rng.randint(0, 2))
        item_filter = ItemFilter(
            id=rng.choice([None] * 9 + [all_items[0].id if all_items else "x"]),
            call_id=rng.choice([None] * 9 + ["c7", "gone"]),
            call_op_name=rng.choice([None, None, "9", "rare", "é", "none"]),
            call_trace_id=rng.choice([None, None, None, "trace-3"]),
            added_by=rng.choice([None, None, "ann", "bob"]),
            annotation_states=rng.choice([None, None, set(), {COMPLETED}, {UNSTARTED}, {UNSTARTED, SKIPPED}]),
        )
        query = ItemQuery(
            filter=item_filter if round_ % 3 else ItemFilter(annotation_states=item_filter.annotation_states),
            sort_by=[SortBy(field, rng.choice(["asc", "desc"])) for field in fields],
            limit=rng.choice([None, 0, 1, 3, 10]),
            offset=rng.choice([0, 0, 1, 20, 100]),
            include_position=rng.choice([True, False]),
            include_total=rng.choice([True, False]),
            annotator_id=annotator_id,
        )
        _assert_page(queues, queue_id, query, all_items)
        assert repository.check() == ()


def test_more_orders_than_are_kept_answer_right(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id=f"{n}", priority=-n) for n in range(9)], added_by="ann")
    sorts = [(SortBy(field, direction),) for field in sorted(SORT_FIELDS) for direction in ("asc", "desc")]
    assert len(sorts) > MAX_ORDERS
    for sort_by in sorts * 2:
        items = list(queues.query_items(queue_id).items)
        _assert_page(queues, queue_id, ItemQuery(sort_by=sort_by, include_position=True), items)
        queues.claim(queue_id, "ann")
    assert len(repository._queues[queue_id].orders._orders) == MAX_ORDERS


def test_more_selections_than_are_kept_answer_right(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id=f"{n}", priority=-n) for n in range(20)], added_by="ann")
    sorts = [(SortBy(field, direction),) for field in sorted(SORT_FIELDS) for direction in ("asc", "desc")]
    assert len(sorts) > MAX_ORDERS
    for sort_by in sorts * 2:
        items = list(queues.query_items(queue_id).items)
        wanted = ItemFilter(added_by="ann", annotation_states={UNSTARTED, IN_PROGRESS})
        query = ItemQuery(filter=wanted, sort_by=sort_by, include_total=True, include_position=True)
        _assert_page(queues, queue_id, query, items)
        claim = queues.claim(queue_id, "ann")
        if claim and len(items) % 2:
            queues.complete(claim)
    assert len(repository._queues[queue_id].orders._selections) == MAX_ORDERS
    assert repository.check() == ()


@pytest.mark.parametrize("annotator_id", [None, "ann"])
@pytest.mark.parametrize("fields", [(), ("annotation_state",), ("annotator_user_id", "call_id"), ("updated_at",)])
def test_a_selection_that_is_kept_follows_what_annotators_do(
    fields: tuple[str, ...],
    annotator_id: str | None,
    repository: MemoryRepository,
    queues: AnnotationQueues,
    clock: Clock,
) -> None:
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id
    wanted = ItemFilter(annotation_states={UNSTARTED, IN_PROGRESS, SKIPPED})
    query = ItemQuery(
        filter=wanted,
        sort_by=[SortBy(field, "desc") for field in fields],
        limit=4,
        include_total=True,
        include_position=True,
        annotator_id=annotator_id,
    )
    queues.add_items(queue_id, [NewItem(call_id=f"{n:02}") for n in range(20)], added_by="ann")
    kept = repository._queues[queue_id].orders._selections
    for round_ in range(24):
        items = [queues.get_item(item.id, annotator_id=annotator_id) for item in queues.query_items(queue_id).items]
        _assert_page(queues, queue_id, query, items)
        assert len(kept) == 1
        claim = queues.claim(queue_id, ("ann", "bob")[round_ % 2])
        assert claim
        clock.now += timedelta(seconds=1)
        (queues.complete, queues.skip, queues.release)[round_ % 3](claim)
        if round_ % 5 == 0:
            queues.remove_items(queue_id, [items[round_ % 7].id])
            queues.add_items(queue_id, [NewItem(call_id=f"new-{round_}")], added_by="ann")
        assert repository.check() == ()


@pytest.mark.parametrize("annotator_id", [None, "ann"])
@pytest.mark.parametrize("fields", [(), ("call_id",), ("annotation_state", "call_id")])
def test_a_few_among_many_are_arranged_alone_and_followed(
    fields: tuple[str, ...], annotator_id: str | None, repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    new = [NewItem(call_id=f"{n:03}", call_op_name="common" if n % 20 else "rare", priority=-n % 7) for n in range(120)]
    added = queues.add_items(queue_id, new, added_by="ann").added
    query = ItemQuery(
        filter=ItemFilter(call_op_name="rare", annotation_states={UNSTARTED, COMPLETED}),
        sort_by=[SortBy(field, "desc") for field in fields],
        include_total=True,
        include_position=True,
        annotator_id=annotator_id,
    )
    queues.update_progress(added[20].id, "ann", SKIPPED)
    queues.update_progress(added[40].id, "bob", SKIPPED)
    for number in (60, 61, 20, 100):
        items = [queues.get_item(item.id, annotator_id=annotator_id) for item in queues.query_items(queue_id).items]
        _assert_page(queues, queue_id, query, items)
        assert len(repository._queues[queue_id].orders._selections) == 1
        if number == 100:
            queues.remove_items(queue_id, [added[number].id])
        elif number != 20:
            queues.update_progress(added[number].id, "ann", IN_PROGRESS)
        assert repository.check() == ()


@pytest.mark.parametrize(("rare", "arranged"), [(1, 0), (3, 0), (4, 1), (9, 1)])
def test_a_filter_that_leaves_few_items_has_them_sorted_each_time(
    rare: int, arranged: int, repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    new = [NewItem(call_id=str(n), call_op_name="rare" if n < rare else "common") for n in range(20)]
    queues.add_items(queue_id, new, added_by="ann")
    for _ in range(2):
        page = queues.query_items(queue_id, ItemQuery(filter=ItemFilter(call_op_name="rare")))
        assert [item.call_id for item in page.items] == [str(n) for n in range(rare)]
        assert len(repository._queues[queue_id].orders._selections) == arranged


@pytest.mark.parametrize(
    ("items", "skipped", "query", "arranged"),
    [
        # The page and the one item behind it that tells of a next page are found in a glance, or are not.
        (20, {0, 4, 19}, ItemQuery(limit=1), 0),
        (20, {0, 5, 19}, ItemQuery(limit=1), 1),
        (20, {0, 4, 19}, ItemQuery(limit=2), 1),
        (20, {0, 1, 4, 19}, ItemQuery(limit=1, offset=1), 0),
        (20, {0, 1, 5, 19}, ItemQuery(limit=1, offset=1), 1),
        (20, {0, 4, 19}, ItemQuery(limit=0), 0),
        # A glance sees all that there is.
        (5, {4}, ItemQuery(limit=3), 0),
        (5, set(), ItemQuery(limit=3), 0),
        (5, {0, 1, 2, 3, 4}, ItemQuery(limit=2, offset=1), 0),
        (5, {0, 1, 2, 3, 4}, ItemQuery(limit=1, offset=3), 0),
        (6, {4}, ItemQuery(limit=3), 1),
        # It cannot count, and is not for whole answers.
        (20, {0, 4, 19}, ItemQuery(limit=1, include_total=True), 1),
        (20, {0, 4, 19}, ItemQuery(), 1),
    ],
)
def test_a_page_near_its_beginning_is_found_in_a_glance(  # noqa: PLR0917 - pytest gives them by name
    items: int,
    skipped: set[int],
    query: ItemQuery,
    arranged: int,
    repository: MemoryRepository,
    queues: AnnotationQueues,
) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    new = [NewItem(call_id=str(n), priority=-n) for n in range(items)]
    added = queues.add_items(queue_id, new, added_by="ann").added
    for number in skipped:
        queues.update_progress(added[number].id, "ann", SKIPPED)
    wanted = attrs.evolve(query, filter=ItemFilter(annotation_states={SKIPPED}), include_position=True)
    page = queues.query_items(queue_id, wanted)
    assert len(repository._queues[queue_id].orders._selections) == arranged
    stop = None if query.limit is None else query.offset + query.limit
    assert [item.call_id for item in page.items] == [str(n) for n in sorted(skipped)][query.offset : stop]
    all_items = list(queues.query_items(queue_id).items)
    _assert_page(queues, queue_id, wanted, all_items)


def test_a_walk_glances_at_the_part_where_its_page_begins(
    repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    added = queues.add_items(queue_id, [NewItem(call_id=str(n)) for n in range(14)], added_by="ann").added
    for number in (2, 4, 7, 9, 11, 13):
        queues.update_progress(added[number].id, "ann", SKIPPED)
    query = ItemQuery(limit=1, filter=ItemFilter(annotation_states={SKIPPED}), include_position=True)
    shown = []
    while True:
        page = queues.query_items(queue_id, query)
        shown += [(item.call_id, item.position_in_queue) for item in page.items]
        if page.next_cursor is None:
            break
        query = attrs.evolve(query, cursor=page.next_cursor)
    assert shown == [("2", 3), ("4", 5), ("7", 8), ("9", 10), ("11", 12), ("13", 14)]
    assert not repository._queues[queue_id].orders._selections


def test_items_that_come_and_go_are_found_by_value(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    rare = ItemQuery(filter=ItemFilter(call_op_name="rare"))
    for number in range(3):
        shown = queues.query_items(queue_id, rare).items
        assert [item.call_id for item in shown] == ([str(number - 1)] if number else [])
        queues.remove_items(queue_id, [item.id for item in shown])
        new = [
            NewItem(call_id=str(number), call_op_name="rare"),
            *(NewItem(call_id=f"{number}-{n}") for n in range(40)),
        ]
        queues.add_items(queue_id, new, added_by="ann")
        assert repository.check() == ()


def test_queues_are_found_by_name_and_walked_in_order(
    repository: MemoryRepository, queues: AnnotationQueues, clock: Clock
) -> None:
    names = ["Straße", "STRASSE 2", "other", "strasse 3"]
    made = [queues.create(name, created_by="ann") for name in names]
    AnnotationQueues(repository, "another", clock=clock).create("strasse of others", created_by="ann")
    queues.delete(made[3].id)
    query = QueueQuery(name="strasse", sort_by=[SortBy("name", "desc")], limit=1)
    page = queues.query(query)
    assert [queue.name for queue in page.queues] == ["Straße"]
    page = queues.query(attrs.evolve(query, cursor=page.next_cursor))
    assert [queue.name for queue in page.queues] == ["STRASSE 2"]
    assert page.next_cursor is None
