"""What a repository keeps in memory of a SQLite file: only what can never be stale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from annotation_queue.items import AnnotationQueue

NEVER_MICROS: Final = (1 << 63) - 1
"""A time that never comes, in microseconds."""
QueueKey: TypeAlias = tuple[int, int, str]
"""What sorts in queue order: ``priority_down``, ``created_at`` and ``id``."""
FIRST_PLACE: Final[QueueKey] = (-NEVER_MICROS - 1, -NEVER_MICROS - 1, "")
Revision: TypeAlias = tuple[int, int, int, int, int, int]
"""What `ItemRecord.revision` is here: number and revision of the queue, number and revision of the item, and where it stands in
queue order, which never changes: ``priority_down`` and ``created_at``."""

LONGEST_KEPT: Final = 1_024
"""Longest text that is kept, in characters."""
_MOST_KEPT: Final = 65_536


class Cache:
    """What numbers in the dictionary tables stand for, queues by number and revision, and low-water marks, kept in memory.

    None of it ever changes once it is committed, so nothing kept can be stale; a mark is good as long as the queue's count
    that stands beside it is what the transaction reads. It is bounded: long texts are not kept, and everything is dropped
    when there is too much.
    """

    __slots__ = ("fields", "low_water_marks", "nums", "op_names", "queues", "texts")

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.nums: dict[str, int] = {}
        self.fields: dict[int, tuple[str, ...]] = {}
        self.op_names: dict[int, str] = {}
        self.queues: dict[tuple[int, int], AnnotationQueue] = {}
        self.low_water_marks: dict[tuple[int, int], tuple[int, QueueKey]] = {}

    def keep(self, learned: Cache) -> None:
        """Keep what a transaction learned, now that it is committed."""
        for name in self.__slots__:
            new = getattr(learned, name)
            if new:
                kept = getattr(self, name)
                if len(kept) > _MOST_KEPT:
                    kept.clear()
                kept.update(new)
