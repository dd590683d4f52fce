"""Unfinished items in queue order: merged out of the indexes that claims use, past which no finished item is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annotation_queue.repositories.sql.rows import ALWAYS_MICROS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sqlite.indexes import Key
    from annotation_queue.repositories.sqlite.session import Session

_PARTS: Final = (
    f"work AS w INDEXED BY work_open WHERE w.claimable_at = {ALWAYS_MICROS} AND w.assignees IS NULL",
    f"work AS w INDEXED BY work_waiting WHERE w.claimable_at > {ALWAYS_MICROS} AND w.assignees IS NULL",
    "work AS w INDEXED BY work_reserved WHERE w.assignees IS NOT NULL AND w.claimable_at IS NOT NULL",
)
"""Every unfinished item is in one of these."""
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
        The numbers. The cost is that of the unfinished items passed, wanted or not, from the start on.
    """
    wanted: list[Fragment] = [("w.queue = ?", (queue,)), *conditions]
    if start is not None:
        wanted.append((f"({_KEY}) {'>=' if at else '>'} (?, ?, ?)", start))
    where = " AND ".join(text for text, _ in wanted)
    values = [value for _, some in wanted for value in some]
    parts = [f"SELECT w.num AS num, {_KEY} FROM {part} AND {where}" for part in _PARTS]
    text = f"{' UNION ALL '.join(parts)} ORDER BY 2, 3, 4 LIMIT ? OFFSET ?"
    return [num for num, *_ in session.execute(text, (*values * len(parts), limit, offset))]
