"""What only `PostgresRepository` has to see to: pools of the caller's, forks, keys of long texts, few statements."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest
from psycopg_pool import ConnectionPool

from annotation_queue import (
    AnnotationQueues,
    Claim,
    Conflict,
    ItemFilter,
    ItemQuery,
    MemoryRepository,
    NewItem,
    SortBy,
)
from annotation_queue.repositories.postgres import PostgresRepository, bulk
from annotation_queue.repositories.postgres import items as postgres_items
from annotation_queue.repositories.postgres import queries as postgres_queries
from annotation_queue.repositories.postgres.rows import texts
from annotation_queue.repositories.postgres.session import Session
from annotation_queue.repositories.sql import chunks
from helpers.clocks import PATIENCE, wait_until
from helpers.postgres_faults import see_statements
from helpers.purging import KEPT, MARK, purge_marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.repositories.postgres.hand import Hand
    from helpers.postgres import Database

LONG = 300


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is executed from now on."""
    executed: list[str] = []
    see_statements(monkeypatch, executed.append)
    return executed


@pytest.mark.parametrize("options", [{"autocommit": False}, {"autocommit": True}], ids=str)
def test_a_connection_of_the_callers_pool_still_begins_transactions_as_the_caller_wants(
    database: Database, options: dict[str, bool]
) -> None:
    schema = database.take()
    with ConnectionPool(database.dsn, min_size=1, max_size=1, kwargs=options, open=True) as pool:
        with PostgresRepository(schema=schema, pool=pool) as repository:
            queues = AnnotationQueues(repository, "project")
            queues.create("queue", created_by="ann")
            with pytest.raises(LookupError):
                queues.get("unknown")
        with pool.connection() as connection:
            assert connection.autocommit == options["autocommit"]
    database.give_back([schema])


def test_two_schemas_share_a_pool_and_nothing_else(database: Database) -> None:
    schemas = [database.take(), database.take()]
    # One connection, on which every statement is prepared at once.
    options = {"autocommit": True, "prepare_threshold": 0}
    with ConnectionPool(database.dsn, min_size=1, max_size=1, kwargs=options, open=True) as pool:
        both = [AnnotationQueues(PostgresRepository(schema=schema, pool=pool), schema) for schema in schemas]
        ids = [queues.create("queue", created_by="ann").id for queues in both]
        for number in range(3):
            for queues, queue_id in zip(both, ids, strict=True):
                queues.add_items(queue_id, [NewItem(call_id=f"{queues.project_id} {number}")], added_by="ann")
                (claim,) = queues.claim_batch(queue_id, "bob", 1)
                assert claim.item.call_id == f"{queues.project_id} {number}"
                queues.complete(claim, 1)
                assert queues.stats([queue_id])[0].finished_items == number + 1
    database.give_back(schemas)


