"""Granting claims, to many workers at once and none of them behind another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annotation_queue.counters import live_and_unfinished
from annotation_queue.items import explain_unavailable, make_claim
from annotation_queue.moves import grant
from annotation_queue.records import change_of, one_finishes, view
from annotation_queue.repositories.postgres.cache import FIRST_PLACE, QueueKey, Version
from annotation_queue.repositories.postgres.rows import split
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.rows import ItemRow, time_or_none
from annotation_queue.states import aggregate, claimable_at
from annotation_queue.values import lease_end, to_micros

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from annotation_queue.items import AnnotationQueue, Claim, Unavailable
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import StoredQueue


def first_place(session: Session, num: int, queue: AnnotationQueue | None, annotator: str) -> QueueKey:
    """Find a place before which an annotator can claim no open item; the greater it is, the less has to be passed.

    If settling an item leaves it open for others, an annotator who has done many would otherwise pass all of them at every
    claim. A mark is good as long as no item of the queue was opened since, which the queue's counters tell.

    Args:
        session: The session.
        num: The number of the queue.
        queue: The queue, as it was at any time; None if that is not known.
        annotator: The key of the annotator.
    """
    if queue is not None and one_finishes(queue):
        return FIRST_PLACE
    # Read before the place is looked for: what is opened in between makes the mark worthless, not wrong.
    openings = session.value("openings", (num,))
    known, mark = session.cache.low_water_marks.get((num, annotator), (-1, FIRST_PLACE))
    if known != openings:
        mark = FIRST_PLACE
    asked = {"queue": num, "annotator": annotator, **mark._asdict()}
    row = session.row("first_unsettled", asked) or session.row("last_open", (num,))
    place = mark if row is None else QueueKey(*row)
    session.cache.set_low_water_mark(num, annotator, openings, place)
    return place


def claim(
    session: Session,
    project_id: str,
    queue_id: str,
    annotator_id: str,
    *,
    limit: int,
    at: datetime,
    lease: timedelta | None,
) -> tuple[Claim, ...]:
    """Grant claims inside a write transaction that shares the queue; arguments and errors are those of `Repository.claim`.

    Returns:
        The claims in queue order. None of them may be since somebody else has what is left locked; `explain` tells.
    """
    num, annotator = session.num(queue_id), key_of(annotator_id)
    start = first_place(session, num, session.cache.newest(queue_id), annotator)
    found = session.rows("lock_claimable", _wanted(num, annotator, start, at, limit))
    chosen = [tuple(split(row, Version, ItemRow)) for row in found]
    queue = session.live_queue(chosen[0][0] if chosen else None, project_id, queue_id)
    expires_at = lease_end(at, lease or queue.queue.lease)
    rows = [row for _, row in chosen if row.num is not None]
    rows.sort(key=lambda row: (row.priority_down, row.created_at, session.text(num, row.id)))
    claims: list[Claim] = []
    writes: list[tuple[ItemRecord, Change]] = []
    # Their progresses are read only now: whoever had an item before it was locked may have changed them after it was chosen.
    for row, record in zip(rows, session.records_of(queue, rows).values(), strict=True):
        free_at = claimable_at(record.progresses, annotator_id, *queue.queue.policies)
        if len(claims) == limit or free_at is None or free_at > at:
            continue
        progresses, transitions = grant(record.progresses, record.item_id, annotator_id, at=at, expires_at=expires_at)
        writes.append((record, change_of(record, progresses, transitions)))
        own = progresses[-1]
        item = view(session.item_of(row, queue), aggregate((own,)), updated_at=at)
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
    if session.value("is_claimable", wanted):
        return None
    live, unfinished = live_and_unfinished(session.counts([queue.num]).get(queue.num, {}))
    retry_at = None
    if unfinished:
        own = {"queue": queue.num, "annotator": annotator}
        moments = session.value("retry_at", own), session.value("own_retry_at", {**own, **start._asdict()})
        retry_at = time_or_none(min((moment for moment in moments if moment is not None), default=None))
    return explain_unavailable(live=live, unfinished=unfinished, retry_at=retry_at)
