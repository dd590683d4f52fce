"""Orders that begin with what annotating changes: the same pages as in memory, read without a sort of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import psycopg
import pytest

from annotation_queue import AnnotationQueues, AnnotationState, ItemQuery, MemoryRepository, NewItem, SortBy
from annotation_queue.repositories.postgres import groups as postgres_groups
from annotation_queue.repositories.postgres.session import Session
from helpers.annotated import ALIKE, MIXED, ORDERS, annotated
from helpers.pairs import of_one_project

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

SIZES = (3_000, 12_000)
FIRST_PAGES = [
    (SortBy(first, direction), *rest)
    for first in ("annotation_state", "annotator_user_id")
    for direction in ("asc", "desc")
    for rest in ((), (SortBy("created_at", "desc"),), (SortBy("priority", "desc"), SortBy("created_at")))
    # Of an annotator there is no index in queue order, in which those of others may come before all of theirs.
    if (first, len(rest)) != ("annotator_user_id", 2)
]
FEW = 1_000
"""How many more rows and entries of indexes the greater queue may take."""


def walked(queues: AnnotationQueues, queue_id: str, query: ItemQuery) -> list[tuple[str, int | None]]:
    """Read all pages of a query."""
    found: list[tuple[str, int | None]] = []
    more: str | None = ""
    while more is not None:
        page = queues.query_items(queue_id, query)
        found += [(item.id, item.position_in_queue) for item in page.items]
        more = page.next_cursor
        query = attrs.evolve(query, cursor=more)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("few", [0, 2_000], ids=["walked", "sorted where they are few"])
@pytest.mark.parametrize("states", [MIXED, ALIKE], ids=["mixed", "alike"])
def test_walks_by_cursor_give_the_same_items_as_memory(
    repository: PostgresRepository, monkeypatch: pytest.MonkeyPatch, few: int, states: list[AnnotationState]
) -> None:
    monkeypatch.setattr(postgres_groups, "_FEW", few)
    here, there = of_one_project(repository), of_one_project(MemoryRepository())
    ours, theirs = annotated(here, 30, states)[0], annotated(there, 30, states)[0]
    for sort_by in ORDERS:
        query = ItemQuery(sort_by=sort_by, limit=7, include_position=True)
        shown = walked(here, ours, query)
        assert shown == walked(there, theirs, query), sort_by
        assert [position for _, position in shown] == list(range(1, 31))


@pytest.mark.slow
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_the_first_page_costs_no_more_in_a_queue_of_many_times_the_items(
    reads: Callable[[Callable[[], object]], int],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    is_analyzed: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    monkeypatch.setattr(Session, "analyze", lambda _self: None)
    monkeypatch.setattr(postgres_groups, "_FEW", 200)
    costs: list[list[int]] = []
    for size in SIZES:
        schema = database.fresh()
        with (
            database.repository(schema) as repository,
            psycopg.connect(database.dsn, autocommit=True) as admin,
        ):
            for table in ("items", "work", "item_ids", "calls", "progresses", "counters"):
                admin.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = off)".encode())
            queues = AnnotationQueues(repository, "project")
            queue_id = _third_completed(queues, size)
            if is_analyzed:
                admin.execute(f"SET search_path TO {schema}".encode())
                admin.execute("ANALYZE")
            costs.append([_cost(reads, queues, queue_id, sort_by) for sort_by in FIRST_PAGES])
            admin.execute(f"DROP SCHEMA {schema} CASCADE".encode())
    for few, many in zip(*costs, strict=True):
        assert many <= 2 * few + FEW, costs


def _third_completed(queues: AnnotationQueues, size: int) -> str:
    """Fill a queue of which a third, strewn over it, is completed by two, and a few items are skipped by somebody else."""
    queue_id = queues.create("queue", created_by="ann").id
    # In queue order what is claimed first is strewn over all other orders.
    news = [NewItem(call_id=f"{n}", priority={0: 2, 3: 1}.get(n % 6, 0)) for n in range(size)]
    queues.add_items(queue_id, news, added_by="ann")
    for who in ("ann", "bob"):
        queues.complete_batch([(claim, 1) for claim in queues.claim_batch(queue_id, who, size // 6)])
    for claim in queues.claim_batch(queue_id, "eve", 30):
        queues.skip(claim)
    return queue_id


def _cost(
    reads: Callable[[Callable[[], object]], int],
    queues: AnnotationQueues,
    queue_id: str,
    sort_by: tuple[SortBy, ...],
) -> int:
    query = ItemQuery(sort_by=sort_by, limit=20, include_position=True)
    # Entries of what was completed are in the server's way until it has seen once that they are dead.
    queues.query_items(queue_id, query)
    shown: list[int] = []
    read = reads(lambda: shown.append(len(queues.query_items(queue_id, query).items)))
    assert shown == [20]
    return read
