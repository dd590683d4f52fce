"""Reading items along a path: those of the order of changes out of both its parts, all others along their index."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from annotation_queue.repositories.sql.paths import Found
from annotation_queue.repositories.sqlite import stretches as sqlite_stretches
from annotation_queue.repositories.sqlite.indexes import BY_UPDATED, before, between
from annotation_queue.repositories.sqlite.queries.ranks import count_along
from annotation_queue.repositories.sqlite.queries.updates import Moment, boundary, count_told, first_later, told
from annotation_queue.repositories.sqlite.stretches import ALL, stretches
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue.repositories.sql.paths import Key, OrderPath
    from annotation_queue.repositories.sqlite.queries.scans import Scan


class Wanted(NamedTuple):
    """What is known of the items that a query wants.

    Args:
        ranks: The ranks of the aggregate states that all of them are in.
        total: How many they are, if they are all items in these states; else None.
    """

    ranks: Sequence[int] = ALL
    total: int | None = None


def nums_along(
    scan: Scan, path: OrderPath, start: Key | None, wanted: Wanted, *, at: bool, limit: int, offset: int
) -> list[int]:
    """Read the numbers of items.

    Args:
        scan: What is read; it finds what has an index.
        path: The path.
        start: The key to begin behind; None to begin at the first item.
        wanted: What is known of them.
        at: Whether the item at ``start`` is wanted too.
        limit: The greatest number of items to read.
        offset: How many items to leave out first; only without ``start``.

    Returns:
        The numbers in order. The cost is that of the items passed from the start on, wanted or not, and in the order of changes
        that of the entries of the log too. There an offset is cheaper if all items in some states are wanted: it costs one for
        each 1,024 entries, and one for each item passed that the log does not tell of.
    """
    if path.index is not BY_UPDATED:
        return scan.nums(path, start, at=at, limit=limit, offset=offset)
    return _ByUpdate(scan, path, wanted).nums(start, at=at, limit=limit, offset=offset)


class _ByUpdate:
    """The two parts of the order of changes: the own ones, which the index has, and those that the log tells of."""

    def __init__(self, scan: Scan, path: OrderPath, wanted: Wanted) -> None:
        self._scan = scan
        self._path = path
        self._wanted = wanted
        self._up, self._id_up = path.ups
        self._end = scan.session.log_end(scan.queue).entries + 1

    def nums(self, start: Key | None, *, at: bool, limit: int, offset: int) -> list[int]:
        """Read the numbers of items, as `nums_along` says."""
        own_offset = 0
        if offset and self._wanted.total is not None:
            if offset >= self._wanted.total:
                return []
            start, own_offset = self._seek(offset)
            at, offset = False, 0
        most = min(limit + offset, MAX_INTEGER)
        found = self._read(start, at=at, own_offset=own_offset, limit=most)
        for place, up in reversed([*enumerate(self._path.ups)]):
            found.sort(key=lambda each, place=place: each.key[place], reverse=not up)  # type: ignore[misc]  # a default binds it now
        return [each.num for each in found[offset:most]]

    def _read(self, start: Key | None, *, at: bool, own_offset: int, limit: int) -> list[Found]:
        """Read the first ones of both parts. What was read of one says how much of the other can matter."""
        has_own = self._has_own()
        if self._up and has_own:
            # Mostly those that nobody touched come first.
            own = self._own(start, None, at=at, offset=own_offset, limit=limit)
            return own + self._told(start, own[-1].key[0] if len(own) == limit else None, at=at, limit=limit)
        in_log = self._told(start, None, at=at, limit=limit)
        last = in_log[-1].key[0] if len(in_log) == limit else None
        if not has_own:
            return in_log
        return in_log + self._own(start, last, at=at, offset=own_offset, limit=limit)

    def _told(self, start: Key | None, last: int | str | None, *, at: bool, limit: int) -> list[Found]:
        scan = self._scan
        found = told(
            scan.session,
            scan.queue,
            start,
            self._path.ups,
            ranks=self._wanted.ranks,
            join=scan.join,
            conditions=scan.conditions,
            at=at,
            last=None if last is None else int(last),
            limit=limit,
        )
        return [Found(*each) for each in found]

    def _own(self, start: Key | None, last: int | str | None, *, at: bool, offset: int, limit: int) -> list[Found]:
        scan = self._scan
        if last is not None:
            scan = scan.among(f"w.updated_at {'<=' if self._up else '>='} ?", last)
        return scan.found(self._path, start, at=at, limit=limit, offset=offset)

    def _has_own(self) -> bool:
        """Tell whether there may be wanted items of which the log tells nothing."""
        scan, (ranks, total) = self._scan, self._wanted
        # Without a condition the index shows it at once.
        if total is None or not scan.conditions:
            return True
        return total > count_told(scan.session, scan.queue, 1, self._end, ranks)

    def _seek(self, rank: int) -> tuple[Key | None, int]:
        """Find an item of the log behind which only own ones stand before the item at a rank, counted from 0.

        Returns:
            The key of that item, or one before all if there is none; and how many own ones stand between.
        """
        scan, ranks = self._scan, self._wanted.ranks
        session, queue, up = scan.session, scan.queue, self._up
        nums: list[int] = []
        before: list[int] = []
        n = 0
        for num, counted in stretches(session, queue, ranks, 0, self._end, up=up):
            nums.append(num)
            before.append(n)
            n += (
                count_told(session, queue, num * sqlite_stretches.SIZE, self._end, ranks)
                if counted is None
                else counted
            )
        # The last stretch before whose first item there are no more than that.
        low, key, own = 0, None, 0
        high = bisect_right(before, rank)
        while high - low > 1:
            middle = (low + high) // 2
            there = self._before_all_at(boundary(session, queue, nums[middle], up=up))
            passed = own + self._count_own(key, there)
            if before[middle] + passed <= rank:
                low, key, own = middle, there, passed
            else:
                high = middle
        left = rank
        if low:
            micros = boundary(session, queue, nums[low], up=up)
            ends = (
                (1, first_later(session, queue, micros - 1)) if up else (first_later(session, queue, micros), self._end)
            )
            left -= own + count_told(session, queue, *ends, ranks)
        last = boundary(session, queue, nums[high], up=up) if high < len(nums) else None
        return self._seek_inside(key, left, self._told(key, last, at=False, limit=left + 1))

    def _seek_inside(self, key: Key | None, rank: int, in_log: Sequence[Found]) -> tuple[Key | None, int]:
        """Find it among items of the log, with a rank that is counted from a key on."""
        low, own, high = 0, 0, len(in_log)
        # Mostly it is before all of these or behind all; no half is counted twice then.
        if in_log and self._count_own(key, in_log[0].key) >= rank:
            high = 0
        while low < high:
            middle = (low + high) // 2
            passed = own + self._count_own(key, in_log[middle].key)
            if middle + passed < rank:
                low, key, own = middle + 1, in_log[middle].key, passed
            else:
                high = middle
        return key, rank - low - own

    def _before_all_at(self, micros: int) -> Key:
        """Give a key that stands before all items of a time, and behind all others that do."""
        if self._id_up:
            return Moment(micros, "")
        return Moment(micros - 1 if self._up else micros + 1, "")

    def _count_own(self, start: Key | None, end: Key) -> int:
        """Count the wanted own items from a key on to before another."""
        columns, ups = BY_UPDATED.columns, self._path.ups
        segments = before(columns, ups, end) if start is None else between(columns, ups, start, end)
        scan = self._scan
        return count_along(scan.session, scan.queue, BY_UPDATED, segments, conditions=scan.conditions)
