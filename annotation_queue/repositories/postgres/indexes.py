"""The indexes along which pages are read, which have the live items, and where an item stands in each."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.repositories.sql.paths import Index, Indexes, Key
from annotation_queue.values import MAX_INTEGER, MIN_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable

IN_ORDER: Final = Index("calls_in_order", ("priority_down", "created_at", "id"), 1)
INDEXES: Final = (
    IN_ORDER,
    Index("items_by_created", ("created_at", "id"), 2),
    Index("items_by_started", ("call_started_at", "id"), 3),
    Index("items_by_started_created", ("call_started_at", "created_at", "id"), 4),
    Index("items_by_id", ("id",), 5),
    Index("items_by_op", ("call_op_name", "id"), 6),
    Index("items_by_op_created", ("call_op_name", "created_at", "id"), 7),
)
"""They have live items only. Annotating changes none of them."""
LIVE: Final = {
    index: "calls AS i WHERE TRUE" if index is IN_ORDER else "items AS i WHERE i.deleted_at IS NULL"
    for index in INDEXES
}
"""For each index what its items are read from."""
_INDEXES: Final = Indexes(INDEXES, {"priority": "priority_down"})
path_of: Final = _INDEXES.path_of
key_of_values: Final = _INDEXES.key_of


class BlockKey(NamedTuple):
    """Where a block begins: the index's key, with nothing for a column that is not there."""

    op: str
    a: int
    b: int
    id: str


FIRST_BLOCK: Final = BlockKey("", MIN_INTEGER, MIN_INTEGER, "")
"""Before everything; this block is never deleted."""
_NOTHING: Final = BlockKey("", 0, 0, "")
"""What stands for columns that an index has not."""
BEHIND_ALL: Final = BlockKey(chr(0x10FFFF) * 256, MAX_INTEGER, MAX_INTEGER, chr(0x10FFFF) * 256)
"""Behind everything that an index may hold: a text is a key of 255 characters at most there."""


class Place(NamedTuple):
    """The columns of an item that indexes with blocks have.

    Args:
        nothing: Stands for a number that an index has not.
        no_op: Stands for the operation where an index has none.
    """

    priority_down: int
    created_at: int
    call_started_at: int
    call_op_name: str
    id: str
    nothing: int = 0
    no_op: str = ""


def _names_in(index: Index) -> tuple[str, ...]:
    """Give the columns of ``blocks`` that hold the columns of an index."""
    numbers = iter("ab")
    named = {"call_op_name": "op", "id": "id"}
    return tuple(named.get(column) or next(numbers) for column in index.columns)


NAMES: Final = {index: _names_in(index) for index in INDEXES}
"""For each index the columns of ``blocks`` that hold its columns."""


def _pick_of(index: Index) -> Callable[[Place], tuple[str, int, int, str]]:
    held = dict(zip(NAMES[index], index.columns, strict=True))
    return attrgetter(held.get("op", "no_op"), held.get("a", "nothing"), held.get("b", "nothing"), "id")


PICK: Final = {index: _pick_of(index) for index in INDEXES}
"""For each index what picks the key of an item, as wide as that of a block."""


def low(index: Index, key: Key) -> BlockKey:
    """Give the key before which all items stand whose first columns have lesser values."""
    return _filled(index, key, FIRST_BLOCK) if key else FIRST_BLOCK


def high(index: Index, key: Key) -> BlockKey:
    """Give the key before which all items stand whose first columns have these values, or lesser ones."""
    if len(key) == len(index.columns):
        # No text stands between one and the same with the least character behind it.
        return low(index, (*key[:-1], f"{key[-1]}\x01"))
    return _filled(index, key, BEHIND_ALL)


def _filled(index: Index, key: Key, rest: BlockKey) -> BlockKey:
    """Fill the columns that an index has with the values of a key, and those behind it with others."""
    names = NAMES[index]
    others = {name: getattr(rest, name) for name in names[len(key) :]}
    return _NOTHING._replace(**dict(zip(names, key, strict=False)), **others)  # type: ignore[arg-type]
