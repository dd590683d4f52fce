"""Putting progresses on many items back to unstarted, a list at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annotation_queue.records import put_back
from annotation_queue.repositories.sql.chunks import in_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annotation_queue.moves import Reset
    from annotation_queue.records import Change, ItemRecord


def reset_each(
    item_ids: Sequence[str],
    wanted: Reset,
    read: Callable[[Sequence[str]], Mapping[str, ItemRecord]],
    save: Callable[[Sequence[tuple[ItemRecord, Change]]], object],
) -> int:
    """Put progresses on items back, inside one transaction in which nobody else changes them.

    Args:
        item_ids: The items, each once.
        wanted: Whose progresses, and by whom.
        read: Reads the records of some of the items, by id; those that are not there are left out.
        save: Stores changes.

    Returns:
        How many progresses were put back.
    """
    count = 0
    for part in in_chunks(item_ids):
        records = read(part)
        found = [records[item_id] for item_id in part if item_id in records]
        changes = [(record, change) for record in found if (change := put_back(record, wanted)) is not None]
        if changes:
            save(changes)
        count += sum(len(change.progresses) for _, change in changes)
    return count
