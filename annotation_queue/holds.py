"""The claims that a run holds, kept alive by heartbeats from a thread of their own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from annotation_queue.errors import AnnotationQueueError, ClaimLost, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from annotation_queue.items import Claim
    from annotation_queue.queues import AnnotationQueues

_BEATS_PER_LEASE: Final = 3
_SHORTEST_INTERVAL: Final = 0.01
_LONGEST_INTERVAL: Final = 3_600.0


class Holds:
    """Claims whose leases are prolonged, each when a third of its lease has passed, until they are dropped.

    Labelers cannot delay the heartbeats, whatever they do. A heartbeat that finds the claim lost drops it; one that the
    storage refuses is tried again. Safe to share between threads.

    Args:
        queues: The service.
        lease: How long a claim lasts without a heartbeat.
    """

    def __init__(self, queues: AnnotationQueues, lease: timedelta) -> None:
        self._queues = queues
        self._lease = lease
        self._interval = min(max(lease.total_seconds() / _BEATS_PER_LEASE, _SHORTEST_INTERVAL), _LONGEST_INTERVAL)
        self._lock = threading.Lock()
        # By item id: the claim, and at which monotonic second its heartbeat is due.
        self._due: dict[str, tuple[Claim, float]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)
        self._thread.start()

    def add(self, claims: Iterable[Claim]) -> None:
        """Keep claims that were just granted."""
        due = time.monotonic() + self._interval
        with self._lock:
            self._due.update((claim.item.id, (claim, due)) for claim in claims)

    def drop(self, claim: Claim) -> None:
        """Keep a claim no longer; a heartbeat for it may be under way."""
        with self._lock:
            if self._is_kept(claim):
                del self._due[claim.item.id]

    def close(self, *, wait: bool) -> None:
        """Send no more heartbeats; with ``wait`` not before the last one ended."""
        self._closing.set()
        if wait:
            self._thread.join()

    def _beat(self) -> None:
        while not self._closing.wait(self._until_due()):
            now = time.monotonic()
            with self._lock:
                due = [claim for claim, at in self._due.values() if at <= now]
            for claim in due:
                if self._closing.is_set():
                    return
                self._prolong(claim)

    def _until_due(self) -> float:
        with self._lock:
            earliest = min((at for _, at in self._due.values()), default=time.monotonic() + self._interval)
        return max(0.0, earliest - time.monotonic())

    def _prolong(self, claim: Claim) -> None:
        started = time.monotonic()
        try:
            self._queues.heartbeat(claim, lease=self._lease)
        except (ClaimLost, NotFound):
            self.drop(claim)
            return
        except AnnotationQueueError:
            due = started + self._interval / _BEATS_PER_LEASE
        else:
            due = started + self._interval
        with self._lock:
            if self._is_kept(claim):
                self._due[claim.item.id] = (claim, due)

    def _is_kept(self, claim: Claim) -> bool:
        kept = self._due.get(claim.item.id)
        return kept is not None and kept[0] is claim
