"""Entities as JSON and back: one `cattrs.Converter` that coerces nothing.

>>> from annotation_queue import NewItem
>>> converter = make_converter()
>>> new = converter.structure({"call_id": "call-1", "payload": {"text": "Great!"}}, NewItem)
>>> new.payload, converter.unstructure(new)["priority"]
({'text': 'Great!'}, 0)

FastAPI, Litestar, pydantic and msgspec need no converter: they take and give the entities as they are. Tell FastAPI that one is
the body of a request, or it looks for it in the URL: ``new: Annotated[NewItem, Body()]``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from annotation_queue.construction import may_be_left_out
from annotation_queue.values import describe

__all__ = ["explain", "make_converter"]

_Hook: TypeAlias = Callable[[Any, Any], Any]
_LONGEST: Final = timedelta.max.total_seconds()
_Texts: Final = str | frozenset[str] | None
"""One text, any of several, or none."""


def make_converter() -> cattrs.Converter:
    """Make a converter that turns every entity into what JSON can say, and back.

    Times are RFC 3339 with their offset, durations are seconds, members of enumerations are their values, tuples and sets are
    lists (those of sets sorted). Nothing is coerced: ``"5"`` is no number, 1 is not true. A field without a default must be
    there, and one that the entity does not have is refused. What is made passes every check of its class. What an `ItemPatch`
    leaves as it is, is left out.

    Returns:
        A new converter, yours to add hooks to. Its ``structure`` raises `cattrs.BaseValidationError` with all that is wrong
        with the names and types of fields, and if nothing is, with the first value that an entity refuses; `explain` puts it
        in words.
    """
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    # Classes are found by inheritance, the nearest first: an enumeration of texts is a StrEnum before it is a str.
    converter.register_structure_hook(str, partial(_exactly, (str,), "text"))
    converter.register_structure_hook(bool, partial(_exactly, (bool,), "true or false"))
    converter.register_structure_hook(int, partial(_exactly, (int,), "an integer"))
    converter.register_structure_hook(float, partial(_exactly, (float, int), "a number"))
    converter.register_structure_hook(datetime, _time)
    converter.register_structure_hook(timedelta, _duration)
    converter.register_structure_hook(StrEnum, _member)
    converter.register_structure_hook_func(partial(operator.is_, Any), lambda value, _kind: value)
    converter.register_structure_hook_func(lambda kind: kind == _Texts, _texts)
    converter.register_structure_hook_factory(_is_list, _list_hook)
    converter.register_structure_hook_factory(_is_object, _object_hook)
    converter.register_structure_hook_factory(attrs.has, _entity_hook)
    converter.register_unstructure_hook(StrEnum, lambda member: member.value)
    converter.register_unstructure_hook(datetime, lambda moment: moment.isoformat(timespec="microseconds"))
    converter.register_unstructure_hook(timedelta, lambda duration: duration.total_seconds())
    converter.register_unstructure_hook_factory(_leaves_out, partial(_leaving_out, converter))
    converter.register_unstructure_hook_func(_is_list, lambda values: _written(converter, values))
    # A set of which it is not said what it holds.
    converter.register_unstructure_hook(frozenset, lambda values: _written(converter, values))
    return converter


def explain(error: Exception) -> tuple[str, ...]:
    """Say what is wrong with a value that a converter refused.

    Args:
        error: What ``structure`` raised.

    Returns:
        A sentence for each fault, with its place; ``$`` is the whole value.

    >>> from annotation_queue import NewItem
    >>> try:
    ...     make_converter().structure({"call_id": 7, "colour": "red"}, NewItem)
    ... except cattrs.BaseValidationError as error:
    ...     print(*explain(error), sep="; ")
    $.call_id: expected text, got int 7; $.colour: there is no such field
    """
    return tuple(f"{place}: {what}" for place, what in _faults(error, "$"))


def _faults(error: BaseException, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(error, ClassValidationError):
        fields, others = error.group_exceptions()
        for each, note in fields:
            yield from _faults(each, f"{place}.{note.name}")
        for other in others:
            yield from _faults(other, place)
    elif isinstance(error, IterableValidationError):
        for element, at in error.group_exceptions()[0]:
            yield from _faults(element, f"{place}[{at.index!r}]")
    elif isinstance(error, ForbiddenExtraKeysError):
        yield from ((f"{place}.{name}", "there is no such field") for name in sorted(error.extra_fields))
    else:
        yield place, "this field is missing" if isinstance(error, KeyError) else str(error)


class _Unfit(ValueError):
    """One value that does not fit; its place is known further up."""

    def __init__(self, value: object, expected: str) -> None:
        super().__init__(f"expected {expected}, got {describe(value)}")


def _exactly(kinds: tuple[type, ...], expected: str, value: object, _kind: object) -> object:
    if type(value) not in kinds:
        raise _Unfit(value, expected)
    return value


def _texts(value: object, _kind: object) -> str | frozenset[str] | None:
    if value is None or type(value) is str:
        return value
    if type(value) is list and all(type(each) is str for each in value):
        return frozenset(value)
    raise _Unfit(value, "text, a list of texts or null")


def _time(value: object, _kind: object) -> datetime:
    moment = None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if moment is None or moment.tzinfo is None:
        raise _Unfit(value, "a time as RFC 3339 writes it, with its offset")
    return moment


def _duration(value: object, _kind: object) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value == _LONGEST:  # as a float it is longer than the longest duration
            return timedelta.max
        try:
            return timedelta(seconds=value)
        except (OverflowError, ValueError):
            pass
    raise _Unfit(value, "a number of seconds")


def _member(value: object, kind: type[StrEnum]) -> StrEnum:
    if type(value) is not str or value not in tuple(kind):
        raise _Unfit(value, f"one of {', '.join(kind)}")
    return kind(value)


def _is_list(kind: Any) -> bool:  # noqa: ANN401 - a type, in any of the ways to write one
    return get_origin(kind) in {tuple, frozenset}


def _is_object(kind: Any) -> bool:  # noqa: ANN401 - as `_is_list`
    return get_origin(kind) in {dict, Mapping}


def _list_hook(kind: Any, converter: cattrs.Converter) -> _Hook:  # noqa: ANN401 - as `_is_list`
    collect, parts = get_origin(kind), get_args(kind)
    length = len(parts) if collect is tuple and parts[-1] is not Ellipsis else None
    hooks = [converter.get_structure_hook(part) for part in parts if part is not Ellipsis]

    def hook(value: object, _kind: object) -> object:
        if type(value) is not list or length not in {None, len(value)}:
            raise _Unfit(value, "a list" if length is None else f"a list of {length} values")
        chosen = hooks * len(value) if length is None else hooks
        return collect(_each(((n, partial(chosen[n], each, parts[0])) for n, each in enumerate(value)), kind))

    return hook


def _object_hook(kind: Any, converter: cattrs.Converter) -> _Hook:  # noqa: ANN401 - as `_is_list`
    key, element = get_args(kind)
    read_key, read = converter.get_structure_hook(key), converter.get_structure_hook(element)

    def hook(value: object, _kind: object) -> object:
        if type(value) is not dict:
            raise _Unfit(value, "an object")
        pairs = (
            (name, lambda name=name, each=each: (read_key(name, key), read(each, element)))
            for name, each in value.items()
        )
        return dict(_each(pairs, kind))

    return hook


def _each(makers: Iterable[tuple[int | str, Callable[[], Any]]], kind: Any) -> list[Any]:  # noqa: ANN401 - as `_is_list`
    """Make every element, and raise the errors of all of them together."""
    made: list[Any] = []
    errors: list[Exception] = []
    for index, make in makers:
        try:
            made.append(make())
        except Exception as error:  # noqa: BLE001 - all of them are raised below
            error.__notes__ = [IterableValidationNote("", index, kind)]
            errors.append(error)
    if errors:
        raise IterableValidationError("", errors, kind)
    return made


def _entity_hook(kind: type, converter: cattrs.Converter) -> _Hook:
    structure: _Hook = make_dict_structure_fn(kind, converter)

    def hook(value: object, _kind: object) -> object:
        if type(value) is not dict:
            raise _Unfit(value, "an object")
        return structure(value, kind)

    return hook


def _leaves_out(kind: Any) -> bool:  # noqa: ANN401 - as `_is_list`
    return attrs.has(kind) and any(map(may_be_left_out, attrs.fields(kind)))


def _leaving_out(converter: cattrs.Converter, kind: type) -> Callable[[Any], dict[str, Any]]:
    options = {each.name: override(omit_if_default=True) for each in attrs.fields(kind) if may_be_left_out(each)}
    return make_dict_unstructure_fn(kind, converter, **options)  # type: ignore[arg-type]  # of fields, not of its own


def _written(converter: cattrs.Converter, values: Any) -> list[Any]:  # noqa: ANN401 - a tuple or a set of anything
    written = [converter.unstructure(value) for value in values]
    return sorted(written) if isinstance(values, frozenset) else written
