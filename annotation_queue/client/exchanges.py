"""Requests and answers of one call, without a socket: a generator yields requests, is sent answers and returns the result."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import attrs
import httpx

from annotation_queue.errors import (
    AnnotationQueueError,
    InvalidCursor,
    InvalidValue,
    OutcomeUnknown,
    QueueNotFound,
    StorageBusy,
)
from annotation_queue.items import Claim, QueueItem, copy_payload, make_claim
from annotation_queue.json_values import plain_json
from annotation_queue.labels import LabelPage, LabelQuery
from annotation_queue.query import ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.records import view
from annotation_queue.values import check_flag, check_integer, check_lease, check_text
from annotation_queue.wire.converter import dump
from annotation_queue.wire.v1.arguments import bare, read_answer, write_arguments
from annotation_queue.wire.v1.errors import read_error
from annotation_queue.wire.v1.operations import BY_NAME, MAX_BODY_BYTES, PREFIX, Operation

_MOST_IN_URL: Final = 16_000
"""Most characters of one part of a URL: servers refuse more."""
_FIRST_ERROR: Final = 400
_SERVER_FAULT: Final = 500


class RequestRefused(AnnotationQueueError, PermissionError):
    """The server did not carry the request out, for a reason that is not the service's: nothing was written.

    Args:
        status: The HTTP status: 401 for credentials that are not known, 403 for what they may not do, 429 for too often.
        what: Why, in the server's words.
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__(status, what)
        self.status = status
        self.what = what

    def __str__(self) -> str:
        return f"the server refused the request with {self.status}: {self.what}"


@attrs.frozen
class Sent:
    """A request.

    Args:
        method: The HTTP method.
        path: The path below the server's address, encoded.
        params: The query string.
        body: JSON; None for none.
    """

    method: str
    path: str
    params: Mapping[str, str]
    body: bytes | None

    @property
    def headers(self) -> dict[str, str]:
        """Its headers."""
        return {} if self.body is None else {"Content-Type": "application/json"}


Exchange: TypeAlias = Generator[Sent, httpx.Response, Any]
_PAGES: Final = {"query": "queues", "query_items": "items", "labels": "labels"}
"""Listings, and the field of their pages with the entities."""
_CARRIED: Final = frozenset({"heartbeat", "save_draft", "complete", "skip", "release"})


