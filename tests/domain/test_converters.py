"""Entities as JSON and back: what goes out comes in, nothing is coerced, every fault is named."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs
import cattrs
import pytest

from annotation_queue import AnnotationQueue, ItemFilter, NewItem, QueueItem, QueueStats, Throughput, Workflow
from annotation_queue.converters import explain, make_converter
from helpers.entities import every_entity

if TYPE_CHECKING:
    from annotation_queue.entities import Entity

ENTITIES = {type(entity).__name__: entity for entity in every_entity()}
CONVERTER = make_converter()


@pytest.mark.parametrize("entity", ENTITIES.values(), ids=ENTITIES)
def test_what_goes_out_as_json_comes_in_again(entity: Entity) -> None:
    written = json.dumps(CONVERTER.unstructure(entity), allow_nan=False)
    assert CONVERTER.structure(json.loads(written), type(entity)) == entity


def faults(value: object, kind: Any) -> tuple[str, ...]:  # noqa: ANN401 - a class
    with pytest.raises((cattrs.BaseValidationError, ValueError)) as caught:
        CONVERTER.structure(value, kind)
    return explain(caught.value)


def test_times_are_rfc_3339_durations_are_seconds_and_sets_are_sorted() -> None:
    queue = CONVERTER.unstructure(ENTITIES["AnnotationQueue"])
    assert queue["created_at"] == "2026-01-01T00:00:00.000005+00:00"
    assert (queue["lease"], queue["skip_policy"]) == (300.0, "final")
    assert CONVERTER.unstructure(ItemFilter(annotation_states={"skipped", "completed"}))["annotation_states"] == [
        "completed",
        "skipped",
    ]


def test_the_longest_duration_comes_back() -> None:
    throughput = attrs.evolve(cast("Throughput", ENTITIES["Throughput"]), eta=timedelta.max)
    assert CONVERTER.structure(CONVERTER.unstructure(throughput), Throughput).eta == timedelta.max


def test_every_fault_of_a_value_is_named_with_its_place() -> None:
    given = {"call_id": True, "priority": "5", "display_fields": [1, "a", 2], "payload": [1], "colour": 0}
    assert faults([{"call_id": "a"}, given | {"call_started_at": "2026-01-01"}], tuple[NewItem, ...]) == (
        "$[1].call_id: expected text, got bool True",
        "$[1].call_started_at: expected a time as RFC 3339 writes it, with its offset, got str '2026-01-01'",
        "$[1].display_fields[0]: expected text, got int 1",
        "$[1].display_fields[2]: expected text, got int 2",
        "$[1].priority: expected an integer, got str '5'",
        "$[1].payload: expected an object, got list",
        "$[1].colour: there is no such field",
    )


@pytest.mark.parametrize(
    ("kind", "field", "value", "expected"),
    [
        (AnnotationQueue, "lease", "5 minutes", "expected a number of seconds, got str '5 minutes'"),
        (AnnotationQueue, "lease", 1e300, "expected a number of seconds, got float 1e+300"),
        (AnnotationQueue, "lease", True, "expected a number of seconds, got bool True"),
        (AnnotationQueue, "skip_policy", "later", "expected one of final, requeue, got str 'later'"),
        (AnnotationQueue, "created_at", "now", "expected a time as RFC 3339 writes it, with its offset, got str 'now'"),
        (QueueItem, "annotation_state", 1, "expected one of unstarted, in_progress, completed, skipped, got int 1"),
        (QueueItem, "display_fields", "text", "expected a list, got str 'text'"),
        (QueueStats, "by_state", [], "expected an object, got list"),
        (Throughput, "per_hour", "1", "expected a number, got str '1'"),
        (Workflow, "moves", [["unstarted"]], "expected a list of 2 values, got list"),
    ],
)  # fmt: skip
def test_nothing_is_coerced(kind: type, field: str, value: object, expected: str) -> None:
    (said,) = faults(CONVERTER.unstructure(ENTITIES[kind.__name__]) | {field: value}, kind)
    assert said.startswith(f"$.{field}")
    assert said.endswith(f": {expected}")


def test_a_missing_field_and_a_value_that_its_entity_refuses_are_named() -> None:
    assert faults({}, NewItem) == ("$.call_id: this field is missing",)
    assert faults([], NewItem) == ("$: expected an object, got list",)
    assert faults({"call_id": ""}, NewItem) == ("$: call_id: expected non-empty text, got an empty str",)
