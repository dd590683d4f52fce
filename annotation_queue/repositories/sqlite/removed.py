"""What was removed: brought back, or erased for good, inside one write transaction."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.counters import counts_of
from annotation_queue.items import Purged
from annotation_queue.records import NEW, standing
from annotation_queue.repositories.sql.chunks import in_chunks
from annotation_queue.repositories.sql.rows import ALWAYS_MICROS, StoredQueue, micros_or_none
from annotation_queue.repositories.sqlite.blocks import KINDS, NEW_KIND, Places, count_added
from annotation_queue.repositories.sqlite.session import lists
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.repositories.sqlite.stretches import count_labels
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from annotation_queue.repositories.sqlite.session import Session

_ITEM_ERASING: Final = ("erase_progresses", "forget_removed", "erase_items")
_QUEUE_ERASING: Final = (
    "erase_log_of_queue",
    "erase_progresses_of_queue",
    "erase_reservations_of_queue",
    "erase_work_of_queue",
    "erase_removed_of_queue",
    "erase_items_of_queue",
    "erase_blocks_of_queue",
    "erase_counters_of_queue",
    "erase_ops_of_queue",
    "erase_queue",
)
"""The statements that erase items and queues, in an order in which nothing refers to what is gone."""


class _Removed(NamedTuple):
    """The columns of ``removed_by_id``."""

    num: int
    id: str
    call_id: str
    priority_down: int
    created_at: int
    call_started_at: int
    op: int
    is_touched: int


def restore_items(session: Session, queue: StoredQueue, item_ids: Sequence[str], at: datetime) -> int:
    """Bring removed items back; the result is that of `Repository.restore_items`."""
    restored = 0
    for rows in _restorable(session, queue.num, item_ids):
        _bring_back(session, queue, rows, to_micros(at))
        restored += len(rows)
    if restored:
        session.reopened(queue.num)
    return restored


def count_restorable(session: Session, queue: int, item_ids: Sequence[str]) -> int:
    """Count what `restore_items` would bring back."""
    return sum(map(len, _restorable(session, queue, item_ids)))


def _restorable(session: Session, queue: int, item_ids: Sequence[str]) -> Iterator[list[_Removed]]:
    """Find removed items of a queue that can come back, a list at a time."""
    found: set[str] = set()
    for wanted in lists([*dict.fromkeys(item_ids)]):
        rows = map(_Removed._make, session.execute(SQL["removed_by_id"], {"ids": wanted, "queue": queue}).fetchall())
        # Of two that have the same call, the first one comes back.
        by_call: dict[str, _Removed] = {}
        for row in rows:
            if row.call_id not in found:
                by_call.setdefault(row.call_id, row)
        for calls in lists([*by_call]):
            for (call_id,) in session.execute(SQL["taken_calls"], (calls, queue)).fetchall():
                del by_call[call_id]
        found |= by_call.keys()
        yield [*by_call.values()]


def _bring_back(session: Session, queue: StoredQueue, rows: Sequence[_Removed], at: int) -> None:
    if not rows:
        return
    nums = {"nums": json.dumps([row.num for row in rows]), "at": at}
    for statement in ("restore_work", "reserve", "forget_removed", "restore_items"):
        session.execute(SQL[statement], nums)
    session.executemany(SQL["count_op"], ((n, op) for op, n in Counter(row.op for row in rows).items()))
    touched = [row for row in rows if row.is_touched]
    nums_touched = json.dumps([row.num for row in touched])
    count_labels(session, queue.num, nums_touched, n=1, entries=session.log_end(queue.num).entries)
    counts = Counter({key: n * (len(rows) - len(touched)) for key, n in counts_of(NEW, ()).items()})
    records = session.records(queue.queue.project_id, [row.id for row in touched], queue.queue.id) if touched else {}
    kinds = dict.fromkeys((row.num for row in rows), NEW_KIND)
    changed: dict[int, int | None] = {}
    for row in touched:
        # Policies may have changed meanwhile.
        progresses = records[row.id].progresses
        now = standing(progresses, queue.queue)
        counts.update(counts_of(now, progresses))
        claimable_at = micros_or_none(now.claimable_at)
        changed[row.num] = claimable_at
        kinds[row.num] = KINDS[now.state, claimable_at is not None and claimable_at > ALWAYS_MICROS]
        if claimable_at is not None and ALWAYS_MICROS < claimable_at < session.next_expiry(queue.num):
            session.set_next_expiry(queue.num, claimable_at)
    session.execute(SQL["refresh_items"], {"standings": json.dumps(changed)})
    session.count(queue.num, counts)
    places = Places(
        priority_down=[row.priority_down for row in rows],
        created_at=[row.created_at for row in rows],
        id=[row.id for row in rows],
        call_started_at=[row.call_started_at for row in rows],
        op=[row.op for row in rows],
    )
    count_added(session, queue.num, places, [*kinds.values()])


def count_purgeable(session: Session, project_id: str, removed_before: datetime) -> Purged:
    """Count what `purge` would erase."""
    asked = {"project_id": project_id, "before": to_micros(removed_before)}
    items, queues = session.execute(SQL["count_purgeable"], asked).fetchone()
    return Purged(items=items, queues=queues)


def purge(session: Session, project_id: str, removed_before: datetime) -> tuple[int, int]:
    """Erase what was removed; gives how many items of queues that stay, and how many queues."""
    asked = {"project_id": project_id, "before": to_micros(removed_before)}
    queues = [num for (num,) in session.execute(SQL["purgeable_queues"], asked).fetchall()]
    for queue in queues:
        for statement in _QUEUE_ERASING:
            session.execute(SQL[statement], {"queue": queue})
    items: dict[int, list[int]] = {}
    for queue, num in session.execute(SQL["purgeable_items"], asked).fetchall():
        items.setdefault(queue, []).append(num)
    for queue, found in items.items():
        of_queue = {"queue": queue, "nums": json.dumps(found)}
        entries = session.execute(SQL["erase_entries"], of_queue).rowcount
        session.execute(SQL["count_erased"], {"queue": queue, "n": entries})
        for part in in_chunks(found):
            for statement in _ITEM_ERASING:
                session.execute(SQL[statement], {"nums": json.dumps(part)})
    if queues or items:
        session.free_numbers()
    return sum(map(len, items.values())), len(queues)
