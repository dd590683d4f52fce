"""The live queues of a project in the orders that were asked for, kept sorted in memory."""

from __future__ import annotations

from itertools import islice
from sys import maxsize
from typing import TYPE_CHECKING, Final

from annotation_queue.items import copy_queue
from annotation_queue.query import search_text
from annotation_queue.repositories.memory.sorted_keys import SortedKeys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.query import QueuePage, QueueQuery
    from annotation_queue.repositories.memory.sorted_keys import Key
    from annotation_queue.sorting import Order, SortBy

_MOST_ORDERS: Final = 16
"""How many orders are kept for a project; the one that was unused for longest gives way."""


class QueueListings:
    """The live queues of one project.

    An order is arranged when it is first asked for, in O(q log q), and kept current from then on, in O(log q) for each queue
    that is added, changed or deleted.
    """

    def __init__(self) -> None:
        self._queues: dict[str, AnnotationQueue] = {}
        """By id."""
        self._search_texts: dict[str, str] = {}
        """Id -> what of the name is searched in."""
        self._orders: dict[tuple[SortBy, ...], tuple[Order, SortedKeys]] = {}
        """The most recently used last."""

    def put(self, queue: AnnotationQueue) -> None:
        """Take in a queue as it is now, whether it is new, changed or deleted."""
        before = self._queues.get(queue.id)
        after = queue if queue.deleted_at is None else None
        for order, keys in self._orders.values():
            old, new = _key(order, before), _key(order, after)
            if old != new:
                if old is not None:
                    keys.remove(old)
                if new is not None:
                    keys.add(new)
        if after is None:
            self._queues.pop(queue.id, None)
            self._search_texts.pop(queue.id, None)
        else:
            self._queues[queue.id] = after
            self._search_texts[queue.id] = search_text(after.name)

    def page(self, project_id: str, query: QueueQuery) -> QueuePage:
        """Answer a query; result and errors are those of `Repository.query_queues`.

        O(log q + page), and O(1) for each queue that a name which is searched for passes over.
        """
        after, order = query.after(project_id), query.order()
        keys = self._keys(order)
        most = maxsize if query.limit is None else min(query.limit + 1, maxsize)
        start = 0 if after is None else keys.bisect_right(order.key(after))
        if query.name is None:
            found: Iterable[Key] = keys.iter_from(start + query.offset)
        else:
            found = islice(
                self._named(keys.iter_from(start), search_text(query.name)), min(query.offset, maxsize), None
            )
        return query.page(project_id, [copy_queue(self._queues[key[-1]]) for key in islice(found, most)])

    def _named(self, keys: Iterable[Key], part: str) -> Iterator[Key]:
        texts = self._search_texts
        return (key for key in keys if part in texts[key[-1]])

    def _keys(self, order: Order) -> SortedKeys:
        kept = self._orders.pop(order.sort_by, None)
        if kept is None:
            kept = order, SortedKeys.of_sorted(order.arrange(self._queues.values()))
            if len(self._orders) >= _MOST_ORDERS:
                del self._orders[next(iter(self._orders))]
        self._orders[order.sort_by] = kept
        return kept[1]

    def check(self, live: Iterable[AnnotationQueue]) -> tuple[str, ...]:
        """Verify every invariant. O(orders * q log q).

        Args:
            live: The live queues of the project.

        Returns:
            What is wrong, in words; nothing if it is whole.
        """
        wrong = []
        if self._queues != {queue.id: queue for queue in live}:
            wrong.append("the listed queues are not the live ones")
        if self._search_texts != {queue.id: search_text(queue.name) for queue in self._queues.values()}:
            wrong.append("the names that are searched in are not those of the queues")
        for sort_by, (order, keys) in self._orders.items():
            wrong += [f"order {sort_by}: {each}" for each in keys.check()]
            if list(keys) != sorted(order.key(order.values(queue)) for queue in self._queues.values()):
                wrong.append(f"order {sort_by} does not hold the queues")
        return tuple(wrong)


def _key(order: Order, queue: AnnotationQueue | None) -> Key | None:
    return None if queue is None else order.key(order.values(queue))
