"""Adding and removing items, and what follows for them when a queue's policies change, inside one write transaction."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, cast

import attrs

from annotation_queue.counters import FINISHED, counts_of
from annotation_queue.errors import Conflict
from annotation_queue.records import NEW, Change, standing
from annotation_queue.repositories.sql.chunks import in_chunks, make_new, spans
from annotation_queue.repositories.sql.rows import StoredQueue, json_or_none, micros_or_none, refreshed
from annotation_queue.repositories.sqlite.blocks import count_added, count_removed
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from annotation_queue.items import AnnotationQueue, NewItem, QueueItem
    from annotation_queue.repositories.sqlite.cache import Revision
    from annotation_queue.repositories.sqlite.session import Session


def add_items(
    session: Session, queue: StoredQueue, new: Sequence[NewItem], make: Callable[[NewItem, AnnotationQueue], QueueItem]
) -> list[QueueItem]:
    """Add items of which no two have the same call, if their calls are not taken.

    Returns:
        What was added, in order.
    """
    (first,) = session.execute(SQL["next_item"]).fetchone()
    added: list[QueueItem] = []
    numbers: dict[tuple[str, str], int] = {}
    for chunk in in_chunks(new):
        taken: set[str] = set()
        for wanted in _lists([each.call_id for each in chunk]):
            taken.update(call_id for (call_id,) in session.execute(SQL["taken_calls"], (wanted, queue.num)).fetchall())
        made = make_new(chunk, taken, make, queue.queue)
        _insert(session, queue.num, first + len(added), made, numbers)
        added += made
    session.count(queue.num, {key: n * len(added) for key, n in counts_of(NEW, ()).items()})
    if added:
        session.opened(queue.num)
    return added


def _insert(
    session: Session, queue: int, first: int, items: Sequence[QueueItem], numbers: dict[tuple[str, str], int]
) -> None:
    ids = [item.id for item in items]
    for wanted in _lists(ids):
        taken = session.execute(SQL["taken_ids"], (wanted,)).fetchone()
        if taken is not None:
            raise Conflict(f"the item id {taken[0]!r} is taken")
    if len(set(ids)) < len(ids):
        raise Conflict("an item's id is taken")

    def text(value: str) -> int:
        key = ("text", value)
        if key not in numbers:
            numbers[key] = session.text_num(value)
        return numbers[key]

    def op(name: str) -> int:
        key = ("op", name)
        if key not in numbers:
            numbers[key] = session.op_num(queue, name)
        return numbers[key]

    session.executemany(
        SQL["add_item"],
        (
            (
                num,
                queue,
                item.id,
                item.call_id,
                to_micros(item.call_started_at),
                micros_or_none(item.call_ended_at),
                item.call_trace_id,
                text(json.dumps(item.display_fields, ensure_ascii=False)),
                json_or_none(item.payload),
            )
            for num, item in enumerate(items, first)
        ),
    )
    work = [
        (
            num,
            queue,
            ~item.priority,
            to_micros(item.created_at),
            item.id,
            to_micros(item.call_started_at),
            op(item.call_op_name),
            text(item.added_by or item.created_by),
            to_micros(item.updated_at),
        )
        for num, item in enumerate(items, first)
    ]
    session.executemany(SQL["add_work"], work)
    session.executemany(SQL["count_op"], ((n, num) for num, n in Counter(row[6] for row in work).items()))
    count_added(session, queue, [row[2:7] for row in work])


def _lists(texts: Sequence[str]) -> Iterator[str]:
    """Write texts as JSON lists which are all small enough for SQLite, however long the texts are."""
    return (json.dumps(texts[span]) for span in spans(map(len, texts)))


def remove_items(session: Session, queue: StoredQueue, item_ids: Sequence[str], at: datetime) -> int:
    """Delete items softly; what is deleted is as for `Repository.remove_items`."""
    removed: set[int] = set()
    for wanted in _lists(item_ids):
        nums = {num for (num,) in session.execute(SQL["live_nums_by_id"], (wanted, queue[0])).fetchall()}
        for num in sorted(nums):
            record = session.record_by_num(num, queue)
            counts = counts_of(standing(record.progresses, queue[2]), record.progresses)
            session.count(queue[0], {key: -n for key, n in counts.items()})
            count_removed(session, queue[0], num)
            session.execute(SQL["delete_item"], (to_micros(at), num))
            session.execute(SQL["delete_work"], (num,))
        removed |= nums
    return len(removed)


def refresh(session: Session, before: StoredQueue, after: AnnotationQueue) -> None:
    """Derive the standing of every touched item of a queue again, because its policies changed.

    Items that nobody holds are alike where as many completed and skipped them, and change together; the others one by one.

    Args:
        session: The session.
        before: The queue as it was.
        after: The queue as it is stored by now.
    """
    num, revision, was = before
    for completed, skipped, n in session.execute(SQL["kinds_without_hold"], (num,)).fetchall():
        change = refreshed(completed, skipped, was, after)
        if change is not None:
            session.execute(SQL["refresh_kind"], (change.claimable_at, num, completed, skipped))
            session.count(num, {(None, FINISHED): n * change.finished})
    for (item,) in session.execute(SQL["held_nums"], (num,)).fetchall():
        record = session.record_by_num(item, before)
        old, new = standing(record.progresses, was), standing(record.progresses, after)
        if new != old:
            now = (num, revision + 1, item, *cast("Revision", record.revision)[3:])
            session.store(attrs.evolve(record, revision=now), Change((), (), old, new, record.updated_at))
    session.opened(num)
