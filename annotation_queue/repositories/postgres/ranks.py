"""Ranks: how many items stand before keys along a path, and which item stands at a rank."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from annotation_queue.repositories.postgres.indexes import BEHIND_ALL, FIRST_BLOCK, LIVE, NAMES, BlockKey, high, low
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.sql.paths import OrderPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.paths import Key

_KEY: Final = "b.op, b.a, b.b, b.id"
_KEY_DOWN: Final = "b.op DESC, b.a DESC, b.b DESC, b.id DESC"


class _Block(NamedTuple):
    """A block, and how many items stand before it; counted from wherever one counts."""

    key: BlockKey
    before: int


_FIRST: Final = _Block(FIRST_BLOCK, 0)
_END: Final = _Block(BEHIND_ALL, 0)
"""Behind all blocks: what is counted from here is negative."""


class _Before(NamedTuple):
    """How many items stand before a key, and the block into which it falls."""

    rank: int
    block: _Block


_NONE_BEFORE: Final = _Before(0, _FIRST)


class _Found(NamedTuple):
    """Where an item stands.

    Args:
        key: Its key; None if not looked up, since all items of its block have the same value in the next column.
        rank: How many stand before it.
        block: Its block.
        behind: Where the next block begins; None if there is none.
    """

    key: Key | None
    rank: int
    block: _Block
    behind: BlockKey | None


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
        that of one over the blocks of the group that it is in, for each column. A group inside a block is sorted.
        """
        path = self.path
        if path.fixed:
            start, end = self._interval(path, _FIRST)
            if rank >= end.rank - start.rank:
                return None
            found = self._in_interval(path, rank, start, end)
        else:
            # From the end on, what stands before it is counted downwards.
            found = self._at(path, _FIRST, rank) if path.left[0] else self._at(path, _END, -1 - rank)
        while found is not None and not path.even:
            # As long as an order goes on as it began, what stands before an item in it stands before it in the index.
            up, group = path.left[0], _group(path, found)
            if found.key is None or _goes_beyond(group, found):
                start, end = self._interval(group, found.block)
                place = found.rank - start.rank if up else end.rank - 1 - found.rank
                found = self._in_interval(group, place, start, end, found.block)
            else:
                found = found._replace(key=self._mirrored(group, found.key))
            path = group
        return None if found is None or found.key is None else found.key[len(self.path.fixed) :]

    def count(self) -> int:
        """Count all items that have the path's fixed values; the cost is that of a rank."""
        start, end = self._interval(self.path, _FIRST)
        return end.rank - start.rank

    def _interval(self, path: OrderPath, near: _Block) -> tuple[_Before, _Before]:
        """Count the items before those that have the fixed values of a path, and up to the last of them."""
        start, end = low(path.index, path.fixed), high(path.index, path.fixed)
        before = self._before([start, end], near)
        return before[start], before[end]

    def _in_interval(self, path: OrderPath, place: int, start: _Before, end: _Before, *near: _Block) -> _Found | None:
        """Find the item at a place among those that have the fixed values of a path; other blocks may be known."""
        rank = start.rank + place if path.left[0] else end.rank - 1 - place
        return self._at(path, min((start.block, end.block, *near), key=lambda block: abs(rank - block.before)), rank)

    def _mirrored(self, path: OrderPath, key: Key) -> Key:
        """Find the item that has as many before it, among those with the fixed values of a path, as another has behind it.

        The cost is that of reading twice as many as they are. Which end is meant is said by the direction of the next column.

        Args:
            path: The path.
            key: The other's key.
        """
        index, up = path.index, path.left[0]
        columns = [f"i.{column}" for column in index.columns]
        names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
        names_down = ", ".join(f"{column} DESC" for column in columns)
        passes, order, first, own_order = (">", names, ">=", names) if up else ("<", names_down, "<", names_down)
        source = f"FROM {LIVE[index]} AND i.queue = ?"
        # Scans that begin at a key and end where they have what they are for: for equal values the server might choose another
        # index, of tables that it has not looked at yet.
        passed = f"SELECT {names} {source} AND ({names}) {passes} ({marks}) ORDER BY {order}"
        numbered = f"SELECT {names}, row_number() OVER () - 1 AS place FROM ({passed}) AS i"
        differs = f"({', '.join(columns[: len(path.fixed)])}) <> ({', '.join('?' for _ in path.fixed)})"
        text = (
            f"SELECT {names} {source} AND ({names}) {first} ({marks}) ORDER BY {own_order} LIMIT 1 OFFSET coalesce("
            f"(SELECT i.place FROM ({numbered}) AS i WHERE {differs} LIMIT 1), (SELECT count(*) FROM ({passed}) AS i))"
        )
        bound = (low if up else high)(index, path.fixed)
        begin = [getattr(bound, name) for name in NAMES[index]]
        values = (self.queue, *begin, self.queue, *key, *path.fixed, self.queue, *key)
        ((*found,),) = self.session.composed(text, values, is_kept=True)
        return tuple(found)

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
        begin, end, behind = (", ".join(f"{table}.{name}" for name in NAMES[index]) for table in "sef")
        source = f"FROM {LIVE[index]} AND i.queue = ?"
        # None but the last group of a block ends with it, mostly: then no item is counted.
        in_block = f"f.id IS NULL OR ({columns}) < ({behind})"
        reaches = f"SELECT {in_block} {source} AND ({columns}) >= ({end}) ORDER BY {columns} LIMIT 1"
        # The server reads a row comparison from its beginning on, but does not end where it fails in a later column.
        of_block = f"SELECT {columns} {source} AND ({columns}) >= ({begin}) ORDER BY {columns} LIMIT s.n"
        numbered = f"SELECT {columns}, row_number() OVER () - 1 AS place FROM ({of_block}) AS i"
        of_lane = "FROM blocks AS b WHERE b.queue = ? AND b.lane = ?"
        text = (
            "SELECT e.place, ?::bigint + CASE WHEN (s.op, s.a, s.b, s.id) >= (?, ?, ?, ?) "
            f"THEN (SELECT coalesce(sum(b.n), 0) {of_lane} AND ({_KEY}) >= (?, ?, ?, ?) AND ({_KEY}) < (s.op, s.a, s.b, s.id)) "
            f"ELSE -(SELECT sum(b.n) {of_lane} AND ({_KEY}) >= (s.op, s.a, s.b, s.id) AND ({_KEY}) < (?, ?, ?, ?)) END, "
            f"CASE WHEN ({reaches}) THEN coalesce("
            f"(SELECT i.place FROM ({numbered}) AS i WHERE ({columns}) >= ({end}) LIMIT 1), s.n) ELSE s.n END, "
            "s.op, s.a, s.b, s.id "
            "FROM unnest(?::text[], ?::bigint[], ?::bigint[], ?::text[]) WITH ORDINALITY AS e(op, a, b, id, place) "
            f"CROSS JOIN LATERAL (SELECT {_KEY}, b.n {of_lane} AND ({_KEY}) <= (e.op, e.a, e.b, e.id) "
            f"ORDER BY {_KEY_DOWN} LIMIT 1) AS s LEFT JOIN LATERAL ("
            f"SELECT {_KEY} {of_lane} AND ({_KEY}) > (s.op, s.a, s.b, s.id) ORDER BY {_KEY} LIMIT 1) AS f ON TRUE"
        )
        ops, numbers, others, ids = zip(*asked, strict=True)
        own = (self.queue, index.num)
        given = ([*ops], integers(numbers), integers(others), [*ids])
        values = (near.before, *near.key, *own, *near.key, *own, *near.key, self.queue, self.queue, *given, *own, *own)
        # A queue that never had an item has no block: nothing is found.
        for place, n, inside, *block in self.session.composed(text, values, is_kept=True):
            counted[asked[place - 1]] = _Before(n + inside, _Block(BlockKey(*block), n))
        return counted

    def _at(self, path: OrderPath, near: _Block, rank: int) -> _Found | None:
        """Find the item at a rank along the index; None if it is behind the last.

        Args:
            path: The path. The key of the item is looked up unless all of its block share what decides on its group.
            near: A block before which it is known how many stand. The cost is that of passing those between it and the item's,
                one by one, and of the items up to it from the nearer end of its block.
            rank: How many stand before the item.
        """
        index, up = path.index, rank >= near.before
        columns = [f"i.{column}" for column in index.columns]
        names, names_down = ", ".join(columns), ", ".join(f"{column} DESC" for column in columns)
        begin, behind = (", ".join(f"{table}.{name}" for name in NAMES[index]) for table in "cf")
        sign, passes, order, reached = ("+", ">=", _KEY, "> ?") if up else ("-", "<", _KEY_DOWN, "<= ?")
        before = "b.reached - b.n" if up else "b.reached"
        of_lane = "FROM blocks AS b WHERE b.queue = ? AND b.lane = ?"
        own = (self.queue, index.num)
        same = [f"c.{name} IS NOT DISTINCT FROM f.{name}" for name in NAMES[index][: len(path.fixed) + _run(path)]]
        source = f"SELECT {names} FROM {LIVE[index]} AND i.queue = ? AND NOT ({' AND '.join(same)})"
        is_late = "f.id IS NOT NULL AND 2 * c.place > c.n"
        # To read blocks one by one takes the server some five times as long as to sum them up; so it ends where it can.
        text = (
            "SELECT c.before, c.op, c.a, c.b, c.id, f.op, f.a, f.b, f.id, k.* FROM ("
            f"SELECT b.*, {before} AS before, ?::bigint - ({before}) AS place FROM ("
            f"SELECT {_KEY}, b.n, ?::bigint {sign} sum(b.n) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS reached "
            f"{of_lane} AND ({_KEY}) {passes} (?, ?, ?, ?)) AS b "
            f"WHERE b.reached {reached} ORDER BY {order} LIMIT 1) AS c LEFT JOIN LATERAL ("
            f"SELECT {_KEY} {of_lane} AND ({_KEY}) > (c.op, c.a, c.b, c.id) ORDER BY {_KEY} LIMIT 1"
            ") AS f ON TRUE LEFT JOIN LATERAL ("
            f"({source} AND ({names}) >= ({begin}) AND NOT ({is_late}) ORDER BY {names} LIMIT 1 OFFSET c.place) UNION ALL "
            f"({source} AND ({names}) < ({behind}) AND {is_late} ORDER BY {names_down} LIMIT 1 OFFSET c.n - 1 - c.place)"
            ") AS k ON TRUE"
        )
        values = (rank, near.before, *own, *near.key, rank, *own, self.queue, self.queue)
        for n, op, a, b, item_id, *rest in self.session.composed(text, values, is_kept=True):
            next_op, next_a, next_b, next_id, *key = rest
            return _Found(
                None if key[-1] is None else tuple(key),
                rank,
                _Block(BlockKey(op, a, b, item_id), n),
                None if next_op is None else BlockKey(next_op, next_a, next_b, next_id),
            )
        return None


def _run(path: OrderPath) -> int:
    """Count the columns that are not fixed up to the first one in which the direction changes."""
    left = path.left
    return next((place for place, up in enumerate(left) if up != left[0]), len(left))


def _group(path: OrderPath, found: _Found) -> OrderPath:
    """Give the path along the items that have an item's values in all columns up to where the direction changes."""
    own = found.key or [getattr(found.block.key, name) for name in NAMES[path.index]]
    return OrderPath(path.index, tuple(own[: len(path.fixed) + _run(path)]), path.ups)


def _goes_beyond(group: OrderPath, found: _Found) -> bool:
    """Tell whether the items that have the fixed values of a path may be in more blocks than that of one of them."""
    names = NAMES[group.index][: len(group.fixed)]
    ends = [each for each in (found.block.key, found.behind) if each is not None]
    return any(tuple(getattr(end, name) for name in names) == group.fixed for end in ends)


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
