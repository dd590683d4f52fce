"""Pages of queues: the ranges of an order that a page is read from, one after the other, for every SQL storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from annotation_queue.sorting import Direction
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from annotation_queue.query import QueueQuery
    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.sorting import Order, SortValue


@attrs.frozen
class QueueSource:
    """Where a storage reads queues.

    Args:
        table: What stands behind FROM; the queues are ``q``.
        columns: Field -> the expression that sorts as it does.
        conditions: Which queues are wanted.
    """

    table: str
    columns: Mapping[str, str]
    conditions: tuple[Fragment, ...]

    def nums(
        self,
        query: QueueQuery,
        after: Sequence[SortValue] | None,
        read: Callable[[str, tuple[object, ...]], Iterable[Sequence[int]]],
    ) -> list[int]:
        """Read the numbers of the queues on a page, and of one more if there are more.

        Args:
            query: The query.
            after: Sort values to begin behind; None to begin at the first queue.
            read: Executes a statement.

        Returns:
            The numbers in order. If an index has the order, the cost is that of the queues that are passed, wanted or not, from
            the beginning of the page on.
        """
        if query.limit == 0:
            return []
        most = MAX_INTEGER if query.limit is None else min(query.limit + 1, MAX_INTEGER)
        order = query.order()
        by = ", ".join(f"{self.columns[each.field]} {each.direction.upper()}" for each in order.sort_by)
        nums: list[int] = []
        for some in self._ranges(order, after):
            wanted = (*self.conditions, *some)
            where = " AND ".join(text for text, _ in wanted)
            text = f"SELECT q.num FROM {self.table} WHERE {where} ORDER BY {by} LIMIT ? OFFSET ?"
            values = (*(value for _, each in wanted for value in each), most - len(nums), query.offset)
            nums += [num for (num,) in read(text, values)]
            if len(nums) == most:
                break
        return nums

    def _ranges(self, order: Order, after: Sequence[SortValue] | None) -> Iterator[list[Fragment]]:
        """Write what comes after given sort values as ranges of the order, in its order; each is a range of an index, too.

        One condition would not do: an index whose columns are sorted in different directions has no single range behind a place
        in it, and queues that share the first value would be read again for every page.
        """
        if after is None:
            yield []
            return
        terms = [(self.columns[by.field], by.direction, value) for by, value in zip(order.sort_by, after, strict=True)]
        for shared in range(len(terms) - 1, -1, -1):
            column, direction, value = terms[shared]
            beyond = (f"{column} {'>' if direction is Direction.ASC else '<'} ?", (value,))
            yield [*((f"{same} = ?", (each,)) for same, _, each in terms[:shared]), beyond]


def index_of(order: Order) -> str:
    """Name the index along which an order is read, without its prefix; if none has it, one that finds a project's queues."""
    first, *rest = order.sort_by
    if len(rest) != 1 or rest[0].field != "id":
        return "by_id"
    name = f"by_{first.field.removesuffix('_at')}"
    return name if first.direction is rest[0].direction else f"{name}_down"
