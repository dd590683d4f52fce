"""Files of SQLite for tests that begin with an empty one."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from annotation_queue import SQLiteRepository


def empty_repository(path: Path) -> SQLiteRepository:
    """Open a copy of a file that was made once: to make the tables takes longer than most tests."""
    shutil.copyfile(_template(), path)
    return SQLiteRepository(path, synchronous="OFF")


@cache
def _template() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="aq-template-")
    _kept.append(folder)  # until the process ends
    path = Path(folder.name) / "empty.db"
    SQLiteRepository(path, synchronous="OFF").close()
    return path


_kept: list[tempfile.TemporaryDirectory[str]] = []
