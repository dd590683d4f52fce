"""What can be sorted by, and how values compare: one definition of fields and order for every repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs

from annotation_queue.entities import Entity
from annotation_queue.errors import InvalidQuery, InvalidValue
from annotation_queue.states import AnnotationState
from annotation_queue.values import MAX_INTEGER, MIN_INTEGER, check_integer, check_member, check_text, refuse, to_micros

SortValue: TypeAlias = int | str | None
"""What a field sorts by: text, integer microseconds, an integer, a state's rank, or None if it is absent."""


class Direction(StrEnum):
    """Which way a field sorts. Absent values come last in both."""

    ASC = "asc"
    DESC = "desc"


class FieldKind(Enum):
    """How the values of a field compare."""

    TEXT = "text"
    """By code point."""
    TIME = "time"
    """As integer microseconds."""
    INTEGER = "integer"
    STATE = "state"
    """In the order of the members of `AnnotationState`."""


_BOUNDS: Final = {
    # What lies beyond may not have a negative one, by which some storages sort downwards.
    FieldKind.TIME: (to_micros(datetime.min.replace(tzinfo=UTC)), to_micros(datetime.max.replace(tzinfo=UTC))),
    FieldKind.INTEGER: (MIN_INTEGER, MAX_INTEGER),
    FieldKind.STATE: (0, len(AnnotationState) - 1),
}


@attrs.frozen
class SortField:
    """A field that can be sorted by.

    Args:
        name: The attribute of the entity.
        kind: How its values compare.
        nullable: Whether it may be absent.
    """

    name: str
    kind: FieldKind
    nullable: bool = False

    def value(self, entity: object) -> SortValue:
        """Read what an entity sorts by."""
        raw = getattr(entity, self.name)
        if raw is None:
            return None
        if self.kind is FieldKind.TIME:
            return to_micros(raw)
        return STATE_RANKS[raw] if self.kind is FieldKind.STATE else raw

    def values(self, entities: Iterable[object]) -> list[SortValue]:
        """Read what each of very many entities sorts by."""
        read: Iterable[Any] = map(attrgetter(self.name), entities)
        if self.kind is FieldKind.TIME:
            return [None if moment is None else to_micros(moment) for moment in read]
        return [STATE_RANKS[state] for state in read] if self.kind is FieldKind.STATE else list(read)

    def accepts(self, value: object) -> bool:
        """Tell whether a cursor may carry this value for the field."""
        if value is None:
            return self.nullable
        try:
            if self.kind is FieldKind.TEXT:
                check_text(self.name, value)
            else:
                least, greatest = _BOUNDS[self.kind]
                check_integer(self.name, value, minimum=least, maximum=greatest)
        except InvalidValue:
            return False
        return True


def _by_name(*fields: SortField) -> dict[str, SortField]:
    return {each.name: each for each in fields}


STATE_RANKS: Final = {state: rank for rank, state in enumerate(AnnotationState)}
"""The order in which states sort."""

ITEM_FIELDS: Final = _by_name(
    SortField("id", FieldKind.TEXT),
    SortField("project_id", FieldKind.TEXT),
    SortField("queue_id", FieldKind.TEXT),
    SortField("call_id", FieldKind.TEXT),
    SortField("call_started_at", FieldKind.TIME),
    SortField("call_ended_at", FieldKind.TIME, nullable=True),
    SortField("call_op_name", FieldKind.TEXT),
    SortField("call_trace_id", FieldKind.TEXT),
    SortField("added_by", FieldKind.TEXT, nullable=True),
    SortField("annotation_state", FieldKind.STATE),
    SortField("annotator_user_id", FieldKind.TEXT, nullable=True),
    SortField("created_at", FieldKind.TIME),
    SortField("created_by", FieldKind.TEXT),
    SortField("updated_at", FieldKind.TIME),
    SortField("deleted_at", FieldKind.TIME, nullable=True),
    SortField("priority", FieldKind.INTEGER),
)
QUEUE_FIELDS: Final = _by_name(
    SortField("id", FieldKind.TEXT),
    SortField("name", FieldKind.TEXT),
    SortField("created_at", FieldKind.TIME),
    SortField("updated_at", FieldKind.TIME),
)
SORT_FIELDS: Final = frozenset(ITEM_FIELDS)
"""Names of the fields by which items sort: every scalar one but the position."""
QUEUE_SORT_FIELDS: Final = frozenset(QUEUE_FIELDS)
"""Names of the fields by which queues sort."""


def _direction(value: str) -> Direction:
    return check_member("direction", value, members=Direction, error=InvalidQuery)


