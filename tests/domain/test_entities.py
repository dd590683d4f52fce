"""Entities: frozen, checked when made, equal by field."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from annotation_queue import (
    AddedItems,
    AnnotationQueue,
    AnnotationState,
    ChangePage,
    Claim,
    ClaimRef,
    Direction,
    InvalidQuery,
    InvalidValue,
    ItemFilter,
    ItemQuery,
    Label,
    LabelPage,
    LabelQuery,
    NewItem,
    Progress,
    QueueItem,
    QueueQuery,
    QueueStats,
    SkipPolicy,
    SortBy,
    Throughput,
    Transition,
    Unavailable,
    UnavailableReason,
    Workflow,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUEUE = AnnotationQueue(id="q", project_id="p", name="Triage", created_at=NOON, created_by="ann", updated_at=NOON)
NEW_ITEM = NewItem(call_id="c")
ITEM = QueueItem(
    id="i",
    project_id="p",
    queue_id="q",
    call_id="c",
    call_started_at=NOON,
    created_at=NOON,
    created_by="ann",
    updated_at=NOON,
)
PROGRESS = Progress(
    item_id="i",
    annotator_id="ann",
    state=AnnotationState.COMPLETED,
    token=1,
    lease_expires_at=None,
    annotation={"label": "good"},
    reason=None,
    created_at=NOON,
    updated_at=NOON,
)
TRANSITION = Transition(
    item_id="i",
    annotator_id="ann",
    from_state=AnnotationState.UNSTARTED,
    to_state=AnnotationState.IN_PROGRESS,
    at=NOON,
)
CLAIM = Claim(item=ITEM, annotator_id="ann", token=1, expires_at=NOON)
ENTITIES: list[Any] = [
    QUEUE,
    NEW_ITEM,
    ITEM,
    PROGRESS,
    TRANSITION,
    CLAIM,
    CLAIM.ref,
    Label(item=ITEM, progress=PROGRESS),
    LabelPage(labels=(), next_cursor=None),
    LabelQuery(annotator_id="ann"),
    ChangePage(transitions=(TRANSITION,), cursor="x"),
    Throughput(settled=1, by_annotator={"ann": 1}, per_hour=1.0, median_seconds=None, left=0, eta=None),
    AddedItems(added=(ITEM,), duplicates=0),
    Unavailable(reason=UnavailableReason.EMPTY),
    QueueStats(queue_id="q", total_items=0, by_state={}, settled_items=0, finished_items=0, by_annotator={}),
    ItemFilter(call_id="c"),
    ItemQuery(limit=1),
    QueueQuery(limit=1),
    SortBy("id"),
    Workflow("free", {("unstarted", "completed")}),
]
each_entity = pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: type(entity).__name__)


@each_entity
def test_an_entity_is_frozen_and_slotted(entity: Any) -> None:  # noqa: ANN401 - any of the entities
    name = attrs.fields(type(entity))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(entity, name, getattr(entity, name))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        entity.unknown = 1
    assert not hasattr(entity, "__dict__")


@each_entity
def test_an_entity_is_equal_by_field_and_survives_pickling(entity: Any) -> None:  # noqa: ANN401 - any of the entities
    again = pickle.loads(pickle.dumps(entity))  # noqa: S301 - our own bytes
    assert again == entity
    assert again is not entity
    assert attrs.evolve(entity) == entity
    assert entity != object()


@each_entity
def test_an_entity_that_holds_no_json_is_hashable_and_equal_ones_have_one_hash(entity: Any) -> None:  # noqa: ANN401 - any of the entities
    plain = attrs.evolve(PROGRESS, annotation=None)
    bare = {Progress: plain, Label: Label(item=ITEM, progress=plain)}.get(type(entity), entity)
    assert {bare: 1}[pickle.loads(pickle.dumps(bare))] == 1  # noqa: S301 - our own bytes


@pytest.mark.parametrize("made", [QueueItem, AnnotationQueue, NewItem, Progress, Transition, Claim])
def test_the_entities_of_the_domain_take_keywords_only(made: type[Any]) -> None:
    assert all(field.kw_only for field in attrs.fields(made))


def test_an_item_has_the_17_standard_fields_then_priority_payload_and_assignees() -> None:
    assert [field.name for field in attrs.fields(QueueItem)] == [
        "id",
        "project_id",
        "queue_id",
        "call_id",
        "call_started_at",
        "call_ended_at",
        "call_op_name",
        "call_trace_id",
        "display_fields",
        "added_by",
        "annotation_state",
        "annotator_user_id",
        "created_at",
        "created_by",
        "updated_at",
        "deleted_at",
        "position_in_queue",
        "priority",
        "payload",
        "assignees",
    ]


def test_what_is_left_out_has_its_default() -> None:
    assert (QUEUE.description, QUEUE.scorer_refs, QUEUE.annotations_per_item) == ("", (), 1)
    assert (QUEUE.skip_policy, QUEUE.lease, QUEUE.deleted_at) == (SkipPolicy.FINAL, timedelta(minutes=5), None)
    assert (NEW_ITEM.call_started_at, NEW_ITEM.call_ended_at, NEW_ITEM.payload) == (None, None, None)
    assert (NEW_ITEM.call_op_name, NEW_ITEM.call_trace_id, NEW_ITEM.display_fields, NEW_ITEM.priority) == (
        "",
        "",
        (),
        0,
    )
    query = ItemQuery()
    assert (query.filter, query.sort_by, query.limit, query.offset, query.cursor) == (ItemFilter(), (), None, 0, None)
    assert (query.include_position, query.include_total, query.annotator_id) == (False, False, None)
    assert (TRANSITION.reason, SortBy("id").direction) == (None, Direction.ASC)


def test_the_values_of_the_enums_are_their_lower_case_names() -> None:
    for enum in (AnnotationState, SkipPolicy, Direction, UnavailableReason):
        assert all(member.value == member.name.lower() for member in enum)
    assert [state.value for state in AnnotationState] == ["unstarted", "in_progress", "completed", "skipped"]


TEXT: list[object] = [1, None, b"a", "a\0", "\ud800", "a" * (2**20 + 1)]
ID: list[object] = [*TEXT, ""]
TIME: list[object] = [datetime(2026, 1, 1), "2026-01-01", 0]  # noqa: DTZ001 - the naive time that must be refused
INTEGER: list[object] = [True, 1.5, 2**63, -(2**63) - 1, "1", None]
TEXTS: list[object] = ["abc", None, 5, [1], ["\0"], [b"a"]]
STATE: list[object] = ["done", None, 1]
JSON: list[object] = [float("nan"), [float("inf")], {"a": "\0"}, {1: 2}, (1,), object()]
REFUSED: list[tuple[Any, str, list[object]]] = [
    (QUEUE, "id", ID),
    (QUEUE, "project_id", ID),
    (QUEUE, "name", TEXT),
    (QUEUE, "description", TEXT),
    (QUEUE, "scorer_refs", TEXTS),
    (QUEUE, "annotations_per_item", [*INTEGER, 0, -1]),
    (QUEUE, "skip_policy", ["never", None, 1]),
    (QUEUE, "lease", [timedelta(), timedelta(seconds=-1), timedelta.max, 300, None]),
    (QUEUE, "label_schema", [*JSON, [], "x", True, {"type": "nope"}]),
    (QUEUE, "is_paused", [None, 1, "yes"]),
    (QUEUE, "created_at", [*TIME, None]),
    (QUEUE, "created_by", ID),
    (QUEUE, "updated_at", [*TIME, None]),
    (QUEUE, "deleted_at", TIME),
    (NEW_ITEM, "call_id", ID),
    (NEW_ITEM, "call_started_at", TIME),
    (NEW_ITEM, "call_ended_at", TIME),
    (NEW_ITEM, "call_op_name", TEXT),
    (NEW_ITEM, "call_trace_id", TEXT),
    (NEW_ITEM, "display_fields", TEXTS),
    (NEW_ITEM, "assignees", TEXTS),
    (NEW_ITEM, "priority", INTEGER),
    (NEW_ITEM, "payload", [*JSON, [], "x", 1, True]),
    (ITEM, "id", ID),
    (ITEM, "project_id", ID),
    (ITEM, "queue_id", ID),
    (ITEM, "call_id", ID),
    (ITEM, "call_started_at", [*TIME, None]),
    (ITEM, "call_ended_at", TIME),
    (ITEM, "call_op_name", TEXT),
    (ITEM, "call_trace_id", TEXT),
    (ITEM, "display_fields", TEXTS),
    (ITEM, "assignees", TEXTS),
    (ITEM, "added_by", [1, "", "\0"]),
    (ITEM, "annotation_state", STATE),
    (ITEM, "annotator_user_id", [1, "", "\0"]),
    (ITEM, "created_at", [*TIME, None]),
    (ITEM, "created_by", ID),
    (ITEM, "updated_at", [*TIME, None]),
    (ITEM, "deleted_at", TIME),
    (ITEM, "position_in_queue", [0, -1, True, 1.5, 2**63]),
    (ITEM, "priority", INTEGER),
    (ITEM, "payload", [*JSON, [], "x"]),
    (PROGRESS, "item_id", ID),
    (PROGRESS, "annotator_id", ID),
    (PROGRESS, "state", STATE),
    (PROGRESS, "token", [*INTEGER, -1]),
    (PROGRESS, "lease_expires_at", TIME),
    (PROGRESS, "annotation", JSON),
    (PROGRESS, "reason", [1, b"a", "\0", "\ud800"]),
    (PROGRESS, "created_at", [*TIME, None]),
    (PROGRESS, "updated_at", [*TIME, None]),
    (PROGRESS, "started_at", TIME),
    (PROGRESS, "step", [*INTEGER, -1]),
    (TRANSITION, "item_id", ID),
    (TRANSITION, "annotator_id", ID),
    (TRANSITION, "from_state", STATE),
    (TRANSITION, "to_state", STATE),
    (TRANSITION, "at", [*TIME, None]),
    (TRANSITION, "reason", [1, "\0"]),
    (TRANSITION, "annotation", JSON),
    (TRANSITION, "actor_id", [1, "", "\0"]),
    (CLAIM.ref, "item_id", ID),
    (CLAIM.ref, "annotator_id", ID),
    (CLAIM.ref, "token", [*INTEGER, -1]),
]


@pytest.mark.parametrize(
    ("entity", "name", "values"), REFUSED, ids=[f"{type(entity).__name__}.{name}" for entity, name, _ in REFUSED]
)
def test_every_field_is_checked_when_an_entity_is_made_and_named_in_the_error(
    entity: Any,  # noqa: ANN401 - any of the entities
    name: str,
    values: list[object],
) -> None:
    for value in values:
        with pytest.raises(InvalidValue) as refused:
            attrs.evolve(entity, **{name: value})
        assert refused.value.field.split(".")[0].split("[")[0].removeprefix("a key of ") == name


def test_every_field_of_the_stored_entities_is_in_the_list_of_refusals() -> None:
    listed = {(type(entity), name) for entity, name, _ in REFUSED}
    stored = (AnnotationQueue, NewItem, QueueItem, Progress, Transition, ClaimRef)
    assert listed == {(made, field.name) for made in stored for field in attrs.fields(made)}


def test_values_are_brought_to_one_form() -> None:
    given: dict[str, Any] = {"skip_policy": "requeue", "scorer_refs": ["a", "b"]}
    queue = attrs.evolve(QUEUE, **given)
    assert queue.skip_policy is SkipPolicy.REQUEUE
    assert queue.scorer_refs == ("a", "b")
    item = NewItem(
        call_id="c", display_fields=iter(["x"]), call_started_at=NOON.astimezone(timezone(timedelta(hours=3)))
    )
    assert item.display_fields == ("x",)
    assert item.call_started_at == NOON
    assert item.call_started_at.tzinfo is UTC
    given = {"annotation_state": "skipped"}
    assert attrs.evolve(ITEM, **given).annotation_state is AnnotationState.SKIPPED
    assert SortBy("id", "desc").direction is Direction.DESC


def test_an_entity_keeps_a_copy_of_its_json() -> None:
    payload: dict[str, Any] = {"a": [1]}
    label: list[Any] = [{"b": 1}]
    new, item = NewItem(call_id="c", payload=payload), attrs.evolve(ITEM, payload=payload)
    progress = attrs.evolve(PROGRESS, annotation=label)
    payload["a"].append(2)
    label[0]["b"] = 2
    assert new.payload == {"a": [1]}
    assert item.payload == {"a": [1]}
    assert progress.annotation == [{"b": 1}]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": "1"}, "limit"),
        ({"limit": 2**63}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": None}, "offset"),
        ({"offset": True}, "offset"),
        ({"offset": 1, "cursor": "x"}, "offset"),
        ({"cursor": 5}, "cursor"),
        ({"sort_by": "id"}, "sort_by"),
        ({"sort_by": 5}, "sort_by"),
        ({"sort_by": ["id"]}, "sort_by[0]"),
        ({"sort_by": [SortBy("id"), ("id", "asc")]}, "sort_by[1]"),
        ({"sort_by": [SortBy("unknown")]}, "sort_by"),
        ({"sort_by": [SortBy("id; DROP TABLE items")]}, "sort_by"),
        ({"sort_by": [SortBy('"id"')]}, "sort_by"),
        ({"sort_by": [SortBy("")]}, "sort_by"),
        ({"sort_by": [SortBy("created_at"), SortBy("created_at", Direction.DESC)]}, "sort_by"),
    ],
)
def test_queries_of_items_and_of_queues_refuse_the_same_pages_and_sorts(arguments: dict[str, Any], field: str) -> None:
    for made in (ItemQuery, QueueQuery):
        with pytest.raises(InvalidQuery) as refused:
            made(**arguments)
        assert refused.value.field == field


@pytest.mark.parametrize("name", ["position_in_queue", "display_fields", "payload", "name"])
def test_items_do_not_sort_by_what_is_no_scalar_field_of_theirs(name: str) -> None:
    with pytest.raises(InvalidQuery):
        ItemQuery(sort_by=[SortBy(name)])


@pytest.mark.parametrize("name", ["description", "project_id", "priority", "created_by"])
def test_queues_do_not_sort_by_other_fields_than_the_four(name: str) -> None:
    with pytest.raises(InvalidQuery):
        QueueQuery(sort_by=[SortBy(name)])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"filter": None}, "filter"),
        ({"filter": {"id": "x"}}, "filter"),
        ({"include_position": 1}, "include_position"),
        ({"include_total": None}, "include_total"),
        ({"annotator_id": ""}, "annotator_id"),
        ({"annotator_id": 5}, "annotator_id"),
    ],
)
def test_a_query_of_items_refuses_what_its_other_fields_do_not_take(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        ItemQuery(**arguments)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"id": 1}, "id"),
        ({"call_id": "\0"}, "call_id"),
        ({"call_op_name": "\ud800"}, "call_op_name"),
        ({"call_trace_id": b"x"}, "call_trace_id"),
        ({"added_by": ["ann", 1]}, "added_by[1]"),
        ({"annotation_states": "completed"}, "annotation_states"),
        ({"annotation_states": ["done"]}, "annotation_states"),
        ({"annotation_states": [None]}, "annotation_states"),
        ({"annotation_states": 5}, "annotation_states"),
    ],
)
def test_a_filter_refuses_what_its_fields_do_not_take(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        ItemFilter(**arguments)
    assert refused.value.field == field


@pytest.mark.parametrize(("field", "direction"), [("id", "ASC"), ("id", "up"), ("id", None), ("id", 1)])
def test_a_sort_has_one_of_two_directions(field: str, direction: Any) -> None:  # noqa: ANN401 - what must be refused
    with pytest.raises(InvalidQuery, match="direction: expected one of asc, desc"):
        SortBy(field, direction)


def test_a_sort_field_is_text() -> None:
    with pytest.raises(InvalidQuery, match="sort_by: expected text"):
        SortBy(5)  # type: ignore[arg-type]  # what must be refused


@pytest.mark.parametrize("moves", [{("unstarted", "done")}, {("", "completed")}])
def test_a_workflow_moves_between_the_four_states_only(moves: set[tuple[str, str]]) -> None:
    with pytest.raises(InvalidValue, match="moves"):
        Workflow("odd", moves)


def test_nothing_to_claim_is_falsy_and_a_claim_is_truthy() -> None:
    assert not Unavailable(reason=UnavailableReason.EMPTY)
    assert bool(CLAIM)
