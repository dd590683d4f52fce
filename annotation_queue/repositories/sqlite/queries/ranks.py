"""Ranks: how many items stand before a key along a path, and which item stands at a rank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Final, cast

from annotation_queue.repositories.sql.orders import Fragment
from annotation_queue.repositories.sql.paths import Index, Key, OrderPath
from annotation_queue.repositories.sqlite.blocks import FIRST_BLOCK, BlockKey, index_key
from annotation_queue.repositories.sqlite.indexes import Segment, before, between
from annotation_queue.repositories.sqlite.queries.updates import Moment, count_told, told_ranks
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.statements import SQL

_NEAR: Final = 700
"""If fewer items than this stand between two of a page, they are counted; else the rank of the second is looked up."""


class BlockCounts:
    """Counts items along an index, in its own, ascending order.

    Args:
        session: The session.
        queue: The queue's number.
        index: An index that has blocks.
    """

    def __init__(self, session: Session, queue: int, index: Index) -> None:
        self._session = session
        self._queue = queue
        self._index = index
        # The block where counting stopped last, and how many items stand before it: the next sum or search begins there.
        self._at: BlockKey = FIRST_BLOCK
        self._before = 0

    def count(self, end: Key, *, inclusive: bool) -> int:
        """Count the items before a key.

        Args:
            end: Values of the index's first columns, or of all.
            inclusive: Whether the items that have these very values count too.
        """
        names, values = ("a", "b")[: len(end)], end
        if len(end) == len(self._index.columns):
            names, values = ("a", "b", "id"), (*(*end[:-1], 0, 0)[:2], end[-1])
        marks = ", ".join("?" for _ in names)
        place = (self._queue, self._index.num, *values)
        compared = f"FROM blocks WHERE queue = ? AND lane = ? AND ({', '.join(names)})"
        block = self._session.execute(
            f"SELECT a, b, id, n {compared} {'<=' if inclusive else '<'} ({marks}) ORDER BY a DESC, b DESC, id DESC LIMIT 1",
            place,
        ).fetchone()
        if block is None:
            return 0
        *low, n = block
        self._go((*low,))
        columns = self._index.columns
        ups = (True,) * len(columns)
        start = index_key(self._index, (*low,))
        if len(end) == len(columns) and not inclusive:
            # Counting takes most of the time: it begins at the nearer end of the block.
            high = self._session.execute(
                f"SELECT a, b, id {compared} >= ({marks}) ORDER BY a, b, id LIMIT 1", place
            ).fetchone()
            if high is not None and _is_behind_middle(end, start, stop := index_key(self._index, high)):
                behind = between(columns, ups, end, stop)
                return self._before + int(n) - count_along(self._session, self._queue, self._index, behind)
        inside = between(columns, ups, start, end, inclusive=inclusive)
        return self._before + count_along(self._session, self._queue, self._index, inside)

    def _go(self, block: BlockKey) -> None:
        if block != self._at:
            low, high = sorted((block, self._at))
            (n,) = self._session.execute(SQL["sum_of_blocks"], (self._queue, self._index.num, *low, *high)).fetchone()
            self._before += n if block == high else -n
            self._at = block

    def find(self, rank: int) -> Key:
        """Find the key of the item at a rank, counted from 0; there must be one."""
        start, left = cast("tuple[Key, int]", self.seek(rank, "n"))
        columns = ", ".join(f"w.{column}" for column in self._index.columns)
        marks = ", ".join("?" for _ in self._index.columns)
        row: Key = self._session.execute(
            f"SELECT {columns} FROM work AS w INDEXED BY {self._index.index} "
            f"WHERE w.queue = ? AND ({columns}) >= ({marks}) ORDER BY {columns} LIMIT 1 OFFSET ?",
            (self._queue, *start, left),
        ).fetchone()
        return row

    def seek(self, rank: int, what: str) -> tuple[Key, int] | None:
        """Find the block that holds the item at a rank.

        Args:
            rank: The rank, counted from 0 among what is counted.
            what: What is counted: ``n`` for all, or columns of a block's counters, joined by ``+``.

        Returns:
            Where the block begins, as a key of the index, and how many are left to pass from there; None if no more than
            ``rank`` are counted in all.
        """
        start = FIRST_BLOCK
        if what == "n" and rank >= self._before:
            start, rank = self._at, rank - self._before
        place = (self._queue, self._index.num, *start)
        kinds = "CROSS JOIN counters AS c ON c.queue = b.queue AND c.kind = 2 AND c.num = b.num AND c.item = 0"
        counts = self._session.execute(
            f"SELECT {what} FROM blocks AS b {'' if what == 'n' else kinds} "
            "WHERE b.queue = ? AND b.lane = ? AND (b.a, b.b, b.id) >= (?, ?, ?) ORDER BY b.a, b.b, b.id",
            place,
        )
        for number, (n,) in enumerate(counts):
            if rank < n:
                block = self._session.execute(SQL["nth_block"], (*place, number)).fetchone()
                return index_key(self._index, block), rank
            rank -= n
        return None


class Ranks:
    """The ranks of items along a path, counted from 0 among all live items that have its fixed values.

    The order of changes alone has no blocks. There a rank costs what the log does not tell of that stands
    before or behind, whichever is less.

    Args:
        session: The session.
        queue: The queue's number.
        path: The path.
    """

    def __init__(self, session: Session, queue: int, path: OrderPath) -> None:
        self._session = session
        self._queue = queue
        self._path = path
        self._block_counts = BlockCounts(session, queue, path.index) if path.index.num else None

    def of(self, keys: Sequence[Key]) -> list[int]:
        """Give the ranks of items.

        Args:
            keys: Their keys along the path, in its order.

        Returns:
            How many items stand before each. Each costs what lies between it and the one before it, and no more than a sum over
            the blocks.
        """
        if self._block_counts is None:
            return self._by_update(keys)
        ranks = [self._rank(self._path, key) for key in keys[:1]]
        near = True
        for last, key in pairwise(keys):
            gap = self._gap(last, key) if near else None
            near = gap is not None
            ranks.append(self._rank(self._path, key) if gap is None else ranks[-1] + gap)
        return ranks

    def _by_update(self, keys: Sequence[Key]) -> list[int]:
        """Rank items in the order of changes: among those that the log tells of, and among all others."""
        if not keys:
            return []
        path = self._path
        moments = [Moment(cast("int", at), str(item_id)) for at, item_id in keys]
        ranks = told_ranks(self._session, self._queue, moments, path.ups)
        others = self._others_before(keys[0])
        # Mostly none of these stands on the same page.
        gaps = [0] * len(keys)
        if self._between(keys[0], keys[-1], 1):
            gaps[1:] = [self._between(*pair, None) for pair in pairwise(keys)]
        return [rank + others + gap for rank, gap in zip(ranks, accumulate(gaps), strict=True)]

    def _others_before(self, key: Key) -> int:
        """Count what the log does not tell of before a key. Mostly all or none of it is there, so both sides are looked at."""
        path, session, queue = self._path, self._session, self._queue
        near = self._passed(path, key, _NEAR)
        if near < _NEAR:
            return near
        backwards = [not up for up in path.ups]
        behind = before(path.index.columns, backwards, key, inclusive=True)
        left = count_along(session, queue, path.index, behind, at_most=_NEAR)
        if left >= _NEAR:
            return self._passed(path, key, None)
        return session.live(queue) - count_told(session, queue, 1, session.log_end(queue).entries + 1) - left

    def _between(self, start: Key, end: Key, at_most: int | None) -> int:
        path = self._path
        segments = between(path.index.columns, path.ups, path.fixed + start, path.fixed + end)
        return count_along(self._session, self._queue, path.index, segments, at_most=at_most)

    def find(self, rank: int) -> Key | None:
        """Find the key of the item at a rank; None if the rank is behind the last. The path's index must have blocks."""
        low, high = self._interval(self._path)
        return self._find(self._path, low, high, rank) if rank < high - low else None

    def _gap(self, last: Key, key: Key) -> int | None:
        path = self._path
        if path.by_name:
            if last[0] != key[0]:
                return None
            path = path.below(self._op(key[0]))
            last, key = last[1:], key[1:]
        segments = between(path.index.columns, path.ups, path.fixed + last, path.fixed + key)
        n = count_along(self._session, self._queue, path.index, segments, at_most=_NEAR)
        return n if n < _NEAR else None

    def _rank(self, path: OrderPath, key: Key) -> int:
        up = path.left[0]
        if path.by_name:
            statement = SQL["live_before_op" if up else "live_after_op"]
            (n,) = self._session.execute(statement, (self._queue, key[0])).fetchone()
            return int(n) + self._rank(path.below(self._op(key[0])), key[1:])
        assert self._block_counts is not None, "no blocks to count it by"  # noqa: S101 - the caller's mistake
        compared = key if path.even else key[:1]
        end = self._block_counts.count(path.fixed + compared, inclusive=not up)
        n = end - self._low(path) if up else self._high(path) - end
        return n if path.even else n + self._tied(path.below(key[0]), key[1:])

    def _tied(self, path: OrderPath, key: Key) -> int:
        """Rank an item among those that are tied with it so far. Mostly they are few, and counted sooner than looked up."""
        near = self._passed(path, key, _NEAR)
        return near if near < _NEAR else self._rank(path, key)

    def _passed(self, path: OrderPath, key: Key, at_most: int | None) -> int:
        segments = before(path.index.columns, path.ups, path.fixed + key, shared=len(path.fixed))
        return count_along(self._session, self._queue, path.index, segments, at_most=at_most)

    def _interval(self, path: OrderPath) -> tuple[int, int]:
        """Count the items before those of a path along its index, and up to the last of them."""
        return self._low(path), self._high(path)

    def _low(self, path: OrderPath) -> int:
        return (
            self._block_counts.count(path.fixed, inclusive=False)
            if self._block_counts is not None and path.fixed
            else 0
        )

    def _high(self, path: OrderPath) -> int:
        if self._block_counts is None or not path.fixed:
            return self._session.live(self._queue)
        return self._block_counts.count(path.fixed, inclusive=True)

    def _find(self, path: OrderPath, low: int, high: int, rank: int) -> Key:
        assert self._block_counts is not None, "no blocks to find it by"  # noqa: S101 - the caller's mistake
        up = path.left[0]
        if path.by_name:
            for num, name, live in self._session.ops(self._queue, None, up=up):
                if rank < live:
                    below = path.below(num)
                    return name, *self._find(below, *self._interval(below), rank)
                rank -= live
        key = self._block_counts.find(low + rank if up else high - 1 - rank)[len(path.fixed) :]
        if path.even:
            return key
        below = path.below(key[0])
        start, end = self._interval(below)
        return key[0], *self._find(below, start, end, rank - (start - low if up else high - end))

    def _op(self, name: int | str) -> int:
        num = self._session.find_op_name(self._queue, str(name))
        return 0 if num is None else num


