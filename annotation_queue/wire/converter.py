"""Turning JSON into messages, refusing whatever does not fit all at once, and turning messages into JSON."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from functools import cache, partial
from heapq import nsmallest
from typing import Any, Final, Literal, NewType, TypeAlias, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from annotation_queue.errors import AnnotationQueueError, InvalidValue
from annotation_queue.values import MAX_INTEGER, MAX_TEXT_BYTES, check_id, check_text, describe

_Message = TypeVar("_Message")

Id = NewType("Id", str)
"""Text that is not empty."""
Count = NewType("Count", int)
"""An integer from 0 to 2**63 - 1."""
Json = NewType("Json", object)
"""Any JSON value."""
Place: TypeAlias = tuple[str | int, ...]
"""Where in a request a value stands: its part (``body``, ``query``), then fields and 0-based indices."""

MOST_FAULTS: Final = 100
"""So many faults of one request are named; of a request with more, the first."""
_SLICE: Final = 256
"""So many values of a list are looked at together."""


_OPEN: Final[set[type]] = set()


def open_message(kind: type[_Message]) -> type[_Message]:
    """Mark a message whose published document does not forbid further fields: they are ignored, however it is read."""
    _OPEN.add(kind)
    return kind


def is_open(kind: type) -> bool:
    """Tell whether further fields of a message are always ignored."""
    return kind in _OPEN


class BadMessage(AnnotationQueueError, ValueError):
    """A request does not fit its message.

    Args:
        faults: What is wrong, each with the keys ``loc`` (a list of the place's parts), ``msg`` and ``type``; at least one and
            at most `MOST_FAULTS`.
    """

    def __init__(self, faults: list[dict[str, Any]]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in self.faults)


def fault(place: Place, message: str, kind: str) -> dict[str, Any]:
    """Name one thing that is wrong with a request."""
    return {"loc": list(place), "msg": message, "type": kind}


def misfit(place: Place, message: str, kind: str = "value_error") -> BadMessage:
    """Build the error for one thing that is wrong with a request."""
    return BadMessage([fault(place, message, kind)])


class _Unfit(Exception):
    """One value that does not fit; its place is known further up."""

    def __init__(self, value: object, expected: str, kind: str) -> None:
        super().__init__(f"expected {expected}, got {describe(value)}")
        self.kind = kind


def _text(value: object, _type: object) -> str:
    if type(value) is not str:
        raise _Unfit(value, "text", "string_type")
    return check_text("", value)


def _id(value: object, _type: object) -> str:
    if type(value) is not str:
        raise _Unfit(value, "text", "string_type")
    return check_id("", value)


def _flag(value: object, _type: object) -> bool:
    if type(value) is not bool:
        raise _Unfit(value, "true or false", "bool_type")
    return value


def _count(value: object, _type: object) -> int:
    if type(value) is not int:
        raise _Unfit(value, "an integer", "int_type")
    if not 0 <= value <= MAX_INTEGER:
        raise _Unfit(value, f"an integer from 0 to {MAX_INTEGER}", "value_error")
    return value


def _choice(value: object, kind: Any) -> Any:  # noqa: ANN401 - whatever the enumeration holds
    choices = choices_of(kind)
    if type(value) is not str or value not in choices:
        raise _Unfit(value, f"one of {', '.join(choices)}", "literal_error")
    return kind(value) if isinstance(kind, type) else value


@cache
def choices_of(kind: Any) -> tuple[str, ...]:  # noqa: ANN401 - a type, in any of the ways to write one
    """List the texts that a `Literal` or a `StrEnum` allows; none for any other type."""
    if _is_literal(kind):
        return get_args(kind)
    return tuple(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else ()


def _is_literal(kind: Any) -> bool:  # noqa: ANN401 - as `choices_of`
    return get_origin(kind) is Literal


def _is_tuple(kind: Any) -> bool:  # noqa: ANN401 - as `choices_of`
    return get_origin(kind) is tuple


def _tuple_hook(kind: Any, converter: cattrs.Converter) -> Callable[[object, object], object]:  # noqa: ANN401
    element = get_args(kind)[0]
    structure = converter.get_structure_hook(element)

    def hook(value: object, _type: object) -> object:
        if type(value) is not list:
            raise _Unfit(value, "a list", "list_type")
        made: list[object] = []
        errors: list[Exception] = []
        for start in range(0, len(value), _SLICE):
            part = value[start : start + _SLICE]
            if element in (str, Id) and _are_plain(part, empty=element is str):
                made += part
                continue
            for index, each in enumerate(part, start):
                try:
                    made.append(structure(each, element))
                except Exception as error:  # noqa: BLE001 - every one is named in the answer, or raised from there
                    error.__notes__ = [IterableValidationNote("", index, element)]
                    errors.append(error)
            if len(errors) >= MOST_FAULTS:
                break
        if errors:
            raise IterableValidationError("", errors[:MOST_FAULTS], kind)
        return tuple(made)

    return hook


def _are_plain(values: list[Any], *, empty: bool) -> bool:
    """Tell whether these are texts that nothing is wrong with: far faster than to look at each, for the long lists."""
    if not all(type(each) is str for each in values) or not (empty or all(values)):
        return False
    try:
        joined = "".join(values).encode()
    except UnicodeEncodeError:
        return False
    return b"\0" not in joined and len(joined) <= MAX_TEXT_BYTES


def _class_hook(kind: type, converter: cattrs.Converter) -> Callable[[object, object], object]:
    closed = converter.forbid_extra_keys and not is_open(kind)
    structure: Callable[[Any, Any], object] = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=closed)

    def hook(value: object, _type: object) -> object:
        if type(value) is not dict:
            raise _Unfit(value, "an object", "dict_type")
        return structure(value, kind)

    return hook


def _make_converter(*, strict: bool) -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=strict, detailed_validation=True)
    # Classes are found by inheritance, the nearest first: an enumeration of texts is a StrEnum before it is a str.
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _flag)
    converter.register_structure_hook(StrEnum, _choice)
    converter.register_structure_hook_func(partial(operator.is_, Id), _id)
    converter.register_structure_hook_func(partial(operator.is_, Count), _count)
    converter.register_structure_hook_func(partial(operator.is_, Json), lambda value, _type: value)
    converter.register_structure_hook_func(_is_literal, _choice)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_unstructure_hook(StrEnum, lambda member: member.value)
    converter.register_unstructure_hook(datetime, lambda moment: moment.isoformat(timespec="microseconds"))
    return converter


CONVERTER: Final = _make_converter(strict=True)
_LENIENT: Final = _make_converter(strict=False)


def load(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Parse the body of a request.

    Args:
        body: JSON in UTF-8.

    Returns:
        The value.

    Raises:
        BadMessage: It is no UTF-8, no JSON, nested too deeply to read, or holds a number that JSON does not have.
    """
    try:
        return json.loads(body.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise misfit(("body",), "expected UTF-8", "json_invalid") from None
    except RecursionError:
        raise misfit(("body",), "expected JSON that is nested less deeply", "json_invalid") from None
    except json.JSONDecodeError as error:
        raise misfit(("body",), f"expected JSON: {error.msg} at character {error.pos}", "json_invalid") from None
    except ValueError:
        raise misfit(("body",), "expected JSON whose numbers are shorter", "json_invalid") from None


def _no_constant(name: str) -> None:
    raise json.JSONDecodeError(f"{name} is no number", name, 0)


def read(kind: type[_Message], value: object, part: str = "body", *, strict: bool = True) -> _Message:
    """Make a message from parsed JSON: nothing is coerced.

    Args:
        kind: The class of the message.
        value: What was sent.
        part: Where it was sent: ``body`` or ``query``.
        strict: Whether unknown fields are refused where the published document forbids them. Else they are ignored, so that
            clients that are newer than these messages work.

    Returns:
        The message.

    Raises:
        BadMessage: It does not fit; every fault is named.

    >>> from annotation_queue.wire.weave import ProgressBody
    >>> read(ProgressBody, {"project_id": True, "state": "completed"})
    Traceback (most recent call last):
    ...
    annotation_queue.wire.converter.BadMessage: body.project_id: expected text, got bool True; body.annotation_state: \
this field is missing; body.state: there is no such field
    """
    try:
        return (CONVERTER if strict else _LENIENT).structure(value, kind)
    except (ClassValidationError, _Unfit) as error:
        faults = []
        for each in _faults(error, (part,)):
            faults.append(each)
            if len(faults) == MOST_FAULTS:
                break
        raise BadMessage(faults) from None


def write(message: object) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Turn a message into what JSON can say; times are ISO 8601 in UTC with the offset written."""
    return CONVERTER.unstructure(message)


def dump(value: object) -> bytes:
    """Serialise what `write` gave as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def refused(error: InvalidValue) -> BadMessage:
    """Say of a value that the service refused where in the body it stands.

    >>> refused(InvalidValue("sort_by[1].field", "an empty str", "a name")).faults[0]["loc"]
    ['body', 'sort_by', 1, 'field']
    """
    parts = re.findall(r"[^.\[\]]+", error.field)
    place = ("body", *(int(part) if part.isdecimal() else part for part in parts))
    return misfit(place, _say(error))


def _faults(error: BaseException, place: Place) -> Iterator[dict[str, Any]]:
    if isinstance(error, ClassValidationError):
        inner, outer = error.group_exceptions()
        for each, note in inner:
            yield from _faults(each, (*place, note.name))
        for rest in outer:
            yield from _faults(rest, place)
    elif isinstance(error, IterableValidationError):
        for element, at in error.group_exceptions()[0]:
            yield from _faults(element, (*place, at.index))
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in nsmallest(MOST_FAULTS, error.extra_fields):
            yield fault((*place, _shown(name)), "there is no such field", "extra_forbidden")
    else:
        yield _fault(error, place)


def _fault(error: BaseException, place: Place) -> dict[str, Any]:
    if isinstance(error, KeyError):
        return fault(place, "this field is missing", "missing")
    if isinstance(error, InvalidValue):
        return fault(place, _say(error), "value_error")
    if isinstance(error, _Unfit):
        return fault(place, str(error), error.kind)
    raise error


def _say(error: InvalidValue) -> str:
    return f"expected {error.expected}, got {error.kind}"


def _shown(name: str) -> str:
    """Give a field's name as it may stand in an answer: short, and valid UTF-8."""
    return name[:80].encode(errors="replace").decode()
