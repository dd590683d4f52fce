"""How entities are made: with every field checked, or with none if the values were checked before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, cast

import attrs

_Entity = TypeVar("_Entity")
_Fields = ParamSpec("_Fields")
_Kind = TypeVar("_Kind")

if TYPE_CHECKING:
    Maybe: TypeAlias = _Kind | attrs.NothingType
else:

    class Maybe:
        """What a field holds that may be left out: a value of its kind, or `attrs.NOTHING`, which is the default `nothing`.

        When the program runs it is the kind alone: whoever reads JSON leaves a field out, and has no text for nothing.
        """

        def __class_getitem__(cls, kind: object) -> object:
            return kind


def nothing() -> Any:  # noqa: ANN401 - as attrs types it
    """Give the default of a field that may be left out."""
    return attrs.NOTHING


def may_be_left_out(field: attrs.Attribute[Any]) -> bool:
    """Tell whether the field of an entity has the default `nothing`."""
    return getattr(field.default, "factory", None) is nothing


Check: TypeAlias = Callable[[str, Any], Any]
"""Takes the name of a field and a value; returns what to keep, or raises `InvalidValue`."""


def optional(check: Check) -> Check:
    """Make a check that accepts None too."""
    return lambda field, value: None if value is None else check(field, value)


def run_checks(entity: object, checks: Mapping[str, Check]) -> None:
    """Check the fields of a frozen entity that is being made, and put in place what the checks return.

    Args:
        entity: The entity, within its ``__attrs_post_init__``.
        checks: Name of the field -> its check.

    Raises:
        InvalidValue: A check refused its field.
    """
    for name, check in checks.items():
        object.__setattr__(entity, name, check(name, getattr(entity, name)))


def trusted(entity: Callable[_Fields, _Entity]) -> Callable[_Fields, _Entity]:
    """Make a constructor for a frozen attrs class that skips validation.

    It is for values that were validated on their way in, and for entities that are made by the million: it is ten times as
    fast as the class with its checks, and twice as fast as the class without any.

    Args:
        entity: A frozen, slotted attrs class.

    Returns:
        A function that takes what the class takes, with the same defaults, in the form that is kept.
    """
    fields = attrs.fields(cast("Any", entity))
    defaults = {f"default_{field.name}": field.default for field in fields if field.default is not attrs.NOTHING}
    taken = [f"{each.name}=default_{each.name}" if f"default_{each.name}" in defaults else each.name for each in fields]
    if fields[0].kw_only:
        taken.insert(0, "*")
    lines = [f"made.{field.name} = {field.name}" for field in fields]
    return cast("Callable[_Fields, _Entity]", _compiled(entity, ", ".join(taken), lines, defaults))


def quick(row: Callable[_Fields, _Entity]) -> Callable[_Fields, _Entity]:
    """Make a constructor for a named tuple that takes a third of the time: a class gathers the names of a call in a dict first.

    Args:
        row: A named tuple.

    Returns:
        A function that takes what the class takes, with the same defaults.
    """
    kind = cast("Any", row)
    # No field has a name that begins with an underscore.
    scope = {
        "_kind": kind,
        "_new": tuple.__new__,
        **{f"_default_{name}": each for name, each in kind._field_defaults.items()},
    }
    taken = [f"{name}=_default_{name}" if name in kind._field_defaults else name for name in kind._fields]
    exec(f"def build({', '.join(taken)}):\n    return _new(_kind, ({', '.join(kind._fields)},))", scope)  # noqa: S102 - only names of our own fields
    return cast("Callable[_Fields, _Entity]", scope["build"])


def altered(entity: type[_Entity], names: Iterable[str]) -> Callable[..., _Entity]:
    """Make a function that copies a frozen entity with some fields changed, and checks none of them.

    Args:
        entity: A frozen, slotted attrs class.
        names: The fields that change.

    Returns:
        A function that takes an entity, or whatever else has the other fields, and then the new values of these fields, in the
        order of the names.
    """
    changed = tuple(names)
    lines = [
        f"made.{field.name} = {field.name if field.name in changed else f'source.{field.name}'}"
        for field in attrs.fields(cast("Any", entity))
    ]
    return cast("Callable[..., _Entity]", _compiled(entity, ", ".join(("source", *changed)), lines, {}))


def _compiled(entity: object, parameters: str, lines: Iterable[str], scope: dict[str, Any]) -> object:
    # The interpreter sets a slot in no time, but not where a class guards its slots, as a frozen one does. So the fields are
    # set on an instance of a subclass that guards none and adds none, which then becomes what it looks like.
    plain = {name: getattr(object, name) for name in ("__new__", "__init__", "__setattr__", "__delattr__")}
    unguarded = {"__slots__": (), **plain}
    scope["entity"] = entity
    scope["Open"] = type(f"Open{cast('type', entity).__name__}", (cast("type", entity),), unguarded)
    # Written out and compiled, as attrs does for its own: a loop over the fields takes several times as long.
    body = ["made = Open()", *lines, "made.__class__ = entity", "return made"]
    exec(f"def build({parameters}):\n    " + "\n    ".join(body), scope)  # noqa: S102 - only names of our own fields
    return scope["build"]
