"""The orders and filters by which a queue's items were asked for, and the values they have, kept sorted in memory."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.repositories.memory.filters import Matcher
from annotation_queue.repositories.memory.sorted_keys import SortedKeys
from annotation_queue.sorting import QUEUE_ORDER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from annotation_queue.query import ItemFilter
    from annotation_queue.repositories.memory.item import StoredItem
    from annotation_queue.repositories.memory.sorted_keys import Key
    from annotation_queue.sorting import Order

MAX_ORDERS: Final = 16
"""How many orders are kept for a queue, and how many selections; the one that was unused for longest gives way."""
_SORT_SHARE: Final = 16
"""To sort one item costs about as much as to pass over this number of items."""
_VIEW_FIELDS: Final = frozenset({"annotation_state", "annotator_user_id"})
"""The fields that belong to a view."""
_MOVING_FIELDS: Final = _VIEW_FIELDS | {"updated_at"}
"""The fields that change while an item is annotated."""


class Listing:
    """Live items of a queue in an order: all of them, or a selection.

    Args:
        order: The order.
        annotator_id: In whose perspective they are ordered and selected; None for the aggregate view.
        wanted: Which items; None for all.
        keys: Their keys.
    """

    __slots__ = ("_annotator_id", "_matches", "_order", "keys", "moves")

    def __init__(self, order: Order, annotator_id: str | None, wanted: ItemFilter | None, keys: SortedKeys) -> None:
        self._order = order
        self._annotator_id = annotator_id
        self._matches = None if wanted is None else Matcher(wanted, annotator_id)
        self.keys = keys
        follows = wanted is not None and wanted.follows_progress
        self.moves = follows or any(field.name in _MOVING_FIELDS for field in order.fields)
        """Whether annotating moves items in it, into it or out of it."""

    @property
    def sort_by(self) -> object:
        """How it is sorted, in full."""
        return self._order.sort_by

    def named(self, _: object, annotator_id: str | None, wanted: ItemFilter | None = None) -> Listing:
        """Give what it should be by the name that it is kept under: sort, view and filter."""
        return Listing(self._order, annotator_id, wanted, self.keys)

    def key(self, stored: StoredItem) -> Key | None:
        """Give the key of an item as it is now; None if it is not selected."""
        if self._matches is not None and not self._matches(stored):
            return None
        return key_in(self._order, stored, self._annotator_id)

    def move(self, stored: StoredItem, before: Key | None) -> None:
        """Follow a change of an item, given its key before it."""
        after = self.key(stored)
        if before != after:
            if before is not None:
                self.keys.remove(before)
            if after is not None:
                self.keys.add(after)


def key_in(order: Order, stored: StoredItem, annotator_id: str | None) -> Key:
    """Give the key of an item in an order and view."""
    if order.sort_by == QUEUE_ORDER:
        return stored.key
    return order.key(order.values(stored.in_view(annotator_id)))


id_of: Final[Callable[[Key], str]] = itemgetter(-1)
"""Reads the id of an item in its key: every order ends with it."""


def stored_at(keys: Iterable[Key], items: Mapping[str, StoredItem]) -> Iterator[StoredItem]:
    """Give the items of keys, in their order."""
    return map(items.__getitem__, map(id_of, keys))


class Listings:
    """Listings of a queue's live items, selections of them, and which items have which value of a field.

    Each is arranged at its first use, in O(n log n), O(n) and O(n), and kept current from then on. An order or a selection
    costs O(log n) for each item that comes, goes or changes in it; a field O(1) for each that comes or goes.

    Args:
        in_order: The keys of the live items in queue order.
        items: Every item of the repository by id.
    """

    def __init__(self, in_order: SortedKeys, items: Mapping[str, StoredItem]) -> None:
        self._in_order = in_order
        self._items = items
        self._orders: dict[Any, Listing] = {}
        """By sort and view; the most recently used last."""
        self._selections: dict[Any, Listing] = {}
        """By sort, view and filter; the most recently used last."""
        self.moving: list[Listing] = []
        """Those of both that annotating changes: each is to be told of every change, by `Listing.move`."""
        self._values: dict[str, dict[str | None, dict[str, None]]] = {}
        """Name of a field -> value -> ids, as the keys of a dictionary that stands for a set: it is half as large."""

    def keys(self, order: Order, annotator_id: str | None) -> SortedKeys:
        """Give the keys of the live items in an order and view. O(1), but O(n log n) at the first use."""
        if order.sort_by == QUEUE_ORDER:
            return self._in_order
        if not any(field.name in _VIEW_FIELDS for field in order.fields):
            annotator_id = None

        def arrange() -> Listing:
            items = (self._items[key[-1]].in_view(annotator_id) for key in self._in_order)
            return Listing(order, annotator_id, None, SortedKeys.of_sorted(order.arrange(items)))

        return self._keep(self._orders, (order.sort_by, annotator_id), arrange).keys

    def selected(self, order: Order, annotator_id: str | None, wanted: ItemFilter) -> SortedKeys | None:
        """Give the keys of the live items that a filter shows, in an order and view, if they are kept; else None. O(1)."""
        if (order.sort_by, annotator_id, wanted) not in self._selections:
            return None
        return self.select(order, annotator_id, wanted, None)

    def select(
        self, order: Order, annotator_id: str | None, wanted: ItemFilter, among: Collection[str] | None
    ) -> SortedKeys:
        """Give the keys of the live items that a filter shows, in an order and view. O(1), but O(n) at the first use.

        Args:
            order: The order.
            annotator_id: The view; None for the aggregate one.
            wanted: The filter.
            among: Ids of live items, those that it shows among them; None for all.

        Returns:
            The keys.
        """

        def arrange() -> Listing:
            matcher = Matcher(wanted, annotator_id)
            if among is not None and len(among) * _SORT_SHARE < len(self._in_order):
                items = (self._items[item_id] for item_id in among)
                keys = order.arrange(each.in_view(annotator_id) for each in items if matcher(each))
            else:
                whole = self.keys(order, annotator_id)
                keys = list(matcher.select(whole, stored_at(whole, self._items)))
            return Listing(order, annotator_id, wanted, SortedKeys.of_sorted(keys))

        return self._keep(self._selections, (order.sort_by, annotator_id, wanted), arrange).keys

    def _keep(self, kept: dict[Any, Listing], name: object, arrange: Callable[[], Listing]) -> Listing:
        """Give a listing. If it is not kept yet, arrange it, and let go of the one that was unused for longest."""
        found = kept.pop(name, None)
        if found is None:
            found = arrange()
            if len(kept) >= MAX_ORDERS:
                del kept[next(iter(kept))]
            kept[name] = found
            self.moving = [each for each in self._listings() if each.moves]
        kept[name] = found
        return found

    def with_value(self, field: str, value: str) -> Collection[str]:
        """Give the ids of the live items that have a value, in any order. O(1), but O(n) at the field's first use."""
        if field not in self._values:
            self._values[field] = {}
            self._index(field, (self._items[key[-1]] for key in self._in_order))
        return self._values[field].get(value, {})

    def add(self, added: Sequence[StoredItem]) -> None:
        """Take in new items."""
        for listing in self._listings():
            listing.keys.update(key for stored in added if (key := listing.key(stored)) is not None)
        for field in self._values:
            self._index(field, added)

    def remove(self, stored: StoredItem) -> None:
        """Drop an item; it is given as it was taken in or last changed."""
        for listing in self._listings():
            key = listing.key(stored)
            if key is not None:
                listing.keys.remove(key)
        for field, ids in self._values.items():
            value = getattr(stored.item, field)
            del ids[value][stored.item.id]
            if not ids[value]:
                del ids[value]

    def forget_what_is_finished(self) -> None:
        """Let go of the selections of what is finished, or is not: the queue's policies have changed."""
        self._selections = {name: each for name, each in self._selections.items() if name[-1].finished is None}
        self.moving = [each for each in self._listings() if each.moves]

    def check(self, live: Sequence[StoredItem]) -> tuple[str, ...]:
        """Verify every invariant. O(listings * n log n).

        Args:
            live: The live items of the queue.

        Returns:
            What is wrong, in words; nothing when it is whole.
        """
        wrong = []
        if sorted(map(id, self.moving)) != sorted(id(each) for each in self._listings() if each.moves):
            wrong.append("not all listings that annotating moves follow it, or others do")
        for kind, kept in (("order", self._orders), ("selection", self._selections)):
            for name, listing in kept.items():
                wrong += [f"{kind} {name}: {each}" for each in listing.keys.check()]
                named = listing.named(*name)
                if (named.sort_by, named.moves) != (listing.sort_by, listing.moves):
                    wrong.append(f"{kind} {name} does not follow what annotators do, or is another one")
                # What it says of an item decides where the next change puts it.
                for each in (listing, named):
                    if list(listing.keys) != sorted(key for stored in live if (key := each.key(stored)) is not None):
                        wrong.append(f"{kind} {name} does not hold the live items")
        for field, ids in self._values.items():
            expected: dict[str | None, dict[str, None]] = {}
            for stored in live:
                expected.setdefault(getattr(stored.item, field), {})[stored.item.id] = None
            if ids != expected:
                wrong.append(f"the items by {field} are not those")
        return tuple(wrong)

    def _listings(self) -> Iterator[Listing]:
        yield from self._orders.values()
        yield from self._selections.values()

    def _index(self, field: str, added: Iterable[StoredItem]) -> None:
        by_value = self._values[field]
        for stored in added:
            by_value.setdefault(getattr(stored.item, field), {})[stored.item.id] = None
