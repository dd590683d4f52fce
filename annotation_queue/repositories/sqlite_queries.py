"""Answering item queries inside one read snapshot."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from annotation_queue.records import view
from annotation_queue.repositories.sql_orders import (
    AGGREGATE,
    ITEMS,
    OP,
    OWN,
    PERSPECTIVE,
    beyond,
    order_by,
    terms_of,
    values_of,
)
from annotation_queue.repositories.sql_rows import RANKS, STATES
from annotation_queue.repositories.sqlite_session import SQL
from annotation_queue.states import UNSTARTED, AnnotationState
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.query import ItemFilter, ItemPage, ItemQuery
    from annotation_queue.repositories.sql_orders import Fragment, Term
    from annotation_queue.repositories.sqlite_session import Session

_INDEXES: Final = {
    ("w.priority_down", "w.created_at", "w.id"): "work_in_order",
    ("w.created_at", "w.id"): "work_created_up",
    ("w.created_down", "w.id"): "work_created_down",
    ("w.call_started_at", "w.id"): "work_started_up",
    ("w.started_down", "w.id"): "work_started_down",
    ("w.updated_down", "w.id"): "work_updated_down",
    ("w.id",): "work_by_id",
}
"""The index of each order that is read without a sort; that of the operations' names is joined below `op_names`."""
_QUEUE_ORDER: Final = ("w.priority_down", "w.created_at", "w.id")
_BY_OP: Final = ("o.text", "w.created_down", "w.id")
_JOINS: Final = (("i.", ITEMS), ("o.", OP), ("p.", OWN))
"""What an expression that mentions a table's short name needs to be joined."""
_UNIQUE: Final = ("w.id = ?", "i.call_id = ?", "i.call_trace_id = ?")
"""Conditions with an index of their own that leaves next to nothing; SQLite chooses it."""
_FEW: Final = 5_000
"""Below so many filtered items, sorting them costs less than walking an order that they are strewn over."""
_NOTHING: Final[Fragment] = ("0", ())


