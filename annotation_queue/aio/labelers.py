"""A coroutine labeler at work on its caller's own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from annotation_queue.batch.labelers import Labeler, WorkerLost
from annotation_queue.batch.retries import RetryPolicy
from annotation_queue.batch.tasks import LAST_WAIT, LabelerTasks
from annotation_queue.batch.work import Outcome, Work
from annotation_queue.items import Claim


class CallerLabelers:
    """A coroutine function on an event loop that somebody else runs, with a bound on how many calls run at once.

    Args:
        labeler: The coroutine function.
        workers: How many items are worked on at once.
        policy: How often, how long and how fast it is called.
        report: Takes each outcome; called on the loop.
        loop: The loop.
        on_cancelled: Called on the loop if somebody cancels the tasks that call the labeler, as a loop that is shut down does.
    """

    def __init__(
        self,
        labeler: Labeler,
        workers: int,
        policy: RetryPolicy,
        report: Callable[[Outcome], None],
        *,
        loop: asyncio.AbstractEventLoop,
        on_cancelled: Callable[[], object],
    ) -> None:
        self._workers = workers
        self._loop = loop
        self._claims: SimpleQueue[Claim] = SimpleQueue()
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self._tasks = _Tasks(
            labeler,
            on_cancelled,
            loop=loop,
            policy=policy,
            claims=self._claims,
            withdrawing=self._stopping,
            lock=threading.Lock(),
            report=report,
        )
        self._run: Future[None] | None = None

    def start(self) -> None:
        """Start the tasks."""
        self._run = asyncio.run_coroutine_threadsafe(self._tasks.run(self._workers), self._loop)

    def submit(self, claims: Sequence[Claim]) -> None:
        """Queue claims to be labelled, in order."""
        for claim in claims:
            self._claims.put(claim)
        self._tasks.announce(len(claims))

    def withdraw(self) -> list[Claim]:
        """Take back the claims that no labeler has started, and start no further attempts."""
        self._stopping.set()
        self._tasks.stop()
        withdrawn = []
        with suppress(Empty):
            while True:
                withdrawn.append(self._claims.get_nowait())
        return withdrawn

    def check(self) -> None:
        """Make sure that the loop is there, and the tasks on it."""
        if self._closing.is_set():
            return
        if self._loop.is_closed():
            raise WorkerLost("the event loop of the labelers was closed")
        if self._run is not None and self._run.done():
            raise WorkerLost("the tasks that call the labeler ended")

    def close(self, *, wait: bool) -> None:
        """Cancel what still runs. It waits for nothing: `ended` does, on the loop that the tasks need to end."""
        del wait
        self._closing.set()
        self._tasks.end()

    async def ended(self) -> None:
        """Wait on the loop until the tasks have ended, for a second at most: a labeler may ignore that it is cancelled."""
        if self._run is not None and not self._run.done():
            await asyncio.wait([asyncio.wrap_future(self._run)], timeout=LAST_WAIT)


class _Tasks(LabelerTasks):
    """Tasks that somebody else may cancel together with all others of the loop: then what they work on is given back."""

    def __init__(self, labeler: Labeler, on_cancelled: Callable[[], object], **shared: Any) -> None:  # noqa: ANN401
        super().__init__(labeler, **shared)
        self._on_cancelled = on_cancelled

    async def _until_closing(self) -> None:
        while not self._closing.is_set():
            try:
                await self._closing.wait()
            except asyncio.CancelledError:
                self._on_cancelled()
                self._forgive()

    def _cancelled(self, work: Work) -> Outcome | float:
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return super()._cancelled(work)  # the labeler itself raised it
        self._on_cancelled()
        self._forgive()
        return work.withdrawn()
