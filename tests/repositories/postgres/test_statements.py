"""How many statements a call sends to the server: each is a round trip."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    ItemFilter,
    ItemQuery,
    LabelQuery,
    NewItem,
    QueueItem,
    SortBy,
)
from annotation_queue.repositories.postgres import PostgresRepository
from annotation_queue.repositories.postgres import blocks as postgres_blocks
from annotation_queue.repositories.postgres.bounded import BoundedConnection
from annotation_queue.repositories.postgres.cache import Cache, Version
from annotation_queue.repositories.postgres.rows import ChosenRow
from annotation_queue.repositories.postgres.session import Session
from annotation_queue.repositories.postgres.statements import SQL
from annotation_queue.repositories.sql.rows import ProgressRow
from helpers.clocks import Clock
from helpers.postgres_faults import see_statements
from helpers.proxies import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.postgres import Database

MANY = 64
UNSTARTED, IN_PROGRESS, COMPLETED, _ = AnnotationState


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is executed from now on, but not what begins and ends a transaction, or folds counters at times."""
    executed: list[str] = []

    def see(text: str) -> None:
        if not text.startswith(("BEGIN", "COMMIT")) and text != SQL["fold"]:
            executed.append(text)

    see_statements(monkeypatch, see)
    return executed


def claims_on(queues: AnnotationQueues, n: int) -> tuple[str, tuple[Claim, ...]]:
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(n), payload={"n": n}) for n in range(n)], added_by="ann")
    return queue.id, queues.claim_batch(queue.id, "bob", n)


def test_a_completion_is_one_read_and_one_write(queues: AnnotationQueues, statements: list[str]) -> None:
    _, claims = claims_on(queues, 2)
    for claim in claims:
        statements.clear()
        # Of a reference nothing is remembered.
        assert queues.complete(claim.ref, {"label": 1}).annotation_state == "completed"
        assert len(statements) == 2


