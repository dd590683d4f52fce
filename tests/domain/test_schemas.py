"""Label schemas: what is accepted as one, and where labels are checked."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from annotation_queue import (
    AnnotationQueues,
    Claim,
    InvalidLabel,
    InvalidValue,
    MemoryRepository,
    NewItem,
)
from annotation_queue.schemas import check_label, check_schema
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["grade"],
    "properties": {"grade": {"type": "integer", "maximum": 5}, "spans": {"items": {"type": "string"}}},
}


@pytest.mark.parametrize(
    "value",
    [
        5,
        "x",
        True,
        [],
        {"type": "text"},
        {"pattern": "("},
        {"required": "grade"},
        {"minimum": "1"},
        {"properties": []},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "http://127.0.0.1:1/x"},
        {"allOf": [{"$ref": "other.json"}]},
        {"$id": "https://example.com/a", "$ref": "b"},
        {"a": float("nan")},
        {"a": (1,)},
    ],
    ids=str,
)
def test_what_is_no_schema_is_refused_without_asking_the_network(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - what must be refused
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(InvalidValue) as refused:
        check_schema("label_schema", value)
    assert refused.value.field.startswith("label_schema")
    assert len(str(refused.value)) < 1_000
    assert str(refused.value).isprintable()


def test_a_reference_to_a_file_reads_no_file(tmp_path: Path) -> None:
    # If it were read, the schema would be accepted, and the second one would fail otherwise.
    target = tmp_path / "schema.json"
    target.write_text('{"type": "integer"}')
    with pytest.raises(InvalidValue) as there:
        check_schema("label_schema", {"$ref": target.as_uri()})
    target.unlink()
    with pytest.raises(InvalidValue) as gone:
        check_schema("label_schema", {"$ref": target.as_uri()})
    assert str(there.value) == str(gone.value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        SCHEMA,
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}},
        {"$ref": "#"},
        {"properties": {"a": {"$ref": "#"}}},
    ],
)
def test_a_schema_is_accepted_and_copied(value: dict[str, Any]) -> None:
    copied = check_schema("label_schema", value)
    assert copied == value
    assert copied is not value


@pytest.mark.parametrize(
    ("label", "field", "why"),
    [
        (None, "annotation", "null is not of type"),
        ({}, "annotation", '"grade" is a required property'),
        ({"grade": 9}, "annotation.grade", "9 is greater than the maximum of 5"),
        ({"grade": 1, "spans": ["a", 2]}, "annotation.spans[1]", "2 is not of type"),
    ],
)
def test_a_label_that_does_not_fit_is_told_where_and_why(label: Any, field: str, why: str) -> None:  # noqa: ANN401 - a label
    with pytest.raises(InvalidLabel) as refused:
        check_label(SCHEMA, label)
    assert (refused.value.field, why in refused.value.kind) == (field, True)


def test_whatever_the_label_holds_the_message_is_one_short_line() -> None:
    schema: dict[str, Any] = {"additionalProperties": {"type": "integer"}}
    for key, value in (("a\nb", "x"), ("a" * 1_000, "x"), ("key", "line\n" * 1_000), ("\u202e", "\u202e")):
        with pytest.raises(InvalidLabel) as refused:
            check_label(schema, {key: value})
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 600


class World:
    """A queue with the schema, an item, and Ann's claim on it."""

    def __init__(self) -> None:
        self.repository = MemoryRepository()
        self.queues = AnnotationQueues(self.repository, "project")
        self.queue = self.queues.create("queue", created_by="ann", label_schema=SCHEMA)
        self.queues.add_items(self.queue.id, [NewItem(call_id="a")], added_by="ann")
        claim = self.queues.claim(self.queue.id, "ann")
        assert isinstance(claim, Claim)
        self.claim, self.item_id = claim, claim.item.id

    def stored(self) -> object:
        return self.queues.get_item(self.item_id), self.queues.progress(self.item_id), self.queues.history(self.item_id)


BAD: Final[Any] = {"grade": 9}
WAYS: Final[dict[str, Callable[[World], object]]] = {
    "complete": lambda w: w.queues.complete(w.claim, BAD),
    "complete by reference": lambda w: w.queues.complete(w.claim.ref, BAD),
    "complete without a label": lambda w: w.queues.complete(w.claim),
    "complete_batch": lambda w: w.queues.complete_batch([(w.claim, BAD)]),
    "update_progress": lambda w: w.queues.update_progress(w.item_id, "ann", COMPLETED, annotation=BAD),
    "somebody else": lambda w: w.queues.update_progress(w.item_id, "bob", COMPLETED, annotation=BAD),
    "an override": lambda w: w.queues.update_progress(
        w.item_id, "ann", COMPLETED, annotation=BAD, actor_id="boss", override=True
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_to_completed_checks_the_label_and_writes_nothing_that_does_not_fit(way: str) -> None:
    world = World()
    before = world.stored()
    with pytest.raises(InvalidLabel):
        WAYS[way](world)
    assert world.stored() == before


@pytest.mark.parametrize("way", [way for way in WAYS if way != "complete without a label"])
def test_a_revision_checks_the_label_too(way: str) -> None:
    world = World()
    world.queues.complete(world.claim, {"grade": 1})
    before = world.stored()
    with pytest.raises(InvalidLabel):
        WAYS[way](world)
    assert world.stored() == before


def test_drafts_and_skips_are_not_checked_but_a_draft_is_when_it_becomes_the_label() -> None:
    world = World()
    world.queues.save_draft(world.claim, BAD)
    world.queues.update_progress(world.item_id, "ann", IN_PROGRESS, annotation="anything")
    assert [each.annotation for each in world.queues.progress(world.item_id)] == ["anything"]
    with pytest.raises(InvalidLabel):
        world.queues.complete(world.claim)
    world.queues.update_progress(world.item_id, "bob", SKIPPED, annotation=BAD)
    world.queues.save_draft(world.claim, {"grade": 2})
    world.queues.complete(world.claim)
    assert [each.annotation for each in world.queues.progress(world.item_id)] == [{"grade": 2}, BAD]


def test_schemas_that_python_calls_equal_and_json_does_not_are_told_apart() -> None:
    queues = AnnotationQueues(MemoryRepository(), "project")
    queue = queues.create("queue", created_by="ann", label_schema={"const": 1}, queue_id="q")
    assert queues.update(queue.id, label_schema={"const": True}).label_schema == {"const": True}
    assert type(queues.get(queue.id).label_schema["const"]) is bool  # type: ignore[index]  # it has one
    swapped: dict[str, Any] = {"properties": {"b": {}, "a": {}}}
    queues.update(queue.id, label_schema={"properties": {"a": {}, "b": {}}})
    queues.update(queue.id, label_schema=swapped)
    assert list(queues.get(queue.id).label_schema["properties"]) == ["b", "a"]  # type: ignore[index,arg-type]


def test_entities_without_json_are_hashable() -> None:
    world = World()
    assert len({attrs.evolve(each, label_schema=None) for each in (world.queue, world.queues.get(world.queue.id))}) == 1
    assert len({world.claim, world.claim.ref, world.claim.item}) == 3
    assert len({*world.queues.progress(world.item_id), *world.queues.history(world.item_id)}) == 2
