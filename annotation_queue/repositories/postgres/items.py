"""Adding and removing items, and what follows for them when a queue's policies change, inside one write transaction."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import attrs
from psycopg.errors import UniqueViolation

from annotation_queue.counters import FINISHED, counts_of
from annotation_queue.errors import Conflict
from annotation_queue.records import NEW, Change, standing
from annotation_queue.repositories.postgres.blocks import count_added, count_removed, places_of
from annotation_queue.repositories.postgres.indexes import Place
from annotation_queue.repositories.postgres.rows import ITEMS, NewItemRow, integers
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.chunks import in_chunks, spans
from annotation_queue.repositories.sql.rows import json_or_none, micros_or_none, refreshed
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from annotation_queue.items import NewItem, QueueItem
    from annotation_queue.repositories.postgres.cache import Revision
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import StoredQueue

_UPDATED_AT_ONCE: Final = 20_000
_COUNTED_AT_ONCE: Final = 50_000
"""A block that is cut once is read once: so items are counted in blocks many at a time, but in less than a second."""
_CALLS: Final = "calls"
"""The table that has each call of a queue once."""


class CallsChanged(Exception):
    """Which calls of a queue are taken has changed since that was read."""


def make_and_store(
    new: Sequence[NewItem],
    make: Callable[[NewItem], QueueItem],
    *,
    taken: Callable[[Sequence[str]], set[str]],
    store: Callable[[Sequence[QueueItem], Sequence[str]], None],
) -> list[QueueItem]:
    """Make items of what is new, no two of the same call, and store them; again as long as others add or remove meanwhile.

    Args:
        new: What to add.
        make: Makes an item. It is the caller's code: it may take its time, and nothing is locked meanwhile. What it made is
            thrown away if somebody else adds or removes one of the calls.
        taken: Finds those of a list of calls that are taken.
        store: As `add_items`, in a transaction of its own.

    Returns:
        What was added, in order.
    """
    while True:
        left_out = set[str]()
        for chunk in in_chunks([each.call_id for each in new]):
            left_out |= taken(chunk)
        # All of them anew each time: items of one moment stand in the order of their ids, which is that in which they are made.
        items = [make(each) for each in new if each.call_id not in left_out]
        with suppress(CallsChanged):
            store(items, [*left_out])
            return items


def taken_calls(session: Session, queue: int, call_ids: Sequence[str]) -> set[str]:
    """Find those of a list of calls that live items of a queue have."""
    keys = {key_of(call_id): call_id for call_id in call_ids}
    return {keys[key] for (key,) in session.rows("taken_calls", {"call_ids": [*keys], "queue": queue})}


def add_items(session: Session, queue: StoredQueue, items: Sequence[QueueItem], taken: Sequence[str]) -> None:
    """Add items of which no two have the same call; nobody else may add to the queue meanwhile.

    Args:
        session: The session.
        queue: The queue.
        items: What to add.
        taken: The calls of what is left out, because live items of the queue had them before it was locked.

    Raises:
        CallsChanged: One of those is free by now, or the call of one of the items is taken.
        Conflict: An item's id is taken.
    """
    if any(len(taken_calls(session, queue.num, chunk)) < len(chunk) for chunk in in_chunks(taken)):
        raise CallsChanged
    places: list[Place] = []
    for chunk in in_chunks(items):
        places += [
            Place(
                ~item.priority,
                to_micros(item.created_at),
                to_micros(item.call_started_at),
                key_of(item.call_op_name),
                key_of(item.id),
            )
            for item in chunk
        ]
        payloads = [json_or_none(item.payload) for item in chunk]
        for span in spans(
            len(payload or "") + _characters(item) for payload, item in zip(payloads, chunk, strict=True)
        ):
            try:
                _insert(session, queue.num, chunk[span], payloads[span])
            except UniqueViolation as error:
                if (error.diag.table_name or "").startswith(_CALLS):
                    raise CallsChanged from error
                raise Conflict("an item's id is taken") from error
        if len(places) >= _COUNTED_AT_ONCE:
            count_added(session, queue.num, places)
            places.clear()
    count_added(session, queue.num, places)
    session.count(queue.num, {key: n * len(items) for key, n in counts_of(NEW, ()).items()}, opened=bool(items))


def _characters(item: QueueItem) -> int:
    """Count what an item takes on its way to the server beside its payload."""
    texts = (item.id, item.call_id, item.call_op_name, item.call_trace_id, item.added_by or "")
    return sum(map(len, (*texts, *item.display_fields, *item.assignees)))


def _insert(session: Session, queue: int, items: Sequence[QueueItem], payloads: Sequence[str | None]) -> None:
    rows = [
        NewItemRow(
            id=item.id,
            call_id=item.call_id,
            call_started_at=to_micros(item.call_started_at),
            call_ended_at=micros_or_none(item.call_ended_at),
            call_op_name=item.call_op_name,
            call_trace_id=item.call_trace_id,
            display_fields=json.dumps(item.display_fields, ensure_ascii=False),
            added_by=item.added_by or item.created_by,
            created_at=to_micros(item.created_at),
            updated_at=to_micros(item.updated_at),
            priority_down=~item.priority,
            payload=payload,
            assignees=json.dumps([*map(key_of, item.assignees)], ensure_ascii=False) if item.assignees else None,
        )
        for item, payload in zip(items, payloads, strict=True)
    ]
    session.long_keys((queue, text) for item in items for text in item.assignees)
    session.long_keys(
        (queue, text)
        for row in rows
        for text in (row.id, row.call_id, row.call_op_name, row.call_trace_id, row.added_by)
    )
    session.rows("add_items", {"queue": queue, **ITEMS.values([_keyed(row) for row in rows])})


def _keyed(row: NewItemRow) -> NewItemRow:
    return row._replace(
        id=key_of(row.id),
        call_id=key_of(row.call_id),
        call_op_name=key_of(row.call_op_name),
        call_trace_id=key_of(row.call_trace_id),
        added_by=key_of(row.added_by),
    )


def remove_items(session: Session, queue: StoredQueue, nums: Sequence[int], at: datetime) -> int:
    """Delete live items softly, given by their numbers; the result is that of `Repository.remove_items`."""
    for span in spans([1] * len(nums)):
        places = places_of(session, queue.num, nums[span])
        session.rows("delete_items", {"queue": queue.num, "nums": integers(nums[span]), "at": to_micros(at)})
        count_removed(session, queue.num, places)
    return len(nums)


def refresh(session: Session, before: StoredQueue, after: StoredQueue) -> None:
    """Derive the standing of every touched item of a queue again, because its policies changed.

    Items that nobody holds change together if as many annotators completed and skipped them; the others change in lists.
    Nobody else may change items of the queue meanwhile.

    Args:
        session: The session.
        before: The queue as it was.
        after: The queue as it is stored by now.
    """
    num, was = before.num, before.queue
    counts: Counter[tuple[str | None, str]] = Counter()
    for completed, skipped, n, first, last in session.rows("kinds_without_hold", {"queue": num}):
        new = refreshed(completed, skipped, was, after.queue)
        if new is not None:
            # However many there are, no statement takes long.
            for start in range(first, last + 1, _UPDATED_AT_ONCE):
                alike = {"queue": num, "completed": completed, "skipped": skipped, "claimable_at": new.claimable_at}
                session.rows("refresh_kind", {**alike, "first": start, "behind": start + _UPDATED_AT_ONCE})
            counts[None, FINISHED] += n * new.finished
    held = [item for (item,) in session.rows("held_nums", {"queue": num})]
    for span in spans([1] * len(held)):
        writes = []
        for record in session.records_of(before, session.live_rows(before, held[span]).values()).values():
            old, current = standing(record.progresses, was), standing(record.progresses, after.queue)
            if current != old:
                now = cast("Revision", record.revision)._replace(queue_revision=after.revision)
                writes.append((attrs.evolve(record, revision=now), Change((), (), old, current, record.updated_at)))
        if writes:
            session.store(writes)
    session.count(num, counts, opened=True)
