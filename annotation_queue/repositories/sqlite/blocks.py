"""Blocks: how many items stand where in each index, kept in the transaction that changes what they count."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from functools import cache
from itertools import product
from operator import add, itemgetter, sub
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar, cast

from annotation_queue.repositories.sql.paths import cuts
from annotation_queue.repositories.sql.rows import ALWAYS_MICROS, STATES
from annotation_queue.repositories.sqlite.indexes import COUNTED, IN_ORDER
from annotation_queue.repositories.sqlite.statements import COUNT, SQL, CounterRow, counter_row
from annotation_queue.states import UNSTARTED
from annotation_queue.values import MIN_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annotation_queue.repositories.sql.paths import Index, Key
    from annotation_queue.repositories.sqlite.session import Session

BlockKey: TypeAlias = tuple[int, int, str]
"""Where a block begins: the index's key, with 0 for a column that is not there."""
FIRST_BLOCK: Final[BlockKey] = (MIN_INTEGER, MIN_INTEGER, "")
"""Before everything; this block is never deleted."""
SIZE: Final = 1_024
"""How many items a block has after a split. It is split when it has more than twice as many."""
_MANY: Final = 1_000
"""From how many keys on all blocks between them are read at once."""


_Label = TypeVar("_Label")


class Places(NamedTuple):
    """Where items stand: the columns of ``work`` that indexes with blocks have, a list of each.

    Annotating changes none of them.
    """

    priority_down: Sequence[int]
    created_at: Sequence[int]
    id: Sequence[str]
    call_started_at: Sequence[int]
    op: Sequence[int]


class Kind(NamedTuple):
    """What blocks of queue order count apart. It is counted by the thousand, so that it has numbers only.

    Args:
        rank: That of the aggregate state.
        waits: Whether leases keep the item from everybody, reserved or not.
    """

    rank: int
    waits: bool = False


NEW_KIND: Final = Kind(STATES.index(UNSTARTED))
"""That of an item that nobody touched."""
KIND_COLUMNS: Final = (*STATES, "waiting")
"""What the columns of ``counters`` count of a block."""
_OF_BLOCK: Final = 2
"""Which kind of row of ``counters`` is a block's; migrations/0002.sql lists all kinds."""


@cache
def kind_of(rank: int, waits: int | None) -> Kind:
    """Give the kind of an item by its row: the rank of its state, and whether it is claimable only after some lease."""
    return Kind(rank, bool(waits))


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
    """A block among those of all queues.

    Args:
        queue: Its queue.
        lane: The number of its index.
        a: With the next two, where it begins.
        b: See ``a``.
        id: See ``a``.
        num: Its own number; 0 outside queue order.
        n: How many items it had when it was read.
    """

    queue: int
    lane: int
    a: int
    b: int
    id: str
    num: int
    n: int

    @property
    def start(self) -> BlockKey:
        """Where it begins."""
        return self.a, self.b, self.id

    @property
    def key(self) -> tuple[int, int, int, int, str]:
        """What identifies it."""
        return self[:5]


def index_key(index: Index, block: BlockKey) -> Key:
    """Narrow a block's key to that of its index."""
    return (*block[: len(index.columns) - 1], block[2])


def _block_key(key: Key) -> BlockKey:
    """Widen the key of any index to that of a block."""
    a, b = (*key[:-1], 0, 0)[:2]
    return cast("BlockKey", (a, b, key[-1]))


def count_added(session: Session, queue: int, places: Places, kinds: Sequence[Kind]) -> None:
    """Count items that are new, or back; they stand in ``work`` by now.

    The cost is that of the blocks which they fall into.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        places: Where they stand.
        kinds: The kind of each.
    """
    for index in COUNTED:
        _count(session, queue, index, _keys(index, places), _kinds(index, kinds))


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


KINDS: Final = {(state, waits): Kind(rank, waits) for rank, state in enumerate(STATES) for waits in (False, True)}
"""All kinds that there are, by state."""
_COUNTS: Final = {
    kind: (*(int(kind.rank == rank) for rank in range(len(STATES))), int(kind.waits)) for kind in KINDS.values()
}
"""What an item of each kind adds to what is counted."""
_DIFFERENCES: Final = {
    (before, after): tuple(map(sub, _COUNTS[after], _COUNTS[before]))
    for before, after in product(KINDS.values(), repeat=2)
}
"""What a change of an item's kind adds to what is counted."""


