"""One connection at work inside one transaction: reads records, stores changes."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

import attrs
from psycopg.types.numeric import Int8

from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound, StorageBusy
from annotation_queue.records import item_of as item_in
from annotation_queue.records import make_record
from annotation_queue.repositories.postgres.apart import count_apart, keep_apart
from annotation_queue.repositories.postgres.bounded import BoundedConnection
from annotation_queue.repositories.postgres.cache import Revision, Version
from annotation_queue.repositories.postgres.changes import (
    OPENINGS,
    counter_rows,
    drawn,
    is_one_step,
    standing_row,
    store_all,
    store_one,
)
from annotation_queue.repositories.postgres.rows import (
    COUNTS,
    LONG_TEXTS,
    STANDINGS,
    CounterRow,
    FoundRow,
    LongTextRow,
    integers,
    split,
)
from annotation_queue.repositories.postgres.statements import SENT, ordered, placed
from annotation_queue.repositories.postgres.texts import KEY_LENGTH, is_long, key_of
from annotation_queue.repositories.sql.rows import (
    KIND_NAMES,
    OWN_KINDS,
    ItemRow,
    ProgressRow,
    Remembered,
    StoredQueue,
    Texts,
    item_of,
    progresses_of,
    queue_of,
    queue_values,
    reads_rows,
)
from annotation_queue.values import from_micros

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    from psycopg import Connection, Cursor
    from psycopg.rows import TupleRow

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.postgres.cache import Cache
    from annotation_queue.repositories.postgres.connections import Transaction

_HOT: Final = frozenset(
    {
        "claim_one_from_mark",
        "claim_one_untouched",
        "claim_untouched",
        "joined_lock_claimable",
        "joined_lock_claimable_from_mark",
        "lock_claimable",
        "lock_claimable_from_mark",
        "records",
        "store",
        "store_one",
    }
)
_HOTTEST: Final = frozenset({"claim_one_from_mark", "claim_one_untouched", "store_one"})
"""Those of them that most calls are, if they are transactions by themselves."""

OUTRAN: Final = "an item was changed by a transaction that began after yours; roll yours back and begin it again"
"""What is said where an entry would come in the log before those that an item has."""

Counts: TypeAlias = "Mapping[tuple[str | None, str], int]"
"""As `counters.counts_of` keys them."""
Values: TypeAlias = "Sequence[object] | Mapping[str, object]"
"""What a statement's placeholders stand for, by place or by name."""
LiveQueue: TypeAlias = StoredQueue


class NotByItself(Exception):
    """One statement does not tell all that was asked for: what else there is has to be read at the same instant."""


class Renumbered(Exception):
    """A queue has another number than the one that is remembered: the schema was restored to an earlier time meanwhile."""


