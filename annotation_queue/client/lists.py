"""The methods of the service that add and change many items at a time, asked of a server: at once, and as coroutines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

from annotation_queue.docstrings import documented_as
from annotation_queue.items import AddedItems, AnnotationQueue, ItemPatch, NewItem, Purged
from annotation_queue.query import ItemFilter
from annotation_queue.queues import AnnotationQueues

_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


class RemoteLists(ABC):
    """What `queues.RemoteQueues` does with lists of items; its class says what holds for every method."""

    @abstractmethod
    def _run(
        self, method: Callable[Concatenate[AnnotationQueues, _P], _Answer], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _Answer:
        """Ask the server for what a method of the service does."""

    @documented_as(AnnotationQueues.add_items)
    def add_items(self, queue_id: str, items: Iterable[NewItem], *, added_by: str) -> AddedItems:
        return self._run(AnnotationQueues.add_items, queue_id, items, added_by=added_by)

    @documented_as(AnnotationQueues.update_items)
    def update_items(self, queue_id: str, which: Iterable[str] | ItemFilter, patch: ItemPatch) -> int:
        return self._run(AnnotationQueues.update_items, queue_id, which, patch)

    @documented_as(AnnotationQueues.reprioritise)
    def reprioritise(self, queue_id: str, priorities: Mapping[str, int]) -> int:
        return self._run(AnnotationQueues.reprioritise, queue_id, priorities)

    @documented_as(AnnotationQueues.remove_items)
    def remove_items(self, queue_id: str, which: Iterable[str] | ItemFilter) -> int:
        return self._run(AnnotationQueues.remove_items, queue_id, which)

    @documented_as(AnnotationQueues.restore_items)
    def restore_items(self, queue_id: str, item_ids: Iterable[str]) -> int:
        return self._run(AnnotationQueues.restore_items, queue_id, item_ids)

    @documented_as(AnnotationQueues.delete)
    def delete(self, queue_id: str) -> AnnotationQueue:
        return self._run(AnnotationQueues.delete, queue_id)

    @documented_as(AnnotationQueues.restore)
    def restore(self, queue_id: str) -> AnnotationQueue:
        return self._run(AnnotationQueues.restore, queue_id)

    @documented_as(AnnotationQueues.purge)
    def purge(self, *, removed_before: datetime) -> Purged:
        return self._run(AnnotationQueues.purge, removed_before=removed_before)


class AsyncRemoteLists(ABC):
    """What `coroutines.AsyncRemoteQueues` does with lists of items; its class says what holds for every method."""

    @abstractmethod
    async def _run(
        self, method: Callable[Concatenate[AnnotationQueues, _P], _Answer], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _Answer:
        """Ask the server for what a method of the service does."""

    @documented_as(AnnotationQueues.add_items)
    async def add_items(self, queue_id: str, items: Iterable[NewItem], *, added_by: str) -> AddedItems:
        return await self._run(AnnotationQueues.add_items, queue_id, items, added_by=added_by)

    @documented_as(AnnotationQueues.update_items)
    async def update_items(self, queue_id: str, which: Iterable[str] | ItemFilter, patch: ItemPatch) -> int:
        return await self._run(AnnotationQueues.update_items, queue_id, which, patch)

    @documented_as(AnnotationQueues.reprioritise)
    async def reprioritise(self, queue_id: str, priorities: Mapping[str, int]) -> int:
        return await self._run(AnnotationQueues.reprioritise, queue_id, priorities)

    @documented_as(AnnotationQueues.remove_items)
    async def remove_items(self, queue_id: str, which: Iterable[str] | ItemFilter) -> int:
        return await self._run(AnnotationQueues.remove_items, queue_id, which)

    @documented_as(AnnotationQueues.restore_items)
    async def restore_items(self, queue_id: str, item_ids: Iterable[str]) -> int:
        return await self._run(AnnotationQueues.restore_items, queue_id, item_ids)

    @documented_as(AnnotationQueues.delete)
    async def delete(self, queue_id: str) -> AnnotationQueue:
        return await self._run(AnnotationQueues.delete, queue_id)

    @documented_as(AnnotationQueues.restore)
    async def restore(self, queue_id: str) -> AnnotationQueue:
        return await self._run(AnnotationQueues.restore, queue_id)

    @documented_as(AnnotationQueues.purge)
    async def purge(self, *, removed_before: datetime) -> Purged:
        return await self._run(AnnotationQueues.purge, removed_before=removed_before)
