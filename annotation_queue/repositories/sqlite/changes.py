"""Storing what decisions change, inside one write transaction."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final, cast

import attrs

from annotation_queue.changes import is_settlement
from annotation_queue.counters import changes
from annotation_queue.errors import Conflict
from annotation_queue.records import make_record
from annotation_queue.repositories.sql.rows import (
    ALWAYS_MICROS,
    RANKS,
    UNREAD_TEXT,
    micros_or_none,
    progress_row,
    transition_row,
)
from annotation_queue.repositories.sqlite.blocks import KINDS, Kind, Move, moved_blocks
from annotation_queue.repositories.sqlite.cache import Revision, make_revision, queue_key
from annotation_queue.repositories.sqlite.session import tells
from annotation_queue.repositories.sqlite.statements import (
    ADD_ENTRY,
    CHANGE_WORK,
    PUT_PROGRESS,
    SETTLE_WORK,
    SQL,
    EntryRow,
    StoredProgress,
    WorkRow,
    entry_row,
    stored_progress,
    work_row,
)
from annotation_queue.repositories.sqlite.stretches import Telling, count_appended, count_labels
from annotation_queue.states import ALWAYS, SETTLING
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from annotation_queue.records import Change, ItemRecord, Standing
    from annotation_queue.repositories.sqlite.session import Session
    from annotation_queue.states import Progress

_SETTLING: Final = frozenset(RANKS[state] for state in SETTLING)
"""The ranks of the states of labels."""


def save(session: Session, writes: Sequence[tuple[ItemRecord, Change]]) -> list[WorkRow]:
    """Store what decisions change, if nothing that they rest on has changed.

    Returns:
        What it made of the items' rows, in the order of the writes.

    Raises:
        Conflict: Something has.
    """
    rows = _Rows()
    for record, change in writes:
        rows.add(session, record, change)
    if CHANGE_WORK.run(session, rows.changing) + SETTLE_WORK.run(session, rows.settling) != len(writes):
        raise Conflict(f"item {writes[0][0].item_id!r} or another one changed meanwhile")
    # First the log, which takes labels that were not read from the progresses as they were.
    ADD_ENTRY.run(session, rows.entries)
    for entry in rows.entries:
        if entry.annotation == UNREAD_TEXT:
            session.execute(SQL["take_label"], {"queue": entry.queue, "num": entry.num})
    for queue, sums in rows.sums.items():
        _count_relabelled(session, queue, sums, -1)
    PUT_PROGRESS.run(session, rows.progresses)
    for queue, sums in rows.sums.items():
        log_end = None
        if sums.first is not None:
            _count_relabelled(session, queue, sums, 1)
            log_end = session.log_end(queue)
            count_appended(session, queue, sums.first, sums.untold)
        session.count(queue, _sum_of(sums.counts), log_end, moved_blocks(session, queue, sums.moves))
    return rows.work


def _count_relabelled(session: Session, queue: int, sums: _Sums, n: int) -> None:
    """Count the labels of items one of which is superseded no more, or once the progresses have changed anew."""
    if sums.first is not None and sums.relabelled:
        count_labels(session, queue, json.dumps(sums.relabelled), n=n, entries=sums.first - 1)


def record_after(record: ItemRecord, change: Change, row: WorkRow) -> ItemRecord:
    """Give what a decision after this one rests on.

    Args:
        record: The item before it, which nobody had touched.
        change: What changes.
        row: What `save` made of the item's row.
    """
    key = cast("Revision", record.revision)
    return make_record(
        item_id=record.item_id,
        queue=record.queue,
        updated_at=change.updated_at,
        progresses=change.progresses,
        revision=make_revision(
            queue=key.queue,
            queue_revision=key.queue_revision,
            item=key.item,
            revision=key.revision + 1,
            last_entry=row.new_last_entry,
            is_told=row.is_told or 0,
            priority_down=key.priority_down,
            created_at=key.created_at,
        ),
        standing=change.standing,
        steps=record.steps + row.new_steps,
    )


@attrs.define
class _Sums:
    """What changes of one queue add up to.

    Args:
        counts: How each moves the queue's counters, as `counters.changes` says.
        moves: The items whose kind changed.
        untold: What the log told of that it does not any more, since it tells of something later.
        relabelled: The numbers of the items a label of which is superseded.
        first: The number of the first entry that was appended; None if none was.
    """

    counts: list[Mapping[tuple[str | None, str], int]] = attrs.field(factory=list, init=False)
    moves: list[Move] = attrs.field(factory=list, init=False)
    untold: list[Telling] = attrs.field(factory=list, init=False)
    relabelled: list[int] = attrs.field(factory=list, init=False)
    first: int | None = attrs.field(default=None, init=False)


@attrs.define
class _Rows:
    """The rows that changes write.

    Args:
        work: Rows of items, in the order of the changes.
        changing: Those of items that are settled as they were.
        settling: Rows of those that are settled, or are no more.
        progresses: Progresses.
        entries: Entries of logs.
        sums: Number of a queue -> what its changes add up to.
    """

    work: list[WorkRow] = attrs.field(factory=list, init=False)
    changing: list[WorkRow] = attrs.field(factory=list, init=False)
    settling: list[WorkRow] = attrs.field(factory=list, init=False)
    progresses: list[StoredProgress] = attrs.field(factory=list, init=False)
    entries: list[EntryRow] = attrs.field(factory=list, init=False)
    sums: dict[int, _Sums] = attrs.field(factory=dict, init=False)

    def add(self, session: Session, record: ItemRecord, change: Change) -> None:
        """Add those of one change."""
        key, before, after = cast("Revision", record.revision), change.before, change.standing
        told = _entries_of(session, key, record.steps, change)
        self.entries += told
        for progress in change.progresses:
            self.progresses.append(_stored(session, key, progress, told))
        row = _work_of(session, record, change, told)
        self.work.append(row)
        is_settling = before.state is not after.state and (before.state in SETTLING or after.state in SETTLING)
        (self.settling if is_settling else self.changing).append(row)
        if change.opens:
            session.reopened(key.queue)
        sums = self.sums.get(key.queue)
        if sums is None:
            self.sums[key.queue] = sums = _Sums()
        sums.counts.append(changes(record, change))
        kinds = _kind_of(before), _kind_of(after)
        if kinds[0] != kinds[1]:
            sums.moves.append(Move(queue_key(key.priority_down, key.created_at, record.item_id), *kinds))
        if told:
            sums.first = sums.first or told[0].num
            if any(entry.from_state in _SETTLING for entry in told):
                sums.relabelled.append(key.item)
            if key.is_told and key.last_entry is not None:
                sums.untold.append(Telling(key.last_entry, RANKS[before.state]))


def _stored(session: Session, key: Revision, progress: Progress, told: Sequence[EntryRow]) -> StoredProgress:
    """Give what is stored of a progress. Of what the log does not tell anew, its entry is 0."""
    annotator = session.text_num(progress.annotator_id)
    row = progress_row(progress, annotator)
    last = 0
    for entry in told:
        if entry.annotator == annotator:
            last = entry.num
    return stored_progress(
        item=key.item,
        annotator=annotator,
        queue=key.queue,
        entry=last,
        step=row.step,
        state=row.state,
        token=row.token,
        lease_expires_at=row.lease_expires_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        started_at=row.started_at,
        reason=row.reason,
        annotation=row.annotation,
    )


def _work_of(session: Session, record: ItemRecord, change: Change, told: Sequence[EntryRow]) -> WorkRow:
    """Give what a change makes of an item's row, and what that row has to be like."""
    key, before, after = cast("Revision", record.revision), change.before, change.standing
    claimable_at = micros_or_none(after.claimable_at)
    if claimable_at is not None and ALWAYS_MICROS < claimable_at < session.next_expiry(key.queue):
        session.set_next_expiry(key.queue, claimable_at)
    updated_at = to_micros(change.updated_at)
    return work_row(
        state=RANKS[after.state],
        annotator=None if after.annotator_id is None else session.text_num(after.annotator_id),
        completed=after.completed,
        skipped=after.skipped,
        claimable_at=claimable_at,
        updated_at=updated_at,
        is_told=tells(told[-1].at, updated_at, told[-1].latest) if told else None,
        new_steps=len(told),
        new_last_entry=told[-1].num if told else None,
        settled_as=RANKS[after.state] if after.state in SETTLING else 0,
        item=key.item,
        item_id=record.item_id,
        revision=key.revision,
        last_entry=key.last_entry,
        was_updated_at=to_micros(record.updated_at),
        was_annotator=None if before.annotator_id is None else session.text_num(before.annotator_id),
        queue=key.queue,
        queue_id=record.queue.id,
        queue_revision=key.queue_revision,
    )


