"""The batch-labelling runner: claims a queue's items, labels them and stores every label once.

`run_batch` runs one annotator in the calling thread, `run_batches` several in threads of their own. Labelers raise `SkipItem`
or `RetryLater`; what a run did is a `BatchReport`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import TypedDict, Unpack

from annotation_queue.batch.labelers import Labeler
from annotation_queue.batch.limits import GRACE
from annotation_queue.batch.plan import MAX_FAILURES, Plan
from annotation_queue.batch.progress import check_bars, shown_bars
from annotation_queue.batch.report import BatchReport, OnFailure, OnFailureName
from annotation_queue.queues import AnnotationQueues

__all__ = ["GRACE", "MAX_FAILURES", "BatchOptions", "run_batch", "run_batches"]


class BatchOptions(TypedDict, total=False):
    """The options that `run_batches` shares with `run_batch`, which explains them."""

    workers: int
    limit: int | None
    max_attempts: int
    on_failure: OnFailureName
    lease: timedelta | None
    rate: float | None
    max_failures: int | None
    timeout: timedelta | None
    dry_run: bool
    retry_failed: bool
    stop: threading.Event | None


def run_batch(
    queues: AnnotationQueues,
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
    timeout: timedelta | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
    stop: threading.Event | None = None,
) -> BatchReport:
    """Label a queue's items, each once, until there is nothing left that this annotator can claim.

    A killed run is resumed by running it again: what it had stored stays, and what it held is waited for until its
    leases end. Items held by other annotators are not waited for. This thread stores labels within milliseconds, those
    that come up together in one step. At most two batches of at most 64 (or ``workers``) items are held at a time, besides
    failed ones that are settled later. Heartbeats keep them, also while a labeler blocks. If heartbeats fail for longer
    than the lease, the result is discarded and counted as lost. While the storage fails, the run tries again for a minute.

    In the main thread, the first Ctrl-C, SIGTERM or SIGHUP stops claiming, gives running items 10 seconds to end, releases
    the rest and returns the report. A second one raises `KeyboardInterrupt` at once (a second SIGHUP does nothing), and what
    is held stays so until its leases end. A signal that was ignored stays ignored.

    The runner logs to ``annotation_queue.batch``: failed items and a failing storage as warnings, beginnings and ends as
    information.

    Args:
        queues: The service.
        queue_id: The queue.
        labeler: Takes a `QueueItem`; returns the label, any JSON value, or raises `SkipItem` or `RetryLater`. A function is
            called in ``workers`` threads, a coroutine function on one event loop, ``workers`` at once. Each attempt gets a
            payload of its own.
        annotator_id: In whose name.
        workers: How many items are worked on at once, at least 1.
        limit: How many items to work on at most, at least 0; None for all.
        max_attempts: How often an item is tried, at least 1, with growing waits. If the label is no JSON value, the item
            has failed without a further attempt.
        on_failure: What becomes of an item on which every attempt failed. The reason that is stored begins with
            ``failed:``, so that failures can be told from skips.
        lease: How long a claim lasts without a heartbeat; None for the queue's lease.
        on_progress: Called in this thread after each item with the report so far, and while the run waits.
        progress: Whether to show a bar, on standard error in a terminal or in a notebook, by tqdm or rich (extra ``progress``);
            nothing is shown elsewhere.
        rate: How many calls of the labeler may begin in each second, further attempts too, evenly spaced; None for any
            number. After a stall, calls that are overdue are not made up for.
        max_failures: The run stops when this number of items in a row failed, and releases them instead of skipping them,
            at least 1; None to go on whatever fails. If many workers run into one short outage together, choose more than
            them.
        timeout: How long the labeler may take for an item, its attempts together; then the item has failed, without a further
            attempt. A coroutine is cancelled. A thread cannot be: it is left alone, what it returns is dropped, and a new
            one takes its place, within a quarter of a second. None for any time.
        dry_run: Call the labeler and store nothing: up to 1,000 items are held until the run ends and then released.
        retry_failed: Take the items up again that earlier runs of this annotator failed on and skipped for that. One run at a
            time may do so in the name of an annotator.
        stop: Once it is set, the run ends as after a Ctrl-C, within a tenth of a second; for runs in other threads.

    Returns:
        The report. Its ``advice`` says what was left and what to do about it.

    Raises:
        QueueNotFound: There is no such live queue in the project, or it is deleted meanwhile.
        InvalidValue: An argument is refused.
        ModuleNotFoundError: ``progress=True``, and there is neither tqdm nor rich; nothing was done.
        StorageError: The storage failed for a minute; what was stored stays, what is held is released as far as possible.
        WorkerLost: A thread that calls the labeler or sends heartbeats is gone; what is held is released.
        Exception: What the labeler raised, with `OnFailure.RAISE`. What it raises that is no `Exception`, such as
            `SystemExit`, always ends the run and is raised.
    """
    plan = Plan(
        queues=queues,
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
        return plan.run(labeler, annotator_id=annotator_id, on_progress=on_progress)
    check_bars()
    totals = plan.totals([annotator_id])
    with shown_bars(totals, None if on_progress is None else lambda _, report: on_progress(report)) as show:
        return plan.run(labeler, annotator_id=annotator_id, on_progress=partial(show, annotator_id))


def run_batches(
    queues: AnnotationQueues,
    queue_id: str,
    labelers: Mapping[str, Labeler],
    *,
    on_progress: Callable[[str, BatchReport], object] | None = None,
    progress: bool = False,
    **options: Unpack[BatchOptions],
) -> dict[str, BatchReport]:
    """Label a queue's items by several annotators at the same time, each in a thread of its own as by `run_batch`.

    In the main thread, the first Ctrl-C, SIGTERM or SIGHUP ends all runs as it ends one; a second one raises
    `KeyboardInterrupt` at once. If one run raises, the others are ended as by a Ctrl-C.

    Args:
        queues: The service.
        queue_id: The queue.
        labelers: Labelers by annotator id. The same one may stand for several annotators.
        on_progress: As in `run_batch`, with the annotator id before the report; called in the runs' threads, by one at a time.
        progress: As in `run_batch`, with a bar for each annotator.
        **options: The other options of `run_batch`; ``workers``, ``limit`` and ``rate`` are those of each annotator.

    Returns:
        The reports by annotator id, in the order of ``labelers``.

    Raises:
        RuntimeError: There is no thread for one of the runs; those that had begun were ended.
        Exception: As `run_batch`; the first one if several runs raise.
    """
    plan = Plan(queues=queues, queue_id=queue_id, **options)
    if not progress:
        return plan.run_together(labelers, on_progress=on_progress)
    check_bars()
    with shown_bars(plan.totals(list(labelers)), on_progress) as show:
        return plan.run_together(labelers, on_progress=show)
