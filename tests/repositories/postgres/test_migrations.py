"""Migrations on PostgreSQL: one of many processes that open a schema migrates it, whoever is killed in the middle of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from annotation_queue.errors import SchemaVersionUnknown, StorageError
from annotation_queue.repositories.postgres.connections import Connections
from annotation_queue.repositories.postgres.schema import MIGRATIONS, SCHEMA_VERSION, prepare
from annotation_queue.states import IN_PROGRESS, fold_labels
from annotation_queue.values import from_micros
from helpers.clocks import Clock, wait_until
from helpers.faults import OPERATIONS, service, set_up
from repositories.postgres.migrations.write import files_of, restore
from repositories.sqlite.migrations.write import answers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.postgres import Database

PROCESSES, VICTIMS = 8, 3
SCHEMAS = ("migrated", "fresh")
NEXT = (
    'CREATE TABLE further (num bigint PRIMARY KEY, text text COLLATE "C" NOT NULL)',
    "INSERT INTO further (num, text) VALUES (1, 'migrated')",
    "CREATE INDEX further_text ON further (text)",
)
"""A migration as a later version may bring it."""

OPENER = """
import os, sys, time
from annotation_queue.repositories.postgres.connections import Connections
from annotation_queue.repositories.postgres.schema import MIGRATIONS, prepare

dsn, schema, log, go_on, further, stalls = sys.argv[1:]

def noted(version, statements):
    statements = list(statements)
    for number, statement in enumerate(statements):
        yield statement
        if number == len(statements) // 2:
            with open(log, "a") as file:
                file.write(f"{version} {os.getpid()}\\n")
            if stalls:
                # Half of the migration ran, and everybody else waits for the lock: until this process is killed.
                time.sleep(60)

print("ready", flush=True)
while not os.path.exists(go_on):
    time.sleep(0.001)
