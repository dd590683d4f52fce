"""One run of the batch runner: one thread claims, stores and counts; labelers and heartbeats have their own."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.batch.counts import RunCounts
from annotation_queue.batch.heartbeats import Heartbeats, key_of
from annotation_queue.batch.report import BatchReport, ItemResult, OnFailure, StopReason
from annotation_queue.batch.storage import RetryingQueue
from annotation_queue.batch.work import OutcomeKind
from annotation_queue.errors import AnnotationQueueError, ClaimLost
from annotation_queue.items import Claim, UnavailableReason
from annotation_queue.values import utc_now

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from annotation_queue.batch.labelers import Labelers
    from annotation_queue.batch.outcomes import OutcomeQueue
    from annotation_queue.batch.work import Outcome
    from annotation_queue.items import Unavailable
    from annotation_queue.queues import AnnotationQueues

GRACE: float = 10.0
"""How long running items may go on after an interrupt, in seconds."""
MAX_KEPT: int = 1_000
"""How many items a run keeps until it ends: failed ones that are released then, or those of a dry run."""
INTERRUPTED: Final = "run interrupted"
"""The reason with which a run that ends early releases what was not finished."""
DRY_RUN: Final = "dry run"
"""The reason with which a dry run releases what it labelled."""
EXPIRED: Final = "the heartbeats failed for longer than the lease, so the result was discarded"
"""What is said of an item whose claim may be somebody else's by now."""
_LARGEST_BATCH: Final = 64
_BATCH_SECONDS: Final = 0.5
POLL: Final = 0.25
"""Longest sleep of a run in seconds: a signal that arrives just before it would else be noticed only after it."""
_EMPTY_POLL: Final = 1.0
_STOP_POLL: Final = 0.1
_OPEN_ENDED: Final = frozenset({StopReason.FAILURES, StopReason.INTERRUPTED})
"""Where a run stops so, the last failures may be an outage's, which shall use up no item."""


