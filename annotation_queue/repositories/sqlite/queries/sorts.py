"""Sorts: items in orders that no index has, read and ranked by sorting what is wanted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import attrs

from annotation_queue.repositories.sql.orders import ITEMS, OP, OWN, Fragment, Term, beyond, order_by
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.sorting import SortValue

AMONG: Final = "w.num IN (SELECT value FROM json_each(?))"
"""The condition that an item is one of those that have a number."""
_JOINS: Final = (("i.", ITEMS), ("o.", OP), ("p.", OWN))
"""The join that an expression needs which mentions a table by its short name."""


@attrs.frozen
class Sort:
    """Items of a queue in any order.

    Args:
        session: The session.
        queue: The queue's number.
        annotator: The number of the annotator whose perspective is asked for.
        terms: The order; none for any.
    """

    session: Session
    queue: int
    annotator: int
    terms: tuple[Term, ...]

    def nums(
        self, conditions: Sequence[Fragment], index: str, after: Sequence[SortValue] | None, *, limit: int, offset: int
    ) -> list[int]:
        """Read the numbers of items in order.

        Args:
            conditions: Which items are wanted.
            index: The index that finds them; empty to let SQLite choose.
            after: Sort values to begin behind, as ``values_of`` gives them; None to begin at the first item.
            limit: The greatest number of items to read.
            offset: How many items to leave out first.

        Returns:
            The numbers. The cost is that of sorting all wanted items.
        """
        behind = [] if after is None else [beyond(self.terms, after, after=True)]
        text, values = self._select("w.num", [*conditions, *behind], self.terms, index)
        order = f"ORDER BY {order_by(self.terms)} " if self.terms else ""
        text = f"{text} {order}LIMIT ? OFFSET ?"
        return [num for (num,) in self.session.execute(text, (*values, limit, offset)).fetchall()]

    def count(self, conditions: Sequence[Fragment]) -> int:
        """Count items, one by one."""
        text, values = self._select("count(*)", conditions, ())
        (n,) = self.session.execute(text, values).fetchone()
        return int(n)

    def ranks(self, nums: Sequence[int]) -> list[int]:
        """Rank items among all of the queue, counted from 0, by one sort of it."""
        what = f"w.num AS num, row_number() OVER (ORDER BY {order_by(self.terms)}) - 1 AS place"
        text, values = self._select(what, (), self.terms)
        rows = self.session.execute(
            f"SELECT num, place FROM ({text}) WHERE num IN (SELECT value FROM json_each(?))",
            (*values, json.dumps(nums)),
        )
        places: dict[int, int] = dict(rows.fetchall())
        return [places[num] for num in nums]

    def _select(self, what: str, conditions: Sequence[Fragment], terms: Sequence[Term], index: str = "") -> Fragment:
        """Write a SELECT over the queue's items that joins only what the terms and the conditions need."""
        texts = " ".join(condition for condition, _ in conditions)
        joins = {term.column.needs for term in terms} | {join for sign, join in _JOINS if sign in texts}
        source = f"work AS w INDEXED BY {index}" if index else "work AS w"
        if AMONG in texts:
            # Left to itself, SQLite would rather read all of `work` in order here too.
            source = "work AS w NOT INDEXED"
        if index.startswith("live_"):
            # Left to itself, SQLite would read all of `work` in order rather than sort the few items.
            source = f"items AS i INDEXED BY {index} CROSS JOIN work AS w ON w.num = i.num"
            joins.discard(ITEMS)
        source = " ".join([source, *sorted(joins - {""})])
        where = " AND ".join(["w.queue = ?", *(condition for condition, _ in conditions)])
        own = (self.annotator,) if OWN in joins else ()
        values = (*own, self.queue, *(value for _, some in conditions for value in some))
        return f"SELECT {what} FROM {source} WHERE {where}", values
