"""The log of a queue in memory, and which progress each of its entries changed last."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import islice
from typing import TYPE_CHECKING, Final

from annotation_queue.changes import Settlement, is_settlement
from annotation_queue.query import WALK_BYTES, until_full
from annotation_queue.repositories.memory.item import StoredItem, size_of
from annotation_queue.states import IN_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from annotation_queue.states import Transition


_FEW: Final = 64
"""So few older entries are not worth to be swept out."""


def key_of(item_id: str, annotator_id: str) -> str:
    """Give the key of an annotator's progress on an item: one text, which the garbage collector need not visit."""
    # No id holds NUL.
    return f"{item_id}\0{annotator_id}"


def ids_of(key: str) -> tuple[str, str]:
    """Give the ids of the item and of the annotator whom a key is made of."""
    item_id, _, annotator_id = key.partition("\0")
    return item_id, annotator_id


class Recent:
    """Keys in the order in which each was noted last. To note one takes O(1) on average, to start anywhere O(log n)."""

    __slots__ = ("_keys", "_last", "_most", "_nums")

    def __init__(self) -> None:
        self._nums: list[int] = []
        """Ascending, one for each time that a key was noted, but for those that were swept out."""
        self._keys: list[str] = []
        self._last: dict[str, int] = {}
        """Key -> the number under which it was noted last. What stands under an older one is passed over."""
        self._most = _FEW
        """At how many numbers it is time to ask whether more than half of them are older ones; never later."""

    def note(self, key: str, num: int) -> None:
        """Note a key under a number greater than every other."""
        nums = self._nums
        nums.append(num)
        self._keys.append(key)
        self._last[key] = num
        if len(nums) > self._most:
            self._make_room()

    def discard(self, key: str) -> int:
        """Forget a key, and give the number under which it was noted last; 0 for none."""
        num = self._last.pop(key, 0)
        if num:
            self._most -= 2
        return num

    def put_back(self, key: str, num: int) -> None:
        """Note a key again that was discarded, under the number that it had. O(n)."""
        at = bisect_left(self._nums, num)
        if at == len(self._nums) or self._nums[at] != num:
            self._nums.insert(at, num)
            self._keys.insert(at, key)
        self._last[key] = num

    def _make_room(self) -> None:
        self._most = 2 * len(self._last) + _FEW
        if len(self._nums) <= self._most:
            return
        kept = [(num, key) for num, key in zip(self._nums, self._keys, strict=True) if self._last.get(key) == num]
        self._nums = [num for num, _ in kept]
        self._keys = [key for _, key in kept]

    def items(self) -> list[tuple[int, str]]:
        """List every key under its number, in order. O(n)."""
        return list(self.walk(None, newest_first=False))

    def walk(self, after: int | None, *, newest_first: bool) -> Iterator[tuple[int, str]]:
        """Iterate over the keys behind a number, in order or in the reverse order, each under its number."""
        if newest_first:
            at = len(self._nums) if after is None else bisect_right(self._nums, after - 1)
            places: Iterable[int] = range(at - 1, -1, -1)
        else:
            places = range(0 if after is None else bisect_right(self._nums, after), len(self._nums))
        for at in places:
            num, key = self._nums[at], self._keys[at]
            if self._last.get(key) == num:
                yield num, key


class Log:
    """A queue's transitions in the order in which they were stored, numbered from 1."""

    __slots__ = ("_latest", "transitions")

    def __init__(self) -> None:
        self.transitions: list[Transition | None] = []
        """Those with labels that could be changed carry them packed. None stands for what was erased."""
        self._latest: list[datetime] = []
        """For each the greatest time up to it: so that it ascends, whatever the clocks said."""

    def __len__(self) -> int:
        return len(self.transitions)

    def append(self, transition: Transition) -> int:
        """Append a transition, and give its number."""
        at, latest = transition.at, self._latest
        latest.append(latest[-1] if latest and latest[-1] > at else at)
        self.transitions.append(transition)
        return len(latest)

    def erase(self, item_ids: Collection[str]) -> None:
        """Erase the transitions of items; all others keep their numbers. O(n)."""
        for index, transition in enumerate(self.transitions):
            if transition is not None and transition.item_id in item_ids:
                self.transitions[index] = None

    def page(self, start: int, limit: int) -> tuple[list[Transition], int]:
        """Read transitions behind a number, up to a limit, and the number of the last one. O(what it passes)."""
        # By number: a slice would copy all that follows, and an iterator pass all that comes before.
        numbered = ((at + 1, self.transitions[at]) for at in range(start, len(self.transitions)))
        kept = ((num, transition) for num, transition in numbered if transition is not None)
        sized = ((each, size_of(each[1].annotation)) for each in islice(kept, limit))
        found = [*until_full(sized, WALK_BYTES)]
        return [transition for _, transition in found], found[-1][0] if found else start

    def settled_since(self, since: datetime, items: Mapping[str, StoredItem]) -> Iterator[Settlement]:
        """Find the settlements after a time. O(log n), and linear in what the log got since."""
        for transition in self.transitions[bisect_right(self._latest, since) :]:
            if transition is not None and transition.at > since and is_settlement(transition):
                yield Settlement(transition, _start_of(transition, items[transition.item_id].history or ()))


def _start_of(settlement: Transition, history: Iterable[Transition]) -> datetime | None:
    """Find when the annotator had last entered in_progress before a settlement."""
    started: datetime | None = None
    for transition in history:
        if transition is settlement:
            break
        if transition.annotator_id == settlement.annotator_id and transition.to_state is IN_PROGRESS:
            started = transition.at
    return started
