"""Checked text, integers, times and JSON; the clock.

Every value that a caller gives passes one of these checks before anything is stored, so that a value is refused with the
same error on every repository.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias, TypeVar

from annotation_queue.errors import InvalidValue

_Member = TypeVar("_Member", bound=StrEnum)

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""What JSON can say. Objects keep the order of their keys."""

MAX_TEXT_BYTES: Final = 1 << 20
"""Longest text, in bytes of UTF-8."""
MAX_JSON_BYTES: Final = 1 << 20
"""Longest JSON value, in bytes of its compact serialisation."""
_LONGEST_NUMBER: Final = 26
MAX_JSON_DEPTH: Final = 64
"""Deepest JSON value: a scalar is 0 levels deep, an empty list 1."""
MIN_INTEGER: Final = -(1 << 63)
MAX_INTEGER: Final = (1 << 63) - 1
MAX_LEASE: Final = timedelta(days=36_500)
"""Longest lease."""

_ENCODER: Final = json.JSONEncoder(check_circular=False, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER: Final = json.JSONDecoder()
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


def check_texts(field: str, values: object) -> tuple[str, ...]:
    """Accept an iterable of texts, which together are at most 1 MiB as JSON; a single text is not one.

    Args:
        field: Name of the field, for the error.
        values: What was given.

    Returns:
        The texts in their order.

    Raises:
        InvalidValue: It is something else, or one of them is not a text.
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise refuse(field, values, "a sequence of texts")
    texts = tuple(check_text(f"{field}[{index}]", value) for index, value in enumerate(values))
    if texts:
        dump_json(field, list(texts))
    return texts


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


def dump_json(field: str, value: object, *, error: type[InvalidValue] = InvalidValue) -> str:
    """Serialise a JSON value compactly; keys keep their order and text stays as it is.

    Args:
        field: Name of the field, for the error; a nested place is named as a path.
        value: What was given.
        error: The class of error to raise.

    Returns:
        The JSON text. Equal text means the same value.

    Raises:
        InvalidValue: It is not JSON (a tuple is not), not finite, too deep, too long, holds an integer beyond 64 bits or
            text that `check_text` refuses. The cost is linear in the size, and bounded for what is refused.
    """
    if value is None:
        return "null"
    _check_json(field, value, error)
    text = write_json(value)
    _check_size(field, text, error)
    return text


def check_json(field: str, value: object) -> None:
    """Check a JSON value as `dump_json` does, and leave it where it is.

    Args:
        field: Name of the field, for the error.
        value: What was given.

    Raises:
        InvalidValue: As for `dump_json`.
    """
    if value is not None and _check_json(field, value, InvalidValue) > MAX_JSON_BYTES:
        _check_size(field, write_json(value), InvalidValue)


def _check_size(field: str, text: str, error: type[InvalidValue]) -> None:
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_JSON_BYTES:
        raise error(field, f"{size:,} bytes", f"JSON of at most {MAX_JSON_BYTES:,} bytes")


def write_json(value: object) -> str:
    """Serialise a JSON value that was checked before, so that it has no cycles, as `dump_json` does."""
    return _ENCODER.encode(value)


def load_json(text: str) -> Any:  # noqa: ANN401 - JSON has no narrower type that a caller could use without casts
    """Parse what `dump_json` made; every call gives a fresh value that nobody else holds."""
    return None if text == "null" else _DECODER.decode(text)


def copy_json(field: str, value: object) -> Any:  # noqa: ANN401 - as `load_json`
    """Check a JSON value and give a copy that nobody else holds. Arguments and errors are those of `dump_json`."""
    if value is None or isinstance(value, bool):
        return value
    return load_json(dump_json(field, value))


# Where a nested value stands: its parent's place, and its key or index there, rendered only for an error.
_Place: TypeAlias = "tuple[_Place | None, str | int]"
_NESTING: Final = (dict, list)
_LONGEST_STEP: Final = 80


def _path(place: _Place) -> str:
    parent, step = place
    if parent is None:
        return str(step)
    # Whatever a key is, the message stays in one line and can be read.
    shown = f"[{step}]" if isinstance(step, int) else f".{step if step.isprintable() else ascii(step)}"
    return _path(parent) + shown[:_LONGEST_STEP]


def _check_json(field: str, root: object, error: type[InvalidValue]) -> int:
    # Gives a number of bytes that the serialised value does not exceed. Iterative, since the interpreter's own recursion
    # limit differs by version; counted, since lists that share their elements can stand for more nodes than memory holds.
    if not isinstance(root, _NESTING):
        return _check_scalar(None, field, root, error)
    pending: list[tuple[_Place, Any, int]] = [((None, field), root, 0)]
    budget = MAX_JSON_BYTES
    size = 0
    while pending:
        place, value, depth = pending.pop()
        if depth == MAX_JSON_DEPTH:
            raise error(field, "JSON that is deeper", f"JSON of at most {MAX_JSON_DEPTH} levels")
        budget -= 1 + len(value)
        if budget < 0:
            raise error(field, "more values", f"JSON of at most {MAX_JSON_BYTES:,} bytes")
        size += 2 + 2 * len(value)
        if isinstance(value, dict):
            for key in value:
                if not (isinstance(key, str) and _is_plain(key)):
                    check_text(f"a key of {_path(place)}", key, error=error)
                size += _text_size(key)
        for step, element in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(element, _NESTING):
                pending.append(((place, step), element, depth + 1))
            else:
                size += _check_scalar(place, step, element, error)
    return size


def _check_scalar(parent: _Place | None, step: str | int, value: object, error: type[InvalidValue]) -> int:
    if isinstance(value, str):
        if not _is_plain(value):
            check_text(_path((parent, step)), value, error=error)
        return _text_size(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            check_integer(_path((parent, step)), value, error=error)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise refuse(_path((parent, step)), value, "a finite number", error)
    elif value is not None and not isinstance(value, bool):
        place = _path((parent, step))
        raise refuse(place, value, "a JSON value (None, bool, int, float, str, list or dict)", error)
    return _LONGEST_NUMBER


def _is_plain(text: str) -> bool:
    return text.isascii() and "\0" not in text and len(text) <= MAX_TEXT_BYTES


def _text_size(text: str) -> int:
    # The longest escape has 6 bytes, and so has no character more.
    return 6 * len(text) + 2


def utc_now() -> datetime:
    """Read the system's clock: the current time, UTC."""
    return datetime.now(UTC)
