"""Scans: reading items along a path, in any directions, from any key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from annotation_queue.repositories.postgres.columns import plan_along
from annotation_queue.repositories.sql.paths import Found, OrderPath, along_path, in_order
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue.repositories.postgres.columns import Plan
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sql.paths import Key

_TIES: Final = 64
"""How many items of a group are read beyond those that are wanted, to have all of it."""


class _Part(NamedTuple):
    """A part of what is read.

    Args:
        path: The path along which it is read.
        start: The first values of the key to begin behind; None to begin at the first item.
        at: Whether the item at ``start`` is wanted too.
    """

    path: OrderPath
    start: Key | None
    at: bool


@attrs.frozen
class Scan:
    """Items of a queue, read in the order of a path.

    Args:
        session: The session.
        queue: The queue's number.
        annotator: The key of the annotator whose perspective is asked for.
        conditions: Which items are wanted, besides those that every item of the path fulfils.
        plan: The table whose columns are read, and how it is joined; None for the one that has the path's index.
    """

    session: Session
    queue: int
    annotator: str | None
    conditions: tuple[Fragment, ...]
    plan: Plan | None = None

    def found(self, path: OrderPath, start: Key | None, *, at: bool, limit: int) -> list[Found]:
        """Read items.

        Args:
            path: The path.
            start: The key to begin behind; None to begin at the first item.
            at: Whether the item at ``start`` is wanted too.
            limit: The greatest number of items to read.

        Returns:
            The items in order. The cost is that of the items passed, wanted or not, from the start on.
        """
        if self.conditions:
            # Where few are wanted, to read on to the end of a group might pass very many.
            return along_path(path, start, at=at, limit=limit, read=self._read)
        return self._of_parts(path, start, at=at, limit=limit)

    def _of_parts(self, path: OrderPath, start: Key | None, *, at: bool, limit: int) -> list[Found]:
        """Read items along a path, by one statement unless a group is large; arguments as for `found`.

        What is behind a key comes in parts, as in `along_path`; none is read that is not needed. Each ends with the whole of a
        group, or is cut.
        """
        if limit == 0:
            return []
        most = min(limit + _TIES, MAX_INTEGER)
        parts = [*_parts(path, start, at=at)]
        texts, values = [], list[object]()
        for number, part in enumerate(parts):
            text, given = self._part(part, number, limit, most)
            texts.append(f"p{number} AS MATERIALIZED ({text})")
            values += given
        whole = " UNION ALL ".join(f"SELECT {number}, p.* FROM p{number} AS p" for number in range(len(parts)))
        rows: list[list[Found]] = [[] for _ in parts]
        known = len(path.fixed)
        for number, num, *key in self.session.composed(f"WITH {', '.join(texts)} {whole}", values, is_kept=True):
            rows[number].append(Found(num, tuple(key[known:])))
        found: list[Found] = []
        for part, some in zip(parts, rows, strict=True):
            place, up = len(part.path.fixed) - len(path.fixed), part.path.left[0]
            cut = (max if up else min)(each.key[place] for each in some) if len(some) == most else None
            found += in_order(path, (each for each in some if each.key[place] != cut))
            if cut is not None and len(found) < limit:
                values_before = some[0].key[:place]
                inner = OrderPath(path.index, (*path.fixed, *values_before, cut), path.ups)
                rest = self.found(inner, None, at=False, limit=limit - len(found))
                return found + [Found(each.num, (*values_before, cut, *each.key)) for each in rest]
            if len(found) >= limit:
                break
        return found[:limit]

    def _part(self, part: _Part, number: int, limit: int, most: int) -> Fragment:
        """Write the reading of a part that comes behind others, if these are not enough.

        It begins at a key of the index, and is in the order of the index: for equal values the server might choose another one,
        of tables that it does not know. So it may go beyond the part, but not far.
        """
        path, start = part.path, part.start or ()
        table = self._plan(path).table
        columns = [f"{table}.{column}" for column in path.index.columns]
        given: tuple[object, ...] = (*path.fixed, *start)
        conditions: list[Fragment] = []
        if given:
            sign = (">" if path.left[0] else "<") + ("=" if part.at or part.start is None else "")
            marks = ", ".join("?" for _ in given)
            conditions.append((f"({', '.join(columns[: len(given)])}) {sign} ({marks})", given))
        if number:
            before = " + ".join(f"(SELECT count(*) FROM p{earlier})" for earlier in range(number))
            conditions.append((f"{before} < ?", (limit,)))
        what = ", ".join([f"{table}.num", *columns])
        text, values = self._plan(path).select(what, self.queue, self.annotator, conditions)
        ordered = columns if path.even else columns[: len(path.fixed) + 1]
        order = ", ".join(f"{column} {'ASC' if path.left[0] else 'DESC'}" for column in ordered)
        text = f"SELECT t.* FROM ({text} ORDER BY {order} FETCH FIRST (?::bigint) ROWS WITH TIES) AS t LIMIT ?"
        values = (*values, limit, most)
        if path.fixed:
            own = " AND ".join(f"t.{column} = ?" for column in path.index.columns[: len(path.fixed)])
            text, values = f"SELECT t.* FROM ({text}) AS t WHERE {own}", (*values, *path.fixed)
        return text, values

    def _read(self, path: OrderPath, start: Key | None, at: bool, limit: int) -> list[Found]:  # noqa: FBT001 - of a callback
        """Read along the index, in the direction of the first column that is not fixed."""
        plan = self._plan(path)
        columns = [f"{plan.table}.{column}" for column in path.index.columns]
        fixed, wanted = columns[: len(path.fixed)], columns[len(path.fixed) :]
        up = path.left[0]
        conditions: list[Fragment] = [
            (f"{column} = ?", (value,)) for column, value in zip(fixed, path.fixed, strict=True)
        ]
        if start is not None:
            marks = ", ".join("?" for _ in start)
            sign = (">" if up else "<") + ("=" if at else "")
            conditions.append((f"({', '.join(wanted[: len(start)])}) {sign} ({marks})", start))
        what = f"{plan.table}.num, {', '.join(wanted)}"
        text, values = plan.select(what, self.queue, self.annotator, [*conditions, *self.conditions])
        order = ", ".join(f"{column} {'ASC' if up else 'DESC'}" for column in wanted)
        rows = self.session.composed(f"{text} ORDER BY {order} LIMIT ?", (*values, limit))
        return [Found(num, tuple(key)) for num, *key in rows]

    def _plan(self, path: OrderPath) -> Plan:
        return self.plan or plan_along(path.index)


def _parts(path: OrderPath, start: Key | None, *, at: bool) -> Iterator[_Part]:
    """Divide what is behind a key: those that share all its values up to where one direction is left, then ever fewer."""
    if start is None:
        yield _Part(path, None, at=False)
        return
    inner = [OrderPath(path.index, (*path.fixed, *start[:place]), path.ups) for place in range(len(start))]
    place = next(place for place, each in enumerate(inner) if each.even)
    yield _Part(inner[place], start[place:], at)
    for before in reversed(range(place)):
        yield _Part(inner[before], start[before : before + 1], at=False)
