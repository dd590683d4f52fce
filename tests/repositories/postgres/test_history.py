"""One long random history has the same answers in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from annotation_queue import MemoryRepository, SQLiteRepository
from helpers.long_histories import compare_long_history

if TYPE_CHECKING:
    from pathlib import Path

    from annotation_queue.repositories.postgres import PostgresRepository


@pytest.mark.slow(seconds=35)
def test_a_long_random_history_gives_the_same_answers_on_all_three(
    repository: PostgresRepository, tmp_path: Path
) -> None:
    with MemoryRepository() as memory, SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as sqlite:
        compare_long_history({"memory": memory, "sqlite": sqlite, "postgres": repository}, 10_000)
