"""Checked text, integers, times and JSON; the clock.

Every value that a caller gives passes one of these checks before anything is stored, so that a value is refused with the
same error on every repository.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar

from annotation_queue.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterable

_Member = TypeVar("_Member", bound=StrEnum)
_Kind = TypeVar("_Kind")


MAX_TEXT_BYTES: Final = 1 << 20
"""Longest text, in bytes of UTF-8."""
MIN_INTEGER: Final = -(1 << 63)
MAX_INTEGER: Final = (1 << 63) - 1
MAX_LEASE: Final = timedelta(days=36_500)
"""Longest lease."""

_MOST_SHOWN: Final = 80
"""Longest text that still reads well within a sentence, in characters."""
_CLASS_NAME: Final = type.__dict__["__name__"].__get__
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def describe(value: object) -> str:
    """Say what kind of value this is, without repeating a long one.

    It calls none of the value's own methods: whatever a value does when it is compared or printed, it can be described.

    Args:
        value: Anything.

    Returns:
        Its type, with the value where it is short.

    >>> describe(True), describe(-1), describe("")
    ('bool True', 'int -1', 'an empty str')
    """
    if value is None:
        return "None"
    name, shown = class_name(value), _shown(value)
    if shown == "''":
        return "an empty str"
    return name if shown is None else f"{name} {shown}"


def _shown(value: Any) -> str | None:  # noqa: ANN401 - anything
    """Show a short text or a number by its own value; None for anything else."""
    kind = type(value)
    if issubclass(kind, str):
        text = str.__str__(value)
        return repr(text) if len(text) <= _MOST_SHOWN else None
    if issubclass(kind, bool):
        return repr(value)
    if issubclass(kind, int):
        number = int.__index__(value)
        return repr(number) if abs(number) < 1 << 70 else None
    return float.__repr__(value) if issubclass(kind, float) else None


def is_a(value: object, *kinds: type[_Kind]) -> TypeGuard[_Kind]:
    """Tell whether a value is of one of these classes. Unlike ``isinstance`` it never asks the value, which may raise or lie.

    >>> is_a(True, int), is_a("text", int, float)
    (True, False)
    """
    return issubclass(type(value), kinds)


def is_iterable(value: object) -> TypeGuard[Iterable[Any]]:
    """Tell whether a value gives others one by one; a text, whose characters nobody means, is taken for none that does.

    >>> is_iterable([]), is_iterable("ids")
    (True, False)
    """
    return hasattr(type(value), "__iter__") and not is_a(value, str, bytes)


def class_name(value: object) -> str:
    """Name a value's class. The value is not asked, nor is a metaclass: either may raise or lie.

    >>> class_name("text")
    'str'
    """
    return str(_CLASS_NAME(type(value)))


def refuse(field: str, value: object, expected: str, error: type[InvalidValue] = InvalidValue) -> InvalidValue:
    """Build the error for a refused value.

    Args:
        field: Name of the field.
        value: What was given.
        expected: What the field takes.
        error: The class of error.

    Returns:
        The error, to raise.
    """
    return error(field, describe(value), expected)


def is_plain(text: str) -> bool:
    """Tell at a glance of most texts that `check_text` takes them: they are ASCII. It says nothing of the others."""
    return text.isascii() and "\0" not in text and len(text) <= MAX_TEXT_BYTES


def check_text(field: str, value: object, *, empty: bool = True, error: type[InvalidValue] = InvalidValue) -> str:
    """Accept valid UTF-8 text without NUL, at most 1 MiB.

    Args:
        field: Name of the field, for the error.
        value: What was given.
        empty: Whether the empty text is accepted.
        error: The class of error to raise.

    Returns:
        The text, as a plain ``str``.

    Raises:
        InvalidValue: It is something else.
    """
    if type(value) is not str:
        # Of its true class, and as a plain text: what the value's own methods say is somebody else's code.
        if not issubclass(type(value), str):
            raise refuse(field, value, "text", error)
        value = str.__str__(value)
    if not value:
        if empty:
            return ""
        raise refuse(field, value, "non-empty text", error)
    if len(value) > MAX_TEXT_BYTES:
        raise error(field, f"{len(value):,} characters", f"text of at most {MAX_TEXT_BYTES:,} bytes")
    if not value.isascii():
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise error(field, "a lone surrogate", "text that is valid UTF-8") from None
        if size > MAX_TEXT_BYTES:
            raise error(field, f"{size:,} bytes", f"text of at most {MAX_TEXT_BYTES:,} bytes")
    if "\0" in value:
        raise error(field, "text with NUL", "text without NUL")
    return value


def check_id(field: str, value: object, *, error: type[InvalidValue] = InvalidValue) -> str:
    """Accept an identifier: opaque non-empty text. Arguments and errors are those of `check_text`."""
    if type(value) is str and value and is_plain(value):
        return value
    return check_text(field, value, empty=False, error=error)


def check_integer(
    field: str,
    value: object,
    *,
    minimum: int = MIN_INTEGER,
    maximum: int = MAX_INTEGER,
    error: type[InvalidValue] = InvalidValue,
) -> int:
    """Accept an integer within 64 bits; a bool or a float is none.

    Args:
        field: Name of the field, for the error.
        value: What was given.
        minimum: Least accepted value.
        maximum: Greatest accepted value.
        error: The class of error to raise.

    Returns:
        The integer, as a plain ``int``.

    Raises:
        InvalidValue: It is something else.
    """
    kind = type(value)
    if issubclass(kind, int) and kind is not bool:
        number = int.__index__(value)  # type: ignore[arg-type]  # it is one, and this is plain
        if minimum <= number <= maximum:
            return number
    raise refuse(field, value, f"an integer from {minimum} to {maximum}", error)


def check_time(field: str, value: object, *, error: type[InvalidValue] = InvalidValue) -> datetime:
    """Accept a timezone-aware time.

    Args:
        field: Name of the field, for the error.
        value: What was given.
        error: The class of error to raise.

    Returns:
        The same instant in UTC.

    Raises:
        InvalidValue: It is something else, naive, or outside the years 1 to 9999 in UTC.
    """
    if type(value) is datetime and value.tzinfo is UTC:
        return value
    if not issubclass(type(value), datetime):
        raise refuse(field, value, "a timezone-aware datetime", error)
    moment: datetime = value  # type: ignore[assignment]  # it is one
    if moment.utcoffset() is None:
        raise error(field, "a naive datetime", "a timezone-aware datetime")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise error(field, f"datetime {moment}", "a time within the years 1 to 9999 in UTC") from None


def check_member(
    field: str, value: object, *, members: type[_Member], error: type[InvalidValue] = InvalidValue
) -> _Member:
    """Accept a member of an enumeration, or its value.

    Args:
        field: Name of the field, for the error.
        value: What was given.
        members: The enumeration.
        error: The class of error to raise.

    Returns:
        The member.

    Raises:
        InvalidValue: It is none of them.
    """
    if issubclass(type(value), str):  # nothing else is a member's value, and it might not like to be compared
        with suppress(ValueError):
            return members(str.__str__(value))
    raise refuse(field, value, f"one of {', '.join(members)}", error)


def check_flag(field: str, value: object, *, error: type[InvalidValue] = InvalidValue) -> bool:
    """Accept True or False; a text that says so, as a form may send it, is neither. Raises the error for anything else."""
    if type(value) is bool:
        return value
    raise refuse(field, value, "True or False", error)


def check_lease(field: str, value: object) -> timedelta:
    """Accept how long a claim lasts: more than nothing, at most 36,500 days.

    Args:
        field: Name of the field, for the error.
        value: What was given.

    Returns:
        The lease.

    Raises:
        InvalidValue: It is something else.
    """
    if issubclass(type(value), timedelta):
        lease: timedelta = value  # type: ignore[assignment]  # it is one
        if timedelta() < lease <= MAX_LEASE:
            return lease
    raise refuse(field, value, f"a positive timedelta of at most {MAX_LEASE.days:,} days")


def lease_end(at: datetime, lease: timedelta) -> datetime:
    """Say when a lease that starts now runs out.

    Args:
        at: Now, UTC.
        lease: How long it lasts.

    Returns:
        The end, UTC.

    Raises:
        InvalidValue: The end lies beyond the year 9999.
    """
    try:
        return at + lease
    except OverflowError:
        raise InvalidValue("lease", f"{lease} from {at}", "a lease that ends before the year 10000") from None


def earlier(at: datetime, by: timedelta) -> datetime:
    """Give the time so much earlier, UTC; the year 1 at the earliest."""
    try:
        return at - by
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def to_micros(moment: datetime) -> int:
    """Turn a UTC time into integer microseconds since the epoch, by integer arithmetic.

    >>> to_micros(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005
    """
    # A fifth of what it takes to divide one interval by another.
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    """Turn integer microseconds since the epoch into a UTC time; the inverse of `to_micros`."""
    # Half as long as making the timedelta by keyword.
    return _EPOCH + micros * _MICROSECOND


def timestamp(moment: datetime) -> str:
    """Write a UTC time as ISO 8601 with microseconds and Z.

    >>> timestamp(datetime(2026, 1, 5, 9, tzinfo=UTC))
    '2026-01-05T09:00:00.000000Z'
    """
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def utc_now() -> datetime:
    """Read the system's clock: the current time, UTC."""
    return datetime.now(UTC)
