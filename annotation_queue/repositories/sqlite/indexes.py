"""The indexes of ``work`` along which pages are read, and how an order is read along one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from annotation_queue.repositories.sql.paths import Index, Indexes, Key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

IN_ORDER: Final = Index("work_in_order", ("priority_down", "created_at", "id"), 1)
BY_UPDATED: Final = Index("work_by_own_time", ("updated_at", "id"), only="w.is_told = 0")
"""The order of changes. The index has only some of the items; `queries.updates` finds the others."""
INDEXES: Final = (
    IN_ORDER,
    Index("work_by_created", ("created_at", "id"), 2),
    Index("work_by_started", ("call_started_at", "id"), 3),
    Index("work_by_started_created", ("call_started_at", "created_at", "id"), 4),
    Index("work_by_id", ("id",), 5),
    Index("work_by_op", ("op", "id"), 6),
    Index("work_by_op_created", ("op", "created_at", "id"), 7),
    BY_UPDATED,
)
"""The indexes that have whole orders. What annotating changes is not counted in blocks, except by state in queue order."""
COUNTED: Final = tuple(index for index in INDEXES if index.num)
"""The indexes whose items are counted in blocks."""

_INDEXES: Final = Indexes(INDEXES, {"call_op_name": "op", "priority": "priority_down"})
path_of: Final = _INDEXES.path_of
key_of: Final = _INDEXES.key_of


Segment: TypeAlias = tuple[str, Key]
"""A condition on columns of ``work``, with the values of its placeholders: some are equal, at most one is in a range."""


def before(
    columns: tuple[str, ...], ups: Sequence[bool], end: Key, *, inclusive: bool = False, shared: int = 0
) -> Iterator[Segment]:
    """Cut the items before a key into segments that an index counts.

    Args:
        columns: The columns of the order.
        ups: For each, whether the order ascends in it.
        end: Values of the first columns, or of all.
        inclusive: Whether items that have these values are wanted too.
        shared: The number of first columns in which only items with the same values are wanted.

    Yields:
        Segments that do not overlap, in order.
    """
    for last in range(shared, len(end)):
        sign = ("<" if ups[last] else ">") + ("=" if inclusive and last == len(end) - 1 else "")
        yield _segment(columns[: last + 1], ("=",) * last + (sign,)), end[: last + 1]


def between(
    columns: tuple[str, ...], ups: Sequence[bool], start: Key, end: Key, *, inclusive: bool = False
) -> Iterator[Segment]:
    """Cut the items from one key on, itself too, to another into segments that an index counts.

    Args:
        columns: The columns of the order.
        ups: For each, whether the order ascends in it.
        start: Values of all columns.
        end: Values of the first columns, or of all, not before ``start``.
        inclusive: Whether items that have the values of ``end`` are wanted too.

    Yields:
        Segments that do not overlap, in order.
    """
    shared = 0
    while shared < len(end) and start[shared] == end[shared]:
        shared += 1
    inside = shared == len(end)
    if inside and not inclusive:
        return
    if shared == len(columns):
        yield _segment(columns, ("=",) * shared), start
        return
    last = len(columns) - 1
    for j in range(last, shared - inside, -1):
        sign = (">" if ups[j] else "<") + ("=" if j == last else "")
        yield _segment(columns[: j + 1], ("=",) * j + (sign,)), start[: j + 1]
    if inside:
        return
    at_start = "=" if shared == last else ""
    at_end = "=" if inclusive and shared == len(end) - 1 else ""
    low, high = (">", "<") if ups[shared] else ("<", ">")
    signs = ("=",) * shared + (low + at_start, high + at_end)
    yield _segment((*columns[: shared + 1], columns[shared]), signs), (*start[: shared + 1], end[shared])
    yield from before(columns, ups, end, inclusive=inclusive, shared=shared + 1)


# There are few of them, and a page may need them by the hundred.
@lru_cache(maxsize=1_024)
def _segment(columns: tuple[str, ...], signs: tuple[str, ...]) -> str:
    return " AND ".join(f"w.{column} {sign} ?" for column, sign in zip(columns, signs, strict=True))
