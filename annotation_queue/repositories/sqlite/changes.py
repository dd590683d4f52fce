"""Storing what decisions change, inside one write transaction."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from annotation_queue.changes import is_settlement
from annotation_queue.counters import changes
from annotation_queue.errors import Conflict
from annotation_queue.repositories.sql.rows import (
    ALWAYS_MICROS,
    RANKS,
    micros_or_none,
    progress_row,
    transition_row,
)
from annotation_queue.repositories.sqlite.blocks import Kind, Move, count_moved
from annotation_queue.repositories.sqlite.cache import QueueKey, Revision
from annotation_queue.repositories.sqlite.session import NO_ENTRIES
from annotation_queue.repositories.sqlite.stretches import Telling, count_appended
from annotation_queue.states import ALWAYS, SETTLING
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annotation_queue.records import Change, ItemRecord, Standing
    from annotation_queue.repositories.sqlite.session import Session


def save(session: Session, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
    """Store what decisions change, if nothing that they rest on has changed.

    Raises:
        Conflict: Something has.
    """
    work: dict[str, list[dict[str, object]]] = {}
    progresses: list[dict[str, object]] = []
    entries: list[dict[str, object]] = []
    moved: dict[int, list[Move]] = {}
    counts: dict[int, list[Mapping[tuple[str | None, str], int]]] = {}
    for record, change in writes:
        key = cast("Revision", record.revision)
        told = _entries_of(session, record, change)
        entries += told
        nums = {entry["annotator"]: entry["num"] for entry in told}
        for progress in change.progresses:
            row = progress_row(progress, session.text_num(progress.annotator_id))
            progresses.append({**row._asdict(), "item": key.item, "queue": key.queue, "entry": nums.get(row.annotator)})
        before, after = change.before, change.standing
        is_settling = before.state is not after.state and not SETTLING.isdisjoint((before.state, after.state))
        row_of_work = _work_of(session, record, change, told)
        work.setdefault("settle_work" if is_settling else "change_work", []).append(row_of_work)
        kinds = _kind_of(before), _kind_of(after)
        if kinds[0] != kinds[1]:
            place = QueueKey(key.priority_down, key.created_at, record.item_id)
            moved.setdefault(key.queue, []).append(Move(place, *kinds))
        if change.opens:
            session.reopened(key.queue)
        counts.setdefault(key.queue, []).append(changes(record, change))
    if sum(session.run(statement, rows) for statement, rows in work.items()) != len(writes):
        raise Conflict(f"item {writes[0][0].item_id!r} or another one changed meanwhile")
    # First the log, which takes labels that were not read from the progresses as they were.
    session.run("add_entry", entries)
    session.run("put_progress", progresses)
    for queue, moves in moved.items():
        count_moved(session, queue, moves)
    _count_stretches(session, writes, entries)
    for queue, differences in counts.items():
        summed = differences[0] if len(differences) == 1 else _sum_of(differences)
        session.count(queue, summed, session.log_end(queue) if entries else NO_ENTRIES)


def _count_stretches(
    session: Session, writes: Sequence[tuple[ItemRecord, Change]], entries: Sequence[Mapping[str, object]]
) -> None:
    """Keep what the stretches of the logs count that were appended to."""
    firsts: dict[object, object] = {}
    for entry in entries:
        firsts.setdefault(entry["queue"], entry["num"])
    for queue, first in firsts.items():
        told = [(cast("Revision", record.revision), change) for record, change in writes if change.transitions]
        untold = [
            Telling(key.last_entry, RANKS[change.before.state])
            for key, change in told
            if key.is_told and key.last_entry is not None and key.queue == queue
        ]
        count_appended(session, cast("int", queue), cast("int", first), untold)


def _work_of(
    session: Session, record: ItemRecord, change: Change, told: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    """Give what a change makes of an item's row, and what that row has to be like."""
    key, after = cast("Revision", record.revision), change.standing
    claimable_at = micros_or_none(after.claimable_at)
    if claimable_at is not None and ALWAYS_MICROS < claimable_at < session.next_expiry(key.queue):
        session.set_next_expiry(key.queue, claimable_at)
    return {
        "item": key.item,
        "item_id": record.item_id,
        "revision": key.revision,
        "last_entry": key.last_entry,
        "was_updated_at": to_micros(record.updated_at),
        "queue": key.queue,
        "queue_id": record.queue.id,
        "queue_revision": key.queue_revision,
        "state": RANKS[after.state],
        "settled_as": RANKS[after.state] if after.state in SETTLING else 0,
        "annotator": None if after.annotator_id is None else session.text_num(after.annotator_id),
        "completed": after.completed,
        "skipped": after.skipped,
        "claimable_at": claimable_at,
        "updated_at": to_micros(change.updated_at),
        "is_told": _is_told(change, told),
        "new_steps": len(told),
        "new_last_entry": told[-1]["num"] if told else None,
    }


def _entries_of(session: Session, record: ItemRecord, change: Change) -> list[dict[str, object]]:
    """Give the rows that a change appends to the log of its queue."""
    key = cast("Revision", record.revision)
    starts = {progress.annotator_id: progress.started_at for progress in change.progresses}
    rows: list[dict[str, object]] = []
    before = key.last_entry
    for step, transition in enumerate(change.transitions, record.steps + 1):
        annotator = session.text_num(transition.annotator_id)
        actor = transition.actor_id
        row = transition_row(transition, annotator, None if actor is None else session.text_num(actor))
        end = session.append(key.queue, row.at)
        started_at = starts[transition.annotator_id] if is_settlement(transition) else None
        place = {"queue": key.queue, "num": end.entries, "latest": end.latest, "item": key.item, "step": step}
        rows.append({**row._asdict(), **place, "before": before, "started_at": micros_or_none(started_at)})
        before = end.entries
    return rows


def _is_told(change: Change, told: Sequence[Mapping[str, object]]) -> int | None:
    """Say whether the log tells when the item last changed, as the order of changes needs it; None if that stays as it is."""
    if not told:
        return None
    micros = to_micros(change.updated_at)
    return int(told[-1]["at"] == micros == told[-1]["latest"])


def _kind_of(standing: Standing) -> Kind:
    return Kind(standing.state, standing.claimable_at is not None and standing.claimable_at > ALWAYS)


def _sum_of(differences: Iterable[Mapping[tuple[str | None, str], int]]) -> Counter[tuple[str | None, str]]:
    summed: Counter[tuple[str | None, str]] = Counter()
    for each in differences:
        summed.update(each)
    return summed
