"""The orders in which a queue's items were asked for, and the values they were filtered by, kept sorted in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annotation_queue.repositories.sorted_keys import SortedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from annotation_queue.items import QueueItem
    from annotation_queue.repositories.memory_items import StoredItem
    from annotation_queue.sorting import Order, SortBy

MAX_ORDERS: Final = 16
"""So many orders are kept for a queue; the one unused for longest gives way."""
VIEW_FIELDS: Final = frozenset({"annotation_state", "annotator_user_id"})
"""The fields that belong to a view."""
_MOVING_FIELDS: Final = VIEW_FIELDS | {"updated_at"}
"""The fields that change while an item is annotated."""


class Orders:
    """Orders of a queue's live items in the aggregate view, and which items have which value of a field.

    Each order and each field is arranged at its first use, O(n log n) and O(n), and kept current from then on. An order
    costs O(log n) for each item that comes, goes or changes a field it sorts by; a field O(1) for each that comes or
    goes.

    Args:
        live: Iterates over the live items of the queue.
    """

    def __init__(self, live: Callable[[], Iterator[StoredItem]]) -> None:
        self._live = live
        self._orders: dict[tuple[SortBy, ...], tuple[Order, SortedKeys, bool]] = {}
        """With whether annotating moves items in it; the most recently used last."""
        self._values: dict[str, dict[str | None, dict[str, None]]] = {}
        """Name of a field -> value -> ids, as the keys of a dictionary that stands for a set: it is half as large."""

    def keys(self, order: Order) -> SortedKeys:
        """Give the keys of the live items in an order. O(1), but O(n log n) at the first use."""
        found = self._orders.pop(order.sort_by, None)
        if found is None:
            if len(self._orders) >= MAX_ORDERS:
                del self._orders[next(iter(self._orders))]
            keys = SortedKeys(order.key(order.values(stored.item)) for stored in self._live())
            found = order, keys, any(field.name in _MOVING_FIELDS for field in order.fields)
        self._orders[order.sort_by] = found
        return found[1]

    def with_value(self, field: str, value: str) -> Collection[str]:
        """Give the ids of the live items that have a value, in any order. O(1), but O(n) at the field's first use."""
        if field not in self._values:
            self._values[field] = {}
            self._index(field, (stored.item for stored in self._live()))
        return self._values[field].get(value, {})

    def add(self, items: Sequence[QueueItem]) -> None:
        """Take in new items."""
        for order, keys, _ in self._orders.values():
            keys.update(order.key(order.values(item)) for item in items)
        for field in self._values:
            self._index(field, items)

    def remove(self, item: QueueItem) -> None:
        """Drop an item; it is given as it was taken in or last changed."""
        for order, keys, _ in self._orders.values():
            keys.remove(order.key(order.values(item)))
        for field, ids in self._values.items():
            value = getattr(item, field)
            del ids[value][item.id]
            if not ids[value]:
                del ids[value]

    def change(self, before: QueueItem, after: QueueItem) -> None:
        """Follow a change of an item."""
        for order, keys, moves in self._orders.values():
            if moves:
                old, new = order.key(order.values(before)), order.key(order.values(after))
                if old != new:
                    keys.remove(old)
                    keys.add(new)

    def check(self, items: Iterable[QueueItem]) -> tuple[str, ...]:
        """Verify every invariant. O(orders * n log n).

        Args:
            items: The live items of the queue.

        Returns:
            What is wrong, in words; nothing when it is whole.
        """
        live = list(items)
        wrong = []
        for sort_by, (order, keys, _) in self._orders.items():
            wrong += [f"order {sort_by}: {each}" for each in keys.check()]
            if list(keys) != sorted(order.key(order.values(item)) for item in live):
                wrong.append(f"order {sort_by} does not hold the live items")
        for field, ids in self._values.items():
            expected: dict[str | None, dict[str, None]] = {}
            for item in live:
                expected.setdefault(getattr(item, field), {})[item.id] = None
            if ids != expected:
                wrong.append(f"the items by {field} are not those")
        return tuple(wrong)

    def _index(self, field: str, items: Iterable[QueueItem]) -> None:
        by_value = self._values[field]
        for item in items:
            by_value.setdefault(getattr(item, field), {})[item.id] = None
