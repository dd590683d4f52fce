"""Groups: orders that begin with a field which annotating changes, read one value of the field after the other.

No index has these orders, so that no change has to keep one. But there are only a few states and a few annotators, and the
rest of the order has an index: the items of a group are those of that index that have the group's value.
"""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.repositories.sql.rows import RANKS
from annotation_queue.sorting import Direction
from annotation_queue.states import UNSTARTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annotation_queue.sorting import Order, SortValue

GROUPED: Final = ("annotation_state", "annotator_user_id")
"""The fields by which groups are made, in the aggregate view."""
_MOST_GROUPS: Final = 2
"""How many groups are read at most. Up to here they cost less than one sort of everything, even if next to none of the
index's items are in them."""


class Group(NamedTuple):
    """The items of a queue that have one value of a field which annotating changes.

    Args:
        value: What they sort by: the rank of a state, an annotator, or None for items without one.
        at_most: A number of items that they do not exceed.
    """

    value: SortValue
    at_most: int


def groups_of(order: Order, counts: Mapping[tuple[str | None, str], int]) -> list[Group]:
    """List the groups of a queue in an order, without those that are known to be empty; none for an order of another kind."""
    by = order.sort_by[0]
    downwards = by.direction is Direction.DESC
    if by.field == "annotation_state":
        ranks = sorted(RANKS.items(), key=itemgetter(1), reverse=downwards)
        groups = [Group(rank, counts.get((None, state), 0)) for state, rank in ranks]
    elif by.field == "annotator_user_id":
        groups = [Group(name, n) for name, n in sorted(_touched(counts).items(), reverse=downwards)]
        # The items without an annotator are last in both directions.
        groups.append(Group(None, counts.get((None, UNSTARTED), 0)))
    else:
        return []
    return [group for group in groups if group.at_most]


def nums_by_group(
    groups: Sequence[Group],
    after: Sequence[SortValue] | None,
    most: int,
    read: Callable[[Group, Sequence[SortValue] | None, int], list[int] | None],
) -> list[int] | None:
    """Read the numbers of the first items, group by group.

    Args:
        groups: All groups, in order.
        after: Sort values to begin behind; None to begin at the first item.
        most: The greatest number of items to read.
        read: Reads a number of items of a group behind sort values; None if the rest of the order has no index.

    Returns:
        The numbers in order. None if there is no group, if what is read of one is none, or if too many would have to be read.
    """
    if after is not None:
        # If nobody is in the cursor's group any more, it is not known here between which groups that was.
        places = [place for place, group in enumerate(groups) if group.value == after[0]]
        groups = groups[places[0] :] if places else []
    near = groups[:_MOST_GROUPS]
    if not near or (len(near) < len(groups) and sum(group.at_most for group in near) < most):
        return None
    nums: list[int] = []
    for group in near:
        found = read(group, after if group is groups[0] else None, most - len(nums)) if len(nums) < most else []
        if found is None:
            return None
        nums += found
    return nums if len(nums) == most or len(near) == len(groups) else None


def _touched(counts: Mapping[tuple[str | None, str], int]) -> dict[str, int]:
    """Count for each annotator the items on which their progress is not unstarted: at least those that show them."""
    touched: Counter[str] = Counter()
    for (annotator_id, _), n in counts.items():
        if annotator_id is not None:
            touched[annotator_id] += n
    return touched
