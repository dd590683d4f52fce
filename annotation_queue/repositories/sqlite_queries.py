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
from annotation_queue.states import UNSTARTED
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.query import ItemFilter, ItemPage, ItemQuery
    from annotation_queue.repositories.sql_orders import Fragment
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
_BY_OP: Final = ("o.text", "w.created_down", "w.id")
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

    def page(self) -> ItemPage:
        """Read the page."""
        after = self._query.after(self._queue[2])
        conditions = list(self._conditions)
        if after is not None:
            conditions.append(beyond(self._terms, values_of(self._order, self._terms, after), after=True))
        limit = self._query.limit
        most = -1 if limit is None else min(limit + 1, MAX_INTEGER)
        text, values = self._select("w.num", conditions, ordered=True)
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

    def _select(self, what: str, conditions: Sequence[Fragment], *, ordered: bool) -> Fragment:
        """Write a SELECT over the queue's items; only joins what the order and the conditions need."""
        terms = self._terms if ordered else ()
        texts = " ".join([what, *(condition for condition, _ in conditions), *(term.text for term in terms)])
        source, values = self._source(texts, {term.column.needs for term in terms})
        where = " AND ".join(["w.queue = ?", *(condition for condition, _ in conditions)])
        text = f"SELECT {what} FROM {source} WHERE {where}"
        if ordered:
            text += f" ORDER BY {order_by(self._terms)}"
        return text, (*values, self._queue[0], *(value for _, some in conditions for value in some))

    def _source(self, texts: str, joins: set[str]) -> Fragment:
        expressions = tuple(term.text for term in self._terms)
        selective = "w.id = ?" in texts or "i.call_id = ?" in texts or "i.call_trace_id = ?" in texts
        if expressions == _BY_OP and OP in joins and not selective:
            # Names in their order, and below each its items in theirs: nothing is left to sort.
            source = "op_names AS o CROSS JOIN work AS w INDEXED BY work_by_op ON w.queue = o.queue AND w.op = o.num"
        elif (index := _INDEXES.get(expressions)) and not selective:
            if index == "work_in_order" and f"{self._state} IN (?)" in texts and self._state == "w.state":
                index = "work_by_state"
            source = f"work AS w INDEXED BY {index}"
        else:
            source = "work AS w"
        wanted = joins | {join for sign, join in (("i.", ITEMS), ("o.", OP), ("p.", OWN)) if sign in texts}
        if source.startswith("op_names"):
            wanted -= {OP}
        parts = [source, *sorted(wanted - {""})]
        return " ".join(parts), (self._annotator,) if OWN in wanted else ()

    def _items(self, nums: Sequence[int]) -> list[QueueItem]:
        session = self._session
        wanted = json.dumps(nums)
        rows = session.execute(SQL["live_items_by_num"], (wanted,)).fetchall()
        items = [session.item_of(row, self._queue[2]) for row in rows]
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
        text, values = self._select("count(*)", self._conditions, ordered=False)
        (total,) = self._session.execute(text, values).fetchone()
        return int(total)

    def _positions(self, nums: Sequence[int], items: Sequence[QueueItem], *, in_a_row: bool) -> Iterable[int]:
        """Rank the items of a page among all items of the queue."""
        if not nums:
            return ()
        expressions = tuple(term.text for term in self._terms)
        if expressions not in _INDEXES and expressions != _BY_OP:
            return self._numbered(nums)
        values = [values_of(self._order, self._terms, self._order.values(item)) for item in items]
        first = self._count(beyond(self._terms, values[0], after=False)) + 1
        if in_a_row:
            return range(first, first + len(nums))
        positions = [first]
        for before, here in pairwise(values):
            between = self._count(beyond(self._terms, before, after=True), beyond(self._terms, here, after=False))
            positions.append(positions[-1] + between + 1)
        return positions

    def _count(self, *conditions: Fragment) -> int:
        needs = {term.column.needs for term in self._terms}
        texts = " ".join(condition for condition, _ in conditions)
        source, values = self._source(texts, needs)
        where = " AND ".join(["w.queue = ?", *(condition for condition, _ in conditions)])
        found = self._session.execute(
            f"SELECT count(*) FROM {source} WHERE {where}",
            (*values, self._queue[0], *(value for _, some in conditions for value in some)),
        )
        return int(found.fetchone()[0])

    def _numbered(self, nums: Sequence[int]) -> list[int]:
        """Rank by one sort of the whole queue, for orders that no index has."""
        source, values = self._source(order_by(self._terms), {term.column.needs for term in self._terms})
        rows = self._session.execute(
            f"SELECT num, position FROM (SELECT w.num, row_number() OVER (ORDER BY {order_by(self._terms)}) AS position "
            f"FROM {source} WHERE w.queue = ?) WHERE num IN (SELECT value FROM json_each(?))",
            (*values, self._queue[0], json.dumps(nums)),
        )
        positions: dict[int, int] = dict(rows.fetchall())
        return [positions[num] for num in nums]


def query_items(session: Session, queue: tuple[int, int, AnnotationQueue], query: ItemQuery) -> ItemPage:
    """Answer a query; result and errors are those of `Repository.query_items`."""
    return Selection(session, queue, query).page()
