"""Spans of queue order in which there is something: neighbouring blocks that count it, the others passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.repositories.sqlite.blocks import FIRST_BLOCK
from annotation_queue.repositories.sqlite.indexes import IN_ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from annotation_queue.repositories.sql.paths import Key
    from annotation_queue.repositories.sqlite.blocks import BlockKey
    from annotation_queue.repositories.sqlite.session import Session


class Span(NamedTuple):
    """A part of queue order.

    Args:
        low: The key that it begins at.
        high: The key that it ends before; None for the end of the queue.
    """

    low: BlockKey
    high: BlockKey | None


_MOST: Final = 4
"""How many blocks the first span has at most; each further one may have twice as many as the one before."""


def spans(session: Session, queue: int, counted: str, start: Key | None = None, *, up: bool = True) -> Iterator[Span]:
    """Find the spans that hold something.

    Args:
        session: The session.
        queue: The queue's number.
        counted: What is looked for: columns of a block's counters, joined by ``+``.
        start: The first columns of the key to begin at, or all of them; None to begin at the first item, or the last.
        up: Whether to go upwards.

    Yields:
        The spans in that direction; the first one is that of the whole block which the key falls into. The cost is linear in
        the blocks passed, one for some 1,024 items.
    """
    end = None
    where = ""
    values: tuple[int | str, ...] = (queue, IN_ORDER.num)
    if start is not None:
        begins, end = _around(session, queue, start)
        where, values = f"AND (b.a, b.b, b.id) {'>=' if up else '<='} (?, ?, ?)", (*values, *begins)
    way = "ASC" if up else "DESC"
    blocks = session.execute(
        f"SELECT b.a, b.b, b.id, {counted} FROM blocks AS b CROSS JOIN counters AS c ON c.queue = b.queue AND c.kind = 2 "
        f"AND c.num = b.num AND c.item = 0 WHERE b.queue = ? AND b.lane = ? {where} "
        f"ORDER BY b.a {way}, b.b {way}, b.id {way}",
        values,
    )
    yield from _upwards(blocks) if up else _downwards(blocks, end)


def _upwards(blocks: Iterable[tuple[int, int, str, int]]) -> Iterator[Span]:
    low: BlockKey | None = None
    taken, most = 0, _MOST
    for a, b, item_id, n in blocks:
        block = (a, b, item_id)
        if low is not None and (not n or taken == most):
            yield Span(low, block)
            low, taken, most = None, 0, 2 * most
        if n:
            low = low or block
            taken += 1
    if low is not None:
        yield Span(low, None)


def _downwards(blocks: Iterable[tuple[int, int, str, int]], end: BlockKey | None) -> Iterator[Span]:
    low, high = None, end
    taken, most = 0, _MOST
    for a, b, item_id, n in blocks:
        block = (a, b, item_id)
        if low is not None and (not n or taken == most):
            yield Span(low, high)
            low, high, taken, most = None, low, 0, 2 * most
        if n:
            low = block
            taken += 1
        else:
            high = block
    if low is not None:
        yield Span(low, high)


def _around(session: Session, queue: int, start: Key) -> tuple[BlockKey, BlockKey | None]:
    """Find where the block begins that a key falls into, the last that begins before it, and where the next one does."""
    names, marks = ", ".join(("a", "b", "id")[: len(start)]), ", ".join("?" for _ in start)
    block = f"SELECT a, b, id FROM blocks WHERE queue = ? AND lane = ? AND ({names})"
    place = (queue, IN_ORDER.num, *start)
    before = session.execute(f"{block} <= ({marks}) ORDER BY a DESC, b DESC, id DESC LIMIT 1", place).fetchone()
    after = session.execute(f"{block} > ({marks}) ORDER BY a, b, id LIMIT 1", place).fetchone()
    return before or FIRST_BLOCK, after
