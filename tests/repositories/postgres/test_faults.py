"""PostgreSQL goes away, falls silent or is locked: a typed error in bounded time, and nothing acknowledged is lost."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from annotation_queue import AnnotationQueues, AnnotationState, Claim, ItemQuery, NewItem
from annotation_queue.errors import OutcomeUnknown, StorageBusy, StorageError, StorageUnreachable
from annotation_queue.repositories.postgres import PostgresRepository
from annotation_queue.repositories.postgres import connections as postgres_connections
from helpers.proxies import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.postgres import Database, Server

# As it goes over the wire, where it is no part of a longer statement.
_CHANGE = b"UPDATE work AS w SET priority_down"
_COMMIT = b"COMMIT\0"


@pytest.fixture
def proxy(database: Database) -> Iterator[Callable[..., tuple[Proxy, PostgresRepository]]]:
    """Make a repository that reaches the server through a proxy."""
    schema = database.take()
    made: list[Any] = []

    def make(**options: object) -> tuple[Proxy, PostgresRepository]:
        through = Proxy(database.dsn)
        dsn = psycopg.conninfo.make_conninfo(database.dsn, host=str(through.folder))
        made.extend([through, PostgresRepository(dsn, schema=schema, **{"timeout": 20, **options})])  # type: ignore[arg-type]
        return through, made[-1]

    yield make
    # The proxies first, so that nothing waits for a silent one.
    for each in made:
        each.close()
    database.give_back([schema])


@contextmanager
def filled(repository: PostgresRepository) -> Iterator[tuple[AnnotationQueues, str]]:
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(50)], added_by="ann")
    yield queues, queue.id
    assert repository.check() == ()


@pytest.mark.parametrize("does", ["hang up", "hang up after"])
def test_a_connection_lost_while_a_change_is_stored_is_reported_and_the_call_may_be_repeated(
    proxy: Callable[..., tuple[Proxy, PostgresRepository]], monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    through, repository = proxy()
    with filled(repository) as (queues, queue_id):
        claim = queues.claim(queue_id, "bob")
        assert isinstance(claim, Claim)
        record = repository.get_records("project", [claim.item.id], with_items=False)[claim.item.id]
        assert record.progresses[0].state is AnnotationState.IN_PROGRESS
        save = repository.save

        def lose_it(*arguments: Any) -> None:  # noqa: ANN401 - as what it stands for
            # Only now, so that what is read before it arrives.
            through.does, through.hears = does, b"WITH rests"
            save(*arguments)

        monkeypatch.setattr(repository, "save", lose_it)
        with pytest.raises(OutcomeUnknown, match=r"\A.*call again\Z"):
            queues.complete(claim, {"label": 1})
        monkeypatch.undo()
        assert queues.complete(claim, {"label": 1}).annotation_state is AnnotationState.COMPLETED
        (progress,) = queues.progress(claim.item.id)
        assert (progress.state, progress.annotation) == (AnnotationState.COMPLETED, {"label": 1})
        assert len(queues.history(claim.item.id)) == 2


def test_a_connection_lost_before_a_commit_wrote_nothing(
    proxy: Callable[..., tuple[Proxy, PostgresRepository]],
) -> None:
    through, repository = proxy()
    with filled(repository) as (queues, queue_id):
        (item,) = queues.query_items(queue_id, ItemQuery(limit=1)).items
        through.does, through.hears = "hang up", _CHANGE
        with pytest.raises(StorageError) as caught:
            queues.reprioritise(queue_id, {item.id: 7})
        assert not isinstance(caught.value, OutcomeUnknown)
        assert queues.get_item(item.id).priority == 0
        through.does, through.hears = "hang up after", _COMMIT
        with pytest.raises(OutcomeUnknown, match="call again"):
            queues.reprioritise(queue_id, {item.id: 7})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hears", "error"),
    [
        ("claim", b"WITH rests", OutcomeUnknown),
        ("reprioritise", _CHANGE, StorageUnreachable),
        ("reprioritise", _COMMIT, OutcomeUnknown),
    ],
)
def test_a_server_that_falls_silent_is_given_up_in_bounded_time(
    proxy: Callable[..., tuple[Proxy, PostgresRepository]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    hears: bytes,
    error: type[StorageError],
) -> None:
    monkeypatch.setattr(postgres_connections, "_GRACE_SECONDS", 0.2)
    through, repository = proxy()
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    repository._connections.timeout = 0.5
    outcomes: list[Exception] = []
    calls: dict[str, Callable[[], object]] = {
        "claim": lambda: queues.claim(queue.id, "bob"),
        "reprioritise": lambda: queues.reprioritise(queue.id, {item.id: 7}),
    }

    def work() -> None:
        through.does, through.hears = "fall silent", hears
        try:
            calls[name]()
        except StorageError as raised:
            outcomes.append(raised)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert [type(outcome) for outcome in outcomes] == [error]


def test_a_silent_server_is_unreachable_and_not_busy_however_short_the_timeout_is(
    proxy: Callable[..., tuple[Proxy, PostgresRepository]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "_GRACE_SECONDS", 0.2)
    through, repository = proxy(connect_timeout=60)
    repository.ping()
    repository._connections.timeout = 0.5
    through.does, through.hears = "fall silent", b"SELECT"
    for _ in range(2):
        with pytest.raises(StorageUnreachable, match="cannot be reached"):
            repository.get_queue("project", "unknown")


def test_connections_that_the_server_terminated_are_replaced_unnoticed(
    database: Database, make_repository: Callable[..., PostgresRepository]
) -> None:
    repository = make_repository(max_connections=3)
    try:
        with filled(repository) as (queues, queue_id):
            for _ in range(3):
                with psycopg.connect(database.dsn, autocommit=True) as connection:
                    found = connection.execute(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    ).fetchall()
                assert found
                assert isinstance(queues.claim(queue_id, "bob"), Claim)
    finally:
        database.replace_ended_connections()


@pytest.mark.slow
def test_a_server_stopped_at_once_loses_nothing_acknowledged_and_is_used_again_when_it_is_back(server: Server) -> None:
    repository = PostgresRepository(server.dsn, timeout=2, max_connections=4)
    with repository, filled(repository) as (queues, queue_id):
        acknowledged: list[str] = []
        stop = threading.Event()
        errors: list[Exception] = []

        def work(who: str) -> None:
            while not stop.is_set():
                try:
                    claim = queues.claim(queue_id, who)
                    if not isinstance(claim, Claim):
                        return
                    queues.complete(claim)
                    acknowledged.append(claim.item.id)
                except StorageError as error:
                    errors.append(error)
                    return

        threads = [threading.Thread(target=work, args=(f"ann-{number}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(acknowledged) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        server.stop()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        server.start()
        completed = {
            item.id for item in queues.iter_items(queue_id) if item.annotation_state is AnnotationState.COMPLETED
        }
        assert len(acknowledged) >= 5
        assert set(acknowledged) <= completed


def test_who_waits_too_long_for_a_lock_is_told_that_it_is_busy(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository()
    with filled(repository) as (queues, queue_id):
        claim = queues.claim(queue_id, "bob")
        assert isinstance(claim, Claim)
        impatient = AnnotationQueues(make_repository(timeout=0.3), "project")
        with repository._connections.writing() as cursor:
            cursor.execute("SELECT FROM work FOR UPDATE")
            with pytest.raises(StorageBusy, match="try again"):
                impatient.complete(claim)
            with pytest.raises(StorageBusy, match="try again"):
                impatient.claim(queue_id, "eve")
        assert impatient.complete(claim).annotation_state is AnnotationState.COMPLETED


def test_a_transaction_that_stands_still_is_ended_by_the_server(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository()
    with filled(repository) as (queues, queue_id):
        stopped = make_repository(timeout=0.2)
        with pytest.raises(StorageError), stopped._connections.writing() as cursor:  # noqa: PT012 - it fails after another call
            cursor.execute("SELECT FROM work FOR UPDATE")
            assert isinstance(queues.claim(queue_id, "bob"), Claim)
            cursor.execute("SELECT 1")


def test_every_connection_taken_for_too_long_is_told_as_busy(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository(max_connections=1)
    repository._connections.timeout = 0.2
    with repository._connections.reading(), pytest.raises(StorageBusy):
        repository.get_queue("project", "unknown")


def test_a_pool_of_the_callers_that_is_closed_is_told_as_what_it_is(
    database: Database, make_repository: Callable[..., PostgresRepository]
) -> None:
    with ConnectionPool(database.dsn, min_size=0, max_size=1, open=True) as pool:
        repository = make_repository(pool=pool)
    with pytest.raises(StorageError, match=r"the pool of connections .* is closed"):
        repository.ping()


def test_a_closed_repository_says_so(make_repository: Callable[..., PostgresRepository]) -> None:
    repository = make_repository()
    repository.close()
    repository.close()
    with pytest.raises(StorageError, match="closed"):
        repository.get_queue("project", "unknown")
