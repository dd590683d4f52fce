"""Granting claims, to many workers at once and none of them behind another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annotation_queue.counters import live_and_unfinished
from annotation_queue.items import explain_unavailable, make_claim
from annotation_queue.moves import grant
from annotation_queue.records import change_of, one_finishes, view
from annotation_queue.repositories.postgres.cache import FIRST_PLACE, Entry, Mark, QueueKey, Version
from annotation_queue.repositories.postgres.rows import HeldRow, split
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.chunks import in_chunks
from annotation_queue.repositories.sql.rows import ItemRow, time_or_none
from annotation_queue.states import IN_PROGRESS, aggregate, claimable_at
from annotation_queue.values import from_micros, lease_end, to_micros

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from annotation_queue.items import AnnotationQueue, Claim, Unavailable
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import StoredQueue


_ENDS: Final = ("retry_at", "own_retry_at", "reserved_retry_at")
"""The statements that each find when an annotator could claim one kind of items."""


def first_place(session: Session, num: int, queue: AnnotationQueue | None, annotator: str) -> QueueKey:
    """Find a place before which an annotator can claim no open item; the greater it is, the less has to be passed.

    If settling an item leaves it open for others, an annotator who has done many would otherwise pass all of them at every
    claim. A mark is good as long as no item of the queue was opened since, which the queue's counters tell, and
    nothing that the annotator settled was undone by restoring the schema to an earlier time, which the log tells.

    Args:
        session: The session.
        num: The number of the queue.
        queue: The queue, as it was at any time; None if that is not known.
        annotator: The key of the annotator.
    """
    if queue is not None and one_finishes(queue):
        return FIRST_PLACE
    known = session.cache.low_water_marks.get((num, annotator))
    entry = Entry(-1, -1, -1) if known is None or known.newest is None else known.newest
    # Read before the place is looked for: what is opened in between makes the mark worthless, not wrong.
    values = {"queue": num, "annotator": annotator, **entry._asdict()}
    ((openings, is_there, *newest),) = session.rows("mark_evidence", values)
    is_good = known is not None and known.openings == openings and (known.newest is None or is_there)
    mark = known.place if known is not None and is_good else FIRST_PLACE
    asked = {"queue": num, "annotator": annotator, **mark._asdict()}
    row = session.row("first_unsettled", asked) or session.row("last_open", (num,))
    place = mark if row is None else QueueKey(*row)
    session.cache.set_low_water_mark(
        num, annotator, Mark(openings, None if newest[0] is None else Entry(*newest), place)
    )
    return place


def claim(
    session: Session,
    num: int,
    project_id: str,
    queue_id: str,
    annotator_id: str,
    *,
    limit: int,
    at: datetime,
    lease: timedelta | None,
) -> tuple[Claim, ...]:
    """Grant claims inside a write transaction that shares the queue.

    Arguments and errors are those of `Repository.claim`, but for ``num``, by which the queue is locked, and
    `session.Renumbered` if that is the number of another queue.

    Returns:
        The claims in queue order. None of them may be since somebody else has what is left locked; `explain` tells.
    """
    annotator = key_of(annotator_id)
    start = first_place(session, num, session.cache.newest(queue_id), annotator)
    found = session.rows("lock_claimable", _wanted(num, annotator, start, at, limit))
    chosen = [tuple(split(row, Version, ItemRow)) for row in found]
    queue = session.locked_version(chosen[0][0] if chosen else None, project_id, queue_id)
    expires_at = lease_end(at, lease or queue.queue.lease)
    if queue.queue.is_paused:
        return ()
    rows = [row for _, row in chosen if row.num is not None]
    rows.sort(key=lambda row: (row.priority_down, row.created_at, session.text(num, row.id)))
    claims: list[Claim] = []
    writes: list[tuple[ItemRecord, Change]] = []
    # Their progresses are read only now: whoever had an item before it was locked may have changed them after it was chosen.
    for row, record in zip(rows, session.records_of(queue, rows).values(), strict=True):
        free_at = claimable_at(record.progresses, annotator_id, *queue.queue.policies)
        if len(claims) == limit or free_at is None or free_at > at:
            continue
        progresses, transitions = grant(
            record.progresses, record.item_id, annotator_id, at=at, expires_at=expires_at, steps=record.steps
        )
        change = change_of(record, progresses, transitions)
        writes.append((record, change))
        own = progresses[-1]
        item = view(session.item_of(row, queue), aggregate((own,)), updated_at=change.updated_at)
        claims.append(make_claim(item=item, annotator_id=annotator_id, token=own.token, expires_at=expires_at))
    if writes:
        session.store(writes)
    return tuple(claims)


def _wanted(num: int, annotator: str, start: QueueKey, at: datetime, limit: int) -> dict[str, object]:
    """Give the values of ``open_items`` and ``expired_items``."""
    return {"queue": num, "annotator": annotator, "at": to_micros(at), "limit": limit, **start._asdict()}


def explain(session: Session, queue: StoredQueue, annotator_id: str, at: datetime) -> Unavailable | None:
    """Say at one instant why an annotator can claim nothing; None if they can.

    Args:
        session: The session, inside a read snapshot.
        queue: The queue.
        annotator_id: Who wanted to work.
        at: Now, UTC.
    """
    annotator = key_of(annotator_id)
    start = first_place(session, queue.num, queue.queue, annotator)
    wanted = _wanted(queue.num, annotator, start, at, 1)
    if not queue.queue.is_paused and session.value("is_claimable", wanted):
        return None
    live, unfinished = live_and_unfinished(session.counts([queue.num]).get(queue.num, {}))
    retry_at, is_assigned = None, False
    if unfinished:
        own = {"queue": queue.num, "annotator": annotator}
        moments = [session.value(each, {**own, **start._asdict()}) for each in _ENDS]
        retry_at = time_or_none(min((moment for moment in moments if moment is not None), default=None))
        is_assigned = retry_at is None and session.value("is_assigned", own)
    return explain_unavailable(
        live=live,
        unfinished=unfinished,
        retry_at=retry_at,
        is_paused=queue.queue.is_paused,
        is_assigned=is_assigned,
    )


def holds(session: Session, queue: StoredQueue, annotator_id: str) -> tuple[Claim, ...]:
    """Read what an annotator holds; the result is that of `Repository.holds`."""
    rows = session.rows("held_by", {"queue": queue.num, "annotator": key_of(annotator_id)})
    held = [HeldRow(*row) for row in rows]
    items: dict[int, ItemRow] = {}
    for chunk in in_chunks([row.num for row in held]):
        items |= session.live_rows(queue, chunk)
    return tuple(
        make_claim(
            item=view(session.item_of(items[row.num], queue), (IN_PROGRESS, annotator_id)),
            annotator_id=annotator_id,
            token=row.token,
            expires_at=from_micros(row.lease_expires_at),
        )
        for row in held
    )
