"""How often one user may ask, and how often one address may fail to say who it is."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from limits import parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from annotation_queue.values import refuse

if TYPE_CHECKING:
    from limits import RateLimitItem


class RateLimit:
    """Counts requests in this process: those of each user, or those of each address that failed.

    Args:
        name: What is limited, for the error.
        rates: How many in which time, in the notation of the library `limits`: ``"100/minute"``, ``"10/second;1000/hour"``.

    Raises:
        InvalidValue: The text is no such notation.
    """

    def __init__(self, rates: str, name: str = "rate_limit") -> None:
        try:
            self._rates = parse_many(rates)
        except (ValueError, TypeError, AttributeError):
            raise refuse(name, rates, 'a rate like "100/minute"') from None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait(self, who: str) -> int | None:
        """Count a request, if it may go on.

        Args:
            who: The user or the address.

        Returns:
            None if it may go on; else after how many whole seconds, at least 1, the next one may.
        """
        for rate in self._rates:
            if not self._limiter.hit(rate, who):
                return self._seconds(rate, who)
        return None

    def left(self, who: str) -> int | None:
        """Say what `wait` would, and count nothing."""
        for rate in self._rates:
            if not self._limiter.test(rate, who):
                return self._seconds(rate, who)
        return None

    def _seconds(self, rate: RateLimitItem, who: str) -> int:
        reset_at = self._limiter.get_window_stats(rate, who).reset_time
        return max(1, math.ceil(reset_at - time.time()))
