"""Paths: how an order of items is read along an index, and counted along it in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import attrs

from annotation_queue.repositories.sql.orders import CONSTANT
from annotation_queue.sorting import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from annotation_queue.sorting import Order, SortBy, SortValue

Key: TypeAlias = tuple[int | str, ...]
"""Values of the first columns of an index, or of all of them."""


@attrs.frozen
class Index:
    """An index of items, after their queue.

    Args:
        index: Its name.
        columns: Its columns, which end with the id; all ascend.
        num: Its number in ``blocks``; 0 where its items are not counted in blocks.
        only: The condition of the items that it has; empty for all.
    """

    index: str
    columns: tuple[str, ...]
    num: int = 0
    only: str = ""


@attrs.frozen
class OrderPath:
    """An order of items, read along an index.

    Args:
        index: The index.
        fixed: The values of its first columns that every item has; the order is that of the columns after them.
        ups: For each column, whether the order ascends in it. Operations that are numbered stand in the order of their names,
            not of their numbers.
    """

    index: Index
    fixed: Key
    ups: tuple[bool, ...]

    @property
    def by_name(self) -> bool:
        """Whether the next column has numbers of operations, which have to be read name by name."""
        return self.index.columns[len(self.fixed)] == "op"

    def below(self, value: int | str) -> OrderPath:
        """Give the path along the items that have this value in the next column."""
        return OrderPath(self.index, (*self.fixed, value), self.ups)

    @property
    def left(self) -> tuple[bool, ...]:
        """For each column that is not fixed, whether the order ascends in it."""
        return self.ups[len(self.fixed) :]

    @property
    def even(self) -> bool:
        """Whether the order has one direction in all columns that are not fixed."""
        return len(set(self.left)) == 1


class Indexes:
    """The indexes of a storage along which pages are read.

    Args:
        indexes: The indexes.
        columns: The columns of those fields that have another name there.
    """

    def __init__(self, indexes: Iterable[Index], columns: Mapping[str, str]) -> None:
        self._columns = columns
        self._by_columns = {index.columns: index for index in indexes}

    def path_of(self, sort_by: Sequence[SortBy], fixed: Mapping[str, int | str]) -> OrderPath | None:
        """Find the index along which an order can be read.

        Args:
            sort_by: The order, with its tie-break.
            fixed: Columns in which all wanted items have the same value, with the value.

        Returns:
            The path, with as much fixed as an index allows; None if no index has this order.
        """
        wanted = [by for by in sort_by if by.field not in CONSTANT]
        columns = tuple(self._columns.get(by.field, by.field) for by in wanted)
        ups = tuple((by.direction is Direction.ASC) != (by.field == "priority") for by in wanted)
        for column, value in fixed.items():
            index = None if column in columns else self._by_columns.get((column, *columns))
            if index is not None:
                return OrderPath(index, (value,), (True, *ups))
        index = self._by_columns.get(columns)
        if index is None:
            return None
        path = OrderPath(index, (), ups)
        return path.below(fixed[columns[0]]) if columns[0] in fixed else path

    def key_of(self, path: OrderPath, order: Order, values: Sequence[SortValue]) -> Key:
        """Turn sort values into the values of the index's columns that are not fixed; the name of an operation stays a name."""
        by_column = {
            self._columns.get(each.name, each.name): ~value
            if each.name == "priority" and isinstance(value, int)
            else value
            for each, value in zip(order.fields, values, strict=True)
        }
        return tuple(by_column[column] for column in path.index.columns[len(path.fixed) :])  # type: ignore[misc]


class Found(NamedTuple):
    """An item that a scan found.

    Args:
        num: Its number.
        key: Its values in the columns of the index that the scan did not fix.
    """

    num: int
    key: Key


def along_path(
    path: OrderPath,
    start: Key | None,
    *,
    at: bool,
    limit: int,
    read: Callable[[OrderPath, Key | None, bool, int], list[Found]],
) -> list[Found]:
    """Read items in the order of a path, whatever its directions are.

    Args:
        path: The path.
        start: The key to begin behind; None to begin at the first item.
        at: Whether the item at ``start`` is wanted too.
        limit: The greatest number of items to read.
        read: Reads items along the path's index, in the direction of the first column that is not fixed; its arguments are the
            first four, of which the start may be the first values of a key.

    Returns:
        The items in order. It is called at most twice for each column.
    """
    if limit == 0:
        return []
    if path.even:
        return read(path, start, at, limit)
    found: list[Found] = []
    if start is not None:
        first, *inside = start
        found += _behind(first, along_path(path.below(first), tuple(inside), at=at, limit=limit, read=read))
    # The index has the groups of the first column in order, but not what is in a group: only the last may be incomplete.
    left = limit - len(found)
    some = read(path, start and start[:1], False, left) if left else []
    incomplete = some[-1].key[0] if left and len(some) == left else None
    whole = [each for each in some if each.key[0] != incomplete]
    found += in_order(path, whole)
    if incomplete is not None:
        rest = along_path(path.below(incomplete), None, at=False, limit=limit - len(found), read=read)
        found += _behind(incomplete, rest)
    return found


def in_order(path: OrderPath, found: Iterable[Found]) -> list[Found]:
    """Sort items as a path has them."""
    ordered = list(found)
    for column, up in reversed(list(enumerate(path.left))):
        ordered.sort(key=lambda each, column=column: each.key[column], reverse=not up)  # type: ignore[misc]  # a default binds it now
    return ordered


def _behind(value: int | str, found: Iterable[Found]) -> list[Found]:
    """Name the value that all of some items have in the column before those of their keys."""
    return [Found(each.num, (value, *each.key)) for each in found]


def cuts(n: int, size: int) -> range:
    """Tell where a block is cut.

    Args:
        n: How many items it has.
        size: How many a block has after the cut; the last may have nearly twice as many. It is cut when it has more than that.

    Returns:
        The ranks of the items that begin a block of their own, counted from 0.
    """
    return range(size, n - size + 1, size)
