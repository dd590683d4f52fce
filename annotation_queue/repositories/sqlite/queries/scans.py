"""Scans: reading the items of an index along a path, in any directions, from any key."""

from __future__ import annotations

import attrs

from annotation_queue.repositories.sql.orders import Fragment
from annotation_queue.repositories.sql.paths import Found, Key, OrderPath, along_path
from annotation_queue.repositories.sqlite.indexes import IN_ORDER
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.spans import Span, spans
from annotation_queue.values import MAX_INTEGER


@attrs.frozen
class Scan:
    """Items of a queue, read in the order of a path.

    Args:
        session: The session.
        queue: The queue's number.
        join: What is joined to ``work AS w``, with the values of its placeholders.
        conditions: Which items are wanted.
        counted: Which columns of a block's counters count them, joined by ``+``; empty for none. Along queue order, blocks
            without any are passed over.
    """

    session: Session
    queue: int
    join: Fragment
    conditions: tuple[Fragment, ...]
    counted: str = ""

    def among(self, condition: str, *values: object) -> Scan:
        """Give the scan of those items alone that fulfil one more condition."""
        return attrs.evolve(self, conditions=(*self.conditions, (condition, values)))

    def nums(self, path: OrderPath, start: Key | None, *, at: bool, limit: int, offset: int) -> list[int]:
        """Read the numbers of items.

        Args:
            path: The path.
            start: The key to begin behind; None to begin at the first item.
            at: Whether the item at ``start`` is wanted too.
            limit: The greatest number of items to read.
            offset: How many items to leave out first.

        Returns:
            The numbers in order. The cost is that of the items passed, wanted or not, from the start on.
        """
        return [each.num for each in self.found(path, start, at=at, limit=limit, offset=offset)]

    def found(self, path: OrderPath, start: Key | None, *, at: bool, limit: int, offset: int = 0) -> list[Found]:
        """Read items as `nums` does, with their keys."""
        if path.even and not path.by_name:
            return self._along_index(path, start, at=at, limit=limit, offset=offset)
        return self._along_path(path, start, at=at, limit=min(limit + offset, MAX_INTEGER))[offset:]

    def _along_path(self, path: OrderPath, start: Key | None, *, at: bool, limit: int) -> list[Found]:
        """Read items in the order of a path, whatever its directions are."""
        if limit == 0:
            return []
        if path.by_name:
            return self._name_by_name(path, start, at=at, limit=limit)
        return along_path(
            path,
            start,
            at=at,
            limit=limit,
            read=lambda path, start, at, limit: self._along_index(path, start, at=at, limit=limit),
        )

    def _name_by_name(self, path: OrderPath, start: Key | None, *, at: bool, limit: int) -> list[Found]:
        """Read the items of one operation after the other, in the order of their names."""
        found: list[Found] = []
        first = None if start is None else str(start[0])
        for num, name, live in self.session.ops(self.queue, first, up=path.left[0]):
            if live:
                inside = start[1:] if start is not None and name == first else None
                found += self._along_path(path.below(num), inside, at=at, limit=limit - len(found))
            if len(found) == limit:
                break
        return found

    def _along_index(self, path: OrderPath, start: Key | None, *, at: bool, limit: int, offset: int = 0) -> list[Found]:
        """Read along the index, in the direction of the first column that is not fixed."""
        if not self.counted or path.fixed or path.index is not IN_ORDER:
            return self._in_span(path, start, None, at=at, limit=limit, offset=offset)
        found: list[Found] = []
        for span in spans(self.session, self.queue, self.counted, start, up=path.left[0]):
            wanted = min(limit + offset, MAX_INTEGER) - len(found)
            found += self._in_span(path, start, span, at=at, limit=wanted, offset=0)
            if len(found) >= limit + offset:
                break
        return found[offset:]

    def _in_span(
        self, path: OrderPath, start: Key | None, span: Span | None, *, at: bool, limit: int, offset: int
    ) -> list[Found]:
        columns = [f"w.{column}" for column in path.index.columns]
        fixed, wanted = columns[: len(path.fixed)], columns[len(path.fixed) :]
        up = path.left[0]
        conditions: list[Fragment] = [("w.queue = ?", (self.queue,))]
        conditions += [(f"{column} = ?", (value,)) for column, value in zip(fixed, path.fixed, strict=True)]
        # Of two ends on one side only one can be sought, so only that which comes later is named.
        low = None if span is None else span.low
        high = None if span is None else span.high
        if start is not None:
            compared, marks = wanted[: len(start)], ", ".join("?" for _ in start)
            conditions.append((f"({', '.join(compared)}) {'>' if up else '<'}{'=' if at else ''} ({marks})", start))
            if up and low is not None and start >= low[: len(start)]:
                low = None
            elif not up and (high is None or start <= high[: len(start)]):
                high = None
            elif span is not None:
                del conditions[-1]
        conditions += [
            (f"({', '.join(columns)}) {sign} (?, ?, ?)", end)
            for sign, end in ((">=", low), ("<", high))
            if end is not None
        ]
        conditions += [*self.conditions, *([(path.index.only, ())] if path.index.only else [])]
        where = " AND ".join(condition for condition, _ in conditions)
        order = ", ".join(f"{column} {'ASC' if up else 'DESC'}" for column in wanted)
        text = (
            f"SELECT w.num, {', '.join(wanted)} FROM work AS w INDEXED BY {path.index.index} {self.join[0]} "
            f"WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        )
        values = (*self.join[1], *(value for _, some in conditions for value in some), limit, offset)
        return [Found(num, tuple(key)) for num, *key in self.session.execute(text, values)]
