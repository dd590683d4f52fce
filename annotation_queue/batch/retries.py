"""How often, how long and how fast a labeler is called."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY_WAIT: float = 0.5
"""Seconds before the second attempt, at most; doubled before each further one."""
MAX_RETRY_WAIT: float = 30.0
"""Longest wait between two attempts that the labeler gave no hint for, in seconds."""
MAX_HINTS: Final = 100
"""How often an item may be put off by a hint without using up an attempt."""
_HINT_SPREAD: Final = 0.1


class RateLimit:
    """Spaces calls evenly, so that within any time t at most ``rate * t + 1`` begin; safe to share between threads.

    Args:
        rate: Calls in each second.
        clock: Tells the time in seconds, from anywhere.

    >>> rate_limit = RateLimit(4, clock=lambda: 100.0)
    >>> [rate_limit.wait() for _ in range(3)]
    [0.0, 0.25, 0.5]
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._spacing = 1 / rate
        self._clock = clock
        self._lock = threading.Lock()
        self._next = float("-inf")

    def wait(self) -> float:
        """Reserve the next call.

        Returns:
            Seconds until it may begin.
        """
        with self._lock:
            now = self._clock()
            at = max(now, self._next)
            self._next = at + self._spacing
        return at - now


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """What holds for every item of a run.

    Args:
        most: How often an item is tried, at least 1.
        timeout: How many seconds the labeler may take for an item, its attempts together; None for any time.
        rate_limit: What spaces the calls; None where nothing does.
        chance: Gives random numbers from 0 to 1.
    """

    most: int = 3
    timeout: float | None = None
    rate_limit: RateLimit | None = None
    chance: Callable[[], float] = random.random

    def start_wait(self) -> float:
        """Say how many seconds to wait before a call."""
        return 0.0 if self.rate_limit is None else self.rate_limit.wait()

    def retry_wait(self, attempt: int) -> float:
        """Say how long to wait after a failed attempt: growing waits, of which a random half is left out.

        Args:
            attempt: Which attempt failed, from 1.

        Returns:
            Seconds.
        """
        longest = min(RETRY_WAIT * float(1 << min(attempt - 1, 30)), MAX_RETRY_WAIT)
        return longest * (1 - self.chance() / 2)

    def hint_wait(self, delay: float) -> float:
        """Say how long to wait after a hint: never less, and up to a tenth more, so that not all come back at once.

        Args:
            delay: The hint, in seconds.

        Returns:
            Seconds.
        """
        return delay * (1 + _HINT_SPREAD * self.chance())
