"""Blocks: how many items stand where in each index, kept in the transaction that changes what they count."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from functools import cache
from operator import add, itemgetter, sub
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from annotation_queue.repositories.sql.paths import cuts
from annotation_queue.repositories.sql.rows import ALWAYS_MICROS, STATES
from annotation_queue.repositories.sqlite.indexes import COUNTED, IN_ORDER
from annotation_queue.repositories.sqlite.statements import SQL, WRITES
from annotation_queue.states import UNSTARTED
from annotation_queue.values import MIN_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from annotation_queue.repositories.sql.paths import Index, Key
    from annotation_queue.repositories.sqlite.session import Session
    from annotation_queue.states import AnnotationState

_ADD: Final = WRITES["add_to_kinds"]
_ADD_AT: Final = WRITES["add_to_kinds_at"]
BlockKey: TypeAlias = tuple[int, int, str]
"""Where a block begins: the index's key, with 0 for a column that is not there."""
FIRST_BLOCK: Final[BlockKey] = (MIN_INTEGER, MIN_INTEGER, "")
"""Before everything; this block is never deleted."""
SIZE: Final = 1_024
"""How many items a block has after a split. It is split when it has more than twice as many."""
_MANY: Final = 1_000
"""From how many keys on all blocks between them are read at once."""


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


class Kind(NamedTuple):
    """What blocks of queue order count apart.

    Args:
        state: The aggregate state.
        waits: Whether leases keep the item from everybody, reserved or not.
    """

    state: AnnotationState
    waits: bool = False


NEW_KIND: Final = Kind(UNSTARTED)
"""That of an item that nobody touched."""
KIND_COLUMNS: Final = (*STATES, "waiting")
"""What the columns of ``counters`` count of a block."""


@cache
def kind_of(rank: int, waits: int | None) -> Kind:
    """Give the kind of an item by its row: the rank of its state, and whether it is claimable only after some lease."""
    return Kind(STATES[rank], bool(waits))


class BlockRow(NamedTuple):
    """A block: where it begins, how many items it has, and in queue order how many of them are of which kind."""

    num: int
    a: int
    b: int
    id: str
    n: int
    unstarted: int | None
    in_progress: int | None
    completed: int | None
    skipped: int | None
    waiting: int | None

    @property
    def start(self) -> BlockKey:
        """Where it begins."""
        return self.a, self.b, self.id

    @property
    def counts(self) -> tuple[int | None, ...]:
        """What it counts: its items, and those of each kind."""
        return self[4:]


class _Block(NamedTuple):
    """What identifies a block: its queue, the number of its index, where it begins, and its own number."""

    queue: int
    lane: int
    a: int
    b: int
    id: str
    num: int

    @property
    def start(self) -> BlockKey:
        """Where it begins."""
        return self.a, self.b, self.id


_PICK: Final[dict[Index, Callable[[Place], BlockKey]]] = {
    index: itemgetter(*map(Place._fields.index, (*(*index.columns[:-1], "nothing", "nothing")[:2], "id")))
    for index in COUNTED
}
"""For each index what picks the key of an item, as wide as that of a block."""


def index_key(index: Index, block: BlockKey) -> Key:
    """Narrow a block's key to that of its index."""
    return (*block[: len(index.columns) - 1], block[2])


def count_added(session: Session, queue: int, places: Sequence[Place], kinds: Sequence[Kind]) -> None:
    """Count items that are new, or back; they stand in ``work`` by now.

    The cost is that of the blocks which they fall into.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        places: Where they stand.
        kinds: The kind of each.
    """
    for index in COUNTED:
        _count(session, queue, index, *_keys(index, places, kinds))


class Move(NamedTuple):
    """An item whose kind changed.

    Args:
        place: Its place in queue order.
        before: Its kind before.
        after: Its kind after.
    """

    place: BlockKey
    before: Kind
    after: Kind


_ALL_KINDS: Final = [Kind(state, waits) for state in STATES for waits in (False, True)]
_COUNTS: Final = {kind: (*(int(kind.state is state) for state in STATES), int(kind.waits)) for kind in _ALL_KINDS}
"""What an item of each kind adds to what is counted."""
_DIFFERENCES: Final = {
    (before, after): tuple(map(sub, _COUNTS[after], _COUNTS[before])) for before in _ALL_KINDS for after in _ALL_KINDS
}
"""What a change of an item's kind adds to what is counted."""


