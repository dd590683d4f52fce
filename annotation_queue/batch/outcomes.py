"""Where labelers put what they did, and a run takes it."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from annotation_queue.batch.work import Outcome

LINGER: Final = 0.005
"""How long outcomes are gathered before they are stored together, in seconds."""
_NEVER: Final = 1 << 62


class OutcomeQueue:
    """Outcomes on their way from the labelers' threads to the one that stores them.

    The taker sleeps until there is one, and then a few milliseconds more, so that fast labelers neither wake it for each of
    their items nor wait for it. Safe to share between threads, and `wake` is safe in a signal handler.
    """

    def __init__(self) -> None:
        self._outcomes: deque[Outcome] = deque()
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._woken = False
        # How many outcomes are worth waking the taker for.
        self._enough = _NEVER

    def put(self, outcome: Outcome) -> None:
        """Leave an outcome."""
        self._outcomes.append(outcome)
        if len(self._outcomes) >= self._enough:
            self._enough = _NEVER
            self._wakes.put(None)

    def wake(self) -> None:
        """Let the taker return at once, now or the next time."""
        self._woken = True
        self._wakes.put(None)

    def take(self, timeout: float, most: int) -> list[Outcome]:
        """Wait for outcomes.

        Args:
            timeout: How long to wait for the first one, in seconds.
            most: How many to gather, once there is one, before going on at once.

        Returns:
            All there are, in the order in which they were left; none after the time, or if `wake` was called.
        """
        self._wait(1, timeout)
        if self._outcomes and not self._woken:
            self._wait(most, LINGER)
        self._woken = False
        return [self._outcomes.popleft() for _ in range(len(self._outcomes))]

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds, or until `wake` is called, and leave the outcomes where they are."""
        self._wait(_NEVER, seconds)
        self._woken = False

    def _wait(self, count: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while len(self._outcomes) < count and not self._woken and (left := deadline - time.monotonic()) > 0:
            self._enough = count
            if len(self._outcomes) < count:  # none came before it was set
                with suppress(Empty):
                    self._wakes.get(timeout=left)
        self._enough = _NEVER
