"""A clock for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """A clock that stands still until it is moved, and counts how often it is read.

    >>> clock = Clock()
    >>> (clock.move(1.5) - clock.move(-1.5)).total_seconds()
    1.5
    """

    def __init__(self) -> None:
        self.now: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.reads: int = 0

    def __call__(self) -> datetime:
        """Tell the time, UTC."""
        self.reads += 1
        return self.now

    def move(self, seconds: float) -> datetime:
        """Go on by some seconds, or back; give the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now
