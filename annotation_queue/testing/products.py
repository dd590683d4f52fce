"""The product of all that a query of items can ask for, asked of repositories and of the model."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import prod
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.items import NewItem
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.sorting import SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.testing.comparison import PROJECTS, Bench

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annotation_queue.repository import Repository

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState
_ANY, _THERE, _NOT_THERE = "any", "there", "not there"
_PROJECT: Final = PROJECTS[0]
_OF_THE_ITEM: Final = {"id": "", "call_id": "call 4", "call_op_name": "op", "call_trace_id": "trace", "added_by": "ann"}
"""What the item that is looked for has of each field; its id comes when it is added."""
_ELSEWHERE: Final = {"id": "", "call_id": "elsewhere", "call_op_name": "other op", "call_trace_id": "other trace"}
"""What only an item of another queue has: the storage knows the text, and this queue does not."""
_FILTERED: Final = (*_OF_THE_ITEM,)

ASPECTS: Final[Mapping[str, Sequence[Any]]] = {
    **dict.fromkeys(_FILTERED, (_ANY, _THERE, _NOT_THERE)),
    "finished": (None, False),
    "annotation_states": (None, frozenset(), {COMPLETED}, {UNSTARTED, SKIPPED}, set(AnnotationState)),
    "annotator_id": (None, "bob", "a stranger"),
    "sort_by": (
        (),
        (SortBy("created_at", "desc"),),
        (SortBy("call_op_name"), SortBy("created_at", "desc")),
        (SortBy("annotation_state", "desc"), SortBy("priority")),
        (SortBy("call_ended_at"), SortBy("id", "desc")),
    ),
    "page": ("whole", "one to skip", "walk"),
    "include_position": (False, True),
}
"""What a query can ask for, one out of each."""
_WEIGHTS: Final = dict.fromkeys(_FILTERED, (0, 0, 0, 1, 2))
"""The thinned selection filters by few fields at once, so that something is left to sort."""


def product_size() -> int:
    """Tell how many queries there are in the whole product."""
    return prod(map(len, ASPECTS.values()))


def chosen(number: int) -> dict[str, Any]:
    """Give one query of the whole product, by its number: of each aspect one value."""
    return {
        name: values[index] for (name, values), index in zip(ASPECTS.items(), _digits(number, ASPECTS), strict=True)
    }


def thinned(number: int) -> dict[str, Any]:
    """Give one query of a selection, by its number; a thousand from 0 on have every pair of two aspects' values."""
    sizes = {name: _WEIGHTS.get(name, range(len(values))) for name, values in ASPECTS.items()}
    # A step that has nothing in common with the size of any aspect meets all of them, in an order that looks random.
    total = prod(map(len, sizes.values()))
    digits = _digits(number * 2_654_435_761 % total, sizes)
    return {name: ASPECTS[name][sizes[name][digit]] for name, digit in zip(ASPECTS, digits, strict=True)}


def _digits(number: int, sizes: Mapping[str, Sequence[object]]) -> list[int]:
    digits = []
    for values in sizes.values():
        number, digit = divmod(number, len(values))
        digits.append(digit)
    return digits


