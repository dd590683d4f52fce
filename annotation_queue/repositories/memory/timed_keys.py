"""Sorted keys that each wait for a time: the index behind expired leases in memory."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue.repositories.memory.sorted_keys import Key

_FULL: Final = 128
"""A block of more keys is split in two."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class TimedKeys:
    """Distinct keys in ascending order, each with a time: finds the first key whose time has come.

    Not thread-safe. Keys lie in blocks of at most 128; for each block a bound is kept that is not after the earliest of
    its times. A change only lowers bounds; a search that is misled by one raises it. A tournament tree over the bounds,
    built by the first search that finds something due, leads past any number of keys whose times have not come.
    """

    __slots__ = ("_bounds", "_floor", "_keys", "_length", "_maxima", "_times", "_tree")

    def __init__(self) -> None:
        self._keys: list[list[Key]] = []
        self._times: list[list[datetime]] = []
        self._maxima: list[Key] = []
        self._bounds: list[datetime] = []
        self._floor = _NEVER
        """Not after any time: spares the tree while nothing is due."""
        self._tree: list[datetime] | None = None
        """Node 1 is the root, node n has the children 2n and 2n+1; the leaves are the bounds."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def items(self) -> Iterator[tuple[Key, datetime]]:
        """Iterate over keys and times in the order of the keys; no change meanwhile."""
        return zip(chain.from_iterable(self._keys), chain.from_iterable(self._times), strict=True)

    def set(self, key: Key, time: datetime) -> None:
        """Add a key, or change its time. O(log n), plus moving a part of one block."""
        place = bisect_left(self._maxima, key)
        if place == len(self._maxima):
            if not place:
                self._keys, self._times, self._maxima, self._bounds = [[key]], [[time]], [key], [time]
                self._length, self._floor, self._tree = 1, time, None
                return
            place -= 1
            self._maxima[place] = key
        keys, times = self._keys[place], self._times[place]
        index = bisect_left(keys, key)
        if index < len(keys) and keys[index] == key:
            times[index] = time
        else:
            keys.insert(index, key)
            times.insert(index, time)
            self._length += 1
        self._floor = min(self._floor, time)
        if len(keys) > _FULL:
            half = _FULL // 2
            self._delete_block(place)
            self._insert_blocks(place, [keys[:half], keys[half:]], [times[:half], times[half:]])
        elif time < self._bounds[place]:
            self._bound(place, time)

    def discard(self, key: Key) -> bool:
        """Remove a key where it is there, and tell whether it was. O(log n), plus moving a part of one block."""
        place = bisect_left(self._maxima, key)
        if place == len(self._maxima):
            return False
        keys = self._keys[place]
        index = bisect_left(keys, key)
        if keys[index] != key:
            return False
        del keys[index], self._times[place][index]
        self._length -= 1
        if keys:
            self._maxima[place] = keys[-1]
        else:
            self._delete_block(place)
        return True

    def first(self, at: datetime, after: Key | None = None) -> Key | None:
        """Find the first key whose time has come.

        O(1) while nothing is due, else O(log n) amortised: each change can mislead one later search.

        Args:
            at: Now, UTC: a time that is not later has come.
            after: Look only behind this key.

        Returns:
            The key, or None.
        """
        if at < self._floor:
            return None
        place = 0
        if after is not None:
            place = bisect_left(self._maxima, after)
            if place == len(self._maxima):
                return None
            start = bisect_left(self._keys[place], after)
            start += self._keys[place][start] == after
            for index in range(start, len(self._keys[place])):
                if self._times[place][index] <= at:
                    return self._keys[place][index]
            place += 1
        while (found := self._due_block(at, place)) is not None:
            times = self._times[found]
            for index, time in enumerate(times):
                if time <= at:
                    return self._keys[found][index]
            self._bound(found, min(times))
            place = found + 1
        if after is None:
            self._floor = min(self._bounds, default=_NEVER)
        return None

    def earliest(self) -> datetime | None:
        """Find the earliest time, or None without keys. O(log n) amortised, as `first`."""
        while (place := self._due_block(self._grown()[1], 0)) is not None:
            exact = min(self._times[place])
            if exact == self._bounds[place]:
                self._floor = exact
                return exact
            self._bound(place, exact)
        return None

    def check(self) -> tuple[str, ...]:
        """Verify every invariant. O(n).

        Returns:
            What is wrong, in words; nothing when it is whole.
        """
        wrong = []
        if any(not before < after for before, after in pairwise(chain.from_iterable(self._keys))):
            wrong.append("keys are out of order or repeated")
        if not all(0 < len(block) <= _FULL for block in self._keys):
            wrong.append("a block is empty or too long")
        if list(map(len, self._keys)) != list(map(len, self._times)):
            wrong.append("a block has not one time for each key")
        if [block[-1] for block in self._keys if block] != self._maxima:
            wrong.append("the maxima are not those of the blocks")
        if sum(map(len, self._keys)) != self._length:
            wrong.append("the length is not the number of keys")
        if len(self._bounds) != len(self._times) or any(
            bound > min(times, default=_NEVER) for bound, times in zip(self._bounds, self._times, strict=False)
        ):
            wrong.append("a bound is later than a time of its block")
        if self._floor > min(chain.from_iterable(self._times), default=_NEVER):
            wrong.append("the floor is later than a time")
        if self._tree is not None and self._tree != self._build():
            wrong.append("the tree is not that of the bounds")
        return tuple(wrong)

    def _insert_blocks(self, place: int, keys: list[list[Key]], times: list[list[datetime]]) -> None:
        self._keys[place:place] = keys
        self._times[place:place] = times
        self._maxima[place:place] = [block[-1] for block in keys]
        self._bounds[place:place] = map(min, times)
        self._tree = None

    def _delete_block(self, place: int) -> None:
        del self._keys[place], self._times[place], self._maxima[place], self._bounds[place]
        self._tree = None

    def _bound(self, place: int, bound: datetime) -> None:
        """Set the bound of a block."""
        self._bounds[place] = bound
        tree = self._tree
        if tree is None:
            return
        node = len(tree) // 2 + place
        tree[node] = bound
        while node := node >> 1:
            tree[node] = min(tree[2 * node], tree[2 * node + 1])

    def _grown(self) -> list[datetime]:
        """Give the tree."""
        if self._tree is None:
            self._tree = self._build()
        return self._tree

    def _build(self) -> list[datetime]:
        leaves = 1 << (len(self._bounds) - 1).bit_length() if self._bounds else 1
        tree = [_NEVER] * leaves + self._bounds + [_NEVER] * (leaves - len(self._bounds))
        for node in range(leaves - 1, 0, -1):
            tree[node] = min(tree[2 * node], tree[2 * node + 1])
        return tree

    def _due_block(self, at: datetime, place: int) -> int | None:
        """Find the first block from a place on whose bound has come."""
        if place >= len(self._bounds):
            return None
        tree = self._grown()
        leaves = len(tree) // 2
        node = leaves + place
        while tree[node] > at:
            # Up to where a part further right begins, then to that part.
            while node & 1:
                node >>= 1
            if not node:
                return None
            node += 1
        while node < leaves:
            node *= 2
            node += tree[node] > at
        return node - leaves
