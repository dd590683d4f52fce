"""How the memory repository finds a page of items."""

from __future__ import annotations

from itertools import chain, compress, islice
from sys import maxsize
from typing import TYPE_CHECKING, Final

from annotation_queue.query import until_full
from annotation_queue.records import view
from annotation_queue.repositories.memory.filters import Matcher
from annotation_queue.repositories.memory.listings import id_of, key_in, stored_at
from annotation_queue.repositories.memory.sorted_keys import SortedKeys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from annotation_queue.items import QueueItem
    from annotation_queue.query import ItemPage, ItemQuery
    from annotation_queue.repositories.memory.item import StoredItem
    from annotation_queue.repositories.memory.queue import StoredQueue
    from annotation_queue.repositories.memory.sorted_keys import Key

_FEW: Final = 256
"""If a filter leaves this number of items or fewer, they are sorted for each query."""
_GLANCE: Final = 2_000
"""How many items are passed over in search of a page before a selection is arranged."""


def find_page(stored: StoredQueue, query: ItemQuery) -> ItemPage:
    """Answer a query.

    O(log n + page). If a filter leaves few items, they are sorted each time. Else the part of the order in which the page
    begins is searched, and if that is not enough, a selection is arranged and kept. The first use of an order costs
    O(n log n), that of a selection O(n).

    Args:
        stored: The queue.
        query: The query.

    Returns:
        The page.

    Raises:
        InvalidCursor: The cursor is not one of this queue, sort and perspective.
    """
    return Selection(stored, query).page()


class Selection:
    """One query over one queue."""

    def __init__(self, stored: StoredQueue, query: ItemQuery) -> None:
        self._stored = stored
        self._query = query
        self._annotator_id = query.annotator_id
        self._order = query.order()
        self._wanted = query.filter.equalities()

    def page(self) -> ItemPage:
        """Read the page."""
        query, queue = self._query, self._stored.queue
        after = query.after(queue)
        behind = None if after is None else self._order.key(after)
        stop = maxsize if query.limit is None else min(query.limit + 1, maxsize)
        keys = self._keys()
        positions: Iterable[int] | None = None
        total: int | None = None
        glimpsed = self._glance(behind, stop) if keys is None else None
        if glimpsed is not None:
            chosen, positions = glimpsed
        else:
            if keys is None:
                keys = self._stored.orders.select(self._order, self._annotator_id, query.filter, self._fewest())
            start = query.offset if behind is None else keys.bisect_right(behind)
            chosen = list(islice(keys.iter_from(start), stop))
            if query.filter.shows_all:
                positions = range(start + 1, start + 1 + len(chosen))
            total = len(keys) if query.include_total else None
        shown = self._show(chosen if query.limit is None else chosen[: query.limit], positions)
        return query.page(queue, shown, total, has_more=len(chosen) > len(shown))

    def _show(self, keys: list[Key], positions: Iterable[int] | None) -> list[QueueItem]:
        """Make the items to hand out.

        Args:
            keys: Their keys.
            positions: Their positions, or those of more keys; None if they are not known yet.

        Returns:
            The items, as many of the first ones as the page has room for.
        """
        query = self._query
        found: Iterable[StoredItem] = stored_at(keys, self._stored.items)
        if query.max_bytes is not None and query.include_payload:
            found = until_full(((each, len(each.payload or b"")) for each in found), query.max_bytes)
        if not query.include_position:
            return [self._shown(each, None) for each in found]
        if positions is None:
            positions = map(self._all().bisect_right, keys)
        return [self._shown(each, position) for each, position in zip(found, positions, strict=False)]

    def _shown(self, stored: StoredItem, position: int | None) -> QueueItem:
        if self._query.include_payload:
            return stored.show(self._annotator_id, position)
        item = stored.in_view(self._annotator_id)
        return (
            item if position is None else view(item, (item.annotation_state, item.annotator_user_id), position=position)
        )

    def _all(self) -> SortedKeys:
        """Give the keys of all live items in the query's order."""
        return self._stored.orders.keys(self._order, self._annotator_id)

    def _keys(self) -> SortedKeys | None:
        """Give the keys of the items that the filter shows, if they are at hand or few; else None."""
        stored, wanted = self._stored, self._query.filter
        if wanted.shows_all:
            return self._all()
        fewest = () if wanted.shows_none else self._fewest()
        if fewest is not None and len(fewest) <= _FEW:
            few, matcher = map(stored.items.__getitem__, fewest), Matcher(self._query.filter, self._annotator_id)
            return SortedKeys(key_in(self._order, each, self._annotator_id) for each in few if matcher(each))
        return stored.orders.selected(self._order, self._annotator_id, self._query.filter)

    def _fewest(self) -> Collection[str] | None:
        """Give the ids that the strictest condition of equality leaves; None without one."""
        stored, left = self._stored, []
        for name, values in self._wanted.items():
            if name == "id":
                left.append([value for value in values if self._is_live(value)])
            elif name == "call_id":
                left.append([stored.calls[value] for value in values if value in stored.calls])
        if left:
            return min(left, key=len)
        others = [self._with_values(name, values) for name, values in self._wanted.items()]
        return min(others, key=len, default=None)

    def _is_live(self, item_id: str) -> bool:
        found = self._stored.items.get(item_id)
        return found is not None and self._stored.calls.get(found.item.call_id) == item_id

    def _with_values(self, name: str, values: Collection[str]) -> Collection[str]:
        """Give the ids of the items that have one of some values."""
        each = [self._stored.orders.with_value(name, value) for value in values]
        return each[0] if len(each) == 1 else set(chain.from_iterable(each))

    def _glance(self, behind: Key | None, stop: int) -> tuple[list[Key], list[int]] | None:
        """Look for the page in the part of the order where it begins.

        Returns:
            The keys and the positions of its items; None if that part is not enough.
        """
        query = self._query
        if query.include_total or query.limit is None:
            return None
        whole = self._all()
        start = 0 if behind is None else whole.bisect_right(behind)
        seen = list(islice(whole.iter_from(start), _GLANCE))
        found = self._matching(seen)
        chosen = list(islice(found, query.offset, min(query.offset + stop, maxsize)))
        if len(chosen) < stop and start + len(seen) < len(whole):
            return None
        return [seen[index] for index in chosen], [start + index + 1 for index in chosen]

    def _matching(self, seen: list[Key]) -> Iterator[int]:
        """Give the indexes of the items that the filter shows; only those that have its value are looked at."""
        matcher, ids, every = Matcher(self._query.filter, self._annotator_id), self._fewest(), range(len(seen))
        if ids is None:
            return matcher.select(every, stored_at(seen, self._stored.items))
        found = compress(every, map(ids.__contains__, map(id_of, seen)))
        items = self._stored.items
        return (index for index in found if matcher(items[id_of(seen[index])]))
