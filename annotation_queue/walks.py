"""Walks: one page after the other by cursor, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, Protocol, Self, TypeVar

WALK_PAGE: Final = 500
"""Most entities of one page of a walk."""

_Entity = TypeVar("_Entity")


class _Query(Protocol):
    @property
    def limit(self) -> int | None: ...

    def part(self, limit: int, cursor: str | None) -> Self: ...


_Walked = TypeVar("_Walked", bound=_Query)


class Walk(Iterator[_Entity], Generic[_Entity]):
    """An iterator over the entities of pages. At most one page is held, and it is let go of before the next one is read.

    Args:
        pages: Reads the pages; whoever cannot wait for a page where it stands takes them from here instead.
    """

    __slots__ = ("_page", "pages")

    def __init__(self, pages: Iterator[Sequence[_Entity]]) -> None:
        self.pages = pages
        self._page: Iterator[_Entity] = iter(())

    def __next__(self) -> _Entity:
        while True:
            for entity in self._page:
                return entity
            self._page = iter(())
            self._page = iter(next(self.pages))


def walk(read: Callable[[_Walked], tuple[Sequence[_Entity], str | None]], query: _Walked) -> Walk[_Entity]:
    """Walk over pages by cursor.

    Args:
        read: Reads the page of a query: its entities, and the cursor of the next page.
        query: What to walk over; its limit bounds the whole walk.

    Returns:
        The entities, in the query's order. It raises what reading a page raises.
    """
    return Walk(_pages(read, query))


def _pages(
    read: Callable[[_Walked], tuple[Sequence[_Entity], str | None]], query: _Walked
) -> Iterator[Sequence[_Entity]]:
    left, cursor = query.limit, None
    while True:
        found, cursor = read(query.part(WALK_PAGE if left is None else min(left, WALK_PAGE), cursor))
        left = None if left is None else left - len(found)
        # The next page is read only when this one is let go of, here too.
        last = [found]
        del found
        yield last.pop()
        if cursor is None or left == 0:
            return
