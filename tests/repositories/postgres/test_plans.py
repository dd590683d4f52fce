"""What PostgreSQL does to answer a query: it reads nothing that grows from end to end, at a size where that matters.

`HYPOTHESIS_PROFILE=nightly` fills a million items for it, which takes minutes.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from annotation_queue import AnnotationQueues, ItemFilter, ItemQuery, LabelQuery, NewItem, QueueQuery, SortBy
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.postgres.session import Session
from annotation_queue.repositories.postgres.statements import SQL, ordered, placed
from helpers.faults import NIGHTLY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annotation_queue import ItemPage
    from helpers.postgres import Database

ITEMS = 1_000_000 if NIGHTLY else 12_000
FEW = 1_000
"""How many rows and entries of indexes a call may read whose cost is that of its page."""
GROWING = {"items", "work", "progresses", "log", "item_ids", "calls"}
QUEUES = 5_000
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
        ItemQuery(
            filter=ItemFilter(**dict[str, Any]({field: value})), limit=5, include_position=True, include_total=True
        )
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

INDEXED: list[tuple[SortBy, ...]] = [
    (),
    (SortBy("created_at"),),
    (SortBy("created_at", "desc"),),
    (SortBy("call_started_at"),),
    (SortBy("call_op_name"),),
    (SortBy("call_op_name"), SortBy("created_at", "desc")),
    (SortBy("id"),),
    (SortBy("id", "desc"),),
    (SortBy("updated_at"),),
    (SortBy("updated_at", "desc"),),
]
QUEUE_ORDERS: list[tuple[SortBy, ...]] = [(), (SortBy("id"),), (SortBy("id", "desc"),)] + [
    (SortBy(field, direction), SortBy("id", of_id))
    for field, direction, of_id in product(["name", "created_at", "updated_at"], DIRECTIONS, DIRECTIONS)
]


@pytest.fixture(scope="module")
def filled(database: Database) -> Iterator[tuple[AnnotationQueues, str]]:
    schema = database.fresh()
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
        explain(self, SQL[statement], ordered(statement, values))
        return rows(self, statement, values)

    def see_composed(self: Session, text: str, values: Sequence[object], **options: bool) -> Any:  # noqa: ANN401 - as above
        explain(self, placed(text), values)
        return composed(self, text, values, **options)

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


@pytest.mark.parametrize("sort_by", INDEXED, ids=str)
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


LABELLED = 3_000
LABEL_PAGES = {
    "oldest first": LabelQuery(limit=20),
    "newest first": LabelQuery(limit=20, newest_first=True),
    "of one annotator": LabelQuery(limit=20, annotator_id="ann-1"),
    "of one who labelled little": LabelQuery(limit=20, annotator_id="eve", newest_first=True),
    "of one trace": LabelQuery(limit=20, filter=ItemFilter(call_trace_id="trace-100")),
    "of one call": LabelQuery(limit=20, filter=ItemFilter(call_id="call-100"), newest_first=True),
}
ON_PAGE = {"of one who labelled little": 5, "of one trace": 6, "of one call": 2}
"""How many labels there are, where that is fewer than a page holds."""


@pytest.fixture(scope="module")
def labelled(database: Database) -> Iterator[tuple[AnnotationQueues, str]]:
    """A queue in which a third was labelled twice and a third once."""
    schema = database.fresh()
    with database.repository(schema, timeout=600) as repository:
        queues = AnnotationQueues(repository, "project")
        queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id
        news = [NewItem(call_id=f"call-{n}", call_trace_id=f"trace-{n // 3}") for n in range(LABELLED)]
        queues.add_items(queue_id, news, added_by="ann")
        for number in range(3):
            for _ in range(5):
                claims = queues.claim_batch(queue_id, f"ann-{number}", LABELLED // 15)
                queues.complete_batch([(claim, number) for claim in claims])
        queues.complete_batch([(claim, "eve") for claim in queues.claim_batch(queue_id, "eve", 5)])
        queues.claim_batch(queue_id, "ann-1", 3)
        yield queues, queue_id
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.parametrize("name", LABEL_PAGES)
def test_a_page_of_labels_costs_what_is_on_it(
    reads: Callable[[Callable[[], object]], int], labelled: tuple[AnnotationQueues, str], name: str
) -> None:
    queues, queue_id = labelled
    query = LABEL_PAGES[name]
    for _ in range(3):
        page = queues.labels(queue_id, query)
        assert len(page.labels) == ON_PAGE.get(name, 20)
        assert reads(lambda query=query: queues.labels(queue_id, query)) < FEW  # type: ignore[misc]
        if page.next_cursor is None:
            break
        query = attrs.evolve(query, cursor=page.next_cursor)


def put_back_last(queues: AnnotationQueues) -> str:
    """Make a queue in which bob labelled some items, and what eve held of many others was put back behind that."""
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id=f"call-{n}") for n in range(FEW + 140)], added_by="ann")
    queues.complete_batch([(claim, "label") for claim in queues.claim_batch(queue_id, "bob", 40)])
    held = [claim.item.id for claim in queues.claim_batch(queue_id, "eve", FEW + 100)]
    assert queues.reset(queue_id, held, actor_id="ann") == FEW + 100
    return queue_id


def test_the_newest_labels_are_found_past_all_that_was_put_back_last(
    reads: Callable[[Callable[[], object]], int], queues: AnnotationQueues
) -> None:
    queue_id = put_back_last(queues)
    query = LabelQuery(limit=20, newest_first=True)
    assert {label.progress.annotator_id for label in queues.labels(queue_id, query).labels} == {"bob"}
    assert reads(lambda: queues.labels(queue_id, query)) < FEW


def test_labels_are_found_by_their_keys_where_the_server_last_looked_at_tables_that_had_just_been_emptied(
    reads: Callable[[Callable[[], object]], int], database: Database
) -> None:
    schema = database.fresh()
    query = LabelQuery(limit=20, newest_first=True)
    with (
        database.repository(schema) as repository,
        psycopg.connect(database.dsn, autocommit=True) as connection,
    ):
        connection.execute(f"SET search_path TO {schema}")
        queues = AnnotationQueues(repository, "project")
        for _ in range(3):
            queue_id = put_back_last(queues)
            assert reads(lambda queue_id=queue_id: queues.labels(queue_id, query)) < FEW  # type: ignore[misc]
            # It keeps what it knew of the values.
            connection.execute("ANALYZE")
            for table in ("log", "progresses", "work", "calls", "items", "item_ids"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            connection.execute("ANALYZE")
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


def test_what_follows_a_log_or_asks_for_holds_reads_no_more_than_it_gives(
    reads: Callable[[Callable[[], object]], int], labelled: tuple[AnnotationQueues, str]
) -> None:
    queues, queue_id = labelled
    page = queues.changes(queue_id, limit=LABELLED)
    assert len(page.transitions) == LABELLED
    assert reads(lambda: queues.changes(queue_id, after=page.cursor, limit=20)) < FEW
    assert len(queues.holds(queue_id, "ann-1")) == 3
    assert reads(lambda: queues.holds(queue_id, "ann-1")) < FEW
    assert queues.throughput(queue_id).settled == LABELLED + 5
    assert reads(lambda: queues.throughput(queue_id, window=timedelta(microseconds=1))) < FEW


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


@pytest.mark.parametrize("sort_by", INDEXED, ids=str)
def test_a_page_in_an_order_that_an_index_has_costs_what_is_on_it(
    reads: Callable[[Callable[[], object]], int], filled: tuple[AnnotationQueues, str], sort_by: tuple[SortBy, ...]
) -> None:
    queues, queue_id = filled
    first = queues.query_items(queue_id, ItemQuery(sort_by=sort_by, limit=9))
    queries = [ItemQuery(sort_by=sort_by, limit=50, cursor=cursor) for cursor in (None, first.next_cursor)]
    for query in [*queries, ItemQuery(sort_by=sort_by, limit=50, include_position=True, include_total=True)]:
        assert reads(lambda query=query: queues.query_items(queue_id, query)) < FEW  # type: ignore[misc]


@pytest.mark.parametrize(
    "query",
    [
        ItemQuery(filter=UNSTARTED, limit=50, include_total=True),
        ItemQuery(filter=ItemFilter(call_id="call-7"), include_total=True),
        ItemQuery(filter=ItemFilter(call_trace_id="trace-7"), include_total=True),
        ItemQuery(filter=ItemFilter(id="none"), include_position=True, include_total=True),
        ItemQuery(
            filter=ItemFilter(annotation_states=["completed"]), limit=0, include_total=True, annotator_id="ann-1"
        ),
        ItemQuery(filter=UNSTARTED, limit=0, include_total=True, annotator_id="ann-1"),
    ],
    ids=lambda query: f"{query.annotator_id} {query.filter}",
)
def test_what_an_index_or_a_counter_knows_is_not_looked_for(
    reads: Callable[[Callable[[], object]], int], filled: tuple[AnnotationQueues, str], query: ItemQuery
) -> None:
    queues, queue_id = filled
    assert reads(lambda: queues.query_items(queue_id, query)) < FEW


FLAT: list[tuple[SortBy, ...]] = [()] + [
    tuple(SortBy(field, direction) for field, direction in zip(fields, directions, strict=True))
    for fields in FIELDS
    if "updated_at" not in fields
    for directions in product(DIRECTIONS, repeat=len(fields))
]
"""The orders that are counted in blocks."""
AROUND = 30 * FEW
"""How many rows and entries a page may read that is found through blocks: of all the orders it takes those of a few blocks."""


@pytest.fixture(scope="module", params=[False, True], ids=["never analyzed", "analyzed"])
def grown(database: Database, request: pytest.FixtureRequest) -> Iterator[list[tuple[AnnotationQueues, str]]]:
    """A queue and one with four times its items, in schemas of their own that the server has looked at or not."""
    schemas, made = [], []
    with ExitStack() as stack:
        admin = stack.enter_context(psycopg.connect(database.dsn, autocommit=True))
        for size in (ITEMS // 2, 2 * ITEMS):
            schema = database.fresh()
            schemas.append(schema)
            repository = stack.enter_context(database.repository(schema, timeout=600))
            for table in sorted({*GROWING, "blocks", "counters"}):
                admin.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = off)".encode())
            with pytest.MonkeyPatch.context() as patch:
                # Adding many lets the server look at once.
                patch.setattr(Session, "analyze", lambda _self: None)
                queues = AnnotationQueues(repository, "project")
                queue_id = queues.create("queue", created_by="ann").id
                start = datetime(2026, 1, 1, tzinfo=UTC)
                news = (
                    NewItem(
                        call_id=f"call-{n}",
                        call_op_name=f"op-{n % 3}",
                        call_trace_id=f"trace-{n * 7919 % 100}",
                        call_started_at=start + timedelta(seconds=n * 7919 % size // 2),
                        priority=n % 3,
                    )
                    for n in range(size)
                )
                queues.add_items(queue_id, news, added_by="ann")
            if request.param:
                admin.execute(f"SET search_path TO {schema}".encode())
                admin.execute("ANALYZE")
            made.append((queues, queue_id))
        yield made
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for schema in schemas:
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def _pages(queues: AnnotationQueues, queue_id: str, sort_by: tuple[SortBy, ...]) -> Iterator[ItemQuery]:
    """Give pages of which each is deep in an order, or has positions that do not follow from where it begins."""
    total = queues.stats([queue_id])[0].total_items
    cursor = queues.query_items(queue_id, ItemQuery(sort_by=sort_by, limit=9, offset=total // 2)).next_cursor
    (middle,) = queues.query_items(queue_id, ItemQuery(limit=1, offset=total // 3)).items
    # Of one operation some orders have an index.
    has_index = sort_by and sort_by[0].field in {"created_at", "call_op_name", "id"}
    for chosen in (ItemFilter(), ItemFilter(call_op_name="op-1"))[: 2 if has_index else 1]:
        for offset in (total // 7, total // 4):
            yield ItemQuery(filter=chosen, sort_by=sort_by, limit=20, offset=offset)
        yield ItemQuery(filter=chosen, sort_by=sort_by, limit=20, cursor=cursor, include_position=True)
    yield ItemQuery(filter=ItemFilter(id=middle.id), sort_by=sort_by, include_position=True)


@pytest.mark.slow
@pytest.mark.parametrize("sort_by", FLAT, ids=str)
def test_a_page_deep_in_an_order_and_a_position_cost_no_more_in_a_queue_of_many_times_the_items(
    reads: Callable[[Callable[[], object]], int],
    grown: list[tuple[AnnotationQueues, str]],
    sort_by: tuple[SortBy, ...],
) -> None:
    pages: list[ItemPage] = []

    def cost(queues: AnnotationQueues, queue_id: str, query: ItemQuery) -> int:
        read = reads(lambda: pages.append(queues.query_items(queue_id, query)))
        assert len(pages[-1].items) == (query.limit or 1)
        return read

    few, many = ([cost(*each, query) for query in _pages(*each, sort_by)] for each in grown)
    for one, other in zip(few, many, strict=True):
        assert other <= 2 * one + FEW, (few, many)
        assert other < AROUND, (few, many)


@pytest.mark.slow
# Of tables that it has never looked at the server believes that next to nothing fulfils a condition.
@pytest.mark.parametrize("grown", [True], ids=["analyzed"], indirect=True)
@pytest.mark.parametrize("offset", [0, 60])
def test_a_filtered_page_in_queue_order_costs_the_items_that_it_passes_in_a_queue_of_any_size(
    reads: Callable[[Callable[[], object]], int], grown: list[tuple[AnnotationQueues, str]], offset: int
) -> None:
    for chosen in (ItemFilter(added_by="ann"), ItemFilter(annotation_states=["unstarted", "skipped"])):
        query = ItemQuery(filter=chosen, limit=20, offset=offset)
        few, many = (reads(partial(queues.query_items, queue_id, query)) for queues, queue_id in grown)
        assert many <= 2 * few + FEW, (chosen, few, many)


def test_the_position_of_an_item_costs_the_same_wherever_it_stands(
    reads: Callable[[Callable[[], object]], int], filled: tuple[AnnotationQueues, str]
) -> None:
    queues, queue_id = filled
    seen: list[int | None] = []
    pages: list[ItemPage] = []
    for place in (ITEMS // 40, ITEMS // 4, ITEMS // 2 - ITEMS // 40):
        (item,) = queues.query_items(queue_id, ItemQuery(limit=1, offset=place - 1)).items

        def look(item_id: str = item.id) -> None:
            seen.append(queues.get_item(item_id, include_position=True).position_in_queue)

        assert reads(look) < 5 * FEW
        assert seen[-1] == place
        cursor = queues.query_items(queue_id, ItemQuery(limit=20, offset=place - 21)).next_cursor
        query = ItemQuery(limit=20, cursor=cursor, include_position=True)
        assert reads(lambda query=query: pages.append(queues.query_items(queue_id, query))) < 5 * FEW  # type: ignore[misc]
        assert [item.position_in_queue for item in pages[-1].items] == [*range(place, place + 20)]


def test_claiming_completing_and_looking_at_an_item_cost_the_same_in_any_queue(
    reads: Callable[[Callable[[], object]], int], filled: tuple[AnnotationQueues, str]
) -> None:
    queues, queue_id = filled
    claims = queues.claim_batch(queue_id, "carol", 5)
    # Entries of what was claimed and completed are in the server's way until it has seen once that they are dead.
    for call in (
        lambda: claims.__add__(queues.claim_batch(queue_id, "carol", 1)),
        lambda: queues.complete(claims[0], 1),
        lambda: queues.heartbeat(claims[1]),
        lambda: queues.release(claims[1]),
        lambda: queues.skip(claims[2]),
        lambda: queues.get_item(claims[3].item.id),
        lambda: queues.history(claims[3].item.id),
        lambda: queues.progress(claims[3].item.id),
        lambda: queues.stats([queue_id]),
        lambda: queues.remove_items(queue_id, [claims[4].item.id]),
        lambda: queues.add_items(queue_id, [NewItem(call_id="one more"), NewItem(call_id="call-1")], added_by="ann"),
    ):
        assert reads(call) < FEW


@pytest.mark.slow
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_plans_that_were_kept_from_when_the_tables_were_small_are_still_good(
    reads: Callable[[Callable[[], object]], int],
    database: Database,
    is_analyzed: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    schema = database.fresh()
    with (
        database.repository(schema, max_connections=1) as repository,
        database.repository(schema) as other,
        psycopg.connect(database.dsn, autocommit=True) as admin,
    ):
        for table in sorted(GROWING):
            admin.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = off)".encode())
        queues, others = AnnotationQueues(repository, "project"), AnnotationQueues(other, "project")
        queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id

        def work() -> None:
            for end in (queues.complete, queues.skip, queues.release):
                (claim,) = queues.claim_batch(queue_id, "ann", 1)
                end(queues.heartbeat(claim))
                queues.get_item(claim.item.id)
                queues.progress(claim.item.id)
                queues.history(claim.item.id)
            queues.stats([queue_id])

        if is_analyzed:
            # As soon as the server would do it by itself.
            others.add_items(queue_id, [NewItem(call_id=f"first {n}") for n in range(51)], added_by="ann")
            admin.execute("ANALYZE")
        for number in range(8):
            others.add_items(queue_id, [NewItem(call_id=f"{number} {n}") for n in range(3)], added_by="ann")
            work()
        for number in range(6):
            # Too few at a time for anybody to look at the tables again.
            more = (NewItem(call_id=f"more {number} {n}", payload={"n": n}) for n in range(1_000))
            others.add_items(queue_id, more, added_by="ann")
        assert reads(work) < FEW
        with repository._connections.reading() as cursor:
            kept = cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE generic_plans > 1").fetchall()
        assert kept[0][0] >= 5
        assert repository.check() == ()
    with psycopg.connect(database.dsn, autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.mark.parametrize("statement", ["places", "touched_places", "live_items_by_num"])
def test_what_is_read_by_numbers_is_read_one_by_one_in_a_queue_of_which_the_server_knows_nothing(
    reads: Callable[[Callable[[], object]], int],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
) -> None:
    monkeypatch.setattr(Session, "analyze", lambda _self: None)
    schema = database.fresh()
    with database.repository(schema, max_connections=1) as repository:
        queues = AnnotationQueues(repository, "project")
        queue_id = queues.create("queue", created_by="ann").id
        queues.add_items(queue_id, [NewItem(call_id=f"{n}") for n in range(FEW)], added_by="ann")
        with Session(repository._connections.reading(), repository._cache) as session:
            num = session.num(queue_id)
            (last,) = session.rows("live_items_by_num", {"queue": num, "nums": integers([FEW])})
            assert last[0] == FEW
            values = {"queue": num, "nums": integers(range(FEW // 2, FEW // 2 + 20))}
            assert reads(lambda: session.rows(statement, values)) <= 20 * 4
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


DEEP: list[tuple[SortBy, ...]] = [
    (),
    (SortBy("call_started_at", "desc"),),
    (SortBy("call_started_at"), SortBy("created_at", "desc")),
    (SortBy("call_op_name"), SortBy("created_at", "desc")),
    (SortBy("priority", "desc"), SortBy("created_at", "desc")),
]


@pytest.mark.slow
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_a_deep_page_is_found_by_plans_that_were_kept_from_when_the_tables_were_small(
    reads: Callable[[Callable[[], object]], int],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    is_analyzed: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    # Adding many lets the server look at once.
    monkeypatch.setattr(Session, "analyze", lambda _self: None)
    schema = database.fresh()
    with (
        database.repository(schema, max_connections=1) as repository,
        database.repository(schema) as other,
        psycopg.connect(database.dsn, autocommit=True) as admin,
    ):
        for table in sorted({*GROWING, "blocks"}):
            admin.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = off)".encode())
        queues, others = AnnotationQueues(repository, "project"), AnnotationQueues(other, "project")
        queue_id = queues.create("queue", created_by="ann").id
        start = datetime(2026, 1, 1, tzinfo=UTC)

        def add(numbers: range) -> None:
            news = (
                NewItem(
                    call_id=f"{n}",
                    call_op_name=f"op-{n % 3}",
                    call_started_at=start + timedelta(seconds=n * 7919 % 10_000),
                    priority=n % 3,
                )
                for n in numbers
            )
            others.add_items(queue_id, news, added_by="ann")

        add(range(51))
        if is_analyzed:
            # As soon as the server would do it by itself.
            admin.execute("ANALYZE")
        for sort_by in DEEP * 8:
            assert len(queues.query_items(queue_id, ItemQuery(sort_by=sort_by, limit=9, offset=20)).items) == 9
        for first in range(51, 20_051, 1_000):
            add(range(first, first + 1_000))
        for sort_by in DEEP:
            query = ItemQuery(sort_by=sort_by, limit=20, offset=9_000)
            assert reads(lambda query=query: queues.query_items(queue_id, query)) < 10 * FEW  # type: ignore[misc]
        with repository._connections.reading() as cursor:
            kept = cursor.execute(
                "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%blocks AS b%' AND generic_plans > 1"
            ).fetchall()
        assert kept[0][0] >= len(DEEP)
    with psycopg.connect(database.dsn, autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.fixture(scope="module", params=[False, True], ids=["never analyzed", "analyzed"])
def many_queues(database: Database, request: pytest.FixtureRequest) -> Iterator[AnnotationQueues]:
    """Queues of which many share their name and their times, and which the server has looked at or not."""
    schema = database.fresh()
    with (
        database.repository(schema) as repository,
        psycopg.connect(database.dsn, autocommit=True) as admin,
    ):
        admin.execute(f"ALTER TABLE {schema}.queues SET (autovacuum_enabled = off)".encode())
        for project_id in ("few", "many"):
            queues = AnnotationQueues(repository, project_id)
            template = queues.create("Triage", created_by="ann", description="d" * 100)
            admin.execute(
                f"INSERT INTO {schema}.queues (id, project_id, name, search_name, description, scorer_refs, "  # noqa: S608 - a name of ours
                "annotations_per_item, skip_policy, lease, created_at, created_by, updated_at, revision) "
                "SELECT id || n, project_id, "
                "name || n %% 3, search_name || n %% 3, description, scorer_refs, annotations_per_item, skip_policy, lease, "
                f"created_at, created_by, updated_at + n %% 2, revision FROM {schema}.queues, generate_series(1, %s) AS n "
                "WHERE id = %s".encode(),
                (QUEUES if project_id == "many" else 30, template.id),
            )
        if request.param:
            admin.execute(f"ANALYZE {schema}.queues".encode())
        yield queues
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.mark.parametrize("sort_by", QUEUE_ORDERS, ids=str)
def test_a_page_of_queues_costs_what_is_on_it_however_many_there_are(
    reads: Callable[[Callable[[], object]], int], many_queues: AnnotationQueues, sort_by: tuple[SortBy, ...]
) -> None:
    for behind in (None, 10, QUEUES // 2, QUEUES - 100):
        cursor = None
        if behind is not None:
            cursor = many_queues.query(QueueQuery(sort_by=sort_by, limit=behind)).next_cursor
        query = QueueQuery(sort_by=sort_by, limit=50, cursor=cursor)
        assert len(many_queues.query(query).queues) == 50
        assert reads(lambda query=query: many_queues.query(query)) < 400  # type: ignore[misc]


@pytest.mark.parametrize("sort_by", QUEUE_ORDERS, ids=str)
def test_a_page_of_queues_is_read_without_a_sort(
    scans: Callable[[Callable[[], object]], list[tuple[str, str]]],
    many_queues: AnnotationQueues,
    monkeypatch: pytest.MonkeyPatch,
    sort_by: tuple[SortBy, ...],
) -> None:
    monkeypatch.setitem(globals(), "GROWING", {"queues"})
    cursor = many_queues.query(QueueQuery(sort_by=sort_by, limit=25)).next_cursor
    for query in (
        QueueQuery(sort_by=sort_by, limit=5),
        QueueQuery(sort_by=sort_by, limit=5, cursor=cursor),
        QueueQuery(sort_by=sort_by, limit=5, cursor=cursor, name="e2"),
    ):
        found = scans(lambda query=query: many_queues.query(query))  # type: ignore[misc]
        assert [scan for scan in found if scan[0] in {"Sort", "Incremental Sort", "Seq Scan"}] == []
