"""A server that is down, silent, a replica, or lets one do little: each is told as what it is, in bounded time."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from annotation_queue import AnnotationQueues, Claim, InvalidValue, NewItem
from annotation_queue.errors import StorageBusy, StorageDenied, StorageError, StorageUnreachable
from annotation_queue.repositories.postgres import PostgresRepository
from annotation_queue.repositories.postgres.translation import translate_attempt
from helpers.clocks import wait_until
from helpers.postgres import Server, running_as, unprivileged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.postgres import Database

PASSWORD = "tell-nobody"  # noqa: S105 - what is looked for in every message


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


@contextmanager
def silent() -> Iterator[str]:
    """Listen where nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield f"host=127.0.0.1 port={listener.getsockname()[1]} dbname=x user=x sslmode=disable gssencmode=disable"


def test_a_server_that_is_down_is_unreachable_at_once_when_a_repository_is_made() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with at_most(10), pytest.raises(StorageUnreachable, match=r"cannot be reached.*try again") as caught:
        PostgresRepository(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/labels")
    assert not isinstance(caught.value, StorageBusy)
    assert PASSWORD not in str(caught.value)


@pytest.mark.slow
def test_a_server_that_never_answers_is_unreachable_after_the_time_to_connect() -> None:
    with silent() as conninfo, at_most(10), pytest.raises(StorageUnreachable):
        PostgresRepository(conninfo, connect_timeout=2)


@pytest.mark.slow
def test_the_next_host_is_used_where_the_first_never_answers(database: Database) -> None:
    info = conninfo_to_dict(database.dsn)
    with silent() as conninfo:
        first = conninfo_to_dict(conninfo)
        hosts = {key: f"{first[key]},{info.get(key, '')}" for key in ("host", "port")}
        both = make_conninfo(database.dsn, **hosts, sslmode="disable", gssencmode="disable")
        with PostgresRepository(both, schema=database.fresh(), connect_timeout=2) as repository:
            assert AnnotationQueues(repository, "project").query().queues == ()


@pytest.mark.parametrize(
    ("given", "environment", "seconds"),
    [
        ("", None, 5),
        ("", "7", 7),
        ("connect_timeout=9", "7", 9),
        ("connect_timeout=1", None, 2),
        ("connect_timeout=0", None, 1_000_000),
    ],
)
def test_the_time_to_connect_is_what_libpq_would_take(
    database: Database, monkeypatch: pytest.MonkeyPatch, given: str, environment: str | None, seconds: float
) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    if environment is not None:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", environment)
    schema = database.take()
    with PostgresRepository(f"{database.dsn} {given}", schema=schema) as repository:
        assert repository._connections.connect_timeout == seconds
    with PostgresRepository(f"{database.dsn} {given}", schema=schema, connect_timeout=3) as repository:
        assert repository._connections.connect_timeout == 3
    database.give_back([schema])


def test_a_time_to_connect_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidValue, match="connect_timeout"):
        PostgresRepository("host=127.0.0.1 connect_timeout=soon")


@pytest.mark.parametrize("prepare_threshold", [-1, "x", True, 1.0])
def test_a_threshold_that_is_none_is_refused(prepare_threshold: Any) -> None:  # noqa: ANN401 - what is no threshold
    with pytest.raises(InvalidValue, match="prepare_threshold"):
        PostgresRepository("host=127.0.0.1 port=1", prepare_threshold=prepare_threshold)


def test_every_statement_may_be_prepared_at_once(make_repository: Callable[..., PostgresRepository]) -> None:
    repository = make_repository(prepare_threshold=0, timeout=2)
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    claim = queues.claim(queue.id, "bob")
    assert isinstance(claim, Claim)
    queues.complete(claim, 1)
    queues.reprioritise(queue.id, {item.id: 1})
    assert queues.stats([queue.id])[0].finished_items == 1
    assert repository.check() == ()


@pytest.mark.parametrize(
    "told",
    [
        'connection to server at "h", port 5432 failed: fe_sendauth: no password supplied',
        "server does not support SSL, but SSL was required",
        'root certificate file "/nowhere" does not exist\nEither provide the file or change sslmode',
        "SSL error: certificate verify failed",
        'server certificate for "a" does not match host name "b"',
        'authentication method requirement "scram-sha-256" failed: server did not complete authentication',
    ],
)
def test_what_libpq_refuses_is_told_as_what_it_is(told: str) -> None:
    error = translate_attempt(psycopg.OperationalError(told), "schema 'labels'")
    assert type(error) is StorageError
    assert told.partition("\n")[0] in str(error)


def test_a_service_that_nobody_has_defined_is_told_at_once() -> None:
    with pytest.raises(StorageError, match="nowhere") as caught:
        PostgresRepository("service=nowhere")
    assert type(caught.value) is StorageError


@pytest.mark.slow
def test_a_server_that_went_down_is_told_within_the_time_to_connect_and_used_again_when_it_is_back(
    server: Server,
) -> None:
    with PostgresRepository(server.dsn, connect_timeout=2) as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        repository.ping()
        server.stop()
        for call in (repository.ping, lambda: queues.claim(queue.id, "bob"), lambda: queues.get(queue.id)):
            with at_most(10), pytest.raises(StorageUnreachable):
                call()
        server.start()
        repository.ping()
        assert queues.get(queue.id) == queue


@pytest.mark.slow
def test_a_short_outage_is_waited_out(server: Server) -> None:
    with PostgresRepository(server.dsn, connect_timeout=60) as repository:
        queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")
        server.stop()
        starting = threading.Timer(0.3, server.start)
        starting.start()
        assert AnnotationQueues(repository, "project").get(queue.id) == queue
        starting.join()


