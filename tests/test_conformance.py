"""Our own repositories keep the whole contract."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from annotation_queue import MemoryRepository, SQLiteRepository
from annotation_queue.testing import RepositoryContract

if TYPE_CHECKING:
    from pathlib import Path


class TestMemoryRepository(RepositoryContract):
    many = 5_000
    histories_per_example = 2

    def make_repository(self) -> MemoryRepository:
        return MemoryRepository()


class TestSQLiteRepository(RepositoryContract):
    many = 5_000
    histories_per_example = 2

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{number}.db" for number in itertools.count())

    def make_repository(self) -> SQLiteRepository:
        return SQLiteRepository(next(self.paths), synchronous="OFF")
