"""Labelers at work: what one of them did with an item, the retries, and the threads they run in."""

from __future__ import annotations

import threading
from contextlib import suppress
from enum import Enum
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import attrs

from annotation_queue.values import copy_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.items import Claim, QueueItem
    from annotation_queue.values import JsonValue

Labeler: TypeAlias = "Callable[[QueueItem], Any]"
"""Takes an item and returns its label, any JSON value, or raises `SkipItem`; a function or a coroutine function."""

RETRY_WAIT: float = 0.5
"""Seconds before the second attempt; doubled before each further one."""
MAX_RETRY_WAIT: float = 30.0
"""Longest wait between two attempts, in seconds."""
_MAX_REASON: Final = 500


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


class OutcomeKind(Enum):
    """What became of a claim in the labeler's hands."""

    LABELLED = "labelled"
    SKIPPED = "skipped"
    FAILED = "failed"
    """The last attempt raised, or gave what is no JSON."""
    WITHDRAWN = "withdrawn"
    """The run stopped while the item waited for another attempt."""


@attrs.frozen
class Outcome:
    """What a labeler did with one item.

    Args:
        claim: The claim it worked under.
        kind: What became of it.
        label: The label, a copy that nobody else holds.
        reason: Why it was skipped or failed, as text that can be stored.
        error: What the last attempt raised.
        attempts: How often the labeler was called.
    """

    claim: Claim
    kind: OutcomeKind
    attempts: int
    label: JsonValue = None
    reason: str | None = None
    error: BaseException | None = None


def clean(text: str) -> str:
    r"""Make any text one that can be stored: valid UTF-8 without NUL, at most 500 characters.

    >>> clean("a\0b\udc80")
    'a?b?'
    """
    shortened = text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…"
    return shortened.replace("\0", "?").encode(errors="replace").decode()


def failure_reason(error: BaseException) -> str:
    """Say what went wrong in one text that can be stored: the type and the message.

    >>> failure_reason(ValueError("no score"))
    'ValueError: no score'
    """
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - somebody else's __str__
        message = ""
    return clean(f"{name}: {message}" if message else name)


def retry_wait(attempt: int) -> float:
    """Say how long to wait after a failed attempt: growing waits.

    Args:
        attempt: Which attempt failed, from 1.

    Returns:
        Seconds.
    """
    return min(RETRY_WAIT * float(1 << min(attempt - 1, 30)), MAX_RETRY_WAIT)


def labelled(claim: Claim, label: object, attempt: int) -> Outcome:
    """Accept what a labeler returned.

    Args:
        claim: The claim it worked under.
        label: What it returned.
        attempt: Which attempt this was, from 1.

    Returns:
        The outcome.

    Raises:
        InvalidValue: It is no JSON value.
    """
    return Outcome(claim, OutcomeKind.LABELLED, attempt, label=copy_json("annotation", label))


def judge(claim: Claim, error: BaseException, attempt: int, max_attempts: int) -> Outcome | None:
    """Decide what an error means for the item.

    Args:
        claim: The claim under which it was raised.
        error: What was raised.
        attempt: Which attempt this was, from 1.
        max_attempts: How many there are. What is no `Exception` (an exit, an interrupt) is never tried again.

    Returns:
        The outcome; None where another attempt is due.
    """
    if isinstance(error, SkipItem):
        reason = None if error.reason is None else clean(str(error.reason))
        return Outcome(claim, OutcomeKind.SKIPPED, attempt, reason=reason)
    if attempt < max_attempts and isinstance(error, Exception):
        return None
    return Outcome(claim, OutcomeKind.FAILED, attempt, reason=failure_reason(error), error=error)


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
            wait: Whether to wait until they ended.
        """
        ...


class ThreadLabelers:
    """A labeler function in a number of threads. They are daemons: a labeler that hangs does not keep the process.

    Args:
        labeler: The function.
        workers: How many threads.
        max_attempts: How often an item is tried.
        report: Takes each outcome; called in the labelers' threads.
    """

    def __init__(self, labeler: Labeler, *, workers: int, max_attempts: int, report: Callable[[Outcome], None]) -> None:
        self._labeler = labeler
        self._max_attempts = max_attempts
        self._report = report
        self._claims: SimpleQueue[Claim | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"labeler-{number}", daemon=True)
            for number in range(1, workers + 1)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, claims: Sequence[Claim]) -> None:
        """Queue claims to be labelled, in order."""
        for claim in claims:
            self._claims.put(claim)

    def withdraw(self) -> list[Claim]:
        """Take back the claims that no labeler has started, and start no further attempts."""
        self._stopping.set()
        withdrawn = []
        with suppress(Empty):
            while True:
                claim = self._claims.get_nowait()
                if claim is not None:
                    withdrawn.append(claim)
        return withdrawn

    def close(self, *, wait: bool) -> None:
        """End the threads: each when its item ends; with ``wait`` not before they ended."""
        self._stopping.set()
        for _ in self._threads:
            self._claims.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (claim := self._claims.get()) is not None:
            self._report(self._label(claim))

    def _label(self, claim: Claim) -> Outcome:
        attempt = 1
        while True:
            try:
                return labelled(claim, self._labeler(claim.item), attempt)
            except BaseException as error:  # noqa: BLE001 - what is no Exception is raised again in the caller's thread
                outcome = judge(claim, error, attempt, self._max_attempts)
            if outcome is not None:
                return outcome
            if self._stopping.wait(retry_wait(attempt)):
                return Outcome(claim, OutcomeKind.WITHDRAWN, attempt)
            attempt += 1
