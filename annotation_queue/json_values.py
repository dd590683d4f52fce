"""Checked JSON: what it may hold, how it is written, read and copied."""

from __future__ import annotations

import json
import marshal
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeGuard, cast

from annotation_queue.errors import InvalidValue
from annotation_queue.values import (
    MAX_INTEGER,
    MIN_INTEGER,
    check_integer,
    check_text,
    class_name,
    is_iterable,
    is_plain,
    refuse,
)

if TYPE_CHECKING:
    JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
    """What JSON can say. Objects keep the order of their keys. At run time it is `Any`: what reads annotations, as pydantic and
    cattrs do, would go round and round in a type that holds itself."""
    JsonInput: TypeAlias = "bool | int | float | str | Sequence[JsonInput] | Mapping[str, JsonInput] | None"
    """What is taken as JSON: as `JsonValue`, and a ``list[str]`` or a ``dict[str, int]`` is one too. A tuple is refused when it
    comes, as is any mapping but a dict."""
else:
    JsonValue = JsonInput = Any
MAX_JSON_BYTES: Final = 1 << 20
"""Longest JSON value, in bytes of its compact serialisation."""
UNSHARED: Final = 2
"""The version of the packed form: later ones unpack what stood in two places into one object."""
_LONGEST_NUMBER: Final = 26
MAX_JSON_DEPTH: Final = 64
"""Deepest JSON value: a scalar is 0 levels deep, an empty list 1."""
_ENCODER: Final = json.JSONEncoder(check_circular=False, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SORTING_ENCODER: Final = json.JSONEncoder(check_circular=False, ensure_ascii=False, allow_nan=False, sort_keys=True)
_SPACED_ENCODER: Final = json.JSONEncoder(check_circular=False, ensure_ascii=False, allow_nan=False)
_DECODER: Final = json.JSONDecoder()


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
    if not is_iterable(values):
        raise refuse(field, values, "a sequence of texts")
    texts = tuple(check_text(f"{field}[{index}]", value) for index, value in enumerate(values))
    if texts:
        dump_json(field, list(texts))
    return texts


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
    return _written(field, value, error)


def _written(field: str, value: object, error: type[InvalidValue]) -> str:
    try:
        text = write_json(value)
    except Exception as raised:  # a dict of a class whose `items` says something else this time
        raise error(
            field, f"{class_name(value)} that changes when it is read", "a JSON value (a plain dict)"
        ) from raised
    _check_size(field, text, error)
    return text


def plain_json(field: str, value: object) -> JsonValue:
    """Check a JSON value as `dump_json` does, and read it once if it is of classes whose methods are somebody else's code.

    Args:
        field: Name of the field, for the error.
        value: What was given.

    Returns:
        The value itself where it consists of plain values only; a plain copy otherwise.

    Raises:
        InvalidValue: As for `dump_json`.
    """
    if value is None or _is_simple(value):
        return value
    checked = _check_json(field, value, InvalidValue)
    if checked.is_plain and checked.most_bytes <= MAX_JSON_BYTES:
        return cast("JsonValue", value)
    text = _written(field, value, InvalidValue)
    return cast("JsonValue", value if checked.is_plain else load_json(text))


def _check_size(field: str, text: str, error: type[InvalidValue]) -> None:
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_JSON_BYTES:
        raise error(field, f"{size:,} bytes", f"JSON of at most {MAX_JSON_BYTES:,} bytes")


def write_json(value: object) -> str:
    """Serialise a JSON value that was checked before, so that it has no cycles, as `dump_json` does."""
    return _ENCODER.encode(value)


def spaced_json(value: object) -> str:
    """Serialise a JSON value that was checked before for people to read: as `write_json`, with a space after commas and colons.

    >>> spaced_json({"label": ["a", 1]})
    '{"label": ["a", 1]}'
    """
    return _SPACED_ENCODER.encode(value)


def load_json(text: str) -> Any:  # noqa: ANN401 - JSON has no narrower type that a caller could use without casts
    """Parse what `dump_json` made; every call gives a fresh value that nobody else holds."""
    if text == "null":
        return None
    # A third of the time of `decode`, which looks for white space around it, and that was never written.
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError:
        end = -1
    return value if end == len(text) else _DECODER.decode(text)


def copy_json(field: str, value: object) -> Any:  # noqa: ANN401 - as `load_json`
    """Check a JSON value and give a copy that nobody else holds. Arguments and errors are those of `dump_json`."""
    if value is None or type(value) is bool:
        return value
    return load_json(dump_json(field, value))


def copy_plain(value: Any) -> Any:  # noqa: ANN401 - as `load_json`
    """Copy a value that consists of plain values, several times as fast as by its text.

    Raises:
        ValueError: It has others, or is nested too deeply.
    """
    return marshal.loads(marshal.dumps(value, UNSHARED))  # noqa: S302 - what this process wrote itself


def same_json(first: object, second: object) -> bool:
    """Tell whether two checked JSON values are the same: numbers by their text, objects whatever the order of their keys.

    >>> same_json({"a": 1, "b": [2]}, {"b": [2], "a": 1}), same_json(1, 1.0), same_json(1, True)
    (True, False, False)
    """
    return first is second or _SORTING_ENCODER.encode(first) == _SORTING_ENCODER.encode(second)


# Where a nested value stands: its parent's place, and its key or index there, rendered only for an error.
_Place: TypeAlias = "tuple[_Place | None, str | int]"
_NESTING: Final = (dict, list)
_PLAIN: Final = frozenset({dict, list, str, int, float, bool, type(None)})
_LONGEST_STEP: Final = 80
_FEW: Final = 16
_SHORT: Final = 1_000
"""Of so few entries none is simple that could make the text longer than it may be, however much of it is escaped."""


def path_of(root: str, steps: Iterable[str | int]) -> str:
    """Write where a nested value stands, in one line, however odd and long its keys are.

    >>> path_of("annotation", ["boxes", 3, "x"])
    'annotation.boxes[3].x'
    """
    place: _Place = (None, root)
    for step in steps:
        place = place, step
    return _path(place)


def _path(place: _Place) -> str:
    parent, step = place
    if parent is None:
        return str(step)
    # Whatever a key is, the message stays in one line and can be read.
    shown = f"[{step}]" if isinstance(step, int) else f".{step if step.isprintable() else ascii(step)}"
    return _path(parent) + shown[:_LONGEST_STEP]


def _is_simple(value: object) -> TypeGuard[JsonValue]:
    """Tell at a glance of most labels that `plain_json` takes them: one level of a few short texts, flags and small numbers."""
    if type(value) is not dict or len(value) > _FEW:
        return False
    # Of texts that are so short this is all that `is_plain` asks; it would take longer to call it than to look.
    for key, element in value.items():
        if type(key) is not str or len(key) > _SHORT or not key.isascii() or "\0" in key:
            return False
        kind = type(element)
        if kind is str:
            if len(element) > _SHORT or not element.isascii() or "\0" in element:
                return False
        elif kind is int:
            if not MIN_INTEGER <= element <= MAX_INTEGER:
                return False
        elif kind is not bool and element is not None:
            return False
    return True


class _Checked(NamedTuple):
    """What was found out about a JSON value: a number of bytes that it does not exceed, and whether all of it is plain."""

    most_bytes: int
    is_plain: bool


def _check_json(field: str, root: object, error: type[InvalidValue]) -> _Checked:
    # Iterative, since the interpreter's own recursion
    # limit differs by version; counted, since lists that share their elements can stand for more nodes than memory holds.
    # Values are looked at by their true class and not by their own methods, as the encoder does, which calls `items` alone.
    if not issubclass(type(root), _NESTING):
        return _Checked(_check_scalar(None, field, root, error), type(root) in _PLAIN)
    pending: list[tuple[_Place, Any, int]] = [((None, field), root, 0)]
    budget = MAX_JSON_BYTES
    size = 0
    kinds = {type(root)}
    while pending:
        place, value, depth = pending.pop()
        if depth == MAX_JSON_DEPTH:
            raise error(field, "JSON that is deeper", f"JSON of at most {MAX_JSON_DEPTH} levels")
        is_object = issubclass(type(value), dict)
        length = dict.__len__(value) if is_object else list.__len__(value)
        budget -= 1 + length
        if budget < 0:
            raise error(field, "more values", f"JSON of at most {MAX_JSON_BYTES:,} bytes")
        size += 2 + 2 * length
        if is_object:
            if type(value) is not dict:
                value = _entries(_path(place), value, budget, error)
            size += sum(_key_size(place, key, error) for key in value)
        for step, element in value.items() if is_object else enumerate(list.__iter__(value)):
            kinds.add(type(element))
            if issubclass(type(element), _NESTING):
                pending.append(((place, step), element, depth + 1))
            else:
                size += _check_scalar(place, step, element, error)
    return _Checked(size, kinds <= _PLAIN)


def _key_size(place: _Place, key: object, error: type[InvalidValue]) -> int:
    if not (type(key) is str and is_plain(key)):
        key = check_text(f"a key of {_path(place)}", key, error=error)
    return _text_size(key)


def _entries(path: str, value: Any, most: int, error: type[InvalidValue]) -> dict[Any, Any]:  # noqa: ANN401 - anything's
    """Read the entries of a dict of another class as the encoder does; that class may do with `items` as it likes."""
    try:
        entries = dict(islice(value.items(), most))
        return {check_text(f"a key of {path}", key, error=error): element for key, element in entries.items()}
    except InvalidValue:
        raise
    except Exception as raised:
        raise error(path, f"{class_name(value)} that cannot be read", "a JSON value (a plain dict)") from raised


def _check_scalar(parent: _Place | None, step: str | int, value: object, error: type[InvalidValue]) -> int:
    kind = type(value)
    if issubclass(kind, str):
        text: str = value if kind is str else str.__str__(value)  # type: ignore[assignment]  # it is one
        if not is_plain(text):
            check_text(_path((parent, step)), text, error=error)
        return _text_size(text)
    if kind is bool or value is None:
        return _LONGEST_NUMBER
    if issubclass(kind, int):
        number: int = value if kind is int else int.__index__(value)  # type: ignore[assignment,arg-type]  # it is one
        if not MIN_INTEGER <= number <= MAX_INTEGER:
            check_integer(_path((parent, step)), number, error=error)
    elif issubclass(kind, float):
        if not math.isfinite(value):  # type: ignore[arg-type]  # it is one, and its own value is looked at
            raise refuse(_path((parent, step)), value, "a finite number", error)
    else:
        place = _path((parent, step))
        raise refuse(place, value, "a JSON value (None, bool, int, float, str, list or dict)", error)
    return _LONGEST_NUMBER


def _text_size(text: str) -> int:
    # The longest escape has 6 bytes, and so has no character more.
    return 6 * len(text) + 2
