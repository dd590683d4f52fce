"""Granting claims, to many workers at once and none of them behind another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from annotation_queue.items import Claim, explain_unavailable
from annotation_queue.records import FINISHED, change_of, view
from annotation_queue.repositories.postgres_texts import key_of
from annotation_queue.repositories.sql_rows import time_or_none
from annotation_queue.states import AnnotationState, aggregate, claimable_at, grant, is_finished
from annotation_queue.values import lease_end, to_micros

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from annotation_queue.items import Unavailable
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.postgres_session import LiveQueue, Session

Place: TypeAlias = tuple[int, int, str]
"""What sorts in queue order: ``priority_down``, ``created_at`` and the key of ``id``."""
FIRST_PLACE: Final[Place] = (-(1 << 63), -(1 << 63), "")
_MOST_MARKS: Final = 65_536


class Marks:
    """For each queue and annotator a place before which the annotator has settled every open item.

    Where settling an item leaves it open for others, an annotator who has done many would otherwise pass all of them at every
    claim. A mark is good as long as no item of the queue was opened since, which the queue's counters tell.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[int, str], tuple[int, Place]] = {}

    def start(self, session: Session, queue: LiveQueue, annotator: str) -> Place:
        """Find the place from which to look for open items."""
        policies = queue[2].annotations_per_item, queue[2].skip_policy
        if is_finished(1, 0, *policies) and is_finished(0, 1, *policies):
            return FIRST_PLACE
        # Read before the place is looked for: what is opened in between makes the mark worthless, not wrong.
        openings = session.value("openings", (queue[0],))
        known, mark = self._marks.get((queue[0], annotator), (-1, FIRST_PLACE))
        if known != openings:
            mark = FIRST_PLACE
        row = session.row("first_unsettled", (queue[0], *mark, annotator)) or session.row("last_open", (queue[0],))
        place: Place = mark if row is None else (row[0], row[1], row[2])
        if len(self._marks) > _MOST_MARKS:
            self._marks.clear()
        self._marks[queue[0], annotator] = openings, place
        return place


def claim(
    session: Session,
    queue: LiveQueue,
    annotator_id: str,
    marks: Marks,
    *,
    limit: int,
    at: datetime,
    lease: timedelta | None,
) -> tuple[Claim, ...]:
    """Grant claims inside a write transaction that shares the queue.

    Args:
        session: The session.
        queue: The queue.
        annotator_id: Who wants to work.
        marks: What is known of the queue's annotators.
        limit: At most so many claims.
        at: Now, UTC.
        lease: How long the claims last; None for the queue's own lease.

    Returns:
        The claims in queue order. None of them may be since somebody else has what is left locked; `explain` tells.

    Raises:
        InvalidValue: The lease would end beyond the year 9999.
    """
    expires_at = lease_end(at, lease or queue[2].lease)
    claims: list[Claim] = []
    writes: list[tuple[ItemRecord, Change]] = []
    start = marks.start(session, queue, key_of(annotator_id))
    opened, expired = _wanted(queue, key_of(annotator_id), start, to_micros(at), limit)
    nums = session.rows("lock_claimable", (*opened, *expired))
    # Read as they are since they are locked.
    found = session.live_rows(queue, (num for (num,) in nums)).values() if nums else ()
    rows = sorted(found, key=lambda row: (row[14], row[12], session.text(queue[0], row[2])))
    records = session.records(queue, rows)
    policies = queue[2].annotations_per_item, queue[2].skip_policy
    for row in rows:
        record = records[row[0]]
        # Whoever had it before it was locked may have changed it after it was chosen.
        free_at = claimable_at(record.progresses, annotator_id, *policies)
        if len(claims) == limit or free_at is None or free_at > at:
            continue
        progresses, transitions = grant(record.progresses, record.item_id, annotator_id, at=at, expires_at=expires_at)
        writes.append((record, change_of(record, progresses, transitions)))
        own = progresses[-1]
        item = view(session.item_of(row, queue), aggregate((own,)), updated_at=at)
        claims.append(Claim(item=item, annotator_id=annotator_id, token=own.token, expires_at=expires_at))
    if writes:
        session.store(writes)
    return tuple(claims)


def _wanted(
    queue: LiveQueue, annotator: str, start: Place, now: int, limit: int
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Give the values of ``open_items`` and of ``expired_items``."""
    return (queue[0], *start, now, annotator, limit), (queue[0], now, now, annotator, limit)


def explain(session: Session, queue: LiveQueue, annotator_id: str, marks: Marks, at: datetime) -> Unavailable | None:
    """Say at one instant why an annotator can claim nothing; None where they can.

    Args:
        session: The session, inside a read snapshot.
        queue: The queue.
        annotator_id: Who wanted to work.
        marks: What is known of the queue's annotators.
        at: Now, UTC.
    """
    annotator = key_of(annotator_id)
    start = marks.start(session, queue, annotator)
    opened, expired = _wanted(queue, annotator, start, to_micros(at), 1)
    if any(session.rows("is_claimable", (*opened, *expired))[0]):
        return None
    counts = session.counts([queue[0]]).get(queue[0], {})
    live = sum(counts.get((None, state), 0) for state in AnnotationState)
    unfinished = live - counts.get((None, FINISHED), 0)
    retry_at = None
    if unfinished:
        waiting = session.value("retry_at", (annotator, queue[0]))
        own = session.value("own_retry_at", (annotator, queue[0], *start))
        retry_at = time_or_none(min((moment for moment in (waiting, own) if moment is not None), default=None))
    return explain_unavailable(live=live, unfinished=unfinished, retry_at=retry_at)
