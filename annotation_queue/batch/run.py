"""One run of the batch runner: one thread claims, stores and counts; labelers and heartbeats have their own."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.batch.counts import RunCounts
from annotation_queue.batch.heartbeats import Heartbeats, key_of
from annotation_queue.batch.report import BatchReport, ItemResult, OnFailure, StopReason
from annotation_queue.batch.sizes import BatchSize
from annotation_queue.batch.storage import RetryingQueue
from annotation_queue.batch.work import OutcomeKind, bare, stored_failure
from annotation_queue.errors import AnnotationQueueError, ClaimLost, InvalidValue
from annotation_queue.items import Claim, UnavailableReason
from annotation_queue.values import utc_now

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from annotation_queue.batch.labelers import Labelers
    from annotation_queue.batch.limits import Limits
    from annotation_queue.batch.outcomes import OutcomeQueue
    from annotation_queue.batch.work import Outcome
    from annotation_queue.items import Unavailable
    from annotation_queue.queues import AnnotationQueues

_LOG: Final = logging.getLogger("annotation_queue.batch")
INTERRUPTED: Final = "run interrupted"
"""The reason with which a run that ends early releases what was not finished."""
DRY_RUN: Final = "dry run"
"""The reason with which a dry run releases what it labelled."""
EXPIRED: Final = "the heartbeats failed for longer than the lease, so the result was discarded"
"""What is said of an item whose claim may be somebody else's by now."""
_EMPTY_POLL: Final = 1.0
_STOP_POLL: Final = 0.1
_OPEN_ENDED: Final = frozenset({StopReason.FAILURES, StopReason.INTERRUPTED})
"""If a run stops so, the last failures may be an outage's, which shall use up no item."""