pool = Connections(dsn, schema, None, max_connections=1, timeout=30, prepare_threshold=None)
prepare(pool, [noted(number, each) for number, each in enumerate([*MIGRATIONS, further.split("|")], 1)])
pool.close()
"""

DESCRIBED = (
    (
        "SELECT c.relname, c.relkind::text, c.reloptions, a.attname, a.attnotnull, format_type(a.atttypid, a.atttypmod), "
        "a.attcollation::regcollation::text, a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid) "
        "FROM pg_class AS c LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 "
        "LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum "
        "WHERE c.relnamespace = %s::regnamespace ORDER BY c.relname, a.attnum"
    ),
    "SELECT indexname, replace(indexdef, schemaname || '.', '') FROM pg_indexes WHERE schemaname = %s ORDER BY 1",
    (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = %s::regnamespace ORDER BY 1, 2"
    ),
)


@pytest.fixture
def admin(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection, and none of the schemas of these tests."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for schema in SCHEMAS:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        yield connection
        for schema in SCHEMAS:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def described(admin: psycopg.Connection[Any], schema: str) -> list[object]:
    """Read all that a schema is made of, and what its tables of versions and of the next migration hold."""
    admin.execute(f"SET search_path TO {schema}")
    made = [admin.execute(statement, (schema,)).fetchall() for statement in DESCRIBED]
    has_further = admin.execute("SELECT to_regclass('further') IS NOT NULL").fetchall() == [(True,)]
    return [
        *made,
        *(
            admin.execute(f"TABLE {name}").fetchall()
            for name in ["annotation_queue_schema", *["further"] * has_further]
        ),
    ]


def migrate(database: Database, schema: str, *further: tuple[str, ...]) -> None:
    """Bring a schema to a version, in this process alone."""
    pool = Connections(database.dsn, schema, None, max_connections=1, timeout=20, prepare_threshold=None)
    try:
        prepare(pool, [*MIGRATIONS, *further])
    finally:
        pool.close()


def at_once(dsn: str, schema: str, folder: Path, *, kill: bool) -> list[tuple[int, int]]:
    """Open a schema in many processes at once; of those that begin to migrate it, some stall and are killed there.

    Returns:
        The version and the process of each migration that was begun and not killed.
    """
    log, go_on, first = folder / "log", folder / "go on", folder / "go first"
    log.touch()

    def start(go: Path, stalls: str) -> subprocess.Popen[str]:
        arguments = [dsn, schema, str(log), str(go), "|".join(NEXT), stalls]
        return subprocess.Popen([sys.executable, "-c", OPENER, *arguments], stdout=subprocess.PIPE, text=True)

    def begun() -> list[tuple[int, int]]:
        return [(int(version), int(pid)) for version, pid in map(str.split, log.read_text().splitlines())]

    victims = [start(go_on if number else first, "stalls") for number in range(VICTIMS if kill else 0)]
    openers = [start(go_on, "") for _ in range(PROCESSES)]
    killed: set[int] = set()
    try:
        for each in [*victims, *openers]:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        if kill:
            first.touch()
            wait_until(lambda: bool(begun()))
        go_on.touch()
        if kill:
            # The others are at it, and nobody gets on.
            with pytest.raises(subprocess.TimeoutExpired):
                openers[0].wait(0.3)

        def kill_who_stalls() -> bool:
            for victim in victims:
                if victim.pid in {pid for _, pid in begun()} - killed:
                    os.kill(victim.pid, signal.SIGKILL)
                    killed.add(victim.pid)
            return all(opener.poll() is not None for opener in openers)

        wait_until(kill_who_stalls)
        assert [opener.wait() for opener in openers] == [0] * PROCESSES
        assert len(killed) >= kill
        # Those that came after it was done had nothing to do.
        assert {victim.wait(60) for victim in victims if victim.pid not in killed} <= {0}
    finally:
        for each in [*victims, *openers]:
            each.kill()
            each.communicate()
    return [(version, pid) for version, pid in begun() if pid not in killed]


@pytest.mark.slow
@pytest.mark.parametrize(("version", "kill"), [(0, False), *((version, True) for version in range(SCHEMA_VERSION + 1))])
def test_of_many_processes_that_open_a_schema_at_once_one_migrates_it(
    database: Database,
    admin: psycopg.Connection[Any],
    tmp_path: Path,
    version: int,
    kill: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    migrate(database, "fresh", NEXT)
    if version:
        pool = Connections(database.dsn, "migrated", None, max_connections=1, timeout=20, prepare_threshold=None)
        prepare(pool, MIGRATIONS[:version])
        pool.close()
    begun = at_once(database.dsn, "migrated", tmp_path, kill=kill)
    assert [number for number, _ in begun] == list(range(version + 1, SCHEMA_VERSION + 2))
    assert len({pid for _, pid in begun}) == 1
    assert described(admin, "migrated") == described(admin, "fresh")


@pytest.mark.slow
@pytest.mark.parametrize("broken", range(len(NEXT) + 1))
def test_a_migration_that_fails_leaves_the_schema_and_what_it_holds_as_they_were(
    database: Database, admin: psycopg.Connection[Any], broken: int
) -> None:
    with database.repository("migrated") as repository:
        queues = service(repository, Clock(), "id")
        outcomes = [operation(queues, set_up(queues, needed=2)) for operation in OPERATIONS.values()]
        assert all(outcomes)
    before = described(admin, "migrated")
    with pytest.raises(StorageError, match="nowhere"):
        migrate(database, "migrated", (*NEXT[:broken], "INSERT INTO nowhere VALUES (1)"))
    assert described(admin, "migrated") == before
    # The old version of the library goes on with it, and the new one once it is mended.
    with database.repository("migrated") as repository:
        assert repository.check() == ()
    migrate(database, "migrated", NEXT)
    migrate(database, "fresh", NEXT)
    assert described(admin, "migrated") == described(admin, "fresh")


NEWER = {
    "AnnotationQueue": {"label_schema", "is_paused"},
    "QueueItem": {"assignees"},
    "Progress": {"started_at", "step", "token"},
    "Transition": {"annotation", "actor_id"},
}
"""What version 1 did not keep, or counted in another way."""


def as_version_1(answer: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave out of an answer what version 1 did not know."""
    if not isinstance(answer, list):
        return answer
    if answer and isinstance(answer[0], str) and answer[0] in NEWER:
        return [answer[0], *(as_version_1(each) for each in answer[1:] if each[0] not in NEWER[answer[0]])]
    return [as_version_1(each) for each in answer]