def test_no_thread_of_a_forked_child_uses_the_parents_connections(
    repository: PostgresRepository, queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queues.create("queue", created_by="ann")
    pool = repository._connections
    inherited, open_pool = pool._hand, pool._open
    opening, go_on = threading.Event(), threading.Event()

    def open_slowly() -> Hand:
        opening.set()
        assert go_on.wait(PATIENCE)
        return open_pool()

    before = inherited.pool.get_stats()["requests_num"]
    monkeypatch.setattr(pool, "_open", open_slowly)
    # As it is after a fork.
    monkeypatch.setattr(pool, "_pid", -1)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(queues.get, queue.id)
        assert opening.wait(PATIENCE)
        second = threads.submit(queues.get, queue.id)
        # It has to wait; a thread that does not is done by then.
        assert wait([second], 0.2).done == set()
        go_on.set()
        assert first.result(PATIENCE) == second.result(PATIENCE) == queue
    assert inherited.pool.get_stats()["requests_num"] == before
    assert len(pool._inherited) == 1
    pool._inherited.pop().close()


def test_an_id_that_another_queue_takes_at_the_same_moment_is_a_conflict(
    database: Database, repository: PostgresRepository
) -> None:
    queues = AnnotationQueues(repository, "project", new_id=iter(["queue", "taken"]).__next__)
    queue = queues.create("queue", created_by="ann")
    with (
        closing(psycopg.connect(database.dsn)) as other,
        closing(psycopg.connect(database.dsn, autocommit=True)) as watching,
        ThreadPoolExecutor(1) as threads,
    ):
        other.execute(f"SET search_path TO {repository._connections.schema}")
        other.execute("INSERT INTO item_ids (id, queue, num) VALUES ('taken', 99, 99)")
        adding = threads.submit(queues.add_items, queue.id, [NewItem(call_id="a")], added_by="ann")
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'transactionid' AND datname = current_database()"
        wait_until(lambda: bool(watching.execute(waiting).fetchall()))
        other.commit()
        with pytest.raises(Conflict, match="taken"):
            adding.result(PATIENCE)
        other.execute("DELETE FROM item_ids")
        other.commit()
    assert queues.query_items(queue.id).items == ()


def test_long_texts_of_one_call_are_stored_in_one_order(
    queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(3)], added_by="ann")
    names = [letter * LONG for letter in "bca"]
    stored: list[str] = []
    rows = Session.rows

    def see(session: Session, statement: str, values: Any) -> Any:  # noqa: ANN401 - as what it wraps
        if statement == "add_long_texts":
            stored.append(values["l_text"])
        return rows(session, statement, values)

    monkeypatch.setattr(Session, "rows", see)
    claims = [queues.claim_batch(queue.id, name, 1)[0] for name in names]
    stored.clear()
    queues.complete_batch([(claim, None) for claim in claims])
    # Whoever stored them in another order might wait for us while we wait for them.
    assert stored == [texts(sorted(names))]


def test_items_far_apart_have_the_positions_that_they_have_in_memory(
    repository: PostgresRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_queries, "_FIRST_LOOK", 2)
    monkeypatch.setattr(postgres_queries, "_FURTHER", 2)
    answers = []
    with MemoryRepository() as memory:
        for each in (memory, repository):
            ids = map(str, count(100))
            queues = AnnotationQueues(each, "project", new_id=lambda ids=ids: next(ids))  # type: ignore[misc]
            queue = queues.create("queue", created_by="ann")
            news = [NewItem(call_id=str(n), call_trace_id=f"trace-{n % 11 == 3}", priority=n % 4) for n in range(40)]
            queues.add_items(queue.id, news, added_by="ann")
            for sort_by in ((), (SortBy("call_trace_id"),), (SortBy("call_ended_at", "desc"), SortBy("priority"))):
                query = ItemQuery(
                    filter=ItemFilter(call_trace_id="trace-True"), sort_by=sort_by, limit=3, include_position=True
                )
                page = queues.query_items(queue.id, query)
                rest = queues.query_items(queue.id, attrs.evolve(query, cursor=page.next_cursor))
                answers.append([(item.id, item.position_in_queue) for item in page.items + rest.items])
    assert answers[:3] == answers[3:]
    assert [len(answer) for answer in answers] == [4] * 6


@pytest.mark.parametrize(
    ("queue_id", "description"), [("short", ""), ("i" * 2_000, ""), ("long", "d" * 100_000)], ids=len
)
def test_a_queue_that_is_not_kept_in_memory_works_all_the_same(
    repository: PostgresRepository, queue_id: str, description: str
) -> None:
    repository._cache.most_bytes = 1
    queues = AnnotationQueues(repository, "project")
    for each in (queue_id, "other"):
        naming = AnnotationQueues(repository, "project", new_id=lambda each=each: each)  # type: ignore[misc]
        queue = naming.create("queue", created_by="ann", description=description, annotations_per_item=2)
        queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(3)], added_by="ann")
    for annotator in ("bob", "eve"):
        for chosen in (queue_id, "other"):
            for number in range(3):
                claim = queues.claim(chosen, annotator)
                assert isinstance(claim, Claim)
                assert claim.item.call_id == str(number)
                queues.complete(claim, 1)
                assert queues.get_item(claim.item.id).queue_id == chosen
            assert not queues.claim(chosen, annotator)
    assert [stats.finished_items for stats in queues.stats([queue_id, "other"])] == [3, 3]