def moved_blocks(session: Session, queue: int, moves: Sequence[Move]) -> list[CounterRow]:
    """Say what is added to the counters of blocks when the kinds of items change.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        moves: The items.
    """
    if len(moves) == 1:
        (move,) = moves
        ((*_, num, _),) = session.execute(SQL["block_of"], (queue, IN_ORDER.num, *move.place)).fetchall()
        return [counter_row(queue, _OF_BLOCK, num, *_DIFFERENCES[move.before, move.after])]
    by_key = {move.place: _DIFFERENCES[move.before, move.after] for move in moves}
    return [
        counter_row(queue, _OF_BLOCK, block.num, *_sum_of(fallen))
        for block, fallen in _by_block(session, queue, IN_ORDER, [*by_key], [*by_key.values()])
    ]


def _sum_of(rows: Mapping[tuple[int, ...], int]) -> list[int]:
    """Add up rows of numbers of the same length, each so many times."""
    return [*map(sum, zip(*([number * times for number in row] for row, times in rows.items()), strict=True))]


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
    _uncount(session, queue, IN_ORDER, [*before], [*before.values()])
    _count(session, queue, IN_ORDER, [*after], [*after.values()])


def _keys(index: Index, places: Places) -> list[Key]:
    """List the keys of items in an index."""
    return [*zip(*(getattr(places, column) for column in index.columns), strict=True)]


def _kinds(index: Index, kinds: Sequence[Kind]) -> Sequence[Kind]:
    """List the kinds that an index counts apart: outside queue order all count as one."""
    return kinds if index is IN_ORDER else [NEW_KIND] * len(kinds)


def _by_block(
    session: Session, queue: int, index: Index, keys: Sequence[Key], labels: Sequence[_Label]
) -> Iterator[tuple[_Block, Mapping[_Label, int]]]:
    """Count which keys fall into which block of an index; its first block is made if it is missing.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        index: The index.
        keys: Keys, in any order, no two alike.
        labels: By what those of a block are counted, for each key.

    Yields:
        Each block that they fall into, in order, with how many keys have which label. The cost is that of sorting the keys, and
        of these blocks for a few keys, of all blocks between the first and the last key for many.
    """
    if not keys:
        return
    # Nothing is done key by key but by functions that need no interpreter for it.
    # Numbers alone are compared faster than keys, and what is nearly in order is soon in order.
    ordered = sorted(keys, key=itemgetter(0))
    ordered.sort()
    by_key = None if labels.count(labels[0]) == len(labels) else dict(zip(keys, labels, strict=True))
    start = 0
    for block, end in (_ends_of_few if len(keys) < _MANY else _ends)(session, queue, index, ordered):
        if start < end:
            fallen = ordered[start:end]
            yield block, {labels[0]: end - start} if by_key is None else Counter(map(by_key.__getitem__, fallen))
        start = end


def _ends(session: Session, queue: int, index: Index, keys: Sequence[Key]) -> Iterator[tuple[_Block, int]]:
    """Say where each block from that of the first key on to that of the last one ends in a sorted list of keys."""
    block = _block_of(session, queue, index, keys[0])
    values = (queue, index.num, *block.start, *_block_key(keys[-1]))
    end = 0
    for row in session.execute(SQL["blocks_up_to"], values).fetchall():
        following = _Block(queue, index.num, *row)
        end = bisect_left(keys, index_key(index, following.start), end)
        yield block, end
        block = following
    yield block, len(keys)


def _ends_of_few(session: Session, queue: int, index: Index, keys: Sequence[Key]) -> Iterator[tuple[_Block, int]]:
    """Say the same of those blocks alone that keys fall into, which are looked for one by one."""
    end = 0
    while end < len(keys):
        block = _block_of(session, queue, index, keys[end])
        following = None
        if end + 1 < len(keys):
            values = (queue, index.num, *_block_key(keys[end]))
            following = session.execute(SQL["block_after"], values).fetchone()
        end = len(keys) if following is None else bisect_left(keys, index_key(index, following), end)
        yield block, end


def _block_of(session: Session, queue: int, index: Index, key: Key) -> _Block:
    """Find the block that a key falls into, or make the first one."""
    found = session.execute(SQL["block_of"], (queue, index.num, *_block_key(key))).fetchone()
    return _add_block(session, queue, index, FIRST_BLOCK) if found is None else _Block(queue, index.num, *found)


def _add_block(session: Session, queue: int, index: Index, start: BlockKey) -> _Block:
    """Make a block that counts nothing yet; in queue order it gets a number."""
    num = 0
    if index is IN_ORDER:
        (num,) = session.execute(SQL["next_block"], (queue,)).fetchone()
        session.execute(SQL["add_kinds"], {"queue": queue, "num": num})
    block = _Block(queue, index.num, *start, num, 0)
    session.execute(SQL["add_block"], block)
    return block


