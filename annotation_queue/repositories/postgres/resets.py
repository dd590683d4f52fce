"""Putting progresses on many items back to unstarted, inside one write transaction."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from annotation_queue.query import ItemFilter
from annotation_queue.repositories.postgres.bulk import find_items
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.sql.resets import reset_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue.moves import Reset
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.rows import StoredQueue


class _Place(NamedTuple):
    """The columns of ``touched_places``."""

    priority_down: int
    created_at: int
    id: str


def reset_items(session: Session, queue: StoredQueue, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
    """Put progresses back; the result is that of `Repository.reset`.

    For a filter nobody else may change the queue's items meanwhile. Items that are given by their ids are locked here.
    """
    # Else the queue might get another name between what is read and what is stored.
    session.rows("lock_queue", (queue.num,))
    # Before any item is locked, as whoever changes items does.
    session.long_keys([(queue.num, wanted.actor_id)])
    nums = find_items(session, queue, which)
    item_ids = _touched(session, queue.num, nums) if isinstance(which, ItemFilter) else [*dict.fromkeys(which)]
    read = partial(session.records, queue.queue.project_id, queue_id=queue.queue.id, with_items=False, labels_of=())
    return reset_each(item_ids, wanted, read, session.store)


def _touched(session: Session, queue: int, nums: Sequence[int]) -> list[str]:
    """List the ids of those of some items that anybody ever touched, in queue order."""
    rows = map(_Place._make, session.rows("touched_places", {"queue": queue, "nums": integers(nums)}))
    # Sorted here, since keys of long ids do not sort as the ids do.
    return [place.id for place in sorted(row._replace(id=session.text(queue, row.id)) for row in rows)]
