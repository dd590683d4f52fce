"""Strategies of hypothesis for what the service takes, and for what it must refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from annotation_queue.items import NewItem
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.sorting import QUEUE_SORT_FIELDS, SORT_FIELDS, Direction, SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.testing.examples import ANNOTATORS, TEXTS
from annotation_queue.testing.refusals import (
    HOSTILE_COUNTS,
    HOSTILE_IDS,
    HOSTILE_INTEGERS,
    HOSTILE_JSON,
    HOSTILE_LEASES,
    HOSTILE_SORTS,
    HOSTILE_TEXTS,
    HOSTILE_TIMES,
    REFUSED_CALLS,
    RefusedCall,
    nested,
)
from annotation_queue.values import MAX_INTEGER, MIN_INTEGER

__all__ = [
    "HOSTILE_COUNTS",
    "HOSTILE_IDS",
    "HOSTILE_INTEGERS",
    "HOSTILE_JSON",
    "HOSTILE_LEASES",
    "HOSTILE_SORTS",
    "HOSTILE_TEXTS",
    "HOSTILE_TIMES",
    "REFUSED_CALLS",
    "RefusedCall",
    "integers",
    "item_filters",
    "item_queries",
    "item_sorts",
    "json_values",
    "nested",
    "new_items",
    "queue_queries",
    "queue_sorts",
    "refused_calls",
    "texts",
    "times",
]

_CHARACTERS: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def texts(*, min_size: int = 0) -> SearchStrategy[str]:
    """Texts that are accepted: those of `examples.TEXTS`, and any other."""
    return st.sampled_from(TEXTS) | st.text(_CHARACTERS, min_size=min_size, max_size=8)


def integers() -> SearchStrategy[int]:
    """Integers of 64 bits, often small or at the limits."""
    return st.integers(-2, 2) | st.sampled_from((MIN_INTEGER, MAX_INTEGER)) | st.integers(MIN_INTEGER, MAX_INTEGER)


def times() -> SearchStrategy[datetime]:
    """Times in UTC, from the year 1 to the year 9999."""
    return st.datetimes(timezones=st.just(UTC))


def json_values() -> SearchStrategy[Any]:
    """JSON values that are accepted, None among them."""
    scalars = st.none() | st.booleans() | integers() | st.floats(allow_nan=False, allow_infinity=False) | texts()
    return st.recursive(
        scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(texts(), each, max_size=3), max_leaves=6
    )


def new_items(call_ids: SearchStrategy[str] | None = None) -> SearchStrategy[NewItem]:
    """New items.

    Args:
        call_ids: Their calls; any by default.
    """
    return st.builds(
        NewItem,
        call_id=texts(min_size=1) if call_ids is None else call_ids,
        call_started_at=st.none() | times(),
        call_ended_at=st.none() | times(),
        call_op_name=texts(),
        call_trace_id=texts(),
        display_fields=st.lists(texts(), max_size=3),
        priority=integers(),
        payload=st.none() | st.dictionaries(texts(), json_values(), max_size=3),
    )


def item_filters() -> SearchStrategy[ItemFilter]:
    """Filters of items."""
    maybe = st.none() | texts()
    return st.builds(
        ItemFilter,
        id=maybe,
        call_id=maybe,
        call_op_name=maybe,
        call_trace_id=maybe,
        added_by=maybe,
        annotation_states=st.none() | st.sets(st.sampled_from(AnnotationState)),
    )


def _sorts(fields: frozenset[str]) -> SearchStrategy[tuple[SortBy, ...]]:
    by = st.builds(SortBy, st.sampled_from(sorted(fields)), st.sampled_from(Direction))
    return st.lists(by, max_size=4, unique_by=lambda each: each.field).map(tuple)


def item_sorts() -> SearchStrategy[tuple[SortBy, ...]]:
    """Sorts of items: none to four distinct fields."""
    return _sorts(SORT_FIELDS)


def queue_sorts() -> SearchStrategy[tuple[SortBy, ...]]:
    """Sorts of queues: none to four distinct fields."""
    return _sorts(QUEUE_SORT_FIELDS)


def item_queries() -> SearchStrategy[ItemQuery]:
    """Queries of items without a cursor."""
    return st.builds(
        ItemQuery,
        filter=st.just(ItemFilter()) | item_filters(),
        sort_by=item_sorts(),
        limit=st.none() | st.integers(0, 10),
        offset=st.integers(0, 10),
        include_position=st.booleans(),
        include_total=st.booleans(),
        annotator_id=st.none() | st.sampled_from(ANNOTATORS),
        include_payload=st.booleans(),
    )


def queue_queries() -> SearchStrategy[QueueQuery]:
    """Queries of queues without a cursor."""
    return st.builds(
        QueueQuery,
        name=st.none() | texts(),
        sort_by=queue_sorts(),
        limit=st.none() | st.integers(0, 10),
        offset=st.integers(0, 10),
    )


def refused_calls() -> SearchStrategy[RefusedCall]:
    """Choose out of `REFUSED_CALLS`."""
    return st.sampled_from(REFUSED_CALLS)
