"""Claims and completions on PostgreSQL beside statements by hand, two task queues and SQLite, on a private server.

One client of each, then eight processes; all wait for the disk at every commit (PostgreSQL as it comes, SQLite at FULL), or
none does (``synchronous_commit = off``, NORMAL). Then what `run_batch` makes of it, and adding beside ``COPY`` into the same
tables. The server is the one of the tests, which needs its programs on this machine; without them, or without what a contestant
needs, the question is left out, and a line says so.

What was tried and lost, as microseconds of processor time to read an item, client + server: beginning with settings, reading
and committing as three calls 130 + 95; the same four statements through psycopg's pipeline 200 + 107, for two waits less. What
was won instead: a claim is one statement, and so is what a completion stores, and each is a transaction by itself.

As microseconds of processor time of a pair, client + server, with commits later, in turn with statements by hand at 204 + 421
on a busy machine: 644 + 659; with cursors that are kept, statements as bytes, and claims that begin at a place that is looked
for now and then, 553 + 619. Lost: the integers of such a statement as one array, 545 + 641.

Then, with statements by hand at 149 + 323: 379 + 470; with a look at the queue's row instead of a function that looks, rows
found by an index instead of a bitmap, and a connection kept in hand instead of one from the pool each time, 348 + 427. Of the
rest of the server's, a fifth is to make plans ready; a parameter less saves it 0.1, a look-up by a key less 6. Of ours,
psycopg's cursor takes 10 of a statement's 20.

Then, with statements by hand at 165 + 330 on a busy machine: 455 + 531; without that cursor, and with one row of counters for
each change instead of two, 343 + 454. Lost: to change a progress by its key instead of inserting over it, 356 + 472. Eight
processes on two processors take up to twice as much each and do nothing else than one: 2.0 statements a pair, 124 blocks read
instead of 112, and next to nobody waits for a lock. It is the processors' caches, so that whatever is left out counts double.
"""

from __future__ import annotations

import importlib
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from annotation_queue import run_batch
from benchmarks.claims import pair
from benchmarks.contention import PROCESSES, compete
from benchmarks.contestants.ours import Ours, OursOnSQLite
from benchmarks.fixtures import new_items
from benchmarks.harness import repeated

if TYPE_CHECKING:
    from types import ModuleType

    from annotation_queue import JsonValue, NewItem, QueueItem, Repository
    from benchmarks.contestants import QueueContestant
    from benchmarks.harness import Lap, Run
    from helpers.postgres import Server

_QUESTION: Final = "postgres"
_ADDRESS: Final = "server"
_ASKED: Final = 10_000
_ITEMS_PER_SECOND: Final = 6_000
_DURABILITY: Final = {
    "FULL": "every commit on the disk",
    "NORMAL": "commits on the disk later",
}


class OursOnPostgres(Ours):
    """`PostgresRepository`, in a schema of its own for each folder; the folder says where the server is."""

    name: ClassVar[str] = "annotation_queue, PostgreSQL"
    on_disk: ClassVar[bool] = True

    def _open(self, folder: Path, synchronous: str) -> Repository:
        # Not every machine that runs the other questions has psycopg.
        postgres = importlib.import_module("annotation_queue.repositories.postgres")
        options = options_of(synchronous)
        conninfo = f"{address_of(folder)} options='{options}'" if options else address_of(folder)
        repository: Repository = postgres.PostgresRepository(conninfo, schema=folder.name, timeout=120)
        return repository


def address_of(folder: Path) -> str:
    """Say where the server of a contestant is."""
    return (folder / _ADDRESS).read_text(encoding="utf-8")


def options_of(synchronous: str) -> str:
    """Give the options of the connections of a contestant."""
    return "" if synchronous == "FULL" else "-c synchronous_commit=off"


def measure(run: Run) -> None:
    """Race one client of each and then eight processes of each, at both durabilities; then batches, and adding."""
    server, contestants = started(run), _contestants(run)
    if server is None:
        return
    try:
        if contestants is not None:
            for synchronous in _DURABILITY:
                _race(run, server, contestants, synchronous)
            _batch(run, server)
            _add(run, server, contestants)
            for synchronous in _DURABILITY if not run.settings.quick else ("NORMAL",):
                _compete(run, server, contestants, synchronous)
    finally:
        server.remove()


def _contestants(run: Run) -> ModuleType | None:
    """Import those on a server; None if what they need is not installed, which is told."""
    try:
        return importlib.import_module("benchmarks.contestants.server")
    except ModuleNotFoundError as error:
        _leave_out(run, f"{error.name} is not installed")
        return None


def _leave_out(run: Run, why: str) -> None:
    told = f"  LEFT OUT, nothing was measured on PostgreSQL: {why}"
    run.console.print(told, style="bold red", highlight=False, markup=False)


