"""Granting claims inside one write transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annotation_queue.counters import live_and_unfinished
from annotation_queue.items import explain_unavailable, make_claim
from annotation_queue.moves import grant
from annotation_queue.records import change_of, one_finishes, view
from annotation_queue.repositories.sql.rows import time_or_none
from annotation_queue.repositories.sqlite.cache import FIRST_PLACE, NEVER_MICROS
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.states import aggregate
from annotation_queue.values import lease_end, to_micros

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from annotation_queue.items import Claim, Unavailable
    from annotation_queue.repositories.sql.rows import StoredQueue
    from annotation_queue.repositories.sqlite.cache import QueueKey
    from annotation_queue.repositories.sqlite.session import Session


def claim(
    session: Session,
    project_id: str,
    queue_id: str,
    annotator_id: str,
    *,
    limit: int,
    at: datetime,
    lease: timedelta | None,
) -> tuple[Claim, ...] | Unavailable:
    """Grant claims; arguments, result and errors are those of `Repository.claim`."""
    queue, annotator = session.claim_context(project_id, queue_id, annotator_id)
    expires_at = lease_end(at, lease or queue[2].lease)
    claims: list[Claim] = []
    while len(claims) < limit and (row := _first_claimable(session, queue, annotator, to_micros(at))) is not None:
        record, item = session.record_of(row, queue), session.item_of(row, queue[2])
        progresses, transitions = grant(record.progresses, item.id, annotator_id, at=at, expires_at=expires_at)
        session.store(record, change_of(record, progresses, transitions))
        own = progresses[-1]
        claims.append(
            make_claim(
                item=view(item, aggregate((own,)), updated_at=at),
                annotator_id=annotator_id,
                token=own.token,
                expires_at=expires_at,
            )
        )
        annotator = annotator or session.text_num(annotator_id)
    return tuple(claims) or _unavailable(session, queue, annotator)


def _first_claimable(session: Session, queue: StoredQueue, annotator: int, now: int) -> tuple[Any, ...] | None:
    """Find the first item in queue order among those that wait for nothing and those whose lease ran out."""
    start = _first_unsettled(session, queue, annotator)
    found = session.execute(SQL["first_open"], (queue[0], *start, annotator, now)).fetchone()
    return _earlier_expired(session, queue[0], annotator, now, found)


def _first_unsettled(session: Session, queue: StoredQueue, annotator: int) -> QueueKey:
    """Find the place of the first open item that the annotator has not settled, and mark it.

    Where settling an item leaves it open for others, an annotator who has done many would otherwise pass all of them at
    every claim.
    """
    if not annotator or one_finishes(queue[2]):
        return FIRST_PLACE
    mark = session.mark(queue[0], annotator)
    place = session.execute(SQL["first_unsettled"], (queue[0], *mark, annotator)).fetchone()
    if place is None:
        place = session.execute(SQL["last_open"], (queue[0],)).fetchone() or mark
    if place != mark:
        session.set_low_water_mark(queue[0], annotator, place)
    return place  # type: ignore[no-any-return]


def _earlier_expired(
    session: Session, queue: int, annotator: int, now: int, found: tuple[Any, ...] | None
) -> tuple[Any, ...] | None:
    """Take an item whose lease ran out instead of the one found, where it comes first."""
    next_expiry = session.next_expiry(queue)
    if next_expiry <= now:
        expired = session.execute(SQL["first_expired"], (queue, now, annotator, now)).fetchone()
        if expired is None:
            # Nothing ran out that this annotator could have; look again when the next lease does.
            (least,) = session.execute(SQL["least_expiry"], (queue,)).fetchone()
            if least != next_expiry:
                session.set_next_expiry(queue, NEVER_MICROS if least is None else least)
        elif found is None or _place(expired) < _place(found):
            found = expired
    return found


def _place(row: tuple[Any, ...]) -> QueueKey:
    """Pick what sorts in queue order out of the columns of ``live_item``."""
    return row[14], row[12], row[2]


def _unavailable(session: Session, queue: StoredQueue, annotator: int) -> Unavailable:
    live, unfinished = live_and_unfinished(session.counts(queue[0]))
    retry_at = None
    if unfinished:
        (waiting,) = session.execute(SQL["retry_at"], (annotator, queue[0])).fetchone()
        start = _first_unsettled(session, queue, annotator)
        (own,) = session.execute(SQL["own_retry_at"], (annotator, queue[0], *start)).fetchone()
        retry_at = time_or_none(min((moment for moment in (waiting, own) if moment is not None), default=None))
    return explain_unavailable(live=live, unfinished=unfinished, retry_at=retry_at)
