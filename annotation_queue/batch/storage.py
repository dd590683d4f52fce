"""One annotator's calls to a queue whose storage may fail for a while."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from annotation_queue.batch.work import is_failure
from annotation_queue.errors import (
    AnnotationQueueError,
    ClaimLost,
    Conflict,
    ItemNotFound,
    OutcomeUnknown,
    SchemaVersionUnknown,
    StorageCorrupt,
    StorageError,
)
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.records import standing
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime, timedelta

    from annotation_queue.batch.limits import Limits
    from annotation_queue.items import Claim, QueueItem, Unavailable
    from annotation_queue.json_values import JsonValue
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.states import AnnotationState, Progress

_Result = TypeVar("_Result")

_LOG: Final = logging.getLogger("annotation_queue.batch")
_TAKEN_UP: Final = "failed items are taken up again"
"""The reason with which an item that failed in an earlier run is reset."""


class RetryingQueue:
    """A queue whose calls are tried again while its storage fails: busy, full, gone, or with an unknown outcome.

    Each of them may be repeated: what an unknown claim was granted comes back when its lease ends; a completion or a skip
    that took effect under the same token is a no-op; a release is `ClaimLost` then. What does not pass by itself (a damaged
    storage, a newer schema) is raised at once.

    Every method raises `StorageError` if the storage fails for longer than the limits allow or past the deadline,
    `QueueNotFound`, and `Conflict` if others keep changing the same items for as long.

    Args:
        queues: The service.
        queue_id: The queue.
        annotator_id: Who claims.
        lease: How long a claim lasts without a heartbeat.
        limits: How long and how often a call is tried again.
        on_failing: Called before each wait.
        pause: Waits for a number of seconds, or less.
    """

    def __init__(
        self,
        queues: AnnotationQueues,
        queue_id: str,
        *,
        annotator_id: str,
        lease: timedelta,
        limits: Limits,
        on_failing: Callable[[], object],
        pause: Callable[[float], object],
    ) -> None:
        self._queues = queues
        self._queue_id = queue_id
        self._annotator_id = annotator_id
        self._lease = lease
        self._on_failing = on_failing
        self._pause = pause
        self._limits = limits
        self.error: str | None = None
        """What the storage fails with; None while it works."""
        self.deadline = float("inf")
        """When no call is tried again any more, in monotonic seconds."""

    def claim_batch(self, limit: int, is_wanted: Callable[[], bool]) -> tuple[Claim, ...]:
        """Claim items; none if the storage fails and they are not wanted any more."""
        call = partial(self._queues.claim_batch, self._queue_id, self._annotator_id, limit, lease=self._lease)
        return self._retry(call, is_wanted) or ()

    def claim(self, is_wanted: Callable[[], bool]) -> Claim | Unavailable | None:
        """Claim one item or learn why there is none; None if the storage fails and it is not wanted any more."""
        call = partial(self._queues.claim, self._queue_id, self._annotator_id, lease=self._lease)
        return self._retry(call, is_wanted)

    def count_holds(self, retry_at: datetime, *, kept: Collection[str]) -> int:
        """Count the items that come back to the annotator when its own leases end, those that an earlier run held.

        Items that are finished, or that others hold for longer, do not: there is no point in waiting for them.

        Args:
            retry_at: When the annotator can claim something again if leases only end, as a claim has just said, UTC.
            kept: The ids of the items that this run holds itself.
        """
        return self._retry(partial(self._count_holds, retry_at, kept)) or 0

    def find_failures(self, is_wanted: Callable[[], bool]) -> tuple[str, ...]:
        """Find the items that the annotator's earlier runs failed on and skipped for that. Linear in the skipped items."""
        return self._retry(self._find_failures, is_wanted) or ()

    def reset(self, item_ids: Sequence[str], is_wanted: Callable[[], bool]) -> None:
        """Take items up again that the annotator skipped."""
        call = partial(self._queues.reset, self._queue_id, item_ids)
        who = {"actor_id": self._annotator_id, "annotator_id": self._annotator_id}
        self._retry(partial(call, **who, reason=_TAKEN_UP), is_wanted)

    def count_finished_by_others(self) -> int:
        """Count the items of a finished queue that the annotator neither completed nor skipped."""
        found = self._retry(lambda: self._queues.stats((self._queue_id,)))
        if not found:
            return 0
        own = found[0].by_annotator.get(self._annotator_id, {})
        return found[0].total_items - own.get(COMPLETED, 0) - own.get(SKIPPED, 0)

    def _count_holds(self, retry_at: datetime, kept: Collection[str]) -> int:
        queue = self._queues.get(self._queue_id)
        count = 0
        for own, all_of_item in self._progresses_in(IN_PROGRESS):
            ends = own.lease_expires_at
            # A hold whose lease ended before was passed over by the claim: it is others that keep the item.
            if own.item_id not in kept and ends is not None and ends >= retry_at:
                count += not standing(all_of_item, queue).finished
        return count

    def _find_failures(self) -> tuple[str, ...]:
        (stats,) = self._queues.stats((self._queue_id,))
        if SKIPPED not in stats.by_annotator.get(self._annotator_id, {}):
            return ()
        return tuple(own.item_id for own, _ in self._progresses_in(SKIPPED) if is_failure(own.reason))

    def _progresses_in(self, state: AnnotationState) -> Iterator[tuple[Progress, tuple[Progress, ...]]]:
        """Walk the items on which the annotator's progress is in a state: its progress, and all on the item."""
        chosen = ItemFilter(annotation_states={state})
        query = ItemQuery(filter=chosen, annotator_id=self._annotator_id, include_payload=False)
        for item in self._queues.iter_items(self._queue_id, query):
            try:
                progresses = self._queues.progress(item.id)
            except ItemNotFound:
                continue  # it was removed meanwhile
            for own in progresses:
                if own.annotator_id == self._annotator_id and own.state is state:
                    yield own, progresses

    def complete(self, results: Sequence[tuple[Claim, JsonValue]]) -> tuple[QueueItem | ClaimLost, ...]:
        """Store labels."""
        return self._retry(lambda: self._queues.complete_batch(results)) or ()

    def skip(self, claim: Claim, reason: str | None) -> str:
        """Skip an item; ``skipped``, or ``lost`` if the claim was."""
        try:
            self._retry(lambda: self._queues.skip(claim, reason))
        except ClaimLost:
            return "lost"
        return "skipped"

    def release(self, claim: Claim, reason: str | None) -> str:
        """Release an item; ``released``, or ``lost`` if the claim was."""
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
        give_up, failures = time.monotonic() + self._limits.patience, 0
        while True:
            try:
                result = call()
            except (StorageCorrupt, SchemaVersionUnknown):
                raise
            except (StorageError, Conflict) as error:
                if self.error is None:
                    _LOG.warning("the storage fails, trying again: %s", error)
                self.error = str(error)
                failures += 1
                if not is_wanted():
                    return None
                if time.monotonic() >= min(give_up, self.deadline):
                    raise
            except AnnotationQueueError:
                self.error = None  # that is an answer
                raise
            else:
                if self.error is not None:
                    _LOG.info("the storage works again")
                self.error = None
                return result
            self._on_failing()
            self._pause(self._limits.storage_retries.wait(failures))
