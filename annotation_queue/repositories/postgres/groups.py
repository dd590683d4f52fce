"""Groups: the items of one state or annotator after the other, each along the index of the rest of the order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue.repositories.postgres.columns import Plan, plan_along
from annotation_queue.repositories.postgres.indexes import IN_ORDER, key_of_values, path_of
from annotation_queue.repositories.postgres.scans import Scan
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.groups import Group, groups_of, nums_by_group
from annotation_queue.repositories.sql.orders import beyond, order_by, values_of
from annotation_queue.repositories.sql.rows import RANKS
from annotation_queue.states import UNSTARTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.orders import Fragment, Term
    from annotation_queue.sorting import Order, SortValue

_FEW: Final = 2_000
"""If fewer items are in a group, sorting them costs less than reading an index that they are strewn over."""
_WORK: Final = Plan("w", ())


@attrs.frozen
class Groups:
    """A whole queue as an order divides it, in which no text is long.

    Args:
        session: The session.
        queue: The queue's number.
        order: The order, in the aggregate view.
        terms: Its terms, along ``work``.
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
            a group, or of a sort of a small one.
        """
        counts = self.session.counts([self.queue]).get(self.queue, {})
        return nums_by_group(groups_of(self.order, counts), after, most, self._nums_of)

    def _nums_of(self, group: Group, after: Sequence[SortValue] | None, limit: int) -> list[int] | None:
        path = path_of(self.order.sort_by[1:], {})
        if path is None:
            return None
        annotator = key_of(group.value) if isinstance(group.value, str) else None
        rank = RANKS[UNSTARTED] if group.value is None else group.value
        condition: Fragment = ("w.state = ?", (rank,)) if annotator is None else ("w.annotator = ?", (annotator,))
        # Those of a state have an index in queue order.
        is_indexed = annotator is None and path.index is IN_ORDER
        is_small = group.at_most < _FEW and not is_indexed
        self.session.sort(allowed=is_small)
        if is_small:
            return self._sorted(condition, annotator, after, limit)
        start = None if after is None else key_of_values(path, self.order, after)
        plan = _WORK if is_indexed else plan_along(path.index, looked_up="w")
        scan = Scan(self.session, self.queue, None, (condition,), plan)
        return [each.num for each in scan.found(path, start, at=False, limit=limit)]

    def _sorted(
        self, condition: Fragment, annotator: str | None, after: Sequence[SortValue] | None, limit: int
    ) -> list[int]:
        """Sort the items of a group; those of an annotator are among what the annotator has touched."""
        terms, conditions = self.terms[1:], [condition]
        if annotator is not None:
            touched = "SELECT p.item FROM progresses AS p WHERE p.queue = ? AND p.annotator = ?"
            conditions.append((f"w.num = ANY(ARRAY({touched}))", (self.queue, annotator)))
        if after is not None:
            conditions.append(beyond(terms, values_of(self.order, terms, after), after=True))
        text, values = Plan("w", terms).select("w.num", self.queue, None, conditions)
        rows = self.session.composed(f"{text} ORDER BY {order_by(terms)} LIMIT ?", (*values, limit))
        return [num for (num,) in rows]
