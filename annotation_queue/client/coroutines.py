"""`AsyncRemoteQueues`: the service of another machine, for coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar

import attrs
import httpx
from attrs import NOTHING

from annotation_queue.arguments import check_query
from annotation_queue.changes import ChangePage, Throughput
from annotation_queue.client.claims import AsyncRemoteClaims
from annotation_queue.client.exchanges import Exchange, call, unanswered
from annotation_queue.client.queues import TIMEOUT, headers_of
from annotation_queue.docstrings import documented_as, shown_whole
from annotation_queue.items import DEFAULT_LEASE, AnnotationQueue, QueueItem, QueueStats
from annotation_queue.json_values import JsonInput
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import AnnotationState, Progress, SkipPolicy, Transition
from annotation_queue.values import check_id
from annotation_queue.walks import WALK_PAGE

_Unchanged: TypeAlias = attrs.NothingType
_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


@shown_whole
class AsyncRemoteQueues(AsyncRemoteClaims):
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

    async def _run(
        self, method: Callable[Concatenate[AnnotationQueues, _P], _Answer], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _Answer:
        answer: _Answer = await self._exchange(call(self.project_id, method.__name__, args, kwargs))
        return answer

    async def _exchange(self, exchange: Exchange) -> Any:  # noqa: ANN401 - what the method returns
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
            AnnotationQueues.create,
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
            AnnotationQueues.get_or_create,
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
        return await self._run(AnnotationQueues.get, queue_id)

    @documented_as(AnnotationQueues.query)
    async def query(self, query: QueueQuery = QueueQuery()) -> QueuePage:  # noqa: B008 - a frozen value
        return await self._run(AnnotationQueues.query, query)

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
            AnnotationQueues.update,
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
        return await self._run(AnnotationQueues.stats, queue_ids)

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
            AnnotationQueues.get_item,
            item_id,
            queue_id=queue_id,
            annotator_id=annotator_id,
            include_position=include_position,
        )

    @documented_as(AnnotationQueues.query_items)
    async def query_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> ItemPage:  # noqa: B008 - a frozen value
        return await self._run(AnnotationQueues.query_items, queue_id, query)

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
            AnnotationQueues.update_progress,
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
            AnnotationQueues.reset, queue_id, which, actor_id=actor_id, annotator_id=annotator_id, reason=reason
        )

    @documented_as(AnnotationQueues.progress)
    async def progress(self, item_id: str) -> tuple[Progress, ...]:
        return await self._run(AnnotationQueues.progress, item_id)

    @documented_as(AnnotationQueues.history)
    async def history(self, item_id: str) -> tuple[Transition, ...]:
        return await self._run(AnnotationQueues.history, item_id)

    @documented_as(AnnotationQueues.labels)
    async def labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> LabelPage:  # noqa: B008 - a frozen value
        return await self._run(AnnotationQueues.labels, queue_id, query)

    @documented_as(AnnotationQueues.changes)
    async def changes(self, queue_id: str, *, after: str | None = None, limit: int = 1000) -> ChangePage:
        return await self._run(AnnotationQueues.changes, queue_id, after=after, limit=limit)

    @documented_as(AnnotationQueues.throughput)
    async def throughput(self, queue_id: str, *, window: timedelta = timedelta(hours=1)) -> Throughput:
        return await self._run(AnnotationQueues.throughput, queue_id, window=window)

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
