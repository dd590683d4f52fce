"""Answering item queries inside one read snapshot."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, cast

from annotation_queue.counters import live_and_unfinished
from annotation_queue.query import ItemFilter, until_full
from annotation_queue.records import view
from annotation_queue.repositories.postgres.columns import Plan, plan_of
from annotation_queue.repositories.postgres.groups import Groups
from annotation_queue.repositories.postgres.indexes import key_of_values, path_of
from annotation_queue.repositories.postgres.ranks import Ranks
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.postgres.scans import Scan
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.groups import GROUPED
from annotation_queue.repositories.sql.orders import beyond, order_by, values_of
from annotation_queue.repositories.sql.rows import RANKS, STATES, item_of
from annotation_queue.sorting import SortBy
from annotation_queue.states import UNSTARTED, AnnotationState
from annotation_queue.values import MAX_INTEGER, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annotation_queue.items import QueueItem
    from annotation_queue.query import ItemPage, ItemQuery
    from annotation_queue.repositories.postgres.session import LiveQueue, Session
    from annotation_queue.repositories.sql.orders import Fragment, Term
    from annotation_queue.repositories.sql.paths import OrderPath
    from annotation_queue.sorting import SortValue

_CALL = "num = (SELECT c.num FROM calls AS c WHERE c.queue = ? AND c.call_id = ?)"
_CALLS = "num = ANY(ARRAY(SELECT c.num FROM calls AS c WHERE c.queue = ? AND c.call_id = ANY(?::text[])))"
_KEYS = ("call_op_name", "call_trace_id", "added_by")
_FIRST_LOOK: Final = 512
_FURTHER: Final = 32
"""How many items from the first one of a page on are searched for the others; and the factor for each further search."""
_ALL: Final = ItemFilter()


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
        self._num, _, self._entity = queue
        self._query = query
        self._order = query.order()
        self._annotator = None if query.annotator_id is None else key_of(query.annotator_id)
        self._has_long = bool(session.value("has_long_texts", (self._num,)))
        states = query.filter.annotation_states
        one_state = self._annotator is None and states is not None and len(states) == 1
        self._plan = self._plan_of(one_state=one_state or query.filter.finished is False)
        ops = [*query.filter.equalities().get("call_op_name", ())]
        self._fixed = {"call_op_name": key_of(ops[0])} if len(ops) == 1 else {}
        self._of_ids: str | None = None
        self._may_sort = not keeps_order(query)

    @property
    def _has_groups(self) -> bool:
        """Whether the order begins with what annotating changes, and is read group by group."""
        query = self._query
        is_whole = query.filter == _ALL and query.annotator_id is None and not query.offset and query.limit is not None
        return is_whole and not self._has_long and self._order.sort_by[0].field in GROUPED

    def _plan_of(self, *, one_state: bool) -> Plan:
        own = self._annotator is not None
        return plan_of(self._order, own=own, one_state=one_state, has_long=self._has_long)

    def page(self) -> ItemPage:
        """Read the page."""
        query = self._query
        after = query.after(self._entity)
        if query.filter.shows_none:
            return query.page(self._entity, (), 0 if query.include_total else None)
        conditions = self.conditions(self._plan.table)
        nums = [] if query.limit == 0 else self._nums(conditions, after)
        items = self._items(nums if query.limit is None else nums[: query.limit])
        has_more = len(nums) > len(items)
        if query.include_position:
            positions = self._positions(nums[: len(items)], items, after, all_wanted=not conditions)
            items = [
                view(item, (item.annotation_state, item.annotator_user_id), position=position)
                for item, position in zip(items, positions, strict=True)
            ]
        return query.page(
            self._entity, items, self._total(conditions) if query.include_total else None, has_more=has_more
        )

    def matching(self) -> list[int]:
        """Find the numbers of all wanted items, in no order."""
        if self._query.filter.shows_none:
            return []
        bare = type(self._plan)("w", ())
        return [num for (num,) in self._session.composed(*bare.select("w.num", self._num, None, self.conditions("w")))]

    def conditions(self, table: str, path: OrderPath | None = None) -> list[Fragment]:
        """Write the conditions that the wanted items fulfil, but for those that every item of a path fulfils."""
        chosen = self._query.filter
        conditions: list[Fragment] = []
        wanted = {field: [*map(key_of, sorted(values))] for field, values in chosen.equalities().items()}
        if "id" in wanted:
            conditions.append((f"{table}.num = ANY(?::bigint[])", (self._nums_of_ids(wanted["id"]),)))
        if "call_id" in wanted:
            calls = wanted["call_id"]
            alone = len(calls) == 1
            conditions.append((f"{table}.{_CALL if alone else _CALLS}", (self._num, calls[0] if alone else calls)))
        fulfilled = () if path is None else path.index.columns[: len(path.fixed)]
        conditions += [
            _among_texts(f"i.{field}", wanted[field]) for field in _KEYS if field in wanted and field not in fulfilled
        ]
        if chosen.finished is not None:
            conditions.append((f"w.claimable_at IS {'' if chosen.finished else 'NOT '}NULL", ()))
        if chosen.assignee is not None:
            reserved = "SELECT r.item FROM reservations AS r WHERE r.queue = ? AND r.annotator = ?"
            conditions.append((f"{table}.num = ANY(ARRAY({reserved}))", (self._num, key_of(chosen.assignee))))
        for sign, moment in ((">=", chosen.updated_from), ("<", chosen.updated_until)):
            if moment is not None:
                conditions.append((f"w.updated_at {sign} ?", (to_micros(moment),)))
        if chosen.annotation_states is not None:
            ranks = sorted(RANKS[state] for state in chosen.annotation_states)
            if self._annotator is None:
                conditions.append(_among("w.state", ranks))
            else:
                # Without unstarted ones, only items are wanted on which the annotator has a progress.
                conditions.append(_among("p.state" if ranks[0] else "coalesce(p.state, 0)", ranks))
        return conditions

    def _nums(self, conditions: list[Fragment], after: Sequence[SortValue] | None) -> list[int]:
        plan, query = self._plan, self._query
        path = self._path(self._plan, self._fixed)
        if path is not None and query.limit is not None:
            found = self._along(path, after, query.limit + 1)
            if found is not None:
                return found
        if self._has_groups:
            groups = Groups(self._session, self._num, self._order, plan.terms)
            found = groups.nums(after, min(cast("int", query.limit) + 1, MAX_INTEGER))
            if found is not None:
                return found
            self._session.sort(allowed=True)
        behind = conditions
        if after is not None:
            behind = [*conditions, beyond(plan.terms, values_of(self._order, plan.terms, after), after=True)]
        text, values = plan.select(f"{plan.table}.num", self._num, self._annotator, behind)
        most = None if query.limit is None else min(query.limit + 1, MAX_INTEGER)
        text = f"{text} ORDER BY {order_by(plan.terms)} LIMIT ?::bigint OFFSET ?::bigint"
        return [num for (num,) in self._session.composed(text, (*values, most, query.offset))]

    def _nums_of_ids(self, keys: Sequence[str]) -> str:
        """Find the numbers of the items that have the wanted ids, once: by a statement of its own."""
        if self._of_ids is None:
            found = self._session.rows("nums_of_ids", {"ids": [*keys], "queue": self._num})
            self._of_ids = integers(num for (num,) in found)
        return self._of_ids

    def _path(self, plan: Plan, fixed: Mapping[str, str]) -> OrderPath | None:
        """Find the index along which an order can be read; None if none has it, since keys do not sort like long texts."""
        return None if self._has_long or plan.table == "w" else path_of(self._order.sort_by, fixed)

    def _along(self, path: OrderPath, after: Sequence[SortValue] | None, most: int) -> list[int] | None:
        """Read the numbers of the page's items along an index; None if too many would have to be passed one by one."""
        conditions, offset = self.conditions(self._plan.table, path), self._query.offset
        start = None if after is None else key_of_values(path, self._order, after)
        if not conditions:
            self._keep_order()
        if offset:
            start = None if conditions else Ranks(self._session, self._num, path).find(offset)
            if start is None:
                return None if conditions else []
        scan = Scan(self._session, self._num, self._annotator, tuple(conditions))
        return [each.num for each in scan.found(path, start, at=after is None, limit=min(most, MAX_INTEGER))]

    def _keep_order(self) -> None:
        """Let the server read in order what an index has in order. Of a table that it does not know it believes anything."""
        if self._may_sort:
            self._session.sort(allowed=False)
            self._may_sort = False

    def _items(self, nums: Sequence[int]) -> list[QueueItem]:
        """Read the items of a page, as many of the first ones as it has room for."""
        if not nums:
            return []
        session, queue, query = self._session, self._queue, self._query
        shown = self._with_room(nums)
        rows = session.live_rows(queue, shown, with_payload=query.include_payload)
        texts = session.texts_of_many(queue)
        items = [item_of(rows[num], queue.queue, texts) for num in shown]
        annotator_id = query.annotator_id
        if annotator_id is None:
            return items
        own: dict[int, int] = dict(session.rows("own_states", (self._num, self._annotator, integers(shown))))
        seen = [STATES[own.get(num, 0)] for num in shown]
        return [
            view(item, (state, None if state is UNSTARTED else annotator_id))
            for item, state in zip(items, seen, strict=True)
        ]

    def _with_room(self, nums: Sequence[int]) -> Sequence[int]:
        """Leave out the items whose payloads the page has no room for."""
        query = self._query
        if query.max_bytes is None or not query.include_payload:
            return nums
        sizes: dict[int, int] = dict(self._session.rows("payload_sizes", (self._num, integers(nums))))
        return list(until_full(((num, sizes[num]) for num in nums), query.max_bytes))

    def _total(self, conditions: list[Fragment]) -> int:
        chosen, annotator_id = self._query.filter, self._query.annotator_id
        states = chosen.annotation_states
        path = path_of((SortBy("call_op_name"), SortBy("id")), self._fixed)
        if len(conditions) == len(self._fixed) == 1 and path is not None:
            self._keep_order()
            return Ranks(self._session, self._num, path).count()
        if conditions and not (len(conditions) == 1 and (states or chosen.finished is not None)):
            # Whatever the order: what is counted need not be looked up in it.
            table = "w" if self._plan.table == "w" else "i"
            return self._count(Plan(table, ()), [self.conditions(table)])
        counts = self._session.counts([self._num]).get(self._num, {})
        if chosen.finished is not None:
            live, unfinished = live_and_unfinished(counts)
            return live - unfinished if chosen.finished else unfinished
        by_state = {state: counts.get((None, state), 0) for state in AnnotationState}
        if annotator_id is not None:
            own = {state: counts.get((annotator_id, state), 0) for state in AnnotationState if state is not UNSTARTED}
            by_state = {UNSTARTED: sum(by_state.values()) - sum(own.values()), **own}
        return sum(by_state[state] for state in states or AnnotationState)

    def _count(self, plan: Plan, either: Iterable[list[Fragment]]) -> int:
        """Count the items that fulfil all conditions of a list, over lists that exclude one another."""
        bare = type(plan)(plan.table, ())
        counts = [bare.select("count(*)", self._num, self._annotator, conditions) for conditions in either]
        text = " + ".join(f"({text})" for text, _ in counts)
        ((n,),) = self._session.composed(f"SELECT {text}", tuple(chain(*(values for _, values in counts))))
        return int(n)

    def _positions(
        self, nums: Sequence[int], items: Sequence[QueueItem], after: Sequence[SortValue] | None, *, all_wanted: bool
    ) -> Sequence[int]:
        """Number the items of a page among all items of the queue, from 1 on."""
        if all_wanted and after is None:
            return range(self._query.offset + 1, self._query.offset + 1 + len(nums))
        if not nums:
            return ()
        plan = self._plan_of(one_state=False)
        path = self._path(plan, {})
        if path is not None:
            return self._ranks(path, nums, items, all_wanted=all_wanted)
        values = values_of(self._order, plan.terms, self._order.values(items[0]))
        first = self._count(plan, _before(plan.terms, values)) + 1
        if all_wanted or len(nums) == 1:
            return range(first, first + len(nums))
        onwards = beyond(plan.terms, values, after=True, inclusive=True)
        places = self._places(plan, onwards, nums)
        return [first + places[num] for num in nums]

    def _ranks(
        self, path: OrderPath, nums: Sequence[int], items: Sequence[QueueItem], *, all_wanted: bool
    ) -> Sequence[int]:
        """Number the items of a page along an index: from the first one on those that follow it soon, the others one by one."""
        self._keep_order()
        keys = [key_of_values(path, self._order, self._order.values(item)) for item in items]
        ranks = Ranks(self._session, self._num, path)
        if all_wanted or len(nums) == 1:
            (first,) = ranks.of(keys[:1])
            return range(first + 1, first + 1 + len(nums))
        near = Scan(self._session, self._num, None, ()).found(path, keys[0], at=True, limit=_FIRST_LOOK)
        places = {each.num: place for place, each in enumerate(near)}
        far = [key for num, key in zip(nums, keys, strict=True) if num not in places]
        first, *others = ranks.of([keys[0], *far])
        left = iter(others)
        return [first + places[num] + 1 if num in places else next(left) + 1 for num in nums]

    def _places(self, plan: Plan, onwards: Fragment, nums: Sequence[int]) -> dict[int, int]:
        """Number the items of a page from the first one on, from 0 on."""
        ordered, values = plan.select(f"{plan.table}.num AS num", self._num, self._annotator, [onwards])
        ordered = f"{ordered} ORDER BY {order_by(plan.terms)} LIMIT ?"
        numbered = f"SELECT num, row_number() OVER () - 1 AS place FROM ({ordered}) AS o"
        most, places = _FIRST_LOOK, dict[int, int]()
        while len(places) < len(nums):
            # A range of an index has no end but its beginning and a LIMIT: the server would read on behind the last one.
            asked = (*values, most, integers(nums))
            text = f"SELECT num, place FROM ({numbered}) AS n WHERE num = ANY(?::bigint[])"
            places = dict(self._session.composed(text, asked))
            most *= _FURTHER
        return places


