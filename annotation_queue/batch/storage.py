"""One annotator's calls to a queue whose storage may fail for a while."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from annotation_queue.errors import (
    AnnotationQueueError,
    ClaimLost,
    Conflict,
    OutcomeUnknown,
    SchemaVersionUnknown,
    StorageCorrupt,
    StorageError,
)
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.states import IN_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from annotation_queue.items import Claim, QueueItem, Unavailable
    from annotation_queue.json_values import JsonValue
    from annotation_queue.queues import AnnotationQueues

_Result = TypeVar("_Result")

PATIENCE: float = 60.0
"""How long the storage may fail before a run ends, in seconds."""
FIRST_WAIT: float = 0.05
"""Seconds before a call is tried again, at most; doubled each time."""
LONGEST_WAIT: float = 2.0
"""Longest wait between two tries, in seconds."""


class RetryingQueue:
    """A queue whose calls are tried again while its storage fails: busy, full, gone, or with an unknown outcome.

    Each of them may be repeated: what an unknown claim was granted comes back when its lease ends; a completion or a skip
    that took effect under the same token is a no-op; a release is `ClaimLost` then. What does not pass by itself (a damaged
    storage, a newer schema) is raised at once.

    Every method raises `StorageError` where the storage fails for 60 seconds or past the deadline, `QueueNotFound`, and
    `Conflict` where others keep changing the same items for as long.

    Args:
        queues: The service.
        queue_id: The queue.
        annotator_id: Who claims.
        lease: How long a claim lasts without a heartbeat.
        on_failing: Called before each wait.
        pause: Waits for so many seconds, or less.
        chance: Gives random numbers from 0 to 1.
    """

    def __init__(
        self,
        queues: AnnotationQueues,
        queue_id: str,
        *,
        annotator_id: str,
        lease: timedelta,
        on_failing: Callable[[], object],
        pause: Callable[[float], object],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._queues = queues
        self._queue_id = queue_id
        self._annotator_id = annotator_id
        self._lease = lease
        self._on_failing = on_failing
        self._pause = pause
        self._chance = chance
        self.error: str | None = None
        """What the storage fails with; None while it works."""
        self.deadline = float("inf")
        """When no call is tried again any more, in monotonic seconds."""

    def claim_batch(self, limit: int, is_wanted: Callable[[], bool]) -> tuple[Claim, ...]:
        """Claim items; none where the storage fails and they are not wanted any more."""
        call = partial(self._queues.claim_batch, self._queue_id, self._annotator_id, limit, lease=self._lease)
        return self._retry(call, is_wanted) or ()

    def claim(self, is_wanted: Callable[[], bool]) -> Claim | Unavailable | None:
        """Claim one item or learn why there is none; None where the storage fails and it is not wanted any more."""
        call = partial(self._queues.claim, self._queue_id, self._annotator_id, lease=self._lease)
        return self._retry(call, is_wanted)

    def count_holds(self) -> int:
        """Count the items that the annotator holds, in this run and elsewhere."""
        query = ItemQuery(
            filter=ItemFilter(annotation_states={IN_PROGRESS}),
            limit=0,
            include_total=True,
            annotator_id=self._annotator_id,
        )
        page = self._retry(lambda: self._queues.query_items(self._queue_id, query))
        return 0 if page is None else page.total or 0

    def complete(self, results: Sequence[tuple[Claim, JsonValue]]) -> tuple[QueueItem | ClaimLost, ...]:
        """Store labels."""
        return self._retry(lambda: self._queues.complete_batch(results)) or ()

    def skip(self, claim: Claim, reason: str | None) -> str:
        """Skip an item; ``skipped``, or ``lost`` where the claim was."""
        try:
            self._retry(lambda: self._queues.skip(claim, reason))
        except ClaimLost:
            return "lost"
        return "skipped"

    def release(self, claim: Claim, reason: str | None) -> str:
        """Release an item; ``released``, or ``lost`` where the claim was."""
        unknown = False

        def release() -> None:
            nonlocal unknown
            try:
                self._queues.release(claim, reason)
            except OutcomeUnknown:
                unknown = True
                raise

        try:
            self._retry(release)
        except ClaimLost:
            return "released" if unknown else "lost"
        return "released"

    def _retry(self, call: Callable[[], _Result], is_wanted: Callable[[], bool] = lambda: True) -> _Result | None:
        give_up, wait = time.monotonic() + PATIENCE, FIRST_WAIT
        while True:
            try:
                result = call()
            except (StorageCorrupt, SchemaVersionUnknown):
                raise
            except (StorageError, Conflict) as error:
                self.error = str(error)
                if not is_wanted():
                    return None
                if time.monotonic() >= min(give_up, self.deadline):
                    raise
            except AnnotationQueueError:
                self.error = None  # that is an answer
                raise
            else:
                self.error = None
                return result
            self._on_failing()
            self._pause(wait * (1 - self._chance() / 2))
            wait = min(2 * wait, LONGEST_WAIT)
