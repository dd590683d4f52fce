"""Migrations: what every schema version left is opened by this one, by one of many processes, whole or not at all."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

import annotation_queue
from annotation_queue import SQLiteRepository, StorageError
from annotation_queue.repositories.sqlite.connections import Connections
from annotation_queue.repositories.sqlite.schema import MIGRATIONS, SCHEMA_VERSION, newest_schema, prepare, schema_of
from helpers.clocks import Clock, wait_until
from helpers.faults import OPERATIONS, rows_of, service, set_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

VERSIONS = range(1, SCHEMA_VERSION + 1)
PROCESSES = 8
UNTOUCHED = ("texts: ", "op_names: ", "items: ")
"""Tables whose rows no migration changes."""
NEXT = (
    "CREATE TABLE further (num INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",
    "INSERT INTO further (text) VALUES ('migrated')",
    "CREATE INDEX further_text ON further (text)",
)
"""A migration as a later version may bring it."""

OPENER = """
import os, sys, time
from pathlib import Path
from annotation_queue.repositories.sqlite.connections import Connections
from annotation_queue.repositories.sqlite.schema import MIGRATIONS, prepare

path, log, go_on, further, stalls = sys.argv[1:]

def noted(version, statements):
    for number, statement in enumerate(statements):
        yield statement
        if number == 0:
            with open(log, "a") as file:
                file.write(f"{version} {os.getpid()}\\n")
            if stalls:
                # Half of the migration ran, and everybody else waits for the lock: until this process is killed.
                time.sleep(60)

def migrations():
    return [noted(number, each) for number, each in enumerate([*MIGRATIONS, *map(str.splitlines, further.split("|"))], 1)]

print("ready", flush=True)
while not os.path.exists(go_on):
    time.sleep(0.001)
