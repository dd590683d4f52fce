"""Arguments and answers as JSON and back. What a value may be is the service's to say: nothing is checked twice here."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

import attrs
import cattrs
from attrs import NOTHING
from cattrs.errors import ClassValidationError, IterableValidationError

from annotation_queue.arguments import priorities_of
from annotation_queue.converters import explain
from annotation_queue.errors import ClaimLost, InvalidQuery, InvalidValue
from annotation_queue.items import Claim, ClaimRef, ItemPatch, NewItem, Unavailable, check_claim, ref_of
from annotation_queue.json_values import plain_json
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.values import check_flag, check_lease, check_text, check_time, is_a, is_iterable, refuse
from annotation_queue.wire.v1.converter import CONVERTER, read_ref
from annotation_queue.wire.v1.operations import Operation

_QUERIES: Final = (QueueQuery, ItemQuery, LabelQuery)
_Ref: TypeAlias = Claim | ClaimRef


def bare(kind: Any) -> Any:  # noqa: ANN401 - a type, in any of the ways to write one
    """Give a type without what stands for nothing: ``None``, or what is not given."""
    if get_origin(kind) not in {Union, types.UnionType}:
        return kind
    some = [each for each in get_args(kind) if each is not types.NoneType and NOTHING not in get_args(each)]
    return some[0] if len(some) == 1 else Union[tuple(some)]  # noqa: UP007 - of any number


def write_arguments(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn arguments into what JSON can say.

    Args:
        operation: The operation.
        given: Its arguments; those that are not given, or are ``attrs.NOTHING``, are left out.

    Returns:
        By name.

    Raises:
        InvalidValue: One of them has no JSON form.
    """
    return {
        name: _write(name, value, bare(operation.parameters[name].kind))
        for name, value in given.items()
        if value is not NOTHING
    }


def _write(name: str, value: Any, kind: Any) -> Any:  # noqa: ANN401, C901, PLR0911 - one line a kind
    if value is None and kind not in _QUERIES:
        return None
    if kind in _QUERIES or kind is ItemPatch:
        if not is_a(value, kind):
            expected, error = ("an ItemPatch", InvalidValue) if kind is ItemPatch else (kind.__name__, InvalidQuery)
            raise refuse(name, value, expected, error)
        return CONVERTER.unstructure(value.given if kind is ItemPatch else value)
    if kind == _Ref:
        return str(ref_of(check_claim(value)))
    if kind == Iterable[_Ref]:
        return [str(ref_of(check_claim(claim))) for claim in value]
    if kind == Iterable[tuple[_Ref, Any]]:
        return [
            {"claim": str(ref_of(check_claim(claim))), "annotation": plain_json(f"{name}[{index}].annotation", label)}
            for index, (claim, label) in enumerate(value)
        ]
    if kind == Iterable[NewItem]:
        return list(_write_items(name, value))
    if is_a(value, ItemFilter):
        return CONVERTER.unstructure(value)
    if kind is timedelta:
        return check_lease(name, value).total_seconds()
    if kind is datetime:
        return check_time(name, value).isoformat(timespec="microseconds")
    return _write_plain(name, value, kind)


def _write_items(name: str, values: Any) -> Iterator[Any]:  # noqa: ANN401 - an argument
    if not is_iterable(values):
        raise refuse(name, values, "an iterable of NewItem")
    for index, new in enumerate(values):
        if not is_a(new, NewItem):
            raise refuse(f"{name}[{index}]", new, "a NewItem")
        yield CONVERTER.unstructure(new)


def _write_plain(name: str, value: Any, kind: Any) -> Any:  # noqa: ANN401 - an argument
    if get_origin(kind) in {Iterable, Union, types.UnionType} and is_iterable(value):
        return [_plain(f"{name}[{index}]", each) for index, each in enumerate(value)]
    if kind == Mapping[str, int]:
        return priorities_of(value)
    return plain_json(name, dict(value)) if issubclass(type(value), Mapping) else _plain(name, value)


def _plain(name: str, value: Any) -> Any:  # noqa: ANN401 - an argument
    if isinstance(value, StrEnum):
        return value.value
    return check_text(name, value) if type(value) is str else plain_json(name, value)


