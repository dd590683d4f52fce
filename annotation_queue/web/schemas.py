"""JSON Schemas (2020-12) of messages, from their fields, their types and what their docstrings say."""

from __future__ import annotations

import inspect
import re
from datetime import datetime
from types import NoneType
from typing import Any, Final, TypeAlias, get_args, get_origin, get_type_hints

import attrs

from annotation_queue.values import MAX_INTEGER
from annotation_queue.wire.converter import Count, Id, Json, choices_of, is_open

Schema: TypeAlias = "dict[str, Any]"

TEXT: Final[Schema] = {"type": "string", "pattern": "^[^\\u0000]*$"}
ID: Final[Schema] = TEXT | {"minLength": 1}
_PLAIN: Final[dict[Any, Schema]] = {
    str: TEXT,
    Id: ID,
    Count: {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER},
    Json: {},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
}


def message_schemas(message: type, *, closed: bool, strict: bool = True) -> dict[str, Schema]:
    """Describe a message and every message in it.

    Args:
        message: An attrs class with a docstring whose ``Args:`` name its fields.
        closed: Whether it is read, so that fields with a default may be left out; one that is written always has every field.
        strict: Whether unknown fields of one that is read are refused, if its published document forbids them.

    Returns:
        By the name of the class.
    """
    summary, words = words_of(message)
    hints = get_type_hints(message)
    schemas: dict[str, Schema] = {}
    properties: dict[str, Schema] = {}
    for field in attrs.fields(message):
        schema = _schema(hints[field.name], schemas, closed=closed, strict=strict) | {"description": words[field.name]}
        if "enum" in field.metadata:
            schema["enum"] = field.metadata["enum"]
        if closed and isinstance(field.default, str | bool):
            schema["default"] = field.default
        properties[field.name] = schema
    required = [field.name for field in attrs.fields(message) if not closed or field.default is attrs.NOTHING]
    described: Schema = {"type": "object", "description": summary, "properties": properties, "required": required}
    if closed and strict and not is_open(message):
        described["additionalProperties"] = False
    return {message.__name__: described} | schemas


def refer(message: type) -> Schema:
    """Give the schema that refers to a message's own."""
    return {"$ref": f"#/components/schemas/{message.__name__}"}


def _schema(kind: Any, schemas: dict[str, Schema], *, closed: bool, strict: bool) -> Schema:  # noqa: ANN401 - a type
    if choices := choices_of(kind):
        return {"type": "string", "enum": list(choices)}
    if NoneType in get_args(kind):
        (inner,) = (each for each in get_args(kind) if each is not NoneType)
        return {"anyOf": [_schema(inner, schemas, closed=closed, strict=strict), {"type": "null"}]}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _schema(get_args(kind)[0], schemas, closed=closed, strict=strict)}
    if attrs.has(kind):
        schemas.update(message_schemas(kind, closed=closed, strict=strict))
        return refer(kind)
    return dict(_PLAIN[kind])


def words_of(described: object) -> tuple[str, dict[str, str]]:
    """Read the docstring of a class or a function: what it is, and what each of its fields or arguments is."""
    summary, _, listed = inspect.cleandoc(described.__doc__ or "").partition("\n\nArgs:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
    return summary, {name: " ".join(text.split()) for name, text in entries}
