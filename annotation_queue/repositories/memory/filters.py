"""What a filter asks of items in memory: of one, and of very many."""

from __future__ import annotations

from itertools import compress, product
from math import prod
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from annotation_queue.query import ItemFilter
    from annotation_queue.repositories.memory.item import StoredItem

_Thing = TypeVar("_Thing")
_MOST_FITTING: Final = 1_024
"""How many combinations of values are listed at most."""


class Matcher:
    """Tells which items a filter shows.

    Args:
        wanted: The filter, with at least one condition.
        annotator_id: In whose perspective its states are meant; None for the aggregate view.
    """

    __slots__ = ("_allowed", "_further", "_read")

    def __init__(self, wanted: ItemFilter, annotator_id: str | None) -> None:
        conditions: dict[str, frozenset[Any]] = {f"item.{name}": some for name, some in wanted.equalities().items()}
        if wanted.finished is not None:
            conditions["standing.finished"] = frozenset((wanted.finished,))
        if wanted.annotation_states is not None:
            conditions["standing.state"] = wanted.annotation_states
        # What is asked for is read of an item at once, and compared with everything that fits: without a line of Python for
        # each item. Where too much fits, each value is compared.
        self._further: list[Callable[[StoredItem], bool]] = []
        while prod(map(len, conditions.values())) > _MOST_FITTING:
            name = max(conditions, key=lambda each: len(conditions[each]))
            self._further.append(_among(_reader(name, annotator_id), conditions.pop(name)))
        self._further += _others(wanted)
        readers = [_reader(name, annotator_id) for name in conditions]
        if len(readers) == 1:
            self._read: Callable[[StoredItem], Any] = readers[0]
            (self._allowed,) = conditions.values()
            return
        self._allowed = frozenset(product(*conditions.values()))
        if readers and (annotator_id is None or "standing.state" not in conditions):
            self._read = attrgetter(*conditions)
        else:
            self._read = lambda stored: tuple([read(stored) for read in readers])

    def __call__(self, stored: StoredItem) -> bool:
        """Tell whether the filter shows an item."""
        return self._read(stored) in self._allowed and all(meets(stored) for meets in self._further)

    def select(self, things: Iterable[_Thing], stored: Iterable[StoredItem]) -> Iterator[_Thing]:
        """Pick what belongs to the items that the filter shows, given one thing for each item in the same order."""
        if self._further:
            return (thing for thing, each in zip(things, stored, strict=False) if self(each))
        return compress(things, map(self._allowed.__contains__, map(self._read, stored)))


def _reader(name: str, annotator_id: str | None) -> Callable[[StoredItem], Any]:
    """Read an attribute; the state in an annotator's perspective if there is one."""
    if name == "standing.state" and annotator_id is not None:
        return lambda stored: stored.seen_by(annotator_id)[0]
    return attrgetter(name)


def _among(read: Callable[[StoredItem], Any], values: frozenset[Any]) -> Callable[[StoredItem], bool]:
    return lambda stored: read(stored) in values


def _others(wanted: ItemFilter) -> Iterator[Callable[[StoredItem], bool]]:
    """Compare when an item last changed, and for whom it is reserved."""
    first, behind, assignee = wanted.updated_from, wanted.updated_until, wanted.assignee
    if first is not None:
        yield lambda stored: stored.item.updated_at >= first
    if behind is not None:
        yield lambda stored: stored.item.updated_at < behind
    if assignee is not None:
        yield lambda stored: assignee in stored.item.assignees