def test_a_page_of_labels_is_read_by_one_statement_and_ends_where_it_is_full(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    queue_id, claims = claims_on(queues, 4)
    queues.complete_batch([(claim, "long" * 100) for claim in claims])
    for query, shown in (
        (LabelQuery(), 4),
        (LabelQuery(limit=3), 3),
        (LabelQuery(max_bytes=500), 2),
        (LabelQuery(max_bytes=1, newest_first=True), 1),
    ):
        statements.clear()
        page = queues.labels(queue_id, query)
        # The queue, whether it has long texts, and the page.
        assert len(statements) == 3
        assert len(page.labels) == shown
        assert (page.next_cursor is None) == (shown == 4)
        walked = [label.item.call_id for label in queues.iter_labels(queue_id, query)]
        assert sorted(walked) == ["0", "1", "2", "3"][: query.limit]


def test_what_this_process_claimed_by_one_statement_is_completed_by_one(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    queue_id, _ = claims_on(queues, 1)
    queues.add_items(queue_id, [NewItem(call_id=f"more {n}") for n in range(4)], added_by="ann")
    ends: list[Callable[[Claim], object]] = [lambda claim: queues.complete(claim, 1), queues.skip, queues.heartbeat]
    for end in ends:
        claim = queues.claim(queue_id, "bob")
        assert isinstance(claim, Claim)
        statements.clear()
        end(claim)
        assert len(statements) == 1
    # What somebody else changed meanwhile is read.
    claim = queues.claim(queue_id, "bob")
    assert isinstance(claim, Claim)
    queues.update_progress(claim.item.id, "eve", COMPLETED, annotation=2)
    assert queues.complete(claim, 3).annotation_state == "completed"
    assert [each.annotation for each in queues.progress(claim.item.id)] == [3, 2]


def test_a_direct_update_is_one_read_and_one_write(queues: AnnotationQueues, statements: list[str]) -> None:
    _, (claim,) = claims_on(queues, 1)
    statements.clear()
    assert queues.update_progress(claim.item.id, "bob", COMPLETED, annotation=1).payload == {"n": 0}
    assert len(statements) == 2


def test_completing_many_claims_takes_no_more_statements_than_completing_one(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    _, claims = claims_on(queues, MANY)
    statements.clear()
    done = queues.complete_batch([(claim.ref, {"label": 1}) for claim in claims])
    assert all(isinstance(item, QueueItem) for item in done)
    assert len(statements) == 2


def test_what_this_process_claimed_together_it_completes_by_one_statement(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    queue_id, _ = claims_on(queues, 1)
    queues.add_items(queue_id, [NewItem(call_id=f"more {n}", payload={"n": n}) for n in range(MANY)], added_by="ann")
    statements.clear()
    claims = queues.claim_batch(queue_id, "bob", MANY)
    assert len(claims) == MANY
    assert len(statements) == 1
    done = queues.complete_batch([(claim, {"label": claim.item.call_id}) for claim in claims])
    assert len(statements) == 2
    assert done == tuple(queues.get_item(claim.item.id, annotator_id="bob") for claim in claims)
    assert [queues.progress(claim.item.id)[0].annotation for claim in claims] == [
        {"label": claim.item.call_id} for claim in claims
    ]


def test_of_claims_completed_together_what_others_changed_is_read_and_what_was_lost_is_told(
    queues: AnnotationQueues,
) -> None:
    _, (first, changed, lost, removed) = claims_on(queues, 4)
    queues.update_progress(changed.item.id, "eve", COMPLETED, annotation="eve's")
    queues.update_progress(lost.item.id, "bob", UNSTARTED, actor_id="eve", override=True)
    queues.remove_items(removed.item.queue_id, [removed.item.id])
    done = queues.complete_batch([(claim, "bob's") for claim in (first, changed, lost, removed)])
    assert [type(each) for each in done] == [QueueItem, QueueItem, ClaimLost, ClaimLost]
    assert [each.annotation for each in queues.progress(first.item.id)] == ["bob's"]
    assert [each.annotation for each in queues.progress(changed.item.id)] == ["bob's", "eve's"]
    assert [each.state for each in queues.progress(lost.item.id)] == [UNSTARTED]


def test_texts_of_any_kind_are_stored_together_as_they_are_one_by_one(queues: AnnotationQueues) -> None:
    strange = ["", "NULL", " a ", '"', "\\", '\\"', "{,}", "a,b", "'", "é\n\t\x01", "\U0010ffff"]
    _, claims = claims_on(queues, len(strange))
    queues.complete_batch(list(zip(claims, strange, strict=True)))
    assert [queues.progress(claim.item.id)[0].annotation for claim in claims] == strange
    _, claims = claims_on(queues, len(strange))
    for claim, reason in zip(claims, strange, strict=True):
        queues.release(claim, reason or None)
        assert queues.history(claim.item.id)[-1].reason == (reason or None)


def test_reading_items_and_records_is_one_statement(
    queues: AnnotationQueues, repository: PostgresRepository, statements: list[str]
) -> None:
    queue_id, claims = claims_on(queues, MANY)
    queues.complete_batch([(claim, {"label": claim.item.call_id}) for claim in claims])
    ids = [claim.item.id for claim in claims]
    for queue in (queue_id, None):
        statements.clear()
        records = repository.get_records("project", [*ids, "none"], queue, with_items=True, labels_of=None)
        assert len(statements) == 1
        assert records.keys() == {*ids}
        for claim in claims:
            record = records[claim.item.id]
            assert record.item is not None
            assert record.item.payload == claim.item.payload
            assert [each.annotation for each in record.progresses] == [{"label": claim.item.call_id}]
        statements.clear()
        assert queues.get_item(ids[0], queue_id=queue).id == ids[0]
        assert len(statements) == 1


@pytest.mark.parametrize(
    ("sort_by", "most"),
    [
        # The queue, whether it has long texts, the item at the offset, the numbers of the page, and its items.
        (("created_at desc", "id desc"), 5),
        # Where the item stands in its group.
        (("call_started_at desc", "created_at desc"), 6),
        (("call_started_at asc", "created_at desc"), 7),
        # Where the group begins and ends.
        (("call_op_name asc", "created_at desc"), 8),
        (("priority desc", "created_at desc"), 8),
    ],
)
def test_a_page_deep_in_an_order_of_several_directions_takes_few_statements(
    queues: AnnotationQueues,
    statements: list[str],
    monkeypatch: pytest.MonkeyPatch,
    sort_by: tuple[str, ...],
    most: int,
) -> None:
    monkeypatch.setattr(postgres_blocks, "SIZE", 32)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    queue_id = queues.create("queue", created_by="ann").id
    for first in range(0, 400, 10):
        news = [
            NewItem(
                call_id=f"{n}",
                call_op_name=f"op-{n % 2}",
                call_started_at=start + timedelta(seconds=n * 7919 % 100),
                priority=n % 2,
            )
            for n in range(first, first + 10)
        ]
        queues.add_items(queue_id, news, added_by="ann")
    order = tuple(SortBy(*field.split()) for field in sort_by)
    statements.clear()
    page = queues.query_items(queue_id, ItemQuery(sort_by=order, limit=50, offset=200, include_position=True))
    assert [item.position_in_queue for item in page.items] == [*range(201, 251)]
    assert len(statements) <= most


def test_what_nobody_touched_is_claimed_by_one_statement(queues: AnnotationQueues, statements: list[str]) -> None:
    queue_id, _ = claims_on(queues, 1)
    queues.add_items(queue_id, [NewItem(call_id=f"more {n}") for n in range(2)], added_by="ann")
    for _ in range(2):
        statements.clear()
        assert queues.claim(queue_id, "bob")
        assert len(statements) == 1


def test_a_claim_begins_where_the_last_ones_began_until_something_is_opened_and_the_place_is_looked_for_now_and_then(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    queue_id, _ = claims_on(queues, 1)
    queues.add_items(queue_id, [NewItem(call_id=f"more {n}") for n in range(50)], added_by="ann")
    names = {SQL[name]: name for name in ("claim_one_untouched", "claim_one_from_mark")}

    def claimed() -> tuple[str, list[str]]:
        statements.clear()
        claim = queues.claim(queue_id, "bob")
        assert isinstance(claim, Claim)
        return claim.item.call_id, [names.get(text, "another") for text in statements]

    looked = [f"more {n}" for n in range(20) if claimed() == (f"more {n}", ["claim_one_untouched"])]
    assert looked == ["more 0", "more 1", "more 10", "more 19"]
    # What is opened in front of the place is found, and the statement that begins there finds out that it is no good.
    queues.add_items(queue_id, [NewItem(call_id="urgent", priority=9)], added_by="ann")
    assert claimed() == ("urgent", ["claim_one_from_mark", "claim_one_untouched"])
    assert [claimed() for _ in range(2)] == [("more 20", ["claim_one_untouched"]), ("more 21", ["claim_one_from_mark"])]
    # Behind a claim of many items it is looked for at once.
    assert len(queues.claim_batch(queue_id, "bob", 4)) == 4
    assert [claimed() for _ in range(2)] == [("more 26", ["claim_one_untouched"]), ("more 27", ["claim_one_from_mark"])]
    # What is behind it is claimed from there, though somebody settles it meanwhile.
    queues.update_progress(
        queues.query_items(queue_id, ItemQuery(filter=ItemFilter(call_id="more 28"))).items[0].id, "eve", COMPLETED
    )
    assert claimed() == ("more 29", ["claim_one_from_mark"])
    # What was given back is found, too.
    (held, *_) = queues.holds(queue_id, "bob")
    queues.release(held)
    assert claimed()[0] == held.item.call_id


@pytest.mark.parametrize("annotations_per_item", [1, 2])
def test_what_somebody_was_at_is_claimed_by_one_read_and_one_write(
    repository: PostgresRepository, statements: list[str], annotations_per_item: int
) -> None:
    clock = Clock()
    queues = AnnotationQueues(repository, "project", clock=clock)
    queue = queues.create("queue", created_by="ann", annotations_per_item=annotations_per_item)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(8)], added_by="ann")
    done = queues.claim_batch(queue.id, "eve", 4)
    if annotations_per_item == 2:
        # Eve is through with them, and bob may have them as well.
        queues.complete_batch([(claim, 1) for claim in done])
    clock.move(3_600)
    counts: list[int] = []
    for number in range(8):
        statements.clear()
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        assert claim.item.call_id == str(number)
        counts.append(len(statements))
        statements.clear()
        queues.complete(claim, 1)
        assert len(statements) == 1
    # Beside BEGIN and COMMIT; what is good for items that nobody touched is tried once, and again behind them.
    assert counts == [3, 2, 2, 2, 2, 1, 1, 1]
    assert queues.stats([queue.id])[0].by_annotator["bob"] == {COMPLETED: 8}


@pytest.mark.parametrize("annotations_per_item", [1, 2])
def test_what_was_read_of_an_item_before_it_was_locked_is_read_again(
    repository: PostgresRepository, monkeypatch: pytest.MonkeyPatch, annotations_per_item: int
) -> None:
    clock = Clock()
    queues = AnnotationQueues(repository, "project", clock=clock)
    queue = queues.create("queue", created_by="ann", annotations_per_item=annotations_per_item)
    item = queues.add_items(queue.id, [NewItem(call_id="call")], added_by="ann").added[0]
    queues.claim(queue.id, "bob")
    clock.move(3_600)
    locked: list[str] = []
    rows = Session.rows

    def as_it_was(session: Session, statement: str, values: Any) -> Any:  # noqa: ANN401 - as the method
        found = rows(session, statement, values)
        if not statement.startswith("lock_claimable"):
            return found
        locked.append(statement)
        # Somebody was faster by a moment: it saw the item when nobody had been there, and locked it when bob had.
        seen = len(Version._fields) + ChosenRow._fields.index("seen")
        first = len(Version._fields) + len(ChosenRow._fields)
        (row,) = found
        return [(*row[:seen], 0, None, *[None] * len(ProgressRow._fields), *row[first + len(ProgressRow._fields) :])]

    monkeypatch.setattr(Session, "rows", as_it_was)
    claim = queues.claim(queue.id, "bob")
    assert isinstance(claim, Claim)
    assert (claim.item.id, claim.token) == (item.id, 2)
    assert locked == ["lock_claimable" if annotations_per_item == 1 else "lock_claimable_from_mark"]
    assert [each.to_state for each in queues.history(item.id)] == [IN_PROGRESS, UNSTARTED, IN_PROGRESS]


def test_items_are_removed_by_the_thousand_in_one_statement(queues: AnnotationQueues, statements: list[str]) -> None:
    queue = queues.create("queue", created_by="ann", annotations_per_item=2)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(2_100)], added_by="ann")
    for annotator_id, n in (("bob", 9), ("eve", 5)):
        for claim in queues.claim_batch(queue.id, annotator_id, n)[::2]:
            queues.complete(claim, 1)
    ids = [item.id for item in queues.query_items(queue.id).items]
    before = queues.stats([queue.id])[0]
    statements.clear()
    assert queues.remove_items(queue.id, ids[3:]) == 2_097
    # The queue, and the items to be locked; of each of two lists the places, the items, and what blocks count of them.
    assert len(statements) <= 2 + 2 * 6
    left = queues.stats([queue.id])[0]
    assert (left.total_items, left.finished_items) == (3, 2)
    assert before.by_annotator["bob"] == {COMPLETED: 5, IN_PROGRESS: 4}
    assert left.by_annotator["bob"] == {COMPLETED: 2, IN_PROGRESS: 1}


def test_a_policy_change_costs_as_many_statements_with_many_holds_as_with_few(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    counts = []
    for n in (3, 300):
        queue = queues.create("queue", created_by="ann", annotations_per_item=1)
        queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(n)], added_by="ann")
        queues.claim_batch(queue.id, "bob", n)
        statements.clear()
        queues.update(queue.id, annotations_per_item=2)
        counts.append(len(statements))
        assert len(queues.claim_batch(queue.id, "eve", 1_000)) == n
    assert counts[0] == counts[1] <= 10