def _entries_of(session: Session, key: Revision, steps: int, change: Change) -> list[EntryRow]:
    """Give what a change appends to the log of its queue."""
    rows: list[EntryRow] = []
    before = key.last_entry
    for step, transition in enumerate(change.transitions, steps + 1):
        annotator, actor = session.text_num(transition.annotator_id), transition.actor_id
        actor_num: int | None = annotator
        if actor != transition.annotator_id:
            actor_num = None if actor is None else session.text_num(actor)
        row = transition_row(transition, annotator, actor_num)
        end = session.append(key.queue, row.at)
        started_at = _started_at(change, transition.annotator_id) if is_settlement(transition) else None
        rows.append(
            entry_row(
                queue=key.queue,
                num=end.entries,
                item=key.item,
                step=step,
                before=before,
                annotator=annotator,
                actor=actor_num,
                from_state=row.from_state,
                to_state=row.to_state,
                at=row.at,
                latest=end.latest,
                started_at=micros_or_none(started_at),
                reason=row.reason,
                annotation=row.annotation,
            )
        )
        before = end.entries
    return rows


def _started_at(change: Change, annotator_id: str) -> datetime | None:
    return next(each.started_at for each in change.progresses if each.annotator_id == annotator_id)


def _kind_of(standing: Standing) -> Kind:
    return KINDS[standing.state, standing.claimable_at is not None and standing.claimable_at > ALWAYS]


def _sum_of(differences: Sequence[Mapping[tuple[str | None, str], int]]) -> Mapping[tuple[str | None, str], int]:
    if len(differences) == 1:
        return differences[0]
    summed: Counter[tuple[str | None, str]] = Counter()
    for each in differences:
        summed.update(each)
    return summed
