"""Recounting what is kept beside what it is derived from."""

from __future__ import annotations

import sqlite3
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from annotation_queue.counters import counts_of
from annotation_queue.query import search_text
from annotation_queue.records import standing
from annotation_queue.repositories.history_check import history_problems
from annotation_queue.repositories.sql.files import load_statements
from annotation_queue.repositories.sql.rows import (
    ALWAYS_MICROS,
    STATES,
    UNREADABLE,
    StoredQueue,
    micros_or_none,
    queue_of,
)
from annotation_queue.repositories.sqlite import blocks as sqlite_blocks
from annotation_queue.repositories.sqlite.blocks import FIRST_BLOCK, block_problems
from annotation_queue.repositories.sqlite.indexes import COUNTED
from annotation_queue.repositories.sqlite.schema import newest_schema, schema_of
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.states import make_transition
from annotation_queue.values import from_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from annotation_queue.records import ItemRecord
    from annotation_queue.repositories.sqlite.session import Session

_SQL: Final = load_statements("sqlite/check")
_COUNTED: Final = {index.num: index for index in COUNTED}


def problems(session: Session) -> Iterator[str]:
    """Find what is wrong with a file.

    Args:
        session: A session inside a read snapshot.

    Yields:
        A sentence for each thing that differs from its recount, or cannot be read. The cost is linear in all that is stored.
    """
    yield from _readable("the file", partial(_file_problems, session))
    for num, revision in session.execute(SQL["all_queues"]).fetchall():
        yield from _readable(f"queue number {num}", partial(_of_queue, session, num, revision))


def _readable(what: str, find: Callable[[], Iterable[str]]) -> list[str]:
    """List problems; one of them is that what holds them cannot be read."""
    try:
        return list(find())
    except (sqlite3.DatabaseError, *UNREADABLE) as error:
        return [f"{what} cannot be read ({type(error).__name__}: {error})"]


def _file_problems(session: Session) -> Iterator[str]:
    for (line,) in session.execute(SQL["integrity"]).fetchall():
        if line != "ok":
            yield f"SQLite finds the file damaged: {line}"
    for table, *_ in session.execute(SQL["foreign_keys"]).fetchall():
        yield f"a row of {table} refers to a row that is not there"
    # What somebody added, such as a view of their own, is no harm.
    schema = schema_of(session.execute)
    for (kind, name), sql in newest_schema().items():
        if schema.get((kind, name), "") != sql:
            yield f"the {kind} {name} is not the one of this schema version"
    for (num,) in session.execute(_SQL["live_without_work"]).fetchall():
        yield f"item number {num} is live and has no row in work, or is deleted and has one"
    for (num,) in session.execute(_SQL["unlike_work"]).fetchall():
        yield f"item number {num} has another id, queue, operation or start in work"


def _of_queue(session: Session, num: int, revision: int) -> Iterator[str]:
    queue = queue_of(session.execute(SQL["queue_by_num"], (num,)).fetchone())
    (searched,) = session.execute(_SQL["search_name"], (num,)).fetchone()
    if searched != search_text(queue.name):
        yield f"queue {queue.id!r} is searched for by {searched!r} and is called {queue.name!r}"
    counted: Counter[tuple[str | None, str]] = Counter()
    earliest: list[int] = []
    for (item,) in session.execute(SQL["live_nums"], (num,)).fetchall():
        of_item = partial(_of_item, session, item, StoredQueue(num, revision, queue), counted, earliest)
        yield from _readable(f"item number {item}", of_item)
    kept_counts = {key: n for key, n in session.counts(num).items() if n}
    if kept_counts != counted:
        yield f"queue {queue.id!r} counts {kept_counts} instead of {dict(counted)}"
    for problem in (*block_problems(session, num), *_shapes_of_blocks(session, num)):
        yield f"queue {queue.id!r}: {problem}"
    for name, live in session.execute(_SQL["wrong_ops"], (num,)).fetchall():
        yield f"queue {queue.id!r} counts {live} items of the operation {name!r}, which is wrong"
    next_expiry = session.execute(SQL["next_expiry"], (num,)).fetchone()
    if earliest and (next_expiry is None or next_expiry[0] > min(earliest)):
        yield f"queue {queue.id!r} expects its next expired lease after the lease of one of its items ends"


def _shapes_of_blocks(session: Session, num: int) -> Iterator[str]:
    """Find blocks that are no blocks of their index, whatever they count."""
    for number, a, b, item_id, n in session.execute(_SQL["block_shapes"], (num,)).fetchall():
        index = _COUNTED.get(number)
        if index is None:
            yield f"a block is one of index {number}, which there is not"
        elif n > 2 * sqlite_blocks.SIZE:
            yield f"{index.index} has a block of {n} items, which had to be split"
        elif (a, b, item_id) != FIRST_BLOCK and any((a, b)[len(index.columns) - 1 :]):
            yield f"{index.index} has a block that begins at {(a, b, item_id)}, in columns that it has not"


def _of_item(
    session: Session,
    num: int,
    queue: StoredQueue,
    counted: Counter[tuple[str | None, str]],
    ends: list[int],
) -> Iterator[str]:
    """Find what is wrong with a live item; counts it, and adds when its lease ends where one keeps it from everybody."""
    record = session.record_by_num(num, queue)
    derived = standing(record.progresses, queue[2])
    counted.update(counts_of(derived, record.progresses))
    state, annotator, *counted_so = session.execute(SQL["kept_standing"], (num,)).fetchone()
    kept = (STATES[state], session.text_or_none(annotator), *counted_so)
    claimable_at = micros_or_none(derived.claimable_at)
    if claimable_at is not None and claimable_at > ALWAYS_MICROS:
        ends.append(claimable_at)
    if kept != (derived.state, derived.annotator_id, derived.completed, derived.skipped, claimable_at):
        yield f"item {record.item_id!r} keeps a standing that its progresses do not give: {kept}, not {derived}"
    created_at = record.updated_at
    if queue[2].deleted_at is None:
        # It also finds out whether the payload and all else of the item can be read.
        created_at = session.item(queue[2].project_id, record.item_id, queue[2].id).created_at
    yield from _of_history(session, num, record, created_at)


def _of_history(session: Session, num: int, record: ItemRecord, created_at: datetime) -> Iterator[str]:
    item_id = record.item_id
    history = [
        make_transition(
            item_id=item_id,
            annotator_id=session.text(annotator),
            from_state=STATES[before],
            to_state=STATES[after],
            at=from_micros(at),
            reason=reason,
        )
        for annotator, before, after, at, reason in session.execute(SQL["transitions"], (num,)).fetchall()
    ]
    yield from history_problems(
        item_id, history, record.progresses, created_at=created_at, updated_at=record.updated_at
    )
    steps = session.execute(_SQL["steps"], (num,)).fetchall()
    for before, after in zip([(0, 0), *steps], steps, strict=False):
        if after != (before[0], before[1] + 1) and (after[0] <= before[0] or after[1] != 0):
            yield f"the history of item {item_id!r} has step {after} after {before}"
    if steps and steps[-1][0] > record.revision[3]:  # type: ignore[index]  # a `Revision`
        yield f"the history of item {item_id!r} is ahead of the item"
