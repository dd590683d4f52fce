"""Blocks: how many live items stand where in each index, kept in the transaction that adds, removes or moves items.

Nobody else adds to the queue or removes from it meanwhile, and nobody moves its items. Claims know nothing of blocks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Final

from annotation_queue.repositories.postgres.indexes import (
    FIRST_BLOCK,
    IN_ORDER,
    INDEXES,
    LIVE,
    NAMES,
    PICK,
    BlockKey,
    Place,
)
from annotation_queue.repositories.postgres.rows import (
    BLOCK_COUNTS,
    BLOCK_KEYS,
    BlockCountRow,
    BlockKeyRow,
    integers,
)
from annotation_queue.repositories.sql.paths import cuts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.paths import Index

SIZE: Final = 1_024
"""How many items a block has after a split. It is split when it has more than twice as many. A sum over a million items passes
nearly a thousand blocks then, each a row that is fetched. The items of a block or two are read one by one, at random if the
table was never vacuumed; with 512 items to a block the sum took longer than that."""
_SOUGHT: Final = 64
"""Up to so many keys of an index are looked up one by one; of more only the first and the last, to see if one block has all."""
_SHARED: Final = {"priority_down", "call_op_name"}
"""Columns in which very many items have the same value."""
_BY_NUM: Final = {index.num: index for index in INDEXES}


def places_of(session: Session, queue: int, nums: Sequence[int]) -> list[Place]:
    """Read where live items stand, in no order."""
    return [Place(*row) for row in session.rows("places", {"queue": queue, "nums": integers(nums)})]


def count_added(session: Session, queue: int, places: Sequence[Place]) -> None:
    """Count items that are new, or back; they stand in ``items`` by now.

    Args:
        session: The session, inside a write transaction in which nobody else adds to the queue.
        queue: The queue's number.
        places: Where they stand. The cost is linear in them, and in the blocks if they are strewn over an index.
    """
    _count(session, queue, {index: [*map(PICK[index], places)] for index in INDEXES}, 1)


def count_removed(session: Session, queue: int, places: Sequence[Place]) -> None:
    """Stop counting items; arguments and cost are those of `count_added`."""
    _count(session, queue, {index: [*map(PICK[index], places)] for index in INDEXES}, -1)


def count_moved(session: Session, queue: int, before: Sequence[BlockKey], after: Sequence[BlockKey]) -> None:
    """Count items anew that have other places in queue order, where they stand by now.

    Args:
        session: As for `count_added`, which has the cost too.
        queue: The queue's number.
        before: Their keys in queue order as they were.
        after: Their keys as they are.
    """
    _count(session, queue, {IN_ORDER: before}, -1)
    _count(session, queue, {IN_ORDER: after}, 1)


def _count(session: Session, queue: int, keys: Mapping[Index, Sequence[tuple[str, int, int, str]]], each: int) -> None:
    """Add to what blocks count, or take from it."""
    if not any(keys.values()):
        return
    starts = _starts(session, queue, keys)
    rows = []
    for index, own in keys.items():
        hit = starts[index]
        counted = {hit[0]: len(own)} if len(hit) == 1 else Counter(hit[bisect_right(hit, key) - 1] for key in own)
        # In one order, although nobody else is there to wait for.
        rows += [BlockCountRow(index.num, *start, each * n) for start, n in sorted(counted.items())]
    found = session.rows("add_to_blocks", {"queue": queue, **BLOCK_COUNTS.values(rows)})
    blocks = [*map(BlockCountRow._make, found)]
    emptied = [BlockKeyRow(*row[:-1]) for row in blocks if not row.n and row.id != FIRST_BLOCK.id]
    if emptied:
        session.rows("delete_blocks", {"queue": queue, **BLOCK_KEYS.values(emptied)})
    _split(session, queue, [row for row in blocks if row.n > 2 * SIZE])


def _starts(
    session: Session, queue: int, keys: Mapping[Index, Sequence[tuple[str, int, int, str]]]
) -> dict[Index, list[tuple[str, int, int, str]]]:
    """Find where those blocks begin into which keys fall, in order; others may be among them.

    Returns:
        At least one for each index: where its first block is to begin if it has none.
    """
    sought = {index: [*own] if len(own) <= _SOUGHT else [min(own), max(own)] for index, own in keys.items()}
    wanted = [BlockKeyRow(index.num, *key) for index, some in sought.items() for key in some]
    starts: dict[Index, list[tuple[str, int, int, str]]] = {index: [] for index in keys}
    for num, *start in session.rows("blocks_of", {"queue": queue, **BLOCK_KEYS.values(wanted)}):
        starts[_BY_NUM[num]].append(BlockKey(*start))
    strewn = [index for index, own in keys.items() if len(own) > _SOUGHT and len(starts[index]) > 1]
    starts |= {index: [] for index in strewn}
    if strewn:
        lanes = integers(index.num for index in strewn)
        for num, *start in session.rows("blocks_in", {"queue": queue, "lanes": lanes}):
            starts[_BY_NUM[num]].append(BlockKey(*start))
    return {index: sorted(found) or [FIRST_BLOCK] for index, found in starts.items()}


def _split(session: Session, queue: int, blocks: Sequence[BlockCountRow]) -> None:
    """Cut blocks into blocks of `SIZE`."""
    if not blocks:
        return
    rows: list[BlockCountRow] = []
    # Of a table that the server has not looked at yet it believes that all of it is sorted as soon.
    session.sort(allowed=False)
    for index in INDEXES:
        own = {BlockKey(*row[1:-1]): row.n for row in blocks if row.lane == index.num}
        if own:
            for start, new in _cut(session, queue, index, own).items():
                first, *ends = [*new, own[start]]
                rows.append(BlockCountRow(index.num, *start, first - own[start]))
                rows += [
                    BlockCountRow(index.num, *key, end - rank)
                    for (rank, key), end in zip(new.items(), ends, strict=True)
                ]
    session.sort(allowed=True)
    session.rows("add_to_blocks", {"queue": queue, **BLOCK_COUNTS.values(rows)})


def _cut(
    session: Session, queue: int, index: Index, blocks: Mapping[BlockKey, int]
) -> dict[BlockKey, dict[int, BlockKey]]:
    """Find at which keys blocks are cut: for each block the rank of such an item in it, and its key; ranks ascend.

    A block is cut where `cuts` says so, and between two groups of one priority or operation each, if it has items of no others:
    so a great group begins with a block, and nothing need be counted to find it.
    """
    keys: Iterable[BlockCountRow] = [BlockCountRow(index.num, *start, n) for start, n in blocks.items()]
    values = BLOCK_COUNTS.values([*keys])
    columns = ", ".join(f"i.{column}" for column in index.columns)
    names, first = NAMES[index], index.columns[0]
    is_first = f"lag(i.{first}) OVER () IS DISTINCT FROM i.{first}" if first in _SHARED else "FALSE"
    text = (
        f"SELECT t.op, t.a, t.b, t.id, k.divides, k.place, {', '.join(f'k.{column}' for column in index.columns)} "
        f"FROM unnest(?::text[], ?::bigint[], ?::bigint[], ?::text[], ?::bigint[]) AS t(op, a, b, id, n) CROSS JOIN LATERAL ("
        f"SELECT i.*, i.is_first AND count(*) FILTER (WHERE i.is_first) OVER () = 2 AS divides FROM ("
        f"SELECT {columns}, row_number() OVER () - 1 AS place, {is_first} AS is_first "
        f"FROM (SELECT {columns} FROM {LIVE[index]} AND i.queue = ? "
        f"AND ({columns}) >= ({', '.join(f't.{name}' for name in names)}) ORDER BY {columns} LIMIT t.n"
        ") AS i) AS i WHERE i.is_first OR i.place % ? = 0"
        ") AS k WHERE k.place > 0 AND (k.divides OR k.place % ? = 0) ORDER BY k.place"
    )
    given = [values[f"b_{name}"] for name in ("op", "a", "b", "id", "n")]
    found: dict[BlockKey, dict[int, BlockKey]] = {start: {} for start in blocks}
    for op, a, b, item_id, divides, place, *key in session.composed(text, (*given, queue, SIZE, SIZE)):
        start = BlockKey(op, a, b, item_id)
        if divides or place in cuts(blocks[start], SIZE):
            found[start][place] = BlockKey("", 0, 0, "")._replace(**dict(zip(names, key, strict=True)))
    return found