def count_moved(session: Session, queue: int, moves: Sequence[Move]) -> None:
    """Count items anew whose kind changed.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        moves: The items.
    """
    by_key = {move.place: _DIFFERENCES[move.before, move.after] for move in moves}
    if len(by_key) == 1:
        ((place, difference),) = by_key.items()
        session.execute(_ADD_AT.text, (*difference, queue, queue, *place))
        return
    for block, keys in _by_block(session, queue, IN_ORDER, by_key):
        sums = [*map(sum, zip(*(by_key[key] for key in keys), strict=True))]
        session.execute(_ADD.text, (*sums, queue, block.num))


def count_reordered(
    session: Session, queue: int, before: Mapping[BlockKey, Kind], after: Mapping[BlockKey, Kind]
) -> None:
    """Count items anew that have other places in queue order, which stand in ``work`` by now.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        before: Where they stood, each with its kind.
        after: Where they stand.
    """
    _uncount(session, queue, IN_ORDER, before, before)
    _count(session, queue, IN_ORDER, after, after)


def _keys(
    index: Index, places: Sequence[Place], kinds: Sequence[Kind]
) -> tuple[Collection[BlockKey], Mapping[BlockKey, Kind]]:
    """List the keys of items in an index, and in queue order say of which kind each is."""
    keys = [*map(_PICK[index], places)]
    return keys, dict(zip(keys, kinds, strict=True)) if index is IN_ORDER else {}


def _by_block(
    session: Session, queue: int, index: Index, keys: Collection[BlockKey]
) -> Iterator[tuple[_Block, Sequence[BlockKey]]]:
    """Tell which keys fall into which block of an index; its first block is made if it is missing.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        index: The index.
        keys: Keys, in any order.

    Yields:
        Each block that they fall into, in order, with its keys. The cost is that of these blocks for a few keys, and of all
        blocks between the first and the last key for many.
    """
    if len(keys) < _MANY:
        yield from _by_block_one_by_one(session, queue, index, sorted(keys))
        return
    # To sort many keys costs more than to look each of them up among the blocks.
    least, greatest = min(keys), max(keys)
    blocks = [_block_of(session, queue, index, least)]
    rows = session.execute(SQL["blocks_up_to"], (queue, index.num, *blocks[0].start, *greatest))
    blocks += [_Block(queue, index.num, a, b, item_id, num) for num, a, b, item_id in rows.fetchall()]
    starts = [block.start for block in blocks]
    found: list[list[BlockKey]] = [[] for _ in blocks]
    for key in keys:
        found[bisect_right(starts, key) - 1].append(key)
    for block, fallen in zip(blocks, found, strict=True):
        if fallen:
            yield block, fallen


def _by_block_one_by_one(
    session: Session, queue: int, index: Index, keys: Sequence[BlockKey]
) -> Iterator[tuple[_Block, Sequence[BlockKey]]]:
    start = 0
    while start < len(keys):
        block = _block_of(session, queue, index, keys[start])
        end = len(keys)
        if end - start > 1:
            following = session.execute(SQL["block_after"], (queue, index.num, *keys[start])).fetchone()
            end = end if following is None else bisect_left(keys, following, start)
        yield block, keys[start:end]
        start = end


def _block_of(session: Session, queue: int, index: Index, key: BlockKey) -> _Block:
    """Find the block that a key falls into, or make the first one."""
    found = session.execute(SQL["block_of"], (queue, index.num, *key)).fetchone()
    if found is None:
        return _add_block(session, queue, index, FIRST_BLOCK)
    num, a, b, item_id = found
    return _Block(queue, index.num, a, b, item_id, num)


def _add_block(session: Session, queue: int, index: Index, start: BlockKey) -> _Block:
    """Make a block that counts nothing yet; in queue order it gets a number."""
    num = 0
    if index is IN_ORDER:
        (num,) = session.execute(SQL["next_block"], (queue,)).fetchone()
        session.execute(SQL["add_kinds"], {"queue": queue, "num": num})
    block = _Block(queue, index.num, *start, num)
    session.execute(SQL["add_block"], block._asdict())
    return block


def count_removed(session: Session, queue: int, places: Sequence[Place], kinds: Sequence[Kind]) -> None:
    """Stop counting items.

    The cost is that of the blocks which they fall into.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        places: Where they stand.
        kinds: The kind of each.
    """
    for index in COUNTED:
        _uncount(session, queue, index, *_keys(index, places, kinds))


def _count(
    session: Session, queue: int, index: Index, keys: Collection[BlockKey], kinds: Mapping[BlockKey, Kind]
) -> None:
    for block, fallen in _by_block(session, queue, index, keys):
        n = _add(session, block, len(fallen), map(kinds.__getitem__, fallen))
        if n > 2 * SIZE:
            _split(session, block, index, n)


