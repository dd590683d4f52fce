"""One connection at work inside one transaction: reads records, stores changes."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

import attrs

from annotation_queue.counters import changes
from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound
from annotation_queue.records import ItemRecord, make_record
from annotation_queue.repositories.postgres.statements import SQL, integers, placed
from annotation_queue.repositories.postgres.texts import is_long, key_of
from annotation_queue.repositories.sql.rows import (
    KIND_NAMES,
    RANKS,
    ItemRow,
    StoredQueue,
    Texts,
    item_of,
    micros_or_none,
    progress_row,
    progresses_of,
    queue_of,
)
from annotation_queue.states import UNREAD, with_annotation
from annotation_queue.values import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    from psycopg import Cursor
    from psycopg.rows import TupleRow

    from annotation_queue.items import QueueItem
    from annotation_queue.records import Change
    from annotation_queue.repositories.postgres.cache import Cache, Revision
    from annotation_queue.repositories.postgres.connections import Transaction
    from annotation_queue.states import Progress

OPENINGS: Final = "openings"
"""Counts how often items became open or work was reopened, beside what `counters.counts_of` counts."""
_COUNTED: Final = (*KIND_NAMES, OPENINGS)

Counts: TypeAlias = "Mapping[tuple[str | None, str], int]"
"""As `counters.counts_of` keys them."""
LiveQueue: TypeAlias = StoredQueue


class Session:
    """A connection for the length of one transaction.

    Args:
        transaction: The transaction, which the session enters and leaves.
        cache: What is known of the schema's queues.
    """

    def __init__(self, transaction: Transaction, cache: Cache) -> None:
        self.cache = cache
        self._transaction = transaction
        self._texts: dict[tuple[int, str], str] = {}
        self._cursor: Cursor[TupleRow]

    def __enter__(self) -> Self:
        self._cursor = self._transaction.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transaction.__exit__(kind, error, traceback)

    def rows(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> list[TupleRow]:
        """Execute a statement of `SQL`, and read all that it gives."""
        cursor = self._cursor.execute(SQL[statement], values)
        # Its description would be made anew, a column at a time.
        return cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else []

    def row(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> TupleRow | None:
        """Execute a statement of `SQL`, and read the only row that it gives, or None."""
        return next(iter(self.rows(statement, values)), None)

    def value(self, statement: str, values: Sequence[object]) -> Any:  # noqa: ANN401 - a column of any type
        """Execute a statement of `SQL` that gives one row of one column, and read it."""
        ((found,),) = self.rows(statement, values)
        return found

    def composed(self, text: str, values: Sequence[object]) -> list[TupleRow]:
        """Execute a statement that was composed; it is planned for its values each time."""
        return self._cursor.execute(placed(text), values, prepare=False).fetchall()

    def long_keys(self, texts: Iterable[tuple[int, str]]) -> None:
        """Store what the keys of long texts of queues stand for; only inside a write transaction."""
        # In one order, since who adds the same text waits for the other transaction to end.
        long = sorted({(queue, key_of(text)): text for queue, text in texts if is_long(key_of(text))}.items())
        if long:
            columns = zip(*((*key, text) for key, text in long), strict=True)
            queues, keys, told = map(list, columns)
            self.rows("add_long_texts", (integers(queues), keys, told))

    def text(self, queue: int, key: str) -> str:
        """Read what a key stands for."""
        if not is_long(key):
            return key
        if (queue, key) not in self._texts:
            self._texts[queue, key] = self.value("long_text", (queue, key))
        return self._texts[queue, key]

    def analyze(self) -> None:
        """Let the server look at the tables that items are added to, unless it does already."""
        self._cursor.execute("ANALYZE (SKIP_LOCKED) items, work, item_ids, calls", prepare=False)

    # Records

    def queue(self, project_id: str, queue_id: str) -> LiveQueue:
        """Read a live queue of a project, with its number and revision.

        Raises:
            QueueNotFound: There is none.
        """
        return self.live_queue(self.row("queue_by_id", (queue_id,)), project_id, queue_id)

    def live_queue(self, version: Sequence[Any] | None, project_id: str, queue_id: str) -> LiveQueue:
        """Give a queue from the columns of ``queue_version``; None for one that is not there.

        Raises:
            QueueNotFound: It is no live queue of the project.
        """
        queue = None if version is None else self._queue_of(version)
        if queue is None or (queue[2].id, queue[2].project_id) != (queue_id, project_id) or queue[2].deleted_at:
            raise QueueNotFound(queue_id)
        return queue

    def num(self, queue_id: str) -> int:
        """Find the number of a queue of any project.

        Raises:
            QueueNotFound: There is none; whether it is live, and of which project, is not looked at.
        """
        newest = self.cache.versions.get(queue_id)
        if newest is not None:
            return newest[0]
        version = self.row("queue_by_id", (queue_id,))
        if version is None:
            raise QueueNotFound(queue_id)
        return self._queue_of(version)[0]

    def _queue_of(self, version: Sequence[Any]) -> LiveQueue:
        num, revision, updated_at = version
        queue = self.cache.queues.get((num, revision, updated_at))
        if queue is None:
            (columns,) = self.rows("queue_by_num", (num,))
            queue = queue_of(columns)
            self.cache.keep((num, revision, updated_at), queue)
        return StoredQueue(num, revision, queue)

    def records(
        self,
        project_id: str,
        item_ids: Iterable[str],
        queue_id: str | None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None,
    ) -> dict[str, ItemRecord]:
        """Read what decisions rest on; arguments, result and errors are those of `Repository.get_records`."""
        if queue_id is not None:
            self.queue(project_id, queue_id)
        records: dict[str, ItemRecord] = {}
        for item_id in item_ids:
            with suppress(ItemNotFound):
                record = self.record(project_id, item_id, queue_id)
                item = self.item(project_id, item_id, queue_id) if with_items else None
                shown = (
                    each if labels_of is None or each.annotator_id in labels_of else with_annotation(each, UNREAD)
                    for each in record.progresses
                )
                records[item_id] = attrs.evolve(record, item=item, progresses=tuple(shown))
        return records

    def record(self, project_id: str, item_id: str, queue_id: str | None) -> ItemRecord:
        """Read what a decision rests on; arguments, result and errors are those of `Repository.get_item`."""
        queue, rows = self._found("live_record", project_id, item_id, queue_id)
        item, revision, updated_at = rows[0][:3]
        progresses = self._progresses(queue[0], item_id, [row[3:] for row in rows if row[3] is not None])
        return make_record(item_id, queue[2], from_micros(updated_at), progresses, (*queue[:2], item, revision), None)

    def item(self, project_id: str, item_id: str, queue_id: str | None) -> QueueItem:
        """Read an item; arguments, result and errors are those of `Repository.get_item`."""
        queue, (row,) = self._found("live_item", project_id, item_id, queue_id)
        return self.item_of(row, queue)

    def _found(
        self, statement: str, project_id: str, item_id: str, queue_id: str | None
    ) -> tuple[LiveQueue, list[TupleRow]]:
        """Read what is stored of an item and the version of its queue; give the queue, and the rows without that."""
        key = key_of(item_id)
        rows = self.rows(statement, (key, None if queue_id is None else self.num(queue_id), key))
        if queue_id is None:
            owner = self._queue_of(rows[0][:3])[2] if rows else None
            if owner is None or owner.project_id != project_id:
                raise ItemNotFound(item_id)
            queue_id = owner.id
        queue = self.live_queue(rows[0][:3] if rows else None, project_id, queue_id)
        if rows[0][3] is None:
            raise ItemNotFound(item_id)
        return queue, [row[3:] for row in rows]

    def live_rows(self, queue: LiveQueue, nums: Iterable[int]) -> dict[int, TupleRow]:
        """Read the columns of ``live_item`` of items by their numbers, in no order."""
        return {row[0]: row for row in self.rows("live_items_by_num", (queue[0], integers(nums)))}

    def records_of(self, queue: LiveQueue, rows: Iterable[TupleRow]) -> dict[int, ItemRecord]:
        """Build the records of items from the columns of ``live_item``, by their numbers."""
        given = list(rows)
        # An item of revision 0 was never touched.
        touched = [row[0] for row in given if row[1]]
        found: dict[int, list[TupleRow]] = {}
        if touched:
            for num, *row in self.rows("progresses_by_num", (queue[0], integers(touched))):
                found.setdefault(num, []).append(tuple(row))
        records: dict[int, ItemRecord] = {}
        for columns in given:
            num, item_id = columns[0], self.text(queue[0], columns[2])
            progresses = self._progresses(queue[0], item_id, found.get(num, ()))
            revision: Revision = (*queue[:2], num, columns[1])
            records[num] = make_record(item_id, queue[2], from_micros(columns[13]), progresses, revision, None)
        return records

    def item_of(self, row: Sequence[Any], queue: LiveQueue) -> QueueItem:
        """Build an item in the aggregate view from a row that begins with the columns of an `ItemRow`."""
        text = partial(self.text, queue.num)
        return item_of(ItemRow._make(row[: len(ItemRow._fields)]), queue.queue, Texts(text, text, text, _fields_of))

    def _progresses(self, queue: int, item_id: str, rows: Iterable[Sequence[Any]]) -> tuple[Progress, ...]:
        return progresses_of(item_id, rows, partial(self.text, queue))

    # Changes

    def store(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """Store what decisions change, if nothing that they rest on has changed; the queues have to be locked.

        Raises:
            Conflict: Something has.
        """
        work: list[tuple[object, ...]] = []
        progresses: list[tuple[object, ...]] = []
        transitions: list[tuple[object, ...]] = []
        counts: Counter[tuple[int, str, str]] = Counter()
        self.long_keys(
            (cast("Revision", record.revision)[0], each.annotator_id)
            for record, change in writes
            for each in change.progresses
        )
        for record, change in writes:
            queue, queue_revision, item, revision = cast("Revision", record.revision)
            after = change.standing
            work.append(
                (
                    queue,
                    queue_revision,
                    item,
                    revision,
                    RANKS[after.state],
                    after.completed,
                    after.skipped,
                    micros_or_none(after.claimable_at),
                    to_micros(change.updated_at),
                    None if after.annotator_id is None else key_of(after.annotator_id),
                )
            )
            for each in change.progresses:
                row = progress_row(each, key_of(each.annotator_id))
                times = (row.lease_expires_at, row.created_at, row.updated_at)
                progresses.append(
                    (queue, item, row.state, row.token, *times, row.annotator, row.annotation, row.reason)
                )
            for step, each_step in enumerate(change.transitions):
                moved = (to_micros(each_step.at), RANKS[each_step.from_state], RANKS[each_step.to_state])
                who = key_of(each_step.annotator_id)
                transitions.append((queue, item, revision + 1, step, *moved, who, each_step.reason))
            for (annotator_id, kind), n in changes(record, change).items():
                counts[queue, key_of(annotator_id or ""), kind] += n
            counts[queue, "", OPENINGS] += change.opens
        locked = (integers(row[0] for row in work), integers(row[2] for row in work))  # type: ignore[misc]
        n = len(work)
        values = [*locked, *_arrays(work, 10, 9), *_arrays(progresses, 10, 7), n, *_arrays(transitions, 9, 7), n]
        if self.value("store", (*values, *_arrays(_rows_of(counts), 9, 8), n)) != n:
            raise Conflict(f"item {writes[0][0].item_id!r} or another one changed meanwhile")

    def count(self, queue: int, counts: Counts, *, opened: bool = False) -> None:
        """Add to the counters of a queue; the last that a transaction writes."""
        summed = Counter({(queue, key_of(annotator_id or ""), kind): n for (annotator_id, kind), n in counts.items()})
        summed[queue, "", OPENINGS] += opened
        self.rows("count", _arrays(_rows_of(summed), 9, 8))

    def counts(self, queues: Iterable[int]) -> dict[int, dict[tuple[str | None, str], int]]:
        """Read the counters of queues, by number, keyed as `counters.counts_of` does; a queue without any is not there."""
        found: dict[int, dict[tuple[str | None, str], int]] = {}
        for queue, annotator, *row in self.rows("counters", (integers(queues),)):
            name = self.text(queue, annotator) if annotator else None
            for kind, n in zip(KIND_NAMES, row, strict=True):
                found.setdefault(queue, {})[name, kind] = n
        return found


def _fields_of(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _rows_of(counts: Counter[tuple[int, str, str]]) -> list[tuple[object, ...]]:
    """Turn counts into rows of ``counters``, in the one order in which every transaction locks them."""
    rows = sorted({key[:2] for key, n in counts.items() if n})
    return [(queue, *(counts[queue, name, kind] for kind in _COUNTED), name) for queue, name in rows]


def _arrays(rows: Sequence[Sequence[Any]], width: int, numbers: int) -> list[object]:
    """Turn rows into an array for each column; so many first columns are integers, the others text."""
    columns = list(zip(*rows, strict=True)) or [()] * width
    return [*map(integers, columns[:numbers]), *map(list, columns[numbers:])]
