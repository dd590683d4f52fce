"""What a run counts, and the report it makes of that."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from annotation_queue.batch.report import MOST_SLOWEST, BatchReport, ItemResult, SlowItem, StopReason

if TYPE_CHECKING:
    from annotation_queue.batch.work import Outcome
    from annotation_queue.json_values import JsonValue


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
        stop_reason: Why the run stops; None while it goes on.
    """

    dry_run: bool = False
    started: float = attrs.field(factory=time.monotonic)
    counts: Counter[str] = attrs.field(factory=Counter)
    labels: dict[str, JsonValue] = attrs.field(factory=dict)
    slowest: tuple[SlowItem, ...] = ()
    last_failure: str | None = None
    stop_reason: StopReason | None = None
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

    def fail(self, outcome: Outcome, why: str | None) -> None:
        """Note the newest failure."""
        self.last_failure = f"{outcome.claim.item.call_id}: {why}"

    def report(self, newest: ItemResult | None = None, **more: Any) -> BatchReport:  # noqa: ANN401 - fields of the report
        """Make the report.

        Args:
            newest: The item that it is made for.
            **more: Further fields of the report.
        """
        counts: dict[str, Any] = self.counts
        return BatchReport(
            **counts,
            **more,
            seconds=time.monotonic() - self.started,
            slowest=self.slowest,
            interrupted=self.stop_reason is StopReason.INTERRUPTED,
            stop_reason=self.stop_reason,
            last_failure=self.last_failure,
            newest=newest,
            dry_run=self.dry_run,
        )

    def _note_slow(self, outcome: Outcome) -> None:
        item = outcome.claim.item
        slowest = (*self.slowest, SlowItem(item.id, item.call_id, outcome.seconds))
        self.slowest = tuple(sorted(slowest, key=lambda slow: -slow.seconds)[:MOST_SLOWEST])
        if len(self.slowest) == MOST_SLOWEST:
            self._slow_from = self.slowest[-1].seconds