connections = Connections(path, "OFF", 30.0)
prepare(connections, migrations())
connections.close()
"""


@pytest.fixture(scope="module")
def written() -> ModuleType:
    """The module that writes what a version leaves."""
    spec = importlib.util.spec_from_file_location("write", Path(__file__).parent / "migrations" / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def schema(path: Path) -> object:
    """Read the schema of a file, with the two numbers in its header."""
    with closing(sqlite3.connect(path)) as connection:
        numbers = [connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
        return schema_of(connection.execute), numbers, connection.execute("PRAGMA journal_mode").fetchone()


def opened(path: Path, migrations: tuple[tuple[str, ...], ...] = MIGRATIONS) -> Path:
    """Bring a file to a schema version, in this process alone."""
    connections = Connections(str(path), "OFF", 1.0)
    prepare(connections, migrations)
    connections.close()
    return path


def as_told(now: Any, then: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """Leave out of an answer the fields that an earlier version did not have."""
    if isinstance(now, dict):
        return {key: as_told(value, then.get(key)) for key, value in now.items()}
    if not isinstance(now, list) or not isinstance(then, list):
        return now
    if now and isinstance(now[0], str) and hasattr(annotation_queue, now[0]):
        fields = dict(then[1:])
        kept = {name: as_told(value, fields[name]) for name, value in now[1:] if name in fields}
        if now[0] == "Progress":
            # Since version 2 a token counts the steps that were made without a claim too.
            kept["token"] = min(kept["token"], fields["token"])
        return [now[0], *([name, value] for name, value in kept.items())]
    return [as_told(*pair) for pair in zip(now, then, strict=False)] + now[len(then) :]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_version_left_is_opened_and_answers_what_it_answered(
    written: ModuleType, tmp_path: Path, version: int
) -> None:
    dump, answered = written.files_of(version)
    assert dump.exists() and answered.exists(), f"schema version {version} has no files: {written.__doc__}"  # noqa: PT018 - one message
    path = tmp_path / "left.db"
    written.restore(version, path)
    with SQLiteRepository(path) as repository:
        assert repository.check() == ()
        then = json.loads(answered.read_text(encoding="utf-8"))
        assert as_told(json.loads(json.dumps(written.answers(repository))), then) == then
        queues = service(repository, Clock(), "later")
        outcomes = [operation(queues, set_up(queues, needed=2)) for operation in OPERATIONS.values()]
        assert all(outcomes)
        assert repository.check() == ()
    assert schema(path) == schema(opened(tmp_path / "fresh.db"))


def test_the_files_of_the_newest_version_are_of_this_schema(written: ModuleType, tmp_path: Path) -> None:
    written.restore(SCHEMA_VERSION, tmp_path / "left.db")
    with closing(sqlite3.connect(tmp_path / "left.db")) as connection:
        left = schema_of(connection.execute)
    assert left == newest_schema(), (
        f"the newest schema changed; it may only while it is not released: {written.__doc__}"
    )


def test_the_writer_writes_what_can_be_opened(
    written: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "FOLDER", tmp_path)
    written.main()
    written.restore(SCHEMA_VERSION, tmp_path / "left.db")
    with SQLiteRepository(tmp_path / "left.db") as repository:
        assert repository.check() == ()
        assert written.answers(repository) == json.loads(
            written.files_of(SCHEMA_VERSION)[1].read_text(encoding="utf-8")
        )


def at_once(path: Path, folder: Path, further: str, *, kill: bool) -> list[tuple[int, int]]:
    """Open a file in many processes at once, of which one is killed in the middle of it.

    Returns:
        The version and the process of each migration that was begun and not killed.
    """
    log, go_on, first = folder / "log", folder / "go on", folder / "go first"
    log.touch()
    command = [sys.executable, "-c", OPENER, str(path), str(log)]
    victim = subprocess.Popen([*command, str(first), further, "stalls"], stdout=subprocess.PIPE) if kill else None
    openers = [
        subprocess.Popen([*command, str(go_on), further, ""], stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    try:
        for opener in openers:
            assert opener.stdout is not None
            assert opener.stdout.readline() == "ready\n"
        if victim is not None:
            first.touch()
            wait_until(lambda: log.stat().st_size > 0)
        go_on.touch()
        if victim is not None:
            # The others are at it, and nobody gets on.
            with pytest.raises(subprocess.TimeoutExpired):
                openers[0].wait(0.1)
            os.kill(victim.pid, signal.SIGKILL)
        assert [opener.wait(60) for opener in openers] == [0] * PROCESSES
    finally:
        for opener in openers:
            opener.kill()
            opener.communicate()
        if victim is not None:
            victim.kill()
            victim.communicate()
    begun = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    return [(version, pid) for version, pid in begun if victim is None or pid != victim.pid]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["", "killed"])
@pytest.mark.parametrize("version", [0, *VERSIONS])
def test_of_many_processes_that_open_a_file_at_once_one_migrates_it(
    written: ModuleType,
    tmp_path: Path,
    version: int,
    kill: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    path = tmp_path / "queues.db"
    if version:
        written.restore(version, path)
        rows = rows_of(path)
    begun = at_once(path, tmp_path, "\n".join(NEXT), kill=kill)
    assert [number for number, _ in begun] == list(range(version + 1, SCHEMA_VERSION + 2))
    assert len({pid for _, pid in begun}) == 1
    assert schema(path) == schema(opened(tmp_path / "fresh.db", (*MIGRATIONS, NEXT)))
    if version:
        # What a migration writes anew is told by what the library answers, in a test above.
        kept = rows if version == SCHEMA_VERSION else [row for row in rows if row.startswith(UNTOUCHED)]
        assert kept
        assert set(kept) <= set(rows_of(path))


def test_a_file_that_another_process_migrates_while_it_is_looked_at_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "queues.db"
    other = Connections(str(path), "OFF", 1.0)

    class Overtaken:
        """A connection that lets the other process migrate the file after its first statement."""

        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def execute(self, statement: str) -> Overtaken:
            self._found = self._connection.execute(statement).fetchall()
            prepare(other)
            return self

        def fetchone(self) -> tuple[Any, ...]:
            (row,) = self._found
            return cast("tuple[Any, ...]", row)

    class Looking(Connections):
        looks = 0

        def peek(self, look: Callable[[sqlite3.Connection], object]) -> None:
            def overtaken(connection: sqlite3.Connection) -> None:
                self.looks += 1
                look(cast("sqlite3.Connection", Overtaken(connection)))

            super().peek(overtaken)

    with closing(sqlite3.connect(path)) as first:
        first.execute("PRAGMA journal_mode = WAL")
        # The other process has begun: there is a log with something in it.
        first.execute("PRAGMA user_version = 0")
        looking = Looking(str(path), "OFF", 1.0)
        prepare(looking)
    assert looking.looks == 1
    looking.close()
    other.close()


@pytest.mark.parametrize("broken", range(len(NEXT) + 1))
def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, broken: int) -> None:
    path = opened(tmp_path / "queues.db")
    before = rows_of(path), schema(path)

    def statements() -> Iterator[str]:
        yield from NEXT[:broken]
        yield "INSERT INTO nowhere VALUES (1)"

    connections = Connections(str(path), "OFF", 1.0)
    with pytest.raises(StorageError, match="nowhere"):
        prepare(connections, [*MIGRATIONS, statements()])
    assert (rows_of(path), schema(path)) == before
    # The old version of the library goes on with it, and the new one once it is mended.
    with SQLiteRepository(path) as repository:
        assert repository.check() == ()
    prepare(connections, [*MIGRATIONS, NEXT])
    connections.close()
    assert rows_of(path) == rows_of(opened(tmp_path / "fresh.db", (*MIGRATIONS, NEXT)))
