"""`AsyncAnnotationQueues`: the service for coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

import attrs
from attrs import NOTHING

from annotation_queue.aio.calls import Calls
from annotation_queue.aio.claims import AsyncClaims
from annotation_queue.changes import ChangePage, Throughput
from annotation_queue.docstrings import documented_as, shown_whole
from annotation_queue.ids import uuid7
from annotation_queue.items import DEFAULT_LEASE, AnnotationQueue, QueueItem, QueueStats
from annotation_queue.json_values import JsonInput
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.repository import Repository
from annotation_queue.states import STANDARD, AnnotationState, Progress, SkipPolicy, Transition, Workflow
from annotation_queue.values import check_integer, refuse, utc_now
from annotation_queue.walks import Walk

_Unchanged: TypeAlias = attrs.NothingType
_THREADS: Final = 8

_Entity = TypeVar("_Entity")


@shown_whole
class AsyncAnnotationQueues(AsyncClaims):
    """The annotation queues of one project, for coroutines: every method of `AnnotationQueues`, awaited.

    Arguments, answers and errors are those of the method of the same name. Each call is made in one of a bounded number of
    threads, so that the event loop never waits for the storage; iterators read a page at a time in a thread. Safe to share
    between tasks, threads and event loops; make it after a fork. It holds threads, so make one for a project and not for a
    request, and close it: by ``async with``, or by `aclose`.

    If a task is cancelled while it waits for a call that has no thread yet, the call is not made. One that is under way
    cannot be stopped:

    - What `claim`, `claim_batch` and every other method that claims granted is released, with the reason "the caller was
      cancelled", so that no hold is left that nobody knows of. With ``resume=True`` it stays held: the next one finds it.
    - What reads has no effect.
    - What writes takes effect or not, and whoever was cancelled does not know it, as after `OutcomeUnknown`: the method's
      docstring says what to do then, and nearly all may be repeated.

    Args:
        repository: Where everything is stored; it stays the caller's to close, after these.
        project_id: The project: nothing of another one is ever seen or touched.
        workflow: Which moves an annotator may make.
        clock: Tells the time, as for `AnnotationQueues`; called in the threads.
        new_id: Makes ids, as for `AnnotationQueues`; called in the threads.
        threads: How many calls are under way at most, at least 1; further ones wait for a thread, in their order.
        executor: Threads of the caller's instead, to be shared by many of these; they are not ended here.

    >>> import asyncio
    >>> from annotation_queue import MemoryRepository, NewItem
    >>> async def main():
    ...     with MemoryRepository() as repository:
    ...         async with AsyncAnnotationQueues(repository, "acme/chatbot") as queues:
    ...             queue = await queues.create("Triage", created_by="ann")
    ...             await queues.add_items(queue.id, [NewItem(call_id="call-1")], added_by="ann")
    ...             claim = await queues.claim(queue.id, "bob")
    ...             await queues.complete(claim, {"label": "good"})
    ...             return [item.annotation_state.value async for item in queues.iter_items(queue.id)]
    >>> asyncio.run(main())
    ['completed']
    """

    def __init__(
        self,
        repository: Repository,
        project_id: str,
        *,
        workflow: Workflow = STANDARD,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = uuid7,
        threads: int = _THREADS,
        executor: ThreadPoolExecutor | None = None,
    ) -> None:
        self._sync = AnnotationQueues(repository, project_id, workflow=workflow, clock=clock, new_id=new_id)
        check_integer("threads", threads, minimum=1)
        if executor is not None and not isinstance(executor, ThreadPoolExecutor):
            raise refuse("executor", executor, "a concurrent.futures.ThreadPoolExecutor or None")
        self._calls = Calls(f"the queues of {project_id!r}", threads=threads, executor=executor)

    @property
    def sync(self) -> AnnotationQueues:
        """The service whose methods the threads call, for code that may wait."""
        return self._sync

    @property
    def project_id(self) -> str:
        """The project whose queues these are."""
        return self._sync.project_id

    @property
    def repository(self) -> Repository:
        """Where everything is stored, as `AnnotationQueues.repository`."""
        return self._sync.repository

    def using(self, repository: Repository) -> AsyncAnnotationQueues:
        """Give the same queues over another repository, as `AnnotationQueues.using`; it waits for nothing.

        They share the threads, and are closed with these.

        Args:
            repository: The repository, for example one that joins a transaction of yours.

        Returns:
            The queues.
        """
        made = AsyncAnnotationQueues.__new__(type(self))
        made._sync, made._calls = self._sync.using(repository), self._calls  # noqa: SLF001 - of our own class
        return made

    async def aclose(self) -> None:
        """Take no further calls, wait for those under way, and for claims that are given back; then end the threads.

        A second time it does nothing. Every method raises `StorageError` from then on. The repository stays open.
        """
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # The methods of the service, in its order; those that take claims or lists of items stand in `claims` and `lists`.

    @documented_as(AnnotationQueues.create)
    async def create(
        self,
        name: str,
        *,
        created_by: str,
        description: str = "",
        scorer_refs: Iterable[str] = (),
        annotations_per_item: int = 1,
        skip_policy: SkipPolicy = SkipPolicy.FINAL,
        lease: timedelta = DEFAULT_LEASE,
        label_schema: Mapping[str, JsonInput] | None = None,
        is_paused: bool = False,
        queue_id: str | None = None,
    ) -> AnnotationQueue:
        return await self._run(
            self._sync.create,
            name,
            created_by=created_by,
            description=description,
            scorer_refs=scorer_refs,
            annotations_per_item=annotations_per_item,
            skip_policy=skip_policy,
            lease=lease,
            label_schema=label_schema,
            is_paused=is_paused,
            queue_id=queue_id,
        )

    @documented_as(AnnotationQueues.get_or_create)
    async def get_or_create(
        self,
        name: str,
        *,
        created_by: str,
        description: str = "",
        scorer_refs: Iterable[str] = (),
        annotations_per_item: int = 1,
        skip_policy: SkipPolicy = SkipPolicy.FINAL,
        lease: timedelta = DEFAULT_LEASE,
        label_schema: Mapping[str, JsonInput] | None = None,
        is_paused: bool = False,
    ) -> AnnotationQueue:
        return await self._run(
            self._sync.get_or_create,
            name,
            created_by=created_by,
            description=description,
            scorer_refs=scorer_refs,
            annotations_per_item=annotations_per_item,
            skip_policy=skip_policy,
            lease=lease,
            label_schema=label_schema,
            is_paused=is_paused,
        )

    @documented_as(AnnotationQueues.get)
    async def get(self, queue_id: str) -> AnnotationQueue:
        return await self._run(self._sync.get, queue_id)

    @documented_as(AnnotationQueues.query)
    async def query(self, query: QueueQuery = QueueQuery()) -> QueuePage:  # noqa: B008 - a frozen value
        return await self._run(self._sync.query, query)

    @documented_as(AnnotationQueues.update)
    async def update(
        self,
        queue_id: str,
        *,
        name: str | _Unchanged = NOTHING,
        description: str | _Unchanged = NOTHING,
        scorer_refs: Iterable[str] | _Unchanged = NOTHING,
        annotations_per_item: int | _Unchanged = NOTHING,
        skip_policy: SkipPolicy | _Unchanged = NOTHING,
        lease: timedelta | _Unchanged = NOTHING,
        label_schema: Mapping[str, JsonInput] | _Unchanged | None = NOTHING,
        is_paused: bool | _Unchanged = NOTHING,
    ) -> AnnotationQueue:
        return await self._run(
            self._sync.update,
            queue_id,
            name=name,
            description=description,
            scorer_refs=scorer_refs,
            annotations_per_item=annotations_per_item,
            skip_policy=skip_policy,
            lease=lease,
            label_schema=label_schema,
            is_paused=is_paused,
        )

    @documented_as(AnnotationQueues.stats)
    async def stats(self, queue_ids: Iterable[str]) -> tuple[QueueStats, ...]:
        return await self._run(self._sync.stats, queue_ids)

    @documented_as(AnnotationQueues.get_item)
    async def get_item(
        self,
        item_id: str,
        *,
        queue_id: str | None = None,
        annotator_id: str | None = None,
        include_position: bool = False,
    ) -> QueueItem:
        return await self._run(
            self._sync.get_item,
            item_id,
            queue_id=queue_id,
            annotator_id=annotator_id,
            include_position=include_position,
        )

    @documented_as(AnnotationQueues.query_items)
    async def query_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> ItemPage:  # noqa: B008 - a frozen value
        return await self._run(self._sync.query_items, queue_id, query)

    @documented_as(AnnotationQueues.update_progress)
    async def update_progress(
        self,
        item_id: str,
        annotator_id: str,
        state: AnnotationState,
        *,
        queue_id: str | None = None,
        annotation: JsonInput = None,
        reason: str | None = None,
        actor_id: str | None = None,
        override: bool = False,
    ) -> QueueItem:
        return await self._run(
            self._sync.update_progress,
            item_id,
            annotator_id,
            state,
            queue_id=queue_id,
            annotation=annotation,
            reason=reason,
            actor_id=actor_id,
            override=override,
        )

    @documented_as(AnnotationQueues.reset)
    async def reset(
        self,
        queue_id: str,
        which: Iterable[str] | ItemFilter,
        *,
        actor_id: str,
        annotator_id: str | None = None,
        reason: str | None = None,
    ) -> int:
        return await self._run(
            self._sync.reset, queue_id, which, actor_id=actor_id, annotator_id=annotator_id, reason=reason
        )

    @documented_as(AnnotationQueues.progress)
    async def progress(self, item_id: str) -> tuple[Progress, ...]:
        return await self._run(self._sync.progress, item_id)

    @documented_as(AnnotationQueues.history)
    async def history(self, item_id: str) -> tuple[Transition, ...]:
        return await self._run(self._sync.history, item_id)

    @documented_as(AnnotationQueues.labels)
    async def labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> LabelPage:  # noqa: B008 - a frozen value
        return await self._run(self._sync.labels, queue_id, query)

    @documented_as(AnnotationQueues.changes)
    async def changes(self, queue_id: str, *, after: str | None = None, limit: int = 1000) -> ChangePage:
        return await self._run(self._sync.changes, queue_id, after=after, limit=limit)

    @documented_as(AnnotationQueues.throughput)
    async def throughput(self, queue_id: str, *, window: timedelta = timedelta(hours=1)) -> Throughput:
        return await self._run(self._sync.throughput, queue_id, window=window)

    def iter_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> AsyncIterator[QueueItem]:  # noqa: B008
        """Walk over items of a queue by cursor, as `AnnotationQueues.iter_items`; each page is read in a thread."""
        return self._walk(self.sync.iter_items(queue_id, query))

    def iter_labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> AsyncIterator[Label]:  # noqa: B008
        """Walk over labels of a queue by cursor, as `AnnotationQueues.iter_labels`; each page is read in a thread."""
        return self._walk(self.sync.iter_labels(queue_id, query))

    async def _walk(self, entities: Iterator[_Entity]) -> AsyncIterator[_Entity]:
        if not isinstance(entities, Walk):
            raise TypeError(f"expected a Walk, whose pages can be read one by one, got {type(entities).__name__}")
        while (page := await self._calls.run(partial(next, entities.pages, None))) is not None:
            # Each is let go of as it is shown, and all of them before the next page is read.
            rest = list(reversed(page))
            del page
            while rest:
                yield rest.pop()
