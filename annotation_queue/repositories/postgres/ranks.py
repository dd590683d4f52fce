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

_KEY: Final = "b.op, b.a, b.b, b.id"
_KEY_DOWN: Final = "b.op DESC, b.a DESC, b.b DESC, b.id DESC"


class _Block(NamedTuple):
    """A block, and how many items stand before it; counted from wherever one counts."""

    key: BlockKey
    before: int


_FIRST: Final = _Block(FIRST_BLOCK, 0)


class _Before(NamedTuple):
    """How many items stand before a key, and the block into which it falls."""

    rank: int
    block: _Block


_NONE_BEFORE: Final = _Before(0, _FIRST)


class _Found(NamedTuple):
    """An item, how many items stand before it, and its block."""

    key: Key
    rank: int
    block: _Block


class _Passed(NamedTuple):
    """What passing blocks came to.

    Args:
        upto: How many items stand up to the end of the last block.
        n: How many stand in it.
        block: Where it begins.
        key: The key of one of its items.
    """

    upto: int
    n: int
    block: BlockKey
    key: Key


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
        """Find the key of the item at a rank; None if the rank is behind the last.

        The cost is that of a sum over the blocks up to it, from whichever end the order begins at; and with several directions
        that of one over the blocks of the group that it is in, for each column.
        """
        path = self.path
        if path.fixed:
            start, end = self._interval(path, _FIRST)
            if rank >= end - start.rank:
                return None
            found = self._in_interval(path, start, end, rank)
        else:
            found = self._at(_FIRST, rank) if path.left[0] else self._from_end(rank)
        while found is not None and not path.even:
            up, path = path.left[0], path.below(found.key[len(path.fixed)])
            start, end = self._interval(path, found.block)
            if end - start.rank == 1:
                break
            found = self._in_interval(path, start, end, found.rank - start.rank if up else end - 1 - found.rank)
        return None if found is None else found.key[len(self.path.fixed) :]

    def count(self) -> int:
        """Count all items that have the path's fixed values; the cost is that of a rank."""
        start, end = self._interval(self.path, _FIRST)
        return end - start.rank

    def _interval(self, path: OrderPath, near: _Block) -> tuple[_Before, int]:
        """Count the items before those that have the fixed values of a path, and up to the last of them."""
        start, end = low(path.index, path.fixed), high(path.index, path.fixed)
        before = self._before([start, end], near)
        return before[start], before[end].rank

    def _in_interval(self, path: OrderPath, start: _Before, end: int, rank: int) -> _Found | None:
        """Find the item at a rank among those that have the fixed values of a path."""
        return self._at(start.block, start.rank + rank if path.left[0] else end - 1 - rank)

    def _before(self, bounds: Iterable[BlockKey], near: _Block = _FIRST) -> dict[BlockKey, _Before]:
        """Count the items that stand before keys along the index.

        Args:
            bounds: The keys.
            near: A block before which it is known how many stand. The cost is that of a sum over the blocks between it and
                each key, and of the items of the key's block that stand before the key.
        """
        index = self.path.index
        counted = dict.fromkeys(bounds, _NONE_BEFORE)
        # Elsewhere what stands before the first block is counted from that of `near`, as all is.
        asked = [bound for bound in counted if near is not _FIRST or bound != FIRST_BLOCK]
        if not asked:
            return counted
        columns = ", ".join(f"i.{column}" for column in index.columns)
        begin = ", ".join(f"s.{name}" for name in NAMES[index])
        end = ", ".join(f"e.{name}" for name in NAMES[index])
        # The server reads a row comparison from its beginning on, but does not end where it fails in a later column.
        in_block = f"{LIVE[index]} AND i.queue = ? AND ({columns}) >= ({begin}) ORDER BY {columns} LIMIT s.n"
        of_lane = "FROM blocks AS b WHERE b.queue = ? AND b.lane = ?"
        text = (
            "SELECT e.place, ?::bigint + CASE WHEN (s.op, s.a, s.b, s.id) >= (?, ?, ?, ?) "
            f"THEN (SELECT coalesce(sum(b.n), 0) {of_lane} AND ({_KEY}) >= (?, ?, ?, ?) AND ({_KEY}) < (s.op, s.a, s.b, s.id)) "
            f"ELSE -(SELECT sum(b.n) {of_lane} AND ({_KEY}) >= (s.op, s.a, s.b, s.id) AND ({_KEY}) < (?, ?, ?, ?)) END, "
            f"(SELECT count(*) FROM (SELECT {columns} FROM {in_block}) AS i WHERE ({columns}) < ({end})), s.op, s.a, s.b, s.id "
            "FROM unnest(?::text[], ?::bigint[], ?::bigint[], ?::text[]) WITH ORDINALITY AS e(op, a, b, id, place) "
            f"CROSS JOIN LATERAL (SELECT {_KEY}, b.n {of_lane} AND ({_KEY}) <= (e.op, e.a, e.b, e.id) "
            f"ORDER BY {_KEY_DOWN} LIMIT 1) AS s"
        )
        ops, numbers, others, ids = zip(*asked, strict=True)
        own = (self.queue, index.num)
        given = ([*ops], integers(numbers), integers(others), [*ids])
        values = (near.before, *near.key, *own, *near.key, *own, *near.key, self.queue, *given, *own)
        # A queue that never had an item has no block: nothing is found.
        for place, n, inside, *block in self.session.composed(text, values):
            counted[asked[place - 1]] = _Before(n + inside, _Block(BlockKey(*block), n))
        return counted

    def _at(self, near: _Block, rank: int) -> _Found | None:
        """Find the item at a rank along the index.

        Args:
            near: A block at or before its own, with how many items stand before it.
            rank: How many stand before the item.
        """
        of_block = f"({_KEY}) >= (?, ?, ?, ?)"
        given = (near.before, self.queue, self.path.index.num, *near.key, rank, self.queue, rank)
        found = self._passed(_KEY, of_block, "?::bigint - (c.upto - c.n)", given)
        return found and _Found(found.key, rank, _Block(found.block, found.upto - found.n))

    def _from_end(self, rank: int) -> _Found | None:
        """Find the item at a rank counted from the end of the index; what is found counts from the beginning of its block."""
        given = (0, self.queue, self.path.index.num, rank, self.queue, rank)
        found = self._passed(_KEY_DOWN, "TRUE", "c.upto - 1 - ?::bigint", given)
        return found and _Found(found.key, found.upto - 1 - rank, _Block(found.block, 0))

    def _passed(self, order: str, condition: str, offset: str, values: Sequence[object]) -> _Passed | None:
        """Pass blocks until enough items stand in them, and find one of the last block; None if there are not so many."""
        index = self.path.index
        columns = ", ".join(f"i.{column}" for column in index.columns)
        begin = ", ".join(f"c.{name}" for name in NAMES[index])
        # To read blocks one by one takes the server some five times as long as to sum them up; so it ends where it can.
        text = (
            "SELECT c.upto, c.n, c.op, c.a, c.b, c.id, k.* FROM (SELECT b.* FROM ("
            f"SELECT {_KEY}, b.n, ?::bigint + sum(b.n) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS upto "
            f"FROM blocks AS b WHERE b.queue = ? AND b.lane = ? AND {condition}"
            f") AS b WHERE b.upto > ? ORDER BY {order} LIMIT 1) AS c CROSS JOIN LATERAL ("
            f"SELECT {columns} FROM {LIVE[index]} AND i.queue = ? AND ({columns}) >= ({begin}) "
            f"ORDER BY {columns} LIMIT 1 OFFSET {offset}) AS k"
        )
        for upto, n, op, a, b, item_id, *key in self.session.composed(text, values):
            return _Passed(upto, n, BlockKey(op, a, b, item_id), tuple(key))
        return None


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