@pytest.mark.usefixtures("admin")
def test_what_version_1_left_has_the_same_answers_and_its_labels_in_the_log(database: Database) -> None:
    restore(1, database.dsn, "migrated")
    with database.repository("migrated") as repository:
        assert repository.check() == ()
        told = json.loads(files_of(1)[1].read_text(encoding="utf-8"))
        found = json.loads(json.dumps(answers(repository)))
        assert found.keys() == told.keys()
        for project in told:
            assert as_version_1(found[project]) == as_version_1(told[project])
        for project in told:
            queues = service(repository, Clock(), "unused", project)
            for queue in queues.query().queues:
                log = queues.changes(queue.id).transitions
                assert all(each.actor_id in {each.annotator_id, None} for each in log)
                for label in queues.labels(queue.id).labels:
                    history = queues.history(label.item.id)
                    assert [each for each in log if each.item_id == label.item.id] == [*history]
                    assert fold_labels(history).get(label.progress.annotator_id) == (
                        label.progress.annotation if label.progress.state == "completed" else None
                    )
        # It goes on with what it has.
        queues = service(repository, Clock(), "new", "project of claim")
        (queue, *_) = queues.query().queues
        for claim in queues.claim_batch(queue.id, "zoe", 3):
            queues.complete(claim, "new")
        assert repository.check() == ()


def test_a_migrated_history_goes_by_what_was_stored_last_and_not_by_clocks(
    database: Database, admin: psycopg.Connection[Any]
) -> None:
    connections = Connections(database.dsn, "migrated", None, max_connections=1, timeout=20, prepare_threshold=None)
    prepare(connections, MIGRATIONS[:1])
    connections.close()
    admin.execute("SET search_path TO migrated")
    # Alice completed the item; then Bob, whose clock was behind, skipped it without a claim and took it up again.
    rows = {
        "queues": "1, 'queue', 'project', 'q', 'q', '', '[]', 2, 'requeue', 60000000, 0, 'ann', 0, NULL, 0",
        "item_ids": "'item', 1, 1",
        "calls": "1, 1, 'call'",
        "items": "1, 1, -1, 0, DEFAULT, 0, NULL, NULL, 'item', 'call', '', '', 'ann', '[]', NULL",
        "work": "1, 1, -1, 0, 60, 70, 3, 1, 0, 2, 'item', 'alice'",
        "progresses": "1, 1, 0, NULL, 100, 100, 2, 'alice', '\"label\"', NULL), (1, 1, 1, 70, 50, 60, 1, 'bob', NULL, NULL",
        "transitions": (
            "1, 1, 1, 0, 100, 0, 2, 'alice', NULL), (1, 1, 2, 0, 50, 0, 3, 'bob', NULL), (1, 1, 3, 0, 60, 3, 1, 'bob', NULL"
        ),
        "counters": "1, 7, 0, 0, 1, 0, 1, 0, 1, ''), (1, 7, 0, 0, 1, 0, 0, 0, 0, 'alice'), (1, 7, 0, 1, 0, 0, 0, 0, 0, 'bob'",
    }
    for table, values in rows.items():
        admin.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES ({values})".encode())  # noqa: S608 - rows of our own
    with database.repository("migrated") as repository:
        assert repository.check() == ()
        queues = service(repository, Clock(), "unused")
        item = queues.get_item("item")
        assert (item.annotation_state, item.annotator_user_id, item.updated_at) == (
            "in_progress",
            "bob",
            from_micros(100),
        )
        alice, bob = queues.progress("item")
        assert (alice.step, alice.annotation, alice.started_at, alice.token) == (1, "label", None, 1)
        assert (bob.step, bob.annotation, bob.started_at, bob.token) == (3, None, from_micros(60), 2)
        told = [(each.annotator_id, each.to_state.value, each.annotation) for each in queues.history("item")]
        assert told == [("alice", "completed", "label"), ("bob", "skipped", None), ("bob", "in_progress", None)]
        assert queues.changes("queue").transitions == queues.history("item")
        assert queues.stats(["queue"])[0].by_state[IN_PROGRESS] == 1


def test_a_migration_waits_for_whoever_is_writing(database: Database, admin: psycopg.Connection[Any]) -> None:
    with database.repository("migrated") as repository, ThreadPoolExecutor(1) as threads:
        queues = service(repository, Clock(), "id")
        with repository._writing() as session:
            session.add_queue(attrs.evolve(queues.create("queue", created_by="ann"), id="late"))
            migrating = threads.submit(migrate, database, "migrated", NEXT)
            waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'migrated.annotation_queue_schema'::regclass"
            wait_until(lambda: bool(admin.execute(waits).fetchall()))
            assert not migrating.done()
        migrating.result(60)
        assert queues.get("late").name == "queue"
        with pytest.raises(SchemaVersionUnknown):
            queues.create("another", created_by="ann")
