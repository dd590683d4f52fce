"""Labels through Weave's feedback: what a rater said comes in as its client sends it, and is shown again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationQueues, MemoryRepository, NewItem
from helpers.servers import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

CALL = f"weave:///{PROJECT}/call/call-1"
SCHEMA = {
    "type": "object",
    "properties": {"stars": {"type": "integer", "maximum": 5}, "why": {"type": "string"}},
    "required": ["stars", "why"],
}


MAPS = ("tag_reasons", "tag_confidences", "ratings", "rating_reasons", "rating_confidences")
# What Weave's Python client sends with every feedback.
EMPTY: dict[str, Any] = {
    **dict.fromkeys(("id", "runnable_ref", "call_ref", "trigger_ref")),
    **{f"scorer_{name}": {} for name in MAPS},
    "scorer_tags": [],
    "span_agent_name": "",
    "span_agent_version": "",
    "span_status_code": "UNSET",
    "creator": "Ann",
    "wb_user_id": "mallory",
}


def ref(name: str) -> str:
    return f"weave:///{PROJECT}/object/{name}:abc123"


@pytest.fixture
def repository() -> Iterator[MemoryRepository]:
    with MemoryRepository() as made:
        yield made


@pytest.fixture
def queues(repository: MemoryRepository) -> AnnotationQueues:
    return AnnotationQueues(repository, PROJECT)


def queue_of(queues: AnnotationQueues, schema: Any = None) -> str:  # noqa: ANN401 - JSON
    queue = queues.create("q", created_by="ann", label_schema=schema, scorer_refs=[ref("stars"), ref("why")])
    queues.add_items(queue.id, [NewItem(call_id="call-1"), NewItem(call_id="call-2")], added_by="ann")
    return queue.id


def feedback(queue_id: str, name: str, value: Any, **other: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "project_id": PROJECT,
        "queue_id": queue_id,
        "weave_ref": CALL,
        "feedback_type": f"wandb.annotation.{name}",
        "annotation_ref": ref(name),
        "payload": {"value": value},
    } | other


def equals(field: str, text: str) -> dict[str, Any]:
    return {"$eq": [{"$getField": field}, {"$literal": text}]}


def ask(client: httpx.Client, *conditions: dict[str, Any], **other: Any) -> list[Any]:  # noqa: ANN401 - JSON
    expression = conditions[0] if len(conditions) == 1 else {"$and": list(conditions)}
    answer = client.post("/feedback/query", json={"project_id": PROJECT, "query": {"$expr": expression}} | other)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["result"]
    return found


def test_answers_become_the_label_and_are_shown_again(
    connect: Callable[..., httpx.Client], repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    client, queue_id = connect(repository=repository), queue_of(queues, SCHEMA)
    (item_id,) = [each.id for each in queues.iter_items(queue_id) if each.call_id == "call-1"]
    made = client.post("/feedback/create", json=feedback(queue_id, "stars", 4, **EMPTY)).json()
    assert (made["wb_user_id"], made["payload"]) == ("ann", {"value": 4})
    progress = f"/annotation_queues/{queue_id}/items/{item_id}/progress"
    done = {"project_id": PROJECT, "annotation_state": "completed"}
    assert client.post(progress, json=done).status_code == 422  # the schema wants both
    client.post("/feedback/create", json=feedback(queue_id, "why", "good"))
    assert client.post(progress, json=done).status_code == 200
    again = client.post("/feedback/create", json=feedback(queue_id, "stars", 5)).json()
    assert again["id"] == made["id"]
    (label,) = queues.iter_labels(queue_id)
    assert label.progress.annotation == {"stars": 5, "why": "good"}
    assert [each.annotation for each in queues.history(item_id)][1:] == [
        {"stars": 4, "why": "good"},
        {"stars": 5, "why": "good"},
    ]
    sort = [{"field": "created_at", "direction": "asc"}]
    found = {each["feedback_type"]: each for each in ask(client, equals("weave_ref", CALL), sort_by=sort)}
    assert {name: each["payload"]["value"] for name, each in found.items()} == {
        "wandb.annotation.stars": 5,
        "wandb.annotation.why": "good",
    }
    stars = found["wandb.annotation.stars"]
    assert (stars["id"], stars["annotation_ref"], stars["queue_id"]) == (made["id"], ref("stars"), queue_id)
    assert (stars["wb_user_id"], stars["weave_ref"], stars["project_id"]) == ("ann", CALL, PROJECT)
    assert ask(
        client, equals("queue_id", queue_id), equals("feedback_type", "wandb.annotation.why"), fields=["payload"]
    ) == [{"payload": {"value": "good"}}]
    assert ask(client, equals("queue_id", queue_id), equals("wb_user_id", "bob")) == []
    assert len(ask(client, equals("queue_id", queue_id), limit=1, offset=1)) == 1


def test_a_queue_whose_labels_are_no_objects_takes_the_answer_as_the_label(
    connect: Callable[..., httpx.Client], repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    client, queue_id = connect(repository=repository), queue_of(queues, {"enum": ["good", "bad"], "type": "string"})
    assert client.post("/feedback/create", json=feedback(queue_id, "stars", "good")).status_code == 200
    assert client.post("/feedback/create", json=feedback(queue_id, "stars", "fine")).status_code == 422
    (found,) = ask(client, equals("weave_ref", CALL))
    assert found["payload"] == {"value": "good"}


def test_what_is_no_answer_of_a_rater_is_refused_and_stores_nothing(
    connect: Callable[..., httpx.Client], repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    client, queue_id = connect(repository=repository), queue_of(queues, SCHEMA)
    for status, wrong in (
        (422, {"payload": {"value": 6}}),
        (422, {"payload": {}}),
        (422, {"payload": 7}),
        (400, {"id": "mine"}),
        (400, {"scorer_tags": ["a"]}),
        (422, {"nope": 1}),
        (422, {"queue_id": None}),
        (400, {"feedback_type": "wandb.reaction.1"}),
        (400, {"feedback_type": "wandb.annotation."}),
        (400, {"annotation_ref": ref("why")}),
        (400, {"annotation_ref": ref("stars").replace(PROJECT, "acme/other")}),
        (400, {"weave_ref": "weave:///acme/other/call/call-1"}),
        (404, {"weave_ref": CALL + "0"}),
        (404, {"queue_id": "nope"}),
    ):
        answer = client.post("/feedback/create", json=feedback(queue_id, "stars", 4) | wrong)
        assert answer.status_code == status, (wrong, answer.text)
    expressions: list[Any] = [{}, {"$or": []}, equals("payload", "x"), equals("id", "x")]
    queries: list[Any] = [None, {}, *({"$expr": each} for each in expressions)]
    for query in queries:
        answer = client.post("/feedback/query", json={"project_id": PROJECT, "query": query})
        assert answer.status_code == 400, query
    body = {"project_id": PROJECT, "query": {"$expr": equals("queue_id", queue_id)}}
    for sort in ([{"field": "id", "direction": "asc"}], [{"field": "created_at", "direction": "up"}]):
        assert client.post("/feedback/query", json=body | {"sort_by": sort}).status_code == 400
    assert ask(client, equals("queue_id", queue_id)) == []
    item = next(queues.iter_items(queue_id))
    assert queues.progress(item.id) == ()
