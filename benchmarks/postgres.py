"""Claims and completions on PostgreSQL beside SQLite: one client, then eight processes, on a private server of this machine.

Both wait for the disk at every commit (PostgreSQL as it comes, SQLite at FULL), or neither does (``synchronous_commit = off``,
NORMAL). The server is the one of the tests, which needs its programs on this machine and psycopg; without them the question is
left out, and a line says so. There is no line to hold: PostgreSQL is for several machines, not to be faster on one.

What was tried and lost, as microseconds of processor time to read an item, client + server: beginning with settings, reading
and committing as three calls 130 + 95; the same four statements through psycopg's pipeline 200 + 107, for two waits less.
A pair of claim and completion spent most of the server's time on planning: statements that are looked up by a key are planned
once for a connection now, and what a queue's policies are is read with the item.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from benchmarks.claims import pair
from benchmarks.contention import PROCESSES, compete
from benchmarks.contestants.ours import Ours, OursOnSQLite
from benchmarks.fixtures import new_items
from benchmarks.harness import repeated

if TYPE_CHECKING:
    from annotation_queue import Repository
    from benchmarks.contestants import QueueContestant
    from benchmarks.harness import Run
    from helpers.postgres import Server

_QUESTION: Final = "postgres"
_ASKED: Final = 10_000
_ITEMS_PER_SECOND: Final = 6_000
_DURABILITY: Final = {
    "FULL": "every commit on the disk",
    "NORMAL": "commits on the disk later",
}
_ADDRESS: Final = "server"


class OursOnPostgres(Ours):
    """`PostgresRepository`, in a schema of its own for each folder; the folder says where the server is."""

    name: ClassVar[str] = "annotation_queue, PostgreSQL"
    on_disk: ClassVar[bool] = True

    def _open(self, folder: Path, synchronous: str) -> Repository:
        # Not every machine that runs the other questions has psycopg.
        postgres = importlib.import_module("annotation_queue.repositories.postgres")
        conninfo = (folder / _ADDRESS).read_text(encoding="utf-8")
        if synchronous != "FULL":
            conninfo += " options='-c synchronous_commit=off'"
        repository: Repository = postgres.PostgresRepository(conninfo, schema=folder.name, timeout=120)
        return repository


_KINDS: Final[tuple[type[QueueContestant], ...]] = (OursOnPostgres, OursOnSQLite)


def measure(run: Run) -> None:
    """Race one client of each and then eight processes of each, at both durabilities."""
    server = started(run)
    if server is None:
        return
    try:
        for synchronous in _DURABILITY:
            _race(run, server, synchronous)
        for synchronous in _DURABILITY if not run.settings.quick else ("NORMAL",):
            _compete(run, server, synchronous)
    finally:
        server.remove()


def started(run: Run) -> Server | None:
    """Start a server as the tests do; None where that is not possible, which is told."""
    programs = why = None
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    try:
        helpers = importlib.import_module("helpers.postgres")
    except ModuleNotFoundError as error:
        why = f"{error.name} is not installed"
    else:
        programs = helpers.binaries()
    finally:
        sys.path.pop()
    if programs is None:
        why = why or "no programs of a PostgreSQL server were found on this machine"
        told = f"  LEFT OUT, nothing was measured on PostgreSQL: {why}"
        run.console.print(told, style="bold red", highlight=False, markup=False)
        return None
    server: Server = helpers.Server(programs, durable=True)
    return server


def folder_of(run: Run, server: Server) -> Path:
    """Make a folder that says where the server is."""
    folder = run.fixtures.scratch()
    (folder / _ADDRESS).write_text(server.dsn, encoding="utf-8")
    return folder


def _race(run: Run, server: Server, synchronous: str) -> None:
    """Race one client of each, in turn."""
    settings = run.settings
    size = settings.size(_ASKED)
    pairs = min(settings.pairs, size // (2 * settings.rounds))
    with ExitStack() as stack:
        laps = {}
        for kind in _KINDS:
            contestant = kind(folder_of(run, server), synchronous)
            stack.callback(contestant.close)
            contestant.fill(new_items(size))
            laps[kind.name] = repeated(pair(contestant), at_most=pairs, seconds=settings.lap_seconds)
        run.race(_QUESTION, f"claim + complete, {_DURABILITY[synchronous]}", size, laps, unit="/s")


def _compete(run: Run, server: Server, synchronous: str) -> None:
    """Let eight processes of each compete, in turn."""
    seconds = run.settings.contention_seconds / 2
    rounds = 1 if run.settings.quick else 3
    size = int(seconds * _ITEMS_PER_SECOND)
    results: dict[str, list[tuple[float, float, int]]] = {kind.name: [] for kind in _KINDS}
    for _ in range(rounds):
        for kind in _KINDS:
            results[kind.name].append(compete(kind, folder_of(run, server), size, seconds, synchronous))
    durability = _DURABILITY[synchronous]
    for place, (work, unit) in enumerate(
        [
            (f"claim + complete, {PROCESSES} processes, {durability}", "/s"),
            (f"longest wait of one call, {durability}", "s"),
            (f"busy errors, {durability}", "errors"),
        ]
    ):
        for name, found in results.items():
            run.note(_QUESTION, work, name, size=size, unit=unit, values=tuple(each[place] for each in found))
