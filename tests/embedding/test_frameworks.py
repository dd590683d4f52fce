"""Web frameworks and serialisers take every entity and give it, as they are, without a line of glue."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, cast

import attrs
import cattrs.preconf.json
import fastapi
import httpx
import litestar
import litestar.params
import msgspec
import pytest
from pydantic import TypeAdapter, ValidationError

import annotation_queue
from annotation_queue import AnnotationQueues, Claim, ItemPatch, MemoryRepository, NewItem, QueueItem, Unavailable
from annotation_queue.converters import explain, make_converter
from annotation_queue.entities import Entity
from helpers.entities import every_entity
from helpers.servers import NO_TLS, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

ENTITIES = every_entity()
JSON = {"content-type": "application/json"}
KINDS = {type(entity).__name__: type(entity) for entity in ENTITIES}


def test_there_is_an_example_of_every_entity() -> None:
    ours = {each.__name__ for each in Entity.__subclasses__() if each.__module__.startswith("annotation_queue.")}
    assert ours == set(KINDS)


def test_what_the_package_offers_and_holds_values_only_is_an_entity() -> None:
    of_storages = {"Change", "ItemRecord", "Standing"}
    offered = {name: getattr(annotation_queue, name) for name in annotation_queue.__all__}
    values = {name for name, value in offered.items() if isinstance(value, type) and attrs.has(value)}
    assert values - of_storages == {name for name in values if issubclass(offered[name], Entity)}


def takes_and_gives(kind: type, body: object) -> Callable[[Any], Any]:
    """Make a handler that takes an entity as the body of a request, marked so as the framework wants it, and gives it back."""

    def handle(data: Any) -> Any:  # noqa: ANN401 - replaced below
        assert isinstance(data, kind)
        return data

    handle.__annotations__ = {"data": Annotated[kind, body], "return": kind}
    return handle


def test_fastapi_takes_and_gives_every_entity_and_describes_it() -> None:
    app = fastapi.FastAPI()
    for name, kind in KINDS.items():
        app.post(f"/{name}")(takes_and_gives(kind, fastapi.Body()))
    with serving(app) as url, httpx.Client(verify=NO_TLS, base_url=url) as client:
        for entity in ENTITIES:
            sent = TypeAdapter(type(entity)).dump_json(entity)
            answer = client.post(f"/{type(entity).__name__}", content=sent, headers=JSON)
            assert answer.status_code == 200, answer.text
            assert TypeAdapter(type(entity)).validate_json(answer.content) == entity
        described = client.get("/openapi.json").json()["components"]["schemas"]
    assert described["Claim"]["properties"]["item"]["$ref"].endswith("/QueueItem")
    assert described["NewItem"]["required"] == ["call_id"]


def test_fastapi_refuses_what_an_entity_refuses() -> None:
    app = fastapi.FastAPI()
    app.post("/")(takes_and_gives(NewItem, fastapi.Body()))
    with serving(app) as url, httpx.Client(verify=NO_TLS, base_url=url) as client:
        answer = client.post("/", json={"call_id": ""})
        assert answer.status_code == 422
        assert "call_id: expected non-empty text" in answer.json()["detail"][0]["msg"]
        assert client.post("/", json={"call_id": "a", "colour": "red"}).status_code == 422


def test_litestar_takes_and_gives_every_entity_and_describes_it() -> None:
    body = litestar.params.Body()
    handlers = [
        litestar.post(f"/{name}", sync_to_thread=False)(takes_and_gives(kind, body)) for name, kind in KINDS.items()
    ]
    app = cast("ASGIApp", litestar.Litestar(handlers))
    with serving(app) as url, httpx.Client(verify=NO_TLS, base_url=url) as client:
        for entity in ENTITIES:
            answer = client.post(f"/{type(entity).__name__}", content=msgspec.json.encode(entity), headers=JSON)
            assert answer.status_code == 201, answer.text
            assert msgspec.json.decode(answer.content, type=type(entity)) == entity
        answer = client.get("/schema/openapi.json")
        assert answer.status_code == 200
        assert "QueueItem" in answer.json()["components"]["schemas"]


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: type(entity).__name__)
def test_serialisers_give_back_what_they_took(entity: Entity) -> None:
    kind = type(entity)
    assert msgspec.json.decode(msgspec.json.encode(entity), type=kind) == entity
    adapter = TypeAdapter(kind)
    assert adapter.validate_json(adapter.dump_json(entity)) == entity
    assert adapter.validate_python(entity) is entity
    plain = cattrs.preconf.json.make_converter()
    plain.register_unstructure_hook(
        timedelta, timedelta.total_seconds
    )  # the one type that this converter does not know
    plain.register_structure_hook(timedelta, lambda seconds, _kind: timedelta(seconds=seconds))
    # What a patch leaves out, this converter would write all the same; ours does not.
    written = plain.dumps(entity.given if isinstance(entity, ItemPatch) else entity)
    assert plain.loads(written, kind) == entity


def read_by_fastapi(body: bytes) -> httpx.Response:
    app = fastapi.FastAPI()
    app.patch("/")(changes_an_item(fastapi.Body()))
    with serving(app) as url:
        return httpx.patch(url, content=body, headers=JSON)


def read_by_litestar(body: bytes) -> httpx.Response:
    handler = litestar.patch("/", sync_to_thread=False)(changes_an_item(litestar.params.Body()))
    with serving(cast("ASGIApp", litestar.Litestar([handler]))) as url:
        return httpx.patch(url, content=body, headers=JSON)


def changes_an_item(body: object) -> Callable[[Any], Any]:
    """Make a handler that takes a patch, applies it to an item that has a priority and a payload, and gives the item."""

    def handle(data: Any) -> Any:  # noqa: ANN401 - replaced below
        return patched_item(data)

    handle.__annotations__ = {"data": Annotated[ItemPatch, body], "return": QueueItem}
    return handle


def patched_item(patch: ItemPatch) -> QueueItem:
    queues = AnnotationQueues(MemoryRepository(), "project")
    queue = queues.create("queue", created_by="ann")
    new = NewItem(call_id="call", priority=5, payload={"n": 1}, assignees=("ann",))
    (item,) = queues.add_items(queue.id, [new], added_by="ann").added
    queues.update_items(queue.id, [item.id], patch)
    return queues.get_item(item.id)


@pytest.mark.parametrize(
    ("body", "priority", "payload", "assignees"),
    [
        (b"{}", 5, {"n": 1}, ["ann"]),
        (b'{"payload": null, "assignees": []}', 5, None, []),
        (b'{"priority": 7, "payload": {"n": 2}, "assignees": ["bob", "ann", "bob"]}', 7, {"n": 2}, ["ann", "bob"]),
    ],
)
def test_what_the_body_of_a_request_leaves_out_stays_and_null_takes_away(
    body: bytes, priority: int, payload: object, assignees: list[str]
) -> None:
    for answer in (read_by_fastapi(body), read_by_litestar(body)):
        item = answer.json()
        assert (item["priority"], item["payload"], item["assignees"]) == (priority, payload, assignees)
    plain = cattrs.preconf.json.make_converter()
    for patch in (msgspec.json.decode(body, type=ItemPatch), plain.loads(body.decode(), ItemPatch)):
        changed = patched_item(patch)
        assert (changed.priority, changed.payload, list(changed.assignees)) == (priority, payload, assignees)


def test_a_patch_refuses_null_where_null_means_nothing() -> None:
    body = b'{"priority": null}'
    assert (read_by_fastapi(body).status_code, read_by_litestar(body).status_code) == (422, 400)
    with pytest.raises(msgspec.ValidationError, match="priority"):
        msgspec.json.decode(body, type=ItemPatch)
    with pytest.raises(cattrs.BaseValidationError) as caught:
        make_converter().structure({"priority": None}, ItemPatch)
    assert explain(caught.value) == ("$.priority: expected an integer, got None",)


def test_what_a_patch_leaves_out_stays_out_of_what_is_written_of_it() -> None:
    patch = ItemPatch(payload=None)
    for one in (patch, copy.deepcopy(patch), pickle.loads(pickle.dumps(patch))):  # noqa: S301 - our own
        assert msgspec.json.encode(one) == b'{"payload":null}'
        assert TypeAdapter(ItemPatch).dump_json(one) == b'{"payload":null}'
        assert make_converter().unstructure(one) == {"payload": None}
        assert (one.priority, one.payload) == (attrs.NOTHING, None)


def test_items_that_serialisers_made_are_checked_as_those_that_the_class_made() -> None:
    body = '{"call_id": "call", "assignees": ["bob", "ann", "bob"], "display_fields": ["text"]}'
    made = msgspec.json.decode(body, type=NewItem)
    assert made == NewItem(call_id="call", assignees=["bob", "ann", "bob"], display_fields=["text"])
    assert made.assignees == ("ann", "bob")
    with pytest.raises(msgspec.ValidationError, match=r"assignees\[1\]: expected non-empty text"):
        msgspec.json.decode('{"call_id": "call", "assignees": ["ann", ""]}', type=NewItem)
    with pytest.raises(msgspec.ValidationError, match=r"display_fields\[0\]: expected text without NUL"):
        msgspec.json.decode(r'{"call_id": "call", "display_fields": ["\u0000"]}', type=NewItem)


def test_a_model_of_pydantic_holds_entities() -> None:
    adapter = TypeAdapter(dict[str, list[Claim]])
    claims = {"mine": [each for each in ENTITIES if isinstance(each, Claim)]}
    assert adapter.validate_json(adapter.dump_json(claims)) == claims
    # What a claim answers is one of two classes.
    answers: TypeAdapter[Claim | Unavailable] = TypeAdapter(Claim | Unavailable)
    for answer in ENTITIES:
        if isinstance(answer, Claim | Unavailable):
            assert answers.validate_json(answers.dump_json(answer, warnings="error")) == answer
    with pytest.raises(ValidationError, match=r"mine\.0\.item"):
        adapter.validate_python({"mine": [{"item": 5, "annotator_id": "ann", "token": 1, "expires_at": 0}]})