def read_arguments(operation: Operation, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Turn JSON into arguments; a value that cannot be one goes to the service as it is, which refuses it.

    Args:
        operation: The operation.
        sent: By name.

    Returns:
        The arguments, for the method.

    Raises:
        InvalidValue: An argument that there is not, one that is missing, or an entity that does not fit.
    """
    for name in sorted(set(sent) - set(operation.parameters)):
        raise InvalidValue(name[:80].encode(errors="replace").decode(), "a value", "no such argument")
    for parameter in operation.parameters.values():
        if parameter.is_required and parameter.name not in sent:
            raise InvalidValue(parameter.name, "nothing", "a value")
    return {name: _read(name, value, bare(operation.parameters[name].kind)) for name, value in sent.items()}


def _read(name: str, value: Any, kind: Any) -> Any:  # noqa: ANN401, PLR0911, C901 - one line a kind
    if get_origin(kind) is Iterable:
        _list(name, value)
    if kind is bool:
        return check_flag(name, value)
    if value is None and kind not in _QUERIES:
        return None
    if kind == _Ref:
        return structured(name, value, read_ref)
    if kind == Iterable[_Ref]:
        return tuple(structured(f"{name}[{n}]", each, read_ref) for n, each in enumerate(value))
    if kind == Iterable[tuple[_Ref, Any]]:
        return tuple(_read_result(f"{name}[{n}]", each) for n, each in enumerate(value))
    if kind == Iterable[NewItem]:
        return structured(name, value, lambda values: CONVERTER.structure(values, tuple[NewItem, ...]))
    if kind is ItemPatch:
        return structured(name, value, _read_patch)
    if kind in _QUERIES:
        return structured(name, value, lambda query: CONVERTER.structure(query, kind))
    if kind == Iterable[str] | ItemFilter:
        return _read_which(name, value)
    if kind in {timedelta, datetime}:
        try:
            return CONVERTER.structure(value, kind)
        except ValueError:
            return value
    return value


def _list(name: str, value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    if type(value) is not list:
        raise refuse(name, value, "a list")
    return value


def _read_which(name: str, value: Any) -> list[Any] | ItemFilter:  # noqa: ANN401 - JSON
    if type(value) is not dict:
        return _list(name, value)
    return structured(name, value, lambda conditions: CONVERTER.structure(conditions, ItemFilter))  # type: ignore[no-any-return]


def _read_result(name: str, value: Any) -> tuple[ClaimRef, Any]:  # noqa: ANN401 - JSON
    if type(value) is not dict or value.keys() != {"claim", "annotation"}:
        raise refuse(name, value, "an object with a claim and an annotation")
    return structured(f"{name}.claim", value["claim"], read_ref), value["annotation"]


def _read_patch(value: Any) -> ItemPatch:  # noqa: ANN401 - JSON
    names = {field.name for field in attrs.fields(ItemPatch)}
    if type(value) is not dict or not value.keys() <= names:
        raise InvalidValue("patch", "something else", f"an object with any of {', '.join(sorted(names))}")
    for name in ("display_fields", "assignees"):
        if name in value:
            _list(f"patch.{name}", value[name])
    return ItemPatch(**value)


def structured(name: str, value: Any, read: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - an entity
    """Make an entity of JSON.

    Args:
        name: The argument's name, for the error.
        value: The JSON.
        read: Makes it.

    Returns:
        The entity.

    Raises:
        InvalidValue: It does not fit: the error of the entity itself if it raised one, else the first that was found.
    """
    try:
        return read(value)
    except InvalidValue:
        raise
    except (cattrs.BaseValidationError, ValueError) as error:
        for each in _leaves(error):
            if isinstance(each, InvalidValue):
                raise each from None
        place, _, what = explain(error)[0].partition(": ")
        expected, _, got = what.removeprefix("expected ").partition(", got ")
        raise InvalidValue(place.replace("$", name, 1), got or "another value", expected) from None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, ClassValidationError | IterableValidationError):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def write_answer(operation: Operation, answer: Any) -> dict[str, Any]:  # noqa: ANN401 - what the method returned
    """Turn what a method returned into a JSON object."""
    if operation.gives is None:
        written: dict[str, Any] = CONVERTER.unstructure(answer)
        return written
    if isinstance(answer, Unavailable):
        return {operation.gives: None, "unavailable": CONVERTER.unstructure(answer)}
    if _is_claim_or_not(operation.answer):
        return {operation.gives: CONVERTER.unstructure(answer), "unavailable": None}
    if _is_or_lost(operation.answer):
        return {operation.gives: [_write_outcome(each) for each in answer]}
    return {operation.gives: CONVERTER.unstructure(answer)}


def _write_outcome(outcome: Any) -> dict[str, Any]:  # noqa: ANN401 - an entity, or why there is none
    if isinstance(outcome, ClaimLost):
        lost = {name: getattr(outcome, name) for name in ("item_id", "annotator_id", "token")}
        return {"done": None, "lost": lost}
    return {"done": CONVERTER.unstructure(outcome), "lost": None}


def read_answer(operation: Operation, body: Any) -> Any:  # noqa: ANN401 - what the method returns
    """Turn the JSON of an answer into what the method returns.

    Raises:
        cattrs.BaseValidationError: It is no such answer.
    """
    kind = operation.answer
    if operation.gives is None:
        return CONVERTER.structure(body, kind)
    value = body[operation.gives]
    if _is_claim_or_not(kind):
        unavailable = body["unavailable"]
        return (
            CONVERTER.structure(value, Claim) if unavailable is None else CONVERTER.structure(unavailable, Unavailable)
        )
    if _is_or_lost(kind):
        entity = get_args(get_args(kind)[0])[0]
        return tuple(
            CONVERTER.structure(each["done"], entity) if each["lost"] is None else ClaimLost(**each["lost"])
            for each in value
        )
    return CONVERTER.structure(value, kind)


def _is_claim_or_not(kind: Any) -> bool:  # noqa: ANN401 - a type
    return bool(kind == Claim | Unavailable)


def _is_or_lost(kind: Any) -> bool:  # noqa: ANN401 - a type
    return get_origin(kind) is tuple and ClaimLost in get_args(get_args(kind)[0])
