"""Adding many items in one call: each call once, with every index that the queries need."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchmarks.contestants.bare import DiskCache, Huey, Litequeue
from benchmarks.contestants.orm import SQLAlchemyORM
from benchmarks.contestants.ours import OursInMemory, OursOnSQLite
from benchmarks.contestants.raw import RawSQLite
from benchmarks.fixtures import new_items
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue import NewItem
    from benchmarks.contestants import QueueContestant
    from benchmarks.harness import Lap, Run

# persist-queue adds one by one, each with its own commit: that is another work.
_CONTESTANTS: Final[tuple[type[QueueContestant], ...]] = (
    OursOnSQLite,
    RawSQLite,
    SQLAlchemyORM,
    Huey,
    DiskCache,
    Litequeue,
    OursInMemory,
)
_ASKED: Final = 100_000


def measure(run: Run) -> None:
    """Race them into empty storages; making the items is not timed."""
    sizes = [size for size in run.settings.sizes if size <= _ASKED]
    for size in sizes:
        items = list(new_items(size))
        laps = {kind.name: _lap(run, kind, items) for kind in _CONTESTANTS}
        rates = run.race("adding", "bulk add, NORMAL", size, laps, unit="/s")
    ratio = rates[OURS_SQLITE] / rates[RawSQLite.name]
    run.at_least("bulk add: SQLite / sqlite3 by hand", ratio, 0.5, asked=_ASKED, size=size)
    run.at_least("bulk add: memory", rates[OURS_MEMORY], 40_000, asked=_ASKED, size=size, unit="/s")


def _lap(run: Run, kind: type[QueueContestant], items: Sequence[NewItem]) -> Lap:
    def lap() -> tuple[int, float]:
        contestant = kind(run.fixtures.scratch(), "NORMAL")
        started = time.perf_counter()
        contestant.fill(items)
        elapsed = time.perf_counter() - started
        taken = contestant.claim()
        first = items[0]
        if kind.in_queue_order:
            first = max(items, key=lambda new: new.priority)
        assert taken is not None
        assert taken[0] == first.call_id, f"{kind.name} serves a wrong item"
        contestant.close()
        return len(items), elapsed

    return lap
