"""One item in the hands of a labeler, and what became of it."""

from __future__ import annotations

import logging
import time
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.batch.labelers import RetryLater, SkipItem, check_delay
from annotation_queue.batch.retries import MAX_HINTS
from annotation_queue.construction import altered
from annotation_queue.items import QueueItem, copy_payload, make_claim
from annotation_queue.json_values import copy_json, plain_json
from annotation_queue.values import class_name

if TYPE_CHECKING:
    from annotation_queue.batch.retries import RetryPolicy
    from annotation_queue.items import Claim
    from annotation_queue.json_values import JsonValue

_LOG: Final = logging.getLogger("annotation_queue.batch")
FAILED_PREFIX: Final = "failed: "
"""How the stored reason begins if an item was skipped or released because its labeler failed."""
_NO_FAILURE: Final = "skipped: "
"""What is put before the reason of a skip that begins as the reason of a failure does."""
_MAX_REASON: Final = 500
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_with_payload = altered(QueueItem, ("payload",))


class OutcomeKind(Enum):
    """What became of a claim in the labeler's hands."""

    LABELLED = "labelled"
    SKIPPED = "skipped"
    FAILED = "failed"
    """The last attempt raised, the label is no JSON value, or the time was over."""
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

    def fail(self, error: BaseException) -> None:
        """Make a failure of it: the label cannot be stored."""
        self.kind, self.error, self.reason = OutcomeKind.FAILED, error, failure_reason(error)


@attrs.define(eq=False)
class Work:
    """One item in a labeler's hands: how often and how long it was tried so far.

    One thread works on it; another one may call `overdue` at any moment. Whatever the labeler raised or returned, there is an
    outcome: no exception and no label, however hostile to whoever looks at it, keeps one from being reported.

    Args:
        claim: The claim it is worked on under.
        policy: What holds for every item of the run.
        calls: How often the labeler was called.
        hints: How often it asked to be called later.
        seconds: How long the calls took that have ended.
        since: When the call that runs began, in monotonic seconds; None between two.
    """

    claim: Claim
    policy: RetryPolicy
    calls: int = 0
    hints: int = 0
    seconds: float = 0.0
    since: float | None = None

    def item(self) -> QueueItem:
        """Give the item with a payload of its own, so that no attempt sees what another one did to it."""
        item = self.claim.item
        return item if item.payload is None else _with_payload(item, copy_payload(item.payload))

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
        if self.policy.timeout is None or since is None:
            return float("-inf")
        return seconds + time.monotonic() - since - self.policy.timeout

    def left(self) -> float | None:
        """Say how many seconds of the time limit are left after the calls that have ended; None without a limit."""
        return None if self.policy.timeout is None else max(0.0, self.policy.timeout - self.seconds)

    def labelled(self, label: object) -> Outcome:
        """Accept what the labeler returned; what is no JSON value is a failure, and another call would not change that."""
        try:
            copy = _copy(label)
        except BaseException as error:  # noqa: BLE001 - somebody else's label may raise anything when it is looked at
            return self.broken(error)
        self.stop()
        return self._outcome(OutcomeKind.LABELLED, label=copy)

    def failed(self, error: BaseException) -> Outcome | float:
        """Decide what an error means for the item.

        Args:
            error: What the labeler raised. What is no `Exception` (an exit, an interrupt) is never tried again.

        Returns:
            The outcome; or after how many seconds another attempt is due.
        """
        self.stop()
        try:
            judged = self._judge(error)
        except BaseException as hostile:  # noqa: BLE001 - somebody else's error may raise anything when it is looked at
            return self.broken(hostile)
        if isinstance(judged, float):
            _LOG.info(
                "item %r (call %r): attempt %d raised %s, again in %.3g s",
                self.claim.item.id,
                self.claim.item.call_id,
                self.calls,
                class_name(error),
                judged,
            )
        return judged

    def broken(self, error: BaseException) -> Outcome:
        """Give the item up because of an error that no further call would change."""
        self.stop()
        return self._outcome(OutcomeKind.FAILED, reason=failure_reason(error), error=error)

    def timed_out(self) -> Outcome:
        """Give the item up because its time is over."""
        outcome = self.broken(TimeoutError(f"no label within {self.policy.timeout:g} s"))
        outcome.timed_out = True
        return outcome

    def withdrawn(self) -> Outcome:
        """Give the item back between two attempts."""
        return self._outcome(OutcomeKind.WITHDRAWN)

    def _judge(self, error: BaseException) -> Outcome | float:
        # Of its true class: what an error says of its class is the labeler's code.
        kind = type(error)
        if issubclass(kind, SkipItem):
            return self._outcome(OutcomeKind.SKIPPED, reason=_skip_reason(error))  # type: ignore[arg-type]  # it is one
        if issubclass(kind, RetryLater) and self.hints < MAX_HINTS:
            delay = check_delay(error.delay)  # type: ignore[attr-defined]  # it is one
            self.hints += 1
            return self.policy.hint_wait(delay)
        tried = self.calls - self.hints
        if tried < self.policy.most and issubclass(kind, Exception):
            return self.policy.backoff.wait(max(tried, 1))
        return self.broken(error)

    def _outcome(self, kind: OutcomeKind, **more: Any) -> Outcome:  # noqa: ANN401 - further fields of the outcome
        return Outcome(self.claim, kind, self.calls, self.seconds, **more)


def bare(claim: Claim) -> Claim:
    """Give a claim without the item's payload: all that the storage needs, and small whatever the payload holds."""
    if claim.item.payload is None:
        return claim
    return make_claim(
        item=_with_payload(claim.item, None),
        annotator_id=claim.annotator_id,
        token=claim.token,
        expires_at=claim.expires_at,
    )


def is_failure(reason: str | None) -> bool:
    """Tell whether the reason of a skip says that the labeler failed on the item, and not that it chose to skip it.

    >>> is_failure("failed: ValueError: no score"), is_failure("no score"), is_failure(None)
    (True, False, False)
    """
    return reason is not None and reason.startswith(FAILED_PREFIX)


def stored_failure(reason: str | None) -> str:
    """Give the reason with which a failed item is skipped or released.

    >>> stored_failure("ValueError: no score")
    'failed: ValueError: no score'
    """
    return clean(FAILED_PREFIX + (reason or ""))


def _skip_reason(error: SkipItem) -> str | None:
    try:
        reason = error.reason
        if reason is None:
            return None
        text = _text(reason)
    except BaseException:  # noqa: BLE001 - somebody else's reason; that the item is to be skipped is clear without it
        return f"{class_name(error)}: its reason cannot be read"
    return clean(_NO_FAILURE + text if is_failure(text) else text)


def _copy(label: object) -> Any:  # noqa: ANN401 - as `copy_json`
    """Check a label and give a copy that nobody else holds: most are flat, and need not be serialised for that."""
    if type(label) is dict and all(type(value) in _SCALARS and type(key) is str for key, value in label.items()):
        return plain_json("annotation", label.copy())
    return copy_json("annotation", label)


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
    name = class_name(error)
    try:
        message = _text(error)
    except BaseException:  # noqa: BLE001 - somebody else's __str__
        message = ""
    return clean(f"{name}: {message}" if message else name)


def _text(value: object) -> str:
    """Give the text of anything as a plain ``str``: what ``str`` gives may be of a class that has methods of its own."""
    return str.__str__(str(value))
