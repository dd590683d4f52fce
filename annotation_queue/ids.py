"""Ids: time-ordered UUIDs, strictly increasing within a process."""

from __future__ import annotations

import os
import random
import threading
import time


class _UuidClock:
    """The last id given out, so that the next one is greater."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Seeded by the system and not for secrets. To ask the system for each id would let other threads run for a moment
        # that is too short for them, again and again, and so keep them from running at all.
        self._random = random.Random()  # noqa: S311 - ids need to differ, not to be unguessable
        self._last_millis = 0
        self._counter = 0

    def next(self) -> tuple[int, int]:
        with self._lock:
            millis = time.time_ns() // 1_000_000
            if millis > self._last_millis:
                # The top bit stays clear, so that the counter has room to grow within one millisecond.
                self._last_millis, self._counter = millis, self._random.getrandbits(73)
            else:
                self._counter += 1 + self._random.getrandbits(16)
            return self._last_millis, self._counter

    def forget(self) -> None:
        # A forked child must not go on counting where its parent does.
        self.__init__()  # type: ignore[misc]


_uuid_clock = _UuidClock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_uuid_clock.forget)


def uuid7() -> str:
    """Make a time-ordered UUID of version 7 (RFC 9562), strictly increasing within this process.

    Returns:
        Its 36 characters; ids made one after the other sort in that order, as text too.

    >>> first, second = uuid7(), uuid7()
    >>> first < second, first[14]
    (True, '7')
    """
    millis, counter = _uuid_clock.next()
    high, low = counter >> 62 & 0xFFF, counter & (1 << 62) - 1
    digits = f"{millis << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
