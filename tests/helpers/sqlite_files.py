"""Files of SQLite for tests that begin with an empty one."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from annotation_queue import SQLiteRepository


def empty_repository(path: Path, busy_timeout: float | None = None) -> SQLiteRepository:
    """Open a copy of a file that was made once: to make the tables takes longer than most tests.

    Args:
        path: Where the copy is to be.
        busy_timeout: As `SQLiteRepository` takes it; None for its own.
    """
    shutil.copyfile(template(), path)
    if busy_timeout is None:
        return SQLiteRepository(path, synchronous="OFF")
    return SQLiteRepository(path, synchronous="OFF", busy_timeout=busy_timeout)


@cache
def template() -> Path:
    """Give the file that is copied; who breaks what makes files asks for it before."""
    folder = tempfile.TemporaryDirectory(prefix="aq-template-")
    _kept.append(folder)  # until the process ends
    path = Path(folder.name) / "empty.db"
    SQLiteRepository(path, synchronous="OFF").close()
    return path


_kept: list[tempfile.TemporaryDirectory[str]] = []
