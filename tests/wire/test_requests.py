"""Every field of every published request: what it takes, its default, and the fault that is named for all else."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs
import pytest

from annotation_queue import QUEUE_SORT_FIELDS, SORT_FIELDS, AnnotationState
from annotation_queue.wire import evalguard, weave
from annotation_queue.wire.converter import MOST_FAULTS, choices_of
from annotation_queue.wire.weave_messages import ItemSortField, QueueSortField

Kind: TypeAlias = "tuple[list[Any], list[Any]]"
# Kinds of values: good ones; and bad ones with the type of their fault, and the place below the field where it is not the
# field itself.
TEXT: Kind = (
    ["", "x", "é" * 500, "a\nb", "true"],
    [
        (7, "string_type"),
        (True, "string_type"),
        ([], "string_type"),
        ({}, "string_type"),
        ("a\0b", "value_error"),
        ("\ud800", "value_error"),
    ],
)
ID: Kind = (["x", " "], [*TEXT[1], ("", "value_error")])
COUNT: Kind = (
    [0, 50, 2**63 - 1],
    [
        (-1, "value_error"),
        (2**63, "value_error"),
        (1.0, "int_type"),
        (1.5, "int_type"),
        ("1", "int_type"),
        (True, "int_type"),
        (False, "int_type"),
        ([1], "int_type"),
    ],
)
FLAG: Kind = (
    [True, False],
    [(0, "bool_type"), (1, "bool_type"), ("true", "bool_type"), (1.0, "bool_type"), ([], "bool_type")],
)


def choice(*choices: str) -> Kind:
    """A text out of a few."""
    wrong = [
        (choices[0].upper(), "literal_error"),
        ("", "literal_error"),
        (0, "literal_error"),
        (True, "literal_error"),
        ([choices[0]], "literal_error"),
        ({}, "literal_error"),
    ]
    return list(choices), wrong


def many(of: Kind) -> Kind:
    """A list of values of a kind."""
    good, bad = of
    not_lists = [(7, "list_type"), ("x", "list_type"), ({}, "list_type"), (True, "list_type")]
    nested = [([*good[:1], value], kind, len(good[:1])) for value, kind, *_ in bad]
    return [[], good, good[:1] * 3], [*not_lists, *nested, ([None], _null(of), 0)]


def _null(of: Kind) -> str:
    return str(next(kind for value, kind, *_ in of[1] if value is True))


STATES = choice("unstarted", "in_progress", "completed", "skipped")
ITEM_FIELDS = choice(
    "id",
    "project_id",
    "queue_id",
    "call_id",
    "call_started_at",
    "call_ended_at",
    "call_op_name",
    "call_trace_id",
    "added_by",
    "annotation_state",
    "annotator_user_id",
    "created_at",
    "created_by",
    "updated_at",
    "deleted_at",
    "priority",
)
QUEUE_FIELDS = choice("id", "name", "created_at", "updated_at")
SORT: Kind = ([], [(7, "dict_type"), (True, "dict_type"), ([], "dict_type")])
FILTER: Kind = ([{}, {"id": "x"}], [(7, "dict_type"), ("x", "dict_type"), ([], "dict_type"), (True, "dict_type")])
REQUIRED, NULL = "required", None

# (message, how the rest of it may look) -> field -> (kind, the default of a field that may be left out, whether null is fine)
P = {"project_id": "acme/chatbot"}
REQUESTS: list[tuple[type, dict[str, Any], dict[str, tuple[Any, Any, bool]]]] = [
    (weave.ProjectQuery, P, {"project_id": (ID, REQUIRED, False)}),
    (
        weave.CreateBody,
        {**P, "name": "q", "scorer_refs": []},
        {
            "project_id": (ID, REQUIRED, False),
            "name": (TEXT, REQUIRED, False),
            "description": (TEXT, "", False),
            "scorer_refs": (many(TEXT), REQUIRED, False),
            "wb_user_id": (TEXT, NULL, True),
        },
    ),
    (
        weave.QueuesQueryBody,
        P,
        {
            "project_id": (ID, REQUIRED, False),
            "name": (TEXT, NULL, True),
            "sort_by": (many(SORT), NULL, True),
            "limit": (COUNT, NULL, True),
            "offset": (COUNT, NULL, True),
        },
    ),
    (
        weave.QueueSortBy,
        {"field": "id", "direction": "asc"},
        {"field": (QUEUE_FIELDS, REQUIRED, False), "direction": (choice("asc", "desc"), REQUIRED, False)},
    ),
    (
        weave.UpdateBody,
        P,
        {
            "project_id": (ID, REQUIRED, False),
            "name": (TEXT, NULL, True),
            "description": (TEXT, NULL, True),
            "scorer_refs": (many(TEXT), NULL, True),
        },
    ),
    (
        weave.AddCallsBody,
        {**P, "call_ids": [], "display_fields": []},
        {
            "project_id": (ID, REQUIRED, False),
            "call_ids": (many(ID), REQUIRED, False),
            "display_fields": (many(TEXT), REQUIRED, False),
        },
    ),
    (
        weave.ItemsQueryBody,
        P,
        {
            "project_id": (ID, REQUIRED, False),
            "filter": (FILTER, NULL, True),
            "sort_by": (many(SORT), NULL, True),
            "limit": (COUNT, NULL, True),
            "offset": (COUNT, NULL, True),
            "include_position": (FLAG, False, False),
        },
    ),
    (
        weave.ItemsFilter,
        {},
        {
            "id": (TEXT, NULL, True),
            "call_id": (TEXT, NULL, True),
            "call_op_name": (TEXT, NULL, True),
            "call_trace_id": (TEXT, NULL, True),
            "added_by": (TEXT, NULL, True),
            "annotation_states": (many(STATES), NULL, True),
        },
    ),
    (
        weave.ItemSortBy,
        {"field": "id", "direction": "asc"},
        {"field": (ITEM_FIELDS, REQUIRED, False), "direction": (choice("asc", "desc"), REQUIRED, False)},
    ),
    (
        weave.ProgressBody,
        {**P, "annotation_state": "completed"},
        {"project_id": (ID, REQUIRED, False), "annotation_state": (TEXT, REQUIRED, False)},
    ),
    (
        weave.StatsBody,
        {**P, "queue_ids": []},
        {"project_id": (ID, REQUIRED, False), "queue_ids": (many(ID), REQUIRED, False)},
    ),
    (
        evalguard.StateBody,
        {"item_id": "00000000-0000-0000-0000-000000000000", "state": "pending"},
        {
            "item_id": (ID, REQUIRED, False),
            "state": (choice("pending", "in_progress", "completed", "skipped"), REQUIRED, False),
        },
    ),
]
# Their published documents do not say "additionalProperties: false".
OPEN = {weave.ProjectQuery, weave.ItemsFilter, evalguard.StateBody}
each_request = pytest.mark.parametrize(
    ("kind", "base", "fields"), REQUESTS, ids=[kind.__name__ for kind, *_ in REQUESTS]
)
each_field = pytest.mark.parametrize(
    ("kind", "base", "name", "takes", "default", "nullable"),
    [(kind, base, name, *told) for kind, base, fields in REQUESTS for name, told in fields.items()],
    ids=[f"{kind.__name__}.{name}" for kind, _, fields in REQUESTS for name in fields],
)


def faults(kind: type, value: object) -> list[tuple[list[str | int], str]]:
    """Read a message that does not fit; give the place and the type of every fault."""
    with pytest.raises(weave.BadMessage) as refused:
        weave.read(kind, value)
    for each in refused.value.faults:
        assert list(each) == ["loc", "msg", "type"]
        assert each["msg"]
    return [(each["loc"], each["type"]) for each in refused.value.faults]


@each_request
def test_a_request_has_exactly_the_published_fields(kind: type, base: dict[str, Any], fields: dict[str, Any]) -> None:
    assert [field.name for field in attrs.fields(kind)] == list(fields)
    for name in ("nope", "Project_id", "wb_user", "", "\ud800", "__class__"):
        shown = "?" if name == "\ud800" else name
        if kind in OPEN:
            assert weave.read(kind, base | {name: 1}) == weave.read(kind, base)
        else:
            assert faults(kind, base | {name: 1}) == [(["body", shown], "extra_forbidden")]
        assert weave.read(kind, base | {name: 1}, strict=False) == weave.read(kind, base)


@each_request
@pytest.mark.parametrize("value", [None, [], "x", 7, True, 1.5])
def test_what_is_no_object_is_no_request(kind: type, base: dict[str, Any], fields: object, value: object) -> None:
    del base, fields
    assert faults(kind, value) == [(["body"], "dict_type")]


@each_field
def test_a_field_takes_what_is_published(
    kind: type, base: dict[str, Any], name: str, takes: Kind, default: object, *, nullable: bool
) -> None:
    del default, nullable
    for value in takes[0]:
        read = getattr(weave.read(kind, base | {name: value}), name)
        wanted = tuple(value) if isinstance(value, list) else value
        assert read == wanted or isinstance(value, dict)
        assert isinstance(read, type(wanted)) or isinstance(value, dict)


@each_field
def test_a_field_refuses_all_else_and_coerces_nothing(
    kind: type, base: dict[str, Any], name: str, takes: Kind, default: object, *, nullable: bool
) -> None:
    del default
    for value, fault, *below in takes[1]:
        assert faults(kind, base | {name: value}) == [(["body", name, *below], fault)]
    if nullable:
        assert getattr(weave.read(kind, base | {name: None}), name) is None
    else:
        ((place, _),) = faults(kind, base | {name: None})
        assert place == ["body", name]


@each_field
def test_a_field_that_is_left_out_has_the_published_default(
    kind: type, base: dict[str, Any], name: str, takes: object, default: object, *, nullable: bool
) -> None:
    del takes, nullable
    without = {key: value for key, value in base.items() if key != name}
    if default == REQUIRED:
        assert faults(kind, without) == [(["body", name], "missing")]
    else:
        assert getattr(weave.read(kind, without), name) == default


def test_every_fault_is_named_at_once_with_its_whole_path() -> None:
    body = {
        "filter": {"annotation_states": ["later", "completed", 7], "call_id": 7, "nope": 1},
        "sort_by": [{"field": "id", "direction": "asc"}, {"field": "nope", "dir": "asc"}],
        "limit": True,
        "offset": "1",
        "include_position": 1,
        "extra": {"deep": []},
    }
    assert sorted(faults(weave.ItemsQueryBody, body), key=str) == sorted(
        [
            (["body", "project_id"], "missing"),
            (["body", "filter", "annotation_states", 0], "literal_error"),
            (["body", "filter", "annotation_states", 2], "literal_error"),
            (["body", "filter", "call_id"], "string_type"),
            (["body", "sort_by", 1, "field"], "literal_error"),
            (["body", "sort_by", 1, "direction"], "missing"),
            (["body", "sort_by", 1, "dir"], "extra_forbidden"),
            (["body", "limit"], "int_type"),
            (["body", "offset"], "int_type"),
            (["body", "include_position"], "bool_type"),
            (["body", "extra"], "extra_forbidden"),
        ],
        key=str,
    )


def test_a_fault_says_what_fits_and_what_was_sent() -> None:
    with pytest.raises(weave.BadMessage) as refused:
        weave.read(weave.ItemsQueryBody, {"project_id": "p", "limit": 1.0})
    assert refused.value.faults == [
        {"loc": ["body", "limit"], "msg": "expected an integer, got float 1.0", "type": "int_type"}
    ]
    assert str(refused.value) == "body.limit: expected an integer, got float 1.0"


def test_a_query_string_is_a_place_of_its_own() -> None:
    with pytest.raises(weave.BadMessage) as refused:
        weave.read(weave.ProjectQuery, {"project": "p"}, "query")
    assert [each["loc"] for each in refused.value.faults] == [["query", "project_id"]]


@pytest.mark.parametrize("wrong", [{"call_ids": [7] * 5_000}, {f"k{n}": n for n in range(5_000)}])
def test_of_very_many_faults_the_first_are_named(wrong: dict[str, Any]) -> None:
    body = P | {"call_ids": [], "display_fields": []} | wrong
    assert len(faults(weave.AddCallsBody, body)) == MOST_FAULTS


@pytest.mark.parametrize(("message", "field"), [(weave.AddCallsBody, "call_ids"), (weave.UpdateBody, "scorer_refs")])
def test_every_fault_of_a_long_list_has_its_index(message: type, field: str) -> None:
    base: dict[str, Any] = P | ({"call_ids": [], "display_fields": []} if message is weave.AddCallsBody else {})
    values: list[object] = [f"c-{n}" for n in range(2_000)]
    assert getattr(weave.read(message, base | {field: values}), field) == tuple(values)
    wrong = [0, 255, 256, 511, 1_300, 1_999]
    for index in wrong:
        values[index] = "a\0b"
    found = faults(message, base | {field: values})
    assert found == [(["body", field, index], "value_error") for index in wrong]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nope",
        b"{'a': 1}",
        b'{"a": 1}}',
        b"\xff\xfe{}",
        b'{"a": "\xe9"}',
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5_000,
        b'"\n"',
        b'"\\ud8"',
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_json_is_one_fault_of_the_body(text: bytes) -> None:
    with pytest.raises(weave.BadMessage) as refused:
        weave.load(text)
    ((place, kind),) = [(each["loc"], each["type"]) for each in refused.value.faults]
    assert (place, kind) == (["body"], "json_invalid")


def test_json_is_parsed_as_it_stands() -> None:
    assert weave.load(b'{"a": [1, 1.0, true, null, "\\u00e9 \xc3\xa9"]}') == {"a": [1, 1.0, True, None, "é é"]}


def test_what_can_be_sorted_by_and_filtered_for_is_what_the_library_knows() -> None:
    assert set(choices_of(ItemSortField)) == SORT_FIELDS
    assert set(choices_of(QueueSortField)) == QUEUE_SORT_FIELDS
    assert STATES[0] == list(AnnotationState)
    assert set(evalguard.STATES.values()) == set(AnnotationState)
    assert choices_of(str) == ()
