"""Recounting what is kept beside what it is derived from."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from annotation_queue.counters import counts_of
from annotation_queue.query import search_text
from annotation_queue.records import standing
from annotation_queue.repositories.history_check import history_problems
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.sql.chunks import spans
from annotation_queue.repositories.sql.files import load_statements
from annotation_queue.repositories.sql.rows import STATES, StoredQueue, history_of, micros_or_none, queue_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annotation_queue.repositories.postgres.session import Session

_SQL: Final = load_statements("sql/queues", "postgres/check")

_ITEMS: Final = {
    "live_without_work": "item number {} is live and has no row in work, or is deleted and has one",
    "unlike_work": "item number {} has another id, creation or priority in work",
    "without_id": "item number {} has another id, or none, in item_ids",
    "without_call": "item number {} has another call, or none, in calls",
    "strays": "a progress or transition refers to item number {}, which has no such thing",
    "out_of_order": "the log of item number {} has a gap, or entries that are not in the order of their steps",
    "unlike_log": "item number {} counts other entries than the log has, or names another transaction",
    "misplaced_labels": "item number {} has a label beside the entry of the log that left it",
    "wrong_reservations": "item number {} is reserved for others than its assignees say, or its reservation is not up to date",
}
"""What each statement finds, with the number of an item."""


def problems(session: Session) -> Iterator[str]:
    """Find what is wrong in a schema.

    Args:
        session: A session inside a read snapshot.

    Yields:
        A sentence for each thing that differs from its recount. The cost is linear in all that is stored.
    """
    for statement, text in _ITEMS.items():
        for (num,) in session.composed(_SQL[statement], ()):
            yield text.format(num)
    for queue, index, block in session.composed(_SQL["wrong_blocks"], ()):
        yield f"queue number {queue} counts wrongly in block {block} of index {index}"
    for num, revision in session.rows("all_queues", ()):
        (columns,) = session.rows("queue_by_num", (num,))
        yield from _of_queue(session, StoredQueue(num, revision, queue_of(columns)))


def _of_queue(session: Session, queue: StoredQueue) -> Iterator[str]:
    num, _, entity = queue
    ((searched,),) = session.composed(_SQL["search_name"], (num,))
    if searched != search_text(entity.name):
        yield f"queue {entity.id!r} is searched for by {searched!r} and is called {entity.name!r}"
    counted: Counter[tuple[str | None, str]] = Counter()
    nums = [item for (item,) in session.composed(_SQL["live_nums"], (num,))]
    for span in spans([1] * len(nums)):
        yield from _of_items(session, queue, nums[span], counted)
    kept = {key: n for key, n in session.counts([num]).get(num, {}).items() if n}
    if kept != counted:
        yield f"queue {entity.id!r} counts {kept} instead of {dict(counted)}"


def _of_items(
    session: Session, queue: StoredQueue, nums: Sequence[int], counted: Counter[tuple[str | None, str]]
) -> Iterator[str]:
    """Find what is wrong with live items, and count them."""
    given = (queue.num, integers(nums))
    rows = session.live_rows(queue, nums)
    records = session.records_of(queue, rows.values(), labels_of=None)
    entries: dict[int, list[Sequence[Any]]] = {}
    for item, *entry in session.composed(_SQL["entries"], given):
        entries.setdefault(item, []).append(entry)
    for num, state, annotator, *counts in session.composed(_SQL["kept_standing"], given):
        record = records[num]
        derived = standing(record.progresses, queue.queue)
        counted.update(counts_of(derived, record.progresses))
        kept = (STATES[state], None if annotator is None else session.text(queue.num, annotator), *counts)
        claimable_at = micros_or_none(derived.claimable_at)
        if kept != (derived.state, derived.annotator_id, derived.completed, derived.skipped, claimable_at):
            yield f"item {record.item_id!r} keeps a standing that its progresses do not give: {kept}, not {derived}"
        yield from history_problems(
            record.item_id,
            history_of(record.item_id, entries.get(num, ()), partial(session.text, queue.num)),
            record.progresses,
            created_at=session.item_of(rows[num], queue).created_at,
            updated_at=record.updated_at,
        )
