"""The library, behind the calls of a contestant."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    ItemFilter,
    ItemQuery,
    MemoryRepository,
    SQLiteRepository,
)
from benchmarks.fixtures import LONG_LEASE, PROJECT
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from annotation_queue import Claim, JsonValue, NewItem, Repository

_ANNOTATOR = "ann"


class Ours:
    """The service over any repository, with one queue.

    Args:
        folder: Where its file is, or will be.
        synchronous: See `QueueContestant`.
    """

    name: ClassVar[str]
    on_disk: ClassVar[bool]
    in_queue_order: ClassVar[bool] = True

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.repository = self._open(folder, synchronous)
        self.queues = AnnotationQueues(self.repository, PROJECT)
        there = self.queues.query().queues
        queue = there[0] if there else self.queues.create("Triage", created_by="ann", lease=LONG_LEASE)
        self.queue_id = queue.id

    def _open(self, folder: Path, synchronous: str) -> Repository:
        raise NotImplementedError

    def fill(self, items: Iterable[NewItem]) -> None:
        """Add items in one call."""
        self.queues.add_items(self.queue_id, items, added_by="ann")

    def claim(self) -> tuple[str, Claim] | None:
        """Claim the first item in queue order."""
        claim = self.queues.claim(self.queue_id, _ANNOTATOR)
        return (claim.item.call_id, claim) if claim else None

    def complete(self, claim: Claim, label: dict[str, JsonValue]) -> None:
        """Finish a claim."""
        self.queues.complete(claim, label)

    def done(self) -> Sequence[str]:
        """Read what was completed, and check labels, history and counters."""
        completed = ItemQuery(filter=ItemFilter(annotation_states={AnnotationState.COMPLETED}))
        items = list(self.queues.iter_items(self.queue_id, completed))
        for item in items[:100]:
            assert [each.to_state for each in self.queues.history(item.id)] == ["in_progress", "completed"]
            assert [each.annotation for each in self.queues.progress(item.id)] == [{"label": item.call_id}]
        (stats,) = self.queues.stats([self.queue_id])
        assert stats.by_state[AnnotationState.COMPLETED] == stats.finished_items == len(items)
        return [item.call_id for item in items]

    def close(self) -> None:
        """Close the repository."""
        self.repository.close()


class OursOnSQLite(Ours):
    """`SQLiteRepository`."""

    name: ClassVar[str] = OURS_SQLITE
    on_disk: ClassVar[bool] = True

    def _open(self, folder: Path, synchronous: str) -> Repository:
        return SQLiteRepository(folder / "ours.db", synchronous=synchronous)


class OursInMemory(Ours):
    """`MemoryRepository`; durable is nothing of it."""

    name: ClassVar[str] = OURS_MEMORY
    on_disk: ClassVar[bool] = False

    def _open(self, folder: Path, synchronous: str) -> Repository:  # noqa: ARG002 - there is no file
        return MemoryRepository()
