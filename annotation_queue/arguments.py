"""What callers of the service give: each argument checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Final, TypeVar, cast

from annotation_queue.errors import InvalidQuery, InvalidValue
from annotation_queue.items import NewItem
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.values import (
    check_flag,
    check_id,
    check_integer,
    check_lease,
    check_text,
    is_a,
    is_iterable,
    refuse,
)

_Query = TypeVar("_Query", ItemQuery, QueueQuery, LabelQuery)
_LONGEST_NAME: Final = 80
"""Most characters of an id by which a message names a value; others are named by their place."""


def optional_id(name: str, value: str | None) -> str | None:
    """Accept an identifier or None."""
    return None if value is None else check_id(name, value)


def optional_lease(lease: timedelta | None) -> timedelta | None:
    """Accept a lease or None."""
    return None if lease is None else check_lease("lease", lease)


def optional_reason(reason: str | None) -> str | None:
    """Accept a reason or None."""
    return None if reason is None else check_text("reason", reason)


def actor_of(actor_id: str | None, *, override: bool) -> str | None:
    """Accept who does something; an override has to say."""
    if check_flag("override", override) and actor_id is None:
        raise InvalidValue("actor_id", "None", "the id of whoever overrides")
    return optional_id("actor_id", actor_id)


def check_query(query: _Query, kind: type[_Query]) -> _Query:
    """Accept a query of a kind."""
    if not is_a(query, kind):
        raise refuse("query", query, kind.__name__, InvalidQuery)
    return query


def ids(name: str, ids: Iterable[str]) -> tuple[str, ...]:
    """Accept an iterable of ids; a single text is none."""
    if not is_iterable(ids):
        raise refuse(name, ids, "a sequence of ids")
    return tuple(check_id(f"{name}[{index}]", each) for index, each in enumerate(ids))


def chosen(which: Iterable[str] | ItemFilter) -> tuple[str, ...] | ItemFilter:
    """Accept what says which items are meant: ids, or a filter."""
    return which if is_a(which, ItemFilter) else ids("which", cast("Iterable[str]", which))


def priorities_of(priorities: Mapping[str, int]) -> dict[str, int]:
    """Accept new priorities by item id."""
    if not issubclass(type(priorities), Mapping):
        raise refuse("priorities", priorities, "a mapping from item ids to integers")
    checked = {}
    for index, (item_id, priority) in enumerate(priorities.items()):
        place = f"priorities[{index}]"
        known = check_id(place, item_id)
        place = f"priorities[{known!r}]" if len(known) <= _LONGEST_NAME else place
        checked[known] = check_integer(place, priority)
    return checked


def new_items(items: Iterable[NewItem]) -> Iterator[NewItem]:
    """Accept an iterable of new items, each as it is read."""
    if not is_iterable(items):
        raise refuse("items", items, "an iterable of NewItem")
    for index, new in enumerate(items):
        if not is_a(new, NewItem):
            raise refuse(f"items[{index}]", new, "a NewItem")
        yield new
