"""Answers over HTTP: one JSON value, or messages a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from annotation_queue.wire.converter import dump, write

RETRY_AFTER: Final = {"Retry-After": "1"}
"""The headers of an answer that says to try again."""


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a JSON value."""
    return Response(dump(value), status, headers, media_type="application/json")


def stream(pages: Any, form: Literal["lines", "items"]) -> Response:  # noqa: ANN401 - what a streaming operation gives
    """Answer with messages, a page at a time.

    The first page is read at once: what is wrong with the request shows there. What fails later ends the answer early.

    Args:
        pages: The pages; reading one may take its time, and is done in a worker thread.
        form: A line of JSON for each message, or one object with the list of them as its ``items``.

    Returns:
        The answer.
    """
    chunks = _lines(pages) if form == "lines" else _list(pages)
    first = next(chunks, b"")

    async def send() -> AsyncIterator[bytes]:
        yield first
        while (chunk := await run_in_threadpool(next, chunks, None)) is not None:
            yield chunk

    return StreamingResponse(send(), media_type="application/x-ndjson" if form == "lines" else "application/json")


def _lines(pages: Iterable[Iterable[object]]) -> Iterator[bytes]:
    return (b"".join(dump(write(each)) + b"\n" for each in page) for page in pages)


def _list(pages: Iterable[Iterable[object]]) -> Iterator[bytes]:
    begun, before = b'{"items":[', b""
    for page in pages:
        messages = [dump(write(each)) for each in page]
        yield begun + before + b",".join(messages) if messages else begun
        begun, before = b"", b"," if messages else before
    yield b"]}"
