"""Granting claims, to many workers at once and none of them behind another."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from annotation_queue.construction import altered
from annotation_queue.counters import changes, live_and_unfinished
from annotation_queue.errors import Conflict, StorageBusy
from annotation_queue.items import explain_unavailable, make_claim
from annotation_queue.moves import grant
from annotation_queue.records import ItemRecord, change_of, make_record, merge, one_finishes, view
from annotation_queue.repositories.postgres.cache import FIRST_PLACE, Entry, Mark, QueueKey, Revision, Version
from annotation_queue.repositories.postgres.changes import counts_of_one
from annotation_queue.repositories.postgres.rows import ChosenRow, FirstRow, HeldRow, PlaceRow, split
from annotation_queue.repositories.postgres.session import OUTRAN
from annotation_queue.repositories.postgres.statements import joined
from annotation_queue.repositories.postgres.texts import KEY_LENGTH, PREFIX, is_long, key_of
from annotation_queue.repositories.sql.chunks import in_chunks
from annotation_queue.repositories.sql.rows import (
    ItemRow,
    ProgressRow,
    micros_or_none,
    progress_row,
    time_or_none,
    transition_row,
)
from annotation_queue.states import IN_PROGRESS, Progress, aggregate, claimable_at
from annotation_queue.values import from_micros, lease_end, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from psycopg.rows import TupleRow

    from annotation_queue.items import AnnotationQueue, Claim, Unavailable
    from annotation_queue.records import Change
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import StoredQueue


_ANY: Final = "item"
"""Stands for whichever item is claimed."""
_on_item = altered(Progress, ("item_id",))
_NO_ENTRY: Final = Entry(-1, -1, -1)
_NO_MARK: Final = Mark("", None, FIRST_PLACE)
_LAST: Final = "\U0010ffff" * (KEY_LENGTH - PREFIX)
"""Behind the first characters of a key, what comes behind all others."""
_USES: Final = 8
"""How many claims of one item begin at a mark if the queue's openings stay the same. What was claimed since costs each of them
time, if some old transaction keeps vacuum from its work: so there are few, and none behind a claim of many items."""
_SHORTEST_WAIT: Final = 0.000_5
_LONGEST_WAIT: Final = 0.05
"""How many seconds to wait for what others have locked, at most: at first, and after some tries."""
_ENDS: Final = ("retry_at", "own_retry_at", "reserved_retry_at")
"""The statements that each find when an annotator could claim one kind of items."""


def _passes(queue: AnnotationQueue) -> bool:
    """Tell whether an annotator may have to pass many items that they have settled, and that are open for others.

    Else what is in front of the first open item costs nothing, unless it is still to be vacuumed.
    """
    return not one_finishes(queue)


def _mark_values(session: Session, num: int, annotator: str) -> dict[str, object]:
    """Give the values of ``place``: the mark of an annotator, or one that is no good."""
    mark = session.cache.low_water_marks.get((num, annotator)) or _NO_MARK
    tx, seq, mark_at = mark.newest or (None, None, None)
    return {"openings": mark.openings, "tx": tx, "seq": seq, "mark_at": mark_at, **mark.place._asdict()}


def _keep_mark(session: Session, num: int, annotator: str, row: PlaceRow) -> QueueKey:
    """Keep what a statement says of a place, and give the place; that is the first of all if no item is open."""
    mark = row.mark
    session.cache.set_low_water_mark(num, annotator, mark)
    return mark.place


def _own(session: Session, statement: str) -> str:
    """Name the statement that a session executes for this one."""
    return joined(statement) if session.connections.is_joined else statement


def first_place(session: Session, queue: StoredQueue, annotator: str) -> QueueKey:
    """Find a place before which an annotator can claim no open item; the greater it is, the less has to be passed.

    If settling an item leaves it open for others, an annotator who has done many would otherwise pass all of them at every
    claim. A mark is good as long as no item of the queue was opened since, which the queue's counters tell, and
    nothing that the annotator settled was undone by restoring the schema to an earlier time, which the log tells.

    Args:
        session: The session.
        queue: The queue.
        annotator: The key of the annotator.
    """
    if not _passes(queue.queue):
        return FIRST_PLACE
    values = {"queue": queue.num, "annotator": annotator, **_mark_values(session, queue.num, annotator)}
    (row,) = session.rows("first_place", values)
    return _keep_mark(session, queue.num, annotator, PlaceRow(*row))


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
    wanted = {"queue": num, "annotator": annotator, "at": to_micros(at), "limit": limit}
    if known is None or _passes(known.queue):
        rows = session.rows(
            _own(session, "lock_claimable_from_mark"), {**wanted, **_mark_values(session, num, annotator)}
        )
        if rows:
            _keep_mark(session, num, annotator, PlaceRow(*rows[0][-len(PlaceRow._fields) :]))
    else:
        rows = session.rows(_own(session, "lock_claimable"), {**wanted, **FIRST_PLACE._asdict()})
    queue = session.locked_version(Version(*rows[0][: len(Version._fields)]) if rows else None, project_id, queue_id)
    if queue.queue.is_paused:
        return ()
    candidates = _candidates(session, queue, rows)
    candidates.sort(key=lambda each: each.place)
    if len(candidates) >= limit and len(candidates[limit - 1].row.id) > PREFIX:
        candidates = _with_ties(session, queue, candidates, candidates[limit - 1].row, wanted)
    expires_at = lease_end(at, lease or queue.queue.lease)
    claims: list[Claim] = []
    writes: list[tuple[ItemRecord, Change]] = []
    for row, record in candidates:
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
        _, chosen = split(rows[0], Version, ChosenRow)
        for write in writes:
            _keep_claimed(session, queue, annotator_id, write, chosen.tx)
        session.cache.set_touched(num, annotator, is_touched=any(record.steps for record, _ in writes))
    return tuple(claims)


def _keep_claimed(
    session: Session, queue: StoredQueue, annotator_id: str, write: tuple[ItemRecord, Change], tx: int
) -> None:
    """Keep the record that a claim leaves: most likely it is completed next, and nothing has happened to it by then."""
    before, change = write
    was = cast("Revision", before.revision)
    session.cache.claimed.keep(
        annotator_id,
        make_record(
            before.item_id,
            queue.queue,
            change.updated_at,
            merge(before.progresses, change.progresses),
            Revision(queue.num, queue.revision, was.num, was.revision + 1, tx),
            steps=before.steps + len(change.transitions),
        ),
    )


class _Candidate(NamedTuple):
    """An item that was locked, and its record."""

    row: ItemRow
    record: ItemRecord

    @property
    def place(self) -> tuple[int, int, str]:
        """What sorts in queue order."""
        return self.row.priority_down, self.row.created_at, self.record.item_id


def _candidates(session: Session, queue: StoredQueue, rows: Iterable[TupleRow]) -> list[_Candidate]:
    """Build what ``chosen_columns`` say of items that were locked."""
    found: dict[int, tuple[ItemRow, list[ProgressRow]]] = {}
    stale: list[ItemRow] = []
    for each in rows:
        _, chosen, progress, row = split(each, Version, ChosenRow, ProgressRow, ItemRow)
        if row.num is None:
            continue
        if chosen.seen != row.revision:
            # Whoever had it before it was locked has changed it since the statement began.
            stale += [] if chosen.place not in {None, 1} else [row]
            continue
        _, progresses = found.setdefault(row.num, (row, []))
        if chosen.place is not None:
            progresses.append(progress)
    made = [
        _Candidate(row, session.record_of(queue, session.text(queue.num, row.id), row, progresses))
        for row, progresses in found.values()
    ]
    return made + _read_again(session, queue, stale)


def _read_again(session: Session, queue: StoredQueue, rows: Sequence[ItemRow]) -> list[_Candidate]:
    """Read the progresses on items that are locked: nobody changes them any more."""
    records = session.records_of(queue, rows)
    return [_Candidate(row, records[row.num]) for row in rows]


def _with_ties(
    session: Session, queue: StoredQueue, candidates: Sequence[_Candidate], last: ItemRow, wanted: Mapping[str, object]
) -> list[_Candidate]:
    """Give candidates in queue order with those that may come before the last wanted one, though their keys come behind it."""
    first = last.id[:PREFIX]
    place = {"priority_down": last.priority_down, "created_at": last.created_at, "first": first, "last": first + _LAST}
    ties = [ItemRow(*row) for row in session.rows(_own(session, "lock_ties"), {**wanted, **place})]
    there = {each.row.num for each in candidates}
    more = _read_again(session, queue, [row for row in ties if row.num not in there])
    return sorted([*candidates, *more], key=lambda each: each.place)


def claim_untouched(
    session: Session, known: StoredQueue, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
) -> tuple[Claim, ...] | None:
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
        The claims in queue order; none if it is not so, for whatever reason: `claim` finds out. None if that may be the mark's
        fault, and another call will not use it.
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
    statement = "claim_untouched"
    if limit == 1 and one_finishes(queue):
        statement = "claim_one_from_mark" if mark.uses else "claim_one_untouched"
    found = session.rows(
        statement,
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
            "counts": counts_of_one(changes(untouched, change)),
        },
    )
    if mark.uses and statement == "claim_one_from_mark":
        session.cache.set_low_water_mark(known.num, whose, mark._replace(uses=mark.uses - 1 if found else 0))
        if not found:
            return None
    elif found:
        first = FirstRow(*found[0][len(ItemRow._fields) :])
        # What the log has of this claim it has, whatever becomes of the schema, only together with all that was claimed before.
        newest = Entry(first.tx, 1, to_micros(at))
        place = QueueKey(first.priority_down, first.created_at, first.id)
        uses = _USES if first.openings == mark.openings and limit == 1 else 0
        session.cache.set_low_water_mark(known.num, whose, Mark(first.openings, newest, place, uses))
    if found:
        session.counted[known.num] = 1
    claims = []
    for each in found:
        row, tx = ItemRow(*each[: len(ItemRow._fields)]), each[len(ItemRow._fields)]
        item = session.item_of(row, known)
        claims.append(make_claim(item=item, annotator_id=annotator_id, token=own.token, expires_at=expires_at))
        # Most likely it is completed next, by who has it, and nothing has happened to it by then.
        held = _on_item(own, item.id)
        rests_on = Revision(known.num, known.revision, row.num, row.revision, tx)
        record = make_record(item.id, queue, item.updated_at, (held,), rests_on, steps=row.steps)
        session.cache.claimed.keep(annotator_id, record)
    return tuple(claims)


def _wanted(num: int, annotator: str, start: QueueKey, at: datetime, limit: int) -> dict[str, object]:
    """Give the values of ``open_items`` and ``expired_items``."""
    return {"queue": num, "annotator": annotator, "at": to_micros(at), "limit": limit, **start._asdict()}


def claim_or_explain(
    queue_id: str,
    grant: Callable[[], tuple[Claim, ...]],
    explain: Callable[[], Unavailable | None],
    *,
    timeout: float | None,
) -> tuple[Claim, ...] | Unavailable:
    """Grant claims or say why not; again as long as others have all that is left locked.

    Args:
        queue_id: The queue.
        grant: Grants claims in a transaction of its own, or none.
        explain: Says why not; None if it may be granted.
        timeout: For how long to try again, in seconds; None for never.

    Raises:
        StorageBusy: It took longer.
    """
    deadline = time.monotonic() + (timeout or 0)
    wait = _SHORTEST_WAIT
    while True:
        claims: tuple[Claim, ...] = ()
        # The queue may get another name between two statements.
        with suppress(Conflict):
            claims = grant()
        answer = claims or explain()
        if answer is not None:
            return answer
        if timeout is None or time.monotonic() > deadline:
            raise StorageBusy(f"what is left of queue {queue_id!r} stayed locked; nothing was claimed, try again")
        time.sleep(wait * random.random())  # noqa: S311 - jitter, not a secret
        wait = min(2 * wait, _LONGEST_WAIT)


def explain(session: Session, queue: StoredQueue, annotator_id: str, at: datetime) -> Unavailable | None:
    """Say at one instant why an annotator can claim nothing; None if they can.

    Args:
        session: The session, inside a read snapshot.
        queue: The queue.
        annotator_id: Who wanted to work.
        at: Now, UTC.

    Raises:
        StorageBusy: It joins a transaction of the caller's, which began before what is left was changed.
    """
    annotator = key_of(annotator_id)
    start = first_place(session, queue, annotator)
    wanted = _wanted(queue.num, annotator, start, at, 1)
    if not queue.queue.is_paused and session.value("is_claimable", wanted):
        if not session.value(_own(session, "is_claimable"), wanted):
            raise StorageBusy(OUTRAN)
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
    held = {row.num: row for row in map(HeldRow._make, rows)}
    items: list[ItemRow] = []
    for chunk in in_chunks([*held]):
        items += session.live_rows(queue, chunk).values()
    # In the order of the ids, and not of the keys of long ones.
    items.sort(key=lambda row: (row.priority_down, row.created_at, session.text(queue.num, row.id)))
    return tuple(
        make_claim(
            item=view(session.item_of(row, queue), (IN_PROGRESS, annotator_id)),
            annotator_id=annotator_id,
            token=held[row.num].token,
            expires_at=from_micros(held[row.num].lease_expires_at),
        )
        for row in items
    )
