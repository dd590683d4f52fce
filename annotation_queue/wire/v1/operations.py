"""The operations as data: each is a method of `AnnotationQueues`, at a place; the rest follows from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, get_type_hints

import attrs

from annotation_queue.queues import AnnotationQueues

PREFIX: Final = "/v1"
MAX_BODY_BYTES: Final = 16 << 20
"""Longest body of a request."""
PAGE: Final = 1_000
"""Most entities of one page, whatever its query says."""
PAGE_BYTES: Final = 4 << 20
"""A page ends with the entity with which its payloads and labels reach this number of bytes."""


@attrs.frozen
class Parameter:
    """An argument of an operation.

    Args:
        name: Its name.
        kind: Its type.
        default: Its default; `inspect.Parameter.empty` if it has to be given.
    """

    name: str
    kind: Any
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether it has to be given."""
        return self.default is inspect.Parameter.empty


@attrs.frozen(kw_only=True, slots=False)
class Operation:
    """One operation.

    Args:
        name: The method of `AnnotationQueues`.
        method: The HTTP method.
        path: The path below ``/v1``, with the names of arguments in braces.
        action: What the principal needs the right to do.
        asker: The argument that is whoever asks, if there is one: left out it is filled in, and nobody else is taken.
        gives: The name of the answer, if it is no object by itself.
        is_keyed: Whether an ``Idempotency-Key`` lets it be repeated.
    """

    name: str
    method: str
    path: str
    action: str
    asker: str | None = None
    gives: str | None = None
    is_keyed: bool = False

    @property
    def has_body(self) -> bool:
        """Whether the arguments are in the body, not in the query string."""
        return self.method in {"POST", "PUT", "PATCH"}

    @cached_property
    def in_path(self) -> tuple[str, ...]:
        """The names of the arguments in the path."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @cached_property
    def function(self) -> Any:  # noqa: ANN401 - any method
        """The method."""
        return getattr(AnnotationQueues, self.name)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Its arguments, by name."""
        hints = get_type_hints(self.function)
        given = list(inspect.signature(self.function).parameters.values())[1:]
        return {each.name: Parameter(each.name, hints[each.name], each.default) for each in given}

    @cached_property
    def answer(self) -> Any:  # noqa: ANN401 - any type
        """The type of what it returns."""
        return get_type_hints(self.function)["return"]


_QUEUE: Final = "/queues/{queue_id}"
_ITEMS: Final = f"{_QUEUE}/items"
_ITEM: Final = "/items/{item_id}"

OPERATIONS: Final = (
    Operation(name="create", method="POST", path="/queues", action="create", asker="created_by", is_keyed=True),
    Operation(name="get_or_create", method="POST", path="/queues/get_or_create", action="create", asker="created_by"),
    Operation(name="query", method="POST", path="/queues/query", action="query"),
    Operation(name="stats", method="POST", path="/queues/stats", action="stats", gives="stats"),
    Operation(name="get", method="GET", path=_QUEUE, action="read"),
    Operation(name="update", method="PATCH", path=_QUEUE, action="update"),
    Operation(name="delete", method="DELETE", path=_QUEUE, action="delete"),
    Operation(name="restore", method="POST", path=f"{_QUEUE}/restore", action="restore"),
    Operation(name="throughput", method="GET", path=f"{_QUEUE}/throughput", action="stats"),
    Operation(name="changes", method="GET", path=f"{_QUEUE}/changes", action="read_labels"),
    Operation(name="labels", method="POST", path=f"{_QUEUE}/labels/query", action="read_labels"),
    Operation(
        name="claim",
        method="POST",
        path=f"{_QUEUE}/claims",
        action="claim",
        asker="annotator_id",
        gives="claim",
    ),
    Operation(
        name="claim_batch",
        method="POST",
        path=f"{_QUEUE}/claims/batch",
        action="claim",
        asker="annotator_id",
        gives="claims",
    ),
    Operation(name="holds", method="GET", path=f"{_QUEUE}/holds", action="query_items", gives="claims"),
    Operation(name="add_items", method="POST", path=_ITEMS, action="add_calls", asker="added_by", is_keyed=True),
    Operation(name="query_items", method="POST", path=f"{_ITEMS}/query", action="query_items"),
    Operation(name="update_items", method="PATCH", path=_ITEMS, action="update_items", gives="changed"),
    Operation(
        name="reprioritise", method="POST", path=f"{_ITEMS}/reprioritise", action="update_items", gives="changed"
    ),
    Operation(name="remove_items", method="POST", path=f"{_ITEMS}/remove", action="update_items", gives="changed"),
    Operation(name="restore_items", method="POST", path=f"{_ITEMS}/restore", action="restore", gives="changed"),
    Operation(
        name="reset", method="POST", path=f"{_ITEMS}/reset", action="override", asker="actor_id", gives="changed"
    ),
    Operation(name="get_item", method="GET", path=_ITEM, action="query_items"),
    Operation(name="progress", method="GET", path=f"{_ITEM}/progress", action="read_labels", gives="progress"),
    Operation(name="history", method="GET", path=f"{_ITEM}/history", action="read_labels", gives="transitions"),
    Operation(name="update_progress", method="PUT", path=f"{_ITEM}/progress", action="update_progress"),
    Operation(
        name="claim_item", method="POST", path=f"{_ITEM}/claim", action="claim", asker="annotator_id", gives="claim"
    ),
    Operation(name="heartbeat", method="POST", path="/claims/heartbeat", action="claim"),
    Operation(name="heartbeat_batch", method="POST", path="/claims/heartbeat_batch", action="claim", gives="claims"),
    Operation(name="save_draft", method="POST", path="/claims/draft", action="claim"),
    Operation(name="complete", method="POST", path="/claims/complete", action="claim"),
    Operation(name="complete_batch", method="POST", path="/claims/complete_batch", action="claim", gives="items"),
    Operation(name="skip", method="POST", path="/claims/skip", action="claim"),
    Operation(name="release", method="POST", path="/claims/release", action="claim"),
    Operation(name="purge", method="POST", path="/purge", action="purge"),
)
"""Every operation."""
BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}
