"""Changing many items of a queue at once: which ones are meant, and what becomes of them, inside one write transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from annotation_queue.json_values import MAX_JSON_BYTES
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.repositories.postgres.blocks import count_moved
from annotation_queue.repositories.postgres.indexes import BlockKey
from annotation_queue.repositories.postgres.queries import Selection
from annotation_queue.repositories.postgres.rows import MOVES, PATCHES, MoveRow, PatchRow, integers
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.chunks import in_chunks, spans
from annotation_queue.repositories.sql.patches import StoredPatch, given
from annotation_queue.repositories.sql.rows import label_text
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from annotation_queue.items import ItemPatch
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.postgres.cache import Revision
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import StoredQueue


MOST_AT_ONCE: Final = 64 << 20
"""How many characters labels have that are stored by one statement; libpq sends no more than 1 GiB."""


def pieces_of(writes: Sequence[tuple[ItemRecord, Change]]) -> list[Sequence[tuple[ItemRecord, Change]]]:
    """Cut changes into lists, each for one statement: several only if their labels are long."""
    if len(writes) * MAX_JSON_BYTES <= MOST_AT_ONCE:
        return [writes]
    sizes = [sum(len(label_text(each.annotation) or "") for each in change.progresses) for _, change in writes]
    return [writes] if sum(sizes) <= MOST_AT_ONCE else [writes[span] for span in spans(sizes)]


def store_in_pieces(session: Session, pieces: Sequence[Sequence[tuple[ItemRecord, Change]]]) -> None:
    """Store changes by several statements; arguments and errors are those of `session.Session.store`, but for the lists."""
    revisions = [cast("Revision", record.revision) for piece in pieces for record, _ in piece]
    if len(pieces) > 1:
        # In one order, as each statement locks its own.
        keys = {
            "queues": integers({each.queue for each in revisions}),
            "nums": integers(each.num for each in revisions),
        }
        session.rows("lock_distributed", keys)
    for piece in pieces:
        session.store(piece)


def find_items(session: Session, queue: StoredQueue, which: Sequence[str] | ItemFilter) -> list[int]:
    """Find the numbers of the live items that are meant, and lock those that are given by ids.

    Args:
        session: The session.
        queue: The queue; for a filter nobody else may change its items meanwhile.
        which: Ids, as for `Repository.update_items`, or a filter.

    Returns:
        The numbers, each once.
    """
    if isinstance(which, ItemFilter):
        return Selection(session, queue, ItemQuery(filter=which)).matching()
    return [num for num, _ in _locked(session, queue.num, which)]


def _locked(session: Session, queue: int, item_ids: Iterable[str]) -> list[tuple[int, str]]:
    """Lock live items of a queue, given by their ids; their numbers, each with the key of its id."""
    wanted = {"ids": sorted({*map(key_of, item_ids)}), "queue": queue}
    return [(num, key) for num, key in session.rows("lock_by_id", wanted)]


def assigned(session: Session, queue: int, assignees: Sequence[str]) -> str | None:
    """Write what is kept of assignees: their keys as a JSON list, or None for nobody."""
    session.long_keys((queue, each) for each in assignees)
    return json.dumps([*map(key_of, assignees)], ensure_ascii=False) if assignees else None


class _Patchable(NamedTuple):
    """The columns of ``patchable``."""

    num: int
    priority_down: int
    display_fields: str
    assignees: str | None
    has_payload: bool
    created_at: int
    id: str
    call_id: str


def update_items(session: Session, queue: StoredQueue, nums: Sequence[int], patch: ItemPatch, at: datetime) -> int:
    """Change live items of a queue, given by their numbers; the result is that of `Repository.update_items`."""
    stored = StoredPatch.of(
        patch,
        lambda fields: json.dumps(fields, ensure_ascii=False),
        lambda assignees: assigned(session, queue.num, assignees),
    )
    return _update(session, queue.num, dict.fromkeys(nums, stored), at)


def reprioritise(session: Session, queue: StoredQueue, priorities: Mapping[str, int], at: datetime) -> int:
    """Change priorities; the result is that of `Repository.reprioritise`."""
    by_key = {key_of(item_id): priority for item_id, priority in priorities.items()}
    found = _locked(session, queue.num, priorities)
    return _update(session, queue.num, {num: StoredPatch(priority_down=~by_key[key]) for num, key in found}, at)


def _update(session: Session, queue: int, patches: Mapping[int, StoredPatch], at: datetime) -> int:
    changed = 0
    for part in in_chunks([*patches]):
        compared = patches[part[0]].compared
        rows = session.rows("patchable", {"queue": queue, "nums": integers(part), **compared})
        found = [row for row in map(_Patchable._make, rows) if patches[row.num].changes(row)]
        changed += len(found)
        new = [PatchRow(row.num, patches[row.num].place(row), patches[row.num].reserved(row)) for row in found]
        session.rows("patch_work", {"queue": queue, "at": to_micros(at), **PATCHES.values(new)})
        moved = [(row, place) for row, (_, place, _) in zip(found, new, strict=True) if row.priority_down != place]
        if moved:
            moves = [MoveRow(row.call_id, place) for row, place in moved]
            session.rows("move_places", {"queue": queue, **MOVES.values(moves)})
            before = [BlockKey("", row.priority_down, row.created_at, row.id) for row, _ in moved]
            count_moved(session, queue, before, [BlockKey("", place, row.created_at, row.id) for row, place in moved])
        for column in ("payload", "display_fields"):
            # One patch gives all of them the same.
            values = given(column, ((row.num, patches[row.num]) for row in found))
            if values:
                nums = integers(num for num, _ in values)
                session.rows(f"patch_{column}", {"queue": queue, "nums": nums, "value": values[0][1]})
    session.count(queue, {}, opened=changed > 0)
    return changed
