"""Bad arguments: for each argument of each method what it must refuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs

from annotation_queue.items import AnnotationQueue, Claim, ClaimRef, NewItem, QueueItem
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemQuery, QueueQuery
from annotation_queue.states import AnnotationState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.queues import AnnotationQueues


COMPLETED = AnnotationState.COMPLETED

MEBIBYTE = 2**20


def nested(levels: int) -> dict[str, Any]:
    """Build an object within lists within each other, so many levels deep in all."""
    value: Any = []
    for _ in range(levels - 2):
        value = [value]
    return {"a": value}


@attrs.frozen
class World:
    """A queue with an item that is claimed, and one that is not."""

    queues: AnnotationQueues
    queue: AnnotationQueue
    items: tuple[QueueItem, ...]
    claim: Claim

    def everything(self) -> list[object]:
        """Read all that is stored."""
        return [
            (
                *(queue, self.queues.stats([queue.id]), self.queues.changes(queue.id).transitions),
                *(item, self.queues.progress(item.id), self.queues.history(item.id)),
            )
            for queue in self.queues.query().queues
            for item in self.queues.query_items(queue.id).items
        ]


TEXT: list[Any] = ["a\0", "\0", "\ud800", "é\udfff", "a" * (MEBIBYTE + 1), "é" * MEBIBYTE, 5, True, b"a", ["a"]]

ID: list[Any] = [*TEXT, ""]

TEXTS: list[Any] = ["abc", 5, ["a\0"], [5], ["\ud800"], ["a" * MEBIBYTE] * 2]

INTEGER: list[Any] = [2**63, -(2**63) - 1, 10**400, True, 1.5, 1.0, "1", None]

LEASE: list[Any] = [timedelta(), timedelta(days=-1), timedelta.max, 5, "5", True]

TIME: list[Any] = [datetime(2026, 1, 1), "2026-01-01T00:00:00Z", 0]  # noqa: DTZ001 - the naive time that is refused

JSON: list[Any] = [
    {"a": float("nan")},
    {"a": [float("inf")]},
    {"a": {"b": -float("inf")}},
    {"a": 2**63},
    {"a": {"b\0": 1}},
    {"a": [{"\ud800": 1}]},
    {"a": "x\0"},
    {"a": ["\udfff"]},
    {1: "a"},
    {"a": (1, 2)},
    {"a": b"x"},
    {"a": {1}},
    {"a": datetime.now(UTC)},
    {"a": "x" * (MEBIBYTE + 1)},
    {"a": ["x" * (MEBIBYTE // 2)] * 2},
    {"a": [0] * MEBIBYTE},
    nested(65),
    nested(100_000),
]


def good_then(bad: object, name: str) -> Iterator[NewItem]:
    """Give a good new item, and then one with a bad field."""
    yield NewItem(call_id="good")
    fields: dict[str, Any] = {"call_id": "new", name: bad}
    yield NewItem(**fields)


SCHEMA: list[Any] = [
    "string",
    True,
    [],
    {"type": "text"},
    {"properties": 5},
    {"$ref": "https://example.com/schema.json"},
    {"$ref": "file:///etc/passwd"},
    *JSON,
]

STATE: list[Any] = ["pending", "", None, 1, "COMPLETED"]

ARGUMENTS: list[tuple[str, str, list[Any], Callable[[World, Any], object]]] = [
    ("create", "name", TEXT, lambda it, bad: it.queues.create(bad, created_by="ann")),
    ("create", "created_by", ID, lambda it, bad: it.queues.create("new", created_by=bad)),
    ("create", "description", TEXT, lambda it, bad: it.queues.create("new", created_by="ann", description=bad)),
    ("create", "scorer_refs", TEXTS, lambda it, bad: it.queues.create("new", created_by="ann", scorer_refs=bad)),
    (
        "create",
        "annotations_per_item",
        [*INTEGER, 0, -1],
        lambda it, bad: it.queues.create("new", created_by="ann", annotations_per_item=bad),
    ),
    ("create", "skip_policy", STATE, lambda it, bad: it.queues.create("new", created_by="ann", skip_policy=bad)),
    ("create", "lease", [*LEASE, None], lambda it, bad: it.queues.create("new", created_by="ann", lease=bad)),
    ("get", "queue_id", [*ID, None], lambda it, bad: it.queues.get(bad)),
    ("update", "queue_id", [*ID, None], lambda it, bad: it.queues.update(bad, name="new")),
    ("update", "name", [*TEXT, None], lambda it, bad: it.queues.update(it.queue.id, name=bad)),
    ("update", "description", [*TEXT, None], lambda it, bad: it.queues.update(it.queue.id, description=bad)),
    ("update", "scorer_refs", [*TEXTS, None], lambda it, bad: it.queues.update(it.queue.id, scorer_refs=bad)),
    (
        "update",
        "annotations_per_item",
        [*INTEGER, 0],
        lambda it, bad: it.queues.update(it.queue.id, annotations_per_item=bad),
    ),
    ("update", "skip_policy", STATE, lambda it, bad: it.queues.update(it.queue.id, skip_policy=bad)),
    ("update", "lease", [*LEASE, None], lambda it, bad: it.queues.update(it.queue.id, lease=bad)),
    ("delete", "queue_id", [*ID, None], lambda it, bad: it.queues.delete(bad)),
    ("stats", "queue_ids", ["abc", 5, None], lambda it, bad: it.queues.stats(bad)),
    ("stats", "queue_ids[1]", [*ID, None], lambda it, bad: it.queues.stats([it.queue.id, bad])),
    ("query", "query", [None, "queue", ItemQuery()], lambda it, bad: it.queues.query(bad)),
    ("add_items", "queue_id", [*ID, None], lambda it, bad: it.queues.add_items(bad, [], added_by="ann")),
    (
        "add_items",
        "added_by",
        [*ID, None],
        lambda it, bad: it.queues.add_items(it.queue.id, [NewItem(call_id="new")], added_by=bad),
    ),
    ("add_items", "items", [None, 5], lambda it, bad: it.queues.add_items(it.queue.id, bad, added_by="ann")),
    (
        "add_items",
        "items[1]",
        [None, "a", {"call_id": "a"}],
        lambda it, bad: it.queues.add_items(it.queue.id, [NewItem(call_id="new"), bad], added_by="ann"),
    ),
    *(
        (
            "add_items",
            name,
            values,
            # The name is bound here, since a lambda would see only the last one.
            lambda it, bad, name=name: it.queues.add_items(it.queue.id, good_then(bad, name), added_by="ann"),
        )
        for name, values in {
            "call_id": [*ID, None],
            "call_started_at": TIME,
            "call_ended_at": TIME,
            "call_op_name": TEXT,
            "call_trace_id": TEXT,
            "display_fields": TEXTS,
            "priority": INTEGER,
            "payload": [*JSON, [], "x", 5],
        }.items()
    ),
    ("get_item", "item_id", [*ID, None], lambda it, bad: it.queues.get_item(bad)),
    ("get_item", "queue_id", ID, lambda it, bad: it.queues.get_item(it.items[0].id, queue_id=bad)),
    ("get_item", "annotator_id", ID, lambda it, bad: it.queues.get_item(it.items[0].id, annotator_id=bad)),
    ("query_items", "queue_id", [*ID, None], lambda it, bad: it.queues.query_items(bad)),
    ("query_items", "query", [None, {}, QueueQuery()], lambda it, bad: it.queues.query_items(it.queue.id, bad)),
    ("iter_items", "queue_id", [*ID, None], lambda it, bad: list(it.queues.iter_items(bad))),
    ("iter_items", "query", [None, {}, QueueQuery()], lambda it, bad: list(it.queues.iter_items(it.queue.id, bad))),
    ("remove_items", "queue_id", [*ID, None], lambda it, bad: it.queues.remove_items(bad, [])),
    ("remove_items", "which", ["abc", b"abc", 5, None], lambda it, bad: it.queues.remove_items(it.queue.id, bad)),
    (
        "remove_items",
        "which[1]",
        [*ID, None],
        lambda it, bad: it.queues.remove_items(it.queue.id, (each for each in [it.items[0].id, bad])),
    ),
    ("update_progress", "item_id", [*ID, None], lambda it, bad: it.queues.update_progress(bad, "eve", COMPLETED)),
    (
        "update_progress",
        "annotator_id",
        [*ID, None],
        lambda it, bad: it.queues.update_progress(it.items[0].id, bad, COMPLETED),
    ),
    ("update_progress", "state", STATE, lambda it, bad: it.queues.update_progress(it.items[0].id, "eve", bad)),
    (
        "update_progress",
        "queue_id",
        ID,
        lambda it, bad: it.queues.update_progress(it.items[0].id, "eve", COMPLETED, queue_id=bad),
    ),
    (
        "update_progress",
        "annotation",
        JSON,
        lambda it, bad: it.queues.update_progress(it.items[0].id, "eve", COMPLETED, annotation=bad),
    ),
    (
        "update_progress",
        "reason",
        TEXT,
        lambda it, bad: it.queues.update_progress(it.items[0].id, "eve", COMPLETED, reason=bad),
    ),
    ("progress", "item_id", [*ID, None], lambda it, bad: it.queues.progress(bad)),
    ("history", "item_id", [*ID, None], lambda it, bad: it.queues.history(bad)),
    ("claim", "queue_id", [*ID, None], lambda it, bad: it.queues.claim(bad, "eve")),
    ("claim", "annotator_id", [*ID, None], lambda it, bad: it.queues.claim(it.queue.id, bad)),
    ("claim", "lease", LEASE, lambda it, bad: it.queues.claim(it.queue.id, "eve", lease=bad)),
    ("claim_batch", "queue_id", [*ID, None], lambda it, bad: it.queues.claim_batch(bad, "eve", 1)),
    ("claim_batch", "annotator_id", [*ID, None], lambda it, bad: it.queues.claim_batch(it.queue.id, bad, 1)),
    ("claim_batch", "limit", [*INTEGER, -1], lambda it, bad: it.queues.claim_batch(it.queue.id, "eve", bad)),
    ("claim_batch", "lease", LEASE, lambda it, bad: it.queues.claim_batch(it.queue.id, "eve", 1, lease=bad)),
    ("heartbeat", "lease", LEASE, lambda it, bad: it.queues.heartbeat(it.claim, lease=bad)),
    ("complete", "annotation", JSON, lambda it, bad: it.queues.complete(it.claim, bad)),
    (
        "complete_batch",
        "results[0].annotation",
        JSON,
        lambda it, bad: it.queues.complete_batch([(it.claim, bad)]),
    ),
    ("complete_batch", "claim", [None, "id"], lambda it, bad: it.queues.complete_batch([(it.claim, 1), (bad, 1)])),
    (
        "create",
        "label_schema",
        SCHEMA,
        lambda it, bad: it.queues.create("new", created_by="ann", label_schema=bad),
    ),
    ("create", "queue_id", ID, lambda it, bad: it.queues.create("new", created_by="ann", queue_id=bad)),
    ("update", "label_schema", SCHEMA, lambda it, bad: it.queues.update(it.queue.id, label_schema=bad)),
    ("get_or_create", "name", [*TEXT, None], lambda it, bad: it.queues.get_or_create(bad, created_by="ann")),
    ("get_or_create", "created_by", [*ID, None], lambda it, bad: it.queues.get_or_create("queue", created_by=bad)),
    (
        "get_or_create",
        "annotations_per_item",
        [*INTEGER, 0],
        lambda it, bad: it.queues.get_or_create("queue", created_by="ann", annotations_per_item=bad),
    ),
    (
        "update_progress",
        "actor_id",
        ID,
        lambda it, bad: it.queues.update_progress(it.items[0].id, "eve", COMPLETED, actor_id=bad),
    ),
    (
        "update_progress",
        "actor_id",
        [*ID, None],
        lambda it, bad: it.queues.update_progress(it.items[0].id, "eve", COMPLETED, actor_id=bad, override=True),
    ),
    ("reset", "queue_id", [*ID, None], lambda it, bad: it.queues.reset(bad, [it.items[0].id], actor_id="ann")),
    ("reset", "which", ["abc", b"abc", 5, None], lambda it, bad: it.queues.reset(it.queue.id, bad, actor_id="ann")),
    (
        "reset",
        "which[1]",
        [*ID, None],
        lambda it, bad: it.queues.reset(it.queue.id, (each for each in [it.items[0].id, bad]), actor_id="ann"),
    ),
    (
        "reset",
        "actor_id",
        [*ID, None],
        lambda it, bad: it.queues.reset(it.queue.id, [it.items[0].id], actor_id=bad),
    ),
    (
        "reset",
        "annotator_id",
        ID,
        lambda it, bad: it.queues.reset(it.queue.id, [it.items[0].id], actor_id="ann", annotator_id=bad),
    ),
    (
        "reset",
        "reason",
        TEXT,
        lambda it, bad: it.queues.reset(it.queue.id, [it.items[0].id], actor_id="ann", reason=bad),
    ),
    ("holds", "queue_id", [*ID, None], lambda it, bad: it.queues.holds(bad, "bob")),
    ("holds", "annotator_id", [*ID, None], lambda it, bad: it.queues.holds(it.queue.id, bad)),
    ("heartbeat_batch", "claim", [None, "id"], lambda it, bad: it.queues.heartbeat_batch([it.claim, bad])),
    ("heartbeat_batch", "lease", LEASE, lambda it, bad: it.queues.heartbeat_batch([it.claim], lease=bad)),
    ("save_draft", "claim", [None, "id"], lambda it, bad: it.queues.save_draft(bad, "draft")),
    ("save_draft", "annotation", JSON, lambda it, bad: it.queues.save_draft(it.claim, bad)),
    ("save_draft", "lease", LEASE, lambda it, bad: it.queues.save_draft(it.claim, "draft", lease=bad)),
    ("labels", "queue_id", [*ID, None], lambda it, bad: it.queues.labels(bad)),
    ("labels", "query", [None, {}, ItemQuery()], lambda it, bad: it.queues.labels(it.queue.id, bad)),
    ("iter_labels", "query", [None, {}, ItemQuery()], lambda it, bad: list(it.queues.iter_labels(it.queue.id, bad))),
    *(
        (
            "labels",
            name,
            values,
            lambda it, bad, name=name: it.queues.labels(it.queue.id, LabelQuery(**{name: bad})),
        )
        for name, values in {
            "filter": [None, {}, "a"],
            "annotator_id": ID,
            "states": ["completed", None, 5, ["pending"], [None], [["completed"]]],
            "newest_first": [None, 0, "yes"],
            "limit": [-1, *INTEGER[:-1]],
            "cursor": ["", "x", "é", "a\0", 5, b"x"],
        }.items()
    ),
    ("changes", "queue_id", [*ID, None], lambda it, bad: it.queues.changes(bad)),
    (
        "changes",
        "after",
        ["", "x", "é", "AQ", "a\0", 5, b"x"],
        lambda it, bad: it.queues.changes(it.queue.id, after=bad),
    ),
    ("changes", "limit", [*INTEGER, 0, -1], lambda it, bad: it.queues.changes(it.queue.id, limit=bad)),
    ("throughput", "queue_id", [*ID, None], lambda it, bad: it.queues.throughput(bad)),
    ("throughput", "window", [*LEASE, None], lambda it, bad: it.queues.throughput(it.queue.id, window=bad)),
    ("ClaimRef.parse", "claim", [*ID, None, "x", "é", "bnVsbA", "W10"], lambda _, bad: ClaimRef.parse(bad)),
    ("skip", "reason", TEXT, lambda it, bad: it.queues.skip(it.claim, bad)),
    ("release", "reason", TEXT, lambda it, bad: it.queues.release(it.claim, bad)),
]
