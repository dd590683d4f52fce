"""Blocks: how many items stand where in each index, kept in the transaction that changes what they count."""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from annotation_queue.repositories.sqlite.indexes import COUNTED, IN_ORDER
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.values import MIN_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annotation_queue.repositories.sqlite.indexes import Index, Key
    from annotation_queue.repositories.sqlite.session import Session

BlockKey: TypeAlias = tuple[int, int, str]
"""Where a block begins: the index's key, with 0 for a column that is not there."""
FIRST_BLOCK: Final[BlockKey] = (MIN_INTEGER, MIN_INTEGER, "")
"""Before everything; this block is never deleted."""
SIZE: Final = 1_024
"""How many items a block has after a split. It is split when it has more than twice as many."""

PLACE: Final = ("priority_down", "created_at", "id", "call_started_at", "op")
"""The columns of ``work`` that lanes with blocks have; annotating changes none of them."""
_STATES: Final = 4

_NO_COLUMN: Final = len(PLACE)
_PICK: Final[dict[Index, Callable[[tuple[Any, ...]], BlockKey]]] = {
    index: itemgetter(*(*map(PLACE.index, index.columns[:-1]), _NO_COLUMN, _NO_COLUMN)[:2], PLACE.index("id"))
    for index in COUNTED
}
"""For each index what picks the key of an item, as wide as that of a block, out of its values in `PLACE` and a 0."""


def index_key(index: Index, block: BlockKey) -> Key:
    """Narrow a block's key to that of its index."""
    return (*block[: len(index.columns) - 1], block[2])


def count_added(session: Session, queue: int, items: Sequence[tuple[int | str, ...]]) -> None:
    """Count new items, which stand in ``work`` by now and which nobody touched.

    The cost is that of the blocks which they fall into.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        items: Of each its values in `PLACE`.
    """
    places = [(*values, 0) for values in items]
    for index in COUNTED:
        keys = sorted(map(_PICK[index], places))
        start = 0
        while start < len(keys):
            place = (queue, index.num, *keys[start])
            block = session.execute(SQL["block_of"], place).fetchone() or _begin(session, queue, index)
            end = len(keys)
            if end - start > 1:
                following = session.execute(SQL["block_after"], place).fetchone()
                end = end if following is None else bisect_left(keys, following, start)
            new = end - start
            n = _add(session, (queue, index.num, *block), new, (new, 0, 0, 0))
            if n > 2 * SIZE:
                _split(session, queue, index, block, n)
            start = end


def _begin(session: Session, queue: int, index: Index) -> BlockKey:
    session.execute(SQL["first_block"], (queue, index.num, *FIRST_BLOCK))
    return FIRST_BLOCK


def count_removed(session: Session, queue: int, item: int) -> None:
    """Stop counting an item that is still in ``work``.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        item: The item's number.
    """
    *values, state = session.execute(SQL["place_of"], (item,)).fetchone()
    session.execute(SQL["count_op"], (-1, values[PLACE.index("op")]))
    for index in COUNTED:
        block = session.execute(SQL["block_of"], (queue, index.num, *_PICK[index]((*values, 0)))).fetchone()
        left = _add(session, (queue, index.num, *block), -1, tuple(-(rank == state) for rank in range(_STATES)))
        if not left and block != FIRST_BLOCK:
            session.execute(SQL["delete_block"], (queue, index.num, *block))


def _add(session: Session, place: tuple[int, int, int, int, str], n: int, by_state: tuple[int, ...]) -> int:
    counts = by_state if place[1] == IN_ORDER.num else (0,) * _STATES
    ((left,),) = session.execute(SQL["add_to_block"], (n, *counts, *place)).fetchall()
    return int(left)


def _split(session: Session, queue: int, index: Index, block: BlockKey, n: int) -> None:
    """Cut a block of so many items into blocks of `SIZE`, the last of which may have nearly twice as many."""
    columns = ", ".join(f"w.{column}" for column in index.columns)
    marks = ", ".join("?" for _ in index.columns)
    seek = f"FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? AND ({columns}) >= ({marks}) ORDER BY {columns} LIMIT"
    while n >= 2 * SIZE:
        start = (queue, *index_key(index, block))
        *others, item_id = session.execute(f"SELECT {columns} {seek} 1 OFFSET {SIZE}", start).fetchone()
        counts = [0] * _STATES
        if index is IN_ORDER:
            text = f"SELECT state, count(*) FROM (SELECT w.state {seek} {SIZE}) GROUP BY state"
            for state, count in session.execute(text, start).fetchall():
                counts[state] = count
        following: BlockKey = (*(*others, 0, 0)[:2], item_id)
        n -= SIZE
        session.execute(SQL["cut_block"], (queue, index.num, *following, SIZE, *counts, queue, index.num, *block))
        session.execute(SQL["set_block"], (SIZE, *counts, queue, index.num, *block))
        block = following


def _rows(
    session: Session, queue: int, index: Index, start: BlockKey, end: BlockKey | None
) -> Iterator[tuple[BlockKey, int]]:
    """Read the keys of the items from one block to another in the index's order, with their states in queue order."""
    columns = ", ".join(f"w.{column}" for column in index.columns)
    state = "w.state" if index is IN_ORDER else "0"
    marks = ", ".join("?" for _ in index.columns)
    text = f"SELECT {columns}, {state} FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? AND ({columns}) >= ({marks})"
    values: tuple[object, ...] = (queue, *index_key(index, start))
    if end is not None:
        text += f" AND ({columns}) < ({marks})"
        values += index_key(index, end)
    for *others, item_id, rank in session.execute(f"{text} ORDER BY {columns}", values):
        yield (*(*others, 0, 0)[:2], item_id), rank


def block_problems(session: Session, queue: int) -> Iterator[str]:
    """Recount the blocks of a queue.

    Args:
        session: The session, inside a read snapshot.
        queue: The queue's number.

    Yields:
        A sentence for each index that is counted wrongly. The cost is linear in the items.
    """
    for index in COUNTED:
        kept = session.execute(SQL["blocks"], (queue, index.num)).fetchall()
        starts = [(*row[:3],) for row in kept]
        counted = [[0] * (1 + _STATES) for _ in kept]
        at = 0
        for key, state in _rows(session, queue, index, FIRST_BLOCK, None):
            while at + 1 < len(starts) and starts[at + 1] <= key:
                at += 1
            if not kept:
                yield f"{index.index} has items and no block"
                return
            counted[at][0] += 1
            counted[at][1 + state] += index is IN_ORDER
        wrong = [start for start, row, counts in zip(starts, kept, counted, strict=True) if [*row[3:]] != counts]
        if wrong or (kept and starts[0] != FIRST_BLOCK):
            yield f"{index.index} counts wrongly in the blocks from {wrong or starts[:1]}"
