"""How large an item is: in memory, and in the file. Without payload."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.contestants.orm import SQLAlchemyORM
from benchmarks.contestants.ours import OursOnSQLite
from benchmarks.contestants.raw import RawSQLite
from benchmarks.fixtures import new_items
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contestants import QueueContestant
    from benchmarks.harness import Run

_QUESTION: Final = "sizes"
_ASKED: Final = 100_000

# In a process of its own, so that nothing else is in the way; the resident set, because that is what a user pays for.
_MEMORY: Final = """
import gc, os, sys
from annotation_queue import MemoryRepository
from benchmarks.fixtures import fill, work_off
def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
fill(MemoryRepository(), 100)
before = resident()
filled = fill(MemoryRepository(), int(sys.argv[1]))
added = resident()
work_off(filled)
print(added - before, resident() - before)
"""


def measure(run: Run) -> None:
    """Weigh the fresh file, the file with some of it worked off, and the process."""
    size = run.settings.size(_ASKED)
    fresh, each_pair = {}, {}
    for kind in (OursOnSQLite, RawSQLite, SQLAlchemyORM):
        fresh[kind.name], each_pair[kind.name] = _weigh_file(run, kind, size)
    for name, value in fresh.items():
        run.note(_QUESTION, "file, fresh items", name, size=size, unit="bytes/item", values=(value,))
    for name, value in each_pair.items():
        run.note(_QUESTION, "file, what completing adds", name, size=size, unit="bytes/item", values=(value,))
    ratio = fresh[OURS_SQLITE] / fresh[RawSQLite.name]
    run.at_most("file per item: SQLite / sqlite3 by hand", ratio, 1.3, asked=_ASKED, size=size)
    completed = {name: fresh[name] + each_pair[name] for name in fresh}
    ratio = completed[OURS_SQLITE] / completed[RawSQLite.name]
    run.at_most("file per completed item: SQLite / sqlite3 by hand", ratio, 1.3, asked=_ASKED, size=size)
    # A small repository is smaller than what the allocator takes at once.
    large = max(size, 20_000)
    added, worked = _weigh_memory(large)
    run.note(_QUESTION, "memory, fresh items", OURS_MEMORY, size=large, unit="bytes/item", values=(added,))
    run.note(_QUESTION, "memory, nine of ten completed", OURS_MEMORY, size=large, unit="bytes/item", values=(worked,))
    run.at_most("memory per item", added, 1_000, asked=_ASKED, size=large, unit="bytes")


def _weigh_file(run: Run, kind: type[QueueContestant], size: int) -> tuple[float, float]:
    folder = run.fixtures.scratch()
    contestant = kind(folder, "OFF")
    contestant.fill(new_items(size))
    contestant.close()
    fresh = _bytes(folder)
    contestant = kind(folder, "OFF")
    done = min(size, run.settings.file_pairs)
    for _ in range(done):
        taken = contestant.claim()
        assert taken is not None
        contestant.complete(taken[1], {"label": "good"})
    contestant.close()
    return fresh / size, (_bytes(folder) - fresh) / done


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _weigh_memory(size: int) -> tuple[float, float]:
    found = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(size)], capture_output=True, text=True, check=True
    ).stdout.split()
    return int(found[0]) / size, int(found[1]) / size
