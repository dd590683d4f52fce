"""What a batch run does with failures, and what it reports."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annotation_queue.items import QueueItem, Unavailable
    from annotation_queue.json_values import JsonValue

MOST_SLOWEST: Final = 5
"""How many of the slowest items a report names."""


class OnFailure(StrEnum):
    """What becomes of an item on which every attempt failed."""

    SKIP = "skip"
    """It is skipped, with the error as the reason; a row of failures only when it has ended."""
    RELEASE = "release"
    """It is released when the run ends, with the error as the reason; the run ends early after 1,000 of them."""
    RAISE = "raise"
    """It is released, and the run ends and raises the error."""


class StopReason(StrEnum):
    """Why a run stopped."""

    DONE = "done"
    """There was nothing left that this annotator could claim; ``unavailable`` says why."""
    LIMIT = "limit"
    """It had worked on as many items as it was asked to."""
    INTERRUPTED = "interrupted"
    """Ctrl-C, SIGTERM, ``stop``, or another of several runs that failed."""
    FAILURES = "failures"
    """Too many items failed in a row; those of the last row were released."""
    KEPT = "kept"
    """It held as many items as it may until it ends: failed ones to be released, or those of a dry run."""


@attrs.frozen
class SlowItem:
    """One of the items that took longest.

    Args:
        item_id: The item.
        call_id: Its call.
        seconds: How long the labeler took, its attempts together; waits between them do not count.
    """

    item_id: str
    call_id: str
    seconds: float


@attrs.frozen
class ItemResult:
    """What became of one item.

    Args:
        item: The item as it was claimed.
        counted_as: Which count of the report it raised: ``completed``, ``skipped``, ``failed``, ``released`` or ``lost``.
        label: What the labeler returned; None without a label.
        reason: Why it was skipped, failed or released, where that was said.
    """

    item: QueueItem
    counted_as: str
    label: JsonValue = None
    reason: str | None = None


@attrs.frozen(kw_only=True)
class BatchReport:
    """What a run did: completed, skipped, released and lost are what became of its claims, and do not overlap.

    Args:
        attempted: Items on which the labeler was called.
        completed: Items labelled.
        skipped: Items skipped, by the labeler or after their last failure.
        released: Items given back: failed ones, and those that an early end left unfinished.
        failed: Items on which every attempt failed, however they were settled.
        lost: Claims lost to somebody else or removed meanwhile, or expired; their results were dropped.
        expired: Of the lost, those whose heartbeats failed for longer than the lease.
        retries: Attempts beyond each item's first.
        timed_out: Of the failed, those at the time limit; where the labeler is a function, it may still run.
        seconds: How long it took.
        slowest: The items that took longest, at most 5, the slowest first.
        interrupted: Whether Ctrl-C, SIGTERM or ``stop`` ended it.
        stop_reason: Why it stopped; None while it runs.
        last_failure: The newest failure: the call's id and the error.
        waiting_for: In a report while the run waits: how many items an earlier or another run of the same annotator
            holds; else 0.
        unavailable: Why there is nothing to claim, where that ended the run or it waits; else None.
        storage_error: What the storage fails with while the run tries again; None while it works.
        newest: The item that this report was made for; None in the others.
        dry_run: Whether nothing was stored: completed and skipped count what a real run would have stored, and every item
            was released.
        labels: Of a dry run, in the report that it returns: labels by call id, in the order in which they came.
    """

    attempted: int = 0
    completed: int = 0
    skipped: int = 0
    released: int = 0
    failed: int = 0
    lost: int = 0
    expired: int = 0
    retries: int = 0
    timed_out: int = 0
    seconds: float = 0.0
    slowest: tuple[SlowItem, ...] = ()
    interrupted: bool = False
    stop_reason: StopReason | None = None
    last_failure: str | None = None
    waiting_for: int = 0
    unavailable: Unavailable | None = None
    storage_error: str | None = None
    newest: ItemResult | None = None
    dry_run: bool = False
    labels: Mapping[str, JsonValue] = attrs.field(factory=dict)

    @property
    def items_per_second(self) -> float:
        """Items attempted in each second."""
        return self.attempted / self.seconds if self.seconds > 0 else 0.0
