"""A sorted list of keys that knows ranks: the index behind pages, positions and claims in memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Key: TypeAlias = tuple[Any, ...]
"""A tuple that compares with the others of its list."""

_FULL: Final = 1_024
"""A block of more keys is split in two."""
_BULK_SHARE: Final = 8
"""Adding more than one key for so many that are there, all at once is cheaper than one by one."""


class SortedKeys:
    """Distinct keys in ascending order, in blocks of at most 1,024.

    Not thread-safe. With n keys, adding and removing move at most one block; ranks come from a Fenwick tree over the
    sizes of the blocks, which is built at the first use and again after a block came or went.

    Args:
        keys: What it starts with, in any order.

    >>> keys = SortedKeys([("b",), ("a",), ("d",)])
    >>> keys.add(("c",))
    >>> keys[2], keys.bisect_left(("c",)), list(keys.iter_from(2))
    (('c',), 2, [('c',), ('d',)])
    """

    __slots__ = ("_blocks", "_length", "_maxima", "_tree")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._blocks: list[list[Key]] = []
        self._maxima: list[Key] = []
        self._length = 0
        self._tree: list[int] | None = None
        self.update(keys)

    @classmethod
    def of_sorted(cls, keys: list[Key]) -> SortedKeys:
        """Make it of distinct keys that are in ascending order. O(n)."""
        made = cls()
        made._fill(keys)
        return made

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Key]:
        return chain.from_iterable(self._blocks)

    def __contains__(self, key: Key) -> bool:
        """Tell whether the key is there. O(log n)."""
        place = bisect_left(self._maxima, key)
        if place == len(self._maxima):
            return False
        block = self._blocks[place]
        return block[bisect_left(block, key)] == key

    def __getitem__(self, rank: int) -> Key:
        """Give the key of a rank, 0-based from the front. O(log n).

        Raises:
            IndexError: There is none.
        """
        place, index = self._locate(rank)
        return self._blocks[place][index]

    def first(self) -> Key | None:
        """Give the least key, or None. O(1)."""
        return self._blocks[0][0] if self._blocks else None

    def add(self, key: Key) -> None:
        """Add a key that is not there. O(log n), plus moving a part of one block."""
        place = bisect_left(self._maxima, key)
        if place < len(self._maxima):
            insort(self._blocks[place], key)
        elif place:
            place -= 1
            self._blocks[place].append(key)
            self._maxima[place] = key
        else:
            self._blocks.append([key])
            self._maxima.append(key)
        self._length += 1
        if len(self._blocks[place]) > _FULL:
            self._replace(place, self._blocks[place])
        elif self._tree is not None:
            self._count(self._tree, place, 1)

    def discard(self, key: Key) -> bool:
        """Remove a key where it is there, and tell whether it was. O(log n), plus moving a part of one block."""
        blocks = self._blocks
        place = index = 0
        # Claims take the first one, and to look for a key compares a dozen others.
        if not blocks or blocks[0][0] != key:
            place = bisect_left(self._maxima, key)
            if place == len(blocks):
                return False
            index = bisect_left(blocks[place], key)
        block = blocks[place]
        if block[index] != key:
            return False
        del block[index]
        self._length -= 1
        if not block:
            del self._blocks[place], self._maxima[place]
            self._tree = None
            return True
        if index == len(block):
            self._maxima[place] = block[-1]
        if self._tree is not None:
            self._count(self._tree, place, -1)
        return True

    def remove(self, key: Key) -> None:
        """Remove a key. O(log n), plus moving a part of one block.

        Raises:
            KeyError: It is not there.
        """
        if not self.discard(key):
            raise KeyError(key)

    def update(self, keys: Iterable[Key]) -> None:
        """Add k keys that are not there, in any order. O(k log k + k log n), or O(k log k + n) where k is large."""
        new = sorted(keys)
        if not new:
            return
        if len(new) * _BULK_SHARE > self._length:
            self._fill(sorted(chain(self, new)) if self._length else new)
        else:
            for key in new:
                self.add(key)

    def bisect_left(self, key: Key) -> int:
        """Count the keys that are less. O(log n)."""
        place = bisect_left(self._maxima, key)
        if place == len(self._maxima):
            return self._length
        return self._before(place) + bisect_left(self._blocks[place], key)

    def bisect_right(self, key: Key) -> int:
        """Count the keys that are less or equal. O(log n)."""
        place = bisect_right(self._maxima, key)
        if place == len(self._maxima):
            return self._length
        return self._before(place) + bisect_right(self._blocks[place], key)

    def iter_from(self, rank: int) -> Iterator[Key]:
        """Iterate in order from a rank on; nothing past the end. O(log n), then O(1) a key; no change meanwhile."""
        if rank >= self._length:
            return iter(())
        place, index = self._locate(rank)
        first, rest = self._blocks[place], islice(self._blocks, place + 1, None)
        return chain(islice(first, index, None), chain.from_iterable(rest))

    def check(self) -> tuple[str, ...]:
        """Verify every invariant. O(n).

        Returns:
            What is wrong, in words; nothing when it is whole.
        """
        wrong = []
        if any(not before < after for before, after in pairwise(self)):
            wrong.append("keys are out of order or repeated")
        if not all(0 < len(block) <= _FULL for block in self._blocks):
            wrong.append("a block is empty or too long")
        if [block[-1] for block in self._blocks if block] != self._maxima:
            wrong.append("the maxima are not those of the blocks")
        if sum(map(len, self._blocks)) != self._length:
            wrong.append("the length is not the number of keys")
        if self._tree is not None and self._tree != self._build():
            wrong.append("the tree does not count the keys")
        return tuple(wrong)

    def _fill(self, keys: list[Key]) -> None:
        """Hold these keys, which are sorted, and no others."""
        self._blocks, self._maxima, self._length = [[]], [()], len(keys)
        self._replace(0, keys)

    def _replace(self, place: int, keys: list[Key]) -> None:
        """Put keys, cut into blocks, in the place of one block."""
        # Half full, so that each has room; a tail shorter than that gains the same.
        size = _FULL // 2
        blocks = [keys[start : start + size] for start in range(0, len(keys), size)]
        self._blocks[place : place + 1] = blocks
        self._maxima[place : place + 1] = [block[-1] for block in blocks]
        self._tree = None

    def _build(self) -> list[int]:
        """Build the Fenwick tree: the node n, 1-based, counts the keys of the last ``n & -n`` blocks up to block n."""
        tree = [0, *map(len, self._blocks)]
        for node in range(1, len(tree)):
            parent = node + (node & -node)
            if parent < len(tree):
                tree[parent] += tree[node]
        return tree

    @staticmethod
    def _count(tree: list[int], place: int, change: int) -> None:
        node = place + 1
        while node < len(tree):
            tree[node] += change
            node += node & -node

    def _before(self, place: int) -> int:
        """Count the keys of the blocks before this one."""
        tree = self._tree
        if tree is None:
            tree = self._tree = self._build()
        total = 0
        while place:
            total += tree[place]
            place &= place - 1
        return total

    def _locate(self, rank: int) -> tuple[int, int]:
        """Find the block of a rank, and the index in it."""
        if not 0 <= rank < self._length:
            raise IndexError(rank)
        tree = self._tree
        if tree is None:
            tree = self._tree = self._build()
        place, step = 0, 1 << (len(tree) - 1).bit_length() - 1
        while step:
            node = place + step
            if node < len(tree) and tree[node] <= rank:
                place = node
                rank -= tree[node]
            step >>= 1
        return place, rank