@attrs.define(kw_only=True, eq=False)
class BatchRun:
    """One annotator's run over a queue, without a thread before `run`. Arguments are those of `run_batch`, checked."""

    queues: AnnotationQueues
    queue_id: str
    annotator_id: str
    workers: int
    limit: int | None
    on_failure: OnFailure
    lease: timedelta
    on_progress: Callable[[BatchReport], object] | None
    max_failures: int | None
    dry_run: bool
    retry_failed: bool
    stop: threading.Event | None
    outcomes: OutcomeQueue
    labelers: Labelers
    limits: Limits

    queue: RetryingQueue = attrs.field(init=False)
    heartbeats: Heartbeats = attrs.field(init=False)
    counts: RunCounts = attrs.field(init=False)
    # Claims in the labelers' hands. Those that are kept here and below carry no payload, however long they are kept.
    in_flight: dict[tuple[str, int], Claim] = attrs.field(init=False, factory=dict)
    # Items that are released when the run ends, so that it is not served them again, with the reason.
    kept: list[tuple[Claim, str | None]] = attrs.field(init=False, factory=list)
    # Items that failed one after the other, up to now: a labeler that is broken altogether must not use them all up.
    row: list[tuple[Claim, str | None]] = attrs.field(init=False, factory=list)
    failures_in_row: int = attrs.field(init=False, default=0)
    error: BaseException | None = attrs.field(init=False, default=None)
    interrupted: bool = attrs.field(init=False, default=False)
    abandoned: bool = attrs.field(init=False, default=False)
    grace: float = attrs.field(init=False)
    unavailable: Unavailable | None = attrs.field(init=False, default=None)
    size: BatchSize = attrs.field(init=False)
    empty_at: float = attrs.field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self.grace = self.limits.grace
        self.size = BatchSize(least=self.workers)
        self.counts = RunCounts(dry_run=self.dry_run)
        self.heartbeats = Heartbeats(self.queues, self.lease)
        self.queue = RetryingQueue(
            self.queues,
            self.queue_id,
            annotator_id=self.annotator_id,
            lease=self.lease,
            limits=self.limits,
            on_failing=self._tell,
            pause=self._pause,
        )

    def interrupt(self, *, grace: float | None = None) -> None:
        """Stop claiming; safe to call from a signal handler and from any thread.

        Args:
            grace: How long running items may go on, in seconds; None for as long as the limits say.
        """
        if grace is not None:
            self.grace = grace
        self.queue.deadline = min(self.queue.deadline, time.monotonic() + self.limits.grace)
        self.interrupted = True
        self.outcomes.wake()

    def abandon(self) -> None:
        """End the run where it stands, without releasing anything or starting another item; safe to call from any thread."""
        self.abandoned = True
        self.labelers.withdraw()
        self.interrupt()

    def run(self) -> BatchReport:
        """Label until there is a reason to stop.

        Raises:
            KeyboardInterrupt: The run was abandoned.
            Exception: As `run_batch`.
        """
        ended = False
        self._start()
        try:
            self._look_for_stop()
            self._look_at_earlier_failures()
            while not self._is_over():
                self._refill()
                if self.in_flight:
                    self._settle(self._take(self.limits.poll))
                else:
                    self._await_more()
            self._drain()
            ended = not self.in_flight
            self._release_rest()
        except Exception:
            self.labelers.withdraw()
            self.queue.deadline = 0.0
            with suppress(AnnotationQueueError):
                self._release_rest()
            raise
        finally:
            self.labelers.withdraw()
            self.heartbeats.close(wait=ended)
            self.labelers.close(wait=ended)
        if self.error is not None:
            raise self.error
        report = self._report(labels=self.counts.labels)
        _LOG.info("the run of %r over queue %r ended: %s", self.annotator_id, self.queue_id, self.counts.summary())
        return report

    def _start(self) -> None:
        """Start the threads; if one cannot be had, end the others."""
        _LOG.info("a run of %r over queue %r begins", self.annotator_id, self.queue_id)
        try:
            self.heartbeats.start()
            self.labelers.start()
        except BaseException:
            self.heartbeats.close(wait=True)
            self.labelers.close(wait=True)
            raise

    def _look_at_earlier_failures(self) -> None:
        """Count what earlier runs failed on, and take it up again if that is asked for."""
        if self.interrupted:
            return
        failed = self.queue.find_failures(self._goes_on)
        self.counts.earlier_failures = len(failed)
        if failed and self.retry_failed:
            self.queue.reset(failed, self._goes_on)
            self.counts.retried_failures = len(failed)

    def _is_over(self) -> bool:
        if self.interrupted and self.counts.stop_reason is None:
            self.counts.stop_reason = StopReason.INTERRUPTED
        return self.counts.stop_reason is not None or self.error is not None

    def _report(self, **more: Any) -> BatchReport:  # noqa: ANN401 - further fields of the report
        return self.counts.report(storage_error=self.queue.error, **{"unavailable": self.unavailable, **more})

    def _tell(self, **more: Any) -> None:  # noqa: ANN401 - further fields of the report
        if self.on_progress is not None:
            self.on_progress(self._report(**more))

    def _take(self, timeout: float) -> list[Outcome]:
        """Wait for outcomes, and take all there are; none after the time or an interrupt."""
        timeout = timeout if self.stop is None else min(timeout, _STOP_POLL)
        outcomes = self.outcomes.take(timeout, min(len(self.in_flight), int(self.size)))
        self._look_for_stop()
        if not outcomes:
            self.labelers.check()
            self.heartbeats.check()
        return outcomes

    def _pause(self, seconds: float) -> None:
        """Wait while the storage fails; an interrupt ends the wait, and outcomes stay where they are."""
        until, was_interrupted = time.monotonic() + seconds, self.interrupted
        while self.interrupted is was_interrupted and (left := until - time.monotonic()) > 0:
            self.outcomes.sleep(min(left, self.limits.poll if self.stop is None else _STOP_POLL))
            self._look_for_stop()

    def _look_for_stop(self) -> None:
        if self.stop is not None and self.stop.is_set() and not self.interrupted:
            self.interrupt()
        if self.abandoned:
            raise KeyboardInterrupt

    def _refill(self) -> None:
        """Claim batches until two are held or there is nothing to claim."""
        while not self.interrupted and time.monotonic() >= self.empty_at + _EMPTY_POLL:
            batch = int(self.size)
            wanted = self._wanted(batch) if len(self.in_flight) <= batch else 0
            if not wanted:
                return
            since = time.monotonic()
            claims = self.queue.claim_batch(wanted, self._goes_on)
            if not claims:
                self.empty_at = time.monotonic()
                return
            self._take_up(claims, since)

    def _goes_on(self) -> bool:
        return not self.interrupted

    def _wanted(self, most: int) -> int:
        """Say how many more items may be claimed."""
        bounds = [most]
        if self.limit is not None:
            bounds.append(self.limit - self.size.claimed)
        if self.dry_run:
            bounds.append(self.limits.most_kept - self.size.claimed)
        if len(self.kept) >= self.limits.most_kept:
            bounds.append(0)
        return min(bounds)

    def _take_up(self, claims: Sequence[Claim], since: float) -> None:
        self.size.add(len(claims), in_flight=len(self.in_flight), since=since)
        held = [bare(claim) for claim in claims]
        self.in_flight.update((key_of(claim), claim) for claim in held)
        self.heartbeats.add(held, since)
        self.labelers.submit(claims)

    def _await_more(self) -> None:
        """Claim or wait while nothing is in flight; or find out why the run has come to its end."""
        self._skip_row()
        if not self._wanted(1):
            is_limited = self.limit is not None and self.size.claimed >= self.limit
            self.counts.stop_reason = StopReason.LIMIT if is_limited else StopReason.KEPT
            return
        since = time.monotonic()
        found = self.queue.claim(self._goes_on)
        if found is None:
            return
        if isinstance(found, Claim):
            self._take_up((found,), since)
            return
        held = 0
        if found.retry_at is not None:
            held = self.queue.count_holds(found.retry_at, kept={claim.item.id for claim, _ in self.kept})
        if found.retry_at is None or not held:
            self._end(found)
            return
        self._tell(waiting_for=held, unavailable=found)
        self._take(min(max((found.retry_at - utc_now()).total_seconds(), 0.01), _EMPTY_POLL))
        self.empty_at = float("-inf")

    def _end(self, unavailable: Unavailable) -> None:
        """Come to the end because there is nothing left to claim; find out what others have finished."""
        self.unavailable, self.counts.stop_reason = unavailable, StopReason.DONE
        if unavailable.reason is UnavailableReason.FINISHED:
            self.counts.finished_by_others = self.queue.count_finished_by_others()

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        """Store what the labelers did, and count it only then."""
        for outcome in outcomes:
            if self.heartbeats.has_expired(outcome.claim):
                outcome.kind = OutcomeKind.EXPIRED
        labelled = [outcome for outcome in outcomes if outcome.kind is OutcomeKind.LABELLED]
        if labelled and not self.dry_run:
            self._complete(labelled)
        self.heartbeats.drop([outcome.claim for outcome in outcomes if not self._settle_one(outcome)])

    def _complete(self, labelled: Sequence[Outcome]) -> None:
        """Store labels together; if the queue refuses one of them, each by itself, so that the others are stored."""
        try:
            results = self.queue.complete([(self._held(outcome), outcome.label) for outcome in labelled])
        except InvalidValue as error:
            if len(labelled) == 1:
                labelled[0].fail(error)
                return
            for outcome in labelled:
                self._complete((outcome,))
            return
        for outcome, result in zip(labelled, results, strict=True):
            if isinstance(result, ClaimLost):
                outcome.kind = OutcomeKind.LOST

    def _held(self, outcome: Outcome) -> Claim:
        return self.in_flight[key_of(outcome.claim)]

    def _settle_one(self, outcome: Outcome) -> bool:
        """Settle and count one outcome, whose label is stored by now; tell whether its claim is kept."""
        claim, kind = self._held(outcome), outcome.kind
        if kind is OutcomeKind.FAILED:
            return self._settle_failure(outcome)
        if kind is OutcomeKind.EXPIRED:
            self.counts.counts["expired"] += 1
            self._add_failure(outcome, EXPIRED)
            self._count(outcome, "lost")
            return False
        if kind is OutcomeKind.WITHDRAWN:
            self._count(outcome, self.queue.release(claim, INTERRUPTED))
            return False
        self._end_row()
        if self.dry_run:
            self.kept.append((claim, DRY_RUN))
            if kind is OutcomeKind.LABELLED:
                self.counts.labels[claim.item.call_id] = outcome.label
        if kind is OutcomeKind.SKIPPED and not self.dry_run:
            self._count(outcome, self.queue.skip(claim, outcome.reason))
        else:
            self._count(outcome, _COUNTED_AS[kind])
        return self.dry_run

    def _settle_failure(self, outcome: Outcome) -> bool:
        claim, reason, error = self._held(outcome), stored_failure(outcome.reason), outcome.error
        self.counts.counts["timed_out"] += outcome.timed_out
        self._add_failure(outcome, outcome.reason or "")
        is_kept = True
        # By its true class: what an error says of its class is the labeler's code, as are its notes.
        if self.on_failure is OnFailure.RAISE or not issubclass(type(error), Exception):
            if self.error is None and error is not None:
                self.error = error
                with suppress(Exception):
                    error.add_note(f"while labelling item {claim.item.id!r} (call {claim.item.call_id!r})")
            self.counts.counts[self.queue.release(claim, reason)] += 1
            is_kept = False
        elif self.dry_run:
            self.kept.append((claim, DRY_RUN))
        elif self.on_failure is OnFailure.RELEASE:
            self.kept.append((claim, reason))
        elif self.max_failures is None:
            self.counts.counts[self.queue.skip(claim, reason)] += 1
            is_kept = False
        else:
            self.row.append((claim, reason))
        self._count(outcome, "failed")
        return is_kept

    def _add_failure(self, outcome: Outcome, why: str) -> None:
        self.counts.fail(outcome, why)
        self.failures_in_row += 1
        if self.max_failures is not None and self.failures_in_row >= self.max_failures and not self._is_over():
            self.counts.stop_reason = StopReason.FAILURES

    def _end_row(self) -> None:
        self.failures_in_row = 0
        self._skip_row()

    def _skip_row(self) -> None:
        """Skip the items of a row of failures; at the end of a run that they or an interrupt stopped they are released."""
        if self.row and self.counts.stop_reason not in _OPEN_ENDED:
            row, self.row = self.row, []
            for claim, reason in row:
                self.counts.counts[self.queue.skip(claim, reason)] += 1
            self.heartbeats.drop([claim for claim, _ in row])

    def _count(self, outcome: Outcome, counted_as: str) -> None:
        del self.in_flight[key_of(outcome.claim)]
        if counted_as == "lost":
            item = outcome.claim.item
            _LOG.warning("the claim on item %r (call %r) was lost, and its result dropped", item.id, item.call_id)
        self.counts.add(outcome, counted_as)
        if self.on_progress is not None:
            self._tell(newest=ItemResult(outcome.claim.item, counted_as, outcome.label, outcome.reason))

    def _drain(self) -> None:
        """Let what runs end within the grace time, and release what was not started."""
        for claim in self.labelers.withdraw():
            del self.in_flight[key_of(claim)]
            self._release(claim, INTERRUPTED)
        if self.in_flight:
            self._tell()
        since = time.monotonic()
        while self.in_flight and (left := since + self.grace - time.monotonic()) > 0:
            self._settle(self._take(min(left, self.limits.poll)))

    def _release_rest(self) -> None:
        """Release what is still held: items that outlasted the grace time, and those that were kept."""
        while self.in_flight:
            self._release(self.in_flight.popitem()[1], INTERRUPTED)
        while self.row:
            self._release(*self.row.pop())
        while self.kept:
            claim, reason = self.kept.pop()
            if self.dry_run:  # it counts as what a real run would have made of it
                self.queue.release(claim, reason)
            else:
                self._release(claim, reason)

    def _release(self, claim: Claim, reason: str | None) -> None:
        self.counts.counts[self.queue.release(claim, reason)] += 1
        self.heartbeats.drop((claim,))


_COUNTED_AS: Final = {OutcomeKind.LABELLED: "completed", OutcomeKind.SKIPPED: "skipped", OutcomeKind.LOST: "lost"}
