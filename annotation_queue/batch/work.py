"""One item in the hands of a labeler, and what became of it."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.batch.retries import MAX_HINTS
from annotation_queue.json_values import check_json, copy_json

if TYPE_CHECKING:
    from annotation_queue.batch.retries import RetryPolicy
    from annotation_queue.items import Claim
    from annotation_queue.json_values import JsonValue

from annotation_queue.batch.labelers import RetryLater, SkipItem

FAILED_PREFIX: Final = "failed: "
"""How the reason of a skip begins if the item failed; a labeler's own reasons do not begin so."""
_MAX_REASON: Final = 500
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


class OutcomeKind(Enum):
    """What became of a claim in the labeler's hands."""

    LABELLED = "labelled"
    SKIPPED = "skipped"
    FAILED = "failed"
    """The last attempt raised, gave what is no JSON, or the time was over."""
    WITHDRAWN = "withdrawn"
    """The run stopped while the item waited for its next attempt."""
    LOST = "lost"
    """Somebody else holds or finished the item, or it was removed; the label was dropped."""
    EXPIRED = "expired"
    """Heartbeats failed for longer than the lease; the result was dropped."""


@attrs.define(eq=False)
class Outcome:
    """What a labeler did with one item.

    Args:
        claim: The claim it worked under.
        kind: What became of it.
        attempts: How often the labeler was called.
        seconds: How long it took, its attempts together.
        label: The label, a copy that nobody else holds.
        reason: Why it was skipped or failed, as text that can be stored.
        error: What the last attempt raised.
        timed_out: Whether the time was over.
    """

    claim: Claim
    kind: OutcomeKind
    attempts: int
    seconds: float = 0.0
    label: JsonValue = None
    reason: str | None = None
    error: BaseException | None = None
    timed_out: bool = False


@attrs.define(eq=False)
class Work:
    """One item in a labeler's hands: how often and how long it was tried so far.

    One thread works on it; another one may call `overdue` at any moment.

    Args:
        claim: The claim it is worked on under.
        attempts: What holds for every item of the run.
        calls: How often the labeler was called.
        hints: How often it asked to be called later.
        seconds: How long the calls took that have ended.
        since: When the call that runs began, in monotonic seconds; None between two.
    """

    claim: Claim
    attempts: RetryPolicy
    calls: int = 0
    hints: int = 0
    seconds: float = 0.0
    since: float | None = None

    def begin(self) -> None:
        """Note that the labeler is called."""
        self.calls += 1
        self.since = time.monotonic()

    def stop(self) -> None:
        """Note that the call has ended."""
        # In this order, so that whoever calls `overdue` meanwhile never finds the call counted twice.
        since, self.since = self.since, None
        if since is not None:
            self.seconds += time.monotonic() - since

    def overdue(self) -> float:
        """Say for how many seconds the time limit has been over in the call that runs; negative while there is time left."""
        seconds, since = self.seconds, self.since  # once, in this order: the call may end at any moment
        if self.attempts.timeout is None or since is None:
            return float("-inf")
        return seconds + time.monotonic() - since - self.attempts.timeout

    def left(self) -> float | None:
        """Say how many seconds of the time limit are left after the calls that have ended; None without a limit."""
        return None if self.attempts.timeout is None else max(0.0, self.attempts.timeout - self.seconds)

    def labelled(self, label: object) -> Outcome:
        """Accept what the labeler returned.

        Raises:
            InvalidValue: It is no JSON value.
        """
        copy = _copy(label)
        self.stop()
        return Outcome(self.claim, OutcomeKind.LABELLED, self.calls, self.seconds, copy)

    def failed(self, error: BaseException) -> Outcome | float:
        """Decide what an error means for the item.

        Args:
            error: What the labeler raised. What is no `Exception` (an exit, an interrupt) is never tried again.

        Returns:
            The outcome; or after how many seconds another attempt is due.
        """
        self.stop()
        if isinstance(error, SkipItem):
            reason = None if error.reason is None else clean(str(error.reason))
            return Outcome(self.claim, OutcomeKind.SKIPPED, self.calls, self.seconds, reason=reason)
        if isinstance(error, RetryLater) and self.hints < MAX_HINTS:
            self.hints += 1
            return self.attempts.hint_wait(error.delay)
        tried = self.calls - self.hints
        if tried < self.attempts.most and isinstance(error, Exception):
            return self.attempts.retry_wait(max(tried, 1))
        return Outcome(
            self.claim, OutcomeKind.FAILED, self.calls, self.seconds, reason=failure_reason(error), error=error
        )

    def timed_out(self) -> Outcome:
        """Give the item up because its time is over."""
        self.stop()
        error = TimeoutError(f"no label within {self.attempts.timeout:g} s")
        return Outcome(
            self.claim,
            OutcomeKind.FAILED,
            self.calls,
            self.seconds,
            reason=failure_reason(error),
            error=error,
            timed_out=True,
        )

    def withdrawn(self) -> Outcome:
        """Give the item back between two attempts."""
        return Outcome(self.claim, OutcomeKind.WITHDRAWN, self.calls, self.seconds)


def _copy(label: object) -> Any:  # noqa: ANN401 - as `copy_json`
    """Check a label and give a copy that nobody else holds: most are flat, and need not be serialised for that."""
    if type(label) is dict and all(type(value) in _SCALARS and type(key) is str for key, value in label.items()):
        copy = label.copy()
        check_json("annotation", copy)
        return copy
    return copy_json("annotation", label)


def is_failure(reason: str | None) -> bool:
    """Tell whether the reason of a skip says that the item failed.

    >>> is_failure("failed: ValueError: no score"), is_failure("too short"), is_failure(None)
    (True, False, False)
    """
    return reason is not None and reason.startswith(FAILED_PREFIX)


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
