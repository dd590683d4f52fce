"""Coroutine labelers at work on one event loop; apart from the others, so that only who uses them imports asyncio."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from annotation_queue.labelers import Outcome, OutcomeKind, judge, labelled, retry_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.items import Claim
    from annotation_queue.labelers import Labeler


class LoopLabelers:
    """A coroutine function on an event loop in a thread of its own, with a bound on how many run at once.

    Args:
        labeler: The coroutine function.
        workers: How many items are worked on at once.
        max_attempts: How often an item is tried.
        report: Takes each outcome; called in the loop's thread.
    """

    def __init__(self, labeler: Labeler, *, workers: int, max_attempts: int, report: Callable[[Outcome], None]) -> None:
        self._labeler = labeler
        self._max_attempts = max_attempts
        self._report = report
        # The claims stay in a queue of threads, so that they can be withdrawn while a labeler blocks the loop.
        self._claims: SimpleQueue[Claim] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._submitted = asyncio.Semaphore(0)
        self._stopping = asyncio.Event()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(workers,), name="labelers", daemon=True)
        self._thread.start()

    def submit(self, claims: Sequence[Claim]) -> None:
        """Queue claims to be labelled, in order."""
        for claim in claims:
            self._claims.put(claim)
        self._loop.call_soon_threadsafe(self._announce, len(claims))

    def withdraw(self) -> list[Claim]:
        """Take back the claims that no labeler has started, and start no further attempts."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        withdrawn = []
        with suppress(Empty):
            while True:
                withdrawn.append(self._claims.get_nowait())
        return withdrawn

    def close(self, *, wait: bool) -> None:
        """Cancel what still runs and end the loop; with ``wait`` not before it ended."""
        self._loop.call_soon_threadsafe(self._closing.set)
        if wait:
            self._thread.join()

    def _announce(self, count: int) -> None:
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

    async def _work(self) -> None:
        while True:
            await self._submitted.acquire()
            try:
                claim = self._claims.get_nowait()
            except Empty:
                continue
            self._report(await self._label(claim))

    async def _label(self, claim: Claim) -> Outcome:
        attempt = 1
        while True:
            try:
                return labelled(claim, await self._labeler(claim.item), attempt)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                cancelled = RuntimeError("the labeler was cancelled")
                outcome = judge(claim, cancelled, attempt, self._max_attempts)
            except BaseException as error:  # noqa: BLE001 - what is no Exception is raised again in the caller's thread
                outcome = judge(claim, error, attempt, self._max_attempts)
            if outcome is not None:
                return outcome
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), retry_wait(attempt))
                return Outcome(claim, OutcomeKind.WITHDRAWN, attempt)
            attempt += 1
