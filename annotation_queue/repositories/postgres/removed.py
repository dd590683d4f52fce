"""What was removed: brought back, or erased for good, inside one write transaction."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.counters import counts_of
from annotation_queue.records import NEW, standing
from annotation_queue.repositories.postgres.blocks import count_added, places_of
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.chunks import in_chunks
from annotation_queue.repositories.sql.rows import micros_or_none
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import StoredQueue

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
    for part in in_chunks([*dict.fromkeys(map(key_of, item_ids))]):
        rows = map(_Removed._make, session.rows("removed_by_id", {"ids": part, "queue": queue.num}))
        # Of two that have the same call, the first one comes back.
        by_call: dict[str, int] = {}
        for row in rows:
            by_call.setdefault(row.call_id, row.num)
        for (call_id,) in session.rows("taken_calls", {"call_ids": [*by_call], "queue": queue.num}):
            del by_call[call_id]
        wanted = {"queue": queue.num, "nums": integers(by_call.values()), "at": to_micros(at)}
        nums = [num for (num,) in session.rows("restore_items", wanted)]
        restored += len(nums)
        counts.update(_stand_again(session, queue, nums))
        count_added(session, queue.num, places_of(session, queue.num, nums))
    session.count(queue.num, counts, opened=restored > 0)
    return restored


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
        for part in in_chunks(nums):
            for table in _TABLES:
                session.rows(f"erase_{table}", {"queue": queue, "nums": integers(part)})
    return sum(map(len, items.values())), len(queues)
