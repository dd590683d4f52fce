"""Our own repositories keep the whole contract."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from annotation_queue import MemoryRepository, SQLiteRepository
from annotation_queue.repositories.memory import queries as memory_queries
from annotation_queue.repositories.memory import sorted_keys, timed_keys
from annotation_queue.repositories.sqlite import blocks as sqlite_blocks
from annotation_queue.repositories.sqlite.queries import filters as sqlite_filters
from annotation_queue.testing import (
    AgreementContract,
    BulkContract,
    CursorsContract,
    PositionsContract,
    RepositoryContract,
)
from helpers.faults import FAST
from helpers.sqlite_files import empty_repository

if TYPE_CHECKING:
    from pathlib import Path

MANY = 500 if FAST else 5_000
"""How many items the threads share."""
# Coverage is measured of the suite, with the repository that runs it fastest; tests beside this one cover enough of the others.


class TestMemoryRepository(RepositoryContract):
    many = MANY
    histories_per_example = 1 / 3

    def make_repository(self) -> MemoryRepository:
        return MemoryRepository()


@pytest.mark.unmeasured
class TestSQLiteRepository(RepositoryContract):
    many = MANY
    histories_per_example = 1 / 3

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{number}.db" for number in itertools.count())

    def make_repository(self) -> SQLiteRepository:
        return empty_repository(next(self.paths))


@pytest.mark.unmeasured
class TestMemoryRepositoryInShortBlocks(AgreementContract, BulkContract, CursorsContract, PositionsContract):
    """Few items fill several blocks of every index, and are enough to arrange selections."""

    histories_per_example = 1 / 3

    test_what_must_be_refused_is_refused_and_changes_nothing = None  # type: ignore[assignment]  # it stores next to nothing

    @pytest.fixture(autouse=True)
    def _short_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sorted_keys, "_FULL", 2)
        monkeypatch.setattr(timed_keys, "_FULL", 2)
        monkeypatch.setattr(memory_queries, "_FEW", 1)
        monkeypatch.setattr(memory_queries, "_GLANCE", 1)

    def make_repository(self) -> MemoryRepository:
        return MemoryRepository()


@pytest.mark.unmeasured
class TestSQLiteRepositoryInShortBlocks(AgreementContract, BulkContract, CursorsContract, PositionsContract):
    """Few items fill several blocks of every lane, and are too many to be sorted."""

    histories_per_example = 1 / 3

    test_what_must_be_refused_is_refused_and_changes_nothing = None  # type: ignore[assignment]  # it stores next to nothing

    @pytest.fixture(autouse=True)
    def _short_blocks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = (tmp_path / f"{number}.db" for number in itertools.count())
        monkeypatch.setattr(sqlite_blocks, "SIZE", 1)
        monkeypatch.setattr(sqlite_filters, "FEW", 0)

    def make_repository(self) -> SQLiteRepository:
        return empty_repository(next(self.paths))
