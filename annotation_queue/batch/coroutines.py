"""Coroutine labelers at work on one event loop; apart from the others, so that only who uses them imports asyncio."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.batch.labelers import WorkerLost
from annotation_queue.batch.work import Work, failure_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.batch.retries import RetryPolicy
    from annotation_queue.batch.work import Outcome
    from annotation_queue.items import Claim, QueueItem

_LATE: Final = 0.5
"""How long past its time limit an item is given up by the loop itself, in seconds; after that the loop is blocked."""
_LAST_WAIT: Final = 1.0
"""How long coroutines that were cancelled may take to end when the loop is closed, in seconds."""


class LoopLabelers:
    """A coroutine function on an event loop in a thread of its own, with a bound on how many run at once.

    If there is a time limit, a coroutine whose time is over is cancelled and its item reported as failed, whether the
    coroutine ends or not. One that blocks the loop past its limit cannot be cancelled: then a new loop in a new thread takes
    the place of the old one, and the other items that were at work there are started again.

    Args:
        labeler: The coroutine function.
        workers: How many items are worked on at once.
        policy: How often, how long and how fast it is called.
        report: Takes each outcome; called in the loop's thread.
    """

    def __init__(
        self, labeler: Labeler, *, workers: int, policy: RetryPolicy, report: Callable[[Outcome], None]
    ) -> None:
        self._labeler = labeler
        self._workers = workers
        self._policy = policy
        self._report = report
        # The claims stay in a queue of threads, so that they can be withdrawn while a labeler blocks the loop.
        self._claims: SimpleQueue[Claim] = SimpleQueue()
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._loop: _Loop | None = None
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Start the loop's thread."""
        self._loop = self._start_loop()
        if self._policy.timeout is not None:
            watcher = threading.Thread(target=self._watch, name="labelers-watch", daemon=True)
            watcher.start()
            self._watcher = watcher

    def submit(self, claims: Sequence[Claim]) -> None:
        """Queue claims to be labelled, in order."""
        for claim in claims:
            self._claims.put(claim)
        with self._lock:
            if self._loop is not None:
                self._loop.announce(len(claims))

    def withdraw(self) -> list[Claim]:
        """Take back the claims that no labeler has started, and start no further attempts."""
        with self._lock:
            self._stopping.set()
            if self._loop is not None:
                self._loop.stop()
        withdrawn = []
        with suppress(Empty):
            while True:
                withdrawn.append(self._claims.get_nowait())
        return withdrawn

    def check(self) -> None:
        """Make sure that the loop runs, with all its tasks, and that the watch goes on."""
        with self._lock:
            loop = self._loop
        if self._closing.is_set() or loop is None:
            return
        loop.check()
        if self._watcher is not None and not self._watcher.is_alive():
            raise WorkerLost("the thread that watches the time limit ended")

    def close(self, *, wait: bool) -> None:
        """Cancel what still runs and end the loop; with ``wait`` not before it ended."""
        self._closing.set()
        if self._watcher is not None and wait:
            self._watcher.join()
        with self._lock:
            loop = self._loop
        if loop is not None:
            loop.close(wait=wait)

    def _start_loop(self) -> _Loop:
        return _Loop(
            self._labeler,
            workers=self._workers,
            policy=self._policy,
            claims=self._claims,
            withdrawing=self._stopping,
            lock=self._lock,
            report=self._report,
        )

    def _watch(self) -> None:
        while not self._closing.wait(_LATE / 2):
            with self._lock:
                loop = self._loop
                given_up = [] if loop is None else loop.find_blocking()
                if loop is None or not given_up:
                    continue
                for work in loop.abandon():
                    if work not in given_up:
                        self._claims.put(work.claim)
                self._loop = self._start_loop()
                if self._stopping.is_set():
                    self._loop.stop()
                # What the old loop was told of and did not take up is still in the queue.
                self._loop.announce(self._claims.qsize())
            for work in given_up:
                self._report(work.timed_out())


class _Loop:
    """One event loop in its thread, with the items at work on it. Other threads call its public methods."""

    def __init__(
        self,
        labeler: Labeler,
        *,
        workers: int,
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
        self._loop = asyncio.new_event_loop()
        self._submitted = asyncio.Semaphore(0)
        self._stopping = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(workers,), name="labelers", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def announce(self, count: int) -> None:
        self._call(self._release, count)

    def stop(self) -> None:
        self._call(self._stopping.set)

    def close(self, *, wait: bool) -> None:
        self._call(self._closing.set)
        if wait:
            self._thread.join()

    def check(self) -> None:
        """Make sure that the loop runs with all its tasks.

        Raises:
            WorkerLost: It does not, and nobody had asked it to end.
        """
        if self._abandoned:
            return  # another loop has taken its place
        if not self._thread.is_alive():
            raise WorkerLost(f"the labelers' event loop ended ({_what(self._error)})") from self._error
        for task in self._tasks:
            if task.done() and not self._closing.is_set():
                raise WorkerLost("a task that calls the labeler ended")

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(callback, *args)

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
            Nothing if the loop goes on; else the item whose call runs, or all past their limits if that is not known.
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
        except BaseException as error:  # noqa: BLE001 - what a labeler did to its loop; the run looks for it
            self._error = error
            self._end_tasks()
        finally:
            self._loop.close()

    def _end_tasks(self) -> None:
        """Cancel what is left on a loop that something else has ended, so that nothing dies unfinished with it."""
        self._closing.set()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with suppress(BaseException):  # it may be ended again
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=_LAST_WAIT))

    async def _main(self, workers: int) -> None:
        self._tasks = tasks = [asyncio.create_task(self._work()) for _ in range(workers)]
        await self._closing.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._calls:
            await asyncio.wait(self._calls, timeout=_LAST_WAIT)

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
                self._forgive()
                judged = work.failed(RuntimeError("the labeler was cancelled"))
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


def _what(error: BaseException | None) -> str:
    return "its labelers stopped it" if error is None else failure_reason(error)
