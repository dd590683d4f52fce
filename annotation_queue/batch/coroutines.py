"""Coroutine labelers at work on one event loop; apart from the others, so that only who uses them imports asyncio."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.batch.labelers import WorkerLost
from annotation_queue.batch.tasks import LAST_WAIT, LabelerTasks
from annotation_queue.batch.work import failure_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.batch.retries import RetryPolicy
    from annotation_queue.batch.work import Outcome, Work
    from annotation_queue.items import Claim

_LATE: Final = 0.5
"""How long past its time limit an item is given up by the loop itself, in seconds; after that the loop is blocked."""


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


class _Loop(LabelerTasks):
    """One event loop in its thread, with the items at work on it. Other threads call its public methods."""

    def __init__(self, labeler: Labeler, *, workers: int, **shared: Any) -> None:  # noqa: ANN401 - as `LabelerTasks`
        super().__init__(labeler, loop=asyncio.new_event_loop(), **shared)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(workers,), name="labelers", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def close(self, *, wait: bool) -> None:
        self.end()
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

    def _run(self, workers: int) -> None:
        try:
            self._loop.run_until_complete(self.run(workers))
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
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=LAST_WAIT))


def _what(error: BaseException | None) -> str:
    return "its labelers stopped it" if error is None else failure_reason(error)
