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
    work_row,
)
from annotation_queue.repositories.sqlite.stretches import Telling, count_appended, count_labels
from annotation_queue.states import ALWAYS, SETTLING
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annotation_queue.records import Change, ItemRecord, Standing
    from annotation_queue.repositories.sqlite.session import Session
    from annotation_queue.states import Progress

_SETTLING: Final = frozenset(RANKS[state] for state in SETTLING)
"""The ranks of the states of labels."""


def save(session: Session, writes: Sequence[tuple[ItemRecord, Change]]) -> list[WorkRow]:
    """Store what decisions change, if nothing that they rest on has changed.

    Returns:
        What it made of the items' rows, in the order of the writes but queue by queue.

    Raises:
        Conflict: Something has.
    """
    rows_of: dict[int, _Rows] = {}
    for record, change in writes:
        queue = cast("Revision", record.revision).queue
        rows = rows_of.get(queue)
        if rows is None:
            rows_of[queue] = rows = _Rows(queue, session.log_end(queue).entries)
        rows.add(session, record, change)
    return [row for rows in rows_of.values() for row in rows.store(session)]


def record_after(record: ItemRecord, change: Change, row: WorkRow) -> ItemRecord:
    """Give what a decision after this one rests on.

    Args:
        record: The item before it, which nobody had touched.
        change: What changes.
        row: What `save` made of the item's row.
    """
    key = cast("Revision", record.revision)
    item, last_entry, is_told = key.item, row.new_last_entry, row.is_told or 0
    left = make_revision(
        key.queue,
        key.queue_revision,
        item,
        key.revision + 1,
        last_entry,
        is_told,
        key.priority_down,
        key.created_at,
        row.updated_at,
        row.annotator,
    )
    steps = record.steps + row.new_steps
    return make_record(
        record.item_id, record.queue, change.updated_at, change.progresses, left, change.standing, steps=steps
    )


@attrs.define
class _Rows:
    """The rows that changes in one queue write.

    Args:
        queue: The number of the queue.
        entries_before: How many entries its log had before.
        work: Rows of items, in the order of the changes.
        changing: Those of items that are settled as they were.
        settling: Rows of those that are settled, or are no more.
        progresses: Progresses.
        entries: Entries of the log.
        counts: How each change moves the queue's counters, as `counters.changes` says.
        moves: The items whose kind changed.
        untold: What the log told of that it does not any more, since it tells of something later.
        relabelled: The numbers of the items a label of which is superseded.
    """

    queue: int
    entries_before: int
    work: list[WorkRow] = attrs.field(factory=list, init=False)
    changing: list[WorkRow] = attrs.field(factory=list, init=False)
    settling: list[WorkRow] = attrs.field(factory=list, init=False)
    progresses: list[StoredProgress] = attrs.field(factory=list, init=False)
    entries: list[EntryRow] = attrs.field(factory=list, init=False)
    counts: list[Mapping[tuple[str | None, str], int]] = attrs.field(factory=list, init=False)
    moves: list[Move] = attrs.field(factory=list, init=False)
    untold: list[Telling] = attrs.field(factory=list, init=False)
    relabelled: list[int] = attrs.field(factory=list, init=False)

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
        self.counts.append(changes(record, change))
        kinds = _kind_of(before), _kind_of(after)
        if kinds[0] is not kinds[1]:
            self.moves.append(Move(queue_key(key.priority_down, key.created_at, record.item_id), *kinds))
        if told and key.is_told and key.last_entry is not None:
            self.untold.append(Telling(key.last_entry, RANKS[before.state]))
        for entry in told:
            if entry.from_state in _SETTLING:
                self.relabelled.append(key.item)
                break

    def store(self, session: Session) -> list[WorkRow]:
        """Store them; result and errors are those of `save`."""
        queue, entries = self.queue, self.entries
        if CHANGE_WORK.run(session, self.changing) + SETTLE_WORK.run(session, self.settling) != len(self.work):
            raise Conflict(f"item {self.work[0].item_id!r} or another one changed meanwhile")
        # First the log, which takes labels that were not read from the progresses as they were.
        ADD_ENTRY.run(session, entries)
        for entry in entries:
            if entry.annotation == UNREAD_TEXT:
                session.execute(SQL["take_label"], {"queue": queue, "num": entry.num})
        self._count_relabelled(session, -1)
        PUT_PROGRESS.run(session, self.progresses)
        log_end = None
        if entries:
            self._count_relabelled(session, 1)
            log_end = session.log_end(queue)
            count_appended(session, queue, self.entries_before, self.untold)
        session.count(queue, _sum_of(self.counts), log_end, moved_blocks(session, queue, self.moves))
        return self.work

    def _count_relabelled(self, session: Session, n: int) -> None:
        """Count the labels of items one of which is superseded: no more, or once the progresses have changed anew."""
        if self.relabelled:
            count_labels(session, self.queue, json.dumps(self.relabelled), n=n, entries=self.entries_before)


