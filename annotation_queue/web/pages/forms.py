"""The form that a queue's ``label_schema`` asks for: a field for each property, or one for the whole label."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_STEPS: Final = 9
"""Most values of a scale that is a row of buttons, one for each key; a longer one is a number to type."""
_LONG_TEXT: Final = 120
"""A text that may not have more characters than this is a single line."""
_MOST_REFERENCES: Final = 16


class FieldKind(StrEnum):
    """What a field is filled in with."""

    CHOICE = "choice"
    """One button out of several."""
    CHOICES = "choices"
    """Any number of buttons."""
    TEXT = "text"
    NUMBER = "number"
    JSON = "json"
    """Whatever nothing simpler can say."""


@attrs.frozen
class Choice:
    """One of the values that a field offers.

    Args:
        value: The value, as JSON.
        text: What its button says.
    """

    value: str
    text: str


@attrs.frozen(kw_only=True)
class Field:
    """One field of a form.

    Args:
        name: The property of the label; None if the field is the whole label.
        kind: What it is filled in with.
        title: What it is called.
        description: What the schema says of it.
        required: Whether a label has to have it.
        choices: With choices, what there is to choose from.
        bounds: With text and numbers, what the schema says: ``min``, ``max``, ``step``, ``maxlength``.
        is_long: With text, whether it may have several lines.
    """

    name: str | None
    kind: FieldKind
    title: str
    description: str = ""
    required: bool = False
    choices: tuple[Choice, ...] = ()
    bounds: dict[str, str] = attrs.field(factory=dict)
    is_long: bool = False


def fields_of(schema: Mapping[str, Any] | None) -> tuple[Field, ...]:
    """Make a form of a schema.

    Args:
        schema: A queue's ``label_schema``.

    Returns:
        Its fields, at least one. What a form cannot say in buttons, texts and numbers is a field of JSON; what a label must
        satisfy is checked by the schema itself, when it is completed.
    """
    root = schema or {}
    resolved = _resolve(root, root)
    properties = resolved.get("properties")
    if not isinstance(properties, dict) or not properties or resolved.get("type", "object") != "object":
        return (_field(None, resolved, root, required=True),)
    required = resolved.get("required", [])
    return tuple(
        _field(name, _resolve(part, root), root, required=name in required) for name, part in properties.items()
    )


def _resolve(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401 - a schema may be true or false
    """Follow references within the schema; what they say is joined with what stands beside them."""
    for _ in range(_MOST_REFERENCES):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema
        found: Any = root
        for step in reference[1:].split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**found, **beside} if isinstance(found, dict) else beside
    return {}


def _field(name: str | None, schema: Mapping[str, Any], root: Mapping[str, Any], *, required: bool) -> Field:
    title, description = schema.get("title"), schema.get("description")
    common: dict[str, Any] = {
        "name": name,
        "title": title if isinstance(title, str) and title else name or "Label",
        "description": description if isinstance(description, str) else "",
        "required": required,
    }
    if choices := _choices(schema):
        return Field(kind=FieldKind.CHOICE, choices=choices, **common)
    kind = schema.get("type")
    if kind == "array" and (choices := _choices(_resolve(schema.get("items"), root))):
        return Field(kind=FieldKind.CHOICES, choices=choices, **common)
    if kind == "string":
        longest = schema.get("maxLength")
        bounds = {"maxlength": str(longest)} if isinstance(longest, int) else {}
        return Field(
            kind=FieldKind.TEXT, bounds=bounds, is_long=not isinstance(longest, int) or longest > _LONG_TEXT, **common
        )
    if kind in ("integer", "number"):  # it may be a list, which a set could not look up
        bounds = {
            attribute: json.dumps(schema[key])
            for key, attribute in _NUMBER_BOUNDS.items()
            if _is_number(schema.get(key))
        }
        return Field(kind=FieldKind.NUMBER, bounds={"step": "1" if kind == "integer" else "any"} | bounds, **common)
    return Field(kind=FieldKind.JSON, **common)


_NUMBER_BOUNDS: Final = {"minimum": "min", "maximum": "max"}


def _choices(schema: Mapping[str, Any]) -> tuple[Choice, ...]:
    """List the values that a schema leaves to choose from; empty if there are too many, or it does not list them."""
    values = schema.get("enum")
    if isinstance(values, list):
        return tuple(_choice(value) for value in values)
    if schema.get("type") == "boolean":
        return (_choice(True, "yes"), _choice(False, "no"))
    for key in ("oneOf", "anyOf"):
        parts = schema.get(key)
        if isinstance(parts, list) and parts and all(isinstance(part, dict) and "const" in part for part in parts):
            return tuple(_choice(part["const"], part.get("title")) for part in parts)
    least, most = schema.get("minimum"), schema.get("maximum")
    if schema.get("type") == "integer" and type(least) is int and type(most) is int and 0 <= most - least < _MOST_STEPS:
        return tuple(_choice(value) for value in range(least, most + 1))
    return ()


def _choice(value: Any, text: object = None) -> Choice:  # noqa: ANN401 - any JSON value
    shown = text if isinstance(text, str) and text else value if isinstance(value, str) and value else None
    written = json.dumps(value, ensure_ascii=False)
    return Choice(written, written if shown is None else shown)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
