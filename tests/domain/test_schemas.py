"""Schemas of labels: what is refused as a schema, what as a label, and that neither reads or writes anything."""

from __future__ import annotations

import sys
from collections import OrderedDict
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationState, Conflict, InvalidLabel, InvalidValue, JsonValue, NewItem
from annotation_queue.schemas import _MOST_KEPT, _Validators, check_label, check_schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from annotation_queue import AnnotationQueue, AnnotationQueues, Claim

CHOICES: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"choice": {"enum": ["good", "bad"]}, "boxes": {"type": "array", "items": {"type": "integer"}}},
    "required": ["choice"],
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nope"},
        {"type": 5},
        {"required": "choice"},
        {"minimum": "x"},
        {"properties": {"a": {"type": "strin"}}},
        {"pattern": "("},
        {"$ref": "other.json"},
        {"$ref": "https://example.com/schema"},
        {"$defs": {"a": {"$ref": "https://example.com/schema"}}},
        {"$dynamicRef": "https://example.com/schema"},
        {"type": float("nan")},
        {1: 2},
        [],
        "string",
        True,
        5,
    ],
)
def test_what_is_no_schema_is_refused_and_says_why(schema: Any) -> None:  # noqa: ANN401 - what must be refused
    with pytest.raises(InvalidValue) as refused:
        check_schema("label_schema", schema)
    assert refused.value.field.startswith(("label_schema", "a key of label_schema"))
    assert 0 < len(refused.value.kind) <= 300


@pytest.mark.parametrize("key", ["$ref", "$id", "$schema"])
def test_a_schema_that_points_to_a_file_never_opens_it(tmp_path: Path, key: str) -> None:
    path = tmp_path / "schema.json"
    path.write_text('{"type": "string"}')
    opened: list[str] = []

    def note(event: str, args: tuple[object, ...]) -> None:
        if event in {"open", "socket.connect", "socket.getaddrinfo"} and "schema.json" in str(args):
            opened.append(event)

    sys.addaudithook(note)
    accessed = path.stat().st_atime_ns
    schema = {"$id": path.parent.as_uri() + "/", "$ref": path.name} if key == "$id" else {key: path.as_uri()}
    if key == "$schema":
        # It names the dialect, and ours is fixed; nothing is fetched for it.
        check_label(check_schema("label_schema", schema), 5)
    else:
        with pytest.raises(InvalidValue, match="lies outside the schema"):
            check_schema("label_schema", schema)
    assert opened == []
    assert path.stat().st_atime_ns == accessed


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}]
)
def test_a_schema_that_refers_to_itself_ends(schema: dict[str, JsonValue]) -> None:
    check_label(check_schema("label_schema", schema), {"a": [1]})


@pytest.mark.parametrize(
    ("label", "place", "why"),
    [
        ({}, "annotation", '"choice" is a required property'),
        ({"choice": "ugly"}, "annotation.choice", "ugly"),
        ({"choice": "bad", "boxes": [1, "two"]}, "annotation.boxes[1]", '"two" is not of type "integer"'),
        (None, "annotation", 'null is not of type "object"'),
    ],
)
def test_a_label_that_does_not_fit_is_refused_and_says_where_and_why(label: Any, place: str, why: str) -> None:  # noqa: ANN401 - any JSON
    with pytest.raises(InvalidLabel) as refused:
        check_label(CHOICES, label)
    assert refused.value.field == place
    assert why in refused.value.kind


def test_a_refusal_is_short_and_in_one_line_however_long_and_odd_the_label_is() -> None:
    with pytest.raises(InvalidLabel) as refused:
        check_label({"additionalProperties": {"type": "integer"}}, {"a\nb" * 10_000: "x" * 100_000})
    message = str(refused.value)
    assert len(message) < 600
    assert "\n" not in message


class Choice(StrEnum):
    GOOD = "good"


