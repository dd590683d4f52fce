"""The values that calls are made of: few, so that they meet; and awkward, so that storages differ on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from annotation_queue.query import ItemFilter
from annotation_queue.sorting import QUEUE_SORT_FIELDS, SORT_FIELDS, Direction, SortBy
from annotation_queue.states import AnnotationState

TEXTS: Final = (
    "a",
    "B",
    "é",
    "É",
    "e\N{COMBINING ACUTE ACCENT}",
    "ß",
    "SS",
    "_",
    "10",
    "9",
    "\N{GRINNING FACE}",
    "\N{FULLWIDTH LATIN SMALL LETTER A}",
    "%",
    "\\",
    "'",
    "100%_\\'\"; --",
    "a b\n\t",
)
"""Texts on which collations, wildcards, quotes and case foldings differ."""

ANNOTATORS: Final = ("ann", "Bob", "é", "e\N{COMBINING ACUTE ACCENT}", "\N{GRINNING FACE}")

TIMES: Final = (
    None,
    datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
)

PRIORITIES: Final = (0, 0, 1, -1, (1 << 63) - 1, -(1 << 63))

ANNOTATIONS: Final[tuple[Any, ...]] = (
    None,
    "good",
    False,
    0,
    1.0,
    1e300,
    -0.0,
    [],
    {},
    {"b": 1, "a": {"\N{GRINNING FACE}": ["é", None, True, 0.1, (1 << 63) - 1]}},
)

SCHEMAS: Final[tuple[dict[str, Any] | None, ...]] = (None, {"type": "string"}, {"type": "object"}, {"type": "boolean"})
"""Schemas of labels; they say nothing but the type, so that the model can tell what fits."""

SHAPES: Final[tuple[dict[str, Any], ...]] = tuple(
    {
        "call_started_at": TIMES[index % len(TIMES)],
        "call_ended_at": TIMES[index // 2 % len(TIMES)],
        "call_op_name": TEXTS[index * 3 % len(TEXTS)],
        "call_trace_id": TEXTS[index % 2],
        "display_fields": TEXTS[: index % 3],
        "priority": PRIORITIES[index % len(PRIORITIES)],
        "assignees": ((), (), ("Bob",), (), ("é", "ann"))[index % 5],
        "payload": {"text": TEXTS[index], "nested": ANNOTATIONS[index % len(ANNOTATIONS)]} if index % 3 else None,
    }
    for index in range(len(TEXTS))
)
"""The fields of new items, but for the call."""

SORTS: Final = (
    (),
    *((SortBy(field, direction),) for field in sorted(SORT_FIELDS) for direction in Direction),
    (SortBy("annotation_state", "desc"), SortBy("updated_at", "desc")),
    (SortBy("annotator_user_id", "desc"), SortBy("call_op_name"), SortBy("id", "desc")),
    (SortBy("call_ended_at", "desc"), SortBy("priority"), SortBy("call_id", "desc")),
    (SortBy("call_trace_id"), SortBy("added_by", "desc"), SortBy("call_started_at")),
)
"""Sorts of items: every field in both directions, and some of several fields."""

QUEUE_SORTS: Final = (
    (),
    *((SortBy(field, direction),) for field in sorted(QUEUE_SORT_FIELDS) for direction in Direction),
    (SortBy("updated_at", "desc"), SortBy("name", "desc")),
)

_START: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When the clock of a history starts."""

FILTERS: Final = (
    ItemFilter(),
    ItemFilter(annotation_states=set()),
    *(ItemFilter(annotation_states={state}) for state in AnnotationState),
    ItemFilter(annotation_states={"unstarted", "skipped"}),
    ItemFilter(call_id="a"),
    ItemFilter(call_op_name=TEXTS[3]),
    ItemFilter(call_trace_id="B"),
    ItemFilter(added_by="É"),
    ItemFilter(added_by="a", call_trace_id="a", annotation_states={"in_progress", "completed"}),
    ItemFilter(id="missing"),
    ItemFilter(finished=True),
    ItemFilter(finished=False, call_trace_id={"a", "missing"}),
    ItemFilter(added_by=("a", "É"), call_op_name=TEXTS, finished=False),
    ItemFilter(call_id=("a", "B", "call 1"), annotation_states={"completed", "unstarted"}),
    ItemFilter(call_id=()),
    ItemFilter(assignee="Bob"),
    ItemFilter(assignee="ann", finished=False),
    ItemFilter(updated_from=_START + timedelta(minutes=1)),
    ItemFilter(updated_from=_START - timedelta(hours=1), updated_until=_START + timedelta(microseconds=1)),
)

PATCHES: Final[tuple[dict[str, Any], ...]] = (
    {"priority": 1},
    {"priority": 5, "assignees": ()},
    {"priority": -(1 << 63)},
    {"assignees": ("ann",)},
    {"assignees": ("Bob", "ann", "é")},
    {"assignees": ("Bob",), "priority": 0},
    {"assignees": ()},
    {"payload": None},
    {"payload": {"text": "another"}},
    {"payload": {"b": [1], "a": 1.0}, "display_fields": ("a",)},
    {"display_fields": (), "payload": {"a": 1, "b": [1]}},
    {},
)
"""What items are changed to."""

STEPS: Final = {
    "nothing": timedelta(),
    "a microsecond": timedelta(microseconds=1),
    "a minute": timedelta(minutes=1),
    "an hour": timedelta(hours=1),
    "a microsecond back": timedelta(microseconds=-1),
    "a minute back": timedelta(minutes=-1),
    "a day back": timedelta(days=-1),
}
"""How far the clock moves; beside them ``to the end of a lease``, exactly, and ``just before it``."""
