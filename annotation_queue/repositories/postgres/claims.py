"""Granting claims, to many workers at once and none of them behind another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annotation_queue.construction import altered
from annotation_queue.counters import changes, live_and_unfinished
from annotation_queue.items import explain_unavailable, make_claim
from annotation_queue.moves import grant
from annotation_queue.records import ItemRecord, change_of, make_record, one_finishes, view
from annotation_queue.repositories.postgres.cache import FIRST_PLACE, Entry, Mark, QueueKey, Revision, Version
from annotation_queue.repositories.postgres.rows import FirstRow, HeldRow, counts_of_one, split
from annotation_queue.repositories.postgres.session import counter_rows
from annotation_queue.repositories.postgres.texts import is_long, key_of
from annotation_queue.repositories.sql.chunks import in_chunks
from annotation_queue.repositories.sql.rows import ItemRow, micros_or_none, progress_row, time_or_none, transition_row
from annotation_queue.states import IN_PROGRESS, Progress, aggregate, claimable_at
from annotation_queue.values import from_micros, lease_end, to_micros

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from annotation_queue.items import AnnotationQueue, Claim, Unavailable
    from annotation_queue.records import Change
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import StoredQueue


_ANY: Final = "item"
"""Stands for whichever item is claimed."""
_on_item = altered(Progress, ("item_id",))
_NO_ENTRY: Final = Entry(-1, -1, -1)
_NO_MARK: Final = Mark(-1, None, FIRST_PLACE)
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
        # What is in front of the first open item costs nothing, unless it is still to be vacuumed.
        return FIRST_PLACE
    known = session.cache.low_water_marks.get((num, annotator))
    entry = _NO_ENTRY if known is None or known.newest is None else known.newest
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
    known = session.cache.newest(queue_id)
    start = first_place(session, num, None if known is None else known.queue, annotator)
    plans = "force_custom_plan" if session.connections.is_distributed else "force_generic_plan"
    found = session.rows("lock_claimable", {**_wanted(num, annotator, start, at, limit), "plans": plans})
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


def claim_untouched(
    session: Session, known: StoredQueue, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
) -> tuple[Claim, ...]:
    """Grant claims by one statement, if what can be claimed first are items that nobody ever touched.

    What a claim does to such an item is the same for all of them, so that it is decided before they are chosen.

    Args:
        session: The session, inside a write transaction or for one statement.
        known: The queue, as it was at any time.
        annotator_id: Who wants to work.
        limit: At most so many.
        at: Now, UTC.
        lease: How long the claims last; None for the queue's lease.

    Returns:
        The claims in queue order; none if it is not so, for whatever reason: `claim` finds out.
    """
    queue, annotator = known.queue, key_of(annotator_id)
    if queue.is_paused or queue.deleted_at is not None or is_long(annotator) or session.connections.is_distributed:
        return ()
    expires_at = lease_end(at, lease or queue.lease)
    untouched = ItemRecord(_ANY, queue, at, (), revision=None)
    progresses, transitions = grant((), _ANY, annotator_id, at=at, expires_at=expires_at, steps=0)
    change = change_of(untouched, progresses, transitions)
    (own,), (transition,) = progresses, transitions
    progress, entry = progress_row(own, annotator), transition_row(transition, annotator, annotator)
    whose = "" if one_finishes(queue) else annotator
    mark = session.cache.low_water_marks.get((known.num, whose)) or _NO_MARK
    newest = mark.newest or _NO_ENTRY
    after = change.standing
    counts = {(known.num, who or "", kind): n for (who, kind), n in changes(untouched, change).items()}
    found = session.rows(
        "claim_untouched",
        {
            **_wanted(known.num, annotator, mark.place, at, limit),
            **session.connections.lock_of(known.num)._asdict(),
            "version": session.connections.version,
            "queue_revision": known.revision,
            "openings": mark.openings,
            "mark_tx": newest.tx,
            "mark_seq": newest.seq,
            "mark_at": newest.at,
            "state": progress.state,
            "completed": after.completed,
            "skipped": after.skipped,
            "claimable_at": micros_or_none(after.claimable_at),
            "updated_at": to_micros(change.updated_at),
            "token": progress.token,
            "lease_expires_at": progress.lease_expires_at,
            "step": progress.step,
            "from_state": entry.from_state,
            "actor": entry.actor,
            **counts_of_one(counter_rows(counts)),
        },
    )
    if found:
        _, first = split(found[0], ItemRow, FirstRow)
        # What the log has of this claim it has, whatever becomes of the schema, only together with all that was claimed before.
        newest = Entry(first.tx, 1, to_micros(at))
        place = QueueKey(first.priority_down, first.created_at, first.id)
        session.cache.set_low_water_mark(known.num, whose, Mark(first.openings, newest, place))
        session.counted[known.num] += 2
    claims = []
    for each in found:
        row, first = split(each, ItemRow, FirstRow)
        item = session.item_of(row, known)
        claims.append(make_claim(item=item, annotator_id=annotator_id, token=own.token, expires_at=expires_at))
        if limit == 1 and not is_long(row.id):
            # Most likely it is completed next, by who has it, and nothing has happened to it by then.
            held = _on_item(own, item.id)
            rests_on = Revision(known.num, known.revision, row.num, row.revision, first.tx)
            record = make_record(item.id, queue, item.updated_at, (held,), rests_on, steps=row.steps)
            session.cache.keep_claimed(annotator_id, record)
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
