"""Coroutine labelers at work on one event loop; apart from the others, so that only who uses them imports asyncio."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.batch.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.batch.retries import RetryPolicy
    from annotation_queue.batch.work import Outcome
    from annotation_queue.items import Claim

_LATE: Final = 0.5
"""How long past its time limit an item is given up by the loop itself, in seconds; after that the loop is blocked."""
_LAST_WAIT: Final = 1.0
"""How long coroutines that were cancelled may take to end when the loop is closed, in seconds."""


class LoopLabelers:
    """A coroutine function on an event loop in a thread of its own, with a bound on how many run at once.

    Where there is a time limit, a coroutine whose time is over is cancelled and its item reported as failed, whether the
    coroutine ends or not. One that blocks the loop past its limit cannot be cancelled: then a new loop in a new thread takes
    the place of the old one, and the other items that were at work there are started again.

    Args:
        labeler: The coroutine function.
        workers: How many items are worked on at once.
        attempts: How often, how long and how fast it is called.
        report: Takes each outcome; called in the loop's thread.
    """

    def __init__(
        self, labeler: Labeler, *, workers: int, attempts: RetryPolicy, report: Callable[[Outcome], None]
    ) -> None:
        self._labeler = labeler
        self._workers = workers
        self._attempts = attempts
        self._report = report
        # The claims stay in a queue of threads, so that they can be withdrawn while a labeler blocks the loop.
        self._claims: SimpleQueue[Claim] = SimpleQueue()
        self._stopped = False
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._loop = self._start_loop()
        self._watcher = threading.Thread(target=self._watch, name="labelers-watch", daemon=True)
        if attempts.timeout is not None:
            self._watcher.start()

    def submit(self, claims: Sequence[Claim]) -> None:
        """Queue claims to be labelled, in order."""
        for claim in claims:
            self._claims.put(claim)
        with self._lock:
            self._loop.announce(len(claims))

    def withdraw(self) -> list[Claim]:
        """Take back the claims that no labeler has started, and start no further attempts."""
        with self._lock:
            self._stopped = True
            self._loop.stop()
        withdrawn = []
        with suppress(Empty):
            while True:
                withdrawn.append(self._claims.get_nowait())
        return withdrawn

    def close(self, *, wait: bool) -> None:
        """Cancel what still runs and end the loop; with ``wait`` not before it ended."""
        self._closing.set()
        if self._attempts.timeout is not None and wait:
            self._watcher.join()
        with self._lock:
            loop = self._loop
        loop.close(wait=wait)

    def _start_loop(self) -> _Loop:
        return _Loop(
            self._labeler,
            workers=self._workers,
            attempts=self._attempts,
            claims=self._claims,
            lock=self._lock,
            report=self._report,
        )

    def _watch(self) -> None:
        while not self._closing.wait(_LATE / 2):
            with self._lock:
                given_up = self._loop.find_blocking()
                if not given_up:
                    continue
                for work in self._loop.abandon():
                    if work not in given_up:
                        self._claims.put(work.claim)
                self._loop = self._start_loop()
                if self._stopped:
                    self._loop.stop()
                # What the old loop was told of and did not take up is still in the queue.
                self._loop.announce(self._claims.qsize())
            for work in given_up:
                self._report(work.timed_out())


class _Loop:
    """One event loop in its thread, with the items at work on it."""

    def __init__(
        self,
        labeler: Labeler,
        *,
        workers: int,
        attempts: RetryPolicy,
        claims: SimpleQueue[Claim],
        lock: threading.Lock,
        report: Callable[[Outcome], None],
    ) -> None:
        self._labeler = labeler
        self._attempts = attempts
        self._claims = claims
        self._lock = lock
        self._report = report
        # The items at work, each with the call that runs; guarded by the lock, as is whether the loop was abandoned.
        self._works: dict[Work, asyncio.Future[Any] | None] = {}
        self._abandoned = False
        # Calls that have not ended, those whose time was over too; only with a time limit.
        self._calls: set[asyncio.Future[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._submitted = asyncio.Semaphore(0)
        self._stopping = asyncio.Event()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(workers,), name="labelers", daemon=True)
        self._thread.start()

    def announce(self, count: int) -> None:
        self._loop.call_soon_threadsafe(self._release, count)

    def stop(self) -> None:
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)

    def close(self, *, wait: bool) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        if wait:
            self._thread.join()

    def abandon(self) -> list[Work]:
        """Give up the loop and what is at work on it; called with the lock held."""
        works = list(self._works)
        self._works.clear()
        self._abandoned = True
        self.close(wait=False)
        return works

    def find_blocking(self) -> list[Work]:
        """Find what keeps the loop from giving up an item past its limit; called with the lock held.

        Returns:
            Nothing where the loop goes on; else the item whose call runs, or all past their limits where that is not known.
        """
        late = [work for work in self._works if work.overdue() > _LATE]
        if not late:
            return []
        at_work = asyncio.current_task(self._loop)
        blocking = [work for work, call in self._works.items() if call is not None and call is at_work]
        return [work for work in late if work in blocking] if blocking else late

    def _release(self, count: int) -> None:
        for _ in range(count):
            self._submitted.release()

    def _run(self, workers: int) -> None:
        try:
            self._loop.run_until_complete(self._main(workers))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    async def _main(self, workers: int) -> None:
        tasks = [asyncio.create_task(self._work()) for _ in range(workers)]
        await self._closing.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._calls:
            await asyncio.wait(self._calls, timeout=_LAST_WAIT)

    async def _work(self) -> None:
        while not self._closing.is_set():  # a labeler may have kept the cancellation from its task
            await self._submitted.acquire()
            with self._lock:
                if self._abandoned:
                    return
                try:
                    work = Work(self._claims.get_nowait(), self._attempts)
                except Empty:
                    continue
                self._works[work] = None
            outcome = await self._label(work)
            with self._lock:
                if work not in self._works:
                    return  # its item was given up or started again on another loop
                del self._works[work]
            self._report(outcome)

    async def _label(self, work: Work) -> Outcome:
        wait = self._attempts.start_wait()
        while True:
            if wait and await self._stops_within(wait):
                return work.withdrawn()
            work.begin()
            try:
                return work.labelled(await self._call(work))
            except _OutOfTime:
                return work.timed_out()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                judged = work.failed(RuntimeError("the labeler was cancelled"))
            except BaseException as error:  # noqa: BLE001 - what is no Exception is raised again in the caller's thread
                judged = work.failed(error)
            if not isinstance(judged, float):
                return judged
            if work.left() == 0:
                return work.timed_out()
            if await self._stops_within(judged):
                return work.withdrawn()
            wait = self._attempts.start_wait()

    async def _call(self, work: Work) -> object:
        left = work.left()
        if left is None:
            return await self._labeler(work.claim.item)
        # In a task of its own: a coroutine that ignores its cancellation is then left alone.
        call = asyncio.ensure_future(self._guarded(work))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        with self._lock:
            if work in self._works:
                self._works[work] = call
        try:
            await asyncio.wait((call,), timeout=left)
        finally:
            call.cancel()  # where it has ended, that does nothing
        if not call.done():
            raise _OutOfTime
        label, error = call.result()
        if error is not None:
            raise error
        return label

    async def _guarded(self, work: Work) -> tuple[object, BaseException | None]:
        """Call the labeler, and keep an exit that it asks for from ending the loop."""
        try:
            return await self._labeler(work.claim.item), None
        except BaseException as error:  # noqa: BLE001 - `_call` raises it again
            return None, error

    async def _stops_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
            return True
        return False


class _OutOfTime(Exception):
    """The labeler did not return within the time limit."""
