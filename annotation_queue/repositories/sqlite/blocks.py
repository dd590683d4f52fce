"""Blocks: how many items stand where in each lane, kept in the transaction that changes what they count."""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from annotation_queue.repositories.sqlite.indexes import COUNTED, IN_ORDER
from annotation_queue.repositories.sqlite.texts import SQL
from annotation_queue.values import MIN_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annotation_queue.repositories.sqlite.indexes import Key, Lane
    from annotation_queue.repositories.sqlite.session import Session

BlockKey: TypeAlias = tuple[int, int, str]
"""Where a block begins: the lane's key, with 0 for a column that is not there."""
FIRST_BLOCK: Final[BlockKey] = (MIN_INTEGER, MIN_INTEGER, "")
"""Before everything; this block is never deleted."""
SIZE: Final = 1_024
"""How many items a block has after a split. It is split when it has more than twice as many."""

PLACE: Final = ("priority_down", "created_at", "id", "call_started_at", "op")
"""The columns of ``work`` that lanes with blocks have; annotating changes none of them."""
_STATES: Final = 4

_NO_COLUMN: Final = len(PLACE)
_PICK: Final[dict[Lane, Callable[[tuple[Any, ...]], BlockKey]]] = {
    lane: itemgetter(*(*map(PLACE.index, lane.columns[:-1]), _NO_COLUMN, _NO_COLUMN)[:2], PLACE.index("id"))
    for lane in COUNTED
}
"""For each lane what picks the key of an item, as wide as that of a block, out of its values in `PLACE` and a 0."""


def lane_key(lane: Lane, block: BlockKey) -> Key:
    """Narrow a block's key to that of its lane."""
    return (*block[: len(lane.columns) - 1], block[2])


def admit(session: Session, queue: int, items: Sequence[tuple[int | str, ...]]) -> None:
    """Count new items, which stand in ``work`` by now and which nobody touched.

    The cost is that of the blocks which they fall into.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        items: Of each its values in `PLACE`.
    """
    places = [(*values, 0) for values in items]
    for lane in COUNTED:
        keys = sorted(map(_PICK[lane], places))
        start = 0
        while start < len(keys):
            place = (queue, lane.num, *keys[start])
            block = session.execute(SQL["block_of"], place).fetchone() or _begin(session, queue, lane)
            end = len(keys)
            if end - start > 1:
                following = session.execute(SQL["block_after"], place).fetchone()
                end = end if following is None else bisect_left(keys, following, start)
            new = end - start
            n = _add(session, (queue, lane.num, *block), new, (new, 0, 0, 0))
            if n > 2 * SIZE:
                _split(session, queue, lane, block, n)
            start = end


def _begin(session: Session, queue: int, lane: Lane) -> BlockKey:
    session.execute(SQL["first_block"], (queue, lane.num, *FIRST_BLOCK))
    return FIRST_BLOCK


def dismiss(session: Session, queue: int, item: int) -> None:
    """Stop counting an item that is still in ``work``.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        item: The item's number.
    """
    *values, state = session.execute(SQL["place_of"], (item,)).fetchone()
    session.execute(SQL["count_op"], (-1, values[PLACE.index("op")]))
    for lane in COUNTED:
        block = session.execute(SQL["block_of"], (queue, lane.num, *_PICK[lane]((*values, 0)))).fetchone()
        left = _add(session, (queue, lane.num, *block), -1, tuple(-(rank == state) for rank in range(_STATES)))
        if not left and block != FIRST_BLOCK:
            session.execute(SQL["delete_block"], (queue, lane.num, *block))


def _add(session: Session, place: tuple[int, int, int, int, str], n: int, by_state: tuple[int, ...]) -> int:
    counts = by_state if place[1] == IN_ORDER.num else (0,) * _STATES
    ((left,),) = session.execute(SQL["add_to_block"], (n, *counts, *place)).fetchall()
    return int(left)


def _split(session: Session, queue: int, lane: Lane, block: BlockKey, n: int) -> None:
    """Cut a block of so many items into blocks of `SIZE`, the last of which may have nearly twice as many."""
    columns = ", ".join(f"w.{column}" for column in lane.columns)
    marks = ", ".join("?" for _ in lane.columns)
    seek = f"FROM work AS w INDEXED BY {lane.index} WHERE w.queue = ? AND ({columns}) >= ({marks}) ORDER BY {columns} LIMIT"
    while n >= 2 * SIZE:
        start = (queue, *lane_key(lane, block))
        *others, item_id = session.execute(f"SELECT {columns} {seek} 1 OFFSET {SIZE}", start).fetchone()
        counts = [0] * _STATES
        if lane is IN_ORDER:
            text = f"SELECT state, count(*) FROM (SELECT w.state {seek} {SIZE}) GROUP BY state"
            for state, count in session.execute(text, start).fetchall():
                counts[state] = count
        following: BlockKey = (*(*others, 0, 0)[:2], item_id)
        n -= SIZE
        session.execute(SQL["cut_block"], (queue, lane.num, *following, SIZE, *counts, queue, lane.num, *block))
        session.execute(SQL["set_block"], (SIZE, *counts, queue, lane.num, *block))
        block = following


def _rows(
    session: Session, queue: int, lane: Lane, start: BlockKey, end: BlockKey | None
) -> Iterator[tuple[BlockKey, int]]:
    """Read the keys of the items from one block to another in the lane's order, with their states in queue order."""
    columns = ", ".join(f"w.{column}" for column in lane.columns)
    state = "w.state" if lane is IN_ORDER else "0"
    marks = ", ".join("?" for _ in lane.columns)
    text = f"SELECT {columns}, {state} FROM work AS w INDEXED BY {lane.index} WHERE w.queue = ? AND ({columns}) >= ({marks})"
    values: tuple[object, ...] = (queue, *lane_key(lane, start))
    if end is not None:
        text += f" AND ({columns}) < ({marks})"
        values += lane_key(lane, end)
    for *others, item_id, rank in session.execute(f"{text} ORDER BY {columns}", values):
        yield (*(*others, 0, 0)[:2], item_id), rank


def block_problems(session: Session, queue: int) -> Iterator[str]:
    """Recount the blocks of a queue.

    Args:
        session: The session, inside a read snapshot.
        queue: The queue's number.

    Yields:
        A sentence for each lane that is counted wrongly. The cost is linear in the items.
    """
    for lane in COUNTED:
        kept = session.execute(SQL["blocks"], (queue, lane.num)).fetchall()
        starts = [(*row[:3],) for row in kept]
        counted = [[0] * (1 + _STATES) for _ in kept]
        index = 0
        for key, state in _rows(session, queue, lane, FIRST_BLOCK, None):
            while index + 1 < len(starts) and starts[index + 1] <= key:
                index += 1
            if not kept:
                yield f"{lane.index} has items and no block"
                return
            counted[index][0] += 1
            counted[index][1 + state] += lane is IN_ORDER
        wrong = [start for start, row, counts in zip(starts, kept, counted, strict=True) if [*row[3:]] != counts]
        if wrong or (kept and starts[0] != FIRST_BLOCK):
            yield f"{lane.index} counts wrongly in the blocks from {wrong or starts[:1]}"
