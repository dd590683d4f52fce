"""The same project on SQLite and in memory, with ids that are not in the order of the items and times that tie."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from annotation_queue import AnnotationQueues, MemoryRepository, SQLiteRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = datetime(2026, 1, 5, tzinfo=UTC)


@contextmanager
def stored_and_remembered(path: Path) -> Iterator[tuple[AnnotationQueues, AnnotationQueues]]:
    """Make the project in a new file and in memory; the file must be whole at the end."""
    made = []
    with SQLiteRepository(path, synchronous="OFF") as stored, MemoryRepository() as remembered:
        for repository in (stored, remembered):
            numbers, ticks = count(), count()
            made.append(
                AnnotationQueues(
                    repository,
                    "project",
                    clock=lambda ticks=ticks: START + timedelta(seconds=next(ticks) // 3),  # type: ignore[misc]
                    new_id=lambda numbers=numbers: f"id-{next(numbers) * 7919 % 1000:03}",  # type: ignore[misc]
                )
            )
        yield made[0], made[1]
        assert stored.check() == ()
