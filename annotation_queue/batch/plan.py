"""What runs over a queue have in common, how they are made, and how several go on together."""

from __future__ import annotations

import math
import signal
import threading
from contextlib import contextmanager, suppress
from functools import partial
from inspect import iscoroutinefunction
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from annotation_queue.batch.limits import LIMITS
from annotation_queue.batch.outcomes import OutcomeQueue
from annotation_queue.batch.progress import to_label
from annotation_queue.batch.report import BatchReport, OnFailure, OnFailureName
from annotation_queue.batch.retries import RateLimit, RetryPolicy
from annotation_queue.batch.run import BatchRun
from annotation_queue.batch.threads import ThreadLabelers
from annotation_queue.construction import optional, run_checks
from annotation_queue.errors import InvalidValue
from annotation_queue.values import check_id, check_integer, check_lease, check_member, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import timedelta
    from types import FrameType

    from annotation_queue.batch.labelers import Labeler, Labelers
    from annotation_queue.batch.limits import Limits
    from annotation_queue.batch.work import Outcome
    from annotation_queue.construction import Check
    from annotation_queue.queues import AnnotationQueues

    MakeLabelers: TypeAlias = Callable[[Labeler, int, RetryPolicy, Callable[[Outcome], None]], Labelers]

MAX_FAILURES: Final = 50
"""How many items may fail in a row, unless the caller says otherwise."""
_HANGUP: Final = getattr(signal, "SIGHUP", None)
"""What a terminal sends that goes away; None on a system that has no such signal."""
_STOPPING: Final = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)


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


def _on_failure(value: OnFailureName) -> OnFailure:
    return check_member("on_failure", value, members=OnFailure)


_CHECKS: Final[dict[str, Check]] = {
    "workers": partial(check_integer, minimum=1),
    "limit": optional(partial(check_integer, minimum=0)),
    "max_attempts": partial(check_integer, minimum=1),
    "lease": optional(check_lease),
    "rate": optional(_check_rate),
    "max_failures": optional(partial(check_integer, minimum=1)),
    "timeout": optional(check_lease),
    "stop": optional(_check_stop),
}


@attrs.frozen(kw_only=True)
class Plan:
    """What runs over a queue have in common. Arguments are those of `run_batch`, and the limits, which nobody chooses there.

    Raises:
        InvalidValue: An argument is refused.
    """

    queues: AnnotationQueues
    queue_id: str
    workers: int = 1
    limit: int | None = None
    max_attempts: int = 3
    on_failure: OnFailure = attrs.field(default=OnFailure.SKIP, converter=_on_failure)
    lease: timedelta | None = None
    rate: float | None = None
    max_failures: int | None = MAX_FAILURES
    timeout: timedelta | None = None
    dry_run: bool = False
    retry_failed: bool = False
    stop: threading.Event | None = None
    limits: Limits = LIMITS

    def __attrs_post_init__(self) -> None:
        run_checks(self, _CHECKS)
        if self.retry_failed and self.dry_run:
            raise InvalidValue("retry_failed", "True", "False in a dry run, which stores nothing and so resets nothing")

    def totals(self, annotator_ids: Iterable[str]) -> dict[str, int]:
        """Count what there is to label for each of some annotators, or somewhat more."""
        (stats,) = self.queues.stats([self.queue_id])
        return {annotator_id: to_label(stats, annotator_id, self.limit) for annotator_id in annotator_ids}

    def run(
        self, labeler: Labeler, *, annotator_id: str, on_progress: Callable[[BatchReport], object] | None = None
    ) -> BatchReport:
        """Run one annotator in this thread, as `run_batch`."""
        run = self.prepare(labeler, annotator_id=annotator_id, on_progress=on_progress)
        with _signals_call(run.interrupt):
            return run.run()

    def run_together(
        self, labelers: Mapping[str, Labeler], *, on_progress: Callable[[str, BatchReport], object] | None = None
    ) -> dict[str, BatchReport]:
        """Run several annotators, each in a thread of its own, as `run_batches`."""
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
                annotator_id: self._make(
                    annotator_id, labeler, None if on_progress is None else partial(tell, annotator_id), make_labelers
                )
                for annotator_id, labeler in checked.items()
            },
            poll=self.limits.poll,
        ).run()

    def prepare(
        self,
        labeler: Labeler,
        *,
        annotator_id: str,
        on_progress: Callable[[BatchReport], object] | None = None,
        make: MakeLabelers | None = None,
    ) -> BatchRun:
        """Make the run of one annotator, for whoever carries it out elsewhere; it reads the queue, and has no thread yet.

        Args:
            labeler: The labeler.
            annotator_id: In whose name.
            on_progress: As for `run_batch`; called in the thread that carries the run out.
            make: Makes what calls the labeler; None for the usual threads.

        Returns:
            The run.
        """
        annotator_id, labeler = check_id("annotator_id", annotator_id), _check_labeler("labeler", labeler)
        return self._make(annotator_id, labeler, on_progress, make or make_labelers)

    def _make(
        self,
        annotator_id: str,
        labeler: Labeler,
        on_progress: Callable[[BatchReport], object] | None,
        make: MakeLabelers,
    ) -> BatchRun:
        """Make one annotator's run. It has no thread yet."""
        queue = self.queues.get(self.queue_id)
        policy = RetryPolicy(
            most=self.max_attempts,
            timeout=None if self.timeout is None else self.timeout.total_seconds(),
            rate_limit=None if self.rate is None else RateLimit(self.rate),
            backoff=self.limits.retries,
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
            retry_failed=bool(self.retry_failed),
            stop=self.stop,
            outcomes=outcomes,
            labelers=make(labeler, self.workers, policy, outcomes.put),
            limits=self.limits,
        )