class Number(IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Integer(int):
    __slots__ = ()


@pytest.mark.parametrize(
    "label",
    [Choice.GOOD, Number.ONE, Text("good"), Integer(1), [Text("a")], {Text("a"): 1}, OrderedDict(a=Text("b"))],
)
def test_a_label_of_a_kind_that_json_takes_is_checked_as_what_it_stands_for(label: Any) -> None:  # noqa: ANN401 - any JSON
    check_label({"type": ["string", "integer", "array", "object"]}, label)
    with pytest.raises(InvalidLabel):
        check_label({"type": "null"}, label)


def test_compiled_schemas_are_kept_by_what_they_hold_and_not_by_their_number() -> None:
    kept = _Validators()
    big = ['{"description": "%s"}' % (str(number) * 400_000) for number in range(20)]
    for text in big:
        kept.of(text, "label_schema")
        assert sum(map(len, kept._kept)) == kept._held <= _MOST_KEPT
    assert kept.of(big[-1], "label_schema") is kept.of(big[-1], "label_schema")
    for number in range(1_000):
        kept.of(f'{{"minimum": {number}}}', "label_schema")
    assert kept.of('{"minimum": 0}', "x") is kept.of('{"minimum": 0}', "y")


@pytest.fixture
def queue(queues: AnnotationQueues) -> AnnotationQueue:
    made = queues.create("queue", created_by="ann", label_schema=CHOICES, annotations_per_item=9)
    queues.add_items(made.id, [NewItem(call_id="call")], added_by="ann")
    return made


@pytest.fixture
def held(queues: AnnotationQueues, queue: AnnotationQueue) -> Claim:
    claim = queues.claim(queue.id, "bob")
    assert claim
    return claim


BAD: list[JsonValue] = [None, "good", {}, {"choice": "ugly"}]


@pytest.mark.parametrize("label", BAD)
@pytest.mark.parametrize("repository", ["memory"], indirect=True)
def test_a_label_that_does_not_fit_is_refused_at_completion_and_nothing_is_written(
    queues: AnnotationQueues, held: Claim, label: JsonValue
) -> None:
    item_id, before = held.item.id, _stored(queues, held)
    calls: list[Callable[[], object]] = [
        lambda: queues.complete(held, label),
        lambda: queues.complete(held.ref, label),
        lambda: queues.complete_batch([(held, label)]),
        lambda: queues.update_progress(item_id, "bob", AnnotationState.COMPLETED, annotation=label),
        lambda: queues.update_progress(item_id, "eve", AnnotationState.COMPLETED, annotation=label),
        lambda: queues.update_progress(
            item_id, "eve", AnnotationState.COMPLETED, annotation=label, actor_id="boss", override=True
        ),
    ]
    for call in calls:
        with pytest.raises(InvalidLabel):
            call()
        assert _stored(queues, held) == before


@pytest.mark.parametrize("repository", ["memory"], indirect=True)
def test_a_label_is_checked_when_it_is_corrected_and_a_draft_or_a_skip_is_not(
    queues: AnnotationQueues, held: Claim
) -> None:
    queues.save_draft(held, {"choice": "not yet"})
    queues.update_progress(held.item.id, "bob", AnnotationState.IN_PROGRESS, annotation=["a draft"])
    with pytest.raises(InvalidLabel):
        queues.complete(held)  # the draft does not fit
    queues.complete(held, {"choice": "good"})
    before = _stored(queues, held)
    for label in BAD[1:]:
        with pytest.raises(InvalidLabel):
            queues.complete(held, label)
        assert _stored(queues, held) == before
    queues.complete(held, {"choice": "bad"})
    queues.update_progress(held.item.id, "eve", AnnotationState.SKIPPED, annotation="anything")


@pytest.mark.parametrize("repository", ["memory"], indirect=True)
def test_a_schema_that_is_none_is_refused_when_a_queue_is_made_or_changed(
    queues: AnnotationQueues, queue: AnnotationQueue
) -> None:
    wrong: dict[str, JsonValue] = {"type": "nope"}
    calls: list[Callable[[], object]] = [
        lambda: queues.create("other", created_by="ann", label_schema=wrong),
        lambda: queues.get_or_create("other", created_by="ann", label_schema=wrong),
        lambda: queues.update(queue.id, label_schema=wrong),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match="label_schema: expected a valid JSON Schema"):
            call()
    assert queues.query().queues == (queue,)
    assert queues.update(queue.id, label_schema=None).label_schema is None


@pytest.mark.parametrize("repository", ["memory"], indirect=True)
def test_schemas_that_differ_by_the_kind_of_a_constant_only_are_two(queues: AnnotationQueues) -> None:
    one: dict[str, JsonValue] = {"const": 1}
    true: dict[str, JsonValue] = {"const": True}
    queue = queues.create("queue", created_by="ann", label_schema=one, queue_id="q")
    assert queues.create("queue", created_by="ann", label_schema=one, queue_id="q") == queue
    with pytest.raises(Conflict):
        queues.create("queue", created_by="ann", label_schema=true, queue_id="q")
    schema = queues.update(queue.id, label_schema=true).label_schema
    assert schema is not None
    assert schema["const"] is True
    stored = queues.get(queue.id).label_schema
    assert stored is not None
    assert stored["const"] is True


def _stored(queues: AnnotationQueues, claim: Claim) -> tuple[object, ...]:
    item_id = claim.item.id
    return queues.progress(item_id), queues.history(item_id), queues.get_item(item_id)
