"""Blocks: how many items stand where in each index, kept in the transaction that changes what they count."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from annotation_queue.repositories.sql.rows import STATES
from annotation_queue.repositories.sqlite.indexes import COUNTED, IN_ORDER
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.values import MIN_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from annotation_queue.repositories.sqlite.indexes import Index, Key
    from annotation_queue.repositories.sqlite.session import Session
    from annotation_queue.states import AnnotationState

BlockKey: TypeAlias = tuple[int, int, str]
"""Where a block begins: the index's key, with 0 for a column that is not there."""
FIRST_BLOCK: Final[BlockKey] = (MIN_INTEGER, MIN_INTEGER, "")
"""Before everything; this block is never deleted."""
SIZE: Final = 1_024
"""How many items a block has after a split. It is split when it has more than twice as many."""


class Place(NamedTuple):
    """The columns of ``work`` that indexes with blocks have; annotating changes none of them.

    Args:
        nothing: Stands for a column that an index has not.
    """

    priority_down: int
    created_at: int
    id: str
    call_started_at: int
    op: int
    nothing: int = 0


class BlockRow(NamedTuple):
    """A block: where it begins, how many items it has, and in queue order how many of them are in which state."""

    a: int
    b: int
    id: str
    n: int
    unstarted: int
    in_progress: int
    completed: int
    skipped: int

    @property
    def start(self) -> BlockKey:
        """Where it begins."""
        return self.a, self.b, self.id

    @property
    def counts(self) -> tuple[int, ...]:
        """What it counts: its items, and those in each state."""
        return self[3:]


class _Block(NamedTuple):
    """What identifies a block: its queue, the number of its index, and where it begins."""

    queue: int
    lane: int
    a: int
    b: int
    id: str

    @property
    def start(self) -> BlockKey:
        """Where it begins."""
        return self.a, self.b, self.id


_NO_STATES: Final[dict[str, int]] = dict.fromkeys(STATES, 0)
_PICK: Final[dict[Index, Callable[[Place], BlockKey]]] = {
    index: attrgetter(*(*index.columns[:-1], "nothing", "nothing")[:2], "id") for index in COUNTED
}
"""For each index what picks the key of an item, as wide as that of a block."""


def index_key(index: Index, block: BlockKey) -> Key:
    """Narrow a block's key to that of its index."""
    return (*block[: len(index.columns) - 1], block[2])


def count_added(session: Session, queue: int, places: Mapping[Place, AnnotationState]) -> None:
    """Count items that are new, or back; they stand in ``work`` by now.

    The cost is that of the blocks which they fall into.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        places: Where they stand, each with its aggregate state.
    """
    for index in COUNTED:
        pick = _PICK[index]
        by_key = {pick(place): state for place, state in places.items()}
        for block, keys in _by_block(session, queue, index, sorted(by_key)):
            n = _add(session, block, len(keys), Counter(by_key[key] for key in keys))
            if n > 2 * SIZE:
                _split(session, block, index, n)


class Move(NamedTuple):
    """An item whose aggregate state changed.

    Args:
        place: Its place in queue order.
        before: Its state before.
        after: Its state after.
    """

    place: BlockKey
    before: AnnotationState
    after: AnnotationState


_DIFFERENCES: Final = {
    (before, after): tuple((state is after) - (state is before) for state in STATES)
    for before in STATES
    for after in STATES
}
"""What a change of an item's state adds to the count of each state."""


def count_moved(session: Session, queue: int, moves: Sequence[Move]) -> None:
    """Count items anew whose aggregate state changed.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        moves: The items.
    """
    by_key = {move.place: _DIFFERENCES[move.before, move.after] for move in moves}
    if len(by_key) == 1:
        ((place, difference),) = by_key.items()
        if session.execute(SQL["count_states_at"], (*difference, queue, IN_ORDER.num, *place)).rowcount:
            return
    for block, keys in _by_block(session, queue, IN_ORDER, sorted(by_key)):
        sums = by_key[keys[0]] if len(keys) == 1 else map(sum, zip(*(by_key[key] for key in keys), strict=True))
        session.execute(SQL["count_states"], (*sums, *block))


def count_reordered(
    session: Session, queue: int, before: Mapping[BlockKey, AnnotationState], after: Mapping[BlockKey, AnnotationState]
) -> None:
    """Count items anew that have other places in queue order, which stand in ``work`` by now.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        before: Where they stood, each with its aggregate state.
        after: Where they stand.
    """
    _uncount(session, queue, IN_ORDER, before)
    for block, keys in _by_block(session, queue, IN_ORDER, sorted(after)):
        n = _add(session, block, len(keys), Counter(after[key] for key in keys))
        if n > 2 * SIZE:
            _split(session, block, IN_ORDER, n)


