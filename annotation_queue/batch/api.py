"""The batch-labelling runner: claims a queue's items, labels them and stores every label once.

`run_batch` runs one annotator in the calling thread, `run_batches` several in threads of their own. Labelers raise `SkipItem`
or `RetryLater`; what a run did is a `BatchReport`.
"""

from __future__ import annotations

import math
import signal
import threading
from contextlib import contextmanager, suppress
from functools import partial
from inspect import iscoroutinefunction
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

import attrs

from annotation_queue.batch.outcomes import OutcomeQueue
from annotation_queue.batch.report import BatchReport, OnFailure
from annotation_queue.batch.retries import RateLimit, RetryPolicy
from annotation_queue.batch.run import GRACE, POLL, BatchRun
from annotation_queue.batch.threads import ThreadLabelers
from annotation_queue.construction import optional, run_checks
from annotation_queue.values import check_id, check_integer, check_lease, check_member, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import timedelta
    from types import FrameType

    from annotation_queue.batch.labelers import Labeler, Labelers
    from annotation_queue.batch.work import Outcome
    from annotation_queue.construction import Check
    from annotation_queue.queues import AnnotationQueues

__all__ = ["GRACE", "MAX_FAILURES", "BatchOptions", "run_batch", "run_batches"]

MAX_FAILURES: Final = 50
"""How many items may fail in a row, unless the caller says otherwise."""


class BatchOptions(TypedDict, total=False):
    """The options that `run_batches` shares with `run_batch`, where they are explained."""

    workers: int
    limit: int | None
    max_attempts: int
    on_failure: OnFailure
    lease: timedelta | None
    rate: float | None
    max_failures: int | None
    timeout: timedelta | None
    dry_run: bool
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
    on_failure: OnFailure = OnFailure.SKIP,
    lease: timedelta | None = None,
    on_progress: Callable[[BatchReport], object] | None = None,
    rate: float | None = None,
    max_failures: int | None = MAX_FAILURES,
    timeout: timedelta | None = None,
    dry_run: bool = False,
    stop: threading.Event | None = None,
) -> BatchReport:
    """Label a queue's items, each once, until there is nothing left that this annotator can claim.

    A killed run is resumed by running it again: what it had stored stays, and what it held is waited for until its
    leases end. Items held by other annotators are not waited for. Labels are stored by this thread within milliseconds, those
    that come up together in one step. At most two batches of at most 64 (or ``workers``) items are held at a time, besides
    failed ones that are settled later; heartbeats keep them, also while a labeler blocks. Where heartbeats fail for longer
    than the lease, the result is discarded and counted as lost. While the storage fails, the run tries again for a minute.

    In the main thread, the first Ctrl-C or SIGTERM stops claiming, gives running items 10 seconds to end, releases the
    rest and returns the report; a second one raises `KeyboardInterrupt` at once, and what is held stays so until its
    leases end.

    Args:
        queues: The service.
        queue_id: The queue.
        labeler: Takes a `QueueItem`; returns the label, any JSON value, or raises `SkipItem` or `RetryLater`. A function is
            called in ``workers`` threads, a coroutine function on one event loop, ``workers`` at once.
        annotator_id: In whose name.
        workers: How many items are worked on at once, at least 1.
        limit: At most so many items, at least 0; None for all.
        max_attempts: How often an item is tried, at least 1, with growing waits. A label that is no JSON is a failure.
        on_failure: What becomes of an item on which every attempt failed.
        lease: How long a claim lasts without a heartbeat; None for the queue's lease.
        on_progress: Called in this thread after each item with the report so far, and while the run waits.
        rate: At most so many calls of the labeler in each second, further attempts too, evenly spaced; None for any number.
        max_failures: The run stops when so many items in a row failed, and releases these instead of skipping them, at least
            1; None to go on whatever fails. Where many workers run into one short outage together, choose more than them.
        timeout: How long the labeler may take for an item, its attempts together; then the item has failed, without a further
            attempt. A coroutine is cancelled. A thread cannot be: it is left alone, what it returns is dropped, and a new
            one takes its place, within a quarter of a second. None for any time.
        dry_run: Call the labeler and store nothing: up to 1,000 items are held until the run ends and then released.
        stop: Once it is set, the run ends as after a Ctrl-C, within a tenth of a second; for runs in other threads.

    Returns:
        The report.

    Raises:
        QueueNotFound: There is no such live queue in the project, or it is deleted meanwhile.
        InvalidValue: An argument is refused.
        StorageError: The storage failed for a minute; what was stored stays, what is held is released as far as possible.
        Exception: What the labeler raised, with `OnFailure.RAISE`. What it raises that is no `Exception`, such as
            `SystemExit`, always ends the run and is raised.
    """
    plan = _Plan(
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
        stop=stop,
    )
    run = plan.start(check_id("annotator_id", annotator_id), _check_labeler("labeler", labeler), on_progress)
    with _signals_call(run.interrupt):
        return run.run()


