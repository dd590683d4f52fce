"""The methods of the service that take claims and give them, asked of a server: at once, and as coroutines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from annotation_queue.client.lists import AsyncRemoteLists, RemoteLists
from annotation_queue.docstrings import documented_as
from annotation_queue.errors import ClaimLost
from annotation_queue.items import Claim, ClaimRef, QueueItem, Unavailable
from annotation_queue.json_values import JsonInput
from annotation_queue.queues import AnnotationQueues


class RemoteClaims(RemoteLists):
    """What `queues.RemoteQueues` does with claims; its class says what holds for every method."""

    @documented_as(AnnotationQueues.claim)
    def claim(
        self, queue_id: str, annotator_id: str, *, lease: timedelta | None = None, resume: bool = False
    ) -> Claim | Unavailable:
        return self._run(AnnotationQueues.claim, queue_id, annotator_id, lease=lease, resume=resume)

    @documented_as(AnnotationQueues.claim_item)
    def claim_item(self, item_id: str, annotator_id: str, *, lease: timedelta | None = None) -> Claim | Unavailable:
        return self._run(AnnotationQueues.claim_item, item_id, annotator_id, lease=lease)

    @documented_as(AnnotationQueues.holds)
    def holds(self, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        return self._run(AnnotationQueues.holds, queue_id, annotator_id)

    @documented_as(AnnotationQueues.claim_batch)
    def claim_batch(
        self, queue_id: str, annotator_id: str, limit: int, *, lease: timedelta | None = None
    ) -> tuple[Claim, ...]:
        return self._run(AnnotationQueues.claim_batch, queue_id, annotator_id, limit, lease=lease)

    @documented_as(AnnotationQueues.heartbeat)
    def heartbeat(self, claim: Claim | ClaimRef, *, lease: timedelta | None = None) -> Claim:
        return self._run(AnnotationQueues.heartbeat, claim, lease=lease)

    @documented_as(AnnotationQueues.heartbeat_batch)
    def heartbeat_batch(
        self, claims: Iterable[Claim | ClaimRef], *, lease: timedelta | None = None
    ) -> tuple[Claim | ClaimLost, ...]:
        return self._run(AnnotationQueues.heartbeat_batch, claims, lease=lease)

    @documented_as(AnnotationQueues.save_draft)
    def save_draft(self, claim: Claim | ClaimRef, annotation: JsonInput, *, lease: timedelta | None = None) -> Claim:
        return self._run(AnnotationQueues.save_draft, claim, annotation, lease=lease)

    @documented_as(AnnotationQueues.complete)
    def complete(self, claim: Claim | ClaimRef, annotation: JsonInput = None) -> QueueItem:
        return self._run(AnnotationQueues.complete, claim, annotation)

    @documented_as(AnnotationQueues.complete_batch)
    def complete_batch(
        self, results: Iterable[tuple[Claim | ClaimRef, JsonInput]]
    ) -> tuple[QueueItem | ClaimLost, ...]:
        return self._run(AnnotationQueues.complete_batch, results)

    @documented_as(AnnotationQueues.skip)
    def skip(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        return self._run(AnnotationQueues.skip, claim, reason)

    @documented_as(AnnotationQueues.release)
    def release(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        return self._run(AnnotationQueues.release, claim, reason)


class AsyncRemoteClaims(AsyncRemoteLists):
    """What `coroutines.AsyncRemoteQueues` does with claims; its class says what holds for every method."""

    @documented_as(AnnotationQueues.claim)
    async def claim(
        self, queue_id: str, annotator_id: str, *, lease: timedelta | None = None, resume: bool = False
    ) -> Claim | Unavailable:
        return await self._run(AnnotationQueues.claim, queue_id, annotator_id, lease=lease, resume=resume)

    @documented_as(AnnotationQueues.claim_item)
    async def claim_item(
        self, item_id: str, annotator_id: str, *, lease: timedelta | None = None
    ) -> Claim | Unavailable:
        return await self._run(AnnotationQueues.claim_item, item_id, annotator_id, lease=lease)

    @documented_as(AnnotationQueues.holds)
    async def holds(self, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        return await self._run(AnnotationQueues.holds, queue_id, annotator_id)

    @documented_as(AnnotationQueues.claim_batch)
    async def claim_batch(
        self, queue_id: str, annotator_id: str, limit: int, *, lease: timedelta | None = None
    ) -> tuple[Claim, ...]:
        return await self._run(AnnotationQueues.claim_batch, queue_id, annotator_id, limit, lease=lease)

    @documented_as(AnnotationQueues.heartbeat)
    async def heartbeat(self, claim: Claim | ClaimRef, *, lease: timedelta | None = None) -> Claim:
        return await self._run(AnnotationQueues.heartbeat, claim, lease=lease)

    @documented_as(AnnotationQueues.heartbeat_batch)
    async def heartbeat_batch(
        self, claims: Iterable[Claim | ClaimRef], *, lease: timedelta | None = None
    ) -> tuple[Claim | ClaimLost, ...]:
        return await self._run(AnnotationQueues.heartbeat_batch, claims, lease=lease)

    @documented_as(AnnotationQueues.save_draft)
    async def save_draft(
        self, claim: Claim | ClaimRef, annotation: JsonInput, *, lease: timedelta | None = None
    ) -> Claim:
        return await self._run(AnnotationQueues.save_draft, claim, annotation, lease=lease)

    @documented_as(AnnotationQueues.complete)
    async def complete(self, claim: Claim | ClaimRef, annotation: JsonInput = None) -> QueueItem:
        return await self._run(AnnotationQueues.complete, claim, annotation)

    @documented_as(AnnotationQueues.complete_batch)
    async def complete_batch(
        self, results: Iterable[tuple[Claim | ClaimRef, JsonInput]]
    ) -> tuple[QueueItem | ClaimLost, ...]:
        return await self._run(AnnotationQueues.complete_batch, results)

    @documented_as(AnnotationQueues.skip)
    async def skip(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        return await self._run(AnnotationQueues.skip, claim, reason)

    @documented_as(AnnotationQueues.release)
    async def release(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        return await self._run(AnnotationQueues.release, claim, reason)
