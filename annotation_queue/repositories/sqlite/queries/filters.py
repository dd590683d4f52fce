"""Which items of a queue a query wants, as conditions; and how many they are, if counters tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from annotation_queue.counters import live_and_unfinished
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.repositories.sql.orders import Fragment
from annotation_queue.repositories.sql.paths import OrderPath
from annotation_queue.repositories.sql.rows import RANKS
from annotation_queue.repositories.sqlite.indexes import BY_UPDATED, IN_ORDER
from annotation_queue.repositories.sqlite.queries.by_update import Wanted
from annotation_queue.repositories.sqlite.queries.sorts import AMONG
from annotation_queue.repositories.sqlite.queries.states import RareStates, in_states
from annotation_queue.repositories.sqlite.queries.updates import TOLD, first_later
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.states import UNSTARTED
from annotation_queue.values import MAX_INTEGER, to_micros

_UNIQUE: Final = {"id": "work_by_id", "call_id": "live_calls", "call_trace_id": "live_traces"}
"""Filters that leave next to nothing, with the index that finds it."""
FEW: Final = 5_000
"""If fewer items are wanted, sorting them costs less than reading an index that they are strewn over."""


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
        self._most = query.offset + (MAX_INTEGER if query.limit is None else query.limit + 1)
        self.annotator: Final = annotator
        self.fixed: Final[dict[str, int]] = {}
        """Columns of indexes in which every wanted item has the same value, with the value."""
        self.matches_nothing = False
        """Whether it is known that no item can be wanted. Then the conditions say nothing, and nothing needs to be read."""
        self._ops: list[int] = []
        self._adders: list[int] = []
        self._by_field = self._conditions(query.filter)

    def _conditions(self, chosen: ItemFilter) -> dict[str, Fragment]:
        self.matches_nothing |= chosen.shows_none
        conditions: dict[str, Fragment] = {}
        wanted = chosen.equalities()
        if "id" in wanted:
            conditions["id"] = _among("w.id", [*wanted["id"]])
        for field in wanted.keys() & {"call_id", "call_trace_id"}:
            text, values = _among(f"i.{field}", [*wanted[field]])
            conditions[field] = (f"i.queue = ? AND {text} AND i.deleted_at IS NULL", (self._queue, *values))
        if "call_op_name" in wanted:
            self._ops = self._known(self._session.find_op_name(self._queue, name) for name in wanted["call_op_name"])
            conditions["op"] = _among("w.op", self._ops)
            if len(self._ops) == 1:
                (self.fixed["op"],) = self._ops
        if "added_by" in wanted:
            self._adders = self._known(map(self._session.find_text, wanted["added_by"]))
            conditions["added_by"] = _among("w.added_by", self._adders)
        if chosen.annotation_states is not None:
            self._add_states(conditions, sorted(RANKS[state] for state in chosen.annotation_states))
        if chosen.finished is not None:
            conditions["finished"] = (f"w.claimable_at IS {'' if chosen.finished else 'NOT '}NULL", ())
        if chosen.assignee is not None:
            reserved = "SELECT r.num FROM (SELECT item AS num FROM reservations WHERE queue = ? AND annotator = ?) AS r"
            (annotator,) = self._known([self._session.find_text(chosen.assignee)]) or [0]
            conditions["assignee"] = (f"w.num IN ({reserved})", (self._queue, annotator))
        times = _in_time(chosen)
        if times is not None:
            conditions["updated_at"] = times
        return conditions

    def _known(self, nums: Iterable[int | None]) -> list[int]:
        """Give the numbers of texts. If the storage knows none of them, no item has one."""
        known = [num for num in nums if num is not None]
        self.matches_nothing |= not known
        return known

    def _add_states(self, conditions: dict[str, Fragment], ranks: list[int]) -> None:
        # Of an annotator who never did anything, every item is unstarted.
        is_stranger = not self._aggregate and not self.annotator
        self.matches_nothing |= not ranks or (is_stranger and RANKS[UNSTARTED] not in ranks)
        own = f"coalesce(p.state, 0) IN ({', '.join('?' for _ in ranks)})", tuple(ranks)
        conditions["state"] = in_states(ranks) if self._aggregate else own

    def conditions(self, path: OrderPath | None = None) -> tuple[Fragment, ...]:
        """Give the conditions, but for those that every item of a path fulfils."""
        fulfilled = () if path is None else path.index.columns[: len(path.fixed)]
        return tuple(condition for column, condition in self._by_field.items() if column not in fulfilled)

    def only_unfinished(self, conditions: Sequence[Fragment]) -> bool:
        """Tell whether only unfinished items are wanted, by conditions on ``work`` alone."""
        return self._chosen.finished is False and not any(
            table in text for text, _ in conditions for table in ("i.", "p.", "o.")
        )

    def rare_index(self, path: OrderPath | None) -> str:
        """Name the index that finds the wanted items, if they are so few that sorting them costs less than a scan of a path."""
        for field, index in _UNIQUE.items():
            if field in self._by_field:
                return index
        fulfilled = () if path is None else path.index.columns[: len(path.fixed)]
        if "op" in self._by_field and "op" not in fulfilled and self._live_of_op() < FEW:
            return "work_by_op"
        if "added_by" in self._by_field and self._added_by(self._adders) < FEW:
            return "work_by_adder"
        return ""

    def rare_nums(self, path: OrderPath | None) -> list[int] | None:
        """List the items that changed in time, or are in wanted states, by number; None unless sorting them beats a scan."""
        if "updated_at" in self._by_field and (updated := self._updated()) is not None:
            return updated
        if "state" not in self._by_field or not self._aggregate:
            return None
        wanted = self._counted_by_state()
        if not is_few(wanted, self._session.live(self._queue)):
            return None
        rare = RareStates(self._session, self._queue, [RANKS[state] for state in self._chosen.annotation_states or ()])
        # Along queue order the blocks show where they are, and a page ends before the last of them.
        if path is not None and path.index is IN_ORDER and path.even:
            passed = min(self._most, wanted) if self._by_field.keys() == {"state"} else wanted
            if not rare.are_found_sooner(wanted, passed):
                return None
        return rare.nums()

    def total(self) -> int | None:
        """Say how many items are wanted, if counters tell; else None."""
        if not self._by_field:
            return self._session.live(self._queue)
        if self._by_field.keys() == {"op"}:
            return self._live_of_op()
        if self._by_field.keys() == {"finished"}:
            counts = self._session.counts(self._queue)
            live, unfinished = live_and_unfinished(counts)
            return live - unfinished if self._chosen.finished else unfinished
        return self._counted_by_state() if self._by_field.keys() == {"state"} and self._aggregate else None

    def wanted(self, path: OrderPath) -> Wanted:
        """Say what is known of the wanted items that helps along a path."""
        if path.index is not BY_UPDATED:
            return Wanted()
        states = self._chosen.annotation_states
        if states is None or not self._aggregate:
            return Wanted(total=None if self._by_field else self._session.live(self._queue))
        ranks = sorted(RANKS[state] for state in states)
        return Wanted(ranks, self._counted_by_state() if self._by_field.keys() == {"state"} else None)

    def in_blocks(self, path: OrderPath) -> str:
        """Give the expression that counts the wanted items in blocks along a path; empty if nothing counts them."""
        return self.counted(path) if self._by_field.keys() == {"state"} and all(path.ups) else ""

    def counted(self, path: OrderPath) -> str:
        """Give the expression that counts items in the wanted states in blocks along a path; empty if nothing counts them."""
        states = self._chosen.annotation_states
        return " + ".join(states) if self._aggregate and states and path.index is IN_ORDER else ""

    def _live_of_op(self) -> int:
        return sum(n for op in self._ops for (n,) in self._session.execute(SQL["live_of_op"], (op,)).fetchall())

    def _added_by(self, adders: Sequence[int]) -> int:
        """Count what some users added, but of each no further than to a limit."""
        few = SQL["few_of_adder"]
        return sum(self._session.execute(few, (self._queue, each, FEW)).fetchone()[0] for each in adders)

    def _updated(self) -> list[int] | None:
        """List what changed in the time that is asked for; None if that is more than a few."""
        session, queue, chosen = self._session, self._queue, self._chosen
        low, high = 1, session.log_end(queue).entries + 1
        if chosen.updated_from is not None:
            low = first_later(session, queue, to_micros(chosen.updated_from) - 1)
        if chosen.updated_until is not None:
            high = first_later(session, queue, to_micros(chosen.updated_until) - 1)
        # Mostly there are two entries for each item.
        if high - low >= 2 * FEW:
            return None
        text, values = self._by_field["updated_at"]
        own = f"SELECT w.num FROM work AS w INDEXED BY {BY_UPDATED.index} WHERE w.queue = ? AND {text}"
        own = f"{own} AND {BY_UPDATED.only} LIMIT ?"
        nums = [num for (num,) in session.execute(own, (queue, *values, FEW))]
        told = f"SELECT w.num FROM {TOLD} WHERE l.queue = ? AND l.num >= ? AND l.num < ? LIMIT ?"
        nums += [num for (num,) in session.execute(told, (queue, low, high, FEW))]
        return nums if len(nums) < FEW else None

    def _counted_by_state(self) -> int:
        counts = self._session.counts(self._queue)
        return sum(counts.get((None, state), 0) for state in self._chosen.annotation_states or ())


def is_few(wanted: int, live: int) -> bool:
    """Tell whether items are so few of the live ones that sorting them costs less than reading past the others.

    Of every fourth item, a scan finds enough for a page at once; and if it does not, it passes four times as many as a sort.
    """
    return wanted < min(FEW, live / 4)


def among_nums(nums: Sequence[int]) -> Fragment:
    """Write the condition that an item is one of those that have a number."""
    return AMONG, (json.dumps(nums),)


def _among(column: str, values: Sequence[int | str]) -> Fragment:
    """Write the condition that a column has one of some values."""
    if len(values) == 1:
        return f"{column} = ?", tuple(values)
    return f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(values),)


def _in_time(chosen: ItemFilter) -> Fragment | None:
    """Write the condition on when an item last changed; None without one."""
    ends = ((">=", chosen.updated_from), ("<", chosen.updated_until))
    given = [(f"w.updated_at {sign} ?", to_micros(moment)) for sign, moment in ends if moment is not None]
    return (" AND ".join(text for text, _ in given), tuple(micros for _, micros in given)) if given else None