def test_a_policy_changes_in_statements_of_bounded_length(
    queues: AnnotationQueues, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_items, "_UPDATED_AT_ONCE", 4)
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(10)], added_by="ann")
    claims = queues.claim_batch(queue.id, "bob", 10)
    queues.complete_batch([(claim, 1) for claim in claims[:9]])
    statements.clear()
    queues.update(queue.id, annotations_per_item=2)
    assert len([text for text in statements if text.startswith("UPDATE work")]) == 3
    assert len(queues.claim_batch(queue.id, "eve", 20)) == 10


def test_labels_that_are_too_long_for_one_statement_take_several_of_one_transaction(
    repository: PostgresRepository, queues: AnnotationQueues, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(100)], added_by="ann")
    claims = queues.claim_batch(queue.id, "bob", 100)
    assert isinstance(claims, tuple)
    monkeypatch.setattr(bulk, "MAX_JSON_BYTES", 1_002)
    monkeypatch.setattr(bulk, "MOST_AT_ONCE", 50_000)
    monkeypatch.setattr(chunks, "MOST_CHARACTERS", 30_000)
    statements.clear()
    few, many = claims[:20], claims[20:]
    queues.complete_batch([(claim, "x" * 1_000) for claim in few])
    assert len([text for text in statements if text.startswith("WITH rests")]) == 1
    statements.clear()
    queues.complete_batch([(claim, "x" * 1_000) for claim in many])
    assert len([text for text in statements if text.startswith("WITH rests")]) == 3
    assert [text for text in statements if text == "COMMIT"] == ["COMMIT"]
    assert queues.stats([queue.id])[0].finished_items == 100
    assert repository.check() == ()


def test_a_queue_that_another_process_changed_is_never_seen_as_it_was(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    mine, theirs = (AnnotationQueues(make_repository(), "project") for _ in range(2))
    queue = mine.create("queue", created_by="ann")
    mine.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(4)], added_by="ann")
    for needed in (1, 2, 3):
        assert theirs.update(queue.id, annotations_per_item=needed).annotations_per_item == needed
        assert mine.get(queue.id).annotations_per_item == needed
        claims = [*chain(*(mine.claim_batch(queue.id, f"ann-{number}", 1) for number in range(needed + 1)))]
        assert [claim.item.call_id for claim in claims] == ["0"] * needed + ["1"]
        for claim in claims:
            mine.release(claim)
    theirs.delete(queue.id)
    with pytest.raises(LookupError):
        mine.claim(queue.id, "ann")
    with pytest.raises(LookupError):
        mine.get_item(claims[0].item.id)


@pytest.mark.parametrize("longest", [200, LONG])
def test_what_is_purged_is_in_no_table(repository: PostgresRepository, database: Database, longest: int) -> None:
    purge_marked(AnnotationQueues(repository, "project"), longest=longest)
    schema = repository._connections.schema
    with closing(psycopg.connect(database.dsn)) as connection:
        listed = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        tables = [name for (name,) in connection.execute(listed, [schema]).fetchall()]
        rows = {name: connection.execute(f"SELECT t::text FROM {schema}.{name} AS t").fetchall() for name in tables}  # noqa: S608 - our own
    assert any(KEPT in repr(found) for found in rows.values())
    assert [name for name, found in rows.items() if MARK in repr(found)] == []


def test_transactions_begin_as_we_need_it_however_the_user_begins_them(
    database: Database, make_repository: Callable[..., PostgresRepository]
) -> None:
    schema = make_repository()._connections.schema
    options = "-c default_transaction_isolation=serializable -c default_transaction_read_only=on"
    dsn = psycopg.conninfo.make_conninfo(database.dsn, options=options)
    with PostgresRepository(dsn, schema=schema, timeout=20) as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(60)], added_by="ann")

        def work(who: str) -> int:
            done = 0
            while claim := queues.claim(queue.id, who):
                queues.complete(claim, who)
                done += 1
            return done

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(work, ["ann", "bob", "cy", "eve"])) == 60
        assert repository.check() == ()
