"""Walks: reading items along a path, in any directions, from any key."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs

from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sqlite.indexes import Key, OrderPath
    from annotation_queue.repositories.sqlite.session import Session


@attrs.frozen
class Scan:
    """Items of a queue that are read in the order of a path.

    Args:
        session: The session.
        queue: The queue's number.
        join: What is joined to ``work AS w``, with the values of its placeholders.
        conditions: Which items are wanted.
    """

    session: Session
    queue: int
    join: Fragment
    conditions: tuple[Fragment, ...]

    def nums(self, path: OrderPath, start: Key | None, *, at: bool, limit: int, offset: int) -> list[int]:
        """Read the numbers of items.

        Args:
            path: The path.
            start: The key to begin behind; None to begin at the first item.
            at: Whether the item at ``start`` is wanted too.
            limit: At most so many.
            offset: How many to leave out first.

        Returns:
            The numbers in order. The cost is that of the items passed, wanted or not, from the start on.
        """
        if path.even and not path.by_name:
            rows = self._scan(path, start, at=at, limit=limit, offset=offset)
        else:
            rows = self._walk(path, start, at=at, limit=min(limit + offset, MAX_INTEGER))[offset:]
        return [row[0] for row in rows]

    def _walk(self, path: OrderPath, start: Key | None, *, at: bool, limit: int) -> list[tuple[Any, ...]]:
        """Read number and key of at most so many items."""
        if limit == 0:
            return []
        if path.by_name:
            return self._walk_by_name(path, start, at=at, limit=limit)
        if path.even:
            return self._scan(path, start, at=at, limit=limit)
        rows: list[tuple[Any, ...]] = []
        if start is not None:
            rows += self._walk(path.below(start[0]), start[1:], at=at, limit=limit)
        left = limit - len(rows)
        # The index gives groups of the first column in order, but not what is in a group: only the last can be cut off.
        found = self._scan(path, start and start[:1], at=False, limit=left)
        cut = found[-1][1] if left and len(found) == left else None
        whole = [row for row in found if row[1] != cut]
        for column, up in reversed(list(enumerate(path.left, 1))):
            whole.sort(key=itemgetter(column), reverse=not up)
        rows += whole
        return rows if cut is None else rows + self._walk(path.below(cut), None, at=False, limit=limit - len(rows))

    def _walk_by_name(self, path: OrderPath, start: Key | None, *, at: bool, limit: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        first = None if start is None else str(start[0])
        for num, name, live in self.session.ops(self.queue, first, up=path.left[0]):
            if live:
                inside = start[1:] if start is not None and name == first else None
                rows += self._walk(path.below(num), inside, at=at, limit=limit - len(rows))
            if len(rows) == limit:
                break
        return rows

    def _scan(
        self, path: OrderPath, start: Key | None, *, at: bool, limit: int, offset: int = 0
    ) -> list[tuple[Any, ...]]:
        """Read along the index, in the direction of the first column that is not fixed."""
        columns = [f"w.{column}" for column in path.index.columns]
        fixed, wanted = columns[: len(path.fixed)], columns[len(path.fixed) :]
        up = path.left[0]
        conditions: list[Fragment] = [("w.queue = ?", (self.queue,))]
        conditions += [(f"{column} = ?", (value,)) for column, value in zip(fixed, path.fixed, strict=True)]
        if start is not None:
            compared, marks = wanted[: len(start)], ", ".join("?" for _ in start)
            conditions.append((f"({', '.join(compared)}) {'>' if up else '<'}{'=' if at else ''} ({marks})", start))
        conditions += self.conditions
        where = " AND ".join(condition for condition, _ in conditions)
        order = ", ".join(f"{column} {'ASC' if up else 'DESC'}" for column in wanted)
        text = (
            f"SELECT w.num, {', '.join(wanted)} FROM work AS w INDEXED BY {path.index.index} {self.join[0]} "
            f"WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        )
        values = (*self.join[1], *(value for _, some in conditions for value in some), limit, offset)
        return self.session.execute(text, values).fetchall()
