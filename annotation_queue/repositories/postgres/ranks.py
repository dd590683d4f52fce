"""Ranks: how many items stand before keys along a path, and which item stands at a rank."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from annotation_queue.repositories.postgres.indexes import FIRST_BLOCK, LIVE, NAMES, BlockKey, high, low
from annotation_queue.repositories.postgres.rows import integers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.paths import Key, OrderPath

_COUNTED: Final = """
WITH counted AS MATERIALIZED (
    SELECT b.op, b.a, b.b, b.id, b.n,
        ?::bigint + sum(b.n) OVER (ORDER BY b.op, b.a, b.b, b.id ROWS UNBOUNDED PRECEDING) - b.n AS before
    FROM blocks AS b
    WHERE b.queue = ? AND b.lane = ? AND (b.op, b.a, b.b, b.id) >= (?, ?, ?, ?) AND (b.op, b.a, b.b, b.id) < (?, ?, ?, ?)
)"""
"""The blocks of a stretch of an index, each with how many items stand before it. The server reads them one by one and in order,
which takes some five times as long as to sum them up: so it is not done for more blocks than needed."""


class _Before(NamedTuple):
    """How many items stand before a key, and the block into which it falls, with how many stand before that."""

    rank: int
    block: BlockKey
    before_block: int


_NONE_BEFORE: Final = _Before(0, FIRST_BLOCK, 0)


@attrs.frozen
class Ranks:
    """The ranks of items along a path, counted from 0 among all live items that have its fixed values.

    Several are counted by one statement, for the time it takes to ask the server.

    Args:
        session: The session, inside a read snapshot in which nothing is sorted that an index has in order.
        queue: The queue's number.
        path: The path.
    """

    session: Session
    queue: int
    path: OrderPath

    def of(self, keys: Sequence[Key]) -> list[int]:
        """Give the ranks of items.

        Args:
            keys: Their keys along the path.

        Returns:
            How many items stand before each. The cost is that of a sum over the blocks, and of the items of the blocks that the
            keys fall into.
        """
        terms = [_terms(self.path, key) for key in keys]
        before = self._before(bound for each in terms for bound in each)
        return [sum(times * before[bound].rank for bound, times in each.items()) for each in terms]

    def find(self, rank: int) -> Key | None:
        """Find the key of the item at a rank; None if the rank is behind the last. The cost is a rank's for each column."""
        path, start, behind = self.path, _NONE_BEFORE, None
        if path.fixed:
            start, behind = self._interval(path)
            if rank >= behind - start.rank:
                return None
        while True:
            up = path.left[0]
            found = self._key_at(path, start, start.rank + rank if up or behind is None else behind - 1 - rank, behind)
            if found is None:
                return None
            key, behind = found
            if path.even or behind - start.rank == 1:
                return key[len(self.path.fixed) :]
            below = path.below(key[len(path.fixed)])
            inner, end = self._interval(below)
            rank -= inner.rank - start.rank if up else behind - end
            path, start, behind = below, inner, end

    def _interval(self, path: OrderPath) -> tuple[_Before, int]:
        """Count the items before those that have the fixed values of a path, and up to the last of them."""
        start, end = low(path.index, path.fixed), high(path.index, path.fixed)
        before = self._before([start, end])
        return before[start], before[end].rank

    def count(self) -> int:
        """Count all items that have the path's fixed values; the cost is that of a rank."""
        start, end = self._interval(self.path)
        return end - start.rank

    def _before(self, bounds: Iterable[BlockKey]) -> dict[BlockKey, _Before]:
        """Count the items that stand before keys along the index."""
        index = self.path.index
        counted = dict.fromkeys(bounds, _NONE_BEFORE)
        asked = [bound for bound in counted if bound != FIRST_BLOCK]
        if not asked:
            return counted
        columns = ", ".join(f"i.{column}" for column in index.columns)
        begin = ", ".join(f"s.{name}" for name in NAMES[index])
        end = ", ".join(f"e.{name}" for name in NAMES[index])
        inside = (
            f"SELECT {columns} FROM {LIVE[index]} AND i.queue = ? "
            f"AND ({columns}) >= ({begin}) ORDER BY {columns} LIMIT s.n"
        )
        text = (
            "SELECT e.place, (SELECT coalesce(sum(b.n), 0) FROM blocks AS b WHERE b.queue = ? AND b.lane = ? "
            "AND (b.op, b.a, b.b, b.id) < (s.op, s.a, s.b, s.id)), "
            f"(SELECT count(*) FROM ({inside}) AS i WHERE ({columns}) < ({end})), s.op, s.a, s.b, s.id "
            "FROM unnest(?::text[], ?::bigint[], ?::bigint[], ?::text[]) WITH ORDINALITY AS e(op, a, b, id, place) "
            "CROSS JOIN LATERAL (SELECT o.op, o.a, o.b, o.id, o.n FROM blocks AS o "
            "WHERE o.queue = ? AND o.lane = ? AND (o.op, o.a, o.b, o.id) <= (e.op, e.a, e.b, e.id) "
            "ORDER BY o.op DESC, o.a DESC, o.b DESC, o.id DESC LIMIT 1) AS s"
        )
        ops, numbers, others, ids = zip(*asked, strict=True)
        own = (self.queue, index.num)
        given = ([*ops], integers(numbers), integers(others), [*ids])
        # A queue that never had an item has no block: nothing is found.
        for place, n, in_block, *block in self.session.composed(text, (*own, self.queue, *given, *own)):
            counted[asked[place - 1]] = _Before(n + in_block, BlockKey(*block), n)
        return counted

    def _key_at(self, path: OrderPath, start: _Before, rank: int, behind: int | None) -> tuple[Key, int] | None:
        """Find the key of the item at a rank along the index of a path.

        Args:
            path: The path; the item has its fixed values.
            start: What stands before the first of these items.
            rank: The rank, counted from the beginning of the index; from its end, if nobody has counted the path's items and
                its order descends.
            behind: How many items stand up to the last one of the path; None if nobody has counted them.

        Returns:
            The key, and how many items stand up to the last one of the path.
        """
        index, from_end = path.index, behind is None and not path.left[0]
        columns = ", ".join(f"i.{column}" for column in index.columns)
        begin = ", ".join(f"c.{name}" for name in NAMES[index])
        text = (
            f"{_COUNTED}, wanted AS MATERIALIZED (SELECT s.total, CASE WHEN ? THEN s.total - 1 - ? ELSE ? END AS rank "
            "FROM (SELECT ? + sum(n)::bigint AS total FROM counted) AS s) "
            f"SELECT r.total, k.* FROM wanted AS r CROSS JOIN counted AS c CROSS JOIN LATERAL ("
            f"SELECT {columns} FROM {LIVE[index]} AND i.queue = ? AND ({columns}) >= ({begin}) "
            f"ORDER BY {columns} LIMIT 1 OFFSET r.rank - c.before) AS k WHERE c.before <= r.rank AND c.before + c.n > r.rank"
        )
        stretch = (start.before_block, self.queue, index.num, *start.block, *high(index, path.fixed))
        found = self.session.composed(text, (*stretch, from_end, rank, rank, start.before_block, self.queue))
        return (tuple(found[0][1:]), found[0][0] if behind is None else behind) if found else None


def _terms(path: OrderPath, key: Key) -> Counter[BlockKey]:
    """Say what an item's rank along a path is made of: keys of its index, with how often what stands before each is taken."""
    index, terms = path.index, Counter[BlockKey]()
    for place, up in enumerate(path.left):
        group, own = (*path.fixed, *key[:place]), (*path.fixed, *key[: place + 1])
        if up:
            terms[low(index, own)] += 1
            terms[low(index, group)] -= 1
        else:
            terms[high(index, group)] += 1
            terms[high(index, own)] -= 1
    return Counter({bound: times for bound, times in terms.items() if times})
