"""The batch-labelling runner: claims a queue's items, labels them and stores every label once."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from inspect import iscoroutinefunction
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.batch_report import BatchReport, OnFailure
from annotation_queue.errors import AnnotationQueueError, ClaimLost
from annotation_queue.holds import Holds
from annotation_queue.items import Claim, UnavailableReason
from annotation_queue.labelers import OutcomeKind, ThreadLabelers
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.states import IN_PROGRESS
from annotation_queue.values import check_id, check_integer, check_lease, refuse, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta
    from types import FrameType

    from annotation_queue.items import Unavailable
    from annotation_queue.labelers import Labeler, Labelers, Outcome
    from annotation_queue.queues import AnnotationQueues

GRACE: float = 10.0
"""How long running items may go on after an interrupt, in seconds."""
MAX_KEPT: int = 1_000
"""With `OnFailure.RELEASE`, how many failed items a run keeps before it ends."""
INTERRUPTED: Final = "run interrupted"
"""The reason with which an interrupted run releases what it holds."""
_LARGEST_BATCH: Final = 64
_BATCH_SECONDS: Final = 0.5
_POLL: Final = 1.0


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
) -> BatchReport:
    """Label a queue's items, each once, until there is nothing left that this annotator can claim.

    A killed run is resumed by running it again: what it had stored stays, and what it held is waited for until its
    leases end. Items held by other annotators are not waited for. Labels are stored by this thread as they come up. At
    most two batches of at most 64 (or ``workers``) items are held at a time; heartbeats keep them, also while a labeler
    blocks.

    In the main thread, the first Ctrl-C or SIGTERM stops claiming, gives running items 10 seconds to end, releases the
    rest and returns the report; a second one raises `KeyboardInterrupt` at once, and what is held stays so until its
    leases end.

    Args:
        queues: The service.
        queue_id: The queue.
        labeler: Takes a `QueueItem`; returns the label, any JSON value, or raises `SkipItem`. A function is called in
            ``workers`` threads, a coroutine function on one event loop, ``workers`` at once.
        annotator_id: In whose name.
        workers: How many items are worked on at once, at least 1.
        limit: At most so many items, at least 0; None for all.
        max_attempts: How often an item is tried, at least 1, with growing waits. A label that is no JSON is a failure.
        on_failure: What becomes of an item on which every attempt failed.
        lease: How long a claim lasts without a heartbeat; None for the queue's lease.
        on_progress: Called in this thread after each item with the report so far, and while the run waits.

    Returns:
        The report.

    Raises:
        QueueNotFound: There is no such live queue in the project, or it is deleted meanwhile.
        InvalidValue: An argument is refused.
        StorageError: The storage failed; what was stored stays, what is held is released as far as possible.
        Exception: What the labeler raised, with `OnFailure.RAISE`. What it raises that is no `Exception`, such as
            `SystemExit`, always ends the run and is raised.
    """
    annotator_id = check_id("annotator_id", annotator_id)
    workers = check_integer("workers", workers, minimum=1)
    max_attempts = check_integer("max_attempts", max_attempts, minimum=1)
    limit = None if limit is None else check_integer("limit", limit, minimum=0)
    lease = None if lease is None else check_lease("lease", lease)
    try:
        on_failure = OnFailure(on_failure)
    except ValueError:
        raise refuse("on_failure", on_failure, f"one of {', '.join(OnFailure)}") from None
    if not callable(labeler):
        raise refuse("labeler", labeler, "a function or a coroutine function")
    queue = queues.get(queue_id)
    outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
    run = _Run(
        queues=queues,
        queue_id=queue.id,
        annotator_id=annotator_id,
        workers=workers,
        limit=limit,
        on_failure=on_failure,
        lease=lease or queue.lease,
        on_progress=on_progress or (lambda _report: None),
        outcomes=outcomes,
        labelers=_start_labelers(labeler, workers, max_attempts, outcomes.put),
    )
    with _signals_call(run.interrupt):
        return run.run()


def _start_labelers(
    labeler: Labeler, workers: int, max_attempts: int, report: Callable[[Outcome | None], None]
) -> Labelers:
    if not iscoroutinefunction(labeler) and not iscoroutinefunction(type(labeler).__call__):
        return ThreadLabelers(labeler, workers=workers, max_attempts=max_attempts, report=report)
    from annotation_queue.labelers_async import LoopLabelers  # noqa: PLC0415 - asyncio is imported only by who uses it

    return LoopLabelers(labeler, workers=workers, max_attempts=max_attempts, report=report)


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


def _key(claim: Claim) -> tuple[str, int]:
    return claim.item.id, claim.token


@attrs.define(kw_only=True, eq=False)
class _Run:
    """One run: this thread claims, stores and counts; labelers and heartbeats have their own."""

    queues: AnnotationQueues
    queue_id: str
    annotator_id: str
    workers: int
    limit: int | None
    on_failure: OnFailure
    lease: timedelta
    on_progress: Callable[[BatchReport], object]
    outcomes: SimpleQueue[Outcome | None]
    labelers: Labelers

    holds: Holds = attrs.field(init=False)
    # By item and token: where a lease ran out, the run may be granted an item again that it still works on.
    in_flight: dict[tuple[str, int], Claim] = attrs.field(init=False, factory=dict)
    # Failed items that are released when the run ends, so that it is not served them again, with the reason.
    kept: dict[str, tuple[Claim, str | None]] = attrs.field(init=False, factory=dict)
    counts: Counter[str] = attrs.field(init=False, factory=Counter)
    last_failure: str | None = attrs.field(init=False, default=None)
    error: BaseException | None = attrs.field(init=False, default=None)
    interrupted: bool = attrs.field(init=False, default=False)
    unavailable: Unavailable | None = attrs.field(init=False, default=None)
    claimed: int = attrs.field(init=False, default=0)
    started: float = attrs.field(init=False, factory=time.monotonic)
    empty_at: float = attrs.field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self.holds = Holds(self.queues, self.lease)

    def interrupt(self) -> None:
        """Stop claiming; safe to call from a signal handler."""
        self.interrupted = True
        self.outcomes.put(None)

    def run(self) -> BatchReport:
        ended = False
        try:
            while not self.interrupted and self.error is None:
                self.refill()
                if self.in_flight:
                    self.settle(self.take(_POLL))
                elif not self.await_more():
                    break
            self.drain()
            ended = not self.in_flight
            self.release_rest()
        except Exception:
            self.labelers.withdraw()
            with suppress(AnnotationQueueError):
                self.release_rest()
            raise
        finally:
            self.holds.close(wait=ended)
            self.labelers.close(wait=ended)
        if self.error is not None:
            raise self.error
        return self.report()

    def report(self) -> BatchReport:
        counts: dict[str, Any] = self.counts
        seconds = time.monotonic() - self.started
        return BatchReport(
            **counts,
            seconds=seconds,
            interrupted=self.interrupted,
            last_failure=self.last_failure,
            unavailable=self.unavailable,
        )

    def refill(self) -> None:
        """Claim batches until two are held or there is nothing to claim."""
        while not self.interrupted and time.monotonic() >= self.empty_at + _POLL:
            batch = self.batch_size()
            wanted = self.wanted(batch) if len(self.in_flight) <= batch else 0
            if not wanted:
                return
            claims = self.queues.claim_batch(self.queue_id, self.annotator_id, wanted, lease=self.lease)
            if not claims:
                self.empty_at = time.monotonic()
                return
            self.take_up(claims)

    def batch_size(self) -> int:
        """Say how many items a batch has: what half a second's work was so far, so that slow runs leave items to others."""
        seconds = time.monotonic() - self.started
        recent = int(self.counts["attempted"] / seconds * _BATCH_SECONDS) if seconds > 0 else 0
        return max(self.workers, min(recent, _LARGEST_BATCH))

    def wanted(self, most: int) -> int:
        if len(self.kept) >= MAX_KEPT:
            return 0
        return most if self.limit is None else min(most, self.limit - self.claimed)

    def take_up(self, claims: Sequence[Claim]) -> None:
        self.claimed += len(claims)
        self.in_flight.update((_key(claim), claim) for claim in claims)
        self.holds.add(claims)
        self.labelers.submit(claims)

    def await_more(self) -> bool:
        """Claim or wait while nothing is in flight; False where the run has come to its end."""
        if not self.wanted(1):
            return False
        found = self.queues.claim(self.queue_id, self.annotator_id, lease=self.lease)
        if isinstance(found, Claim):
            self.take_up((found,))
            return True
        held = self.count_own_holds() if found.reason is UnavailableReason.LEASED else 0
        if not held or found.retry_at is None:
            self.unavailable = found
            return False
        self.on_progress(attrs.evolve(self.report(), waiting_for=held, unavailable=found))
        self.take(min(max((found.retry_at - utc_now()).total_seconds(), 0.01), _POLL))
        self.empty_at = float("-inf")
        return True

    def count_own_holds(self) -> int:
        """Count the items that this annotator holds elsewhere: in a run that was killed, or that is still there."""
        query = ItemQuery(
            filter=ItemFilter(annotation_states={IN_PROGRESS}),
            limit=0,
            include_total=True,
            annotator_id=self.annotator_id,
        )
        return (self.queues.query_items(self.queue_id, query).total or 0) - len(self.kept)

    def take(self, timeout: float) -> list[Outcome]:
        """Wait for an outcome, and take what else there is by then; none after the time or an interrupt."""
        taken: list[Outcome] = []
        with suppress(Empty):
            outcome = self.outcomes.get(timeout=timeout)
            while True:
                if outcome is not None:
                    taken.append(outcome)
                outcome = self.outcomes.get_nowait()
        return taken

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Store what the labelers did, and count it only then."""
        labelled = [outcome for outcome in outcomes if outcome.kind is OutcomeKind.LABELLED]
        if labelled:
            stored = self.queues.complete_batch([(outcome.claim, outcome.label) for outcome in labelled])
            for outcome, result in zip(labelled, stored, strict=True):
                self.count(outcome, "lost" if isinstance(result, ClaimLost) else "completed")
        for outcome in outcomes:
            if outcome.kind is not OutcomeKind.LABELLED:
                self.count(outcome, self.settle_unlabelled(outcome))

    def settle_unlabelled(self, outcome: Outcome) -> str | None:
        """Store one outcome without a label; tell as what it counts, None where the item is kept."""
        claim = outcome.claim
        if outcome.kind is OutcomeKind.WITHDRAWN:
            return self.release(claim, INTERRUPTED)
        if outcome.kind is OutcomeKind.FAILED:
            self.counts["failed"] += 1
            self.last_failure = f"{claim.item.call_id}: {outcome.reason}"
            if self.on_failure is OnFailure.RAISE or not isinstance(outcome.error, Exception):
                if self.error is None and outcome.error is not None:
                    self.error = outcome.error
                    self.error.add_note(f"while labelling item {claim.item.id!r} (call {claim.item.call_id!r})")
                return self.release(claim, outcome.reason)
            if self.on_failure is OnFailure.RELEASE:
                self.kept[claim.item.id] = (claim, outcome.reason)
                return None
        try:
            self.queues.skip(claim, outcome.reason)
        except ClaimLost:
            return "lost"
        return "skipped"

    def count(self, outcome: Outcome, settled_as: str | None) -> None:
        del self.in_flight[_key(outcome.claim)]
        self.counts["attempted"] += 1
        self.counts["retries"] += outcome.attempts - 1
        if settled_as is not None:
            self.counts[settled_as] += 1
            self.holds.drop(outcome.claim)
        self.on_progress(self.report())

    def drain(self) -> None:
        """Let what runs end within the grace time, and release what was not started."""
        for claim in self.labelers.withdraw():
            del self.in_flight[_key(claim)]
            self.counts[self.release(claim, INTERRUPTED)] += 1
            self.holds.drop(claim)
        if self.in_flight:
            self.on_progress(self.report())
        deadline = time.monotonic() + GRACE
        while self.in_flight and (left := deadline - time.monotonic()) > 0:
            self.settle(self.take(left))

    def release_rest(self) -> None:
        """Release what is still held: items that outlasted the grace time, and failed ones that were kept."""
        while self.in_flight:
            _, claim = self.in_flight.popitem()
            self.counts[self.release(claim, INTERRUPTED)] += 1
            self.holds.drop(claim)
        while self.kept:
            _, (claim, reason) = self.kept.popitem()
            self.counts[self.release(claim, reason)] += 1
            self.holds.drop(claim)

    def release(self, claim: Claim, reason: str | None) -> str:
        try:
            self.queues.release(claim, reason)
        except ClaimLost:
            return "lost"
        return "released"
