"""The queues of a repository whose depth, age and expiries are read when metrics are collected."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from annotation_queue.errors import QueueNotFound
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.repository import Repository
from annotation_queue.sorting import SortBy
from annotation_queue.states import LEASE_EXPIRED
from annotation_queue.values import class_name

PROJECT: Final = "annotation_queue.project_id"
QUEUE: Final = "annotation_queue.queue_id"
_LOG: Final = logging.getLogger("annotation_queue.telemetry")
_MOST_QUEUES: Final = 100
_LOG_PAGE: Final = 1_000
_MOST_PAGES: Final = 50
"""How many pages of a queue's log are read in one collection: the count catches up over several, and never stops for long."""
_OLDEST: Final = ItemQuery(
    filter=ItemFilter(finished=False),
    sort_by=(SortBy("created_at"),),
    limit=1,
    include_payload=False,
)


class QueueKey(NamedTuple):
    """A queue, by which it is watched."""

    project_id: str
    queue_id: str

    def attributes(self) -> dict[str, str]:
        """Say which it is, on a span or a value of a metric."""
        return {PROJECT: self.project_id, QUEUE: self.queue_id}


class _Progress:
    """What is kept of a queue between two collections: how far its log was read, and how many leases ran out up to there."""

    def __init__(self) -> None:
        self.is_kept = False
        self.lock = threading.Lock()
        self.cursor: str | None = None
        self.expiries = 0


class WatchedQueues:
    """The queues of one repository that are used, and those that somebody wants to be told of.

    Args:
        repository: Where they are.
        clock: Tells the time, timezone-aware.
    """

    def __init__(self, repository: Repository, clock: Callable[[], datetime]) -> None:
        self._repository = repository
        self._clock = clock
        self._lock = threading.Lock()
        # In the order in which they were used last, so that the oldest makes room.
        self._queues: dict[QueueKey, _Progress] = {}

    def listed(self) -> list[QueueKey]:
        """Name them, the one that was used last at the end."""
        with self._lock:
            return list(self._queues)

    def use(self, key: QueueKey, *, is_kept: bool = False) -> None:
        """Note that a queue is used; the one that was not used for longest makes room, unless it is kept."""
        with self._lock:
            progress = self._queues.pop(key, None) or _Progress()
            progress.is_kept |= is_kept
            self._queues[key] = progress
            others = [each for each, found in self._queues.items() if not found.is_kept]
            for each in others[: max(0, len(others) - _MOST_QUEUES)]:
                del self._queues[each]

    def depths(self) -> dict[QueueKey, float]:
        """Count the live items of each that are not finished."""
        return self._read(self._depth)

    def ages(self) -> dict[QueueKey, float]:
        """Tell how many seconds ago the oldest item of each was added that is not finished; 0 without one."""
        return self._read(self._age)

    def expiries(self) -> dict[QueueKey, float]:
        """Count the leases of each that ran out and whose item was granted again."""
        return self._read(self._expired)

    def _read(self, read: Callable[[QueueKey, _Progress], float]) -> dict[QueueKey, float]:
        """Read something of every queue; what cannot be read now is left out."""
        with self._lock:
            queues = dict(self._queues)
        found = {}
        for key, progress in queues.items():
            try:
                found[key] = read(key, progress)
            except QueueNotFound:
                with self._lock:
                    self._queues.pop(key, None)
            except Exception as error:  # noqa: BLE001 - whatever a storage raises, the other queues are read
                _LOG.info("queue %r could not be observed: %s", key.queue_id, class_name(error))
        return found

    def _depth(self, key: QueueKey, _progress: _Progress) -> float:
        (stats,) = self._repository.stats(key.project_id, (key.queue_id,))
        return stats.total_items - stats.finished_items

    def _age(self, key: QueueKey, _progress: _Progress) -> float:
        found = self._repository.query_items(key.project_id, key.queue_id, _OLDEST).items
        return max(0.0, (self._clock() - found[0].created_at).total_seconds()) if found else 0.0

    def _expired(self, key: QueueKey, progress: _Progress) -> float:
        with progress.lock:
            for _ in range(_MOST_PAGES):
                page = self._repository.changes(key.project_id, key.queue_id, progress.cursor, _LOG_PAGE)
                progress.cursor = page.cursor
                progress.expiries += sum(
                    step.actor_id is None and step.reason == LEASE_EXPIRED for step in page.transitions
                )
                if len(page.transitions) < _LOG_PAGE:
                    break
            return progress.expiries
