"""`run_batch_async`: the batch runner for coroutine labelers that need their caller's own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

from annotation_queue.aio.labelers import CallerLabelers
from annotation_queue.aio.queues import AsyncAnnotationQueues
from annotation_queue.batch.labelers import Labeler, Labelers
from annotation_queue.batch.plan import MAX_FAILURES, Plan, is_coroutine_labeler, make_labelers
from annotation_queue.batch.progress import check_bars, shown_bars
from annotation_queue.batch.report import BatchReport, OnFailure, OnFailureName
from annotation_queue.batch.retries import RetryPolicy
from annotation_queue.batch.run import BatchRun
from annotation_queue.batch.work import Outcome
from annotation_queue.queues import AnnotationQueues


async def run_batch_async(
    queues: AsyncAnnotationQueues | AnnotationQueues,
    queue_id: str,
    labeler: Labeler,
    *,
    annotator_id: str,
    workers: int = 1,
    limit: int | None = None,
    max_attempts: int = 3,
    on_failure: OnFailureName = OnFailure.SKIP,
    lease: timedelta | None = None,
    on_progress: Callable[[BatchReport], object] | None = None,
    progress: bool = False,
    rate: float | None = None,
    max_failures: int | None = MAX_FAILURES,
    timeout: timedelta | None = None,  # noqa: ASYNC109 - of one item, not of the run
    dry_run: bool = False,
    retry_failed: bool = False,
    stop: threading.Event | None = None,
) -> BatchReport:
    """Label a queue's items as `run_batch` does, and call a coroutine labeler on the event loop that awaits this.

    So the labeler may use what is bound to the loop: the application's own HTTP client, its connections, its locks. The
    storage is asked and heartbeats are sent in threads, and the loop waits for neither. A labeler that is a plain function
    is called in threads, as by `run_batch`.

    If the task is cancelled, the run claims nothing more and cancels the calls that are under way. It releases what it held,
    and only then is the task cancelled; a second cancellation leaves the holds to their leases. Set ``stop`` to let running
    items end, within 10 seconds. Signals are left to the application. A labeler that blocks the loop past ``timeout`` blocks
    everything else on it too, and its item has failed only when it returns.

    Args:
        queues: The service; it need not be the asynchronous one.
        queue_id: As for `run_batch`, like all that follow.
        labeler: Takes a `QueueItem`; returns the label or raises `SkipItem` or `RetryLater`.
        annotator_id: In whose name.
        workers: How many items are worked on at once, at least 1.
        limit: How many items to work on at most; None for all.
        max_attempts: How often an item is tried.
        on_failure: What becomes of an item on which every attempt failed.
        lease: How long a claim lasts without a heartbeat; None for the queue's lease.
        on_progress: Called on the loop after each item with the report so far, and while the run waits.
        progress: Whether to show a bar.
        rate: How many calls of the labeler may begin in each second.
        max_failures: The run stops when this number of items in a row failed.
        timeout: How long the labeler may take for an item, its attempts together.
        dry_run: Call the labeler and store nothing.
        retry_failed: Take the items up again that earlier runs of this annotator failed on.
        stop: Once it is set, the run ends as after a Ctrl-C.

    Returns:
        The report, as `run_batch`.

    Raises:
        CancelledError: The task was cancelled; what was stored stays, what was held is released.
        Exception: As `run_batch`.
    """
    plan = Plan(
        queues=queues.sync if isinstance(queues, AsyncAnnotationQueues) else queues,
        queue_id=queue_id,
        workers=workers,
        limit=limit,
        max_attempts=max_attempts,
        on_failure=on_failure,
        lease=lease,
        rate=rate,
        max_failures=max_failures,
        timeout=timeout,
        dry_run=dry_run,
        retry_failed=retry_failed,
        stop=stop,
    )
    if not progress:
        return await AsyncRun(plan, labeler, annotator_id, on_progress).wait()
    check_bars()
    totals = await asyncio.to_thread(plan.totals, [annotator_id])
    with shown_bars(totals, None if on_progress is None else lambda _, report: on_progress(report)) as show:
        return await AsyncRun(plan, labeler, annotator_id, partial(show, annotator_id)).wait()


class AsyncRun:
    """One annotator's run in a thread of its own, whose labeler and progress are called on the loop that waits for it.

    Args:
        plan: What to run.
        labeler: The labeler.
        annotator_id: In whose name.
        on_progress: Takes the reports; None if nobody does.
    """

    def __init__(
        self,
        plan: Plan,
        labeler: Labeler,
        annotator_id: str,
        on_progress: Callable[[BatchReport], object] | None,
    ) -> None:
        self._prepare = partial(
            plan.prepare,
            labeler,
            annotator_id=annotator_id,
            on_progress=None if on_progress is None else self._tell,
            make=self._make_labelers,
        )
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[BatchReport] = self._loop.create_future()
        self._labelers: CallerLabelers | None = None
        self._error: BaseException | None = None
        # The run, once it is prepared, and how often it was cancelled by then.
        self._lock = threading.Lock()
        self._run: BatchRun | None = None
        self._cancellations = 0

    async def wait(self) -> BatchReport:
        """Run, and give the report."""
        threading.Thread(target=self._carry_out, name="run-batch-async", daemon=True).start()
        is_cancelled = False
        while not self._ended.done():
            try:
                await asyncio.wait([self._ended])
            except asyncio.CancelledError:
                is_cancelled = True
                self._cancel()
        if self._labelers is not None:
            await self._labelers.ended()
        if is_cancelled:
            # What it raised, if it did, is no answer to whoever cancelled it.
            raise asyncio.CancelledError from self._ended.exception()
        report = self._ended.result()
        if self._error is not None:
            raise self._error
        return report

    def _cancel(self) -> None:
        with self._lock:
            self._cancellations += 1
            run, count = self._run, self._cancellations
        if run is not None and count == 1:
            run.interrupt(grace=0.0)
        elif run is not None:
            run.abandon()

    def _carry_out(self) -> None:
        try:
            run = self._prepare()
            with self._lock:
                self._run = run
                if self._cancellations:
                    run.interrupt(grace=0.0)
            report = run.run()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._end(partial(self._ended.set_exception, _raisable(error)))
        else:
            self._end(partial(self._ended.set_result, report))

    def _end(self, tell: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop was closed, so that nobody waits
            self._loop.call_soon_threadsafe(tell)

    def _make_labelers(
        self, labeler: Labeler, workers: int, policy: RetryPolicy, report: Callable[[Outcome], None]
    ) -> Labelers:
        if not is_coroutine_labeler(labeler):
            return make_labelers(labeler, workers, policy, report)
        self._labelers = CallerLabelers(
            labeler, workers, policy, report, loop=self._loop, on_cancelled=self._on_labelers_cancelled
        )
        return self._labelers

    def _on_labelers_cancelled(self) -> None:
        if self._run is not None:
            self._run.interrupt()

    def _tell(self, report: BatchReport) -> None:
        with suppress(RuntimeError):  # as above
            self._loop.call_soon_threadsafe(self._show, report)

    def _show(self, report: BatchReport) -> None:
        if self._on_progress is None or self._error is not None:
            return
        try:
            self._on_progress(report)
        except BaseException as error:  # noqa: BLE001 - raised again when the run has ended, as by `run_batch`
            self._error = error
            if self._run is not None:
                self._run.interrupt(grace=0.0)


def _raisable(error: BaseException) -> BaseException:
    """Give an error that a future takes: it refuses StopIteration."""
    if not isinstance(error, StopIteration):
        return error
    refused = RuntimeError("the labeler raised StopIteration")
    refused.__cause__ = error
    return refused