@pytest.mark.slow
def test_a_server_that_went_down_is_told_with_a_pool_of_the_callers_too(server: Server) -> None:
    with (
        ConnectionPool(server.dsn, min_size=0, max_size=2, open=True) as pool,
        PostgresRepository(pool=pool, connect_timeout=2) as repository,
    ):
        repository.ping()
        server.stop()
        with at_most(10), pytest.raises(StorageUnreachable):
            repository.ping()


def test_a_pool_whose_connections_are_all_lent_is_busy_and_not_unreachable(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository(max_connections=1, connect_timeout=1.1)
    repository._connections.timeout = 0.2
    with repository._connections.reading(), pytest.raises(StorageBusy):
        repository.ping()


def test_a_server_with_as_many_connections_as_it_takes_is_busy(database: Database) -> None:
    if not database.own:
        pytest.skip("the server is not ours alone")
    name = "crowded"
    with psycopg.connect(database.dsn, autocommit=True) as admin:
        admin.execute(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN CONNECTION LIMIT 1")
        crowded = make_conninfo(database.dsn, user=name)
        with psycopg.connect(crowded), pytest.raises(StorageBusy, match="connection"):
            PostgresRepository(crowded)
        admin.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    ("wrong", "told"), [({"user": "nobody-like-that"}, "nobody-like-that"), ({"dbname": "nowhere"}, "nowhere")]
)
def test_what_is_wrong_with_a_connection_is_said_at_once(database: Database, wrong: dict[str, str], told: str) -> None:
    with pytest.raises(StorageError, match=told) as caught:
        PostgresRepository(make_conninfo(database.dsn, **wrong), timeout=600)
    assert not isinstance(caught.value, StorageUnreachable)


@pytest.mark.parametrize(
    "conninfo",
    [
        f"postgresql://me:{PASSWORD}%zz@host/db",
        f"postgresql://me:x@{PASSWORD}@host/db",
        f"postgresql://me:x/{PASSWORD}@host/db",
        f"postgresql://me:x/y?{PASSWORD}@host/db",
        f"host=h password=x {PASSWORD}",
        f"host=h passwort={PASSWORD}",
    ],
)
def test_what_libpq_cannot_read_is_refused_without_a_word_of_it(conninfo: str) -> None:
    with pytest.raises(InvalidValue, match="conninfo") as caught:
        PostgresRepository(conninfo)
    shown = [caught.value, caught.value.__cause__]
    assert not any(PASSWORD in str(each) for each in shown)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_role_without_rights_is_told_what_it_lacks(database: Database) -> None:
    if not database.own:
        pytest.skip("roles are made, which the server that is named may not allow")
    schema, name = database.take(), "reader"
    database.repository(schema).close()
    as_reader = make_conninfo(database.dsn, user=name)
    with psycopg.connect(database.dsn, autocommit=True) as admin:
        admin.execute(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN")
        try:
            with pytest.raises(StorageDenied, match="USAGE"):
                PostgresRepository(as_reader, schema=schema)
            with pytest.raises(StorageDenied, match="permission denied"):
                PostgresRepository(as_reader, schema="not_there")
            admin.execute(
                f"GRANT USAGE ON SCHEMA {schema} TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}"
            )
            with PostgresRepository(as_reader, schema=schema) as repository:
                assert AnnotationQueues(repository, "project").query().queues == ()
                with pytest.raises(StorageDenied, match=r"permission denied.*rights"):
                    AnnotationQueues(repository, "project").create("queue", created_by="ann")
        finally:
            admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    database.give_back([schema])


def test_a_transaction_that_only_reads_is_told_so(database: Database, repository: PostgresRepository) -> None:
    with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
        connection.read_only = True
        with pytest.raises(StorageDenied, match="replica"):
            AnnotationQueues(joined, "project").create("queue", created_by="ann")


@pytest.mark.slow
def test_a_read_replica_reads_and_says_that_it_cannot_be_written(server: Server, programs: Path) -> None:
    with PostgresRepository(server.dsn) as primary:
        queues = AnnotationQueues(primary, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
        with replica_of(server, programs) as dsn, PostgresRepository(dsn) as repository:
            there = AnnotationQueues(repository, "project")
            wait_until(lambda: bool(there.query().queues) and there.stats([queue.id])[0].total_items == 1)
            repository.ping()
            for call in (lambda: there.claim(queue.id, "bob"), lambda: there.create("another", created_by="ann")):
                with pytest.raises(StorageDenied, match="replica"):
                    call()
            with pytest.raises(StorageDenied, match="replica"):
                PostgresRepository(dsn, schema="not_there")
        assert isinstance(queues.claim(queue.id, "bob"), Claim)


@contextmanager
def replica_of(server: Server, programs: Path) -> Iterator[str]:
    folder = server.folder / "replica"
    user = unprivileged()

    def run(program: str, *arguments: Any) -> None:  # noqa: ANN401 - texts and paths
        command = [programs / program, *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=60, **running_as(user))

    run("pg_basebackup", "-h", server.folder, "-U", "tests", "-D", folder, "-R", "-X", "stream", "-c", "fast")
    options = f"-c unix_socket_directories='{folder}' -c listen_addresses='' -c port=5433"
    # What is captured would stay open as long as the server runs.
    with (server.folder / "replica-out").open("wb") as out:
        wait = ("-D", folder, "-w", "-t", "60", "-l", server.folder / "replica-log", "-o", options, "start")
        start: list[str | Path] = [programs / "pg_ctl", *wait]
        subprocess.run(start, check=True, stdout=out, stderr=out, cwd="/", **running_as(user))
    try:
        yield f"host={folder} port=5433 user=tests dbname=postgres"
    finally:
        with suppress(subprocess.CalledProcessError):
            run("pg_ctl", "-D", folder, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