def _before(terms: Sequence[Term], values: Sequence[SortValue]) -> Iterable[list[Fragment]]:
    """Write the conditions that a row comes before given sort values, as lists of conditions that exclude one another.

    Each list is one range of an index. If several columns were compared at once, the server would read on to the end of the
    first one.
    """
    equal: list[Fragment] = []
    for term, value in zip(terms, values, strict=True):
        yield [*equal, beyond([term], [value], after=False)]
        equal.append((f"{term.text} IS NULL", ()) if value is None else (f"{term.text} = ?", (value,)))


def _among(column: str, ranks: Sequence[int]) -> Fragment:
    return (f"{column} = ?", (ranks[0],)) if len(ranks) == 1 else (f"{column} = ANY(?::bigint[])", (integers(ranks),))


def _among_texts(column: str, keys: list[str]) -> Fragment:
    return (f"{column} = ?", (keys[0],)) if len(keys) == 1 else (f"{column} = ANY(?::text[])", (keys,))


def keeps_order(query: ItemQuery) -> bool:
    """Tell whether all that a query reads can be read in order, where an index has the order."""
    return query.filter == _ALL


def is_along_an_index(query: ItemQuery) -> bool:
    """Tell whether a query reads along an index, whatever the values are that it is asked with."""
    return keeps_order(query) and path_of(query.order().sort_by, {}) is not None


def query_items(session: Session, queue: LiveQueue, query: ItemQuery) -> ItemPage:
    """Answer a query; result and errors are those of `Repository.query_items`."""
    return Selection(session, queue, query).page()
