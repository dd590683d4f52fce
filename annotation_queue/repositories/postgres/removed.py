"""What was removed: brought back, or erased for good, inside one write transaction."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Final, NamedTuple

from annotation_queue.counters import counts_of
from annotation_queue.items import Purged
from annotation_queue.records import NEW, standing
from annotation_queue.repositories.postgres.blocks import count_added, places_of
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.postgres.session import Session
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.chunks import in_chunks
from annotation_queue.repositories.sql.rows import StoredQueue, micros_or_none
from annotation_queue.repository import CountsRemoved
from annotation_queue.values import to_micros

_TABLES: Final = ("log", "progresses", "item_ids", "removed", "items")
_QUEUE_TABLES: Final = (
    "log",
    "progresses",
    "item_ids",
    "calls",
    "work",
    "removed",
    "items",
    "counters",
    "openings",
    "blocks",
    "long_texts",
    "queues",
)
"""The statements that erase items and queues are called after the tables."""


class _Removed(NamedTuple):
    """The columns of ``removed_by_id``."""

    num: int
    call_id: str


def restore_items(session: Session, queue: StoredQueue, item_ids: Sequence[str], at: datetime) -> int:
    """Bring removed items back, while nobody else adds to the queue; the result is that of `Repository.restore_items`."""
    counts: Counter[tuple[str | None, str]] = Counter()
    restored = 0
    lists = [*_restorable(session, queue.num, item_ids)]
    # All of them first, in the order in which a purge takes them: otherwise each could wait for what the other one has.
    for part in in_chunks(sorted(chain.from_iterable(lists))):
        session.rows("lock_removed", {"queue": queue.num, "nums": integers(part)})
    for found in lists:
        wanted = {"queue": queue.num, "nums": integers(found), "at": to_micros(at)}
        nums = [num for (num,) in session.rows("restore_items", wanted)]
        restored += len(nums)
        counts.update(_stand_again(session, queue, nums))
        count_added(session, queue.num, places_of(session, queue.num, nums))
    session.count(queue.num, counts, opened=restored > 0)
    return restored


def _restorable(session: Session, queue: int, item_ids: Sequence[str]) -> Iterator[list[int]]:
    """Find the numbers of removed items of a queue that can come back, a list at a time."""
    found: set[str] = set()
    for part in in_chunks([*dict.fromkeys(map(key_of, item_ids))]):
        rows = map(_Removed._make, session.rows("removed_by_id", {"ids": part, "queue": queue}))
        # Of two that have the same call, the first one comes back.
        by_call: dict[str, int] = {}
        for row in rows:
            if row.call_id not in found:
                by_call.setdefault(row.call_id, row.num)
        for (call_id,) in session.rows("taken_calls", {"call_ids": [*by_call], "queue": queue}):
            del by_call[call_id]
        found |= by_call.keys()
        yield [*by_call.values()]


class RemovedCounts(CountsRemoved):
    """The part of the repository that counts what was removed, inside read snapshots."""

    @abstractmethod
    def _reading(self, *, custom: bool = False, ordered: bool = False) -> Session:
        """Begin to read."""

    def count_restorable(self, project_id: str, queue_id: str, item_ids: Sequence[str]) -> int:
        """See `CountsRemoved`. Cost: linear in the ids."""
        with self._reading(custom=True) as session:
            return sum(map(len, _restorable(session, session.queue(project_id, queue_id).num, item_ids)))

    def count_purgeable(self, project_id: str, removed_before: datetime) -> Purged:
        """See `CountsRemoved`. Cost: linear in what is counted."""
        with self._reading(custom=True) as session:
            asked = {"project_id": project_id, "before": to_micros(removed_before)}
            ((items, queues),) = session.rows("count_purgeable", asked)
        return Purged(items=items, queues=queues)


def _stand_again(session: Session, queue: StoredQueue, nums: Sequence[int]) -> Counter[tuple[str | None, str]]:
    """Derive the standings of restored items, since policies may have changed, and say what they count for."""
    rows = session.live_rows(queue, nums, with_payload=False)
    counts: Counter[tuple[str | None, str]] = Counter()
    for num, record in session.records_of(queue, rows.values()).items():
        now = standing(record.progresses, queue.queue) if record.progresses else NEW
        counts.update(counts_of(now, record.progresses))
        if record.progresses:
            claimable_at = micros_or_none(now.claimable_at)
            session.rows("stand_again", {"queue": queue.num, "num": num, "claimable_at": claimable_at})
    return counts


def purge(session: Session, project_id: str, removed_before: datetime) -> tuple[int, int]:
    """Erase what was removed; gives how many items of queues that stay, and how many queues."""
    asked = {"project_id": project_id, "before": to_micros(removed_before)}
    queues = [num for (num,) in session.rows("lock_purgeable_queues", asked)]
    for queue in queues:
        for table in _QUEUE_TABLES:
            session.rows(f"erase_{table}_of_queue", {"queue": queue})
    items: dict[int, list[int]] = {}
    for queue, num in session.rows("lock_purgeable_items", asked):
        items.setdefault(queue, []).append(num)
    for queue, nums in items.items():
        keys: set[str] = set()
        for part in in_chunks(nums):
            for table in _TABLES:
                keys.update(key for (key,) in session.rows(f"erase_{table}", {"queue": queue, "nums": integers(part)}))
        if keys:
            # Two statements: what others made use of until they were kept from it, the first one would not see.
            session.rows("lock_long_texts", {"queue": queue, "keys": sorted(keys)})
            session.rows("erase_long_texts", {"queue": queue, "keys": sorted(keys)})
    return sum(map(len, items.values())), len(queues)