class _Runs:
    """Runs that go on together, each in a thread; an interrupt or an error of one ends all."""

    def __init__(self, runs: Mapping[str, BatchRun], *, poll: float) -> None:
        self._runs = runs
        self._poll = poll
        self._reports: dict[str, BatchReport] = {}
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self) -> dict[str, BatchReport]:
        """Run until all have ended; raise the first error."""
        errors: list[BaseException] = []
        try:
            with _signals_call(self._interrupt):
                left = self._start(errors)
                while left:
                    with suppress(Empty):
                        error = self._ended.get(timeout=self._poll)
                        left -= 1
                        if error is not None:
                            errors.append(error)
                            self._interrupt()
        except BaseException:
            for run in self._runs.values():
                run.abandon()
            raise
        for thread in self._threads:
            thread.join()
        if errors:
            raise errors[0]
        return {annotator_id: self._reports[annotator_id] for annotator_id in self._runs}

    def _start(self, errors: list[BaseException]) -> int:
        """Start the runs; if there is no thread for one, end those that were started. Give how many are to be waited for."""
        for annotator_id in self._runs:
            name = f"run-{annotator_id}"
            thread = threading.Thread(target=self._carry_out, args=(annotator_id,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                errors.append(error)
                self._interrupt()
                break
            self._threads.append(thread)
        return len(self._threads)

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


def is_coroutine_labeler(labeler: Labeler) -> bool:
    """Tell whether a labeler is a coroutine function, or an object that is called like one."""
    return iscoroutinefunction(labeler) or iscoroutinefunction(type(labeler).__call__)


def make_labelers(labeler: Labeler, workers: int, policy: RetryPolicy, report: Callable[[Outcome], None]) -> Labelers:
    """Make what calls a labeler: threads for a function, an event loop in a thread for a coroutine function.

    Args:
        labeler: The labeler.
        workers: How many items are worked on at once.
        policy: How often, how long and how fast it is called.
        report: Takes each outcome; called in whichever thread it came up in.
    """
    if not is_coroutine_labeler(labeler):
        return ThreadLabelers(labeler, workers=workers, policy=policy, report=report)
    from annotation_queue.batch.coroutines import LoopLabelers  # noqa: PLC0415 - asyncio is imported only by who uses it

    return LoopLabelers(labeler, workers=workers, policy=policy, report=report)


@contextmanager
def _signals_call(interrupt: Callable[[], None]) -> Iterator[None]:
    """In the main thread, have the first SIGINT, SIGTERM or SIGHUP call this and a further one raise KeyboardInterrupt.

    A further SIGHUP does nothing: a terminal that goes away sends one itself, and so does its shell.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            interrupt()
        elif number != _HANGUP:
            raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    for number in _STOPPING:
        # What was ignored stays so: a shell starts its background jobs like that, and nohup what it runs.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