def started(run: Run) -> Server | None:
    """Start a server as the tests do; None where that is not possible, which is told."""
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    try:
        helpers = importlib.import_module("helpers.postgres")
    except ModuleNotFoundError as error:
        _leave_out(run, f"{error.name} is not installed")
        return None
    finally:
        sys.path.pop()
    programs = helpers.binaries()
    if programs is None:
        _leave_out(run, "no programs of a PostgreSQL server were found on this machine")
        return None
    server: Server = helpers.Server(programs, durable=True)
    return server


def folder_of(run: Run, server: Server) -> Path:
    """Make a folder that says where the server is."""
    folder = run.fixtures.scratch()
    (folder / _ADDRESS).write_text(server.dsn, encoding="utf-8")
    return folder


def _race(run: Run, server: Server, contestants: ModuleType, synchronous: str) -> None:
    """Race one client of each, in turn."""
    settings = run.settings
    size = settings.size(_ASKED)
    pairs = min(settings.pairs, size // (2 * settings.rounds))
    ours, raw = OursOnPostgres, contestants.RawPostgres
    queuers: tuple[type[QueueContestant], ...] = (contestants.PgQueuer, contestants.Procrastinate)
    with ExitStack() as stack:
        laps = {}
        for kind in (ours, raw, *queuers, OursOnSQLite):
            contestant = kind(folder_of(run, server), synchronous)
            stack.callback(contestant.close)
            contestant.fill(new_items(size))
            laps[kind.name] = repeated(pair(contestant), at_most=pairs, seconds=settings.lap_seconds)
        durability = _DURABILITY[synchronous]
        rates = run.race(_QUESTION, f"claim + complete, {durability}", size, laps, unit="/s")
    for kind, line in zip((raw, *queuers), (0.6, 1.0, 1.5), strict=True):
        ratio = rates[ours.name] / rates[kind.name]
        run.at_least(f"one client, {durability}: PostgreSQL / {kind.name}", ratio, line, asked=_ASKED, size=size)


def _batch(run: Run, server: Server) -> None:
    """Race `run_batch` with a labeler that does nothing and single pairs."""
    size = run.settings.size(_ASKED)
    count = min(size // (2 * run.settings.rounds), run.settings.pairs)
    with ExitStack() as stack:
        laps: dict[str, Lap] = {}
        for name in ("run_batch", "single pairs"):
            contestant = OursOnPostgres(folder_of(run, server), "FULL")
            stack.callback(contestant.close)
            contestant.fill(new_items(size))
            laps[f"PostgreSQL, {name}"] = (
                _runner_lap(contestant, count)
                if name == "run_batch"
                else repeated(pair(contestant), at_most=count, seconds=float("inf"))
            )
        work = f"claim + complete in batches, {_DURABILITY['FULL']}"
        rates = run.race(_QUESTION, work, size, laps, unit="/s")
    ratio = rates["PostgreSQL, run_batch"] / rates["PostgreSQL, single pairs"]
    run.at_least("run_batch / single pairs: PostgreSQL", ratio, 5.0, asked=_ASKED, size=size)


def _label(item: QueueItem) -> JsonValue:
    return {"label": item.call_id}


def _runner_lap(contestant: Ours, limit: int) -> Lap:
    def lap() -> tuple[int, float]:
        started_at = time.perf_counter()
        report = run_batch(contestant.queues, contestant.queue_id, _label, annotator_id="ann", limit=limit)
        elapsed = time.perf_counter() - started_at
        assert report.completed == limit, f"run_batch lost something: {report}"
        return limit, elapsed

    return lap


def _add(run: Run, server: Server, contestants: ModuleType) -> None:
    """Race adding many items and copying as many rows into the same tables."""
    size = run.settings.size(_ASKED)
    items = list(new_items(size))
    ours, raw = OursOnPostgres, contestants.RawPostgres
    laps = {kind.name: _adding_lap(run, server, kind, items) for kind in (ours, raw)}
    rates = run.race(_QUESTION, "bulk add, commits on the disk later", size, laps, unit="/s")
    run.at_least("bulk add: PostgreSQL / COPY", rates[ours.name] / rates[raw.name], 0.6, asked=_ASKED, size=size)


def _adding_lap(run: Run, server: Server, kind: type[QueueContestant], items: list[NewItem]) -> Lap:
    def lap() -> tuple[int, float]:
        contestant = kind(folder_of(run, server), "NORMAL")
        started_at = time.perf_counter()
        contestant.fill(items)
        elapsed = time.perf_counter() - started_at
        taken = contestant.claim()
        assert taken is not None
        assert taken[0] == max(items, key=lambda new: new.priority).call_id, f"{kind.name} serves a wrong item"
        contestant.close()
        return len(items), elapsed

    return lap


def _compete(run: Run, server: Server, contestants: ModuleType, synchronous: str) -> None:
    """Let eight processes of each compete, in turn."""
    seconds = run.settings.contention_seconds / 2
    rounds = 1 if run.settings.quick else 3
    size = int(seconds * _ITEMS_PER_SECOND)
    kinds: tuple[type[QueueContestant], ...] = (OursOnPostgres, contestants.RawPostgres, OursOnSQLite)
    results: dict[str, list[tuple[float, float, int]]] = {kind.name: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
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
