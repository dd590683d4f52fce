"""What changes of items become in the tables: rows for the statements that store them."""

from __future__ import annotations

import random
from collections import Counter
from operator import add
from typing import TYPE_CHECKING, Final, cast

from annotation_queue.counters import changes
from annotation_queue.repositories.postgres.apart import store_apart
from annotation_queue.repositories.postgres.rows import (
    COUNTS,
    ENTRIES,
    PROGRESSES,
    QUEUES,
    STANDINGS,
    CounterRow,
    EntryKey,
    ItemKey,
    QueueRow,
    StandingRow,
    integers,
)
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.rows import (
    KIND_NAMES,
    OWN_KINDS,
    RANKS,
    ProgressRow,
    micros_or_none,
    progress_row,
    transition_row,
)
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.postgres.cache import Revision
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import TransitionRow

OPENINGS: Final = "openings"
"""Grows whenever items become open or work is reopened, beside what `counters.counts_of` counts. By how much is drawn by
lot: in a schema that was restored to an earlier time it comes to another sum than before."""
_COUNTED: Final = CounterRow._fields[2:]
_NOTHING: Final = (0,) * len(_COUNTED)
_COLUMN: Final[dict[str, int]] = {kind: _COUNTED.index(kind) for kind in (*KIND_NAMES, OPENINGS)}
_OWN_COLUMN: Final[dict[str, int]] = {kind: _COUNTED.index(f"own_{kind}") for kind in OWN_KINDS}
"""Where a kind is counted of a queue, and of an annotator in it."""


def store_one(session: Session, record: ItemRecord, change: Change, standing: StandingRow) -> int:
    """Store a change that consists of one progress and one entry of the log, and opens nothing; count it."""
    (progress,), (transition,) = change.progresses, change.transitions
    queue, annotator = standing.queue, key_of(progress.annotator_id)
    actor = None if transition.actor_id is None else key_of(transition.actor_id)
    entry = EntryKey(queue, standing.num, record.steps + 1, session.next_place())
    lock = session.connections.lock_of(queue)
    counts = counts_of_one(changes(record, change))
    values = {
        "space": lock.space,
        "lock": lock.lock,
        "version": session.connections.version,
        "queue": str(queue),
        "queue_revision": str(standing.queue_revision),
        "annotator": annotator,
        **STANDINGS.values_of_one(standing),
        **PROGRESSES.values_of_one(ItemKey(queue, standing.num), progress_row(progress, annotator)),
        **ENTRIES.values_of_one(entry, transition_row(transition, annotator, actor)),
        "counts": counts,
    }
    stored: int = session.value("store_one", values)
    session.counted[queue] = session.counted.get(queue, 0) + (counts is not None)
    return stored


def store_all(session: Session, writes: Sequence[tuple[ItemRecord, Change]], standings: Sequence[StandingRow]) -> int:
    """Store changes of any kind; count the items."""
    progress_keys: list[ItemKey] = []
    progresses: list[ProgressRow] = []
    entry_keys: list[EntryKey] = []
    entries: list[TransitionRow] = []
    counts: Counter[tuple[int, str, str]] = Counter()
    for (record, change), standing in zip(writes, standings, strict=True):
        queue, num = standing.queue, standing.num
        progress_keys += [ItemKey(queue, num)] * len(change.progresses)
        progresses += [progress_row(each, key_of(each.annotator_id)) for each in change.progresses]
        for step, each_step in enumerate(change.transitions, record.steps + 1):
            entry_keys.append(EntryKey(queue, num, step, session.next_place()))
            actor = None if each_step.actor_id is None else key_of(each_step.actor_id)
            entries.append(transition_row(each_step, key_of(each_step.annotator_id), actor))
        for (annotator_id, kind), n in changes(record, change).items():
            counts[queue, key_of(annotator_id or ""), kind] += n
        counts[queue, "", OPENINGS] += drawn() if change.opens else 0
    locks = {row.queue: session.connections.lock_of(row.queue) for row in standings}
    counted = counter_rows(counts)
    values: dict[str, object] = {
        "space": locks[standings[0].queue].space,
        "version": session.connections.version,
        "n": len(standings),
        **QUEUES.values([QueueRow(queue, each.lock) for queue, each in locks.items()]),
        **STANDINGS.values(standings),
        **PROGRESSES.values(progress_keys, progresses),
        **ENTRIES.values(entry_keys, entries),
        **COUNTS.values(counted),
    }
    is_apart = session.connections.is_distributed
    stored: int = store_apart(session, standings, values) if is_apart else session.value("store", values)
    session.take_note(counted)
    return stored


def drawn() -> int:
    """Draw by how much `OPENINGS` grow."""
    return random.getrandbits(32) + 1


def standing_row(record: ItemRecord, change: Change) -> StandingRow:
    """Say what a change does to an item."""
    after = change.standing
    return StandingRow(
        *cast("Revision", record.revision),
        id=key_of(record.item_id),
        state=RANKS[after.state],
        annotator=None if after.annotator_id is None else key_of(after.annotator_id),
        completed=after.completed,
        skipped=after.skipped,
        claimable_at=micros_or_none(after.claimable_at),
        updated_at=to_micros(change.updated_at),
        told=len(change.transitions),
    )


def is_one_step(change: Change) -> bool:
    """Tell whether a change consists of one progress and one entry of the log, and opens nothing."""
    return len(change.progresses) == len(change.transitions) == 1 and not change.opens


def counts_of_one(counts: Mapping[tuple[str | None, str], int]) -> str | None:
    """Give what a statement adds to counters if one annotator changes one progress, in the order of ``count_columns``."""
    if not counts:
        return None
    row = [*_NOTHING]
    for (annotator_id, kind), n in counts.items():
        row[(_COLUMN if annotator_id is None else _OWN_COLUMN)[kind]] = n
    return integers(row)


def counter_rows(counts: Mapping[tuple[int, str, str], int]) -> list[CounterRow]:
    """Turn counts into rows of ``counters``; what is counted of a queue stands in the row of its first annotator, if any."""
    rows: dict[tuple[int, str], list[int]] = {}
    for (queue, annotator, kind), n in counts.items():
        if n:
            columns = _OWN_COLUMN if annotator else _COLUMN
            rows.setdefault((queue, annotator), [*_NOTHING])[columns[kind]] = n
    made: list[CounterRow] = []
    for (queue, annotator), row in sorted(rows.items()):
        of_queue = made.pop()[2:] if made and made[-1][:2] == (queue, "") else _NOTHING
        made.append(CounterRow(queue, annotator, *map(add, of_queue, row)))
    return made
