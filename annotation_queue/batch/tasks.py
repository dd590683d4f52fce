"""Tasks of an event loop that call a coroutine labeler, whichever thread the loop runs in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.batch.work import Work

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from queue import SimpleQueue

    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.batch.retries import RetryPolicy
    from annotation_queue.batch.work import Outcome
    from annotation_queue.items import Claim, QueueItem

LAST_WAIT: Final = 1.0
"""How long coroutines that were cancelled may take to end, in seconds."""


class LabelerTasks:
    """Tasks on one event loop that take claims and call a labeler. Other threads announce claims, stop and close them.

    Args:
        labeler: The coroutine function.
        loop: The event loop.
        policy: How often, how long and how fast it is called.
        claims: Where claims are taken from.
        withdrawing: Whether no further call is begun.
        lock: Guards what is at work; whoever gives it up holds it.
        report: Takes each outcome; called on the loop.
    """

    def __init__(
        self,
        labeler: Labeler,
        *,
        loop: asyncio.AbstractEventLoop,
        policy: RetryPolicy,
        claims: SimpleQueue[Claim],
        withdrawing: threading.Event,
        lock: threading.Lock,
        report: Callable[[Outcome], None],
    ) -> None:
        self._labeler = labeler
        self._policy = policy
        self._claims = claims
        self._withdrawing = withdrawing
        self._lock = lock
        self._report = report
        # The items at work, each with the call that runs; guarded by the lock, as is whether the loop was abandoned.
        self._works: dict[Work, asyncio.Future[Any] | None] = {}
        self._abandoned = False
        # Calls that have not ended, those whose time was over too; only with a time limit.
        self._calls: set[asyncio.Future[Any]] = set()
        self._loop = loop
        self._submitted = asyncio.Semaphore(0)
        self._stopping = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def announce(self, count: int) -> None:
        """Say that there are more claims."""
        self._call(self._release, count)

    def stop(self) -> None:
        """Begin no further attempts."""
        self._call(self._stopping.set)

    def end(self) -> None:
        """Cancel what still runs."""
        self._call(self._closing.set)

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(callback, *args)

    def _release(self, count: int) -> None:
        for _ in range(count):
            self._submitted.release()

    async def run(self, workers: int) -> None:
        """Work in so many tasks, until `end` is called."""
        self._tasks = tasks = [asyncio.create_task(self._work()) for _ in range(workers)]
        await self._until_closing()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._calls:
            await asyncio.wait(self._calls, timeout=LAST_WAIT)

    async def _until_closing(self) -> None:
        await self._closing.wait()

    async def _work(self) -> None:
        while not self._closing.is_set():  # a labeler may have kept the cancellation from its task
            try:
                await self._submitted.acquire()
            except asyncio.CancelledError:
                self._forgive()
                continue
            with self._lock:
                if self._abandoned:
                    return
                try:
                    work = Work(self._claims.get_nowait(), self._policy)
                except Empty:
                    continue
                self._works[work] = None
            try:
                outcome = await self._label(work)
            except BaseException as error:
                if not self._loop.is_running():
                    raise
                self._forgive()
                outcome = work.broken(error)
            if not self._loop.is_running():
                return  # it ended in the middle of a call, and the run finds out
            with self._lock:
                if work not in self._works:
                    return  # its item was given up or started again on another loop
                del self._works[work]
            self._report(outcome)

    def _forgive(self) -> None:
        """Go on after a cancellation that is not ours: a labeler cancelled the task that calls it. Ours is raised."""
        if self._closing.is_set():
            raise asyncio.CancelledError
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()

    def _cancelled(self, work: Work) -> Outcome | float:
        """Decide what it means that a call was cancelled, as `Work.failed` does."""
        self._forgive()
        return work.failed(RuntimeError("the labeler was cancelled"))

    async def _label(self, work: Work) -> Outcome:
        while True:
            if await self._stops_before_turn(work):
                return work.withdrawn()
            item = work.item()
            work.begin()
            try:
                label = await self._answer(work, item)
            except _OutOfTime:
                return work.timed_out()
            except asyncio.CancelledError:
                judged = self._cancelled(work)
            except BaseException as error:  # noqa: BLE001 - what is no Exception is raised again in the caller's thread
                judged = work.failed(error)
            else:
                return work.labelled(label)
            if not isinstance(judged, float):
                return judged
            if work.left() == 0:
                return work.timed_out()
            if await self._stops_within(judged):
                return work.withdrawn()

    async def _answer(self, work: Work, item: QueueItem) -> object:
        left = work.left()
        if left is None:
            return await self._labeler(item)
        # In a task of its own: a coroutine that ignores its cancellation is then left alone.
        call = asyncio.ensure_future(self._guarded(item))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        with self._lock:
            if work in self._works:
                self._works[work] = call
        try:
            await asyncio.wait((call,), timeout=left)
        finally:
            call.cancel()  # if it has ended, that does nothing
        if not call.done():
            raise _OutOfTime
        label, error = call.result()
        if error is not None:
            raise error
        return label

    async def _guarded(self, item: QueueItem) -> tuple[object, BaseException | None]:
        """Call the labeler, and keep an exit that it asks for from ending the loop."""
        try:
            return await self._labeler(item), None
        except BaseException as error:  # noqa: BLE001 - `_answer` raises it again
            return None, error

    async def _stops_before_turn(self, work: Work) -> bool:
        for wait in work.policy.start_waits():
            if await self._stops_within(wait):
                return True
        return self._withdrawing.is_set()  # the claim may have been submitted after the others were withdrawn

    async def _stops_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
            return True
        return False


class _OutOfTime(Exception):
    """The labeler did not return within the time limit."""
