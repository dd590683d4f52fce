"""Groups: orders that begin with a field which annotating changes, read one value of the field after the other.

No index has these orders, so that no change has to keep one. But there are only a few states and a few annotators, and the
rest of the order has an index: the items of a group are those of that index that have the group's value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

import attrs

from annotation_queue.repositories.sql.orders import Fragment, Term, values_of
from annotation_queue.repositories.sql.paths import OrderPath
from annotation_queue.repositories.sql.rows import RANKS, STATES
from annotation_queue.repositories.sqlite.indexes import key_of, path_of
from annotation_queue.repositories.sqlite.queries.filters import FEW, among_nums, in_states, nums_in_states
from annotation_queue.repositories.sqlite.queries.scans import Scan
from annotation_queue.repositories.sqlite.queries.sorts import Sort
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.sorting import Direction, Order, SortValue
from annotation_queue.states import UNSTARTED

_MOST_GROUPS: Final = 2
"""How many groups are read at most. Up to here they cost less than one sort of everything, even if next to none of the
index's items are in them."""


@attrs.frozen
class Group:
    """The items of a queue that have one value of a field which annotating changes.

    Args:
        value: What they sort by.
        at_most: A number of items that they do not exceed.
        column: The column of ``work`` that has the same value for all of them.
        number: That value.
    """

    value: SortValue
    at_most: int
    column: str
    number: int

    @property
    def condition(self) -> Fragment:
        """The condition that an item is one of them."""
        return in_states([self.number]) if self.column == "state" else (f"w.{self.column} = ?", (self.number,))

    @property
    def counted(self) -> str:
        """The column of a block's counters that counts them; empty for none."""
        return STATES[self.number] if self.column == "state" else ""


@attrs.frozen
class Groups:
    """A whole queue as an order divides it.

    Args:
        session: The session.
        queue: The queue's number.
        order: The order, in the aggregate view.
        terms: Its terms.
    """

    session: Session
    queue: int
    order: Order
    terms: tuple[Term, ...]

    def nums(self, after: Sequence[SortValue] | None, most: int) -> list[int] | None:
        """Read the numbers of the first items, group by group.

        Args:
            after: Sort values to begin behind; None to begin at the first item.
            most: The greatest number of items to read.

        Returns:
            The numbers in order. None if the order does not begin with such a field, if the rest of it has no index, or if too
            many groups would have to be read. The cost is that of the index's items that are passed until there are enough of
            a group.
        """
        groups = _groups(self.session, self.queue, self.order)
        if after is not None:
            # If nobody is in the cursor's group any more, it is not known here between which groups that was.
            places = [place for place, group in enumerate(groups) if group.value == after[0]]
            groups = groups[places[0] :] if places else []
        near = groups[:_MOST_GROUPS]
        if not near or (len(near) < len(groups) and sum(group.at_most for group in near) < most):
            return None
        nums: list[int] = []
        for group in near:
            path = path_of(self.order.sort_by[1:], {group.column: group.number})
            if path is None:
                return None
            if len(nums) < most:
                nums += self._nums_of(group, path, after if group is groups[0] else None, most - len(nums))
        return nums if len(nums) == most or len(near) == len(groups) else None

    def _nums_of(self, group: Group, path: OrderPath, after: Sequence[SortValue] | None, limit: int) -> list[int]:
        conditions = (group.condition,)
        if group.column == "state" and group.at_most < FEW:
            sort = Sort(self.session, self.queue, 0, self.terms[1:])
            behind = None if after is None else values_of(self.order, sort.terms, after)
            few = among_nums(nums_in_states(self.session, self.queue, [group.number]))
            return sort.nums([few], "", behind, limit=limit, offset=0)
        start = None if after is None else key_of(path, self.order, after)
        scan = Scan(self.session, self.queue, ("", ()), conditions, group.counted)
        return scan.nums(path, start, at=False, limit=limit, offset=0)


def _groups(session: Session, queue: int, order: Order) -> list[Group]:
    """List the groups of a queue in an order, without those that are known to be empty; none for an order of another kind."""
    by = order.sort_by[0]
    downwards = by.direction is Direction.DESC
    if by.field == "annotation_state":
        counts = session.counts(queue)
        ranks = sorted(RANKS.items(), key=itemgetter(1), reverse=downwards)
        groups = [Group(rank, counts.get((None, state), 0), "state", rank) for state, rank in ranks]
    elif by.field == "annotator_user_id":
        counts = session.counts(queue)
        names = sorted(_touched(counts).items(), reverse=downwards)
        groups = [Group(name, n, "annotator", session.find_text(name) or 0) for name, n in names]
        # The items without an annotator are last in both directions.
        groups.append(Group(None, counts.get((None, UNSTARTED), 0), "state", RANKS[UNSTARTED]))
    else:
        return []
    return [group for group in groups if group.at_most]


def _touched(counts: Mapping[tuple[str | None, str], int]) -> dict[str, int]:
    """Count for each annotator the items on which their progress is not unstarted: at least those that show them."""
    touched: Counter[str] = Counter()
    for (annotator_id, _), n in counts.items():
        if annotator_id is not None:
            touched[annotator_id] += n
    return touched
