"""How the memory repository finds a page of items."""

from __future__ import annotations

from bisect import bisect_left
from heapq import merge
from itertools import islice
from operator import attrgetter
from sys import maxsize
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.repositories.memory_orders import VIEW_FIELDS
from annotation_queue.repositories.sorted_keys import SortedKeys
from annotation_queue.sorting import QUEUE_ORDER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from annotation_queue.items import QueueItem
    from annotation_queue.query import ItemPage, ItemQuery
    from annotation_queue.repositories.memory_items import StoredItem
    from annotation_queue.repositories.memory_queue import StoredQueue
    from annotation_queue.repositories.sorted_keys import Key

_SORT_SHARE: Final = 16
"""To sort one item costs about as much as to pass over so many."""


def find_page(stored: StoredQueue, query: ItemQuery) -> ItemPage:
    """Answer a query.

    O(log n + page) in queue order, with a filter on one state too, and in an order that is kept; O(log^2 n + page) with
    a filter on several states. Other filters either walk over the order or sort what they leave, whichever is less. An
    annotator's perspective that is sorted by its state, and an order at its first use, cost O(n log n).

    Args:
        stored: The queue.
        query: The query.

    Returns:
        The page.

    Raises:
        InvalidCursor: The cursor is not one of this queue, sort and perspective.
    """
    return _Search(stored, query).page()


class _Union:
    """Lists of the same order, of which no two share a key, read as one."""

    def __init__(self, parts: list[SortedKeys]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def bisect_right(self, key: Key) -> int:
        """Count the keys that are less or equal. O(log n)."""
        return sum(part.bisect_right(key) for part in self._parts)

    def iter_from(self, rank: int) -> Iterator[Key]:
        """Iterate in order from a rank on; nothing past the end. O(log^2 n), then O(1) a key."""
        return merge(*(part.iter_from(self._start(part, rank)) for part in self._parts))

    def _start(self, part: SortedKeys, rank: int) -> int:
        """Count the keys of a part that come before a rank of the whole."""

        def rank_of(index: int) -> int:
            return self.bisect_right(part[index]) - 1

        return bisect_left(range(len(part)), rank, key=rank_of)


class _Search:
    """One query over one queue."""

    def __init__(self, stored: StoredQueue, query: ItemQuery) -> None:
        self._stored = stored
        self._query = query
        self._annotator_id = query.annotator_id
        self._order = query.order()
        self._in_queue_order = self._order.sort_by == QUEUE_ORDER
        self._id_index = next(index for index, by in enumerate(self._order.sort_by) if by.field == "id")
        self._whole: SortedKeys | None = None

    def page(self) -> ItemPage:
        query = self._query
        after = query.after(self._stored.queue)
        keys, matches = self._source()
        start = query.offset if after is None else keys.bisect_right(self._order.key(after))
        stop = None if query.limit is None else min(query.limit + 1, maxsize)
        if matches is None:
            chosen = list(islice(keys.iter_from(start), stop))
            total = len(keys)
        else:
            skip = query.offset
            found = self._matching(keys.iter_from(0 if after is None else start), matches)
            chosen = list(islice(found, skip, None if stop is None else min(skip + stop, maxsize)))
            total = sum(1 for _ in self._matching(keys.iter_from(0), matches)) if query.include_total else 0
        shown = self._show(chosen, start if keys is self._whole and matches is None else None)
        return query.page(self._stored.queue, shown, total if query.include_total else None)

    def _show(self, keys: list[Key], start: int | None) -> list[QueueItem]:
        """Make the items to hand out; where they stand together in the whole order, they start behind so many."""
        stored, annotator_id = map(self._find, keys), self._annotator_id
        if not self._query.include_position:
            return [each.show(annotator_id) for each in stored]
        if start is not None:
            return [each.show(annotator_id, position) for position, each in enumerate(stored, start + 1)]
        whole = self._all()
        return [each.show(annotator_id, whole.bisect_right(key)) for key, each in zip(keys, stored, strict=True)]

    def _find(self, key: Key) -> StoredItem:
        return self._stored.items[key[self._id_index]]

    def _key(self, stored: StoredItem) -> Key:
        if self._in_queue_order:
            return stored.key
        return self._order.key(self._order.values(stored.in_view(self._annotator_id)))

    def _all(self) -> SortedKeys:
        """Give the keys of all live items in the query's order."""
        if self._whole is None:
            if self._in_queue_order:
                self._whole = self._stored.in_order
            elif self._annotator_id is None or not any(each.name in VIEW_FIELDS for each in self._order.fields):
                self._whole = self._stored.orders.keys(self._order)
            else:
                self._whole = SortedKeys(map(self._key, self._stored.live()))
        return self._whole

    def _matching(self, keys: Iterable[Key], matches: Callable[[StoredItem], bool]) -> Iterator[Key]:
        find = self._find
        return (key for key in keys if matches(find(key)))

    def _source(self) -> tuple[SortedKeys | _Union, Callable[[StoredItem], bool] | None]:
        """Choose what to walk over, in the query's order, and what to ask of each on the way; None for nothing."""
        stored = self._stored
        wanted, states = self._query.filter.equalities(), self._query.filter.annotation_states
        if not wanted and states is None:
            return self._all(), None
        if states is not None and not states:
            return SortedKeys(), None
        matches = self._predicate(wanted, states)
        fewest = self._fewest(wanted)
        of_states = None
        if states is not None and self._annotator_id is None:
            of_states = [stored.in_state[state] for state in states]
            if self._in_queue_order and not wanted:
                return of_states[0] if len(of_states) == 1 else _Union(of_states), None
        size = len(stored.in_order)
        few: Iterable[StoredItem] | None = None
        if fewest is not None:
            size, few = len(fewest), map(stored.items.__getitem__, fewest)
        if of_states is not None and sum(map(len, of_states)) < size:
            size = sum(map(len, of_states))
            few = (stored.find(key) for keys in of_states for key in keys)
        if few is not None and size * _SORT_SHARE < self._walk(size):
            return SortedKeys(self._key(each) for each in few if matches(each)), None
        return self._all(), matches

    def _walk(self, size: int) -> int:
        """Estimate how many items a walk over the whole order passes where so many match."""
        every, query = len(self._stored.in_order), self._query
        if query.limit is None or query.include_total or not size:
            return every
        return min(every, (query.offset + query.limit + 1) * every // size)

    def _fewest(self, wanted: dict[str, str]) -> Collection[str] | None:
        """Give the ids that the strictest condition of equality leaves; None without one."""
        stored, left = self._stored, []
        for name, value in wanted.items():
            if name == "id":
                found = stored.items.get(value)
                live = found is not None and stored.calls.get(found.item.call_id) == value
                left.append((value,) if live else ())
            elif name == "call_id":
                left.append((stored.calls[value],) if value in stored.calls else ())
        if left:
            return min(left, key=len)
        others = [stored.orders.with_value(name, value) for name, value in wanted.items()]
        return min(others, key=len, default=None)

    def _predicate(self, wanted: dict[str, str], states: Collection[Any] | None) -> Callable[[StoredItem], bool]:
        annotator_id = self._annotator_id
        names = tuple(wanted)
        read = attrgetter(*names) if names else None
        value: object = wanted[names[0]] if len(names) == 1 else tuple(wanted.values())

        def matches(stored: StoredItem) -> bool:
            if read is not None and read(stored.item) != value:
                return False
            if states is None:
                return True
            if annotator_id is None:
                return stored.standing.state in states
            return stored.seen_by(annotator_id)[0] in states

        return matches
