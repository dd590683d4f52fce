"""Granting claims, to many workers at once and none of them behind another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annotation_queue.counters import live_and_unfinished
from annotation_queue.items import explain_unavailable, make_claim
from annotation_queue.moves import grant
from annotation_queue.records import change_of, one_finishes, view
from annotation_queue.repositories.postgres.cache import FIRST_PLACE
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.rows import time_or_none
from annotation_queue.states import aggregate, claimable_at
from annotation_queue.values import lease_end, to_micros

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from annotation_queue.items import AnnotationQueue, Claim, Unavailable
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.postgres.cache import QueueKey
    from annotation_queue.repositories.postgres.session import LiveQueue, Session


def first_place(session: Session, num: int, queue: AnnotationQueue | None, annotator: str) -> QueueKey:
    """Find a place before which an annotator can claim no open item; the greater it is, the less has to be passed.

    Where settling an item leaves it open for others, an annotator who has done many would otherwise pass all of them at every
    claim. A mark is good as long as no item of the queue was opened since, which the queue's counters tell.

    Args:
        session: The session.
        num: The number of the queue.
        queue: The queue, as it was at any time; None where that is not known.
        annotator: The key of the annotator.
    """
    if queue is not None and one_finishes(queue):
        return FIRST_PLACE
    # Read before the place is looked for: what is opened in between makes the mark worthless, not wrong.
    openings = session.value("openings", (num,))
    known, mark = session.cache.low_water_marks.get((num, annotator), (-1, FIRST_PLACE))
    if known != openings:
        mark = FIRST_PLACE
    row = session.row("first_unsettled", (num, *mark, annotator)) or session.row("last_open", (num,))
    place: QueueKey = mark if row is None else (row[0], row[1], row[2])
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
    opened, expired = _wanted(num, annotator, start, to_micros(at), limit)
    found = session.rows("lock_claimable", (*opened, *expired, num))
    queue = session.live_queue(found[0][:3] if found else None, project_id, queue_id)
    expires_at = lease_end(at, lease or queue[2].lease)
    rows = [row[3:] for row in found if row[3] is not None]
    rows.sort(key=lambda row: (row[14], row[12], session.text(num, row[2])))
    claims: list[Claim] = []
    writes: list[tuple[ItemRecord, Change]] = []
    # Their progresses are read only now: whoever had an item before it was locked may have changed them after it was chosen.
    for row, record in zip(rows, session.records_of(queue, rows).values(), strict=True):
        free_at = claimable_at(record.progresses, annotator_id, *queue[2].policies)
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


def _wanted(
    num: int, annotator: str, start: QueueKey, now: int, limit: int
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Give the values of ``open_items`` and of ``expired_items``."""
    return (num, *start, now, annotator, limit), (num, now, now, annotator, limit)


def explain(session: Session, queue: LiveQueue, annotator_id: str, at: datetime) -> Unavailable | None:
    """Say at one instant why an annotator can claim nothing; None where they can.

    Args:
        session: The session, inside a read snapshot.
        queue: The queue.
        annotator_id: Who wanted to work.
        at: Now, UTC.
    """
    annotator = key_of(annotator_id)
    start = first_place(session, queue[0], queue[2], annotator)
    opened, expired = _wanted(queue[0], annotator, start, to_micros(at), 1)
    if any(session.rows("is_claimable", (*opened, *expired))[0]):
        return None
    live, unfinished = live_and_unfinished(session.counts([queue[0]]).get(queue[0], {}))
    retry_at = None
    if unfinished:
        waiting = session.value("retry_at", (annotator, queue[0]))
        own = session.value("own_retry_at", (annotator, queue[0], *start))
        retry_at = time_or_none(min((moment for moment in (waiting, own) if moment is not None), default=None))
    return explain_unavailable(live=live, unfinished=unfinished, retry_at=retry_at)