def _is_behind_middle(key: Key, start: Key, stop: Key) -> bool:
    """Guess by the first numbers that differ whether a key is nearer to the end of a part of an index than to its beginning."""
    for value, low, high in zip(key[:-1], start[:-1], stop[:-1], strict=True):
        if low != high:
            return 2 * cast("int", value) > cast("int", low) + cast("int", high)
    return False


def count_along(
    session: Session,
    queue: int,
    index: Index,
    segments: Iterable[Segment],
    *,
    at_most: int | None = None,
    conditions: Sequence[Fragment] = (),
) -> int:
    """Count the items of an index in segments that fulfil conditions, in one statement; no further than to a limit in each."""
    texts: list[str] = []
    values: list[object] = []
    only = index.only and f" AND {index.only}"
    only += "".join(f" AND {condition}" for condition, _ in conditions)
    wanted = [value for _, each in conditions for value in each]
    for condition, some in segments:
        what = f"FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? AND {condition}{only}"
        values += (queue, *some, *wanted)
        if at_most is None:
            texts.append(f"(SELECT count(*) {what})")
        else:
            texts.append(f"(SELECT count(*) FROM (SELECT 1 {what} LIMIT ?))")
            values.append(at_most)
    if not texts:
        return 0
    (n,) = session.execute(f"SELECT {' + '.join(texts)}", values).fetchone()
    return int(n)
