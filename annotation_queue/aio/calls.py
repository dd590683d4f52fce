"""Calls that may wait for a storage, made in threads of their own, so that an event loop never waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from annotation_queue.errors import StorageError

_Answer = TypeVar("_Answer")


class Calls:
    """Makes calls in a bounded number of threads for coroutines that wait for them. Any number of event loops may use it.

    Args:
        what: Whose calls these are, for messages.
        threads: How many calls are under way at most; further ones wait for a thread, in their order.
        executor: Threads of the caller's instead, which are not ended here.
    """

    def __init__(self, what: str, *, threads: int, executor: ThreadPoolExecutor | None) -> None:
        self._what = what
        self._is_ours = executor is None
        self._executor = executor or ThreadPoolExecutor(threads, thread_name_prefix="annotation-queue")
        self._lock = threading.Lock()
        self._running: set[Future[Any]] = set()
        self.is_closed = False
        """Whether no further call is taken."""

    async def run(self, call: Callable[[], _Answer], *, undo: Callable[[_Answer], object] | None = None) -> _Answer:
        """Make a call in a thread, in the context of the caller (`contextvars`).

        Args:
            call: What to call.
            undo: Takes back what the call gave, if whoever waits for it is cancelled before they have it; in a thread too. It
                must raise nothing. None if nothing can be taken back.

        Returns:
            What the call gave.

        Raises:
            StorageError: It is closed.
            CancelledError: Whoever waits was cancelled. A call that had no thread yet is not made; one that had goes on.
            Exception: What the call raised.
        """
        if self.is_closed:
            raise StorageError(f"{self._what} are closed; make new ones")
        made = _Call(call, undo)
        future = self._submit(made)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancel() and made.give_up():
                self._submit(made.take_back)
            raise

    async def close(self) -> None:
        """Take no further call, wait until those under way have ended, and end the threads."""
        self.is_closed = True
        loop = asyncio.get_running_loop()
        try:
            while running := self._under_way():
                ended = asyncio.Event()
                running[0].add_done_callback(lambda _, ended=ended: _tell(loop, ended))  # type: ignore[misc]  # a default
                await ended.wait()
        finally:
            if self._is_ours:
                self._executor.shutdown(wait=False)

    def _under_way(self) -> list[Future[Any]]:
        with self._lock:
            return list(self._running)

    def _submit(self, call: Callable[[], _Answer]) -> Future[_Answer]:
        future = self._executor.submit(copy_context().run, call)
        with self._lock:
            self._running.add(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._running.discard(future)


class _Call(Generic[_Answer]):
    """A call whose caller may give it up at any moment; what it gave is then taken back, once."""

    def __init__(self, call: Callable[[], _Answer], undo: Callable[[_Answer], object] | None) -> None:
        self._call = call
        self._undo = undo
        self._lock = threading.Lock()
        self._answers: list[_Answer] = []
        self._is_given_up = False

    def __call__(self) -> _Answer:
        answer = self._call()
        with self._lock:
            self._answers.append(answer)
            is_given_up = self._is_given_up
        if is_given_up:
            self.take_back()
        return answer

    def give_up(self) -> bool:
        """Note that nobody waits any more; tell whether there is an answer that is still to be taken back."""
        with self._lock:
            self._is_given_up = True
            return bool(self._answers) and self._undo is not None

    def take_back(self) -> None:
        """Take back what the call gave."""
        if self._undo is not None:
            self._undo(self._answers[0])


def _tell(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(ended.set)
