"""Claims and completions: one at a time, each durable before it is acknowledged.

What was tried and lost, as pairs per second of processor time, by hand-written statements among 100,000 items on SQLite 3.40
at NORMAL, medians of interleaved laps. Every index: 7,494; without the one by state 9,556; without that by time of update
too 10,822: pages by state and by time of update would have to sort. Progresses and transitions in one clustered table
besides: 12,167, for a table that is two; leases and counters in one table besides: 11,989. Pages of 8 KiB 5,793, of 4 KiB
7,902, of 2 KiB 8,364, of 1 KiB 8,242: not worth an unusual file. A checkpoint every 4,000 pages instead of 1,000: 7,461; every
10,000: 6,933. Memory-mapped reads: 7,716.

What schema version 2 gave up for pages, in the library among 100,000 items, as pages of the log a pair: the index by state
4.3 (the state in the index of queue order writes 1.0 instead), by time of update 3.3 (the index of times that the log does
not tell, 1.1), of leases 2.0, of what is held 2.0 and of labels 1.0 (nothing: rows beside the counters, and the log), counts
of blocks apart from the counters 2.0 (nothing). Before that 24.6, now 11.9 at the head of the queue and 12.3 further on: each
index more is at least one. Of the 12.3 the log and the progresses take 5.1 and not 4, since SQLite spreads a full last page
of a table without row numbers over its neighbours. What is counted of stretches of the log stood before what every claim
changes, and moved that apart: 14.3 in the middle of the queue.

Moving an item between the counts of its block in one statement, with the block found by a correlated row value, passes every
block before it: 707 steps of SQLite's machine among 40,000 items; a seek and an update are 93.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from annotation_queue import MemoryRepository, SQLiteRepository
from benchmarks.contestants.bare import DiskCache, Huey, Litequeue, PersistQueue
from benchmarks.contestants.orm import SQLAlchemyORM
from benchmarks.contestants.ours import OursInMemory, OursOnSQLite
from benchmarks.contestants.raw import RawSQLite
from benchmarks.contestants.raw_version_1 import RawVersion1
from benchmarks.fixtures import Filled, complete, fill, new_items
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE, race, repeated

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import Repository
    from benchmarks.contestants import QueueContestant
    from benchmarks.harness import Run

CONTESTANTS: Final[tuple[type[QueueContestant], ...]] = (
    OursOnSQLite,
    RawSQLite,
    RawVersion1,
    Huey,
    DiskCache,
    SQLAlchemyORM,
    PersistQueue,
    Litequeue,
    OursInMemory,
)
_GROWING: Final[dict[type[QueueContestant], str]] = {OursOnSQLite: "SQLite", OursInMemory: "memory", RawSQLite: ""}
_STORAGES: Final = ("SQLite", "memory")
_QUESTION: Final = "claims"
_SMALL: Final = 10_000
_ASKED: Final = 100_000
_LARGE: Final = 1_000_000
_EXPIRY: Final = timedelta(minutes=5)


def measure(run: Run) -> None:
    """Race them, and judge the lines on claims."""
    check(run)
    size = run.settings.size(_ASKED)
    normal = _race(run, size, "NORMAL", CONTESTANTS)
    ours = normal[OURS_SQLITE]
    work = "claim + complete, NORMAL"
    run.at_least(f"{work}: SQLite / sqlite3 by hand", ours / normal[RawSQLite.name], 0.6, asked=_ASKED, size=size)
    run.at_least(f"{work}: SQLite / version 1 by hand", ours / normal[RawVersion1.name], 1.0, asked=_ASKED, size=size)
    run.at_least(f"{work}: SQLite / huey", ours / normal[Huey.name], 0.7, asked=_ASKED, size=size)
    run.at_least(f"{work}: SQLite / SQLAlchemy", ours / normal[SQLAlchemyORM.name], 10, asked=_ASKED, size=size)
    run.at_least(f"{work}: memory", normal[OURS_MEMORY], 20_000, asked=_ASKED, size=size, unit="/s")
    full = _race(run, size, "FULL", [kind for kind in CONTESTANTS if kind.on_disk])
    run.at_least(
        "claim + complete, FULL: SQLite / sqlite3 by hand",
        full[OURS_SQLITE] / full[RawSQLite.name],
        0.9,
        asked=_ASKED,
        size=size,
    )
    run.at_least(
        "claim + complete, FULL: SQLite / version 1 by hand",
        full[OURS_SQLITE] / full[RawVersion1.name],
        0.95,
        asked=_ASKED,
        size=size,
    )
    _measure_growth(run)
    _measure_veteran(run)
    _measure_expired(run)


def check(run: Run) -> None:
    """Let every contestant empty a small queue: everything once, in order, with its label."""
    items = list(new_items(60))
    in_order = [new.call_id for new in items]
    by_priority = [new.call_id for new in sorted(items, key=lambda new: -new.priority)]
    for kind in CONTESTANTS:
        with run.fixtures.queue(kind, len(items), "NORMAL") as contestant:
            served = []
            while (taken := contestant.claim()) is not None:
                served.append(taken[0])
                contestant.complete(taken[1], {"label": taken[0]})
            assert served == (by_priority if kind.in_queue_order else in_order), f"{kind.name} serves a wrong order"
            assert sorted(contestant.done()) == in_order, f"{kind.name} lost something"


def pair(contestant: QueueContestant) -> Callable[[], None]:
    """Make one claim with its completion."""
    claim, complete_ = contestant.claim, contestant.complete

    def claim_and_complete() -> None:
        taken = claim()
        assert taken is not None, f"{contestant.name} ran out of items"
        complete_(taken[1], {"label": taken[0]})

    return claim_and_complete


def _pairs_in(run: Run, size: int) -> int:
    # Never more than half of the queue, over all rounds.
    return min(run.settings.pairs, size // (2 * run.settings.rounds))


def _race(
    run: Run, size: int, synchronous: str, kinds: tuple[type[QueueContestant], ...] | list[type[QueueContestant]]
) -> dict[str, float]:
    settings = run.settings
    with ExitStack() as stack:
        laps = {}
        for kind in kinds:
            step = pair(stack.enter_context(run.fixtures.queue(kind, size, synchronous)))
            laps[kind.name] = repeated(step, at_most=_pairs_in(run, size), seconds=settings.lap_seconds)
        return run.race(_QUESTION, f"claim + complete, {synchronous}", size, laps, unit="/s")


def _measure_growth(run: Run) -> None:
    """Race the same contestant in a small and a large queue."""
    small, large = run.settings.size(_SMALL), run.settings.size(_LARGE)
    if small == large:
        small = run.settings.sizes[0]
    pairs = _pairs_in(run, small)
    for kind, storage in _GROWING.items():
        with ExitStack() as stack:
            laps = {}
            for size in (small, large):
                step = pair(stack.enter_context(run.fixtures.queue(kind, size, "NORMAL")))
                laps[f"{size}"] = repeated(step, at_most=pairs, seconds=run.settings.lap_seconds)
            seconds = race(laps, run.settings.rounds, run.settings.budget)
        work = "claim + complete by size, NORMAL"
        rates = {
            size: run.note(
                _QUESTION, work, kind.name, size=size, unit="/s", values=tuple(1 / each for each in seconds[f"{size}"])
            )
            for size in (small, large)
        }
        if storage:
            growth = rates[small] / rates[large]
            run.at_most(f"claim + complete: {storage}, growth", growth, 1.3, asked=_LARGE, size=large)


def _measure_veteran(run: Run) -> None:
    """Three annotations per item: one annotator has done very many that are open for others, the other none."""
    special, pairs = run.settings.special, _pairs_in(run, run.settings.special)
    for storage in _STORAGES:
        spare = pairs * run.settings.rounds
        with _repository(run, storage) as repository:
            # Completed one by one first and opened for two others then: how long claims take a veteran is what is asked.
            filled = fill(repository, special + spare)
            complete(filled, "veteran", special)
            filled.queues.update(filled.queue_id, annotations_per_item=3)
            laps = {
                f"{storage}, {who}": repeated(
                    _service_pair(filled, who), at_most=pairs, seconds=run.settings.lap_seconds
                )
                for who in ("veteran", "novice")
            }
            rates = run.race(_QUESTION, "claim + complete, 3 annotations per item", special, laps, unit="/s")
        ratio = rates[f"{storage}, novice"] / rates[f"{storage}, veteran"]
        run.at_most(f"claims after very many of one's own: {storage}", ratio, 1.5, asked=_ASKED, size=special)


def _measure_expired(run: Run) -> None:
    """Very many leases have just expired, beside the same queue in which they have not."""
    special, pairs = run.settings.special, _pairs_in(run, run.settings.special)
    for storage in _STORAGES:
        laps = {}
        with ExitStack() as stack:
            for state in ("expired", "live"):
                repository = stack.enter_context(_repository(run, storage))
                filled = fill(repository, special + pairs * run.settings.rounds)
                for _ in range(special // 100):
                    filled.queues.claim_batch(filled.queue_id, "gone", 100, lease=_EXPIRY)
                if state == "expired":
                    filled.clock.advance(_EXPIRY)
                step = _service_pair(filled, "ann")
                laps[f"{storage}, {state}"] = repeated(step, at_most=pairs, seconds=run.settings.lap_seconds)
            rates = run.race(_QUESTION, "claim + complete, very many leases", special, laps, unit="/s")
        ratio = rates[f"{storage}, live"] / rates[f"{storage}, expired"]
        run.at_most(f"claims after very many leases expired: {storage}", ratio, 2, asked=_ASKED, size=special)


def _repository(run: Run, storage: str) -> Repository:
    if storage == "memory":
        return MemoryRepository()
    return SQLiteRepository(run.fixtures.scratch() / "special.db", synchronous="NORMAL")


def _service_pair(filled: Filled, annotator: str) -> Callable[[], None]:
    queues, queue_id = filled.queues, filled.queue_id

    def claim_and_complete() -> None:
        claim = queues.claim(queue_id, annotator)
        assert claim, f"nothing to claim: {claim}"
        queues.complete(claim, {"label": "good"})

    return claim_and_complete