def _uncount(
    session: Session, queue: int, index: Index, keys: Collection[BlockKey], kinds: Mapping[BlockKey, Kind]
) -> None:
    for block, fallen in _by_block(session, queue, index, keys):
        left = _add(session, block, -len(fallen), map(kinds.__getitem__, fallen))
        if not left and block.start != FIRST_BLOCK:
            session.execute(SQL["delete_block"], block._asdict())
            if block.num:
                session.execute(SQL["delete_kinds"], block._asdict())


def _add(session: Session, block: _Block, n: int, kinds: Iterable[Kind]) -> int:
    """Add to what a block counts, or take from it if ``n`` is negative; kinds are read in queue order only.

    Returns:
        How many items it has then.
    """
    ((left,),) = session.execute(SQL["add_to_block"], {**block._asdict(), "n": n}).fetchall()
    if block.num:
        sums = [0] * len(KIND_COLUMNS)
        for kind, times in Counter(kinds).items():
            sign = times if n > 0 else -times
            sums = [total + sign * count for total, count in zip(sums, _COUNTS[kind], strict=True)]
        session.execute(_ADD.text, (*sums, block.queue, block.num))
    return int(left)


def _split(session: Session, block: _Block, index: Index, n: int) -> None:
    """Cut a block of a number of items into blocks of `SIZE`, the last of which may have nearly twice as many."""
    columns = ", ".join(f"w.{column}" for column in index.columns)
    marks = ", ".join("?" for _ in index.columns)
    seek = f"FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? AND ({columns}) >= ({marks}) ORDER BY {columns} LIMIT"
    for rank in cuts(n, SIZE):
        start = (block.queue, *index_key(index, block.start))
        *others, item_id = session.execute(f"SELECT {columns} {seek} 1 OFFSET {SIZE}", start).fetchone()
        kinds: list[int] = []
        if block.num:
            waits = f"w.claimable_at > {ALWAYS_MICROS}"
            text = f"SELECT state, waits, count(*) FROM (SELECT w.state, {waits} AS waits {seek} {SIZE}) GROUP BY state, waits"
            rows = session.execute(text, start).fetchall()
            counted = ([count * one for one in _COUNTS[kind_of(rank, waits)]] for rank, waits, count in rows)
            kinds = [*map(sum, zip(*counted, strict=True))]
        a, b = (*others, 0, 0)[:2]
        rest = _add_block(session, block.queue, index, (a, b, item_id))
        if block.num:
            held = session.execute(SQL["kinds"], (block.queue, block.num)).fetchone()
            moved = [had - kept for had, kept in zip(held, kinds, strict=True)]
            session.execute(_ADD.text, (*moved, rest.queue, rest.num))
            session.execute(_ADD.text, (*(-count for count in moved), block.queue, block.num))
        for each, count in ((block, rank - n), (rest, n - rank)):
            session.execute(SQL["add_to_block"], {**each._asdict(), "n": count}).fetchall()
        block = rest


def _rows(session: Session, queue: int, index: Index) -> Iterator[tuple[BlockKey, int, int]]:
    """Read the keys of all items in the index's order, in queue order with their states and whether they wait."""
    columns = ", ".join(f"w.{column}" for column in index.columns)
    kind = f"w.state, coalesce(w.claimable_at > {ALWAYS_MICROS}, 0)" if index is IN_ORDER else "0, 0"
    text = f"SELECT {columns}, {kind} FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? ORDER BY {columns}"
    for *others, item_id, rank, waits in session.execute(text, (queue,)):
        yield (*(*others, 0, 0)[:2], item_id), rank, waits


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
        is_order = index is IN_ORDER
        counted = [[0] * (1 + len(KIND_COLUMNS) * is_order) for _ in kept]
        at = 0
        for key, rank, waits in _rows(session, queue, index):
            while at + 1 < len(starts) and starts[at + 1] <= key:
                at += 1
            if not kept:
                yield f"{index.index} has items and no block"
                return
            sums = [1, *(_COUNTS[kind_of(rank, waits)] if is_order else ())]
            counted[at] = [*map(add, counted[at], sums)]
        wrong = [
            block.start for block, counts in zip(kept, counted, strict=True) if [*block.counts][: len(counts)] != counts
        ]
        if wrong or (kept and starts[0] != FIRST_BLOCK):
            yield f"{index.index} counts wrongly in the blocks from {wrong or starts[:1]}"
        if any(bool(block.num) is not is_order for block in kept):
            yield f"{index.index} has a block whose number is none"
