"""What PostgreSQL does to answer a query: no sequential scan of what grows, at a size where it matters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from annotation_queue import AnnotationQueues, ItemFilter, ItemQuery, NewItem, SortBy
from annotation_queue.repositories.postgres_session import Session
from annotation_queue.repositories.postgres_texts import SQL, placed
from helpers.faults import NIGHTLY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from helpers.postgres import Database

ITEMS = 1_000_000 if NIGHTLY else 12_000
GROWING = {"items", "work", "progresses", "transitions", "item_ids", "calls"}
DIRECTIONS = ("asc", "desc")
FIELDS: list[tuple[str, ...]] = [("created_at",), ("call_started_at",), ("call_op_name",), ("id",), ("updated_at",)]
FIELDS += [("call_started_at", "created_at"), ("call_op_name", "created_at"), ("priority", "created_at")]
ORDERS: list[tuple[SortBy, ...]] = [()] + [
    tuple(SortBy(field, direction) for field, direction in zip(fields, directions, strict=True))
    for fields in FIELDS
    for directions in product(DIRECTIONS, repeat=len(fields))
]
UNSTARTED = ItemFilter(annotation_states=["unstarted"])
QUERIES = [
    ItemQuery(limit=50, offset=ITEMS // 4, include_position=True),
    ItemQuery(filter=UNSTARTED, limit=50, offset=ITEMS // 20, include_position=True, include_total=True),
    ItemQuery(
        filter=ItemFilter(annotation_states=["completed"]),
        sort_by=[SortBy("updated_at", "desc")],
        limit=50,
        include_total=True,
    ),
    ItemQuery(filter=UNSTARTED, annotator_id="ann-1", limit=50, include_position=True),
    ItemQuery(filter=ItemFilter(annotation_states=["completed"]), annotator_id="ann-1", limit=50, include_total=True),
    *(
        ItemQuery(filter=ItemFilter(**{field: value}), limit=5, include_position=True, include_total=True)
        for field, value in [
            ("id", "none"),
            ("call_id", "call-7"),
            ("call_trace_id", "trace-7"),
            ("call_op_name", "op-2"),
            ("added_by", "eve"),
        ]
    ),
]
ALL = [ItemQuery(sort_by=sort_by, limit=50, include_position=True) for sort_by in ORDERS] + QUERIES


@pytest.fixture(scope="module")
def filled(database: Database) -> Iterator[tuple[AnnotationQueues, str]]:
    schema = database.take()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with database.repository(schema, timeout=1_200) as repository:
        queues = AnnotationQueues(repository, "project")
        queue_id = ""
        for name in ("ann", "eve"):
            queue_id = queues.create(name, created_by="ann").id
            news = (
                NewItem(
                    call_id=f"call-{n}",
                    call_op_name=f"op-{n % 3}",
                    call_trace_id=f"trace-{n // 3}",
                    call_started_at=start + timedelta(seconds=n * 7919 % ITEMS),
                    priority=n % 3,
                )
                for n in range(ITEMS // 2)
            )
            queues.add_items(queue_id, news, added_by=name)
        for number in range(4):
            claims = queues.claim_batch(queue_id, f"ann-{number}", 100)
            queues.complete_batch([(claim, 1) for claim in claims[:80]])
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute(f"SET search_path TO {schema}")
            connection.execute("ANALYZE")
        yield queues, queue_id
    # It would take long to empty.
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[tuple[str, str]]]:
    """Run something, and list how each growing table was read for it: the kind of scan, and the table."""
    found: list[tuple[str, str]] = []
    rows, composed = Session.rows, Session.composed

    def explain(self: Session, text: str, values: Sequence[object]) -> None:
        if not text.startswith(("SELECT", "WITH")):
            return
        cursor = self._cursor.execute(f"EXPLAIN (FORMAT JSON) {text}", values, prepare=False)
        ((plan,),) = cursor.fetchall()
        found.extend(_scans(plan[0]["Plan"] if not isinstance(plan, str) else json.loads(plan)[0]["Plan"]))

    def see_rows(self: Session, statement: str, values: Sequence[object]) -> Any:  # noqa: ANN401 - as what it wraps
        explain(self, SQL[statement], values)
        return rows(self, statement, values)

    def see_composed(self: Session, text: str, values: Sequence[object]) -> Any:  # noqa: ANN401 - as what it wraps
        explain(self, placed(text), values)
        return composed(self, text, values)

    monkeypatch.setattr(Session, "rows", see_rows)
    monkeypatch.setattr(Session, "composed", see_composed)

    def run(call: Callable[[], object]) -> list[tuple[str, str]]:
        found.clear()
        call()
        assert found
        return [*found]

    return run


def _scans(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kind, table = plan["Node Type"], plan.get("Relation Name", "")
    if (table in GROWING and kind != "ModifyTable") or kind == "Sort":
        yield kind, table
    for below in plan.get("Plans", ()):
        yield from _scans(below)


@pytest.mark.parametrize("query", ALL, ids=lambda query: f"{query.sort_by or query.filter}")
def test_a_query_reads_no_growing_table_from_end_to_end(
    scans: Callable[[Callable[[], object]], list[tuple[str, str]]],
    filled: tuple[AnnotationQueues, str],
    query: ItemQuery,
) -> None:
    queues, queue_id = filled
    found = scans(lambda: queues.query_items(queue_id, query))
    assert [scan for scan in found if "Seq" in scan[0]] == []
    cursor = queues.query_items(queue_id, ItemQuery(sort_by=query.sort_by, limit=9)).next_cursor
    walked = ItemQuery(sort_by=query.sort_by, limit=50, cursor=cursor)
    assert [scan for scan in scans(lambda: queues.query_items(queue_id, walked)) if "Seq" in scan[0]] == []


@pytest.mark.parametrize(
    "sort_by",
    [
        (),
        (SortBy("created_at"),),
        (SortBy("created_at", "desc"),),
        (SortBy("call_started_at"),),
        (SortBy("call_op_name"),),
        (SortBy("call_op_name"), SortBy("created_at", "desc")),
        (SortBy("id"),),
        (SortBy("id", "desc"),),
        (SortBy("updated_at"),),
    ],
    ids=str,
)
def test_an_order_that_an_index_has_is_read_without_a_sort(
    scans: Callable[[Callable[[], object]], list[tuple[str, str]]],
    filled: tuple[AnnotationQueues, str],
    sort_by: tuple[SortBy, ...],
) -> None:
    queues, queue_id = filled
    cursor = queues.query_items(queue_id, ItemQuery(sort_by=sort_by, limit=9)).next_cursor
    for query in (ItemQuery(sort_by=sort_by, limit=50), ItemQuery(sort_by=sort_by, limit=50, cursor=cursor)):
        found = scans(lambda query=query: queues.query_items(queue_id, query))  # type: ignore[misc]
        assert [scan for scan in found if scan[0] == "Sort"] == []


def test_claiming_completing_and_counting_read_no_growing_table_from_end_to_end(
    scans: Callable[[Callable[[], object]], list[tuple[str, str]]], filled: tuple[AnnotationQueues, str]
) -> None:
    queues, queue_id = filled

    def work() -> None:
        claims = queues.claim_batch(queue_id, "bob", 3)
        queues.complete(claims[0], 1)
        queues.release(claims[1])
        queues.add_items(queue_id, [NewItem(call_id="new"), NewItem(call_id="call-1")], added_by="ann")
        queues.remove_items(queue_id, [claims[2].item.id])
        queues.history(claims[0].item.id)
        queues.stats([queue_id])

    assert [scan for scan in scans(work) if "Seq" in scan[0]] == []
