"""Putting progresses on many items back to unstarted, inside one write transaction."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from annotation_queue.query import ItemFilter
from annotation_queue.repositories.sql.resets import reset_each
from annotation_queue.repositories.sqlite.bulk import find_items
from annotation_queue.repositories.sqlite.changes import save
from annotation_queue.repositories.sqlite.statements import SQL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue.moves import Reset
    from annotation_queue.repositories.sql.rows import StoredQueue
    from annotation_queue.repositories.sqlite.session import Session


def reset_items(session: Session, queue: StoredQueue, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
    """Put progresses back; the result is that of `Repository.reset`."""
    item_ids = _touched(session, queue.num, which) if isinstance(which, ItemFilter) else [*dict.fromkeys(which)]
    read = partial(session.records, queue.queue.project_id, queue_id=queue.queue.id)
    return reset_each(item_ids, wanted, read, partial(save, session))


def _touched(session: Session, queue: int, wanted: ItemFilter) -> list[str]:
    """List the ids of the items that a filter shows, but for those that nobody ever touched, in queue order."""
    nums = json.dumps(find_items(session, queue, wanted))
    return [item_id for (item_id,) in session.execute(SQL["touched_ids"], (nums,))]