def call(project_id: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Exchange:
    """Make one call of the service.

    Args:
        project_id: The project.
        name: The method.
        args: Its arguments.
        kwargs: Its arguments by name.

    Yields:
        Requests.

    Returns:
        What the method returns.
    """
    operation = BY_NAME[name]
    given = inspect.signature(operation.function).bind(None, *args, **kwargs).arguments
    arguments = dict(list(given.items())[1:])
    if name in _PAGES:
        return (yield from _listing(project_id, operation, arguments))
    if name in {"heartbeat_batch", "complete_batch"}:
        arguments = {key: tuple(value) if key in {"claims", "results"} else value for key, value in arguments.items()}
    results = [result[0] for result in arguments.get("results", ())]
    _check_projects(project_id, [arguments.get("claim"), *arguments.get("claims", ()), *results])
    answer = yield from _ask(project_id, operation, arguments)
    if name in _CARRIED:
        return _as_carried(arguments["claim"], answer)
    if name == "heartbeat_batch":
        return tuple(map(_as_carried, arguments["claims"], answer))
    if name == "complete_batch":
        return tuple(_as_carried(claim, each) for (claim, _), each in zip(arguments["results"], answer, strict=True))
    return answer


def _as_carried(claim: Any, answer: Any) -> Any:  # noqa: ANN401 - an item, a claim, or an error
    """Show the item as the claim carries it, as the service does."""
    if isinstance(answer, Claim) and isinstance(claim, Claim):
        item = _as_carried(claim, answer.item)
        return make_claim(item=item, annotator_id=answer.annotator_id, token=answer.token, expires_at=answer.expires_at)
    if isinstance(answer, QueueItem) and isinstance(claim, Claim):
        seen = answer.annotation_state, answer.annotator_user_id
        return view(claim.item, seen, updated_at=answer.updated_at, payload=copy_payload(claim.item.payload))
    return answer


def _check_projects(project_id: str, claims: Iterable[object]) -> None:
    """Refuse claims of other projects, as the service does: their references tell nothing of a project."""
    for claim in claims:
        if isinstance(claim, Claim) and claim.item.project_id != project_id:
            raise QueueNotFound(claim.item.queue_id)


def _listing(project_id: str, operation: Operation, arguments: dict[str, Any]) -> Exchange:
    """Join the pages of a listing, unless it is to end by its size."""
    kind: Callable[[], Any] = operation.parameters["query"].kind
    query = arguments.get("query", kind())
    if not isinstance(query, QueueQuery | ItemQuery | LabelQuery):
        return (yield from _ask(project_id, operation, arguments))
    entities, total, part = [], None, query
    while True:
        page: QueuePage | ItemPage | LabelPage = yield from _ask(project_id, operation, arguments | {"query": part})
        entities += getattr(page, _PAGES[operation.name])
        total = getattr(page, "total", None) if total is None else total
        left = None if query.limit is None else query.limit - len(entities)
        if page.next_cursor is None or left == 0 or getattr(query, "max_bytes", None) is not None:
            changes: dict[str, Any] = {_PAGES[operation.name]: tuple(entities)}
            return attrs.evolve(page, **changes | ({"total": total} if isinstance(page, ItemPage) else {}))
        further: dict[str, Any] = {"limit": left, "cursor": page.next_cursor}
        if isinstance(part, ItemQuery):
            further["include_total"] = False
        if not isinstance(part, LabelQuery):
            further["offset"] = 0
        part = attrs.evolve(part, **further)


def _ask(project_id: str, operation: Operation, arguments: Mapping[str, Any]) -> Exchange:
    response = yield _request(project_id, operation, write_arguments(operation, arguments))
    return _result(operation, response)


def _request(project_id: str, operation: Operation, sent: dict[str, Any]) -> Sent:
    path = PREFIX + operation.path
    for name in operation.in_path:
        value = sent.pop(name)
        if not isinstance(value, str) or not value:
            raise InvalidValue(name, "an empty str" if value == "" else type(value).__name__, "non-empty text")
        # A dot would be taken for a step in the path.
        path = path.replace(f"{{{name}}}", quote(value, safe="").replace(".", "%2E"))
    params = {"project_id": project_id}
    for name, value in () if operation.has_body else sent.items():
        parameter = operation.parameters[name]
        if value is not None or parameter.default is not None:
            params[name] = _in_query(name, value, bare(parameter.kind))
    for name, text in [*params.items(), ("id", path)]:
        if len(text) > _MOST_IN_URL:
            raise InvalidValue(name, f"{len(text):,} characters", f"at most {_MOST_IN_URL:,} in a URL")
    return Sent(operation.method, path, params, _body(sent) if operation.has_body else None)


def _body(sent: Mapping[str, Any]) -> bytes:
    try:
        body = dump(sent)
    except ValueError as error:
        # A cursor is the one part of a query that nothing has looked at yet.
        if "query" in sent:
            raise InvalidCursor("cursor", "text that is not valid UTF-8", "a cursor that this library made") from error
        for item in sent.get("items", ()):
            plain_json("payload", item["payload"])
        raise InvalidValue(next(iter(sent), "body"), "what is no JSON any more", "JSON") from error
    if len(body) > MAX_BODY_BYTES:
        longest = max(sent, key=lambda name: len(dump(sent[name])))
        limit = f"at most {MAX_BODY_BYTES:,} bytes in one call, so make several"
        raise InvalidValue(longest, f"{len(body):,} bytes of JSON", limit)
    return body


def _in_query(name: str, value: Any, kind: Any) -> str:  # noqa: ANN401 - an argument
    if kind is int:
        return str(check_integer(name, value))
    if kind is timedelta:
        return json.dumps(value if value is not None else check_lease(name, value))
    if kind is bool:
        return json.dumps(check_flag(name, value))
    return check_text(name, value)


def _result(operation: Operation, response: httpx.Response) -> Any:  # noqa: ANN401 - what the method returns
    try:
        body = response.json()
    except ValueError:
        body = None
    status = response.status_code
    if status < _FIRST_ERROR and isinstance(body, dict):
        return read_answer(operation, body)
    error = read_error(body) if isinstance(body, dict) else None
    if error is not None:
        raise error
    if status >= _SERVER_FAULT or status < _FIRST_ERROR:
        raise OutcomeUnknown(f"the server answered with {status} and did not say what it did")
    what = body.get("message") if isinstance(body, dict) else None
    raise RequestRefused(status, what if isinstance(what, str) else response.reason_phrase)


def unanswered(error: httpx.TransportError) -> AnnotationQueueError:
    """Say what it means that a request got no answer."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return StorageBusy(f"the server cannot be reached ({type(error).__name__}); nothing was written, so try again")
    return OutcomeUnknown(
        f"the connection to the server ended before its answer ({type(error).__name__}); "
        f"what the call writes may or may not be there"
    )
