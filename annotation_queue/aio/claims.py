"""The methods of the service that take claims and give them, as coroutines; no claim is lost to a cancellation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Final, ParamSpec, TypeVar

from annotation_queue.aio.lists import AsyncLists
from annotation_queue.backoff import Backoff
from annotation_queue.docstrings import documented_as
from annotation_queue.errors import ClaimLost, Conflict, NotFound, StorageError
from annotation_queue.items import Claim, ClaimRef, QueueItem, Unavailable
from annotation_queue.json_values import JsonInput
from annotation_queue.queues import AnnotationQueues

_LOG: Final = logging.getLogger("annotation_queue.aio")
CANCELLED: Final = "the caller was cancelled"
"""The reason with which a claim is released that nobody got."""
_RETRIES: Final = Backoff(first=0.05, longest=2.0)
_PATIENCE: Final = 60.0
"""How long a claim that nobody got is tried to be given back while the storage fails, in seconds."""

_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


class AsyncClaims(AsyncLists):
    """What `queues.AsyncAnnotationQueues` does with claims; its class says what holds for every method."""

    async def _run_claiming(self, method: Callable[_P, _Answer], /, *args: _P.args, **kwargs: _P.kwargs) -> _Answer:
        """Call a method that grants claims in a thread, and give them back if the caller is cancelled."""
        return await self._calls.run(partial(method, *args, **kwargs), undo=self._give_back)

    @documented_as(AnnotationQueues.claim)
    async def claim(
        self, queue_id: str, annotator_id: str, *, lease: timedelta | None = None, resume: bool = False
    ) -> Claim | Unavailable:
        # What is resumed was held before, with a draft perhaps, and the next call with `resume` finds it.
        run = self._run if resume else self._run_claiming
        return await run(self._sync.claim, queue_id, annotator_id, lease=lease, resume=resume)

    @documented_as(AnnotationQueues.claim_item)
    async def claim_item(
        self, item_id: str, annotator_id: str, *, lease: timedelta | None = None
    ) -> Claim | Unavailable:
        return await self._run_claiming(self._sync.claim_item, item_id, annotator_id, lease=lease)

    @documented_as(AnnotationQueues.holds)
    async def holds(self, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        return await self._run(self._sync.holds, queue_id, annotator_id)

    @documented_as(AnnotationQueues.claim_batch)
    async def claim_batch(
        self, queue_id: str, annotator_id: str, limit: int, *, lease: timedelta | None = None
    ) -> tuple[Claim, ...]:
        return await self._run_claiming(self._sync.claim_batch, queue_id, annotator_id, limit, lease=lease)

    @documented_as(AnnotationQueues.heartbeat)
    async def heartbeat(self, claim: Claim | ClaimRef, *, lease: timedelta | None = None) -> Claim:
        return await self._run(self._sync.heartbeat, claim, lease=lease)

    @documented_as(AnnotationQueues.heartbeat_batch)
    async def heartbeat_batch(
        self, claims: Iterable[Claim | ClaimRef], *, lease: timedelta | None = None
    ) -> tuple[Claim | ClaimLost, ...]:
        return await self._run(self._sync.heartbeat_batch, claims, lease=lease)

    @documented_as(AnnotationQueues.save_draft)
    async def save_draft(
        self, claim: Claim | ClaimRef, annotation: JsonInput, *, lease: timedelta | None = None
    ) -> Claim:
        return await self._run(self._sync.save_draft, claim, annotation, lease=lease)

    @documented_as(AnnotationQueues.complete)
    async def complete(self, claim: Claim | ClaimRef, annotation: JsonInput = None) -> QueueItem:
        return await self._run(self._sync.complete, claim, annotation)

    @documented_as(AnnotationQueues.complete_batch)
    async def complete_batch(
        self, results: Iterable[tuple[Claim | ClaimRef, JsonInput]]
    ) -> tuple[QueueItem | ClaimLost, ...]:
        return await self._run(self._sync.complete_batch, results)

    @documented_as(AnnotationQueues.skip)
    async def skip(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        return await self._run(self._sync.skip, claim, reason)

    @documented_as(AnnotationQueues.release)
    async def release(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        return await self._run(self._sync.release, claim, reason)

    def _give_back(self, granted: object) -> None:
        """Release what was granted to a caller who was cancelled; in a thread."""
        for claim in granted if isinstance(granted, tuple) else (granted,):
            if not isinstance(claim, Unavailable):
                self._release(claim)

    def _release(self, claim: Claim) -> None:
        until, failures = time.monotonic() + _PATIENCE, 0
        while True:
            try:
                self._sync.release(claim, CANCELLED)
            except (ClaimLost, NotFound):
                return
            except (StorageError, Conflict) as error:
                failures += 1
                if self._calls.is_closed or time.monotonic() >= until:
                    _LOG.warning(
                        "a claim on item %r whose caller was cancelled could not be given back, and ends with its lease: %s",
                        claim.item.id,
                        error,
                    )
                    return
                time.sleep(_RETRIES.wait(failures))
            else:
                return
