"""`RemoteQueues`: the service of another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeAlias, TypeVar

import attrs
import httpx
from attrs import NOTHING

from annotation_queue.arguments import check_query
from annotation_queue.changes import ChangePage, Throughput
from annotation_queue.client.claims import RemoteClaims
from annotation_queue.client.exchanges import Exchange, call, unanswered
from annotation_queue.docstrings import documented_as, shown_whole
from annotation_queue.items import DEFAULT_LEASE, AnnotationQueue, QueueItem, QueueStats
from annotation_queue.json_values import JsonInput
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import AnnotationState, Progress, SkipPolicy, Transition
from annotation_queue.values import check_id
from annotation_queue.walks import walk

TIMEOUT: Final = 60.0
"""How long an answer may take, in seconds."""

_Unchanged: TypeAlias = attrs.NothingType
_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


def headers_of(token: str | None) -> dict[str, str]:
    """Give the headers that go with every request."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@shown_whole
class RemoteQueues(RemoteClaims):
    """The annotation queues of one project on a server: every method of `AnnotationQueues`, over HTTP.

    Safe to share between threads. Close it, by ``with`` or `close`.

    Args:
        url: Where the app is served, without ``/v1``.
        project_id: The project: nothing of another one is ever seen or touched.
        token: A bearer token that the server knows; None if the client brings credentials of its own.
        client: An httpx client of yours, for its timeouts, proxies, certificates or credentials; it is not closed here.
    """

    def __init__(
        self, url: str, project_id: str, *, token: str | None = None, client: httpx.Client | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._project_id = check_id("project_id", project_id)
        self._headers = headers_of(token)
        self._own = None if client is not None else httpx.Client(timeout=TIMEOUT)
        self._client = client or self._own or httpx.Client()

    @property
    def project_id(self) -> str:
        """The project whose queues these are."""
        return self._project_id

    def close(self) -> None:
        """Close the connections. A second time it does nothing."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(
        self, method: Callable[Concatenate[AnnotationQueues, _P], _Answer], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _Answer:
        answer: _Answer = self._exchange(call(self.project_id, method.__name__, args, kwargs))
        return answer

    def _exchange(self, exchange: Exchange) -> Any:  # noqa: ANN401 - what the method returns
        try:
            sent = next(exchange)
            while True:
                try:
                    answer = self._client.request(
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
    def create(
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
        return self._run(
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
    def get_or_create(
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
        return self._run(
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
    def get(self, queue_id: str) -> AnnotationQueue:
        return self._run(AnnotationQueues.get, queue_id)

    @documented_as(AnnotationQueues.query)
    def query(self, query: QueueQuery = QueueQuery()) -> QueuePage:  # noqa: B008 - a frozen value
        return self._run(AnnotationQueues.query, query)

    @documented_as(AnnotationQueues.update)
    def update(
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
        return self._run(
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
    def stats(self, queue_ids: Iterable[str]) -> tuple[QueueStats, ...]:
        return self._run(AnnotationQueues.stats, queue_ids)

    @documented_as(AnnotationQueues.get_item)
    def get_item(
        self,
        item_id: str,
        *,
        queue_id: str | None = None,
        annotator_id: str | None = None,
        include_position: bool = False,
    ) -> QueueItem:
        return self._run(
            AnnotationQueues.get_item,
            item_id,
            queue_id=queue_id,
            annotator_id=annotator_id,
            include_position=include_position,
        )

    @documented_as(AnnotationQueues.query_items)
    def query_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> ItemPage:  # noqa: B008 - a frozen value
        return self._run(AnnotationQueues.query_items, queue_id, query)

    @documented_as(AnnotationQueues.update_progress)
    def update_progress(
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
        return self._run(
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
    def reset(
        self,
        queue_id: str,
        which: Iterable[str] | ItemFilter,
        *,
        actor_id: str,
        annotator_id: str | None = None,
        reason: str | None = None,
    ) -> int:
        return self._run(
            AnnotationQueues.reset, queue_id, which, actor_id=actor_id, annotator_id=annotator_id, reason=reason
        )

    @documented_as(AnnotationQueues.progress)
    def progress(self, item_id: str) -> tuple[Progress, ...]:
        return self._run(AnnotationQueues.progress, item_id)

    @documented_as(AnnotationQueues.history)
    def history(self, item_id: str) -> tuple[Transition, ...]:
        return self._run(AnnotationQueues.history, item_id)

    @documented_as(AnnotationQueues.labels)
    def labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> LabelPage:  # noqa: B008 - a frozen value
        return self._run(AnnotationQueues.labels, queue_id, query)

    @documented_as(AnnotationQueues.changes)
    def changes(self, queue_id: str, *, after: str | None = None, limit: int = 1000) -> ChangePage:
        return self._run(AnnotationQueues.changes, queue_id, after=after, limit=limit)

    @documented_as(AnnotationQueues.throughput)
    def throughput(self, queue_id: str, *, window: timedelta = timedelta(hours=1)) -> Throughput:
        return self._run(AnnotationQueues.throughput, queue_id, window=window)

    def iter_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> Iterator[QueueItem]:  # noqa: B008
        """Walk over items of a queue by cursor, as `AnnotationQueues.iter_items`; each page is a request."""

        def read(part: ItemQuery) -> tuple[Sequence[QueueItem], str | None]:
            page = self.query_items(queue_id, part)
            return page.items, page.next_cursor

        return walk(read, check_query(query, ItemQuery))

    def iter_labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> Iterator[Label]:  # noqa: B008
        """Walk over labels of a queue by cursor, as `AnnotationQueues.iter_labels`; each page is a request."""

        def read(part: LabelQuery) -> tuple[Sequence[Label], str | None]:
            page = self.labels(queue_id, part)
            return page.labels, page.next_cursor

        return walk(read, check_query(query, LabelQuery))
