"""The OpenAPI 3.1 document, made from the operations and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue import __version__
from annotation_queue.web.schemas import ID, Schema, message_schemas, refer
from annotation_queue.wire.converter import BadMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annotation_queue.web.operations import Operation

_REASON: Final[Schema] = {
    "type": "object",
    "description": "Why the request was not carried out.",
    "properties": {"reason": {"type": "string", "description": "In one sentence."}},
    "required": ["reason"],
}
_FAULTS: Final[Schema] = {
    "type": "object",
    "description": "What is wrong with the request.",
    "properties": {
        "detail": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "loc": {
                        "type": "array",
                        "description": "Where: body or query, then fields and indices from 0.",
                        "items": {"type": ["string", "integer"]},
                    },
                    "msg": {"type": "string", "description": "What fits there, and what was sent."},
                    "type": {"type": "string", "description": "The kind of fault."},
                },
                "required": ["loc", "msg", "type"],
            },
        }
    },
    "required": ["detail"],
}
_REASON_REF: Final[Schema] = {"$ref": "#/components/schemas/Reason"}
_FAULTS_REF: Final[Schema] = {"$ref": "#/components/schemas/Faults"}
_RETRY_AFTER: Final[Schema] = {
    "Retry-After": {"description": "After how many seconds to try again.", "schema": {"type": "integer", "minimum": 1}}
}
_CHALLENGE: Final[Schema] = {
    "WWW-Authenticate": {"description": "The schemes that are understood.", "schema": {"type": "string"}}
}
_IDS: Final = {"queue_id": "The queue.", "item_id": "The item."}
_REFUSED: Final = 400

# Which answers lead to which operations: what a client can do next with what it was answered, in the same project.
_MADE: Final[Schema] = {"queue_id": "$response.body#/id"}
_SAME: Final[Schema] = {"queue_id": "$request.path.queue_id"}
_FIRST: Final = "$response.body#/items/0/id"
_LINKS: Final[dict[str, dict[str, Schema]]] = {
    "create": dict.fromkeys(("add_calls", "query_items", "read", "update", "delete"), _MADE),
    "add_calls": {"query_items": _SAME},
    "query_items": {"update_progress": _SAME | {"item_id": _FIRST}, "update_state": {}},
    "update_progress": {"query_items": _SAME},
    "update": {"read": _SAME},
    "delete": {"read": _SAME},
}
_PROJECT_SENT: Final = {True: "$request.body#/project_id", False: "$request.query.project_id"}
# What else a link sends in the body.
_LINK_BODIES: Final[dict[str, Schema]] = {"update_state": {"item_id": _FIRST}}


def openapi(
    operations: Sequence[Operation], *, max_limit: int | None, strict: bool, rate_limited: bool
) -> dict[str, Any]:
    """Describe the app.

    Args:
        operations: What it serves.
        max_limit: Greater limits are refused; None for any.
        strict: Whether unknown fields are refused where the published documents forbid them.
        rate_limited: Whether an answer may be 429.

    Returns:
        The document, without its servers.
    """
    schemas: dict[str, Schema] = {"Reason": _REASON, "Faults": _FAULTS}
    paths: dict[str, dict[str, Any]] = {}
    by_name = {operation.name: operation for operation in operations}
    for operation in operations:
        schemas |= message_schemas(operation.gives, closed=False)
        if operation.has_body:
            schemas |= message_schemas(operation.takes, closed=True, strict=strict)
        described = _operation(operation, by_name, rate_limited=rate_limited)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    if max_limit is not None:
        schemas["ItemsQueryBody"]["properties"]["limit"]["anyOf"][0]["maximum"] = max_limit
        schemas["StatsBody"]["properties"]["queue_ids"]["maxItems"] = max_limit
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Annotation queues",
            "version": __version__,
            "description": "Queues of calls to annotate, and how far each annotator is with them.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{"basic": []}, {"bearer": []}],
    }


def _operation(operation: Operation, by_name: Mapping[str, Operation], *, rate_limited: bool) -> Schema:
    parameters = [
        _parameter(name, "path", ID, words) for name, words in _IDS.items() if f"{{{name}}}" in operation.path
    ]
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.title,
        "parameters": parameters,
        "responses": _responses(operation, by_name, rate_limited=rate_limited),
    }
    if operation.has_body:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": refer(operation.takes)}},
        }
    else:
        sent = message_schemas(operation.takes, closed=True)[operation.takes.__name__]["properties"]
        parameters += [_parameter(name, "query", schema, schema.pop("description")) for name, schema in sent.items()]
    return described


def _parameter(name: str, place: str, schema: Schema, words: str) -> Schema:
    return {"name": name, "in": place, "required": True, "description": words, "schema": schema}


def _responses(operation: Operation, by_name: Mapping[str, Operation], *, rate_limited: bool) -> Schema:
    schema = refer(operation.gives)
    content = {"application/json": {"schema": schema}}
    if operation.streams == "lines":
        # What is said of lines of JSON is said of the list of them.
        content = {"application/x-ndjson": {"schema": {"type": "array", "items": schema}}}
    responses: Schema = {"200": {"description": "Done.", "content": content}}
    links = {
        f"{operation.name}_{target}": _link(operation, by_name[target], ids)
        for target, ids in _LINKS.get(operation.name, {}).items()
    }
    if links:
        responses["200"]["links"] = links
    unfit, _ = operation.refusal(BadMessage([]))
    responses[str(unfit)] = _answer("The request does not fit.", _FAULTS_REF)
    if operation.refuses is not None:
        schema = {"anyOf": [_REASON_REF, _FAULTS_REF]} if unfit == _REFUSED else _REASON_REF
        responses[str(_REFUSED)] = _answer(operation.refuses, schema)
    responses["401"] = _answer("There are no credentials that are known here.", _REASON_REF) | {"headers": _CHALLENGE}
    responses["403"] = _answer("The principal has no right to this in the project.", _REASON_REF)
    responses["404"] = _answer("There is no such path, queue or item in the project.", _REASON_REF)
    if operation.has_body:
        responses.setdefault(str(_REFUSED), _answer("The body cannot be read.", _REASON_REF))
        responses["413"] = _answer("The body is longer than 1 MiB.", _REASON_REF)
        responses["415"] = _answer("The body is not said to be JSON.", _REASON_REF)
    if rate_limited:
        responses["429"] = _answer("The user asked too often.", _REASON_REF) | {"headers": _RETRY_AFTER}
    responses["500"] = _answer("The server failed.", _REASON_REF)
    responses["503"] = _answer("The storage is busy or full; try again.", _REASON_REF) | {"headers": _RETRY_AFTER}
    return responses


def _answer(words: str, schema: Schema) -> Schema:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _link(operation: Operation, target: Operation, ids: Schema) -> Schema:
    project = _PROJECT_SENT[operation.has_body]
    link: Schema = {"operationId": target.name, "parameters": dict(ids)}
    body = dict(_LINK_BODIES.get(target.name, {}))
    if "project_id" in {field.name for field in attrs.fields(target.takes)}:
        if target.has_body:
            body["project_id"] = project
        else:
            link["parameters"]["project_id"] = project
    if body:
        link["requestBody"] = body
    return link
