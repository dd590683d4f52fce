"""Labelers: what they are given, what they may raise, and how a run speaks to those at work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol, TypeAlias

from annotation_queue.errors import AnnotationQueueError
from annotation_queue.items import Claim, QueueItem
from annotation_queue.values import refuse

Labeler: TypeAlias = Callable[[QueueItem], Any]
"""Takes an item and returns its label, any JSON value, or raises `SkipItem` or `RetryLater`; a function or a coroutine
function."""

MAX_DELAY: Final = timedelta(days=1)
"""Longest hint that `RetryLater` takes."""


class SkipItem(Exception):
    """Raised by a labeler to skip the item instead of labelling it.

    Args:
        reason: Why; stored with the skip.
    """

    reason: str | None = None
    """Why; None in a subclass that does not say."""

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
        self.delay: float = check_delay(delay)

    def __str__(self) -> str:
        return f"asked to be called again after {self.delay:g} s"


def check_delay(delay: object) -> float:
    """Accept how long to wait: seconds or a timedelta, from 0 to a day.

    Args:
        delay: What was given.

    Returns:
        Seconds.

    Raises:
        InvalidValue: It is something else.
    """
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if (
        not isinstance(seconds, int | float)
        or isinstance(seconds, bool)
        or not 0 <= seconds <= MAX_DELAY.total_seconds()
    ):
        raise refuse("delay", delay, "seconds or a timedelta from 0 to a day")
    return float(seconds)


class WorkerLost(AnnotationQueueError, RuntimeError):
    """A thread that a run depends on ended, and nobody had asked it to. The run ended too and released what it held.

    Args:
        what: Which thread, and what ended it if that is known.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}; what it worked on was released: see what the labeler does to its thread, and run again"


class Labelers(Protocol):
    """Several labelers at work on what is submitted. Each outcome is reported from whichever thread it came up in."""

    def start(self) -> None:
        """Begin: start the threads.

        Raises:
            RuntimeError: No thread can be had; those that were started are to be closed.
        """
        ...

    def submit(self, claims: Sequence[Claim]) -> None:
        """Queue claims to be labelled, in order."""
        ...

    def withdraw(self) -> list[Claim]:
        """Take back the claims that no labeler has started, and start no further attempts."""
        ...

    def check(self) -> None:
        """Make sure that whoever shall report an outcome is still there.

        Raises:
            WorkerLost: A thread ended that nobody had asked to end.
        """
        ...

    def close(self, *, wait: bool) -> None:
        """End the labelers that are idle, and each other one when its item ends. Those that never started may be closed too.

        Args:
            wait: Whether to wait until they ended; for those that were given up it never waits.
        """
        ...
