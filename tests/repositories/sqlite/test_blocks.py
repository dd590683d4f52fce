"""Pages and positions that are found through blocks of counts: small blocks, many ties, every lane."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING

import attrs
import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    ItemFilter,
    ItemQuery,
    NewItem,
    SortBy,
    SQLiteRepository,
)
from annotation_queue.repositories.sqlite import blocks as sqlite_blocks
from annotation_queue.repositories.sqlite import stretches as sqlite_stretches
from annotation_queue.repositories.sqlite.indexes import COUNTED
from annotation_queue.repositories.sqlite.queries import filters as sqlite_filters
from annotation_queue.repositories.sqlite.queries import ranks as sqlite_ranks
from annotation_queue.values import MAX_TEXT_BYTES
from helpers.pairs import stored_and_remembered
from helpers.places import FILTERS, ORDERS, work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEAR = {"ranks looked up": 1, "gaps counted": 2_000}


@contextmanager
def small_blocks(near: int) -> Iterator[None]:
    """Put two items into each block and three entries into each stretch, and look near for so many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_blocks, "SIZE", 2)
        patch.setattr(sqlite_stretches, "SIZE", 3)
        patch.setattr(sqlite_ranks, "_NEAR", near)
        # Otherwise so few items would be sorted, not walked along.
        patch.setattr(sqlite_filters, "FEW", 0)
        yield


@pytest.fixture(params=NEAR.values(), ids=[*NEAR])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[AnnotationQueues, AnnotationQueues]]:
    """Make the same project on SQLite, with blocks of two items, and in memory."""
    with small_blocks(request.param), stored_and_remembered(tmp_path / "queues.db") as made:
        yield made


@pytest.fixture(scope="module", params=NEAR.values(), ids=[*NEAR])
def walked(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[AnnotationQueues]:
    """Make a project with one queue on SQLite, with blocks of two items, once for all who only read it."""
    path = tmp_path_factory.mktemp("walked") / "queues.db"
    with small_blocks(request.param), stored_and_remembered(path) as (queues, _):
        work(queues, 5, [])
        yield queues


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_every_order_gives_the_same_pages_and_positions_as_memory(
    pair: tuple[AnnotationQueues, AnnotationQueues], seed: int
) -> None:
    queue_ids: list[str] = []
    for queues in pair:
        work(queues, seed, queue_ids)
    total = pair[1].stats(queue_ids[1:])[0].total_items
    assert total > 40
    for sort_by, chosen in product(ORDERS, FILTERS):
        for offset in (0, 1, 17, total - 1, total):
            query = ItemQuery(
                filter=chosen, sort_by=sort_by, limit=7, offset=offset, include_position=True, include_total=True
            )
            here, there = (
                queues.query_items(queue_id, query) for queues, queue_id in zip(pair, queue_ids, strict=True)
            )
            assert [(item.id, item.position_in_queue) for item in here.items] == [
                (item.id, item.position_in_queue) for item in there.items
            ], query
            assert here.total == there.total


@pytest.mark.parametrize("sort_by", ORDERS, ids=str)
def test_a_walk_by_cursor_with_positions_counts_from_one_to_the_last(
    walked: AnnotationQueues, sort_by: tuple[SortBy, ...]
) -> None:
    (queue,) = walked.query().queues
    query = ItemQuery(sort_by=sort_by, limit=4, include_position=True)
    positions = []
    while True:
        page = walked.query_items(queue.id, query)
        positions += [item.position_in_queue for item in page.items]
        if page.next_cursor is None:
            break
        query = ItemQuery(sort_by=sort_by, limit=4, include_position=True, cursor=page.next_cursor)
    assert positions == list(range(1, walked.stats([queue.id])[0].total_items + 1))


@pytest.mark.parametrize("directions", [*product(("asc", "desc"), repeat=3)], ids=" ".join)
def test_walks_in_queue_order_past_blocks_without_the_wanted_states_show_what_memory_shows(
    pair: tuple[AnnotationQueues, AnnotationQueues], directions: tuple[str, ...]
) -> None:
    queue_ids: list[str] = []
    for queues in pair:
        work(queues, 3, queue_ids)
    fields = ("priority", "created_at", "id")
    sort_by = tuple(SortBy(field, direction) for field, direction in zip(fields, directions, strict=True))
    for states in ({"completed"}, {"skipped"}, {"in_progress"}, {"unstarted"}, {"completed", "in_progress"}):
        shown: list[list[str]] = []
        for queues, queue_id in zip(pair, queue_ids, strict=True):
            query: ItemQuery | None = ItemQuery(filter=ItemFilter(annotation_states=states), sort_by=sort_by, limit=3)
            shown.append([])
            while query is not None:
                page = queues.query_items(queue_id, query)
                shown[-1] += [item.id for item in page.items]
                more = page.next_cursor
                query = None if more is None else attrs.evolve(query, cursor=more)
            assert len(shown[-1]) == len({*shown[-1]}) > 0
        places = [
            [item.id for item in queues.iter_items(queue_id)] for queues, queue_id in zip(pair, queue_ids, strict=True)
        ]
        assert [places[0].index(each) for each in shown[0]] == [places[1].index(each) for each in shown[1]], states


def test_an_emptied_queue_keeps_no_blocks_but_the_first_of_each_lane(
    pair: tuple[AnnotationQueues, AnnotationQueues], tmp_path: Path
) -> None:
    queues = pair[0]
    queue_id = work(queues, 1, [])
    queues.remove_items(queue_id, [item.id for item in queues.iter_items(queue_id)])
    assert queues.query_items(queue_id, ItemQuery(include_position=True, offset=3)).items == ()
    with SQLiteRepository(tmp_path / "queues.db") as again, again._connections.reading() as connection:
        rows = connection.execute("SELECT lane, n FROM blocks ORDER BY lane").fetchall()
    assert rows == [(lane.num, 0) for lane in COUNTED]


def test_items_that_come_back_are_counted_in_the_state_that_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_blocks, "SIZE", 1)
    repository = SQLiteRepository(tmp_path / "queues.db", synchronous="OFF")
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    news = [NewItem(call_id=f"{n}") for n in range(12)]
    ids = [item.id for item in queues.add_items(queue.id, news, added_by="ann").added]
    for item_id in ids[::2]:
        queues.update_progress(item_id, "bob", AnnotationState.COMPLETED)
    for some in (ids, ids[:5], ids[4:]):
        assert queues.remove_items(queue.id, some) == len(some)
        assert queues.restore_items(queue.id, some) == len(some)
        assert repository.check() == ()
    repository.close()


