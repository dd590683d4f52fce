"""How many items a run claims at once."""

from __future__ import annotations

import time
from typing import Final

import attrs

_LARGEST_BATCH: Final = 64
_BATCH_SECONDS: Final = 0.5
_GROWTH: Final = 4
"""How many times as large as the one before a batch may be: what the first items took may not be what the others take."""


@attrs.define(kw_only=True, eq=False)
class BatchSize:
    """The size of a run's batches: half a second's work, so that slow runs leave items to others; fast ones grow up to it.

    Args:
        least: The smallest size: the number of workers.
        claimed: How many items the run has claimed.
    """

    least: int
    claimed: int = 0
    _size: float = attrs.field(init=False)
    # When a batch was claimed last, and how many items were done by then.
    _claimed_at: float = attrs.field(init=False, factory=time.monotonic)
    _done_by_then: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._size = float(self.least)

    def __int__(self) -> int:
        return int(self._size)

    def add(self, count: int, *, in_flight: int, since: float) -> None:
        """Take note of a batch that was claimed.

        Args:
            count: How many items it has.
            in_flight: How many items the labelers had at that time.
            since: When it was asked for, in monotonic seconds.
        """
        done = self.claimed - in_flight
        if done > self._done_by_then:
            recent = (done - self._done_by_then) * _BATCH_SECONDS / max(since - self._claimed_at, 1e-6)
            self._size = max(float(self.least), min(recent, _GROWTH * self._size, _LARGEST_BATCH))
            self._claimed_at, self._done_by_then = since, done
        self.claimed += count
