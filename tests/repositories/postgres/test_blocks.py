"""Pages and positions that are found through blocks of counts: small blocks, many ties, every index."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import AnnotationQueues, ClaimLost, ItemFilter, ItemPatch, ItemQuery, MemoryRepository, NewItem
from annotation_queue.ids import uuid7
from annotation_queue.repositories.postgres import blocks as postgres_blocks
from annotation_queue.repositories.postgres import items as postgres_items
from annotation_queue.repositories.postgres import queries as postgres_queries
from annotation_queue.repositories.postgres import scans as postgres_scans
from annotation_queue.repositories.postgres.indexes import INDEXES
from annotation_queue.repositories.sql import chunks
from helpers.pairs import of_one_project
from helpers.places import FILTERS, ORDERS, work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue import QueueItem
    from annotation_queue.repositories.postgres import PostgresRepository

NEAR = {"ranks looked up": (1, (0, 17)), "read from the first one on": (512, (1, -1))}
"""How many items to read from the first one of a page on, and the offsets to ask for; -1 for that of the last item."""


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put two items into each block, look up no more than two keys one by one, and cut all but the smallest groups."""
    monkeypatch.setattr(postgres_blocks, "SIZE", 2)
    monkeypatch.setattr(postgres_blocks, "_SOUGHT", 2)
    monkeypatch.setattr(postgres_scans, "_TIES", 1)


@pytest.fixture
def pair(
    small_blocks: None,  # noqa: ARG001 - it is before all others
    repository: PostgresRepository,
) -> tuple[AnnotationQueues, AnnotationQueues]:
    """Make the same project on the server, with blocks of two items, and in memory."""
    return of_one_project(repository), of_one_project(MemoryRepository())


def _told(items: Sequence[QueueItem]) -> list[tuple[str, int | None]]:
    return [(item.id, item.position_in_queue) for item in items]


@pytest.mark.slow
@pytest.mark.parametrize(("near", "offsets"), NEAR.values(), ids=[*NEAR])
def test_every_order_gives_the_same_pages_and_positions_as_memory(
    pair: tuple[AnnotationQueues, AnnotationQueues],
    monkeypatch: pytest.MonkeyPatch,
    near: int,
    offsets: tuple[int, ...],
) -> None:
    monkeypatch.setattr(postgres_queries, "_FIRST_LOOK", near)
    queue_ids: list[str] = []
    for queues in pair:
        work(queues, 0, queue_ids)
    total = pair[1].stats(queue_ids[1:])[0].total_items
    assert total > 40
    for sort_by, chosen in product(ORDERS, FILTERS):
        for offset in (offset % total for offset in offsets):
            query = ItemQuery(
                filter=chosen, sort_by=sort_by, limit=7, offset=offset, include_position=True, include_total=True
            )
            here, there = (
                queues.query_items(queue_id, query) for queues, queue_id in zip(pair, queue_ids, strict=True)
            )
            assert _told(here.items) == _told(there.items), query
            assert here.total == there.total


def test_what_is_removed_restored_and_given_another_priority_is_counted_where_it_stands(
    pair: tuple[AnnotationQueues, AnnotationQueues], repository: PostgresRepository
) -> None:
    queue_ids: list[str] = []
    for queues in pair:
        work(queues, 1, queue_ids)
    for number in range(4):
        for queues, queue_id in zip(pair, queue_ids, strict=True):
            ids = sorted(item.id for item in queues.iter_items(queue_id))
            gone = ids[number::3]
            queues.remove_items(queue_id, gone)
            queues.reprioritise(queue_id, {item_id: number - place % 4 for place, item_id in enumerate(ids[1::2])})
            queues.restore_items(queue_id, gone[::2])
            queues.update_items(queue_id, ItemFilter(call_op_name="op-1"), ItemPatch(priority=number))
        assert repository.check() == ()
        for offset in (0, 11, 30):
            query = ItemQuery(limit=9, offset=offset, include_position=True)
            here, there = (
                queues.query_items(queue_id, query) for queues, queue_id in zip(pair, queue_ids, strict=True)
            )
            assert _told(here.items) == _told(there.items)


