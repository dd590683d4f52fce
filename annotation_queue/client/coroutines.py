"""`AsyncRemoteQueues`: the service of another machine, for coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from annotation_queue.arguments import check_query
from annotation_queue.client.exchanges import Exchange, call, unanswered
from annotation_queue.client.queues import TIMEOUT, headers_of
from annotation_queue.items import QueueItem
from annotation_queue.labels import Label, LabelQuery
from annotation_queue.query import ItemQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.values import check_id
from annotation_queue.walks import WALK_PAGE

_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


def _remote(
    method: Callable[Concatenate[AnnotationQueues, _P], _Answer],
) -> Callable[Concatenate[AsyncRemoteQueues, _P], Coroutine[Any, Any, _Answer]]:
    """Make the coroutine method that asks the server for one of the service's."""

    @wraps(method)
    async def ask(self: AsyncRemoteQueues, /, *args: _P.args, **kwargs: _P.kwargs) -> _Answer:
        answer: _Answer = await self._run(call(self.project_id, method.__name__, args, kwargs))
        return answer

    ask.__module__, ask.__qualname__ = __name__, f"AsyncRemoteQueues.{method.__name__}"
    return ask


class AsyncRemoteQueues:
    """The annotation queues of one project on a server, for coroutines: every method of `AnnotationQueues`, awaited.

    A task that is cancelled while it waits does not know whether its call took effect, as after `OutcomeUnknown`; what it
    claimed stays held until its lease ends, and ``claim(..., resume=True)`` finds it.

    Args:
        url: Where the app is served, without ``/v1``.
        project_id: The project: nothing of another one is ever seen or touched.
        token: A bearer token that the server knows; None if the client brings credentials of its own.
        client: An httpx client of yours; it is not closed here.
    """

    def __init__(
        self, url: str, project_id: str, *, token: str | None = None, client: httpx.AsyncClient | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._project_id = check_id("project_id", project_id)
        self._headers = headers_of(token)
        self._own = None if client is not None else httpx.AsyncClient(timeout=TIMEOUT)
        self._client = client or self._own or httpx.AsyncClient()

    @property
    def project_id(self) -> str:
        """The project whose queues these are."""
        return self._project_id

    async def aclose(self) -> None:
        """Close the connections. A second time it does nothing."""
        if self._own is not None:
            await self._own.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, exchange: Exchange) -> Any:  # noqa: ANN401 - what the method returns
        try:
            sent = next(exchange)
            while True:
                try:
                    answer = await self._client.request(
                        sent.method,
                        self._url + sent.path,
                        params=sent.params,
                        content=sent.body,
                        headers=self._headers | sent.headers,
                    )
                except httpx.TransportError as error:
                    raise unanswered(error) from error
                sent = exchange.send(answer)
        except StopIteration as done:
            return done.value

    # The methods of the service, in its order.

    create = _remote(AnnotationQueues.create)
    get_or_create = _remote(AnnotationQueues.get_or_create)
    get = _remote(AnnotationQueues.get)
    query = _remote(AnnotationQueues.query)
    update = _remote(AnnotationQueues.update)
    stats = _remote(AnnotationQueues.stats)
    get_item = _remote(AnnotationQueues.get_item)
    query_items = _remote(AnnotationQueues.query_items)
    claim = _remote(AnnotationQueues.claim)
    claim_item = _remote(AnnotationQueues.claim_item)
    holds = _remote(AnnotationQueues.holds)
    claim_batch = _remote(AnnotationQueues.claim_batch)
    heartbeat = _remote(AnnotationQueues.heartbeat)
    heartbeat_batch = _remote(AnnotationQueues.heartbeat_batch)
    save_draft = _remote(AnnotationQueues.save_draft)
    complete = _remote(AnnotationQueues.complete)
    complete_batch = _remote(AnnotationQueues.complete_batch)
    skip = _remote(AnnotationQueues.skip)
    release = _remote(AnnotationQueues.release)
    update_progress = _remote(AnnotationQueues.update_progress)
    reset = _remote(AnnotationQueues.reset)
    progress = _remote(AnnotationQueues.progress)
    history = _remote(AnnotationQueues.history)
    labels = _remote(AnnotationQueues.labels)
    changes = _remote(AnnotationQueues.changes)
    throughput = _remote(AnnotationQueues.throughput)
    add_items = _remote(AnnotationQueues.add_items)
    update_items = _remote(AnnotationQueues.update_items)
    reprioritise = _remote(AnnotationQueues.reprioritise)
    remove_items = _remote(AnnotationQueues.remove_items)
    restore_items = _remote(AnnotationQueues.restore_items)
    delete = _remote(AnnotationQueues.delete)
    restore = _remote(AnnotationQueues.restore)
    purge = _remote(AnnotationQueues.purge)

    async def iter_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> AsyncIterator[QueueItem]:  # noqa: B008
        """Walk over items of a queue by cursor, as `AnnotationQueues.iter_items`; each page is a request."""
        left, cursor = check_query(query, ItemQuery).limit, None
        while True:
            page = await self.query_items(queue_id, query.part(_page(left), cursor))
            left, cursor = None if left is None else left - len(page.items), page.next_cursor
            for item in page.items:
                yield item
            if cursor is None or left == 0:
                return

    async def iter_labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> AsyncIterator[Label]:  # noqa: B008
        """Walk over labels of a queue by cursor, as `AnnotationQueues.iter_labels`; each page is a request."""
        left, cursor = check_query(query, LabelQuery).limit, None
        while True:
            page = await self.labels(queue_id, query.part(_page(left), cursor))
            left, cursor = None if left is None else left - len(page.labels), page.next_cursor
            for label in page.labels:
                yield label
            if cursor is None or left == 0:
                return


def _page(left: int | None) -> int:
    return WALK_PAGE if left is None else min(left, WALK_PAGE)
