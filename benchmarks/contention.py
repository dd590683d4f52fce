"""Eight processes that claim and complete on one file at once.

How long a writer waits before it tries again decides both the throughput, since whoever wakes in vain takes the processor from
whoever holds the lock, and the longest wait. In the run that chose ours, random waits of 0.5 to 2 ms gave 0.33 of hand-written
SQL with SQLite's own back-off, 1 to 6 ms 0.43, 2 to 12 ms 0.48 and 4 to 30 ms 0.46; longest waits 0.2, 0.1, 0.13 and 0.26 s
against its 1.3 to 2 s. Ours and both by hand take turns alike: a process makes five to seven pairs in a row.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from annotation_queue import StorageBusy
from benchmarks.contestants.bare import Huey
from benchmarks.contestants.ours import OursOnSQLite
from benchmarks.contestants.raw import RawSQLite
from benchmarks.contestants.raw_version_1 import RawVersion1
from benchmarks.fixtures import new_items
from benchmarks.harness import OURS_SQLITE

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

    from benchmarks.contestants import QueueContestant
    from benchmarks.harness import Run

_Result: TypeAlias = tuple[list[str], float, float, int]

_QUESTION: Final = "contention"
PROCESSES: Final = 8
_ITEMS_PER_SECOND: Final = 12_000
_PATIENCE: Final = 120.0
_KINDS: Final[dict[str, type[QueueContestant]]] = {
    kind.name: kind for kind in (OursOnSQLite, RawSQLite, RawVersion1, Huey)
}
_BY_HAND: Final[dict[str, float]] = {RawSQLite.name: 0.6, RawVersion1.name: 0.9}
"""Of what statements by hand do, how much we do at least."""


def measure(run: Run) -> None:
    """Let each contestant's processes compete, in turn, for several rounds."""
    seconds = run.settings.contention_seconds / 2
    rounds = 2 if run.settings.contention_seconds > 1 else 1
    size = int(seconds * _ITEMS_PER_SECOND)
    rates: dict[str, list[float]] = {name: [] for name in _KINDS}
    waits: dict[str, list[float]] = {name: [] for name in _KINDS}
    busy = dict.fromkeys(_KINDS, 0)
    for _ in range(rounds):
        for name in _KINDS:
            rate, wait, errors = compete(_KINDS[name], run.fixtures.scratch(), size, seconds, "NORMAL")
            rates[name].append(rate)
            waits[name].append(wait)
            busy[name] += errors
    medians = {}
    for name in _KINDS:
        work = f"claim + complete, {PROCESSES} processes, NORMAL"
        medians[name] = run.note(_QUESTION, work, name, size=size, unit="/s", values=tuple(rates[name]))
        run.note(_QUESTION, "longest wait of one call", name, size=size, unit="s", values=tuple(waits[name]))
        run.note(_QUESTION, "busy errors", name, size=size, unit="errors", values=(busy[name],))
    for name, share in _BY_HAND.items():
        ratio = medians[OURS_SQLITE] / medians[name]
        run.at_least(f"8 processes: SQLite / {name}", ratio, share, asked=size, size=size)
    run.at_most("8 processes: longest wait", max(waits[OURS_SQLITE]), 1.0, asked=size, size=size, unit="s")
    run.at_most("8 processes: busy errors", busy[OURS_SQLITE] + 1, 1, asked=size, size=size, unit="errors + 1")


def compete(
    kind: type[QueueContestant], folder: Path, size: int, seconds: float, synchronous: str
) -> tuple[float, float, int]:
    """Let processes of one contestant claim and complete.

    Args:
        kind: The contestant.
        folder: Where its files will be.
        size: How many items to fill in before.
        seconds: How long.
        synchronous: As for the contestant.

    Returns:
        Pairs a second, the longest wait of one call in seconds, and how many calls were told that the storage is busy.
    """
    contestant = kind(folder, "OFF")
    contestant.fill(new_items(size))
    contestant.close()
    make = partial(kind, folder, synchronous)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.SimpleQueue()
    processes = [context.Process(target=_worker, args=(make, seconds, barrier, results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join(_PATIENCE)
    contestant = make()
    done = contestant.done()
    contestant.close()
    served = [call_id for result in found for call_id in result[0]]
    assert len(set(served)) == len(served), f"{kind.name} served an item twice"
    assert set(done) == set(served), f"{kind.name} lost what it acknowledged"
    rate = len(served) / max(result[1] for result in found)
    return rate, max(result[2] for result in found), sum(result[3] for result in found)


def _worker(
    make: Callable[[], QueueContestant], seconds: float, barrier: Barrier, results: SimpleQueue[_Result]
) -> None:
    contestant = make()
    served: list[str] = []
    longest, errors = 0.0, 0
    barrier.wait(_PATIENCE)
    started = time.perf_counter()
    ends = started + seconds
    while time.perf_counter() < ends:
        before = time.perf_counter()
        try:
            taken = contestant.claim()
            between = time.perf_counter()
            if taken is None:
                break
            contestant.complete(taken[1], {"label": taken[0]})
            after = time.perf_counter()
        except (sqlite3.OperationalError, StorageBusy):
            errors += 1
            longest = max(longest, time.perf_counter() - before)
            continue
        longest = max(longest, between - before, after - between)
        served.append(taken[0])
    results.put((served, time.perf_counter() - started, longest, errors))
    contestant.close()
