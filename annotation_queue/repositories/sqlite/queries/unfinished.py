"""Unfinished items in queue order: merged out of the indexes that claims use, past which no finished item is."""

from __future__ import annotations

from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from annotation_queue.repositories.sql.paths import Found, OrderPath
from annotation_queue.repositories.sql.rows import ALWAYS_MICROS
from annotation_queue.repositories.sqlite.indexes import IN_ORDER
from annotation_queue.repositories.sqlite.queries.scans import Scan
from annotation_queue.values import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sql.paths import Key
    from annotation_queue.repositories.sqlite.session import Session

_PARTS: Final = (
    f"work AS w INDEXED BY work_open WHERE w.claimable_at = {ALWAYS_MICROS} AND w.assignees IS NULL",
    "work AS w INDEXED BY work_reserved WHERE w.assignees IS NOT NULL AND w.claimable_at IS NOT NULL",
)
_WAITING: Final = f"w.claimable_at > {ALWAYS_MICROS} AND w.assignees IS NULL"
"""Every unfinished item is in one of those, or waits."""
_KEY: Final = "w.priority_down, w.created_at, w.id"


def unfinished_nums(
    session: Session,
    queue: int,
    conditions: Sequence[Fragment],
    start: Key | None,
    *,
    at: bool,
    limit: int,
    offset: int,
) -> list[int]:
    """Read the numbers of unfinished items in queue order.

    Args:
        session: The session.
        queue: The queue's number.
        conditions: Which of them are wanted; they mention no other table than ``work``.
        start: The key to begin behind; None to begin at the first item.
        at: Whether the item at ``start`` is wanted too.
        limit: The greatest number of items to read.
        offset: How many items to leave out first.

    Returns:
        The numbers. The cost is that of the unfinished items passed, wanted or not, from the start on, and of all items in
        the blocks in which some wait.
    """
    wanted: list[Fragment] = [("w.queue = ?", (queue,)), *conditions]
    if start is not None:
        wanted.append((f"({_KEY}) {'>=' if at else '>'} (?, ?, ?)", start))
    where = " AND ".join(text for text, _ in wanted)
    values = [value for _, some in wanted for value in some]
    parts = [f"SELECT w.num AS num, {_KEY} FROM {part} AND {where}" for part in _PARTS]
    text = f"{' UNION ALL '.join(parts)} ORDER BY 2, 3, 4 LIMIT ?"
    most = min(limit + offset, MAX_INTEGER)
    open_ones = [Found(num, tuple(key)) for num, *key in session.execute(text, (*values * len(parts), most))]
    order = OrderPath(IN_ORDER, (), (True,) * len(IN_ORDER.columns))
    scan = Scan(session, queue, ("", ()), ((_WAITING, ()), *conditions), "waiting")
    both = merge(open_ones, scan.found(order, start, at=at, limit=most), key=attrgetter("key"))
    return [each.num for each in islice(both, offset, most)]
