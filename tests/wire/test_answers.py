"""Every field of every published answer, and how errors are answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import attrs
import pytest

from annotation_queue import (
    AnnotationQueueError,
    AnnotationQueues,
    AnnotationState,
    ClaimLost,
    Conflict,
    InvalidQuery,
    InvalidTransition,
    InvalidValue,
    ItemNotFound,
    MemoryRepository,
    NewItem,
    OutcomeUnknown,
    QueueNotFound,
    SchemaVersionUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from annotation_queue.wire import evalguard, weave
from annotation_queue.wire.converter import dump

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.clocks import Clock

PROJECT = {"project_id": "project"}

# Published field -> whether it may be null. Every field is always there.
QUEUE = {
    "id": False,
    "project_id": False,
    "name": False,
    "description": False,
    "scorer_refs": False,
    "created_at": False,
    "created_by": False,
    "updated_at": False,
    "deleted_at": True,
}
ITEM = {
    "id": False,
    "project_id": False,
    "queue_id": False,
    "call_id": False,
    "call_started_at": False,
    "call_ended_at": True,
    "call_op_name": False,
    "call_trace_id": False,
    "display_fields": False,
    "added_by": True,
    "annotation_state": False,
    "annotator_user_id": True,
    "created_at": False,
    "created_by": False,
    "updated_at": False,
    "deleted_at": True,
    "position_in_queue": True,
}
ANSWERS = {
    weave.CreateRes: {"id": False},
    weave.Queue: QUEUE,
    weave.QueueRes: {"queue": False},
    weave.AddCallsRes: {"added_count": False, "duplicates": False},
    weave.Item: ITEM,
    weave.ItemsQueryRes: {"items": False},
    weave.ProgressRes: {"item": False},
    weave.QueueStats: {"queue_id": False, "total_items": False, "completed_items": False},
    weave.StatsRes: {"stats": False},
    evalguard.StateRes: {"success": False},
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_has_exactly_the_published_fields(kind: type) -> None:
    types = get_type_hints(kind)
    nullable = {field.name: NoneType in get_args(types[field.name]) for field in attrs.fields(kind)}
    assert nullable == ANSWERS[kind]


def test_answers_are_the_published_json(queues: AnnotationQueues, clock: Clock) -> None:
    at = "2026-01-01T12:00:00.000000+00:00"
    body = weave.read(weave.CreateBody, {**PROJECT, "name": "Q", "scorer_refs": ["s"], "description": "D"})
    made = weave.create(queues, body, user_id="ann")
    assert written(made) == {"id": "id-000001"}
    queue = {
        "id": "id-000001",
        "project_id": "project",
        "name": "Q",
        "description": "D",
        "scorer_refs": ["s"],
        "created_at": at,
        "created_by": "ann",
        "updated_at": at,
        "deleted_at": None,
    }
    assert written(weave.get(queues, "id-000001")) == {"queue": queue}
    (page,) = weave.query(queues, weave.read(weave.QueuesQueryBody, PROJECT))
    assert [written(each) for each in page] == [queue]

    new = NewItem(
        call_id="c",
        call_started_at=datetime(2025, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        call_op_name="op",
        call_trace_id="t",
        payload={"never": "shown"},
        priority=7,
    )
    adding = weave.read(weave.AddCallsBody, {**PROJECT, "call_ids": ["c"], "display_fields": ["f"]})
    added = weave.add_calls(queues, "id-000001", adding, user_id="bob", resolve_calls=lambda *_: [new])
    assert written(added) == {"added_count": 1, "duplicates": 0}
    item = {
        "id": "id-000002",
        "project_id": "project",
        "queue_id": "id-000001",
        "call_id": "c",
        "call_started_at": "2024-12-31T23:00:00.000000+00:00",
        "call_ended_at": None,
        "call_op_name": "op",
        "call_trace_id": "t",
        "display_fields": ["f"],
        "added_by": "bob",
        "annotation_state": "unstarted",
        "annotator_user_id": None,
        "created_at": at,
        "created_by": "bob",
        "updated_at": at,
        "deleted_at": None,
        "position_in_queue": None,
    }
    asked = weave.read(weave.ItemsQueryBody, PROJECT)
    assert written(weave.query_items(queues, "id-000001", asked)) == {"items": [item]}

    clock.move(0.25)
    later = "2026-01-01T12:00:00.250000+00:00"
    moving = weave.read(weave.ProgressBody, {**PROJECT, "annotation_state": "completed"})
    moved = weave.update_progress(queues, "id-000001", "id-000002", moving, annotator_id="carl")
    item |= {"annotation_state": "completed", "annotator_user_id": "carl", "updated_at": later}
    assert written(moved) == {"item": item}
    counting = weave.read(weave.StatsBody, {**PROJECT, "queue_ids": ["id-000001"]})
    stats = {"queue_id": "id-000001", "total_items": 1, "completed_items": 1}
    assert written(weave.stats(queues, counting)) == {"stats": [stats]}

    naming = weave.read(weave.UpdateBody, {**PROJECT, "name": "R"})
    queue |= {"name": "R", "updated_at": later}
    assert written(weave.update(queues, "id-000001", naming)) == {"queue": queue}
    assert written(weave.delete(queues, "id-000001")) == {"queue": queue | {"deleted_at": later}}
    assert written(evalguard.StateRes()) == {"success": True}


def written(message: object) -> Any:  # noqa: ANN401 - whatever JSON can say
    return json.loads(dump(weave.write(message)))


INSIDE = "/home/ann/labels.db: INSERT INTO items"
ERRORS: list[tuple[AnnotationQueueError, int]] = [
    (InvalidValue("call_ids[3]", "an empty str", "non-empty text"), 422),
    (InvalidQuery("limit", "int -1", "an integer"), 422),
    (QueueNotFound("q"), 404),
    (ItemNotFound("i"), 404),
    (InvalidTransition("completed", "skipped", "standard"), 400),
    (weave.Refused("no"), 400),
    (Conflict(INSIDE), 503),
    (StorageBusy(INSIDE), 503),
    (OutcomeUnknown(INSIDE), 503),
    (StorageFull(INSIDE), 503),
    (StorageCorrupt(INSIDE), 500),
    (SchemaVersionUnknown(INSIDE, 2, 1), 500),
    (StorageError(INSIDE), 500),
    (ClaimLost(INSIDE, "a", 1), 500),
    (AnnotationQueueError(INSIDE), 500),
]


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])
def test_an_error_is_answered_as_published_and_tells_nothing_of_the_storage(
    error: AnnotationQueueError, status: int
) -> None:
    answered, body = weave.refusal(error)
    assert answered == status
    assert list(body) == ["detail" if status == 422 else "reason"]
    assert "labels.db" not in str(body)
    assert "INSERT" not in str(body)
    assert evalguard.refusal(error) == (400 if status == 422 else status, body)


def test_a_value_that_the_service_refuses_has_its_place_in_the_body() -> None:
    _, body = weave.refusal(InvalidValue("call_ids[3]", "an empty str", "non-empty text"))
    fault = {"loc": ["body", "call_ids", 3], "msg": "expected non-empty text, got an empty str", "type": "value_error"}
    assert body == {"detail": [fault]}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000000+00:00"),
        (datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "0001-01-01T00:00:00.000001+00:00"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_times_have_their_offset_and_all_their_digits(moment: datetime, text: str) -> None:
    assert weave.write(moment) == text
    assert datetime.fromisoformat(text) == moment


def test_evalguard_finds_an_item_in_whichever_project_it_is(make_queues: Callable[..., AnnotationQueues]) -> None:
    here, there = make_queues("here"), make_queues("there")
    queue = there.create("q", created_by="ann")
    (item,) = there.add_items(queue.id, [NewItem(call_id="c")], added_by="ann").added

    def move(state: str, *projects: AnnotationQueues) -> str:
        body = evalguard.read(evalguard.StateBody, {"item_id": item.id, "state": state})
        assert evalguard.write(evalguard.update(projects, body, annotator_id="bob")) == {"success": True}
        return there.progress(item.id)[0].state

    assert move("in_progress", here, there) == AnnotationState.IN_PROGRESS
    assert move("pending", here, there) == AnnotationState.UNSTARTED
    assert move("in_progress", there) == AnnotationState.IN_PROGRESS
    assert move("skipped", there, here) == AnnotationState.SKIPPED
    assert move("skipped", there, here) == AnnotationState.SKIPPED
    with pytest.raises(InvalidTransition):
        move("pending", there)
    for projects in ([], [here]):
        with pytest.raises(ItemNotFound):
            move("completed", *projects)


def test_pending_for_what_nobody_started_is_there_already() -> None:
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, "p")
        queue = queues.create("q", created_by="ann")
        (item,) = queues.add_items(queue.id, [NewItem(call_id="c")], added_by="ann").added
        body = evalguard.read(evalguard.StateBody, {"item_id": item.id, "state": "pending"})
        assert evalguard.update([queues], body, annotator_id="bob").success
        assert queues.progress(item.id) == ()
