"""What the service must refuse, and the calls that try it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from annotation_queue.errors import InvalidQuery, InvalidValue
from annotation_queue.items import NewItem
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.sorting import SORT_FIELDS, Direction, SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.values import MAX_TEXT_BYTES, describe


def nested(depth: int) -> list[Any]:
    """Make lists within lists.

    Args:
        depth: How many levels; a scalar is 0 levels deep, an empty list 1.
    """
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


HOSTILE_TEXTS: Final[tuple[Any, ...]] = (
    "\0",
    "a\0b",
    "\ud800",
    "a\udfff",
    b"bytes",
    1,
    True,
    "x" * (MAX_TEXT_BYTES + 1),
)
"""What no text may be."""
HOSTILE_IDS: Final[tuple[Any, ...]] = ("", None, *HOSTILE_TEXTS)
"""What no identifier may be."""
HOSTILE_INTEGERS: Final[tuple[Any, ...]] = (
    True,
    False,
    1.5,
    1.0,
    "1",
    math.nan,
    math.inf,
    1 << 63,
    -(1 << 63) - 1,
    1 << 200,
)
"""What no integer may be."""
HOSTILE_COUNTS: Final[tuple[Any, ...]] = (-1, *HOSTILE_INTEGERS)
"""What no limit may be."""
HOSTILE_TIMES: Final[tuple[Any, ...]] = (datetime(2026, 1, 1), "2026-01-01T00:00:00Z", 0, 1.5)  # noqa: DTZ001 - naive on purpose
"""What no time may be."""
HOSTILE_LEASES: Final[tuple[Any, ...]] = (timedelta(), timedelta(microseconds=-1), timedelta.max, 60, 1.5, "a minute")
"""What no lease may be."""
HOSTILE_JSON: Final[tuple[Any, ...]] = (
    math.nan,
    math.inf,
    -math.inf,
    1 << 63,
    "\0",
    "\ud800",
    (),
    {1},
    b"bytes",
    object(),
    {1: "a key that is no text"},
    {"\ud800": 1},
    [{"a": ["\0"]}],
    nested(65),
    nested(100_000),
    "x" * MAX_TEXT_BYTES,
)
"""What no JSON value may be. The last is a text of the greatest length, whose quotes make it too long as JSON."""
HOSTILE_SORTS: Final[tuple[Any, ...]] = ("id; DROP TABLE items", '"x"', "position_in_queue", "payload", "", "ID", "\0")
"""What no sort field may be."""


@attrs.frozen
class RefusedCall:
    """A call with one argument that must be refused.

    Args:
        name: Which call and argument.
        value: The argument.
        error: What it must raise.
    """

    name: str
    value: Any = attrs.field(repr=describe)
    error: type[InvalidValue] = attrs.field(repr=False)

    def __call__(self, service: AnnotationQueues, queue_id: str, item_id: str) -> object:
        """Make the call.

        Args:
            service: On which service.
            queue_id: A queue.
            item_id: An item.

        Returns:
            What it returned, and should not have.
        """
        return _REFUSALS[self.name][0](service, queue_id, item_id, self.value)


_Refusal = tuple["Callable[[AnnotationQueues, str, str, Any], object]", tuple[Any, ...], type[InvalidValue]]


def _new(service: AnnotationQueues, queue_id: str, **fields: Any) -> object:  # noqa: ANN401 - hostile values
    good = NewItem(call_id="good, and not to be added either")
    return service.add_items(queue_id, (each for each in (good, NewItem(**{"call_id": "x", **fields}))), added_by="ann")


_REFUSALS: Final[dict[str, _Refusal]] = {
    "create name": (lambda s, _q, _i, v: s.create(v, created_by="ann"), HOSTILE_TEXTS, InvalidValue),
    "create created_by": (lambda s, _q, _i, v: s.create("x", created_by=v), HOSTILE_IDS, InvalidValue),
    "create scorer_refs": (
        lambda s, _q, _i, v: s.create("x", created_by="ann", scorer_refs=v),
        ("ab", None, 1, ["\0"], [1]),
        InvalidValue,
    ),
    "create annotations_per_item": (
        lambda s, _q, _i, v: s.create("x", created_by="ann", annotations_per_item=v),
        (0, *HOSTILE_COUNTS),
        InvalidValue,
    ),
    "create lease": (lambda s, _q, _i, v: s.create("x", created_by="ann", lease=v), HOSTILE_LEASES, InvalidValue),
    "create skip_policy": (
        lambda s, _q, _i, v: s.create("x", created_by="ann", skip_policy=v),
        ("FINAL", "", None, 1),
        InvalidValue,
    ),
    "update name": (lambda s, q, _i, v: s.update(q, name=v), (None, *HOSTILE_TEXTS), InvalidValue),
    "update scorer_refs": (
        lambda s, q, _i, v: s.update(q, scorer_refs=v),
        ("ab", None, 1, ["\0"], [1]),
        InvalidValue,
    ),
    "query name": (lambda s, _q, _i, v: s.query(QueueQuery(name=v)), HOSTILE_TEXTS, InvalidQuery),
    "get": (lambda s, _q, _i, v: s.get(v), HOSTILE_IDS, InvalidValue),
    "stats": (lambda s, q, _i, v: s.stats([q, v]), HOSTILE_IDS, InvalidValue),
    "stats of no list": (lambda s, _q, _i, v: s.stats(v), ("ab", b"ab", None, 1), InvalidValue),
    "add_items call_id": (lambda s, q, _i, v: _new(s, q, call_id=v), HOSTILE_IDS, InvalidValue),
    "add_items call_op_name": (lambda s, q, _i, v: _new(s, q, call_op_name=v), HOSTILE_TEXTS, InvalidValue),
    "add_items call_ended_at": (lambda s, q, _i, v: _new(s, q, call_ended_at=v), HOSTILE_TIMES, InvalidValue),
    "add_items priority": (lambda s, q, _i, v: _new(s, q, priority=v), HOSTILE_INTEGERS, InvalidValue),
    "add_items payload": (lambda s, q, _i, v: _new(s, q, payload={"key": v}), HOSTILE_JSON, InvalidValue),
    "add_items payload that is no object": (lambda s, q, _i, v: _new(s, q, payload=v), ([], "x", 1), InvalidValue),
    "add_items added_by": (
        lambda s, q, _i, v: s.add_items(q, [NewItem(call_id="x")], added_by=v),
        HOSTILE_IDS,
        InvalidValue,
    ),
    "add_items items": (
        lambda s, q, _i, v: s.add_items(q, v, added_by="ann"),
        (None, 1, ["x"], [None], [NewItem(call_id="x"), {"call_id": "y"}]),
        InvalidValue,
    ),
    "get_item": (lambda s, _q, _i, v: s.get_item(v), HOSTILE_IDS, InvalidValue),
    "get_item annotator_id": (lambda s, _q, i, v: s.get_item(i, annotator_id=v), HOSTILE_IDS[2:], InvalidValue),
    "query_items filter": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(filter=ItemFilter(call_id=v))),
        HOSTILE_TEXTS,
        InvalidQuery,
    ),
    "query_items states": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(filter=ItemFilter(annotation_states=v))),
        ("completed", ["done"], [None], 1),
        InvalidQuery,
    ),
    "query_items limit": (lambda s, q, _i, v: s.query_items(q, ItemQuery(limit=v)), HOSTILE_COUNTS, InvalidQuery),
    "query_items offset": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(offset=v)),
        (None, *HOSTILE_COUNTS),
        InvalidQuery,
    ),
    "query_items cursor": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(cursor=v)),
        ("", "x", "é", "AQ", *HOSTILE_TEXTS),
        InvalidQuery,
    ),
    "query_items offset and cursor": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(offset=1, cursor=v)),
        ("", "x"),
        InvalidQuery,
    ),
    "query_items sort": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(sort_by=[SortBy(v)])),
        HOSTILE_SORTS,
        InvalidQuery,
    ),
    "query_items direction": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(sort_by=[SortBy("id", v)])),
        ("ASC", "", None, 1, "asc; --"),
        InvalidQuery,
    ),
    "query_items field twice": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(sort_by=[SortBy(v), SortBy(v, Direction.DESC)])),
        tuple(sorted(SORT_FIELDS)),
        InvalidQuery,
    ),
    "query_items annotator_id": (
        lambda s, q, _i, v: s.query_items(q, ItemQuery(annotator_id=v)),
        ("", *HOSTILE_TEXTS),
        InvalidQuery,
    ),
    "query sort": (
        lambda s, _q, _i, v: s.query(QueueQuery(sort_by=[SortBy(v)])),
        ("description", *HOSTILE_SORTS),
        InvalidQuery,
    ),
    "remove_items": (lambda s, q, i, v: s.remove_items(q, [i, v]), HOSTILE_IDS, InvalidValue),
    "update_progress annotator_id": (
        lambda s, _q, i, v: s.update_progress(i, v, AnnotationState.SKIPPED),
        HOSTILE_IDS,
        InvalidValue,
    ),
    "update_progress state": (
        lambda s, _q, i, v: s.update_progress(i, "ann", v),
        ("done", "COMPLETED", "", None, 1),
        InvalidValue,
    ),
    "update_progress annotation": (
        lambda s, _q, i, v: s.update_progress(i, "hostile", AnnotationState.COMPLETED, annotation=v),
        HOSTILE_JSON,
        InvalidValue,
    ),
    "update_progress reason": (
        lambda s, _q, i, v: s.update_progress(i, "hostile", AnnotationState.COMPLETED, reason=v),
        HOSTILE_TEXTS,
        InvalidValue,
    ),
    "update_progress actor_id of an override": (
        lambda s, _q, i, v: s.update_progress(i, "ann", AnnotationState.SKIPPED, actor_id=v, override=True),
        HOSTILE_IDS,
        InvalidValue,
    ),
    "create label_schema": (
        lambda s, _q, _i, v: s.create("x", created_by="ann", label_schema=v),
        ("string", 1, [], {"type": "text"}, {"enum": [math.nan]}),
        InvalidValue,
    ),
    "create queue_id": (
        lambda s, _q, _i, v: s.create("x", created_by="ann", queue_id=v),
        HOSTILE_IDS[2:],
        InvalidValue,
    ),
    "get_or_create name": (lambda s, _q, _i, v: s.get_or_create(v, created_by="ann"), HOSTILE_TEXTS, InvalidValue),
    "reset which": (lambda s, q, i, v: s.reset(q, [i, v], actor_id="ann"), HOSTILE_IDS, InvalidValue),
    "reset actor_id": (lambda s, q, i, v: s.reset(q, [i], actor_id=v), HOSTILE_IDS, InvalidValue),
    "holds": (lambda s, q, _i, v: s.holds(q, v), HOSTILE_IDS, InvalidValue),
    "labels annotator_id": (
        lambda s, q, _i, v: s.labels(q, LabelQuery(annotator_id=v)),
        ("", *HOSTILE_TEXTS),
        InvalidQuery,
    ),
    "labels states": (
        lambda s, q, _i, v: s.labels(q, LabelQuery(states=v)),
        ("completed", ["done"], [None], 1, None),
        InvalidQuery,
    ),
    "labels limit": (lambda s, q, _i, v: s.labels(q, LabelQuery(limit=v)), HOSTILE_COUNTS, InvalidQuery),
    "labels cursor": (
        lambda s, q, _i, v: s.labels(q, LabelQuery(cursor=v)),
        ("", "x", "é", "AQ", *HOSTILE_TEXTS),
        InvalidQuery,
    ),
    "changes after": (
        lambda s, q, _i, v: s.changes(q, after=v),
        ("", "x", "é", "AQ", *HOSTILE_TEXTS),
        InvalidQuery,
    ),
    "changes limit": (lambda s, q, _i, v: s.changes(q, limit=v), (0, None, *HOSTILE_COUNTS), InvalidQuery),
    "throughput window": (lambda s, q, _i, v: s.throughput(q, window=v), HOSTILE_LEASES, InvalidValue),
    "claim annotator_id": (lambda s, q, _i, v: s.claim(q, v), HOSTILE_IDS, InvalidValue),
    "claim lease": (lambda s, q, _i, v: s.claim(q, "hostile", lease=v), HOSTILE_LEASES, InvalidValue),
    "claim_batch limit": (lambda s, q, _i, v: s.claim_batch(q, "hostile", v), (None, *HOSTILE_COUNTS), InvalidValue),
}


REFUSED_CALLS: Final = tuple(
    RefusedCall(name, value, error) for name, (_, values, error) in _REFUSALS.items() for value in values
)
"""Calls of the service, each with one argument that must be refused before anything is stored."""
