"""How often, how long and how fast a labeler is called."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue.batch.limits import RETRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.backoff import Backoff

MAX_HINTS: Final = 100
"""How often an item may be put off by a hint without using up an attempt."""
_HINT_SPREAD: Final = 0.1
_LONGEST_SLEEP: Final = 3_600.0
"""Longest single wait for a turn, in seconds: no clock takes a wait of centuries."""


class RateLimit:
    """Spaces calls evenly: from one call to the next at least ``1 / rate`` seconds pass, also after everything stood still.

    A call has its turn when it takes it, not when it could have had it: turns that are overdue after a stall are not made
    up for. Safe to share between threads.

    Args:
        rate: Calls in each second.
        clock: Tells the time in seconds, from anywhere.

    >>> rate_limit = RateLimit(4, clock=lambda: 100.0)
    >>> [next(rate_limit.waits(), 0.0) for _ in range(3)]
    [0.0, 0.25, 0.5]
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._spacing = 1 / rate
        self._clock = clock
        self._lock = threading.Lock()
        # When the newest call was let through, and the next moment that nobody has reserved yet.
        self._last = float("-inf")
        self._free = float("-inf")

    def waits(self) -> Iterator[float]:
        """Wait for a turn: sleep for each of these seconds; when there are no more, the call begins at once."""
        reserved = float("-inf")
        while (left := self._take(reserved)) is not None:
            reserved, wait = left
            yield min(wait, _LONGEST_SLEEP)

    def _take(self, reserved: float) -> tuple[float, float] | None:
        """Take the turn that was reserved; or give another one and the seconds until then."""
        with self._lock:
            now = self._clock()
            # Whoever comes late finds that somebody else, who came late too, went just before.
            earliest = self._last + self._spacing
            if reserved == float("-inf"):
                reserved = max(now, earliest, self._free)
                self._free = reserved + self._spacing
            elif now - reserved > self._spacing and now < earliest:
                reserved = max(earliest, self._free)  # a stall: whoever waited gets a moment of their own again
                self._free = reserved + self._spacing
            elif reserved <= now < earliest:
                reserved = earliest
            if reserved <= now:
                self._last = now
                self._free = max(self._free, now + self._spacing)
                return None
            return reserved, reserved - now


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """What holds for every item of a run.

    Args:
        most: How often an item is tried, at least 1.
        timeout: How many seconds the labeler may take for an item, its attempts together; None for any time.
        rate_limit: What spaces the calls; None if nothing does.
        backoff: The waits between attempts for which the labeler gave no hint.
        chance: Gives random numbers from 0 to 1, for hints.
    """

    most: int = 3
    timeout: float | None = None
    rate_limit: RateLimit | None = None
    backoff: Backoff = RETRIES
    chance: Callable[[], float] = random.random

    def start_waits(self) -> Iterator[float]:
        """Wait until a call may begin: sleep for each of these seconds; when there are no more, it begins at once."""
        return iter(()) if self.rate_limit is None else self.rate_limit.waits()

    def hint_wait(self, delay: float) -> float:
        """Say how long to wait after a hint: never less, and up to a tenth more, so that not all come back at once.

        Args:
            delay: The hint, in seconds.

        Returns:
            Seconds.
        """
        return delay * (1 + _HINT_SPREAD * self.chance())
