"""Growing waits between tries."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_DOUBLINGS: Final = 64


@attrs.frozen(kw_only=True)
class Backoff:
    """Waits that double with each failure up to a bound. A part of each is random, so that not everybody comes back at once.

    Args:
        first: The longest wait after the first failure, in seconds.
        longest: The longest wait of all, in seconds.
        spread: The part of a wait that is random, from 0 (none of it) to 1 (all of it).
        chance: Gives random numbers from 0 to 1.

    >>> backoff = Backoff(first=0.5, longest=3, chance=lambda: 0.0)
    >>> [backoff.wait(failures) for failures in (1, 2, 3, 4)]
    [0.5, 1.0, 2.0, 3.0]
    """

    first: float
    longest: float
    spread: float = 0.5
    chance: Callable[[], float] = random.random

    def wait(self, failures: int) -> float:
        """Say how long to wait before the next try.

        Args:
            failures: How many tries in a row have failed, at least 1.

        Returns:
            Seconds.
        """
        longest = min(self.first * float(1 << min(failures - 1, _MOST_DOUBLINGS)), self.longest)
        return longest * (1 - self.spread * self.chance())
