"""Recounting what is kept beside what it is derived from."""

from __future__ import annotations

import sqlite3
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from annotation_queue.counters import counts_of
from annotation_queue.query import search_text
from annotation_queue.records import standing
from annotation_queue.repositories.history_check import history_problems
from annotation_queue.repositories.sql.files import load_statements
from annotation_queue.repositories.sql.rows import (
    ALWAYS_MICROS,
    UNREADABLE,
    ItemRow,
    StoredQueue,
    UnreadableRow,
    history_of,
    micros_or_none,
    queue_of,
)
from annotation_queue.repositories.sqlite import blocks as sqlite_blocks
from annotation_queue.repositories.sqlite import stretches
from annotation_queue.repositories.sqlite.blocks import FIRST_BLOCK, block_problems
from annotation_queue.repositories.sqlite.indexes import COUNTED
from annotation_queue.repositories.sqlite.schema import newest_schema, schema_of
from annotation_queue.repositories.sqlite.statements import SQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from annotation_queue.records import ItemRecord
    from annotation_queue.repositories.sqlite.cache import Revision
    from annotation_queue.repositories.sqlite.session import Session

_SQL: Final = load_statements("sqlite/check")
_COUNTED: Final = {index.num: index for index in COUNTED}
_LOG: Final = {
    "out_of_order": "is not the one after the entry before it, or has a wrong greatest time",
    "broken_chains": "does not go on from the item's entry before it",
    "of_other_queues": "is about an item of another queue",
    "wrong_starts": "has a wrong time of its start",
    "wrong_labels": "has a label that nobody completed",
}
"""What each statement about a log finds."""
_STRETCHES: Final = {
    "wrong_stretches": "tells of other items than it counts",
    "wrong_stretches_of_labels": "has other labels than are counted in it",
}
"""What each statement about the stretches of a log finds."""
_ITEMS: Final = {
    "wrong_ends": "has another number of steps, or another last entry, than the log tells",
    "untold": "is said to have changed last when its last entry was stored, and did not",
    "unlike_state": "stands in queue order with another state than it has",
    "wrong_holds": "is held by others than the counters say",
    "wrong_reservations": "is reserved for others than its assignees say, or its reservation is not up to date",
    "wrong_pointers": "has a progress that was changed by another entry of the log than the one that it names",
    "labels_twice": "has a completed progress with a label of its own beside the one in the log",
}
"""What each statement about the items of a queue finds."""


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
    except (sqlite3.DatabaseError, UnreadableRow, *UNREADABLE) as error:
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
    for (num,) in session.execute(_SQL["removed_twice"]).fetchall():
        yield f"item number {num} is not removed and is kept as such, or is kept with another id, queue or start"
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
    for problem in _of_log(session, num):
        yield f"queue {queue.id!r}: {problem}"
    for kind, number, item in session.execute(_SQL["stray_counters"], {"queue": num}).fetchall():
        yield f"queue {queue.id!r} has a wrong counter of kind {kind}, number {number} and item number {item}"
    for (number,) in session.execute(_SQL["shared_numbers"], {"queue": num}).fetchall():
        yield f"queue {queue.id!r} has several blocks of the number {number}"
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
    """Find what is wrong with a live item; counts it, and notes when the lease ends that keeps it from everybody."""
    row = ItemRow._make(session.execute(SQL["live_items_by_num"], (f"[{num}]",)).fetchone())
    record = session.record_of(row, queue, with_labels=True)
    derived = standing(record.progresses, queue.queue)
    counted.update(counts_of(derived, record.progresses))
    completed, skipped, claimable = session.execute(_SQL["kept_standing"], (num,)).fetchone()
    # It also finds out whether the payload and all else of the item can be read.
    item = session.item_of(row, queue.queue)
    kept = (item.annotation_state, item.annotator_user_id, completed, skipped, claimable)
    claimable_at = micros_or_none(derived.claimable_at)
    if claimable_at is not None and claimable_at > ALWAYS_MICROS and not item.assignees:
        ends.append(claimable_at)
    if kept != (derived.state, derived.annotator_id, derived.completed, derived.skipped, claimable_at):
        yield f"item {record.item_id!r} keeps a standing that its progresses do not give: {kept}, not {derived}"
    yield from _of_history(session, queue.num, record, item.created_at)


def _of_history(session: Session, queue: int, record: ItemRecord, created_at: datetime) -> Iterator[str]:
    item_id = record.item_id
    last_entry = cast("Revision", record.revision).last_entry
    chain = {"queue": queue, "last_entry": last_entry}
    history = history_of(item_id, session.execute(SQL["history"], chain).fetchall(), session.text)
    yield from history_problems(
        item_id, history, record.progresses, created_at=created_at, updated_at=record.updated_at
    )


def _of_log(session: Session, num: int) -> Iterator[str]:
    """Find what is wrong with the log of a queue, with its ends, and with the progresses of its items."""
    of_queue = {"queue": num}
    for statement, text in _LOG.items():
        for (entry,) in session.execute(_SQL[statement], of_queue).fetchall():
            yield f"entry number {entry} of the log {text}"
    for statement, text in _STRETCHES.items():
        for (number,) in session.execute(_SQL[statement], {**of_queue, "size": stretches.SIZE}).fetchall():
            yield f"stretch number {number} of the log {text}"
    for statement, text in _ITEMS.items():
        for (item,) in session.execute(_SQL[statement], of_queue).fetchall():
            yield f"item number {item} {text}"
    kept = session.log_end(num)
    count, latest, erased = session.execute(_SQL["end"], of_queue).fetchone()
    is_latest = latest is None or (latest <= kept.latest if erased else latest == kept.latest)
    if kept.entries != count + erased or not is_latest:
        yield f"the log has {count} entries up to {latest}, {erased} were erased, and the counters say {tuple(kept)}"