@pytest.mark.parametrize("sort_by", ORDERS[::9], ids=str)
def test_a_walk_by_cursor_with_positions_counts_from_one_to_the_last(
    pair: tuple[AnnotationQueues, AnnotationQueues], sort_by: tuple[object, ...]
) -> None:
    queues = pair[0]
    queue_id = work(queues, 5, [])
    query: ItemQuery | None = ItemQuery(sort_by=sort_by, limit=20, include_position=True)  # type: ignore[arg-type]
    positions = []
    while query is not None:
        page = queues.query_items(queue_id, query)
        positions += [item.position_in_queue for item in page.items]
        more = page.next_cursor
        query = (
            None if more is None else ItemQuery(sort_by=sort_by, limit=20, include_position=True, cursor=more)  # type: ignore[arg-type]
        )
    assert positions == list(range(1, queues.stats([queue_id])[0].total_items + 1))


def test_an_emptied_queue_keeps_no_blocks_but_the_first_of_each_index(
    pair: tuple[AnnotationQueues, AnnotationQueues], repository: PostgresRepository
) -> None:
    queues = pair[0]
    queue_id = work(queues, 1, [])
    queues.remove_items(queue_id, [item.id for item in queues.iter_items(queue_id)])
    assert queues.query_items(queue_id, ItemQuery(include_position=True, offset=3)).items == ()
    with repository._connections.reading() as cursor:
        rows = cursor.execute("SELECT lane, n FROM blocks ORDER BY lane").fetchall()
    assert rows == [(index.num, 0) for index in INDEXES]