class Session:
    """A connection for the length of one transaction.

    Args:
        transaction: The transaction, which the session enters and leaves.
        cache: What is known of the schema's queues.
        is_alone: Whether it is for one statement, which may be a transaction by itself.
    """

    def __init__(self, transaction: Transaction, cache: Cache, *, is_alone: bool = False) -> None:
        self.cache = cache
        self.connections = transaction.connections
        self.counted: dict[int, int] = {}
        """How many rows of counters were added, by the numbers of the queues."""
        self._transaction = transaction
        self._is_alone = is_alone
        self._done = 0
        self._texts: dict[tuple[int, str], str] = {}
        self._connection: Connection[Any]

    @cached_property
    def _cursor(self) -> Cursor[TupleRow]:
        return self.connections.cursor(self._connection)

    def __enter__(self) -> Self:
        self._connection = self._transaction.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transaction.__exit__(kind, error, traceback)

    def rows(self, statement: str, values: Values) -> list[TupleRow]:
        """Execute a statement of `statements.SQL`, and read all that it gives.

        Raises:
            NotByItself: The session is for one statement, and there was one.
        """
        if self._is_alone and self._done:
            raise NotByItself
        return self._rows(statement, values)

    def _rows(self, statement: str, values: Values) -> list[TupleRow]:
        self._done += 1
        connection = self._connection
        if (
            self._is_alone
            and statement in _HOTTEST
            and isinstance(connection, BoundedConnection)
            and connection.prepares
        ):
            return connection.ask(statement, SENT[statement], ordered(statement, values))
        cursor = self._cursor
        # What is asked all the time is prepared at once, if anything is.
        prepare = True if statement in _HOT and connection.prepare_threshold is not None else None
        cursor.execute(SENT[statement], ordered(statement, values), prepare=prepare)
        # Its description would be made anew, a column at a time.
        return cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else []

    def row(self, statement: str, values: Values) -> TupleRow | None:
        """Execute a statement of `statements.SQL`, and read the only row that it gives, or None."""
        return next(iter(self.rows(statement, values)), None)

    def value(self, statement: str, values: Values) -> Any:  # noqa: ANN401 - a column of any type
        """Execute a statement of `statements.SQL` that gives one row of one column, and read it."""
        ((found,),) = self.rows(statement, values)
        return found

    def composed(self, text: str, values: Sequence[object], *, is_kept: bool = False) -> list[TupleRow]:
        """Execute a statement that was composed.

        Args:
            text: The statement.
            values: What its placeholders stand for.
            is_kept: Whether the same text comes again and again, and its best plan hangs on no value: then it is prepared.
        """
        if is_kept:
            # Numbers have one type whatever their size.
            values = [Int8(each) if isinstance(each, int) else each for each in values]
        return self._cursor.execute(placed(text), values, prepare=None if is_kept else False).fetchall()

    def long_keys(self, texts: Iterable[tuple[int, str]]) -> None:
        """Store what the keys of long texts of queues stand for; only inside a write transaction."""
        # In one order, since who adds the same text waits for the other transaction to end.
        keyed = {(queue, key_of(text)): text for queue, text in texts if len(text) >= KEY_LENGTH}
        if keyed and self._is_alone:
            raise NotByItself
        if keyed:
            long = [LongTextRow(queue, key, text) for (queue, key), text in sorted(keyed.items())]
            is_apart = self.connections.is_distributed
            kept = partial(keep_apart, self) if is_apart else partial(self.value, "add_long_texts")
            while kept(LONG_TEXTS.values(long)) < len(long):
                continue

    def text(self, queue: int, key: str) -> str:
        """Read what a key stands for."""
        if not is_long(key):
            return key
        if (queue, key) not in self._texts:
            # What is found never changes, so that it need not be read at the same instant, unless it was erased meanwhile.
            found = self._rows("long_text", (queue, key))
            if self._is_alone and not found:
                raise NotByItself
            ((self._texts[queue, key],),) = found
        return self._texts[queue, key]

    def ping(self) -> None:
        """Ask the server for an answer, and the schema for its version."""
        self._cursor.execute("SELECT version FROM annotation_queue_schema", prepare=False)

    def sort(self, *, allowed: bool) -> None:
        """Say whether what an index has in order may be sorted instead; until the transaction ends."""
        switched = "on" if allowed else "off"
        text = "SELECT set_config('enable_sort', ?, TRUE), set_config('enable_incremental_sort', ?, TRUE)"
        self.composed(text, (switched, switched))

    def believed(self, queue: int) -> int:
        """Say how many items the server believes that a queue has, which it plans with."""
        (((explained, *_),),) = self.composed("EXPLAIN (FORMAT JSON) SELECT FROM work WHERE queue = ?", (queue,))
        return int(explained["Plan"]["Plan Rows"])

    def analyze(self) -> None:
        """Let the server look at the tables that items are added to, unless it does already."""
        self._cursor.execute("ANALYZE (SKIP_LOCKED) items, work, item_ids, calls", prepare=False)

    # Records

    def queue(self, project_id: str, queue_id: str) -> StoredQueue:
        """Read a live queue of a project.

        Raises:
            QueueNotFound: The project has no such live queue.
        """
        return self.live_queue(self._version_of(queue_id), project_id, queue_id)

    def live_queue(self, version: Version | None, project_id: str, queue_id: str) -> StoredQueue:
        """Give the queue of a version; None for one that is not there.

        Raises:
            QueueNotFound: It is no live queue of the project.
        """
        stored = None if version is None else self._queue_of(version)
        queue = None if stored is None else stored.queue
        if queue is None or (queue.id, queue.project_id) != (queue_id, project_id) or queue.deleted_at is not None:
            raise QueueNotFound(queue_id)
        return cast("StoredQueue", stored)

    def deleted_queue(self, project_id: str, queue_id: str) -> StoredQueue:
        """Read a queue of a project, live or deleted.

        Raises:
            QueueNotFound: The project has no such queue.
        """
        version = self._version_of(queue_id)
        stored = None if version is None else self._queue_of(version)
        if stored is None or stored.queue.project_id != project_id:
            raise QueueNotFound(queue_id)
        return stored

    def locked_version(self, version: Version | None, project_id: str, queue_id: str) -> StoredQueue:
        """Give the queue of a version that was found by a number that is remembered; None if no queue has that number.

        Raises:
            QueueNotFound: It is no live queue of the project.
            Renumbered: The queue has another number by now, or there is none of that id.
        """
        if version is None or self._queue_of(version).queue.id != queue_id:
            raise Renumbered(queue_id)
        return self.live_queue(version, project_id, queue_id)

    def locked_queue(self, num: int, project_id: str, queue_id: str) -> StoredQueue:
        """Read a live queue of a project that was locked by a number that is remembered.

        Raises:
            QueueNotFound: The project has no such live queue.
            Renumbered: The queue has another number by now.
        """
        queue = self.queue(project_id, queue_id)
        if queue.num != num:
            raise Renumbered(queue_id)
        return queue

    def num(self, queue_id: str) -> int:
        """Find the number of a queue of any project.

        Raises:
            QueueNotFound: There is no such queue. Whether it is live, and of which project, is not looked at.
        """
        version = self.cache.versions.get(queue_id) or self._version_of(queue_id)
        if version is None:
            raise QueueNotFound(queue_id)
        return self._queue_of(version).num

    def _version_of(self, queue_id: str) -> Version | None:
        row = self.row("queue_by_id", (queue_id,))
        return None if row is None else Version(*row)

    def add_queue(self, queue: AnnotationQueue) -> None:
        """Store a new queue.

        Raises:
            Conflict: The id is taken.
        """
        if self.row("store_queue", {**queue_values(queue), "revision": _new_revision()}) is None:
            raise Conflict(f"the queue id {queue.id!r} is taken")

    def change_queue(self, num: int, queue: AnnotationQueue) -> int:
        """Store a queue in place of its earlier version, and give its new revision."""
        revision = _new_revision()
        self.rows("change_queue", {**queue_values(queue), "num": num, "revision": revision})
        return revision

    def _queue_of(self, version: Version) -> StoredQueue:
        queue = self.cache.queues.get(version)
        if queue is None:
            (columns,) = self.rows("queue_by_num", (version.num,))
            queue = queue_of(columns)
            self.cache.keep(version, queue, size=sum(len(column) for column in columns if isinstance(column, str)))
        return StoredQueue(version.num, version.revision, queue)

    def records(
        self,
        project_id: str,
        item_ids: Sequence[str],
        queue_id: str | None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None,
    ) -> dict[str, ItemRecord]:
        """Read what decisions rest on; arguments, result and errors are those of `Repository.get_records`."""
        if queue_id is not None and not item_ids:
            self.queue(project_id, queue_id)
        asked = {key_of(item_id): item_id for item_id in item_ids}
        kinds = (Version, FoundRow, ProgressRow, *[ItemRow] * with_items)
        values = {"ids": [*asked], "queue_id": queue_id, **_labels(labels_of)}
        found: dict[str, tuple[Version, FoundRow, list[ProgressRow]]] = {}
        items: dict[str, ItemRow] = {}
        for row in self.rows("records_with_items" if with_items else "records", values):
            version, each, progress, *item = split(row, *kinds)
            _, _, progresses = found.setdefault(each.key, (version, each, []))
            if each.place is not None:
                progresses.append(progress)
            if with_items and each.place in {None, 1}:
                items[each.key] = item[0]
        records: dict[str, ItemRecord] = {}
        for key, (version, each, progresses) in found.items():
            queue = self._owner(version, project_id, queue_id)
            if queue is not None and each.num is not None:
                item_id = asked[key]
                records[item_id] = self.record_of(queue, item_id, each, progresses)
                if with_items:
                    records[item_id] = attrs.evolve(records[item_id], item=self.item_of(items[key], queue))
        return records

    def record(self, project_id: str, item_id: str, queue_id: str | None, *, with_item: bool = False) -> ItemRecord:
        """Read what a decision about one item rests on, without labels; errors are those of `Repository.get_item`."""
        records = self.records(project_id, (item_id,), queue_id, with_items=with_item, labels_of=())
        if item_id not in records:
            raise ItemNotFound(item_id)
        return records[item_id]

    def item(self, project_id: str, item_id: str, queue_id: str | None) -> QueueItem:
        """Read an item; arguments, result and errors are those of `Repository.get_item`."""
        return item_in(self.record(project_id, item_id, queue_id, with_item=True))

    def _owner(self, version: Version, project_id: str, queue_id: str | None) -> StoredQueue | None:
        """Give the queue of an item that was asked for; None if there is no such item in the project.

        Raises:
            QueueNotFound: As for `Repository.get_records`.
        """
        there = None if version.num is None else version
        if queue_id is None:
            queue = None if there is None else self._queue_of(there).queue
            if queue is None or queue.project_id != project_id:
                return None
            queue_id = queue.id
        return self.live_queue(there, project_id, queue_id)

    def record_of(
        self, queue: StoredQueue, item_id: str, item: FoundRow | ItemRow, progresses: Iterable[ProgressRow]
    ) -> ItemRecord:
        """Build the record of an item that a queue has, from what was read at one instant."""
        told = progresses_of(item_id, progresses, partial(self.text, queue.num))
        rests_on = Revision(queue.num, queue.revision, cast("int", item.num), item.revision)
        return make_record(item_id, queue.queue, from_micros(item.updated_at), told, rests_on, steps=item.steps)

    def live_rows(self, queue: StoredQueue, nums: Iterable[int], *, with_payload: bool = True) -> dict[int, ItemRow]:
        """Read live items by their numbers, in no order; without their payloads if these are not wanted."""
        statement = "live_items_by_num" if with_payload else "live_items_by_num_without_payload"
        rows = self.rows(statement, {"queue": queue.num, "nums": integers(nums)})
        return {row.num: row for row in map(ItemRow._make, rows)}

    def records_of(
        self, queue: StoredQueue, rows: Iterable[ItemRow], *, labels_of: Collection[str] | None = ()
    ) -> dict[int, ItemRecord]:
        """Build the records of items, by their numbers; ``labels_of`` is as for `Repository.get_records`."""
        given = list(rows)
        # An item of revision 0 was never touched.
        touched = [row.num for row in given if row.revision]
        found: dict[int, list[ProgressRow]] = {}
        if touched:
            values = {"queue": queue.num, "nums": integers(touched), **_labels(labels_of)}
            for num, *progress in self.rows("progresses_by_num", values):
                found.setdefault(num, []).append(ProgressRow(*progress))
        return {
            row.num: self.record_of(queue, self.text(queue.num, row.id), row, found.get(row.num, ())) for row in given
        }

    def item_of(self, row: ItemRow, queue: StoredQueue) -> QueueItem:
        """Build an item in the aggregate view."""
        return item_of(row, queue.queue, self._texts_of(queue))

    def texts_of_many(self, queue: StoredQueue) -> Texts:
        """Give how the texts of the items of one page are read."""
        own = self._texts_of(queue)
        return Texts(own.key, *(Remembered(read).__getitem__ for read in own[1:]))

    def _texts_of(self, queue: StoredQueue) -> Texts:
        text = partial(self.text, queue.num)
        return Texts(text, text, text, _fields_of, lambda keys: tuple(sorted(map(text, _fields_of(keys)))))

    # Changes

    def store(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """Store what decisions change, if nothing that they rest on has changed; several queues have to be locked.

        Raises:
            Conflict: Something has.
            NotByItself: The session is for one statement, and more are needed.
            StorageBusy: It joins a transaction of the caller's, before which its entries would come in the log of an item.
        """
        self.long_keys(
            (cast("Revision", record.revision).queue, who)
            for record, change in writes
            for who in (
                *(each.annotator_id for each in change.progresses),
                *(each.actor_id for each in change.transitions if each.actor_id is not None),
            )
        )
        if self._is_alone and self.connections.is_distributed:
            raise NotByItself
        standings = [standing_row(record, change) for record, change in writes]
        if self._transaction.is_joined and self.value("outran", STANDINGS.values(standings)):
            raise StorageBusy(OUTRAN)
        is_one = len(writes) == 1 and is_one_step(writes[0][1]) and not self.connections.is_distributed
        stored = store_one(self, *writes[0], standings[0]) if is_one else store_all(self, writes, standings)
        if stored != len(standings):
            raise Conflict(f"item {writes[0][0].item_id!r} or another one changed meanwhile")

    def count(self, queue: int, counts: Counts, *, opened: bool = False) -> None:
        """Add to the counters of a queue; the last that a transaction writes."""
        summed = Counter({(queue, key_of(annotator_id or ""), kind): n for (annotator_id, kind), n in counts.items()})
        summed[queue, "", OPENINGS] += drawn() if opened else 0
        rows = counter_rows(summed)
        if self.connections.is_distributed:
            count_apart(self, COUNTS.values(rows))
        else:
            self.rows("count", COUNTS.values(rows))
        self.take_note(rows)

    def next_place(self) -> int:
        """Number the next entry that the transaction adds to logs, from 1 on."""
        self._transaction.told += 1
        return self._transaction.told

    def take_note(self, rows: Iterable[CounterRow]) -> None:
        """Take note of rows that were added to counters."""
        for row in rows:
            self.counted[row.queue] = self.counted.get(row.queue, 0) + 1

    def fold(self, queue: int) -> None:
        """Replace what was counted of a queue by its sums."""
        lock = self.connections.lock_of(queue, adding=True)
        found = self.rows("fold", {"queue": queue, "after": self.cache.fold_after(queue), **lock._asdict()})
        self.cache.set_folded(queue, max((seq for (seq,) in found), default=None))

    @reads_rows
    def counts(self, queues: Iterable[int]) -> dict[int, dict[tuple[str | None, str], int]]:
        """Read the counters of queues, by number, keyed as `counters.counts_of` does; a queue without any is not there."""
        found: dict[int, dict[tuple[str | None, str], int]] = {}
        for queue, annotator, *row in self.rows("counters", (integers(queues),)):
            counts = found.setdefault(queue, {(None, kind): 0 for kind in KIND_NAMES})
            for kind, n in zip(KIND_NAMES, row[: len(KIND_NAMES)], strict=True):
                counts[None, kind] += n
            if annotator:
                name = self.text(queue, annotator)
                counts.update({(name, kind): n for kind, n in zip(OWN_KINDS, row[len(KIND_NAMES) :], strict=True)})
        return found


def _fields_of(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _new_revision() -> int:
    return random.getrandbits(62)


def _labels(labels_of: Collection[str] | None) -> dict[str, object]:
    """Say to a statement whose labels are read; None for everybody's."""
    return {"all_labels": labels_of is None, "labels_of": [*map(key_of, labels_of or ())]}