@attrs.frozen
class SortBy(Entity):
    """One field to sort by.

    Args:
        field: Its name, out of `SORT_FIELDS` for items and `QUEUE_SORT_FIELDS` for queues.
        direction: ``asc`` or ``desc``.

    Raises:
        InvalidQuery: The field's name is no text, or the direction is neither.
    """

    field: str = attrs.field()
    direction: Direction = attrs.field(default=Direction.ASC, converter=_direction)

    def __attrs_post_init__(self) -> None:
        """Check the name; whether it is known depends on what is sorted."""
        check_text("sort_by", self.field, error=InvalidQuery)


ID_ASC: Final = SortBy("id")
QUEUE_ORDER: Final = (SortBy("priority", "desc"), SortBy("created_at"), ID_ASC)
"""The default sort of items, and the order of claims."""
NEWEST_QUEUE_FIRST: Final = (SortBy("created_at", "desc"), ID_ASC)
"""The default sort of queues."""


class _Descending(str):
    """Text that compares the other way round."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def _component(sort_field: SortField, direction: Direction) -> Callable[[SortValue], Any]:
    """Build what turns one sort value into something that compares in the asked direction, absent values last."""
    descending = direction is Direction.DESC
    if sort_field.kind is FieldKind.TEXT:
        present: Callable[[Any], Any] = _Descending if descending else str
    else:
        present = int.__neg__ if descending else int
    if not sort_field.nullable:
        return present
    return lambda value: (1,) if value is None else (0, present(value))


@attrs.frozen
class Order:
    """A complete sort: it ends in the unique id, so that no two entities compare equal.

    Args:
        sort_by: The fields, up to the id: the tie-break, or the caller's own.
        fields: Their definitions, in the same order.
    """

    sort_by: tuple[SortBy, ...]
    fields: tuple[SortField, ...] = attrs.field(eq=False)
    _components: tuple[Callable[[SortValue], Any], ...] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Prepare the comparison."""
        components = tuple(_component(each, by.direction) for each, by in zip(self.fields, self.sort_by, strict=True))
        object.__setattr__(self, "_components", components)

    def values(self, entity: object) -> tuple[SortValue, ...]:
        """Read what an entity sorts by: one value for each field."""
        return tuple(each.value(entity) for each in self.fields)

    def key(self, values: Iterable[SortValue]) -> tuple[Any, ...]:
        """Turn sort values into a tuple that compares in this order."""
        return tuple(component(value) for component, value in zip(self._components, values, strict=True))

    def arrange(self, entities: Iterable[object]) -> list[tuple[Any, ...]]:
        """Give the keys of very many entities, sorted. O(n log n): as sorting what `key` gives for each, but much faster."""
        given = list(entities)
        columns = [each.values(given) for each in self.fields]
        places = list(range(len(given)))
        # One sort for each field, from the last to the first: so it is plain values that are compared, never tuples.
        for values, by in reversed([*zip(columns, self.sort_by, strict=True)]):
            absent = [value is None for value in values]
            present: list[Any] = values
            if any(absent):
                some = next((value for value in values if value is not None), 0)
                present = [some if value is None else value for value in values]
            places.sort(key=present.__getitem__, reverse=by.direction is Direction.DESC)
            if present is not values:
                places.sort(key=absent.__getitem__)
        keys = list(zip(*map(map, self._components, columns), strict=True))
        return [keys[place] for place in places]

    def accepts(self, values: object) -> bool:
        """Tell whether these can be the sort values of an entity."""
        return (
            isinstance(values, list)
            and len(values) == len(self.fields)
            and all(each.accepts(value) for each, value in zip(self.fields, values, strict=True))
        )


@lru_cache(maxsize=256)
def item_order(sort_by: tuple[SortBy, ...]) -> Order:
    """Complete a sort of items with its default, queue order, and its tie-break; fields behind the id are left out.

    Args:
        sort_by: The fields, most significant first.

    Returns:
        The order.

    Raises:
        InvalidQuery: A field is unknown or named twice.
    """
    return _complete(sort_by or QUEUE_ORDER, ITEM_FIELDS)


@lru_cache(maxsize=256)
def queue_order(sort_by: tuple[SortBy, ...]) -> Order:
    """Complete a sort of queues with its default, the newest first, and its tie-break; else as `item_order`."""
    return _complete(sort_by or NEWEST_QUEUE_FIRST, QUEUE_FIELDS)


def _complete(sort_by: tuple[SortBy, ...], known: dict[str, SortField]) -> Order:
    names = [by.field for by in sort_by]
    for name in names:
        if name not in known:
            raise refuse("sort_by", name, f"one of {', '.join(known)}", InvalidQuery)
    if len(set(names)) < len(names):
        raise InvalidQuery("sort_by", "a field named twice", "distinct fields")
    # The id is unique, so nothing behind it orders anything. A cursor that carried a field from there would show an item
    # again when that field has changed.
    sort_by = sort_by[: names.index("id") + 1] if "id" in names else (*sort_by, ID_ASC)
    return Order(sort_by, tuple(known[by.field] for by in sort_by))