def test_a_block_that_is_cut_and_has_items_of_two_groups_is_cut_between_them(
    pair: tuple[AnnotationQueues, AnnotationQueues], repository: PostgresRepository
) -> None:
    queues = pair[0]
    queue_id = queues.create("queue", created_by="ann").id
    for number in range(8):
        news = [NewItem(call_id=f"{op} {number}", call_op_name=op) for op in ("first", "second")]
        queues.add_items(queue_id, news, added_by="ann")
    second = [*queues.iter_items(queue_id, ItemQuery(filter=ItemFilter(call_op_name="second")))]
    with repository._connections.reading() as cursor:
        rows = cursor.execute("SELECT lane, id FROM blocks WHERE op = 'second'").fetchall()
    assert (6, min(item.id for item in second)) in rows
    assert (7, min((item.created_at, item.id) for item in second)[1]) in rows
    assert repository.check() == ()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE blocks SET n = n + 1 WHERE lane = 3 AND id = ''",
        "DELETE FROM blocks WHERE lane = 6 AND id = ''",
        "DELETE FROM blocks WHERE lane = 7",
    ],
)
def test_a_wrong_count_is_found_by_check(
    small_blocks: None,  # noqa: ARG001 - as above
    make_repository: Callable[..., PostgresRepository],
    damage: str,
) -> None:
    repository = make_repository()
    work(of_one_project(repository), 2, [])
    assert repository.check() == ()
    with psycopg.connect(repository._connections._conninfo, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {repository._connections.schema}".encode())
        connection.execute(damage.encode())
    assert any("counts wrongly in block" in problem for problem in repository.check())


def _told_by(repository: PostgresRepository, query: str) -> list[tuple[object, ...]]:
    """Ask the server something, on a connection of its own."""
    with psycopg.connect(repository._connections._conninfo, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {repository._connections.schema}".encode())
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def test_ranking_anew_moves_items_in_queue_order_and_leaves_what_the_other_orders_are_read_from(
    pair: tuple[AnnotationQueues, AnnotationQueues], repository: PostgresRepository
) -> None:
    queues = pair[0]
    queue_id = work(queues, 3, [])
    stored = "SELECT ctid::text, xmin::text FROM items ORDER BY num"
    before = _told_by(repository, stored)
    ids = [item.id for item in queues.iter_items(queue_id)]
    assert queues.reprioritise(queue_id, {item_id: 100 + place for place, item_id in enumerate(ids)}) == len(ids)
    assert _told_by(repository, stored) == before
    assert [item.id for item in queues.iter_items(queue_id)] == ids[::-1]
    assert repository.check() == ()


def test_a_place_in_queue_order_that_is_not_the_items_is_found_by_check(
    small_blocks: None,  # noqa: ARG001 - as above
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository()
    work(of_one_project(repository), 2, [])
    ((num,),) = _told_by(repository, "SELECT min(num) FROM calls")
    _told_by(repository, "UPDATE calls SET priority_down = priority_down - 10 WHERE num = (SELECT min(num) FROM calls)")
    assert f"item number {num} has another id, creation or priority in work" in repository.check()


def test_items_that_are_counted_a_list_at_a_time_are_all_counted(
    pair: tuple[AnnotationQueues, AnnotationQueues], repository: PostgresRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 3)
    monkeypatch.setattr(postgres_items, "_COUNTED_AT_ONCE", 6)
    queue_ids: list[str] = []
    for queues in pair:
        work(queues, 4, queue_ids)
        queues.add_items(
            queue_ids[-1], [NewItem(call_id=f"more {n}", priority=n % 3) for n in range(20)], added_by="ann"
        )
    assert repository.check() == ()
    query = ItemQuery(limit=9, offset=17, include_position=True)
    here, there = (queues.query_items(queue_id, query) for queues, queue_id in zip(pair, queue_ids, strict=True))
    assert _told(here.items) == _told(there.items)


def _add_and_remove(queues: AnnotationQueues, queue_id: str, name: str) -> None:
    for _ in range(12):
        news = [NewItem(call_id=uuid7(), call_op_name=f"op-{n}") for n in range(5)]
        added = queues.add_items(queue_id, news, added_by=name).added
        queues.remove_items(queue_id, [item.id for item in added[::2]])


def _remove_and_restore(queues: AnnotationQueues, queue_id: str, item_ids: Sequence[str]) -> None:
    for number in range(12):
        queues.remove_items(queue_id, item_ids[number::4])
        queues.restore_items(queue_id, item_ids[number::4])


def _claim_and_release(queues: AnnotationQueues, queue_id: str) -> None:
    for _ in range(40):
        claim = queues.claim(queue_id, "bob")
        # It may be removed meanwhile.
        with suppress(ClaimLost):
            if claim:
                queues.release(claim)


@pytest.mark.slow
def test_adding_removing_moving_and_claiming_at_once_leave_every_count_right(
    small_blocks: None,  # noqa: ARG001 - as above
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository(max_connections=8)
    queues = AnnotationQueues(repository, "project")
    queue_id = queues.create("queue", created_by="ann").id
    first = queues.add_items(queue_id, [NewItem(call_id=f"first {n}") for n in range(60)], added_by="ann").added

    def move() -> None:
        for n in range(12):
            queues.reprioritise(queue_id, {item.id: n * place % 7 for place, item in enumerate(first[::3])})

    calls: list[Callable[[], None]] = [
        partial(_add_and_remove, queues, queue_id, "eve"),
        partial(_add_and_remove, queues, queue_id, "hal"),
        partial(_remove_and_restore, queues, queue_id, [item.id for item in first]),
        partial(_claim_and_release, queues, queue_id),
        move,
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()
    assert repository.check() == ()
    items = list(queues.iter_items(queue_id))
    page = queues.query_items(queue_id, ItemQuery(limit=9, offset=len(items) // 2, include_position=True))
    assert [item.id for item in page.items] == [
        item.id for item in items[len(items) // 2 : len(items) // 2 + len(page.items)]
    ]
