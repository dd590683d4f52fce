"""One long random history has the same answers everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from annotation_queue import MemoryRepository, SQLiteRepository
from annotation_queue.repositories.memory import queries as memory_queries
from annotation_queue.repositories.memory import sorted_keys, timed_keys
from annotation_queue.repositories.sqlite import blocks as sqlite_blocks
from annotation_queue.repositories.sqlite.queries import filters as sqlite_filters
from helpers.long_histories import compare_long_history

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few items fill many blocks of every index and count, and be too many to be sorted for each page."""
    for module, size in {sqlite_blocks: 2, sorted_keys: 4, timed_keys: 3}.items():
        monkeypatch.setattr(module, "SIZE" if module is sqlite_blocks else "_FULL", size)
    for module, name, few in ((sqlite_filters, "FEW", 0), (memory_queries, "_FEW", 3), (memory_queries, "_GLANCE", 5)):
        monkeypatch.setattr(module, name, few)


@pytest.mark.slow(seconds=30)
@pytest.mark.usefixtures("_short_blocks")
def test_a_long_random_history_gives_the_same_answers_everywhere(tmp_path: Path) -> None:
    with MemoryRepository() as memory, SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as sqlite:
        compare_long_history({"memory": memory, "sqlite": sqlite}, 20_000)
        assert (memory.check(), sqlite.check()) == ((), ())
