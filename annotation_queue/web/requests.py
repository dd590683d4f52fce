"""What is read of a request before any work is done, and what is answered where it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from annotation_queue.errors import InvalidValue, ItemNotFound, QueueNotFound
from annotation_queue.values import check_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

MAX_BODY_BYTES: Final = 1 << 20
"""Longest body of a request."""
_DRAINED_BYTES: Final = 8 << 20
"""So much of what is too long in a body is read and dropped, so that its sender gets to read the answer."""


class Denied(Exception):
    """A request that is answered without any work.

    Args:
        status: The answer's status.
        reason: Why, for its body.
        headers: Its headers.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


def check_path(request: Request) -> dict[str, str]:
    """Read the ids in a request's path.

    Args:
        request: The request.

    Returns:
        By name.

    Raises:
        Denied: The path has an encoded slash: it would be another path once it is decoded.
        NotFound: An id that no queue or item can have.
    """
    if b"%2f" in request.scope.get("raw_path", b"").lower():
        raise Denied(404, "there is no such path")
    ids: dict[str, str] = dict(request.path_params)
    for name, value in ids.items():
        try:
            check_id(name, value)
        except InvalidValue:
            raise (QueueNotFound if name == "queue_id" else ItemNotFound)(value) from None
    return ids


def query_of(request: Request) -> dict[str, object]:
    """Read a request's query string as an object; what is named twice is a list, and so fits no field."""
    values = request.query_params
    return {
        name: found[0] if len(found) == 1 else found
        for name, found in ((name, values.getlist(name)) for name in values)
    }


async def read_body(request: Request, *, most: int = MAX_BODY_BYTES) -> bytes:
    """Read a request's body.

    Args:
        request: The request.
        most: Its greatest length in bytes.

    Returns:
        The body.

    Raises:
        Denied: It is not said to be JSON, or is longer.
    """
    kinds = request.headers.getlist("content-type")
    kind = kinds[0].partition(";")[0].strip().lower() if len(kinds) == 1 else ""
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Denied(415, "the body must be JSON, and one Content-Type header must say application/json")
    told = request.headers.get("content-length", "")
    if told and "transfer-encoding" in request.headers:
        raise Denied(400, "a body has a Content-Length or a Transfer-Encoding, not both")
    too_long = Denied(413, f"the body must have at most {most} bytes")
    if told.isdecimal() and int(told[:20]) > most + _DRAINED_BYTES:
        raise too_long
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                chunks.append(chunk)
            elif size > most + _DRAINED_BYTES:
                break
    except ClientDisconnect:
        raise Denied(400, "the body ended early") from None
    if size > most:
        raise too_long
    return b"".join(chunks)
