"""Labelers: what they are given, what they may raise, and what one of them did with an item."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from annotation_queue.values import refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.items import Claim, QueueItem

Labeler: TypeAlias = "Callable[[QueueItem], Any]"
"""Takes an item and returns its label, any JSON value, or raises `SkipItem` or `RetryLater`; a function or a coroutine
function."""

MAX_DELAY: Final = timedelta(days=1)
"""Longest hint that `RetryLater` takes."""


class SkipItem(Exception):
    """Raised by a labeler to skip the item instead of labelling it.

    Args:
        reason: Why; stored with the skip.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return "skipped" if self.reason is None else str(self.reason)


class RetryLater(Exception):
    """Raised by a labeler to be called again with the item after a while, as a ``Retry-After`` header asks for.

    It uses up no attempt, up to 100 times for one item. The item keeps its worker meanwhile, so that a service which asks
    everybody to come back later is called less.

    Args:
        delay: How long to wait at least: seconds or a timedelta, at most a day.

    >>> RetryLater(timedelta(minutes=1)).delay
    60.0
    """

    def __init__(self, delay: float | timedelta) -> None:
        super().__init__(delay)
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not (is_number and 0 <= seconds <= MAX_DELAY.total_seconds()):
            raise refuse("delay", delay, "seconds or a timedelta from 0 to a day")
        self.delay = float(seconds)

    def __str__(self) -> str:
        return f"asked to be called again after {self.delay:g} s"


class Labelers(Protocol):
    """Several labelers at work on what is submitted; each outcome is reported from whichever thread it came up in."""

    def submit(self, claims: Sequence[Claim]) -> None:
        """Queue claims to be labelled, in order."""
        ...

    def withdraw(self) -> list[Claim]:
        """Take back the claims that no labeler has started, and start no further attempts."""
        ...

    def close(self, *, wait: bool) -> None:
        """End the labelers that are idle, and each other one when its item ends.

        Args:
            wait: Whether to wait until they ended; for those that were given up it never waits.
        """
        ...
