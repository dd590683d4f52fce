"""Answering item queries inside one read snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annotation_queue.records import view
from annotation_queue.repositories.postgres_columns import plan_of
from annotation_queue.repositories.postgres_texts import integers, key_of
from annotation_queue.repositories.sql_orders import beyond, order_by, values_of
from annotation_queue.repositories.sql_rows import RANKS, STATES
from annotation_queue.states import UNSTARTED, AnnotationState
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from annotation_queue.items import QueueItem
    from annotation_queue.query import ItemPage, ItemQuery
    from annotation_queue.repositories.postgres_columns import Plan
    from annotation_queue.repositories.postgres_session import LiveQueue, Session
    from annotation_queue.repositories.sql_orders import Fragment
    from annotation_queue.sorting import SortValue

_CALL = "num = (SELECT c.num FROM calls AS c WHERE c.queue = ? AND c.call_id = ?)"
_KEYS = ("call_op_name", "call_trace_id", "added_by")


class Selection:
    """The items of one queue as one query looks at them.

    Args:
        session: The session, inside a read snapshot.
        queue: The queue.
        query: The query.
    """

    def __init__(self, session: Session, queue: LiveQueue, query: ItemQuery) -> None:
        self._session = session
        self._queue = queue
        self._query = query
        self._order = query.order()
        self._annotator = None if query.annotator_id is None else key_of(query.annotator_id)
        self._has_long = bool(session.value("has_long_texts", (queue[0],)))
        states = query.filter.annotation_states
        one_state = self._annotator is None and states is not None and len(states) == 1
        self._plan = self._plan_of(one_state=one_state)

    def _plan_of(self, *, one_state: bool) -> Plan:
        own = self._annotator is not None
        return plan_of(self._order, own=own, one_state=one_state, has_long=self._has_long)

    def page(self) -> ItemPage:
        """Read the page."""
        query, queue = self._query, self._queue[2]
        after = query.after(queue)
        conditions = self._conditions(self._plan.table)
        nums = self._nums(conditions, after)
        items = self._items(nums)
        if query.include_position:
            shown = len(items) if query.limit is None else query.limit
            positions = self._positions(nums[:shown], items[:shown], after, all_wanted=not conditions)
            items = [
                view(item, (item.annotation_state, item.annotator_user_id), position=position)
                for item, position in zip(items, positions, strict=False)
            ] + items[shown:]
        return query.page(queue, items, self._total(conditions) if query.include_total else None)

    def _conditions(self, table: str) -> list[Fragment]:
        """Write which items are wanted."""
        chosen = self._query.filter
        conditions: list[Fragment] = []
        if chosen.id is not None:
            conditions.append((f"{table}.id = ?", (key_of(chosen.id),)))
        if chosen.call_id is not None:
            conditions.append((f"{table}.{_CALL}", (self._queue[0], key_of(chosen.call_id))))
        for field in _KEYS:
            value = getattr(chosen, field)
            if value is not None:
                conditions.append((f"i.{field} = ?", (key_of(value),)))
        if chosen.annotation_states is not None:
            ranks = sorted(RANKS[state] for state in chosen.annotation_states)
            if not ranks:
                conditions.append(("FALSE", ()))
            elif self._annotator is None:
                conditions.append(_among("w.state", ranks))
            else:
                # Without unstarted ones, only items are wanted on which the annotator has a progress.
                conditions.append(_among("p.state" if ranks[0] else "coalesce(p.state, 0)", ranks))
        return conditions

    def _nums(self, conditions: list[Fragment], after: Sequence[SortValue] | None) -> list[int]:
        plan, query = self._plan, self._query
        behind = conditions
        if after is not None:
            behind = [*conditions, beyond(plan.terms, values_of(self._order, plan.terms, after), after=True)]
        text, values = plan.select(f"{plan.table}.num", self._queue[0], self._annotator, behind)
        most = None if query.limit is None else min(query.limit + 1, MAX_INTEGER)
        text = f"{text} ORDER BY {order_by(plan.terms)} LIMIT ?::bigint OFFSET ?::bigint"
        return [num for (num,) in self._session.composed(text, (*values, most, query.offset))]

    def _items(self, nums: Sequence[int]) -> list[QueueItem]:
        if not nums:
            return []
        session, queue, annotator_id = self._session, self._queue, self._query.annotator_id
        rows = session.live_rows(queue, nums)
        items = [session.item_of(rows[num], queue) for num in nums]
        if annotator_id is None:
            return items
        own: dict[int, int] = dict(session.rows("own_states", (queue[0], self._annotator, integers(nums))))
        seen = [STATES[own.get(num, 0)] for num in nums]
        return [
            view(item, (state, None if state is UNSTARTED else annotator_id))
            for item, state in zip(items, seen, strict=True)
        ]

    def _total(self, conditions: list[Fragment]) -> int:
        states = self._query.filter.annotation_states
        if not conditions or (states and self._annotator is None and len(conditions) == 1):
            counts = self._session.counts([self._queue[0]]).get(self._queue[0], {})
            return sum(counts.get((None, state), 0) for state in states or AnnotationState)
        return self._count(self._plan_of(one_state=False), conditions)

    def _count(self, plan: Plan, conditions: list[Fragment]) -> int:
        bare = type(plan)(plan.table, ())
        text, values = bare.select("count(*)", self._queue[0], self._annotator, conditions)
        ((n,),) = self._session.composed(text, values)
        return int(n)

    def _positions(
        self, nums: Sequence[int], items: Sequence[QueueItem], after: Sequence[SortValue] | None, *, all_wanted: bool
    ) -> Iterable[int]:
        """Number the items of a page among all items of the queue, from 1 on."""
        if all_wanted and after is None:
            return range(self._query.offset + 1, self._query.offset + 1 + len(nums))
        if not nums:
            return ()
        plan = self._plan_of(one_state=False)
        if all_wanted:
            first = self._count(plan, [self._before(plan, items[0])]) + 1
            return range(first, first + len(nums))
        what = f"{plan.table}.num AS num, row_number() OVER (ORDER BY {order_by(plan.terms)}) AS place"
        upto = self._before(plan, items[-1], inclusive=True)
        text, values = plan.select(what, self._queue[0], self._annotator, [upto])
        text = f"SELECT num, place FROM ({text}) AS r WHERE num = ANY(?::bigint[])"
        places: dict[int, int] = dict(self._session.composed(text, (*values, integers(nums))))
        return [places[num] for num in nums]

    def _before(self, plan: Plan, item: QueueItem, *, inclusive: bool = False) -> Fragment:
        values = values_of(self._order, plan.terms, self._order.values(item))
        return beyond(plan.terms, values, after=False, inclusive=inclusive)


def _among(column: str, ranks: Sequence[int]) -> Fragment:
    return (f"{column} = ?", (ranks[0],)) if len(ranks) == 1 else (f"{column} = ANY(?::bigint[])", (integers(ranks),))


def query_items(session: Session, queue: LiveQueue, query: ItemQuery) -> ItemPage:
    """Answer a query; result and errors are those of `Repository.query_items`."""
    return Selection(session, queue, query).page()
