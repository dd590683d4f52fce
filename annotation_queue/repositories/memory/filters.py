"""What a filter asks of items in memory: of one, and of very many."""

from __future__ import annotations

from itertools import compress, product
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from annotation_queue.query import ItemFilter
    from annotation_queue.repositories.memory.item import StoredItem

_Thing = TypeVar("_Thing")


class Matcher:
    """Tells which items a filter shows.

    Args:
        wanted: The filter, with at least one condition.
        annotator_id: In whose perspective its states are meant; None for the aggregate view.
    """

    __slots__ = ("_allowed", "_read")

    def __init__(self, wanted: ItemFilter, annotator_id: str | None) -> None:
        equalities = wanted.equalities()
        names = [f"item.{name}" for name in equalities]
        values: list[Iterable[str]] = [(value,) for value in equalities.values()]
        if wanted.annotation_states is not None:
            names.append("standing.state")
            values.append(wanted.annotation_states)
        # What is asked for is read of an item at once, and compared with everything that fits: without a line of Python for
        # each item.
        self._read: Callable[[StoredItem], Any] = attrgetter(*names)
        self._allowed = frozenset(product(*values)) if len(names) > 1 else frozenset(*values)
        if wanted.annotation_states is not None and annotator_id is not None:
            self._read = _in_perspective(names[:-1], annotator_id)

    def __call__(self, stored: StoredItem) -> bool:
        """Tell whether the filter shows an item."""
        return self._read(stored) in self._allowed

    def select(self, things: Iterable[_Thing], stored: Iterable[StoredItem]) -> Iterator[_Thing]:
        """Pick what belongs to the items that the filter shows, given one thing for each item in the same order."""
        return compress(things, map(self._allowed.__contains__, map(self._read, stored)))


def _in_perspective(names: list[str], annotator_id: str) -> Callable[[StoredItem], Any]:
    """Read attributes and, behind them, the state in an annotator's perspective."""
    if not names:
        return lambda stored: stored.seen_by(annotator_id)[0]
    readers = [attrgetter(name) for name in names]
    return lambda stored: (*[read(stored) for read in readers], stored.seen_by(annotator_id)[0])
