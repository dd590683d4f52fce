"""How often one user may ask."""

from __future__ import annotations

import math
import time

from limits import parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from annotation_queue.values import refuse


class RateLimit:
    """Counts the requests of each user in this process.

    Args:
        rates: How many in which time, in the notation of the library `limits`: ``"100/minute"``, ``"10/second;1000/hour"``.

    Raises:
        InvalidValue: The text is no such notation.
    """

    def __init__(self, rates: str) -> None:
        try:
            self._rates = parse_many(rates)
        except (ValueError, TypeError, AttributeError):
            raise refuse("rate_limit", rates, 'a rate like "100/minute"') from None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait(self, user_id: str) -> int | None:
        """Count a request of a user.

        Returns:
            None where it may go on; else after how many whole seconds, at least 1, the next one may.
        """
        for rate in self._rates:
            if not self._limiter.hit(rate, user_id):
                reset_at = self._limiter.get_window_stats(rate, user_id).reset_time
                return max(1, math.ceil(reset_at - time.time()))
        return None