def _by_block(
    session: Session, queue: int, index: Index, keys: Sequence[BlockKey]
) -> Iterator[tuple[_Block, Sequence[BlockKey]]]:
    """Tell which keys fall into which block of an index; its first block is made if it is missing.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        index: The index.
        keys: Keys, ascending.

    Yields:
        Each block that they fall into, with its keys.
    """
    start = 0
    while start < len(keys):
        place = (queue, index.num, *keys[start])
        block = session.execute(SQL["block_of"], place).fetchone()
        if block is None:
            block = FIRST_BLOCK
            session.execute(SQL["first_block"], (queue, index.num, *block))
        end = len(keys)
        if end - start > 1:
            following = session.execute(SQL["block_after"], place).fetchone()
            end = end if following is None else bisect_left(keys, following, start)
        yield _Block(queue, index.num, *block), keys[start:end]
        start = end


def count_removed(session: Session, queue: int, places: Mapping[Place, AnnotationState]) -> None:
    """Stop counting items.

    The cost is that of the blocks which they fall into.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        places: Where they stand, each with its aggregate state.
    """
    for index in COUNTED:
        pick = _PICK[index]
        _uncount(session, queue, index, {pick(place): state for place, state in places.items()})


def _uncount(session: Session, queue: int, index: Index, by_key: Mapping[BlockKey, AnnotationState]) -> None:
    for block, keys in _by_block(session, queue, index, sorted(by_key)):
        states: Counter[str] = Counter(by_key[key] for key in keys)
        left = _add(session, block, -len(keys), {state: -n for state, n in states.items()})
        if not left and block.start != FIRST_BLOCK:
            session.execute(SQL["delete_block"], block._asdict())


def _add(session: Session, block: _Block, n: int, by_state: Mapping[str, int]) -> int:
    """Add to what a block counts; states count in queue order only. Gives how many items it has then."""
    counts: dict[str, int] = {**_NO_STATES, **(by_state if block.lane == IN_ORDER.num else {})}
    values = {**block._asdict(), "n": n, **counts}
    ((left,),) = session.execute(SQL["add_to_block"], values).fetchall()
    return int(left)


def _split(session: Session, block: _Block, index: Index, n: int) -> None:
    """Cut a block of a number of items into blocks of `SIZE`, the last of which may have nearly twice as many."""
    columns = ", ".join(f"w.{column}" for column in index.columns)
    marks = ", ".join("?" for _ in index.columns)
    seek = f"FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? AND ({columns}) >= ({marks}) ORDER BY {columns} LIMIT"
    while n >= 2 * SIZE:
        start = (block.queue, *index_key(index, block.start))
        *others, item_id = session.execute(f"SELECT {columns} {seek} 1 OFFSET {SIZE}", start).fetchone()
        counts: dict[str, int] = {**_NO_STATES}
        if index is IN_ORDER:
            text = f"SELECT state, count(*) FROM (SELECT w.state {seek} {SIZE}) GROUP BY state"
            counts |= {STATES[state]: count for state, count in session.execute(text, start)}
        a, b = (*others, 0, 0)[:2]
        kept = {**block._asdict(), "n": SIZE, **counts}
        session.execute(SQL["cut_block"], {**kept, "new_a": a, "new_b": b, "new_id": item_id})
        session.execute(SQL["set_block"], kept)
        block = _Block(block.queue, block.lane, a, b, item_id)
        n -= SIZE


def _rows(session: Session, queue: int, index: Index) -> Iterator[tuple[BlockKey, int]]:
    """Read the keys of all items in the index's order, with their states in queue order."""
    columns = ", ".join(f"w.{column}" for column in index.columns)
    state = "w.state" if index is IN_ORDER else "0"
    text = f"SELECT {columns}, {state} FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? ORDER BY {columns}"
    for *others, item_id, rank in session.execute(text, (queue,)):
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
        kept = [*map(BlockRow._make, session.execute(SQL["blocks"], (queue, index.num)))]
        starts = [block.start for block in kept]
        counted = [[0] * (1 + len(STATES)) for _ in kept]
        at = 0
        for key, state in _rows(session, queue, index):
            while at + 1 < len(starts) and starts[at + 1] <= key:
                at += 1
            if not kept:
                yield f"{index.index} has items and no block"
                return
            counted[at][0] += 1
            counted[at][1 + state] += index is IN_ORDER
        wrong = [block.start for block, counts in zip(kept, counted, strict=True) if [*block.counts] != counts]
        if wrong or (kept and starts[0] != FIRST_BLOCK):
            yield f"{index.index} counts wrongly in the blocks from {wrong or starts[:1]}"
