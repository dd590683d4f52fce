"""Which items of a queue a query wants, as conditions; and how many they are, if counters tell."""

from __future__ import annotations

from typing import Final

from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.repositories.sql.orders import Fragment
from annotation_queue.repositories.sql.rows import RANKS
from annotation_queue.repositories.sqlite.indexes import BY_STATE, IN_ORDER, OrderPath
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.states import UNSTARTED, AnnotationState

_UNIQUE: Final = {"id": "work_by_id", "call_id": "live_calls", "call_trace_id": "live_traces"}
"""Filters that leave next to nothing, with the index that finds it."""
FEW: Final = 5_000
"""If fewer items are wanted, sorting them costs less than reading an index that they are strewn over."""
_BLOCK_COLUMNS: Final = {state: state.value for state in AnnotationState}


class Filter:
    """What a query wants of a queue.

    Args:
        session: The session.
        queue: The queue's number.
        query: The query.
        annotator: The number of the annotator whose perspective the query asks for; 0 if that annotator never did anything.
    """

    def __init__(self, session: Session, queue: int, query: ItemQuery, annotator: int) -> None:
        self._session = session
        self._queue = queue
        self._chosen = query.filter
        self._aggregate = query.annotator_id is None
        self.annotator: Final = annotator
        self.fixed: Final[dict[str, int]] = {}
        """Columns of indexes in which every wanted item has the same value, with the value."""
        self.matches_nothing = False
        """Whether it is known that no item can be wanted. Then the conditions say nothing, and nothing needs to be read."""
        self._by_field = self._conditions(query.filter)

    def _conditions(self, chosen: ItemFilter) -> dict[str, Fragment]:
        conditions: dict[str, Fragment] = {}
        if chosen.id is not None:
            conditions["id"] = ("w.id = ?", (chosen.id,))
        for field, value in (("call_id", chosen.call_id), ("call_trace_id", chosen.call_trace_id)):
            if value is not None:
                conditions[field] = (f"i.queue = ? AND i.{field} = ? AND i.deleted_at IS NULL", (self._queue, value))
        if chosen.call_op_name is not None:
            op = self._known(self._session.find_op_name(self._queue, chosen.call_op_name))
            conditions["op"] = ("w.op = ?", (op,))
            self.fixed["op"] = op
        if chosen.added_by is not None:
            conditions["added_by"] = ("w.added_by = ?", (self._known(self._session.find_text(chosen.added_by)),))
        if chosen.annotation_states is not None:
            self._add_states(conditions, sorted(RANKS[state] for state in chosen.annotation_states))
        return conditions

    def _known(self, num: int | None) -> int:
        """Give the number of a text. If the storage does not know the text, no item has it."""
        self.matches_nothing |= num is None
        return num or 0

    def _add_states(self, conditions: dict[str, Fragment], ranks: list[int]) -> None:
        # Of an annotator who never did anything, every item is unstarted.
        is_stranger = not self._aggregate and not self.annotator
        self.matches_nothing |= not ranks or (is_stranger and RANKS[UNSTARTED] not in ranks)
        state = "w.state" if self._aggregate else "coalesce(p.state, 0)"
        conditions["state"] = (f"{state} IN ({', '.join('?' for _ in ranks)})", tuple(ranks))
        if self._aggregate and len(ranks) == 1:
            self.fixed["state"] = ranks[0]

    def conditions(self, path: OrderPath | None = None) -> tuple[Fragment, ...]:
        """Give the conditions, but for those that every item of a path fulfils."""
        fulfilled = () if path is None else path.index.columns[: len(path.fixed)]
        return tuple(condition for column, condition in self._by_field.items() if column not in fulfilled)

    def rare_index(self, path: OrderPath | None) -> str:
        """Name the index that finds the wanted items, if they are so few that sorting them costs less than a scan of a path."""
        for field, index in _UNIQUE.items():
            if field in self._by_field:
                return index
        fulfilled = () if path is None else path.index.columns[: len(path.fixed)]
        if "op" in self._by_field and "op" not in fulfilled and self._live_of_op() < FEW:
            return "work_by_op"
        if self._chosen.added_by is not None:
            added_by = self._session.find_text(self._chosen.added_by)
            if self._session.execute(SQL["few_of_adder"], (self._queue, added_by, FEW)).fetchone()[0] < FEW:
                return "work_by_adder"
        if (
            "state" in self._by_field
            and "state" not in fulfilled
            and self._aggregate
            and self._counted_by_state() < FEW
        ):
            return "work_by_state"
        return ""

    def total(self) -> int | None:
        """Say how many items are wanted, if counters tell; else None."""
        if not self._by_field:
            return self._session.live(self._queue)
        if self._by_field.keys() == {"op"}:
            return self._live_of_op()
        return self._counted_by_state() if self._by_field.keys() == {"state"} and self._aggregate else None

    def in_blocks(self, path: OrderPath) -> str:
        """Give the expression that counts the wanted items in blocks along a path; empty if nothing counts them."""
        states = self._chosen.annotation_states
        if not self._aggregate or not states or self._by_field.keys() != {"state"} or not all(path.ups):
            return ""
        return " + ".join(_BLOCK_COLUMNS[state] for state in states) if path.index in {IN_ORDER, BY_STATE} else ""

    def _live_of_op(self) -> int:
        row = self._session.execute(SQL["live_of_op"], (self.fixed["op"],)).fetchone()
        return 0 if row is None else int(row[0])

    def _counted_by_state(self) -> int:
        counts = self._session.counts(self._queue)
        return sum(counts.get((None, state), 0) for state in self._chosen.annotation_states or ())
