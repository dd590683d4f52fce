"""Who waits for whom: nobody for ever, nobody in a ring, and nobody because somebody else waits."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from annotation_queue import AnnotationQueues, Claim, Conflict, NewItem
from annotation_queue.items import admit
from annotation_queue.repositories.postgres.session import Session
from annotation_queue.repositories.postgres.statements import SQL, ordered
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue import AnnotationQueue, QueueItem
    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

LONG = "x" * 300


def test_a_claim_in_a_long_name_waits_for_who_stores_the_name_before_it_locks_an_item(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues
) -> None:
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with (
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(database.dsn, autocommit=True) as admin,
    ):
        with repository._writing() as session:
            # As whoever saves something of this annotator does: the name, and then the item.
            session.long_keys([(session.num(queue.id), LONG)])
            claiming = threads.submit(queues.claim, queue.id, LONG)
            wait_until(lambda: bool(admin.execute(waits).fetchall()))
            session.composed("SELECT num FROM work FOR UPDATE NOWAIT", ())
        assert isinstance(claiming.result(20), Claim)


def test_a_purge_and_who_brings_items_back_do_not_wait_for_one_another_in_a_ring(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues
) -> None:
    queue = queues.create("queue", created_by="ann")
    ids = [item.id for item in queues.add_items(queue.id, [NewItem(call_id=c) for c in "abc"], added_by="ann").added]
    queues.remove_items(queue.id, ids)
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with (
        ThreadPoolExecutor(2) as threads,
        psycopg.connect(database.dsn, autocommit=True) as admin,
    ):
        with repository._writing() as session:
            # The purge has taken the first two then, and waits for the third.
            session.composed("SELECT num FROM items ORDER BY num DESC LIMIT 1 FOR UPDATE", ())
            purging = threads.submit(queues.purge, removed_before=datetime.max.replace(tzinfo=UTC))
            wait_until(lambda: len(admin.execute(waits).fetchall()) == 1)
            restoring = threads.submit(queues.restore_items, queue.id, ids)
            wait_until(lambda: len(admin.execute(waits).fetchall()) == 2)
        assert purging.result(20).items == 3
        assert restoring.result(20) == 0
    assert repository.check() == ()


def test_an_addition_goes_to_the_server_in_parts_that_it_can_take_whatever_is_long(
    queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queues.create("queue", created_by="ann")
    sizes: list[int] = []
    rows = Session.rows

    def watch(session: Session, statement: str, values: Any) -> Any:  # noqa: ANN401 - as the method
        sizes.append(sum(len(str(each)) for each in values.values()) if isinstance(values, dict) else 0)
        return rows(session, statement, values)

    monkeypatch.setattr(Session, "rows", watch)
    text = "t" * 1_000_000
    several = [
        {"display_fields": [text]},
        {"call_trace_id": text},
        {"call_op_name": text},
        {"assignees": [text + "a"]},
        {"payload": {"a": text}},
    ]
    new = [NewItem(call_id=f"{number}", **fields) for number, fields in enumerate(several * 3)]  # type: ignore[arg-type]
    added = queues.add_items(queue.id, new, added_by="ann").added
    assert len(added) == 15
    # Of 15 million characters, 4 million at a time, long texts apart from items.
    assert max(sizes) < 6_000_000


def test_another_name_of_a_queue_waits_for_no_addition(
    repository: PostgresRepository, queues: AnnotationQueues
) -> None:
    queue = queues.create("queue", created_by="ann")
    items = queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(3)], added_by="ann").added
    with repository._reading() as session:
        num = session.num(queue.id)
    with ThreadPoolExecutor(1) as threads, repository._writing([num], adding=num):
        assert threads.submit(lambda: queues.update(queue.id, name="renamed")).result(20).name == "renamed"
        claim = threads.submit(queues.claim, queue.id, "bob").result(20)
        assert isinstance(claim, Claim)
        assert claim.item.id == items[0].id
    assert queues.complete(claim, 1).id == items[0].id


def test_who_wants_a_queue_alone_does_not_stop_the_claims_of_others_meanwhile(
    repository: PostgresRepository, queues: AnnotationQueues
) -> None:
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(30)], added_by="ann")
    with repository._reading() as session:
        num = session.num(queue.id)
    with ThreadPoolExecutor(2) as threads:
        with repository._writing([num], adding=num):
            changing = threads.submit(lambda: queues.update(queue.id, annotations_per_item=2))
            time.sleep(0.3)  # it waits for all of that
            for _ in range(10):
                begun = time.monotonic()
                assert isinstance(threads.submit(queues.claim, queue.id, "bob").result(20), Claim)
                assert time.monotonic() - begun < 5
            assert not changing.done()
        assert changing.result(20).annotations_per_item == 2
    assert queues.stats([queue.id])[0].finished_items == 0


def test_an_iterable_that_reads_the_same_repository_needs_no_second_connection(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    queues = AnnotationQueues(make_repository(max_connections=1, timeout=5), "project")
    queue = queues.create("queue", created_by="ann")

    def records() -> Iterator[NewItem]:
        for number in range(3):
            assert queues.stats([queue.id])[0].total_items == 0
            yield NewItem(call_id=str(number))

    assert len(queues.add_items(queue.id, records(), added_by="ann").added) == 3


def test_code_of_the_caller_that_makes_items_runs_under_no_lock(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository(max_connections=1, timeout=5)
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    first, meanwhile = queues.add_items(queue.id, [NewItem(call_id="0"), NewItem(call_id="old")], added_by="ann").added
    made: list[str] = []
    others: list[object] = []

    def make(new: NewItem, stored: AnnotationQueue) -> QueueItem:
        made.append(new.call_id)
        if new.call_id == "1" and not others:
            # With the only connection there is, each as far as its end.
            others.append(queues.claim(queue.id, "bob"))
            others.append(queues.update(queue.id, name="renamed", annotations_per_item=2).name)
            others.append(queues.add_items(queue.id, [NewItem(call_id="2")], added_by="eve").duplicates)
            others.append(queues.remove_items(queue.id, [meanwhile.id]))
            others.append(make_repository(timeout=5).get_queue("project", queue.id).name)
        return admit(new, item_id=f"id {len(made)}", queue=stored, added_by="ann", at=first.created_at)

    news = [NewItem(call_id=call_id) for call_id in ("1", "old", "2", "3", "0")]
    added = repository.add_items("project", queue.id, news, make)
    claim, *rest = others
    assert isinstance(claim, Claim)
    assert claim.item.id == first.id
    assert rest == ["renamed", 0, 1, "renamed"]
    # Exactly what was not there when it was added: "2" was by then, and "old" was not any more.
    assert [item.call_id for item in added.added] == ["1", "old", "3"]
    assert added.duplicates == 2
    assert made == ["1", "2", "3", "1", "old", "3"]
    # "2" was added later by the clock; the others are of one moment and stand in the order of their ids, as asked for.
    assert [item.call_id for item in queues.query_items(queue.id).items] == ["0", "1", "old", "3", "2"]
    assert repository.check() == ()


def test_who_adds_is_told_that_an_id_is_taken_whoever_has_it(repository: PostgresRepository) -> None:
    ids = iter(["queue", "a", "b", "b", "c", "a", "d"])
    named = AnnotationQueues(repository, "project", new_id=lambda: next(ids))
    queue = named.create("queue", created_by="ann")
    named.add_items(queue.id, [NewItem(call_id="1")], added_by="ann")
    for call_ids in (["2", "3"], ["2", "3"]):
        with pytest.raises(Conflict):
            named.add_items(queue.id, [NewItem(call_id=each) for each in call_ids], added_by="ann")
    assert [item.id for item in named.query_items(queue.id).items] == ["a"]
    assert named.add_items(queue.id, [NewItem(call_id="2")], added_by="ann").added[0].id == "d"


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_statement_that_began_before_a_queue_changed_sees_so_once_it_has_the_lock(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, *, is_paused: bool
) -> None:
    queue = queues.create("queue", created_by="ann")
    queues.get(queue.id)
    known = repository._cache.newest(queue.id)
    assert known is not None
    is_held_up = "(SELECT pg_advisory_xact_lock(7, 7)) IS NOT NULL"
    ask = f"WITH {SQL['rests_on_queue']} SELECT CASE WHEN {is_held_up} THEN {SQL['era']} END"
    told = {"version": repository._connections.version, "queue": known.num, "queue_revision": known.revision}
    told |= repository._connections.lock_of(known.num)._asdict()
    waits = "SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
    with (
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(database.dsn, autocommit=True) as admin,
        repository._connections.one_statement(writes=True) as cursor,
    ):
        # A schema that other tests had before may be in a later era.
        admin.execute(f"SET search_path TO {repository._connections.schema}".encode())
        ((era,),) = admin.execute("SELECT era FROM annotation_queue_schema").fetchall()
        admin.execute("SELECT pg_advisory_lock(7, 7)")
        asking = threads.submit(cursor.execute, ask, ordered("rests_on_queue", told))
        wait_until(lambda: bool(admin.execute(waits).fetchall()))
        if is_paused:
            queues.update(queue.id, is_paused=True)
        admin.execute("SELECT pg_advisory_unlock(7, 7)")
        assert asking.result(20).fetchall() == [(None if is_paused else era,)]


def test_a_change_of_a_queue_that_was_rolled_back_is_none(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(3)], added_by="ann")
    with psycopg.connect(database.dsn) as other:
        other.execute(f"SET search_path TO {repository._connections.schema}".encode())
        other.execute("UPDATE queues SET name = 'other'")
        other.rollback()
    # It left its mark on the row, and both are one statement all the same.
    monkeypatch.setattr(type(repository), "_writing", None)
    claim = queues.claim(queue.id, "bob")
    assert isinstance(claim, Claim)
    assert queues.complete(claim, 1).annotation_state == "completed"
