"""How long an import takes, each in a new process, without what the interpreter itself needs to start."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.harness import Lap, Run

_NOTHING: Final = "nothing"
_MODULES: Final = {
    "annotation_queue": "annotation_queue",
    "attrs": "attrs",
    "sqlite3": "sqlite3",
    "SQLAlchemy ORM": "sqlalchemy.orm",
    "huey": "huey",
    "persist-queue": "persistqueue",
    "litequeue": "litequeue",
    "diskcache": "diskcache",
    "pandas": "pandas",
    "duckdb": "duckdb",
}


def measure(run: Run) -> None:
    """Race new processes. There is no line; the figures include starting Python."""
    laps = {_NOTHING: _lap("pass")} | {name: _lap(f"import {module}") for name, module in _MODULES.items()}
    run.race("imports", "start Python and import", 1, laps, unit="ms")


def _lap(statement: str) -> Lap:
    def lap() -> tuple[int, float]:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return 1, time.perf_counter() - started

    return lap
