"""Granting claims inside one write transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annotation_queue.counters import live_and_unfinished
from annotation_queue.items import explain_unavailable, make_claim
from annotation_queue.moves import grant
from annotation_queue.records import change_of, one_finishes, view
from annotation_queue.repositories.sql.rows import ItemRow, time_or_none
from annotation_queue.repositories.sqlite.cache import FIRST_PLACE, LAST_PLACE, NEVER_MICROS, QueueKey
from annotation_queue.repositories.sqlite.changes import record_after, save
from annotation_queue.repositories.sqlite.spans import spans
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.states import IN_PROGRESS, aggregate
from annotation_queue.values import from_micros, lease_end, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta

    from annotation_queue.items import Claim, QueueItem, Unavailable
    from annotation_queue.repositories.sql.rows import StoredQueue
    from annotation_queue.repositories.sqlite.session import Session
    from annotation_queue.states import Progress

_ENDS: Final = ("low_a", "low_b", "low_id", "high_a", "high_b", "high_id")


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
    queue, annotator, is_assigned = session.claim_context(project_id, queue_id, annotator_id)
    expires_at = lease_end(at, lease or queue.queue.lease)
    claims: list[Claim] = []
    most = 0 if queue.queue.is_paused else limit
    while (
        len(claims) < most
        and (row := _first_claimable(session, queue, annotator, to_micros(at), is_assigned=is_assigned)) is not None
    ):
        record, item = session.record_of(row, queue), session.item_of(row, queue.queue)
        progresses, transitions = grant(
            record.progresses, item.id, annotator_id, at=at, expires_at=expires_at, steps=record.steps
        )
        change = change_of(record, progresses, transitions)
        (written,) = save(session, [(record, change)])
        if not record.progresses:
            # Most likely it is completed next, by who has it, and nothing has happened to it by then.
            session.remember_claim(annotator_id, record_after(record, change, written))
        claims.append(_claim_of(item, progresses[-1], expires_at, change.updated_at))
        annotator = annotator or session.text_num(annotator_id)
    return tuple(claims) or _unavailable(session, queue, annotator)


def holds(session: Session, queue: StoredQueue, annotator_id: str) -> Iterator[Claim]:
    """Read what an annotator holds; result and errors are those of `Repository.holds`."""
    who = {"queue": queue.num, "annotator": session.find_text(annotator_id) or 0}
    for token, lease_expires_at, *row in session.execute(SQL["held"], who).fetchall():
        item = view(session.item_of(ItemRow._make(row), queue.queue), (IN_PROGRESS, annotator_id))
        yield make_claim(item=item, annotator_id=annotator_id, token=token, expires_at=from_micros(lease_expires_at))


def _claim_of(item: QueueItem, own: Progress, expires_at: datetime, updated_at: datetime) -> Claim:
    return make_claim(
        item=view(item, aggregate((own,)), updated_at=updated_at),
        annotator_id=own.annotator_id,
        token=own.token,
        expires_at=expires_at,
    )


def _first_claimable(
    session: Session, queue: StoredQueue, annotator: int, now: int, *, is_assigned: bool
) -> ItemRow | None:
    """Find the first item in queue order among those that wait for nothing, whose lease ran out, or that are reserved."""
    start = _first_unsettled(session, queue, annotator)
    row = session.execute(SQL["first_open"], (queue.num, *start, annotator, now)).fetchone()
    first = _earlier_expired(session, queue, annotator, now, None if row is None else ItemRow._make(row))
    return _earlier_reserved(session, queue.num, annotator, now, first) if is_assigned else first


def _earlier_reserved(session: Session, queue: int, annotator: int, now: int, found: ItemRow | None) -> ItemRow | None:
    """Take an item that is reserved for the annotator instead of the one found, if it comes first."""
    wanted = {"queue": queue, "annotator": annotator, "now": now}
    (is_reserved_again,) = session.execute(SQL["is_reserved_again"], wanted).fetchone()
    for waited in range(1 + is_reserved_again):
        row = session.execute(SQL["first_reserved"], {**wanted, "waited": waited}).fetchone()
        reserved = None if row is None else ItemRow._make(row)
        if reserved is not None and (found is None or _place(reserved) < _place(found)):
            found = reserved
    return found


def _first_unsettled(session: Session, queue: StoredQueue, annotator: int) -> QueueKey:
    """Find the place of the first open item that the annotator has not settled, and mark it.

    Where settling an item leaves it open for others, an annotator who has done many would otherwise pass all of them at
    every claim.
    """
    if not annotator or one_finishes(queue.queue):
        return FIRST_PLACE
    mark = session.low_water_mark(queue.num, annotator)
    who = {"queue": queue.num, "annotator": annotator}
    row = session.execute(SQL["first_unsettled"], {**who, **mark._asdict()}).fetchone()
    row = row or session.execute(SQL["last_open"], (queue.num,)).fetchone()
    place = mark if row is None else QueueKey._make(row)
    if place != mark:
        session.set_low_water_mark(queue.num, annotator, place)
    return place


def _earlier_expired(
    session: Session, queue: StoredQueue, annotator: int, now: int, found: ItemRow | None
) -> ItemRow | None:
    """Take an item whose lease ran out instead of the one found, if it comes first."""
    next_expiry = session.next_expiry(queue.num)
    if next_expiry <= now:
        row = _first_expired(session, queue, annotator, now)
        if row is None:
            # Nothing ran out that this annotator could have; look again when the next lease does.
            (least,) = session.execute(SQL["least_expiry"], (queue.num,)).fetchone()
            if least != next_expiry:
                session.set_next_expiry(queue.num, NEVER_MICROS if least is None else least)
        elif found is None or _place(row) < _place(found):
            found = row
    return found


def _first_expired(session: Session, queue: StoredQueue, annotator: int, now: int) -> ItemRow | None:
    """Find the first item whose lease ran out and that nothing else keeps the annotator from, where some wait."""
    for low, high in spans(session, queue.num, "waiting"):
        ends = dict(zip(_ENDS, (*low, *(high or LAST_PLACE)), strict=True))
        wanted = {"queue": queue.num, "annotator": annotator, "now": now, "in_any_state": not one_finishes(queue.queue)}
        row = session.execute(SQL["first_expired"], {**wanted, **ends}).fetchone()
        if row is not None:
            return ItemRow._make(row)
    return None


def _place(row: ItemRow) -> QueueKey:
    return QueueKey(row.priority_down, row.created_at, row.id)


def _unavailable(session: Session, queue: StoredQueue, annotator: int) -> Unavailable:
    live, unfinished = live_and_unfinished(session.counts(queue.num))
    retry_at, is_assigned = None, False
    if unfinished:
        who = {"queue": queue.num, "annotator": annotator}
        (waiting,) = session.execute(SQL["retry_at"], who).fetchone()
        start = _first_unsettled(session, queue, annotator)
        (own,) = session.execute(SQL["own_retry_at"], {**who, **start._asdict()}).fetchone()
        (reserved,) = session.execute(SQL["reserved_retry_at"], who).fetchone()
        retry_at = time_or_none(
            min((moment for moment in (waiting, own, reserved) if moment is not None), default=None)
        )
        is_assigned = retry_at is None and session.execute(SQL["is_assigned"], who).fetchone() == (1,)
    return explain_unavailable(
        live=live,
        unfinished=unfinished,
        retry_at=retry_at,
        is_paused=queue.queue.is_paused,
        is_assigned=is_assigned,
    )
