"""Checked text, integers, times and JSON; the clock.

Every value that a caller gives passes one of these checks before anything is stored, so that a value is refused with the
same error on every repository.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

from annotation_queue.errors import InvalidValue

_Member = TypeVar("_Member", bound=StrEnum)


MAX_TEXT_BYTES: Final = 1 << 20
"""Longest text, in bytes of UTF-8."""
MIN_INTEGER: Final = -(1 << 63)
MAX_INTEGER: Final = (1 << 63) - 1
MAX_LEASE: Final = timedelta(days=36_500)
"""Longest lease."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def describe(value: object) -> str:
    """Say what kind of value this is, without repeating a long one.

    Args:
        value: Anything.

    Returns:
        Its type, with the value where it is short.

    >>> describe(True), describe(-1), describe("")
    ('bool True', 'int -1', 'an empty str')
    """
    if value is None:
        return "None"
    if value == "":
        return "an empty str"
    name = type(value).__name__
    if isinstance(value, int | float) and abs(value) < 1 << 70:
        return f"{name} {value!r}"
    if isinstance(value, str) and len(value) <= 80:  # noqa: PLR2004 - what still reads well in one sentence
        return f"{name} {value!r}"
    return name


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
    if not isinstance(value, str):
        raise refuse(field, value, "text", error)
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
    return value if type(value) is str else str.__str__(value)


def check_id(field: str, value: object, *, error: type[InvalidValue] = InvalidValue) -> str:
    """Accept an identifier: opaque non-empty text. Arguments and errors are those of `check_text`."""
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
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise refuse(field, value, f"an integer from {minimum} to {maximum}", error)
    return int(value)


def check_time(field: str, value: object) -> datetime:
    """Accept a timezone-aware time.

    Args:
        field: Name of the field, for the error.
        value: What was given.

    Returns:
        The same instant in UTC.

    Raises:
        InvalidValue: It is something else, naive, or outside the years 1 to 9999 in UTC.
    """
    if not isinstance(value, datetime):
        raise refuse(field, value, "a timezone-aware datetime")
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise InvalidValue(field, "a naive datetime", "a timezone-aware datetime")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidValue(field, f"datetime {value}", "a time within the years 1 to 9999 in UTC") from None


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
    try:
        return members(value)  # type: ignore[arg-type]  # whatever it is, the enumeration refuses what it has not
    except ValueError:
        raise refuse(field, value, f"one of {', '.join(members)}", error) from None


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
    if not isinstance(value, timedelta) or not timedelta() < value <= MAX_LEASE:
        raise refuse(field, value, f"a positive timedelta of at most {MAX_LEASE.days:,} days")
    return value


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
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Turn integer microseconds since the epoch into a UTC time; the inverse of `to_micros`."""
    # Half as long as making the timedelta by keyword.
    return _EPOCH + micros * _MICROSECOND


def utc_now() -> datetime:
    """Read the system's clock: the current time, UTC."""
    return datetime.now(UTC)