def _stored(session: Session, key: Revision, progress: Progress, told: Sequence[EntryRow]) -> StoredProgress:
    """Give what is stored of a progress. Of what the log does not tell anew, its entry is 0."""
    annotator = session.text_num(progress.annotator_id)
    last = 0
    for entry in told:
        if entry.annotator == annotator:
            last = entry.num
    return StoredProgress._make((key.item, key.queue, last, *progress_row(progress, annotator)))


def _work_of(session: Session, record: ItemRecord, change: Change, told: Sequence[EntryRow]) -> WorkRow:
    """Give what a change makes of an item's row, and what that row has to be like."""
    key, after = cast("Revision", record.revision), change.standing
    claimable_at = micros_or_none(after.claimable_at)
    if claimable_at is not None and ALWAYS_MICROS < claimable_at < session.next_expiry(key.queue):
        session.set_next_expiry(key.queue, claimable_at)
    is_told, last_entry = None, None
    if told:
        last = told[-1]
        # Mostly a change is as old as the last thing that happened in it.
        updated_at = last.at if change.updated_at is change.transitions[-1].at else to_micros(change.updated_at)
        is_told, last_entry = tells(last.at, updated_at, last.latest), last.num
    else:
        updated_at = to_micros(change.updated_at)
    state = RANKS[after.state]
    annotator = None if after.annotator_id is None else session.text_num(after.annotator_id)
    settled_as = state if after.state in SETTLING else 0
    made = (
        state,
        annotator,
        after.completed,
        after.skipped,
        claimable_at,
        updated_at,
        is_told,
        len(told),
        last_entry,
        settled_as,
    )
    rests_on = key.item, record.item_id, key.revision, key.last_entry, key.updated_at, key.annotator
    # By position, in the order of the fields: names would take longer than all the rest.
    return work_row(*made, *rests_on, key.queue, record.queue.id, key.queue_revision)


def _entries_of(session: Session, key: Revision, steps: int, change: Change) -> list[EntryRow]:
    """Give what a change appends to the log of its queue."""
    rows: list[EntryRow] = []
    queue, before = key.queue, key.last_entry
    for step, transition in enumerate(change.transitions, steps + 1):
        annotator, actor = session.text_num(transition.annotator_id), transition.actor_id
        actor_num: int | None = annotator
        if actor != transition.annotator_id:
            actor_num = None if actor is None else session.text_num(actor)
        row = transition_row(transition, annotator, actor_num)
        num, latest = session.append(queue, row.at)
        started_at = _started_at(change, transition.annotator_id) if is_settlement(transition) else None
        rows.append(EntryRow._make((queue, num, key.item, step, before, latest, started_at, *row)))
        before = num
    return rows


def _started_at(change: Change, annotator_id: str) -> int | None:
    for each in change.progresses:
        if each.annotator_id == annotator_id:
            return micros_or_none(each.started_at)
    raise LookupError(annotator_id)


def _kind_of(standing: Standing) -> Kind:
    return KINDS[standing.state, standing.claimable_at is not None and standing.claimable_at > ALWAYS]


def _sum_of(differences: Sequence[Mapping[tuple[str | None, str], int]]) -> Mapping[tuple[str | None, str], int]:
    if len(differences) == 1:
        return differences[0]
    summed: Counter[tuple[str | None, str]] = Counter()
    for each in differences:
        summed.update(each)
    return summed
