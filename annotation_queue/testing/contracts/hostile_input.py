"""Bad inputs: the same error on every repository, which names the field, and nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from annotation_queue.errors import InvalidQuery, InvalidValue
from annotation_queue.items import AnnotationQueue, Claim, ClaimRef, NewItem, QueueItem
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemQuery, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.sorting import SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.repository import Repository

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
    ("remove_items", "item_ids", ["abc", b"abc", 5, None], lambda it, bad: it.queues.remove_items(it.queue.id, bad)),
    (
        "remove_items",
        "item_ids[1]",
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


class HostileInputContract(Contract):
    """Bad inputs: the same error on every repository, which names the field, and nothing is written."""

    @pytest.fixture
    def world(self, queues: AnnotationQueues) -> World:
        """Something that bad input could spoil."""
        queue = queues.create("queue", created_by="ann")
        items = queues.add_items(queue.id, [NewItem(call_id=call) for call in "ab"], added_by="ann").added
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        return World(queues, queue, items, claim)

    @pytest.mark.parametrize(
        ("field", "values", "call"),
        [row[1:] for row in ARGUMENTS],
        ids=[f"{method}-{field}" for method, field, _, _ in ARGUMENTS],
    )
    def test_a_bad_argument_is_refused_by_name_and_nothing_is_written(
        self, world: World, field: str, values: list[Any], call: Callable[[World, Any], object]
    ) -> None:
        before = world.everything()
        for bad in values:
            with pytest.raises(InvalidValue) as refused:
                call(world, bad)
            named = refused.value.field.removeprefix("a key of ")
            assert named == field or named.startswith((f"{field}.", f"{field}[")), refused.value
            assert len(str(refused.value)) < 1_000
        assert world.everything() == before
        assert len(world.queues.query().queues) == 1

    def test_text_of_100_mib_is_refused(self, world: World) -> None:
        huge = "a" * (100 * MEBIBYTE)
        before = world.everything()
        for refused in (
            lambda: world.queues.create(huge, created_by="ann"),
            lambda: world.queues.get_item(huge),
            lambda: world.queues.claim(world.queue.id, huge),
            lambda: world.queues.complete(world.claim, {"a": huge}),
            lambda: NewItem(call_id="new", payload={huge: 1}),
            lambda: QueueQuery(name=huge),
        ):
            with pytest.raises(InvalidValue) as error:
                refused()
            assert len(str(error.value)) < 1_000
        assert world.everything() == before

    @pytest.mark.parametrize("project_id", [*ID, None], ids=lambda bad: ascii(bad)[:20])
    def test_a_project_is_named_by_an_id(self, repository: Repository, project_id: Any) -> None:  # noqa: ANN401
        with pytest.raises(InvalidValue, match="project_id"):
            AnnotationQueues(repository, project_id)

    @pytest.mark.parametrize("now", [*TIME, None], ids=repr)
    def test_a_clock_without_a_time_zone_is_refused_and_nothing_is_written(
        self,
        repository: Repository,
        world: World,
        now: Any,  # noqa: ANN401 - what must be refused
    ) -> None:
        queues = AnnotationQueues(repository, "project", clock=lambda: now)
        before = world.everything()
        operations: list[Callable[[], object]] = [
            lambda: queues.create("new", created_by="ann"),
            lambda: queues.update(world.queue.id, name="new"),
            lambda: queues.delete(world.queue.id),
            lambda: queues.add_items(world.queue.id, [NewItem(call_id="new")], added_by="ann"),
            lambda: queues.remove_items(world.queue.id, [world.items[0].id]),
            lambda: queues.update_progress(world.items[0].id, "eve", COMPLETED),
            lambda: queues.claim(world.queue.id, "eve"),
            lambda: queues.complete(world.claim),
            lambda: queues.heartbeat(world.claim),
        ]
        for refused in operations:
            with pytest.raises(InvalidValue, match="clock: expected a timezone-aware datetime"):
                refused()
        assert world.everything() == before

    @pytest.mark.parametrize("made", ["", "a\0", 5, None])
    def test_an_id_factory_that_makes_no_ids_is_refused_and_nothing_is_written(
        self,
        repository: Repository,
        world: World,
        made: Any,  # noqa: ANN401 - what must be refused
    ) -> None:
        queues = AnnotationQueues(repository, "project", new_id=lambda: made)
        before = world.everything()
        with pytest.raises(InvalidValue, match="id: expected"):
            queues.create("new", created_by="ann")
        with pytest.raises(InvalidValue, match="id: expected"):
            queues.add_items(world.queue.id, [NewItem(call_id="new")], added_by="ann")
        assert world.everything() == before

    @pytest.mark.parametrize(
        "field", ["id; DROP TABLE items", '"x"', "'x'", "", "ID", "rowid", "1", "x\0", 5, None], ids=repr
    )
    def test_an_unknown_sort_field_is_refused(self, world: World, field: Any) -> None:  # noqa: ANN401 - what must be refused
        for refused in (
            lambda: world.queues.query_items(world.queue.id, ItemQuery(sort_by=[SortBy(field)])),
            lambda: world.queues.query(QueueQuery(sort_by=[SortBy(field)])),
        ):
            with pytest.raises(InvalidQuery):
                refused()
        assert len(world.everything()) == 2

    def test_the_longest_text_and_the_deepest_and_longest_json_are_stored(self, queues: AnnotationQueues) -> None:
        text = "😀" * (MEBIBYTE // 4)
        longest: dict[str, Any] = {"a": "x" * (MEBIBYTE - len('{"a":""}'))}
        queue = queues.create(text, created_by=text, description=text, scorer_refs=["é" * 500_000])
        news = [
            NewItem(call_id=text, call_op_name=text, call_trace_id=text, payload=longest),
            NewItem(call_id="deep", payload=nested(64)),
        ]
        added = queues.add_items(queue.id, news, added_by=text).added
        assert queues.get(queue.id) == queue
        assert queues.query(QueueQuery(name=text)).queues == (queue,)
        assert queues.query_items(queue.id).items == added
        queues.update_progress(added[0].id, text, COMPLETED, annotation=nested(64), reason=text)
        (progress,) = queues.progress(added[0].id)
        assert (progress.annotator_id, progress.reason, progress.annotation) == (text, text, nested(64))

    @pytest.mark.parametrize("year", [1, 9999])
    def test_the_first_and_the_last_year_are_stored_and_sorted(self, repository: Repository, year: int) -> None:
        at = datetime(year, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
        queues = AnnotationQueues(repository, "project", clock=lambda: at)
        queue = queues.create("queue", created_by="ann")
        news = [NewItem(call_id="a", call_ended_at=at), NewItem(call_id="b", call_ended_at=at.replace(microsecond=0))]
        added = queues.add_items(queue.id, news, added_by="ann").added
        by_end = ItemQuery(sort_by=[SortBy("call_ended_at")], limit=1)
        page = queues.query_items(queue.id, by_end)
        assert page.items == (added[1],)
        assert queues.query_items(queue.id, attrs.evolve(by_end, cursor=page.next_cursor)).items == (added[0],)
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        assert claim.expires_at == at + timedelta(minutes=5)