class Selection:
    """The items of one queue as one query looks at them.

    Args:
        session: The session, inside a read snapshot.
        queue: Number, revision and entity of the queue.
        query: The query.
    """

    def __init__(self, session: Session, queue: tuple[int, int, AnnotationQueue], query: ItemQuery) -> None:
        self._session = session
        self._queue = queue
        self._query = query
        self._order = query.order()
        aggregate_view = query.annotator_id is None
        self._annotator = 0 if query.annotator_id is None else session.find_text(query.annotator_id) or 0
        self._terms = terms_of(self._order, AGGREGATE if aggregate_view else PERSPECTIVE)
        self._state = "w.state" if aggregate_view else "coalesce(p.state, 0)"
        self._conditions = self._filter(query.filter)
        self._rare = self._rare_index()

    def page(self) -> ItemPage:
        """Read the page."""
        after = self._query.after(self._queue[2])
        conditions = list(self._conditions)
        if after is not None:
            conditions.append(beyond(self._terms, values_of(self._order, self._terms, after), after=True))
        limit = self._query.limit
        most = -1 if limit is None else min(limit + 1, MAX_INTEGER)
        text, values = self._ordered(conditions)
        rows = self._session.execute(f"{text} LIMIT ? OFFSET ?", (*values, most, self._query.offset))
        nums = [num for (num,) in rows]
        items = self._items(nums)
        if self._query.include_position:
            shown = len(items) if limit is None else limit
            positions = self._positions(nums[:shown], items[:shown], in_a_row=conditions == [])
            items = [
                view(item, (item.annotation_state, item.annotator_user_id), position=position)
                for item, position in zip(items, positions, strict=False)
            ] + items[shown:]
        return self._query.page(self._queue[2], items, self._total() if self._query.include_total else None)

    def _filter(self, chosen: ItemFilter) -> list[Fragment]:
        session, queue = self._session, self._queue[0]
        conditions: list[Fragment] = []
        if chosen.id is not None:
            conditions.append(("w.id = ?", (chosen.id,)))
        if chosen.call_id is not None:
            conditions.append(("i.queue = ? AND i.call_id = ? AND i.deleted_at IS NULL", (queue, chosen.call_id)))
        if chosen.call_trace_id is not None:
            conditions.append(
                ("i.queue = ? AND i.call_trace_id = ? AND i.deleted_at IS NULL", (queue, chosen.call_trace_id))
            )
        if chosen.call_op_name is not None:
            op = session.find_op_name(queue, chosen.call_op_name)
            conditions.append(_NOTHING if op is None else ("w.op = ?", (op,)))
        if chosen.added_by is not None:
            added_by = session.find_text(chosen.added_by)
            conditions.append(_NOTHING if added_by is None else ("w.added_by = ?", (added_by,)))
        if chosen.annotation_states is not None:
            ranks = sorted(RANKS[state] for state in chosen.annotation_states)
            marks = ", ".join("?" for _ in ranks)
            conditions.append((f"{self._state} IN ({marks})", tuple(ranks)) if ranks else _NOTHING)
        return conditions

    def _rare_index(self) -> str:
        """Name the index that finds the filtered items, where they are so few that sorting them beats walking the order."""
        chosen, queue = self._query.filter, self._queue[0]
        for wanted, statement, find, index in (
            (chosen.call_op_name, "few_of_op", self._session.find_op_name, "work_by_op"),
            (chosen.added_by, "few_of_adder", lambda _, text: self._session.find_text(text), "work_by_adder"),
        ):
            if wanted is not None:
                (n,) = self._session.execute(SQL[statement], (queue, find(queue, wanted), _FEW)).fetchone()
                if n < _FEW:
                    return index
        counted = self._counted()
        return "work_by_state" if chosen.annotation_states and counted is not None and counted < _FEW else ""

    def _counted(self) -> int | None:
        """Sum the counters that say how many items the filter shows; None where none do."""
        states = self._query.filter.annotation_states
        if self._query.filter.equalities() or (states is not None and self._query.annotator_id is not None):
            return None
        counts = self._session.counts(self._queue[0])
        return sum(counts.get((None, state), 0) for state in (AnnotationState if states is None else states))

    def _ordered(self, conditions: Sequence[Fragment]) -> Fragment:
        """Write the SELECT of the numbers of the items that meet the conditions, in the query's order."""
        text, values = self._where("w.num", conditions, self._terms, self._rare)
        return f"{text} ORDER BY {order_by(self._terms)}", values

    def _count(self, conditions: Sequence[Fragment], terms: Sequence[Term]) -> int:
        text, values = self._where("count(*)", conditions, terms)
        (n,) = self._session.execute(text, values).fetchone()
        return int(n)

    def _where(self, what: str, conditions: Sequence[Fragment], terms: Sequence[Term], rare: str = "") -> Fragment:
        """Write a SELECT over the queue's items, which only joins what the terms and the conditions need."""
        texts = " ".join(condition for condition, _ in conditions)
        source, values = self._source(texts, terms, rare)
        where = " AND ".join(["w.queue = ?", *(condition for condition, _ in conditions)])
        text = f"SELECT {what} FROM {source} WHERE {where}"
        return text, (*values, self._queue[0], *(value for _, some in conditions for value in some))

    def _source(self, texts: str, terms: Sequence[Term], rare: str) -> Fragment:
        """Write what follows FROM: by which index the items are walked, and what is joined."""
        joins = {term.column.needs for term in terms} | {join for sign, join in _JOINS if sign in texts}
        expressions = tuple(term.text for term in terms)
        source = "work AS w"
        if not any(sign in texts for sign in _UNIQUE):
            if rare:
                source += f" INDEXED BY {rare}"
            elif expressions == _BY_OP:
                # Names in their order, and below each its items in theirs: nothing is left to sort.
                source = (
                    "op_names AS o CROSS JOIN work AS w INDEXED BY work_by_op ON w.queue = o.queue AND w.op = o.num"
                )
                joins.discard(OP)
            elif expressions == _QUEUE_ORDER and "w.state IN (?)" in texts:
                source += " INDEXED BY work_by_state"
            elif expressions in _INDEXES:
                source += f" INDEXED BY {_INDEXES[expressions]}"
        return " ".join([source, *sorted(joins - {""})]), (self._annotator,) if OWN in joins else ()

    def _items(self, nums: Sequence[int]) -> list[QueueItem]:
        session = self._session
        wanted = json.dumps(nums)
        rows = {row[0]: row for row in session.execute(SQL["live_items_by_num"], (wanted,))}
        items = [session.item_of(rows[num], self._queue[2]) for num in nums]
        annotator_id = self._query.annotator_id
        if annotator_id is None:
            return items
        own = dict(session.execute(SQL["own_states"], (wanted, self._annotator)).fetchall())
        seen = [STATES[own.get(num, 0)] for num in nums]
        return [
            view(item, (state, None if state is UNSTARTED else annotator_id))
            for item, state in zip(items, seen, strict=True)
        ]

    def _total(self) -> int:
        counted = self._counted()
        return self._count(self._conditions, ()) if counted is None else counted

    def _positions(self, nums: Sequence[int], items: Sequence[QueueItem], *, in_a_row: bool) -> Iterable[int]:
        """Rank the items of a page among all items of the queue."""
        if not nums:
            return ()
        expressions = tuple(term.text for term in self._terms)
        # What lies between two items is counted in an index; below `op_names` that would be a scan for each item.
        if expressions not in _INDEXES and not (expressions == _BY_OP and in_a_row):
            return self._numbered(nums)
        values = [values_of(self._order, self._terms, self._order.values(item)) for item in items]
        first = self._count([beyond(self._terms, values[0], after=False)], self._terms) + 1
        if in_a_row:
            return range(first, first + len(nums))
        positions = [first]
        for before, here in pairwise(values):
            between = [beyond(self._terms, before, after=True), beyond(self._terms, here, after=False)]
            positions.append(positions[-1] + self._count(between, self._terms) + 1)
        return positions

    def _numbered(self, nums: Sequence[int]) -> list[int]:
        """Rank by one sort of the whole queue, for orders that no index has."""
        what = f"w.num AS num, row_number() OVER (ORDER BY {order_by(self._terms)}) AS position"
        text, values = self._where(what, (), self._terms)
        rows = self._session.execute(
            f"SELECT num, position FROM ({text}) WHERE num IN (SELECT value FROM json_each(?))",
            (*values, json.dumps(nums)),
        )
        positions: dict[int, int] = dict(rows.fetchall())
        return [positions[num] for num in nums]


def query_items(session: Session, queue: tuple[int, int, AnnotationQueue], query: ItemQuery) -> ItemPage:
    """Answer a query; result and errors are those of `Repository.query_items`."""
    return Selection(session, queue, query).page()