def test_items_with_the_longest_ids_are_removed_together_with_others(tmp_path: Path) -> None:
    longest = MAX_TEXT_BYTES // len("é".encode())
    made = iter(["queue", "first", "é" * longest, 'a "quoted" id', "last"])
    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project", new_id=lambda: next(made))
        queue = queues.create("queue", created_by="ann")
        added = queues.add_items(queue.id, [NewItem(call_id=f"{n}") for n in range(4)], added_by="ann").added
        assert queues.remove_items(queue.id, [item.id for item in added[1:]]) == 3
        assert [item.id for item in queues.iter_items(queue.id)] == ["first"]
        assert repository.check() == ()
        assert queues.restore_items(queue.id, [item.id for item in added]) == 3
        assert repository.check() == ()


def test_blocks_count_the_same_whether_those_of_many_keys_are_read_at_once_or_looked_for_one_by_one(
    pair: tuple[AnnotationQueues, AnnotationQueues], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_blocks, "_MANY", 1)
    queue_ids: list[str] = []
    for queues in pair:
        queue_id = work(queues, 4, queue_ids)
        ids = [item.id for item in queues.iter_items(queue_id)]
        # Items of all kinds: what they are is counted apart.
        assert len({item.annotation_state for item in queues.iter_items(queue_id)}) == 4
        assert queues.remove_items(queue_id, ids[::3]) == len(ids[::3])
        assert queues.restore_items(queue_id, ids[::6]) == len(ids[::6])
        queues.reprioritise(queue_id, {item_id: place % 5 for place, item_id in enumerate(ids)})
    here, there = (
        [item.annotation_state for item in queues.iter_items(queue_id)]
        for queues, queue_id in zip(pair, queue_ids, strict=True)
    )
    assert here == there