def count_removed(session: Session, queue: int, places: Places, kinds: Sequence[Kind]) -> None:
    """Stop counting items.

    The cost is that of the blocks which they fall into.

    Args:
        session: The session, inside a write transaction.
        queue: The queue's number.
        places: Where they stand.
        kinds: The kind of each.
    """
    for index in COUNTED:
        _uncount(session, queue, index, _keys(index, places), _kinds(index, kinds))


def _count(session: Session, queue: int, index: Index, keys: Sequence[Key], kinds: Sequence[Kind]) -> None:
    added = [*_by_block(session, queue, index, keys, kinds)]
    _add(session, added, 1)
    for block, fallen in added:
        n = block.n + sum(fallen.values())
        if n > 2 * SIZE:
            _split(session, block, index, n)


def _uncount(session: Session, queue: int, index: Index, keys: Sequence[Key], kinds: Sequence[Kind]) -> None:
    fewer: list[tuple[_Block, Mapping[Kind, int]]] = []
    emptied: list[_Block] = []
    for block, fallen in _by_block(session, queue, index, keys, kinds):
        if block.n == sum(fallen.values()) and block.start != FIRST_BLOCK:
            emptied.append(block)
        else:
            fewer.append((block, fallen))
    _add(session, fewer, -1)
    session.executemany(SQL["delete_block"], (block.key for block in emptied))
    session.executemany(SQL["delete_kinds"], ((block.queue, block.num) for block in emptied if block.num))


def _add(session: Session, changes: Sequence[tuple[_Block, Mapping[Kind, int]]], sign: int) -> None:
    """Add to what blocks count, or take from it if the sign is -1; the kinds are counted in queue order only."""
    session.executemany(SQL["add_to_block"], ((sign * sum(kinds.values()), *block.key) for block, kinds in changes))
    rows = []
    for block, kinds in changes:
        if block.num:
            sums = _sum_of({_COUNTS[kind]: sign * times for kind, times in kinds.items()})
            rows.append(counter_row(block.queue, _OF_BLOCK, block.num, *sums))
    COUNT.run(session, rows)


def _split(session: Session, block: _Block, index: Index, n: int) -> None:
    """Cut a block of a number of items into blocks of `SIZE`, the last of which may have nearly twice as many."""
    columns = ", ".join(f"w.{column}" for column in index.columns)
    marks = ", ".join("?" for _ in index.columns)
    seek = f"FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? AND ({columns}) >= ({marks}) ORDER BY {columns} LIMIT"
    for rank in cuts(n, SIZE):
        start = (block.queue, *index_key(index, block.start))
        key = session.execute(f"SELECT {columns} {seek} 1 OFFSET {SIZE}", start).fetchone()
        kinds: list[int] = []
        if block.num:
            waits = f"w.claimable_at > {ALWAYS_MICROS}"
            text = f"SELECT state, waits, count(*) FROM (SELECT w.state, {waits} AS waits {seek} {SIZE}) GROUP BY state, waits"
            rows = session.execute(text, start).fetchall()
            counted = ([count * one for one in _COUNTS[kind_of(rank, waits)]] for rank, waits, count in rows)
            kinds = [*map(sum, zip(*counted, strict=True))]
        rest = _add_block(session, block.queue, index, _block_key(key))
        if block.num:
            held = session.execute(SQL["kinds"], (block.queue, block.num)).fetchone()
            moved = [had - kept for had, kept in zip(held, kinds, strict=True)]
            moves = {rest.num: moved, block.num: [-count for count in moved]}
            COUNT.run(session, [counter_row(block.queue, _OF_BLOCK, num, *counts) for num, counts in moves.items()])
        session.executemany(SQL["add_to_block"], ((rank - n, *block.key), (n - rank, *rest.key)))
        block = rest


def _rows(session: Session, queue: int, index: Index) -> Iterator[tuple[BlockKey, int, int]]:
    """Read the keys of all items in the index's order, in queue order with their states and whether they wait."""
    columns = ", ".join(f"w.{column}" for column in index.columns)
    kind = f"w.state, coalesce(w.claimable_at > {ALWAYS_MICROS}, 0)" if index is IN_ORDER else "0, 0"
    text = f"SELECT {columns}, {kind} FROM work AS w INDEXED BY {index.index} WHERE w.queue = ? ORDER BY {columns}"
    for *key, rank, waits in session.execute(text, (queue,)):
        yield _block_key(tuple(key)), rank, waits


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
