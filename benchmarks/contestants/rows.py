"""Items as flat rows: what the page contestants store, and what they sort and filter by."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from annotation_queue import QUEUE_ORDER, AnnotationState, Direction

if TYPE_CHECKING:
    from annotation_queue import ItemQuery, QueueItem

Value: TypeAlias = "str | int | None"

ITEM_COLUMNS: Final = (
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
    "created_at",
    "created_by",
    "updated_at",
    "deleted_at",
    "priority",
)
STATE_COLUMNS: Final = ("annotation_state", "annotator_user_id")
RANKS: Final = {state: rank for rank, state in enumerate(AnnotationState)}


def item_row(item: QueueItem) -> tuple[Value, ...]:
    """Give what never changes, times as microseconds."""
    return tuple(_value(item, column) for column in ITEM_COLUMNS)


def full_row(item: QueueItem) -> tuple[Value, ...]:
    """Give what never changes, then the rank of the aggregate state and its annotator."""
    return (*item_row(item), RANKS[item.annotation_state], item.annotator_user_id)


def _value(item: QueueItem, column: str) -> Value:
    value = getattr(item, column)
    if column == "display_fields":
        return ",".join(value)
    if isinstance(value, datetime):
        return round(value.timestamp() * 1_000_000)
    assert value is None or isinstance(value, str | int)
    return value


def order_of(query: ItemQuery) -> list[tuple[str, bool]]:
    """Give the columns of the sort with its tie-break, and whether each descends."""
    sort = [(by.field, by.direction is Direction.DESC) for by in query.sort_by or QUEUE_ORDER]
    return sort if any(field == "id" for field, _ in sort) else [*sort, ("id", False)]


def conditions_of(query: ItemQuery) -> list[tuple[str, list[Value]]]:
    """Give what the filter asks for: column, and the values it may have."""
    equal = query.filter.equalities().items()
    wanted: list[tuple[str, list[Value]]] = [(column, [*values]) for column, values in equal]
    if query.filter.annotation_states is not None:
        ranks: list[Value] = [RANKS[state] for state in query.filter.annotation_states]
        wanted.append(("annotation_state", ranks))
    return wanted
