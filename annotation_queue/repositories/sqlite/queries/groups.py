"""Groups: the items of one state or annotator after the other, each along the index of the rest of the order."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from annotation_queue.repositories.sql.groups import Group, groups_of, nums_by_group
from annotation_queue.repositories.sql.orders import Fragment, Term, values_of
from annotation_queue.repositories.sql.rows import RANKS, STATES
from annotation_queue.repositories.sqlite.indexes import key_of, path_of
from annotation_queue.repositories.sqlite.queries.by_update import Wanted, nums_along
from annotation_queue.repositories.sqlite.queries.filters import among_nums, is_few
from annotation_queue.repositories.sqlite.queries.scans import Scan
from annotation_queue.repositories.sqlite.queries.sorts import Sort
from annotation_queue.repositories.sqlite.queries.states import RareStates, in_states
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.sorting import Order, SortValue
from annotation_queue.states import UNSTARTED


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
        return nums_by_group(groups_of(self.order, self.session.counts(self.queue)), after, most, self._nums_of)

    def _nums_of(self, group: Group, after: Sequence[SortValue] | None, limit: int) -> list[int] | None:
        path = path_of(self.order.sort_by[1:], {})
        if path is None:
            return None
        condition: Fragment
        wanted = Wanted()
        if isinstance(group.value, str):
            condition, counted = ("w.annotator = ?", (self.session.find_text(group.value) or 0,)), ""
        else:
            rank = RANKS[UNSTARTED] if group.value is None else group.value
            condition, counted = in_states([rank]), STATES[rank]
            wanted = Wanted([rank], group.at_most)
            if is_few(group.at_most, self.session.live(self.queue)):
                sort = Sort(self.session, self.queue, 0, self.terms[1:])
                behind = None if after is None else values_of(self.order, sort.terms, after)
                few = among_nums(RareStates(self.session, self.queue, [rank]).nums())
                return sort.nums([few], "", behind, limit=limit, offset=0)
        start = None if after is None else key_of(path, self.order, after)
        scan = Scan(self.session, self.queue, ("", ()), (condition,), counted)
        return nums_along(scan, path, start, wanted, at=False, limit=limit, offset=0)
