"""The pace of a long change: how much of it fits into a transaction, so that others get their turn in time."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

from annotation_queue.errors import AnnotationQueueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST: Final = 1_000
"""How many members the first part has, when nobody knows yet how long one takes."""
_GROWTH: Final = 4
"""How many times as many members a part may have as the one before."""
_MOST: Final = 8_000
"""The most members of a part: one that takes longer than it should does so by little."""
_LEAST: Final = 100
"""Less than that is no part, unless the transaction has none yet."""
_LEAST_SHARE: Final = 5 / 8
"""The least share of a transaction's time that is for its parts: where commits take long, short ones would take longer."""


@contextmanager
def told_after(count: int, what: str) -> Iterator[None]:
    """Have an error of a later part of a long change tell, in a note, what the parts before it did.

    Args:
        count: How many members they had.
        what: What was done to these.
    """
    try:
        yield
    except AnnotationQueueError as error:
        if count:
            error.add_note(f"{count:,} {what} before that, and stay so; call again for the rest")
        raise


class Pace:
    """Sizes the parts of a long change by what the part before took.

    Args:
        seconds: How long a transaction lasts with its commit, before it leaves the rest to another one. A part that takes
            longer than the one before promised ends later.
        clock: Gives monotonic seconds.
        commit: How many of these seconds are for the first commit. Later ones have what the one before took, but never more
            than three eighths of all.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = monotonic, commit: float = 0.0) -> None:
        self._seconds = seconds
        self._commit = commit
        self._clock = clock
        self._next = FIRST
        self._each = 0.0
        self._until = self._began = self._ended = 0.0
        self._has_part = False

    def begin(self) -> None:
        """Begin a transaction."""
        self._until = self._clock() + max(self._seconds - self._commit, _LEAST_SHARE * self._seconds)
        self._has_part = False

    def part(self) -> int:
        """Begin a part.

        Returns:
            How many members it is to have; 0 if the transaction is to end. The first part of one always has some.
        """
        self._began = self._clock()
        fits = self._next if not self._each else min(self._next, int((self._until - self._began) / self._each))
        if fits < _LEAST:
            fits = 0 if self._has_part else _LEAST
        return fits

    def took(self, members: int) -> None:
        """End a part that had so many members."""
        self._ended = self._clock()
        self._each = (self._ended - self._began) / members
        self._next = min(_GROWTH * members, _MOST)
        self._has_part = True

    def committed(self) -> None:
        """End a transaction, now that it is committed."""
        self._commit = self._clock() - self._ended