def run_batches(
    queues: AnnotationQueues,
    queue_id: str,
    labelers: Mapping[str, Labeler],
    *,
    on_progress: Callable[[str, BatchReport], object] | None = None,
    **options: Unpack[BatchOptions],
) -> dict[str, BatchReport]:
    """Label a queue's items by several annotators at the same time, each in a thread of its own as by `run_batch`.

    In the main thread, the first Ctrl-C or SIGTERM ends all runs as it ends one; a second one raises `KeyboardInterrupt` at
    once. Where one run raises, the others are ended as by a Ctrl-C.

    Args:
        queues: The service.
        queue_id: The queue.
        labelers: Labelers by annotator id. The same one may stand for several annotators.
        on_progress: As in `run_batch`, with the annotator id before the report; called in the runs' threads, by one at a time.
        **options: The other options of `run_batch`; ``workers``, ``limit`` and ``rate`` are those of each annotator.

    Returns:
        The reports by annotator id, in the order of ``labelers``.

    Raises:
        Exception: As `run_batch`; the first one where several runs raise.
    """
    plan = _Plan(queues=queues, queue_id=queue_id, **options)
    checked = {
        check_id("annotator_id", annotator_id): _check_labeler(f"labelers[{annotator_id!r}]", labeler)
        for annotator_id, labeler in labelers.items()
    }
    told = threading.Lock()

    def tell(annotator_id: str, report: BatchReport) -> None:
        if on_progress is not None:
            with told:
                on_progress(annotator_id, report)

    return _Runs(
        {
            annotator_id: plan.start(
                annotator_id, labeler, None if on_progress is None else partial(tell, annotator_id)
            )
            for annotator_id, labeler in checked.items()
        }
    ).run()


class _Runs:
    """Runs that go on together, each in a thread; an interrupt or an error of one ends all."""

    def __init__(self, runs: Mapping[str, BatchRun]) -> None:
        self._runs = runs
        self._reports: dict[str, BatchReport] = {}
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run(self) -> dict[str, BatchReport]:
        errors = []
        try:
            with _signals_call(self._interrupt):
                for annotator_id in self._runs:
                    name = f"run-{annotator_id}"
                    threading.Thread(target=self._carry_out, args=(annotator_id,), name=name, daemon=True).start()
                left = len(self._runs)
                while left:
                    with suppress(Empty):
                        error = self._ended.get(timeout=POLL)
                        left -= 1
                        if error is not None:
                            errors.append(error)
                            self._interrupt()
        except BaseException:
            for run in self._runs.values():
                run.abandon()
            raise
        if errors:
            raise errors[0]
        return {annotator_id: self._reports[annotator_id] for annotator_id in self._runs}

    def _carry_out(self, annotator_id: str) -> None:
        try:
            self._reports[annotator_id] = self._runs[annotator_id].run()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._ended.put(error)
        else:
            self._ended.put(None)

    def _interrupt(self) -> None:
        for run in self._runs.values():
            run.interrupt()


def _check_labeler(field: str, labeler: Labeler) -> Labeler:
    if not callable(labeler):
        raise refuse(field, labeler, "a function or a coroutine function")
    return labeler


def _check_rate(field: str, rate: object) -> float:
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate < math.inf:
        raise refuse(field, rate, "a positive number of calls per second")
    return float(rate)


def _check_stop(field: str, stop: object) -> object:
    if not callable(getattr(stop, "is_set", None)):
        raise refuse(field, stop, "a threading.Event")
    return stop


_CHECKS: Final[dict[str, Check]] = {
    "workers": partial(check_integer, minimum=1),
    "limit": optional(partial(check_integer, minimum=0)),
    "max_attempts": partial(check_integer, minimum=1),
    "on_failure": partial(check_member, members=OnFailure),
    "lease": optional(check_lease),
    "rate": optional(_check_rate),
    "max_failures": optional(partial(check_integer, minimum=1)),
    "timeout": optional(check_lease),
    "stop": optional(_check_stop),
}


@attrs.frozen(kw_only=True)
class _Plan:
    """What runs over a queue have in common; arguments are those of `run_batch`."""

    queues: AnnotationQueues
    queue_id: str
    workers: int = 1
    limit: int | None = None
    max_attempts: int = 3
    on_failure: OnFailure = OnFailure.SKIP
    lease: timedelta | None = None
    rate: float | None = None
    max_failures: int | None = MAX_FAILURES
    timeout: timedelta | None = None
    dry_run: bool = False
    stop: threading.Event | None = None

    def __attrs_post_init__(self) -> None:
        run_checks(self, _CHECKS)

    def start(
        self, annotator_id: str, labeler: Labeler, on_progress: Callable[[BatchReport], object] | None
    ) -> BatchRun:
        """Make one annotator's run, with the labelers waiting."""
        queue = self.queues.get(self.queue_id)
        attempts = RetryPolicy(
            most=self.max_attempts,
            timeout=None if self.timeout is None else self.timeout.total_seconds(),
            rate_limit=None if self.rate is None else RateLimit(self.rate),
        )
        outcomes = OutcomeQueue()
        return BatchRun(
            queues=self.queues,
            queue_id=queue.id,
            annotator_id=annotator_id,
            workers=self.workers,
            limit=self.limit,
            on_failure=self.on_failure,
            lease=self.lease or queue.lease,
            on_progress=on_progress,
            max_failures=self.max_failures,
            dry_run=bool(self.dry_run),
            stop=self.stop,
            outcomes=outcomes,
            labelers=_start_labelers(labeler, self.workers, attempts, outcomes.put),
        )


def _start_labelers(
    labeler: Labeler, workers: int, attempts: RetryPolicy, report: Callable[[Outcome], None]
) -> Labelers:
    if not iscoroutinefunction(labeler) and not iscoroutinefunction(type(labeler).__call__):
        return ThreadLabelers(labeler, workers=workers, attempts=attempts, report=report)
    from annotation_queue.batch.coroutines import LoopLabelers  # noqa: PLC0415 - asyncio is imported only by who uses it

    return LoopLabelers(labeler, workers=workers, attempts=attempts, report=report)


@contextmanager
def _signals_call(interrupt: Callable[[], None]) -> Iterator[None]:
    """In the main thread, have the first SIGINT or SIGTERM call this and a further one raise KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        interrupt()

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        # What was ignored stays so: a shell starts its background jobs like that.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
