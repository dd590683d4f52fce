"""Filters, queries and pages, and the cursors that join pages to walks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar, cast

import attrs
from attrs import field

from annotation_queue.construction import Check, optional, run_checks
from annotation_queue.cursors import decode_cursor, encode_cursor
from annotation_queue.entities import Entity
from annotation_queue.errors import InvalidCursor, InvalidQuery
from annotation_queue.items import AnnotationQueue, QueueItem
from annotation_queue.sorting import Order, SortBy, SortValue, item_order, queue_order
from annotation_queue.states import AnnotationState
from annotation_queue.values import (
    check_flag,
    check_id,
    check_integer,
    check_member,
    check_text,
    check_time,
    is_a,
    is_iterable,
    refuse,
)

WALK_BYTES: Final = 2 << 20
"""Most bytes of payloads that a walk holds at a time, and one more item."""

_Entity = TypeVar("_Entity")


def _sort_by(value: Iterable[SortBy]) -> tuple[SortBy, ...]:
    if not is_iterable(value):
        raise refuse("sort_by", value, "a sequence of SortBy", InvalidQuery)
    chosen = tuple(value)
    for index, by in enumerate(chosen):
        if not is_a(by, SortBy):
            raise refuse(f"sort_by[{index}]", by, "a SortBy", InvalidQuery)
    return chosen


check_query_flag: Final = partial(check_flag, error=InvalidQuery)
"""Accepts True or False, as `values.check_flag`."""


def check_filter(name: str, value: object) -> ItemFilter:
    """Accept an `ItemFilter`."""
    if not is_a(value, ItemFilter):
        raise refuse(name, value, "an ItemFilter", InvalidQuery)
    return value


def check_cursor(name: str, value: object) -> str:
    """Accept the text of a cursor."""
    # It carries what its walk sorts by, which makes it longer than any other text; it is read, and never stored.
    if not is_a(value, str):
        raise refuse(name, value, "a cursor or None", InvalidQuery)
    return value


_check_count = partial(check_integer, minimum=0, error=InvalidQuery)
_check_text = partial(check_text, error=InvalidQuery)


def _states(values: Iterable[str] | None) -> frozenset[AnnotationState] | None:
    if values is None:
        return None
    if not is_iterable(values):
        raise refuse("annotation_states", values, "a set of states or None", InvalidQuery)
    states = [check_member("annotation_states", each, members=AnnotationState, error=InvalidQuery) for each in values]
    return frozenset(states)


def _texts(value: str | Iterable[str] | None) -> str | frozenset[str] | None:
    """Say what is taken; `_check_values`, which knows the field, makes of it what is kept."""
    return cast("str | frozenset[str] | None", value)


def _check_values(name: str, value: object) -> str | frozenset[str]:
    """Accept one text, or any number of them."""
    if is_a(value, str):
        return _check_text(name, value)
    if not is_iterable(value):
        raise refuse(name, value, "text, a set of texts or None", InvalidQuery)
    try:
        values = list(value)
    except Exception as error:
        raise refuse(name, value, "text, a set of texts or None", InvalidQuery) from error
    return frozenset(_check_text(f"{name}[{index}]", each) for index, each in enumerate(values))


_check_time = partial(check_time, error=InvalidQuery)


EQUALITY_FIELDS: Final = ("id", "call_id", "call_op_name", "call_trace_id", "added_by")
"""Names of the fields by which `ItemFilter` filters for equality."""


@attrs.frozen
class ItemFilter(Entity):
    """The conditions that an item has to meet so that a query shows it: all that are given.

    Where a text is compared, a set of texts stands for any of them; an empty set matches nothing.

    Args:
        id: Equal to this id.
        call_id: Equal to this call.
        call_op_name: Equal to this name.
        call_trace_id: Equal to this trace.
        added_by: Added by this user.
        annotation_states: In one of these states, in the query's view; None for any, an empty set matches nothing.
        finished: Whether it needs nothing more, whatever the view; None for either.
        updated_from: Last changed at this time or later, UTC.
        updated_until: Last changed before this time, UTC.
        assignee: Reserved for this annotator, maybe among others.

    Raises:
        InvalidQuery: One of them is something else.

    >>> ItemFilter(call_id={"call-1", "call-2"}, finished=False).shows_all
    False
    """

    id: str | frozenset[str] | None = field(default=None, converter=_texts)
    call_id: str | frozenset[str] | None = field(default=None, converter=_texts)
    call_op_name: str | frozenset[str] | None = field(default=None, converter=_texts)
    call_trace_id: str | frozenset[str] | None = field(default=None, converter=_texts)
    added_by: str | frozenset[str] | None = field(default=None, converter=_texts)
    annotation_states: frozenset[AnnotationState] | None = field(default=None, converter=_states)
    finished: bool | None = None
    updated_from: datetime | None = None
    updated_until: datetime | None = None
    assignee: str | None = None

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _FILTER_CHECKS)

    @property
    def shows_all(self) -> bool:
        """Whether it has no condition."""
        return self == _ALL

    @property
    def shows_none(self) -> bool:
        """Whether no item can meet its conditions, whatever is stored: one of its sets is empty."""
        return self.annotation_states == frozenset() or not all(self.equalities().values())

    @property
    def follows_progress(self) -> bool:
        """Whether annotating an item may decide if it is shown."""
        return (self.annotation_states, self.finished, self.updated_from, self.updated_until) != (None,) * 4

    def equalities(self) -> dict[str, frozenset[str]]:
        """List the equality conditions: name of the field -> the values of which it must have one."""
        wanted = {name: getattr(self, name) for name in EQUALITY_FIELDS}
        return {
            name: frozenset((value,)) if isinstance(value, str) else value
            for name, value in wanted.items()
            if value is not None
        }

    def matches(self, item: QueueItem, *, finished: bool) -> bool:
        """Tell whether an item meets every condition.

        Args:
            item: The item, in the query's view.
            finished: Whether it needs nothing more: `records.Standing.finished`.
        """
        return (
            (self.annotation_states is None or item.annotation_state in self.annotation_states)
            and self.finished in {None, finished}
            and (self.updated_from is None or item.updated_at >= self.updated_from)
            and (self.updated_until is None or item.updated_at < self.updated_until)
            and (self.assignee is None or self.assignee in item.assignees)
            and all(getattr(item, name) in values for name, values in self.equalities().items())
        )


@attrs.frozen
class ItemQuery(Entity):
    """Which items of a queue to show, in which order and view, and which page of them.

    Args:
        filter: Which items.
        sort_by: Distinct fields, most significant first; empty for queue order. Ties are broken by ``id ASC``.
        limit: The page has at most this number of items; None for all.
        offset: How many items to leave out first.
        cursor: Go on after the page that gave this cursor; not together with an offset.
        include_position: Whether to number the items: 1-based, in the whole queue under this sort.
        include_total: Whether to count the items that the filter shows.
        annotator_id: Whose perspective; None for the aggregate view.
        include_payload: Whether the items carry their payload. Without it ``payload`` is None, and storages do not even
            read it: a page costs the same, however large the payloads are.
        max_bytes: The page may end behind the item with which its payloads reach this number of bytes, as the storage
            counts them. It has at least one item all the same, and a cursor that goes on. None for no such end.

    Raises:
        InvalidQuery: An unknown field or direction, what should be a number and is none or negative, or an offset together
            with a cursor.
    """

    filter: ItemFilter = field(factory=ItemFilter)
    sort_by: tuple[SortBy, ...] = field(default=(), converter=_sort_by)
    limit: int | None = None
    offset: int = 0
    cursor: str | None = None
    include_position: bool = False
    include_total: bool = False
    annotator_id: str | None = None
    include_payload: bool = True
    max_bytes: int | None = None

    def __attrs_post_init__(self) -> None:
        """Check every field, and what they say together."""
        run_checks(self, _ITEM_QUERY_CHECKS)
        _check_page(self.offset, self.cursor)
        self.order()

    def order(self) -> Order:
        """Complete the sort with its default and its tie-break."""
        return item_order(self.sort_by)

    def after(self, queue: AnnotationQueue) -> tuple[SortValue, ...] | None:
        """Read the cursor.

        Args:
            queue: The queue that is asked.

        Returns:
            The sort values after which the page starts; None without a cursor.

        Raises:
            InvalidCursor: The cursor is not one of this queue, sort and perspective.
        """
        return _after(self.cursor, self.order(), self._binding(queue))

    def part(self, limit: int, cursor: str | None) -> ItemQuery:
        """Give the query of one page of a walk, which goes on behind a cursor if there is one."""
        return attrs.evolve(
            self,
            limit=limit,
            offset=self.offset if cursor is None else 0,
            cursor=cursor or self.cursor,
            include_total=False,
            max_bytes=WALK_BYTES if self.max_bytes is None else min(self.max_bytes, WALK_BYTES),
        )

    def page(
        self, queue: AnnotationQueue, found: Sequence[QueueItem], total: int | None, *, has_more: bool = False
    ) -> ItemPage:
        """Make the page.

        Args:
            queue: The queue that was asked.
            found: The items of the page in order. If there are more, at least one of them follows, or ``has_more`` says so.
            total: How many items the filter shows; None if that was not asked for.
            has_more: Whether there are more items, which nobody read.

        Returns:
            The page with the cursor that goes on after it.
        """
        items, is_cut = _cut(found, self.limit)
        more = bool(items) and (is_cut or has_more)
        next_cursor = encode_cursor(self.order().values(items[-1]), self._binding(queue)) if more else None
        return ItemPage(items=items, next_cursor=next_cursor, total=total)

    def _binding(self, queue: AnnotationQueue) -> tuple[object, ...]:
        return ("items", queue.project_id, queue.id, self.annotator_id, _sort_key(self.order()))


@attrs.frozen
class QueueQuery(Entity):
    """Which queues of a project to show.

    Args:
        name: A case-insensitive part of the name; ``%`` and ``_`` are ordinary characters. None for any.
        sort_by: Distinct fields, most significant first; empty for the newest first. Ties are broken by ``id ASC``.
        limit: The page has at most this number of queues; None for all.
        offset: How many queues to leave out first.
        cursor: Go on after the page that gave this cursor; not together with an offset.

    Raises:
        InvalidQuery: As for `ItemQuery`.
    """

    name: str | None = None
    sort_by: tuple[SortBy, ...] = field(default=(), converter=_sort_by)
    limit: int | None = None
    offset: int = 0
    cursor: str | None = None

    def __attrs_post_init__(self) -> None:
        """Check every field, and what they say together."""
        run_checks(self, _QUEUE_QUERY_CHECKS)
        _check_page(self.offset, self.cursor)
        self.order()

    def order(self) -> Order:
        """Complete the sort with its default and its tie-break."""
        return queue_order(self.sort_by)

    def after(self, project_id: str) -> tuple[SortValue, ...] | None:
        """Read the cursor; as `ItemQuery.after`, for the queues of a project."""
        return _after(self.cursor, self.order(), self._binding(project_id))

    def page(self, project_id: str, found: Sequence[AnnotationQueue]) -> QueuePage:
        """Make the page; as `ItemQuery.page`, for the queues of a project."""
        queues, more = _cut(found, self.limit)
        next_cursor = encode_cursor(self.order().values(queues[-1]), self._binding(project_id)) if more else None
        return QueuePage(queues=queues, next_cursor=next_cursor)

    def _binding(self, project_id: str) -> tuple[object, ...]:
        return ("queues", project_id, _sort_key(self.order()))


_FILTER_CHECKS: Final[dict[str, Check]] = {
    **dict.fromkeys(EQUALITY_FIELDS, optional(_check_values)),
    "finished": optional(check_query_flag),
    "updated_from": optional(_check_time),
    "updated_until": optional(_check_time),
    "assignee": optional(partial(check_id, error=InvalidQuery)),
}
_ALL: Final = ItemFilter()
_PAGE_CHECKS: Final[dict[str, Check]] = {
    "limit": optional(_check_count),
    "offset": _check_count,
    "cursor": optional(check_cursor),
}
_ITEM_QUERY_CHECKS: Final[dict[str, Check]] = {
    "filter": check_filter,
    **_PAGE_CHECKS,
    "include_position": check_query_flag,
    "include_total": check_query_flag,
    "annotator_id": optional(partial(check_id, error=InvalidQuery)),
    "include_payload": check_query_flag,
    "max_bytes": optional(partial(check_integer, minimum=1, error=InvalidQuery)),
}
_QUEUE_QUERY_CHECKS: Final[dict[str, Check]] = {"name": optional(_check_text), **_PAGE_CHECKS}


def _check_page(offset: int, cursor: str | None) -> None:
    if offset and cursor is not None:
        raise refuse("offset", offset, "0 together with a cursor", InvalidQuery)


def _sort_key(order: Order) -> list[tuple[str, str]]:
    return [(by.field, by.direction) for by in order.sort_by]


def _after(cursor: str | None, order: Order, binding: tuple[object, ...]) -> tuple[SortValue, ...] | None:
    if cursor is None:
        return None
    values = decode_cursor(cursor, binding)
    if not order.accepts(values):
        raise refuse("cursor", values, "a cursor that this library made", InvalidCursor)
    return tuple(values)


def _cut(found: Sequence[_Entity], limit: int | None) -> tuple[tuple[_Entity, ...], bool]:
    """Cut off what is beyond the limit, and tell whether a walk can go on after the rest."""
    shown = tuple(found if limit is None else found[:limit])
    return shown, bool(shown) and len(found) > len(shown)


def until_full(sized: Iterable[tuple[_Entity, int]], max_bytes: int | None) -> Iterator[_Entity]:
    """Pass on what a page has room for: all, up to the one with which the sizes reach a limit.

    Args:
        sized: What is to be shown, each with its size in bytes. Nothing is read behind the last that has room.
        max_bytes: The limit; None for none.

    Yields:
        At least the first one.
    """
    size = 0
    for each, own_size in sized:
        yield each
        size += own_size
        if max_bytes is not None and size >= max_bytes:
            return


@attrs.frozen(kw_only=True)
class ItemPage(Entity):
    """A page of items.

    Args:
        items: In the query's order and view.
        next_cursor: Goes on after the last of them; None if there is nothing more, or the limit was 0.
        total: How many items the filter shows in all; None if that was not asked for.
    """

    items: tuple[QueueItem, ...]
    next_cursor: str | None = None
    total: int | None = None


@attrs.frozen(kw_only=True)
class QueuePage(Entity):
    """A page of queues.

    Args:
        queues: In the query's order.
        next_cursor: Goes on after the last of them; None if there is nothing more, or the limit was 0.
    """

    queues: tuple[AnnotationQueue, ...]
    next_cursor: str | None = None


def search_text(name: str) -> str:
    """Fold a name for the case-insensitive search: a queue matches if its folded name contains the query's folded name.

    >>> search_text("Straße") == search_text("STRASSE")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
