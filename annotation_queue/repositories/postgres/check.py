"""Recounting what is kept beside what it is derived from."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

from annotation_queue.counters import counts_of
from annotation_queue.query import search_text
from annotation_queue.records import standing
from annotation_queue.repositories.history_check import history_problems
from annotation_queue.repositories.postgres.rows import integers
from annotation_queue.repositories.sql.chunks import spans
from annotation_queue.repositories.sql.files import load_statements
from annotation_queue.repositories.sql.rows import STATES, StoredQueue, micros_or_none, queue_of
from annotation_queue.states import make_transition
from annotation_queue.values import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from annotation_queue.records import ItemRecord
    from annotation_queue.repositories.postgres.cache import Revision
    from annotation_queue.repositories.postgres.session import Session

_SQL: Final = load_statements("postgres/check")


def problems(session: Session) -> Iterator[str]:
    """Find what is wrong in a schema.

    Args:
        session: A session inside a read snapshot.

    Yields:
        A sentence for each thing that differs from its recount. The cost is linear in all that is stored.
    """
    for (num,) in session.composed(_SQL["live_without_work"], ()):
        yield f"item number {num} is live and has no row in work, or is deleted and has one"
    for (num,) in session.composed(_SQL["unlike_work"], ()):
        yield f"item number {num} has another id, creation or priority in work"
    for (num,) in session.composed(_SQL["without_id"], ()):
        yield f"item number {num} has another id, or none, in item_ids"
    for (num,) in session.composed(_SQL["without_call"], ()):
        yield f"item number {num} has another call, or none, in calls"
    for (num,) in session.composed(_SQL["strays"], ()):
        yield f"a progress or transition refers to item number {num}, which has no such thing"
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
    steps: dict[int, list[tuple[Any, ...]]] = {}
    for item, *step in session.composed(_SQL["steps"], given):
        steps.setdefault(item, []).append(tuple(step))
    for num, state, annotator, *counts in session.composed(_SQL["kept_standing"], given):
        record = records[num]
        derived = standing(record.progresses, queue.queue)
        counted.update(counts_of(derived, record.progresses))
        kept = (STATES[state], None if annotator is None else session.text(queue.num, annotator), *counts)
        claimable_at = micros_or_none(derived.claimable_at)
        if kept != (derived.state, derived.annotator_id, derived.completed, derived.skipped, claimable_at):
            yield f"item {record.item_id!r} keeps a standing that its progresses do not give: {kept}, not {derived}"
        created_at = session.item_of(rows[num], queue).created_at
        yield from _of_history(session, queue, record, steps.get(num, []), created_at)


def _of_history(
    session: Session, queue: StoredQueue, record: ItemRecord, steps: Sequence[tuple[Any, ...]], created_at: datetime
) -> Iterator[str]:
    history = [
        make_transition(
            item_id=record.item_id,
            annotator_id=session.text(queue.num, annotator),
            from_state=STATES[before],
            to_state=STATES[after],
            at=from_micros(at),
            reason=reason,
        )
        for annotator, before, after, at, reason, _, _ in steps
    ]
    item_id, revision = record.item_id, cast("Revision", record.revision)[3]
    yield from history_problems(
        item_id, history, record.progresses, created_at=created_at, updated_at=record.updated_at
    )
    numbers = [(0, 0), *((step[5], step[6]) for step in steps)]
    for before, after in pairwise(numbers):
        if after != (before[0], before[1] + 1) and (after[0] <= before[0] or after[1] != 0):
            yield f"the history of item {item_id!r} has step {after} after {before}"
    if numbers[-1][0] > revision:
        yield f"the history of item {item_id!r} is ahead of the item"
