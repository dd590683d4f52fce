"""What a repository keeps in memory of a SQLite file, and how it knows that the file is still the one it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.construction import quick
from annotation_queue.repositories.sql.claimed import Claimed

if TYPE_CHECKING:
    from annotation_queue.repositories.sql.rows import StoredQueue

NEVER_MICROS: Final = (1 << 63) - 1
"""A time that never comes, in microseconds."""


class QueueKey(NamedTuple):
    """What sorts in queue order."""

    priority_down: int
    created_at: int
    id: str


queue_key: Final = quick(QueueKey)
FIRST_PLACE: Final = QueueKey(-NEVER_MICROS - 1, -NEVER_MICROS - 1, "")
"""Before every item."""
LAST_PLACE: Final = QueueKey(NEVER_MICROS, NEVER_MICROS, "\U0010ffff")
"""Behind every item: none was created at so late a time."""


class Revision(NamedTuple):
    """What `ItemRecord.revision` is here.

    Args:
        queue: The queue's number.
        queue_revision: How often the queue was changed.
        item: The item's number.
        revision: How often the item was changed.
        last_entry: The number of its last entry in the log; None if it has none.
        is_told: Whether that entry tells when it last changed, 0 or 1.
        priority_down: Where the item stands in queue order, as long as it has this revision.
        created_at: The same, in microseconds.
        updated_at: When the item last changed, in microseconds.
        annotator: The number of the annotator whose state the item has; None for nobody's.
    """

    queue: int
    queue_revision: int
    item: int
    revision: int
    last_entry: int | None
    is_told: int
    priority_down: int
    created_at: int
    updated_at: int
    annotator: int | None


make_revision: Final = quick(Revision)


class LowWaterMark(NamedTuple):
    """A place before which an annotator has settled every open item of a queue.

    Args:
        place: The place.
        reopenings: How often items of the queue had become open when it was found.
        entry: The number of the queue's last entry in the log then.
        identity: What that entry is about.
    """

    place: QueueKey
    reopenings: int
    entry: int
    identity: tuple[int, ...]


class Epoch(NamedTuple):
    """A row of ``epochs``: a moment of a file's life that no other file has."""

    num: int
    salt: int


LONGEST_KEPT: Final = 1_024
"""Longest text that is kept, in characters."""
LONGEST_QUEUE_KEPT: Final = 16_384
"""How many characters the texts of a queue may have together so that it is kept."""
_MOST_CHARACTERS: Final = 8 << 20
OVERHEAD: Final = 128
"""What a thing that is kept costs besides its characters."""


class Cache:
    """What numbers in the dictionary tables stand for, queues by number, and low-water marks, as a file had them at an epoch.

    Until something is purged, which ends all epochs before, none of it ever changes once it is committed but a queue, which is
    kept with its revision. So what is kept is good in every transaction that finds the epoch in its file. A mark is good as
    long as the log has the entry that stands beside it, and the queue the same number of reopenings. The cache is bounded: long
    texts are not kept, and everything is dropped when it is too much.

    Args:
        epoch: An epoch of the file, not earlier than anything that is kept was written.
    """

    __slots__ = ("claimed", "epoch", "fields", "low_water_marks", "nums", "op_names", "queues", "size", "texts")

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        self.size = 0
        """How many characters are kept, more or less."""
        self.texts: dict[int, str] = {}
        self.nums: dict[str, int] = {}
        self.fields: dict[int, tuple[str, ...]] = {}
        self.op_names: dict[int, str] = {}
        self.queues: dict[int, StoredQueue] = {}
        self.low_water_marks: dict[tuple[int, int], LowWaterMark] = {}
        self.claimed = Claimed()

    def keep(self, learned: Cache) -> None:
        """Keep what a transaction learned, now that it is committed."""
        if self.size + learned.size > _MOST_CHARACTERS:
            self.size = 0
            for kept in (self.texts, self.nums, self.fields, self.op_names, self.queues, self.low_water_marks):
                kept.clear()
        # First the epoch, so that nobody uses what is newer without asking for it.
        self.epoch = max(self.epoch, learned.epoch)
        self.size += learned.size
        self.texts.update(learned.texts)
        self.nums.update(learned.nums)
        self.fields.update(learned.fields)
        self.op_names.update(learned.op_names)
        self.queues.update(learned.queues)
        self.low_water_marks.update(learned.low_water_marks)


class Caches:
    """The cache of a repository, which is replaced when the file is another one.

    It is not emptied, since a transaction that began on the old file may still learn.
    """

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current = Cache(Epoch(0, 0))

    def replace(self, epoch: Epoch) -> Cache:
        """Begin anew with a file that is not the one that was known."""
        self.current = cache = Cache(epoch)
        return cache
