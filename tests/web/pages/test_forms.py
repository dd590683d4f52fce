"""The form that a label schema makes, the parts of a payload, and the list that an address says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from annotation_queue import AnnotationState, ItemFilter
from annotation_queue.items import QueueItem
from annotation_queue.web.pages.forms import fields_of
from annotation_queue.web.pages.listing import Listing
from annotation_queue.web.pages.payloads import parts_of, pretty

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def form(schema: dict[str, Any] | None) -> list[tuple[str | None, str, bool, list[str]]]:
    """Make the form of a schema, in short."""
    return [
        (each.name, each.kind, each.required, [choice.text for choice in each.choices]) for each in fields_of(schema)
    ]


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        (None, (None, "json", True, [])),
        ({}, (None, "json", True, [])),
        ({"type": "object"}, (None, "json", True, [])),
        ({"enum": ["good", 1, None, ""]}, (None, "choice", True, ["good", "1", "null", '""'])),
        ({"type": "boolean"}, (None, "choice", True, ["yes", "no"])),
        ({"oneOf": [{"const": 1, "title": "One"}, {"const": 2}]}, (None, "choice", True, ["One", "2"])),
        ({"anyOf": [{"const": 1}, {"type": "string"}]}, (None, "json", True, [])),
        ({"type": "integer", "minimum": 1, "maximum": 5}, (None, "choice", True, ["1", "2", "3", "4", "5"])),
        ({"type": "integer", "minimum": 1, "maximum": 10}, (None, "number", True, [])),
        ({"type": "number"}, (None, "number", True, [])),
        ({"type": "string"}, (None, "text", True, [])),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, (None, "choices", True, ["a", "b"])),
        ({"type": "array", "items": {"type": "string"}}, (None, "json", True, [])),
        ({"$ref": "#/$defs/s", "$defs": {"s": {"type": "string"}}}, (None, "text", True, [])),
        ({"$ref": "#", "title": "round and round"}, (None, "json", True, [])),
        ({"type": ["string", "null"]}, (None, "json", True, [])),
    ],
)
def test_a_schema_of_one_value_is_one_field(
    schema: dict[str, Any] | None, field: tuple[str | None, str, bool, list[str]]
) -> None:
    assert form(schema) == [field]


def test_a_schema_of_an_object_has_a_field_for_each_property() -> None:
    schema = {
        "properties": {
            "verdict": {"enum": ["good", "bad"], "title": "Verdict", "description": "How it went."},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "note": {"type": "string", "maxLength": 20},
            "essay": {"type": "string"},
            "score": {"type": "number", "minimum": 0, "maximum": 1.5},
            "where": {"type": "object", "properties": {"page": {"type": "integer"}}},
            "anything": True,
        },
        "required": ["verdict"],
        "$defs": {"tag": {"enum": ["rude", "slow"]}},
    }
    assert form(schema) == [
        ("verdict", "choice", True, ["good", "bad"]),
        ("tags", "choices", False, ["rude", "slow"]),
        ("note", "text", False, []),
        ("essay", "text", False, []),
        ("score", "number", False, []),
        ("where", "json", False, []),
        ("anything", "json", False, []),
    ]
    verdict, tags, note, essay, score, *_ = fields_of(schema)
    assert (verdict.title, verdict.description, verdict.choices[0].value) == ("Verdict", "How it went.", '"good"')
    assert tags.title == "tags"
    assert (note.is_long, note.bounds, essay.is_long) == (False, {"maxlength": "20"}, True)
    assert score.bounds == {"step": "any", "min": "0", "max": "1.5"}


def item(payload: dict[str, Any] | None, *display_fields: str) -> QueueItem:
    """Make an item that shows this."""
    return QueueItem(
        id="i",
        project_id="p",
        queue_id="q",
        call_id="c",
        call_started_at=NOW,
        created_at=NOW,
        created_by="ann",
        updated_at=NOW,
        payload=payload,
        display_fields=display_fields,
    )


def test_display_fields_come_first_in_their_order_and_the_rest_can_be_looked_up() -> None:
    payload = {"a": 1, "input": {"messages": ["hi"], "x.y": 2}, "x.y": "dot", "text": "word " * 20}
    parts = parts_of(item(payload, "text", "x.y", "input.messages", "nope", "text"))
    assert [(part.name, part.kind) for part in parts.shown] == [
        ("text", "text"),
        ("x.y", "fact"),
        ("input.messages", "json"),
    ]
    assert [part.name for part in parts.more] == ["a"]


def test_without_display_fields_what_is_to_be_read_comes_first() -> None:
    payload = {
        "nested": {"a": [1]},
        "stars": 5,
        "ok": True,
        "none": None,
        "empty": [],
        "text": "one\ntwo",
        "lang": "en",
    }
    parts = parts_of(item(payload))
    assert [(part.name, part.kind, part.text) for part in parts.shown] == [
        ("text", "text", "one\ntwo"),
        ("stars", "fact", "5"),
        ("ok", "fact", "true"),
        ("none", "fact", "null"),
        ("empty", "fact", "[]"),
        ("lang", "fact", "en"),
        ("nested", "json", '{\n  "a": [\n    1\n  ]\n}'),
    ]
    assert parts_of(item(None)).shown == ()
    assert parts_of(item({"a": 1}, "nope")).shown == parts_of(item({"a": 1})).shown


def test_labels_are_written_to_be_read() -> None:
    assert pretty("text") == "text"
    assert pretty({"a": 1}) == '{"a": 1}'
    assert pretty({"a": "x" * 60}) == '{\n  "a": "' + "x" * 60 + '"\n}'


def test_a_list_is_read_from_its_address_and_written_back() -> None:
    listing = Listing.of(
        {
            "state": ["skipped", "unstarted"],
            "finished": "no",
            "call_id": "c",
            "annotator": "b",
            "sort": "-priority",
            "page": "3",
        }
    )
    assert listing.filter == ItemFilter(
        call_id="c", finished=False, annotation_states={AnnotationState.UNSTARTED, AnnotationState.SKIPPED}
    )
    assert (listing.query.offset, listing.query.limit, listing.query.annotator_id) == (100, 50, "b")
    assert listing.address() == (
        "state=unstarted&state=skipped&call_id=c&finished=no&annotator=b&sort=-priority&page=3"
    )
    assert Listing.of({"sort": "priority"}).sorted_by("priority") == "sort=-priority"
    assert Listing.of({"sort": "-priority"}).sorted_by("priority") == ""
    assert Listing.of({"page": "7"}).sorted_by("call_id") == "sort=call_id"
    assert Listing.of({"sort": "-priority"}).direction_of("priority") == "descending"


@pytest.mark.parametrize(
    "given",
    [
        {"state": "nope", "finished": "maybe", "sort": "payload", "page": "0"},
        {"page": "-1", "state": []},
        {"page": "9" * 30, "sort": ["priority"], "call_id": ["a", "b"], "finished": ["yes"]},
        {"page": "²"},
    ],
)
def test_what_an_address_should_not_say_is_left_out(given: dict[str, Any]) -> None:
    assert Listing.of(given) == Listing()
