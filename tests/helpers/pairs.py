"""The same project in a storage and in memory, with ids that are not in the order of the items and times that tie."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from annotation_queue import AnnotationQueues, MemoryRepository, SQLiteRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from annotation_queue import Repository

START = datetime(2026, 1, 5, tzinfo=UTC)


def of_one_project(repository: Repository) -> AnnotationQueues:
    """Make the service of the project."""
    numbers, ticks = count(), count()
    return AnnotationQueues(
        repository,
        "project",
        clock=lambda: START + timedelta(seconds=next(ticks) // 3),
        new_id=lambda: f"id-{next(numbers) * 7919 % 1000:03}",
    )


@contextmanager
def stored_and_remembered(path: Path) -> Iterator[tuple[AnnotationQueues, AnnotationQueues]]:
    """Make the project in a new file and in memory; the file must be whole at the end."""
    with SQLiteRepository(path, synchronous="OFF") as stored, MemoryRepository() as remembered:
        yield of_one_project(stored), of_one_project(remembered)
        assert stored.check() == ()
