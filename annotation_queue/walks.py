"""Walks: one page after the other by cursor, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, Self, TypeVar

WALK_PAGE: Final = 500
"""Most entities of one page of a walk."""

_Entity = TypeVar("_Entity")


class _Query(Protocol):
    @property
    def limit(self) -> int | None: ...

    def part(self, limit: int, cursor: str | None) -> Self: ...


_Walked = TypeVar("_Walked", bound=_Query)


def walk(read: Callable[[_Walked], tuple[Sequence[_Entity], str | None]], query: _Walked) -> Iterator[_Entity]:
    """Walk over pages by cursor.

    Args:
        read: Reads the page of a query: its entities, and the cursor of the next page.
        query: What to walk over; its limit bounds the whole walk.

    Yields:
        The entities, in the query's order. Raises what reading a page raises.
    """
    left, cursor = query.limit, None
    while True:
        found, cursor = read(query.part(WALK_PAGE if left is None else min(left, WALK_PAGE), cursor))
        yield from found
        left = None if left is None else left - len(found)
        del found  # the next page is read only when this one is let go of
        if cursor is None or left == 0:
            return
