"""What a run counts, and the report it makes of that."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.batch.report import (
    MOST_FAILURES,
    MOST_SLOWEST,
    BatchReport,
    Failure,
    ItemResult,
    SlowItem,
    StopReason,
)
from annotation_queue.values import class_name

if TYPE_CHECKING:
    from annotation_queue.batch.work import Outcome
    from annotation_queue.json_values import JsonValue


_LOG: Final = logging.getLogger("annotation_queue.batch")


@attrs.define(kw_only=True, eq=False)
class RunCounts:
    """What a run did so far.

    Args:
        dry_run: Whether nothing is stored.
        started: When the run began, in monotonic seconds.
        counts: The counts of the report, by name.
        labels: Of a dry run, by call id.
        slowest: The items that took longest, the slowest first.
        last_failure: The newest failure.
        failures: The newest failures; `report` gives them as a tuple.
        earlier_failures: How many items earlier runs failed on.
        retried_failures: How many of these were taken up again.
        finished_by_others: How many items of a finished queue are others' work alone.
        stop_reason: Why the run stops; None while it goes on.
    """

    dry_run: bool = False
    started: float = attrs.field(factory=time.monotonic)
    counts: Counter[str] = attrs.field(factory=Counter)
    labels: dict[str, JsonValue] = attrs.field(factory=dict)
    slowest: tuple[SlowItem, ...] = ()
    last_failure: str | None = None
    failures: deque[Failure] = attrs.field(init=False, factory=lambda: deque(maxlen=MOST_FAILURES))
    earlier_failures: int = 0
    retried_failures: int = 0
    finished_by_others: int = 0
    stop_reason: StopReason | None = None
    _failures: tuple[Failure, ...] = attrs.field(init=False, default=())
    _slow_from: float = attrs.field(init=False, default=-1.0)

    def add(self, outcome: Outcome, counted_as: str) -> None:
        """Count what became of one item.

        Args:
            outcome: What the labeler did.
            counted_as: Which count it raises.
        """
        counts = self.counts
        counts[counted_as] += 1
        if outcome.attempts:
            counts["attempted"] += 1
            if outcome.attempts > 1:
                counts["retries"] += outcome.attempts - 1
            if outcome.seconds > self._slow_from:
                self._note_slow(outcome)

    def fail(self, outcome: Outcome, why: str) -> None:
        """Note the newest failure."""
        item = outcome.claim.item
        # Not what it says, which may tell what the item holds: that stands in the report, and with the skip.
        kind = "the heartbeats failed" if outcome.error is None else class_name(outcome.error)
        _LOG.warning("item %r (call %r) failed after %d attempts: %s", item.id, item.call_id, outcome.attempts, kind)
        self.last_failure = f"{item.call_id}: {why}"
        self.failures.append(Failure(item.id, item.call_id, outcome.attempts, why))
        self._failures = ()

    def summary(self) -> str:
        """Say why the run stopped and what became of its items."""
        settled = ("completed", "skipped", "failed", "released", "lost")
        return f"{self.stop_reason}: " + ", ".join(f"{self.counts[name]} {name}" for name in settled)

    def report(self, newest: ItemResult | None = None, **more: Any) -> BatchReport:  # noqa: ANN401 - fields of the report
        """Make the report.

        Args:
            newest: The item that it is made for.
            **more: Further fields of the report.
        """
        counts: dict[str, Any] = self.counts
        # Made once for all reports until the next failure.
        self._failures = self._failures or tuple(self.failures)
        return BatchReport(
            **counts,
            **more,
            seconds=time.monotonic() - self.started,
            slowest=self.slowest,
            interrupted=self.stop_reason is StopReason.INTERRUPTED,
            stop_reason=self.stop_reason,
            last_failure=self.last_failure,
            failures=self._failures,
            earlier_failures=self.earlier_failures,
            retried_failures=self.retried_failures,
            finished_by_others=self.finished_by_others,
            newest=newest,
            dry_run=self.dry_run,
        )

    def _note_slow(self, outcome: Outcome) -> None:
        item = outcome.claim.item
        slowest = (*self.slowest, SlowItem(item.id, item.call_id, outcome.seconds))
        self.slowest = tuple(sorted(slowest, key=lambda slow: -slow.seconds)[:MOST_SLOWEST])
        if len(self.slowest) == MOST_SLOWEST:
            self._slow_from = self.slowest[-1].seconds