def test_who_adds_slowly_keeps_nobody_from_adding(queues: AnnotationQueues) -> None:
    queue = queues.create("queue", created_by="ann")

    def slowly() -> Iterator[NewItem]:
        for number in range(2_500):
            yield NewItem(call_id=str(number))
            if number == 2_200:
                # More than one list of items was read by now.
                assert len(queues.add_items(queue.id, [NewItem(call_id="meanwhile")], added_by="eve").added) == 1
                assert queues.update(queue.id, annotations_per_item=2).annotations_per_item == 2
                assert queues.claim(queue.id, "bob")

    assert len(queues.add_items(queue.id, slowly(), added_by="ann").added) == 2_500


def test_the_driver_sends_statements_without_reading_them(
    queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those of more than 4,096 characters it would read anew for each call.
    def refuse(*_: object) -> None:
        pytest.fail("a statement is read for placeholders")

    monkeypatch.setattr("psycopg._queries._query2pg", refuse)
    monkeypatch.setattr("psycopg._queries._query2pg_nocache", refuse)
    _, (claim,) = claims_on(queues, 1)
    queues.complete(claim, 1)
    assert queues.get_item(claim.item.id).annotation_state == "completed"


@pytest.mark.parametrize("name", SQL)
def test_the_parameters_of_a_statement_are_numbered_without_a_gap(name: str) -> None:
    numbers = {int(number) for number in re.findall(r"\$(\d+)", SQL[name])}
    assert numbers == set(range(1, len(numbers) + 1))
    assert not re.search(r"[?%](?! 64)|(?<!:):\w", SQL[name])


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever is sent to the server from now on and waited for: what begins and ends transactions, too, but no folds."""
    waited: list[str] = []
    wait = BoundedConnection.wait

    def see(connection: BoundedConnection, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as what it wraps
        waited.append("")
        return wait(connection, *args, **options)

    monkeypatch.setattr(BoundedConnection, "wait", see)
    monkeypatch.setattr(Cache, "counts_are_due", lambda *_: False)
    return waited


@pytest.mark.parametrize(
    ("behind", "of_claim", "of_completion"), [("nothing", 1, 1), ("a pooler", 3, 3), ("the caller's pool", 3, 3)]
)
def test_a_claim_and_a_completion_are_a_round_trip_each_on_a_connection_of_ours(  # noqa: PLR0917 - pytest gives them by name
    database: Database,
    make_repository: Callable[..., PostgresRepository],
    round_trips: list[str],
    behind: str,
    of_claim: int,
    of_completion: int,
) -> None:
    proxy = Proxy(database.dsn)
    proxy.renumbers = behind == "a pooler"
    dsn = psycopg.conninfo.make_conninfo(database.dsn, host=str(proxy.folder))
    schema = make_repository()._connections.schema
    options: dict[str, Any] = {"pool": database.pool(schema)} if behind == "the caller's pool" else {}
    try:
        with PostgresRepository(dsn, schema=schema, timeout=20, **options) as repository:
            queues = AnnotationQueues(repository, "project")
            queue_id, _ = claims_on(queues, 1)
            queues.add_items(queue_id, [NewItem(call_id=f"more {n}") for n in range(20)], added_by="ann")
            for number in range(20):
                round_trips.clear()
                claim = queues.claim(queue_id, "bob")
                assert isinstance(claim, Claim)
                claimed = len(round_trips)
                queues.complete(claim, number)
                # At first statements are prepared.
                if number > 10:
                    assert claimed == of_claim
                    assert len(round_trips) - claimed == of_completion
    finally:
        proxy.close()


def test_what_was_prepared_is_prepared_again_after_the_driver_has_dropped_it(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    with make_repository()._connections.one_statement() as cursor:
        connection = cursor.connection
        assert isinstance(connection, BoundedConnection)

        def ask(name: str) -> int:
            ((found,),) = connection.ask(name, b"SELECT $1::int8", [len(name)])
            return int(found)

        assert (ask("first"), ask("second")) == (5, 6)
        cursor.execute("DEALLOCATE ALL")
        # Another one than before comes between.
        assert (ask("other"), ask("second"), ask("other"), ask("first"), ask("second")) == (5, 6, 5, 5, 6)
        # As if whoever prepared it had been interrupted then.
        connection.named.discard("first")
        assert ask("first") == 5


def test_a_text_with_nul_is_refused_and_not_cut_short(make_repository: Callable[..., PostgresRepository]) -> None:
    with make_repository()._connections.one_statement() as cursor:
        connection = cursor.connection
        assert isinstance(connection, BoundedConnection)
        with pytest.raises(psycopg.DataError, match="NUL"):
            connection.ask("texts", b"SELECT $1::text", ["cut\0short"])
