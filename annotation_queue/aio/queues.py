"""`AsyncAnnotationQueues`: the service for coroutines."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from annotation_queue.aio.calls import Calls
from annotation_queue.backoff import Backoff
from annotation_queue.errors import ClaimLost, Conflict, NotFound, StorageError
from annotation_queue.ids import uuid7
from annotation_queue.items import Claim, QueueItem, Unavailable
from annotation_queue.labels import Label, LabelQuery
from annotation_queue.query import ItemQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.repository import Repository
from annotation_queue.states import STANDARD, Workflow
from annotation_queue.values import check_integer, refuse, utc_now
from annotation_queue.walks import Walk

_LOG: Final = logging.getLogger("annotation_queue.aio")
CANCELLED: Final = "the caller was cancelled"
"""The reason with which a claim is released that nobody got."""
_THREADS: Final = 8
_RETRIES: Final = Backoff(first=0.05, longest=2.0)
_PATIENCE: Final = 60.0
"""How long a claim that nobody got is tried to be given back while the storage fails, in seconds."""

_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")
_Entity = TypeVar("_Entity")


def _coroutine(
    method: Callable[Concatenate[AnnotationQueues, _P], _Answer],
) -> Callable[Concatenate[AsyncAnnotationQueues, _P], Coroutine[Any, Any, _Answer]]:
    """Make the coroutine method that calls a method of the service in a thread."""

    @wraps(method)
    async def call(self: AsyncAnnotationQueues, /, *args: _P.args, **kwargs: _P.kwargs) -> _Answer:
        return await self._calls.run(partial(method, self.sync, *args, **kwargs))

    return _at_home(call)


def _claiming(
    method: Callable[Concatenate[AnnotationQueues, _P], _Answer],
) -> Callable[Concatenate[AsyncAnnotationQueues, _P], Coroutine[Any, Any, _Answer]]:
    """Make the coroutine method of one that grants claims: they are given back if the caller is cancelled."""

    @wraps(method)
    async def call(self: AsyncAnnotationQueues, /, *args: _P.args, **kwargs: _P.kwargs) -> _Answer:
        # What is resumed was held before, with a draft perhaps, and the next call with `resume` finds it.
        undo = None if kwargs.get("resume") else self._give_back
        return await self._calls.run(partial(method, self.sync, *args, **kwargs), undo=undo)

    return _at_home(call)


def _at_home(call: Callable[_P, _Answer]) -> Callable[_P, _Answer]:
    call.__module__, call.__qualname__ = __name__, f"AsyncAnnotationQueues.{call.__name__}"
    return call


class AsyncAnnotationQueues:
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

    # The methods of the service, in its order.

    create = _coroutine(AnnotationQueues.create)
    get_or_create = _coroutine(AnnotationQueues.get_or_create)
    get = _coroutine(AnnotationQueues.get)
    query = _coroutine(AnnotationQueues.query)
    update = _coroutine(AnnotationQueues.update)
    stats = _coroutine(AnnotationQueues.stats)
    get_item = _coroutine(AnnotationQueues.get_item)
    query_items = _coroutine(AnnotationQueues.query_items)
    claim = _claiming(AnnotationQueues.claim)
    claim_item = _claiming(AnnotationQueues.claim_item)
    holds = _coroutine(AnnotationQueues.holds)
    claim_batch = _claiming(AnnotationQueues.claim_batch)
    heartbeat = _coroutine(AnnotationQueues.heartbeat)
    heartbeat_batch = _coroutine(AnnotationQueues.heartbeat_batch)
    save_draft = _coroutine(AnnotationQueues.save_draft)
    complete = _coroutine(AnnotationQueues.complete)
    complete_batch = _coroutine(AnnotationQueues.complete_batch)
    skip = _coroutine(AnnotationQueues.skip)
    release = _coroutine(AnnotationQueues.release)
    update_progress = _coroutine(AnnotationQueues.update_progress)
    reset = _coroutine(AnnotationQueues.reset)
    progress = _coroutine(AnnotationQueues.progress)
    history = _coroutine(AnnotationQueues.history)
    labels = _coroutine(AnnotationQueues.labels)
    changes = _coroutine(AnnotationQueues.changes)
    throughput = _coroutine(AnnotationQueues.throughput)
    add_items = _coroutine(AnnotationQueues.add_items)
    update_items = _coroutine(AnnotationQueues.update_items)
    reprioritise = _coroutine(AnnotationQueues.reprioritise)
    remove_items = _coroutine(AnnotationQueues.remove_items)
    restore_items = _coroutine(AnnotationQueues.restore_items)
    delete = _coroutine(AnnotationQueues.delete)
    restore = _coroutine(AnnotationQueues.restore)
    purge = _coroutine(AnnotationQueues.purge)

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

    def _give_back(self, granted: object) -> None:
        """Release what was granted to a caller who was cancelled; in a thread."""
        for claim in granted if isinstance(granted, tuple) else (granted,):
            if not isinstance(claim, Unavailable):
                self._release(claim)

    def _release(self, claim: Claim) -> None:
        until, failures = time.monotonic() + _PATIENCE, 0
        while True:
            try:
                self.sync.release(claim, CANCELLED)
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
