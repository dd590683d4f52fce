"""The part of the OpenAPI document below ``/v1``: out of the operations, the signatures they stand for, and the entities."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import attrs

from annotation_queue.errors import ClaimLost
from annotation_queue.items import Claim, ClaimRef, ItemPatch, Unavailable
from annotation_queue.queues import AnnotationQueues
from annotation_queue.values import MAX_INTEGER, MIN_INTEGER
from annotation_queue.web.schemas import ID, TEXT, Schema, words_of
from annotation_queue.wire.v1.arguments import bare
from annotation_queue.wire.v1.operations import OPERATIONS, PREFIX, Operation

_PLAIN: Final[dict[Any, Schema]] = {
    str: TEXT,
    int: {"type": "integer", "minimum": MIN_INTEGER, "maximum": MAX_INTEGER},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    timedelta: {"type": "number", "description": "Seconds."},
}
_REF: Final = {"type": "string", "description": "The text of a claim's reference."}
_ERROR: Final[Schema] = {
    "type": "object",
    "description": "Why the request was not carried out. What else is in it are the error's data, such as the id.",
    "properties": {
        "error": {"type": "string", "description": "The kind of error, such as claim_lost."},
        "message": {"type": "string", "description": "In one sentence."},
    },
    "required": ["error", "message"],
}
_STATUSES: Final = {
    "401": "There are no credentials that are known here.",
    "403": "The principal has no right to this in the project, or asks in another's name.",
    "404": "There is no such path, queue or item in the project.",
    "409": "The state is another: no such move, a lost claim, an id that is taken.",
    "422": "An argument does not fit.",
    "500": "The server failed.",
    "503": "The storage is busy; try again.",
    "507": "The storage is full.",
}
_BODY_STATUSES: Final = {
    "400": "The body cannot be read.",
    "413": "The body is longer than 16 MiB.",
    "415": "The body is not said to be JSON.",
}
_COMMON_WORDS: Final = words_of(AnnotationQueues.create)[1] | words_of(AnnotationQueues.complete)[1]
# What a client can do next with what it was answered.
_LINKS: Final[dict[str, dict[str, tuple[dict[str, str], dict[str, str]]]]] = {
    "create": {
        name: ({"queue_id": "$response.body#/id"}, {})
        for name in ("get", "update", "add_items", "query_items", "claim", "labels", "changes", "throughput", "delete")
    },
    "add_items": {
        name: ({"item_id": "$response.body#/added/0/id"}, {})
        for name in ("get_item", "update_progress", "claim_item", "progress", "history")
    },
    "claim_item": {
        name: ({}, {"claim": "$response.body#/claim/ref"}) for name in ("heartbeat", "save_draft", "complete", "skip")
    },
}


def describe(document: dict[str, Any], *, rate_limited: bool) -> None:
    """Add what is below ``/v1`` to a document.

    Args:
        document: The OpenAPI document.
        rate_limited: Whether an answer may be 429.
    """
    schemas: dict[str, Schema] = {"V1Error": _ERROR}
    for operation in OPERATIONS:
        described = _operation(operation, schemas, rate_limited=rate_limited)
        document["paths"].setdefault(PREFIX + operation.path, {})[operation.method.lower()] = described
    document["components"]["schemas"] |= schemas


def _operation(operation: Operation, schemas: dict[str, Schema], *, rate_limited: bool) -> Schema:
    summary, words = words_of(operation.function)
    words = _COMMON_WORDS | words
    arguments = {
        parameter.name: _argument(operation, parameter.name, schemas) | {"description": words[parameter.name]}
        for parameter in operation.parameters.values()
    }
    required = [
        each.name
        for each in operation.parameters.values()
        if each.is_required and each.name not in {operation.asker, *operation.in_path}
    ]
    if operation.name == "update_progress":
        required.remove("annotator_id")
    parameters = [_parameter("project_id", "query", ID, "The project.", required=True)]
    parameters += [
        _parameter(name, "path", arguments[name], arguments[name]["description"], required=True)
        for name in operation.in_path
    ]
    rest = {name: schema for name, schema in arguments.items() if name not in operation.in_path}
    described: Schema = {
        "operationId": f"v1_{operation.name}",
        "summary": summary.split("\n")[0],
        "parameters": parameters,
        "responses": _responses(operation, schemas, rate_limited=rate_limited),
    }
    if operation.has_body:
        body = {"type": "object", "properties": rest, "required": required, "additionalProperties": False}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    else:
        parameters += [
            _parameter(name, "query", _written_in_query(schema), schema["description"], required=name in required)
            for name, schema in rest.items()
        ]
    if operation.is_keyed:
        key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        told = "Makes it safe to repeat: what a request with this key made is not made again, but answered."
        parameters.append(_parameter("Idempotency-Key", "header", key, told, required=False))
    return described


def _parameter(name: str, place: str, schema: Schema, words: str, *, required: bool) -> Schema:
    return {"name": name, "in": place, "required": required, "description": words, "schema": schema}


def _written_in_query(schema: Schema) -> Schema:
    """Leave out null: an argument of a query string is left out instead."""
    some = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return some[0] if len(some) == 1 else schema


def _argument(operation: Operation, name: str, schemas: dict[str, Schema]) -> Schema:
    kind = operation.parameters[name].kind
    if name.endswith("_id"):
        return ID if bare(kind) is kind else {"anyOf": [ID, {"type": "null"}]}
    return dict(_schema(kind, schemas, closed=True))


def _schema(kind: Any, schemas: dict[str, Schema], *, closed: bool) -> Schema:  # noqa: ANN401, PLR0911 - a type
    inner = bare(kind)
    if inner is not kind and types.NoneType in get_args(kind):
        return {"anyOf": [_schema(inner, schemas, closed=closed), {"type": "null"}]}
    kind = inner
    if kind is Any:
        return {}
    if kind == Claim | ClaimRef:
        return {"anyOf": [_REF, _schema(ClaimRef, schemas, closed=closed)]}
    origin, parts = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return {"anyOf": [_schema(part, schemas, closed=closed) for part in parts]}
    if origin in {dict, Mapping}:
        return {"type": "object", "additionalProperties": _schema(parts[1], schemas, closed=closed)}
    if origin is tuple and parts[-1] is not Ellipsis:
        claim, annotation = (_schema(part, schemas, closed=closed) for part in parts)
        properties = {"claim": claim, "annotation": annotation}
        return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    if origin in {tuple, frozenset, Iterable}:
        return {"type": "array", "items": _schema(parts[0], schemas, closed=closed)}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [each.value for each in kind]}
    if attrs.has(kind):
        return _entity(kind, schemas, closed=closed)
    return dict(_PLAIN[kind])


def _entity(kind: type, schemas: dict[str, Schema], *, closed: bool) -> Schema:
    name = f"V1{kind.__name__}"
    if name not in schemas:
        schemas[name] = {}  # entities may hold one another
        summary, words = words_of(kind)
        hints, fields = get_type_hints(kind), attrs.fields(kind)
        properties = {
            field.name: _schema(hints[field.name], schemas, closed=closed) | {"description": words[field.name]}
            for field in fields
        }
        required = [field.name for field in fields if not closed or field.default is attrs.NOTHING]
        if kind is Claim:
            properties["ref"] = _REF | {"description": "What is sent back to act on the claim."}
            required.append("ref")
        if kind is ItemPatch:
            required = []
        schemas[name] = {
            "type": "object",
            "description": summary.split("\n\n")[0],
            "properties": properties,
            "required": required,
        }
        if closed:
            schemas[name]["additionalProperties"] = False
    return {"$ref": f"#/components/schemas/{name}"}


def _responses(operation: Operation, schemas: dict[str, Schema], *, rate_limited: bool) -> Schema:
    done: Schema = {"description": "Done.", "content": {"application/json": {"schema": _answer(operation, schemas)}}}
    links = {
        f"{operation.name}_{name}": {
            "operationId": f"v1_{name}",
            "parameters": {"project_id": "$request.query.project_id"} | parameters,
        }
        | ({"requestBody": body} if body else {})
        for name, (parameters, body) in _LINKS.get(operation.name, {}).items()
    }
    if links:
        done["links"] = links
    told = _STATUSES | (_BODY_STATUSES if operation.has_body else {})
    told |= {"429": "The user asked too often."} if rate_limited else {}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/V1Error"}}}
    responses: Schema = {"200": done} | {
        status: {"description": words, "content": error} for status, words in sorted(told.items())
    }
    again = {"description": "After how many seconds to try again.", "schema": {"type": "integer", "minimum": 1}}
    for status in {"429", "503"} & set(responses):
        responses[status] = responses[status] | {"headers": {"Retry-After": again}}
    challenge = {"description": "The schemes that are understood.", "schema": {"type": "string"}}
    responses["401"] = responses["401"] | {"headers": {"WWW-Authenticate": challenge}}
    return responses


def _answer(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    kind = operation.answer
    if operation.gives is None:
        return _schema(kind, schemas, closed=False)
    null: Schema = {"type": "null"}
    properties: Schema
    if kind == Claim | Unavailable:
        properties = {
            operation.gives: {"anyOf": [_schema(Claim, schemas, closed=False), null]},
            "unavailable": {"anyOf": [_schema(Unavailable, schemas, closed=False), null]},
        }
    elif get_origin(kind) is tuple and ClaimLost in get_args(get_args(kind)[0]):
        done = _schema(get_args(get_args(kind)[0])[0], schemas, closed=False)
        lost = {
            "type": "object",
            "properties": {"item_id": ID, "annotator_id": ID, "token": {"type": "integer"}},
            "required": ["item_id", "annotator_id", "token"],
        }
        outcome = {"done": {"anyOf": [done, null]}, "lost": {"anyOf": [lost, null]}}
        each = {"type": "object", "properties": outcome, "required": ["done", "lost"]}
        properties = {operation.gives: {"type": "array", "items": each}}
    else:
        properties = {operation.gives: _schema(kind, schemas, closed=False)}
    return {"type": "object", "properties": properties, "required": [*properties]}
