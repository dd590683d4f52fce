"""The claims that a run holds, kept alive by heartbeats from a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue.batch.labelers import WorkerLost
from annotation_queue.errors import AnnotationQueueError, ClaimLost, NotFound
from annotation_queue.values import class_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from annotation_queue.items import Claim
    from annotation_queue.queues import AnnotationQueues

_LOG: Final = logging.getLogger("annotation_queue.batch")
_BEATS_PER_LEASE: Final = 3
_SHORTEST_INTERVAL: Final = 0.01
_LONGEST_INTERVAL: Final = 3_600.0
_EARLY: Final = 0.1
"""Which part of the interval a heartbeat may come too early, so that many are sent together."""
_MOST_TOGETHER: Final = 64
"""How many heartbeats are sent together at most: others wait for the storage meanwhile."""


@attrs.define(eq=False)
class Hold:
    """One claim that is held.

    Args:
        claim: The claim.
        due: When its next heartbeat is due, in monotonic seconds.
        until: When the lease ends that was confirmed last, in monotonic seconds.
        failing: Whether the storage refused the newest heartbeat.
        is_lost: Whether it is held no longer: a heartbeat found it lost, or they failed for longer than the lease.
    """

    claim: Claim
    due: float
    until: float
    failing: bool = False
    is_lost: bool = False

    @property
    def expired(self) -> bool:
        """Whether heartbeats have failed for longer than the lease, so that somebody else may hold the item by now."""
        return self.failing and time.monotonic() >= self.until


class Heartbeats:
    """Claims whose leases are prolonged, each when about a third of its lease has passed, until they are dropped.

    Labelers cannot delay the heartbeats, whatever they do. A heartbeat that finds the claim lost is the last one; one that
    the storage refuses is tried again until the lease has run out. Safe to share between threads.

    Args:
        queues: The service.
        lease: How long a claim lasts without a heartbeat.
    """

    def __init__(self, queues: AnnotationQueues, lease: timedelta) -> None:
        self._queues = queues
        self._lease = lease
        self._seconds = lease.total_seconds()
        self._interval = min(max(self._seconds / _BEATS_PER_LEASE, _SHORTEST_INTERVAL), _LONGEST_INTERVAL)
        self._lock = threading.Lock()
        # When a lease has run out, a run may be granted an item again that it still works on: so the token is in the key.
        self._held: dict[tuple[str, int], Hold] = {}
        # Whether a heartbeat ever failed; if none did, nothing can have expired.
        self._failed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)

    def start(self) -> None:
        """Begin: start the thread."""
        self._thread.start()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, claims: Iterable[Claim], since: float) -> None:
        """Keep claims that were just granted.

        Args:
            claims: The claims.
            since: When they were asked for, in monotonic seconds.
        """
        due, until = since + self._interval, since + self._seconds
        with self._lock:
            self._held.update((key_of(claim), Hold(claim, due, until)) for claim in claims)

    def drop(self, claims: Iterable[Claim]) -> None:
        """Keep claims no longer; a heartbeat for one of them may be under way."""
        with self._lock:
            for claim in claims:
                self._held.pop(key_of(claim), None)

    def has_expired(self, claim: Claim) -> bool:
        """Tell whether the heartbeats of a claim that is kept have failed for longer than its lease."""
        if not self._failed:
            return False
        hold = self._held.get(key_of(claim))
        return hold is not None and hold.expired

    def check(self) -> None:
        """Make sure that the heartbeats go on.

        Raises:
            WorkerLost: Their thread ended, and nobody had asked it to.
        """
        if not self._thread.is_alive() and not self._closing.is_set():
            raise WorkerLost("the thread of the heartbeats ended")

    def close(self, *, wait: bool) -> None:
        """Send no more heartbeats; with ``wait`` not before the last one ended."""
        self._closing.set()
        if wait and self._thread.ident is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._closing.wait(self._until_due()):
            soon = time.monotonic() + _EARLY * self._interval
            with self._lock:
                due = [hold for hold in self._held.values() if hold.due <= soon and not hold.is_lost]
            for first in range(0, len(due), _MOST_TOGETHER):
                if self._closing.is_set():
                    return
                self._prolong(
                    [hold for hold in due[first : first + _MOST_TOGETHER] if key_of(hold.claim) in self._held]
                )

    def _until_due(self) -> float:
        with self._lock:
            dues = [hold.due for hold in self._held.values() if not hold.is_lost]
        return max(0.0, min(dues) - time.monotonic()) if dues else self._interval

    def _prolong(self, holds: Sequence[Hold]) -> None:
        if not holds:
            return
        started = time.monotonic()
        try:
            outcomes = self._queues.heartbeat_batch([hold.claim for hold in holds], lease=self._lease)
        except NotFound:
            for hold in holds:
                hold.is_lost = True
        except Exception as error:  # noqa: BLE001 - the heartbeats must go on, whatever a storage raises
            if not any(hold.failing for hold in holds):
                said = str(error) if isinstance(error, AnnotationQueueError) else class_name(error)
                _LOG.warning("heartbeats for %d items failed, trying again: %s", len(holds), said)
            self._failed = True
            for hold in holds:
                hold.failing, hold.due = True, started + self._interval / _BEATS_PER_LEASE
                hold.is_lost = hold.expired
        else:
            for hold, outcome in zip(holds, outcomes, strict=True):
                if isinstance(outcome, ClaimLost):
                    hold.is_lost = True
                else:
                    hold.due, hold.until, hold.failing = started + self._interval, started + self._seconds, False


def key_of(claim: Claim) -> tuple[str, int]:
    """Tell claims apart, those on the same item too."""
    return claim.item.id, claim.token
