"""What a batch run does with failures, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, TypeAlias

import attrs

from annotation_queue.entities import Entity
from annotation_queue.items import QueueItem, Unavailable, UnavailableReason
from annotation_queue.json_values import JsonValue

MOST_SLOWEST: Final = 5
"""How many of the slowest items a report names."""
MOST_FAILURES: Final = 1_000
"""How many of the failed items a report names."""


class OnFailure(StrEnum):
    """What becomes of an item on which every attempt failed. The reason that is stored is ``failed:`` and the error."""

    SKIP = "skip"
    """It is skipped; a row of failures only when it has ended. ``retry_failed`` takes it up again."""
    RELEASE = "release"
    """It is released when the run ends; the run ends early after 1,000 of them."""
    RAISE = "raise"
    """It is released, and the run ends and raises the error."""


OnFailureName: TypeAlias = OnFailure | Literal["skip", "release", "raise"]
"""A member of `OnFailure`, or its value."""


class StopReason(StrEnum):
    """Why a run stopped."""

    DONE = "done"
    """There was nothing left that this annotator could claim; ``unavailable`` says why."""
    LIMIT = "limit"
    """It had worked on as many items as it was asked to."""
    INTERRUPTED = "interrupted"
    """Ctrl-C, SIGTERM, SIGHUP, ``stop``, or another of several runs that failed."""
    FAILURES = "failures"
    """Too many items failed in a row; those of the last row were released."""
    KEPT = "kept"
    """It held as many items as it may until it ends: failed ones to be released, or those of a dry run."""


@attrs.frozen
class SlowItem(Entity):
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
class Failure(Entity):
    """One of the items that failed.

    Args:
        item_id: The item.
        call_id: Its call.
        attempts: How often the labeler was called.
        error: What went wrong at last: the type of the error and its message.
    """

    item_id: str
    call_id: str
    attempts: int
    error: str


@attrs.frozen
class ItemResult(Entity):
    """What became of one item.

    Args:
        item: The item as it was claimed.
        counted_as: Which count of the report it raised: ``completed``, ``skipped``, ``failed``, ``released`` or ``lost``.
        label: What the labeler returned; None without a label.
        reason: Why it was skipped, failed or released; None if that was not said.
    """

    item: QueueItem
    counted_as: str
    label: JsonValue = None
    reason: str | None = None


@attrs.frozen(kw_only=True)
class BatchReport(Entity):
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
        timed_out: Of the failed, those at the time limit; if the labeler is a function, it may still run.
        seconds: How long it took.
        slowest: The items that took longest, at most 5, the slowest first.
        interrupted: Whether Ctrl-C, SIGTERM, SIGHUP or ``stop`` ended it.
        stop_reason: Why it stopped; None while it runs.
        last_failure: The newest failure: the call's id and the error.
        failures: The items that failed or expired, in the order in which they did; the newest 1,000.
        earlier_failures: Items that earlier runs of this annotator failed on and skipped for that, found when the run began.
            They stay so unless ``retry_failed`` is given.
        retried_failures: Of these, the ones that this run took up again.
        finished_by_others: If the run ended because the queue is finished: items that others finished, so that this
            annotator has no label on them; else 0.
        waiting_for: In a report while the run waits: how many items an earlier or another run of the same annotator
            holds; else 0.
        unavailable: Why there is nothing to claim, if that ended the run or it waits; else None.
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
    failures: tuple[Failure, ...] = ()
    earlier_failures: int = 0
    retried_failures: int = 0
    finished_by_others: int = 0
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

    @property
    def advice(self) -> tuple[str, ...]:
        """What this annotator has not labelled, and what to do about it: sentences; none if nothing was left."""
        said = []
        if self.finished_by_others:
            said.append(
                f"others finished {_items(self.finished_by_others)} of this queue, which then take no label of this annotator; "
                f"to have them labelled too, raise the queue's annotations_per_item"
            )
        if left := self.earlier_failures - self.retried_failures:
            said.append(
                f"earlier runs of this annotator failed on {_items(left)} and skipped them; "
                f"retry_failed takes such items up again"
            )
        if self.unavailable is not None and self.unavailable.reason is UnavailableReason.LEASED:
            at = self.unavailable.retry_at
            when = "" if at is None else f", the first until {at:%Y-%m-%d %H:%M:%S} UTC"
            said.append(f"others hold what is left{when}; run again then")
        return tuple(said)


def _items(count: int) -> str:
    return f"{count:,} {'item' if count == 1 else 'items'}"
