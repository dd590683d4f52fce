"""What a batch run does with failures, and what it reports."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from annotation_queue.items import Unavailable


class OnFailure(StrEnum):
    """What becomes of an item on which every attempt failed."""

    SKIP = "skip"
    """It is skipped, with the error as the reason."""
    RELEASE = "release"
    """It is released when the run ends, with the error as the reason; the run ends early after 1,000 of them."""
    RAISE = "raise"
    """It is released, and the run ends and raises the error."""


@attrs.frozen(kw_only=True)
class BatchReport:
    """What a run did: completed, skipped, released and lost are what became of its claims, and do not overlap.

    Args:
        attempted: Items on which the labeler was called.
        completed: Items labelled.
        skipped: Items skipped, by the labeler or after their last failure.
        released: Items given back: failed ones, and with an interrupt those that were not finished.
        failed: Items on which every attempt failed, however they were settled.
        lost: Claims lost to somebody else or removed meanwhile; their results were dropped.
        retries: Attempts beyond each item's first.
        seconds: How long it took.
        interrupted: Whether Ctrl-C or SIGTERM ended it.
        last_failure: The newest failure: the call's id and the error.
        waiting_for: In a report while the run waits: how many items an earlier or another run of the same annotator
            holds; else 0.
        unavailable: Why there is nothing to claim, where that ended the run or it waits; else None.
    """

    attempted: int = 0
    completed: int = 0
    skipped: int = 0
    released: int = 0
    failed: int = 0
    lost: int = 0
    retries: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    last_failure: str | None = None
    waiting_for: int = 0
    unavailable: Unavailable | None = None

    @property
    def items_per_second(self) -> float:
        """Items attempted in each second."""
        return self.attempted / self.seconds if self.seconds > 0 else 0.0