@attrs.define(kw_only=True, eq=False)
class BatchRun:
    """One annotator's run over a queue. Arguments are those of `run_batch`, checked; ``labelers`` report to ``outcomes``."""

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
    stop: threading.Event | None
    outcomes: OutcomeQueue
    labelers: Labelers

    queue: RetryingQueue = attrs.field(init=False)
    heartbeats: Heartbeats = attrs.field(init=False)
    counts: RunCounts = attrs.field(init=False)
    in_flight: dict[tuple[str, int], Claim] = attrs.field(init=False, factory=dict)
    # Items that are released when the run ends, so that it is not served them again, with the reason.
    kept: list[tuple[Claim, str | None]] = attrs.field(init=False, factory=list)
    # Items that failed one after the other, up to now: a labeler that is broken altogether must not use them all up.
    row: list[tuple[Claim, str | None]] = attrs.field(init=False, factory=list)
    failures_in_row: int = attrs.field(init=False, default=0)
    error: BaseException | None = attrs.field(init=False, default=None)
    interrupted: bool = attrs.field(init=False, default=False)
    abandoned: bool = attrs.field(init=False, default=False)
    unavailable: Unavailable | None = attrs.field(init=False, default=None)
    batch: float = attrs.field(init=False)
    claimed: int = attrs.field(init=False, default=0)
    # When a batch was claimed last, and how many items were done by then.
    claimed_at: float = attrs.field(init=False, factory=time.monotonic)
    done_by_then: int = attrs.field(init=False, default=0)
    empty_at: float = attrs.field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self.batch = float(self.workers)
        self.counts = RunCounts(dry_run=self.dry_run)
        self.heartbeats = Heartbeats(self.queues, self.lease)
        self.queue = RetryingQueue(
            self.queues,
            self.queue_id,
            annotator_id=self.annotator_id,
            lease=self.lease,
            on_failing=self._tell,
            pause=self._pause,
        )

    def interrupt(self) -> None:
        """Stop claiming; safe to call from a signal handler and from any thread."""
        self.queue.deadline = min(self.queue.deadline, time.monotonic() + GRACE)
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
        try:
            self._look_for_stop()
            while not self._is_over():
                self._refill()
                if self.in_flight:
                    self._settle(self._take(POLL))
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
        return self._report(labels=self.counts.labels)

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
        outcomes = self.outcomes.take(timeout, min(len(self.in_flight), int(self.batch)))
        self._look_for_stop()
        return outcomes

    def _pause(self, seconds: float) -> None:
        """Wait while the storage fails; an interrupt ends the wait, and outcomes stay where they are."""
        until, was_interrupted = time.monotonic() + seconds, self.interrupted
        while self.interrupted is was_interrupted and (left := until - time.monotonic()) > 0:
            self.outcomes.sleep(min(left, POLL if self.stop is None else _STOP_POLL))
            self._look_for_stop()

    def _look_for_stop(self) -> None:
        if self.stop is not None and self.stop.is_set() and not self.interrupted:
            self.interrupt()
        if self.abandoned:
            raise KeyboardInterrupt

    def _refill(self) -> None:
        """Claim batches until two are held or there is nothing to claim."""
        while not self.interrupted and time.monotonic() >= self.empty_at + _EMPTY_POLL:
            batch = int(self.batch)
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
            bounds.append(self.limit - self.claimed)
        if self.dry_run:
            bounds.append(MAX_KEPT - self.claimed)
        if len(self.kept) >= MAX_KEPT:
            bounds.append(0)
        return min(bounds)

    def _take_up(self, claims: Sequence[Claim], since: float) -> None:
        # A batch is half a second's work, so that slow runs leave items to others; fast ones get there by doubling.
        done = self.claimed - len(self.in_flight)
        if done > self.done_by_then:
            recent = (done - self.done_by_then) * _BATCH_SECONDS / max(since - self.claimed_at, 1e-6)
            self.batch = max(float(self.workers), min(recent, 2 * self.batch, _LARGEST_BATCH))
            self.claimed_at, self.done_by_then = since, done
        self.claimed += len(claims)
        self.in_flight.update((key_of(claim), claim) for claim in claims)
        self.heartbeats.add(claims, since)
        self.labelers.submit(claims)

    def _await_more(self) -> None:
        """Claim or wait while nothing is in flight; or find out why the run has come to its end."""
        self._skip_row()
        if not self._wanted(1):
            is_limited = self.limit is not None and self.claimed >= self.limit
            self.counts.stop_reason = StopReason.LIMIT if is_limited else StopReason.KEPT
            return
        since = time.monotonic()
        found = self.queue.claim(self._goes_on)
        if found is None:
            return
        if isinstance(found, Claim):
            self._take_up((found,), since)
            return
        held = self.queue.count_holds() - len(self.kept) if found.reason is UnavailableReason.LEASED else 0
        if held <= 0 or found.retry_at is None:
            self.unavailable, self.counts.stop_reason = found, StopReason.DONE
            return
        self._tell(waiting_for=held, unavailable=found)
        self._take(min(max((found.retry_at - utc_now()).total_seconds(), 0.01), _EMPTY_POLL))
        self.empty_at = float("-inf")

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        """Store what the labelers did, and count it only then."""
        for outcome in outcomes:
            if self.heartbeats.has_expired(outcome.claim):
                outcome.kind = OutcomeKind.EXPIRED
        labelled = [outcome for outcome in outcomes if outcome.kind is OutcomeKind.LABELLED]
        if labelled and not self.dry_run:
            results = self.queue.complete([(outcome.claim, outcome.label) for outcome in labelled])
            for outcome, result in zip(labelled, results, strict=True):
                if isinstance(result, ClaimLost):
                    outcome.kind = OutcomeKind.LOST
        self.heartbeats.drop([outcome.claim for outcome in outcomes if not self._settle_one(outcome)])

    def _settle_one(self, outcome: Outcome) -> bool:
        """Settle and count one outcome, whose label is stored by now; tell whether its claim is kept."""
        claim, kind = outcome.claim, outcome.kind
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
        claim, reason, error = outcome.claim, outcome.reason, outcome.error
        self.counts.counts["timed_out"] += outcome.timed_out
        self._add_failure(outcome, reason)
        is_kept = True
        if self.on_failure is OnFailure.RAISE or not isinstance(error, Exception):
            if self.error is None and error is not None:
                self.error = error
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

    def _add_failure(self, outcome: Outcome, why: str | None) -> None:
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
        deadline = time.monotonic() + GRACE
        while self.in_flight and (left := deadline - time.monotonic()) > 0:
            self._settle(self._take(min(left, POLL)))

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
