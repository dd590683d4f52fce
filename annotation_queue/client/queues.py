"""`RemoteQueues`: the service of another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import httpx

from annotation_queue.arguments import check_query
from annotation_queue.client.exchanges import Exchange, call, unanswered
from annotation_queue.items import QueueItem
from annotation_queue.labels import Label, LabelQuery
from annotation_queue.query import ItemQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.values import check_id
from annotation_queue.walks import walk

TIMEOUT: Final = 60.0
"""How long an answer may take, in seconds."""

_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


def _remote(
    method: Callable[Concatenate[AnnotationQueues, _P], _Answer],
) -> Callable[Concatenate[RemoteQueues, _P], _Answer]:
    """Make the method that asks the server for one of the service's."""

    @wraps(method)
    def ask(self: RemoteQueues, /, *args: _P.args, **kwargs: _P.kwargs) -> _Answer:
        answer: _Answer = self._run(call(self.project_id, method.__name__, args, kwargs))
        return answer

    ask.__module__, ask.__qualname__ = __name__, f"RemoteQueues.{method.__name__}"
    return ask


def headers_of(token: str | None) -> dict[str, str]:
    """Give the headers that go with every request."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


class RemoteQueues:
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

    def _run(self, exchange: Exchange) -> Any:  # noqa: ANN401 - what the method returns
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
