"""The operations below ``/v1`` as an ASGI app: a request is matched, read, carried out in a worker thread and answered."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import attrs
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from annotation_queue.errors import AnnotationQueueError, InvalidValue
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemQuery, QueueQuery
from annotation_queue.values import check_id
from annotation_queue.web.answers import RETRY_AFTER, json_answer
from annotation_queue.web.api.asking import action_of, check_asker, with_asker
from annotation_queue.web.api.repeats import add_items, create
from annotation_queue.web.requests import Denied, query_of, read_body
from annotation_queue.wire.converter import BadMessage, load
from annotation_queue.wire.v1.arguments import bare, read_arguments, write_answer
from annotation_queue.wire.v1.errors import status_of, write_error
from annotation_queue.wire.v1.operations import MAX_BODY_BYTES, OPERATIONS, PAGE, PAGE_BYTES, Operation

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.web.access import Principal
    from annotation_queue.web.gate import Gate
    from annotation_queue.web.operations import Backend

_LOGGER: Final = logging.getLogger("annotation_queue.web")
_DENIALS: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "no_such_path",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
}
_SERVER_FAULT: Final = 500
_BUSY: Final = 503
_KEY: Final = re.compile("[!-~]{1,255}")


@attrs.frozen
class Api:
    """The app.

    Args:
        gate: What every request passes first.
        backend: What the operations work on.
    """

    gate: Gate
    backend: Backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            operation, ids = match(request)
            principal = await run_in_threadpool(self.gate.admit, request)
            body = await read_body(request, most=MAX_BODY_BYTES) if operation.has_body else None
            return await run_in_threadpool(self._carry_out, operation, request, principal, ids, body)
        except Denied as denied:
            answer = {"error": _DENIALS[denied.status], "message": denied.reason}
            return json_answer(answer, denied.status, denied.headers)
        except BadMessage as error:
            told = error.faults[0]["msg"].removeprefix("expected ")
            unfit = InvalidValue(error.faults[0]["loc"][0], "something else", told)
            return json_answer(write_error(unfit), status_of(unfit))
        except AnnotationQueueError as error:
            status = status_of(error)
            if status >= _SERVER_FAULT:
                _LOGGER.exception("%s %s failed", request.method, request.url.path)
            return json_answer(write_error(error), status, RETRY_AFTER if status == _BUSY else None)
        except Exception:
            _LOGGER.exception("%s %s failed", request.method, request.url.path)
            return json_answer({"error": "server_failed", "message": "the server failed"}, 500)

    def _carry_out(
        self, operation: Operation, request: Request, principal: Principal, ids: dict[str, str], body: bytes | None
    ) -> Response:
        asked = query_of(request)
        project_id = check_id("project_id", asked.pop("project_id", None))
        if body is None:
            sent = {name: _from_query(operation, name, value) for name, value in asked.items()}
        else:
            for name in asked:
                raise InvalidValue(name[:80], "a value", "no such argument in the query string")
            sent = load(body)
            if type(sent) is not dict:
                raise InvalidValue("body", type(sent).__name__, "an object of arguments")
        for name in ids.keys() & sent.keys():
            raise InvalidValue(name, "a value", "it in the path only")
        arguments = read_arguments(operation, with_asker(operation, sent | ids, principal))
        arguments = check_asker(operation, arguments, principal)
        queues = self.backend.project(principal, project_id, action_of(operation, arguments, principal))
        key = _key_of(request, operation)
        if key is None:
            done = operation.function(queues, **_bounded(arguments))
        else:
            done = self._repeat(operation, queues, arguments, (principal.user_id, project_id, *ids.values(), key))
        return json_answer(write_answer(operation, done))

    def _repeat(
        self, operation: Operation, queues: AnnotationQueues, arguments: dict[str, Any], key: tuple[str, ...]
    ) -> object:
        if operation.name == "create":
            return create(queues, arguments, *key)
        return add_items(queues, arguments, *key)


def match(request: Request) -> tuple[Operation, dict[str, str]]:
    """Find the operation of a request, and the arguments in its path; an id may have any characters, encoded.

    Raises:
        Denied: There is no such path, or it has no such method.
    """
    segments = _segments(request.scope)
    allowed: dict[str, list[str]] = {}
    for operation in _BY_PRECISION:
        pattern = operation.path.split("/")[1:]
        if len(pattern) == len(segments) and all(
            part.startswith("{") or part == segment for part, segment in zip(pattern, segments, strict=True)
        ):
            if operation.method == request.method:
                found = zip(pattern, segments, strict=True)
                return operation, {part[1:-1]: segment for part, segment in found if part.startswith("{")}
            allowed.setdefault(operation.path, []).append(operation.method)
    for methods in allowed.values():  # those of the most precise path
        raise Denied(405, "this path has no such method", {"Allow": ", ".join(sorted(methods))})
    raise Denied(404, "there is no such path")


# A fixed path stands before the one with an id that it would match too.
_BY_PRECISION: Final = sorted(OPERATIONS, key=lambda operation: len(operation.in_path))


def _segments(scope: Scope) -> list[str]:
    raw = scope.get("raw_path") or scope["path"].encode()
    # The prefix has no encoded slash: what is below it is split before it is decoded.
    inner = raw.split(b"?")[0].split(b"/")[len(scope.get("root_path", "").split("/")) :]
    try:
        return [unquote(each.decode("ascii"), errors="strict") for each in inner]
    except UnicodeDecodeError:
        raise Denied(404, "there is no such path") from None


def _from_query(operation: Operation, name: str, value: object) -> object:
    """Read an argument out of a query string: one that is no text is written as JSON."""
    parameter = operation.parameters.get(name)
    if parameter is None or bare(parameter.kind) is str or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _bounded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Bound the page that is asked for; its cursor goes on."""
    bounded = dict(arguments)
    query = bounded.get("query")
    if isinstance(query, QueueQuery | ItemQuery | LabelQuery):
        changes: dict[str, Any] = {"limit": PAGE if query.limit is None else min(query.limit, PAGE)}
        if not isinstance(query, QueueQuery):
            changes["max_bytes"] = PAGE_BYTES if query.max_bytes is None else min(query.max_bytes, PAGE_BYTES)
        bounded["query"] = attrs.evolve(query, **changes)
    return bounded


def _key_of(request: Request, operation: Operation) -> str | None:
    keys = request.headers.getlist("idempotency-key")
    if not keys or not operation.is_keyed:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise InvalidValue(
            "Idempotency-Key", "another header", "one of 1 to 255 printable characters of ASCII, without spaces"
        )
    return keys[0]