class ProductBench(Bench):
    """A bench with a queue of a dozen items, on which each filter leaves some, one or none.

    Args:
        repositories: As for `Bench`; empty.
    """

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        super().__init__(repositories)
        self._queue_id = self._create()
        self._there = dict(_OF_THE_ITEM)
        self._elsewhere = {**_ELSEWHERE, "added_by": "eve"}
        added: list[Any] = []
        for index, added_by in enumerate(("ann", "zoe", "ann")):
            added += self._add(self._queue_id, [_item(4 * index + n) for n in range(4)], added_by)
        self._there["id"] = next(item.id for item in added if item.call_id == self._there["call_id"])
        for index, item in enumerate(added):
            for annotator_id, state in zip(("bob", "eve"), (COMPLETED, SKIPPED), strict=True):
                if index % 3 > (annotator_id == "eve"):
                    self._move(item.id, annotator_id, state)
        self._move(self._there["id"], "bob", COMPLETED)
        self._move(added[-1].id, "eve", IN_PROGRESS)
        fields = {field: value for field, value in self._elsewhere.items() if field.startswith("call_")}
        self._elsewhere["id"] = self._add(self._create(), [NewItem(**fields)], self._elsewhere["added_by"])[0].id  # type: ignore[arg-type]  # texts
        self._asked = 0

    def ask_product(self, wanted: dict[str, Any]) -> int:
        """Ask for what was chosen, on every side.

        Args:
            wanted: What `chosen` or `thinned` gives.

        Returns:
            How many items matched.

        Raises:
            Disagreement: The answers differ.
        """
        self._asked += 1
        wanted = dict(wanted)
        page, finished = wanted.pop("page"), wanted.pop("finished")
        fields: dict[str, Any] = {field: self._value(field, wanted.pop(field)) for field in _FILTERED}
        conditions = ItemFilter(
            **fields,
            annotation_states=wanted.pop("annotation_states"),
            finished=True if finished is False and self._asked % 4 == 0 else finished,
            updated_from=self.clock.now - timedelta(seconds=6) if self._asked % 5 == 0 else None,
            updated_until=self.clock.now - timedelta(seconds=2) if self._asked % 10 == 0 else None,
        )
        query = ItemQuery(filter=conditions, include_total=True, include_payload=self._asked % 3 > 0, **wanted)
        if page == "one to skip":
            query = attrs.evolve(query, offset=1, limit=self._asked % 4)
        if page == "walk":
            query = attrs.evolve(query, limit=1 + self._asked % 3)
        found = self.ask(lambda service: service.query_items(self._queue_id, query), _PROJECT)
        cursors = {side.name: side.cursor for side in self.sides}
        while page == "walk" and None not in cursors.values():
            self.ask_sides(
                lambda side, cursors=cursors: side.services(_PROJECT, "standard").query_items(  # type: ignore[misc]  # a default binds it now
                    self._queue_id, attrs.evolve(query, cursor=cursors[side.name])
                )
            )
            cursors = {side.name: side.cursor for side in self.sides}
        return int(found.total)

    def _value(self, field: str, kind: str) -> str | Sequence[str] | None:
        if kind == _ANY:
            return None
        if kind == _THERE:
            return (self._there[field], (self._there[field], f"no {field}"), [*self._values(field)])[self._asked % 3]
        return self._elsewhere[field] if self._asked % 2 else f"no {field}"

    def _values(self, field: str) -> set[str]:
        """List all that the queue's items have of a field."""
        return {row[field] for row in self.tables.items.values() if row["queue_id"] == self._queue_id}

    def _create(self) -> str:
        self.ids.begin_call()
        queue = self.ask(lambda service: service.create("queue", created_by="ann", annotations_per_item=3), _PROJECT)
        return str(queue.id)

    def _add(self, queue_id: str, news: list[NewItem], added_by: str) -> tuple[Any, ...]:
        self.clock.move(1)
        self.ids.begin_call()
        added = self.ask(lambda service: service.add_items(queue_id, news, added_by=added_by), _PROJECT).added
        return tuple(added)

    def _move(self, item_id: str, annotator_id: str, state: AnnotationState) -> None:
        self.clock.move(1)
        self.ask(lambda service: service.update_progress(item_id, annotator_id, state), _PROJECT)


def _item(number: int) -> NewItem:
    started = datetime.fromisoformat("2026-01-01T00:00:00Z") + timedelta(seconds=number % 3)
    return NewItem(
        call_id=f"call {number}",
        call_op_name=("op", "op", "another op")[number % 3 - 1],
        call_trace_id=("trace", "", "a trace")[number % 3 - 1],
        call_started_at=started,
        call_ended_at=None if number % 4 == 1 else started + timedelta(seconds=number % 2),
        priority=number % 2,
        payload={"number": number},
    )
