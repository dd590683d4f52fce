"""One connection at work inside one transaction: reads records, stores changes."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast

import attrs

from annotation_queue.construction import quick
from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound, SchemaVersionUnknown, StorageError
from annotation_queue.records import make_record
from annotation_queue.repositories.sql.chunks import spans
from annotation_queue.repositories.sql.rows import (
    KIND_NAMES,
    ItemRow,
    StoredQueue,
    Texts,
    item_of,
    progresses_of,
    queue_of,
    queue_values,
    reads_rows,
)
from annotation_queue.repositories.sqlite.cache import (
    FIRST_PLACE,
    LONGEST_QUEUE_KEPT,
    NEVER_MICROS,
    OVERHEAD,
    Epoch,
    LowWaterMark,
    QueueKey,
    Revision,
    make_revision,
)
from annotation_queue.repositories.sqlite.schema import SCHEMA_VERSION
from annotation_queue.repositories.sqlite.statements import SQL, CounterRow, add_counts
from annotation_queue.repositories.sqlite.texts import Interned
from annotation_queue.values import from_micros

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.records import ItemRecord
    from annotation_queue.repositories.sqlite.cache import Cache, Caches
    from annotation_queue.repositories.sqlite.connections import Transaction

_NOBODY: Final = "[]"
"""A JSON list of no annotators."""


class _RecordRow(NamedTuple):
    """The columns of ``records`` and its like before those of a progress."""

    item_id: str
    item: int | None
    revision: int
    steps: int
    last_entry: int | None
    is_told: int
    priority_down: int
    created_at: int
    updated_at: int
    annotator: int | None
    queue: int
    queue_revision: int


_WIDTH: Final = len(_RecordRow._fields)
_COUNTED: Final = CounterRow._fields[3:-2]
"""What a row of ``counters`` counts, in the order of its columns."""
_PLACES: Final = {kind: _COUNTED.index(kind) for kind in KIND_NAMES}
_NOTHING: Final = (0,) * len(_COUNTED)


class LogEnd(NamedTuple):
    """Where a queue's log ends.

    Args:
        entries: How many entries it has.
        latest: The greatest time in it, in microseconds.
    """

    entries: int
    latest: int


_log_end: Final = quick(LogEnd)
NO_ENTRIES: Final = LogEnd(0, -NEVER_MICROS)


class _Seen(NamedTuple):
    """What a connection found when it looked at its file last.

    Args:
        number: Its ``data_version`` then.
        cache: What is known of the file.
        has_schema: Whether the schema was looked at too.
    """

    number: int
    cache: Cache
    has_schema: bool


class Session(Interned):
    """A connection for the length of one transaction.

    Args:
        transaction: The transaction, which the session enters and leaves.
        caches: What is known of the file.
    """

    def __init__(self, transaction: Transaction, caches: Caches) -> None:
        self._caches = caches
        self._transaction = transaction
        self._next_expiry: dict[int, int] = {}
        self._reopenings: dict[int, int] = {}
        self._log_ends: dict[int, LogEnd] = {}
        self._claimed: list[tuple[str, ItemRecord]] = []

    def __enter__(self) -> Self:
        connection = self._transaction.__enter__()
        self.execute = connection.execute
        self.executemany = connection.executemany
        try:
            self._look_at_file()
        except BaseException as error:
            self._transaction.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _look_at_file(self) -> None:
        """Make sure that the file has our schema still, and that what is known is known of this file.

        Raises:
            SchemaVersionUnknown: A newer version of this library has migrated it meanwhile; nothing is written.
            StorageError: It has an older schema than when it was opened.
        """
        # As long as nobody else wrote, and the file is the one that is known, all is as it was when this connection looked.
        writes = self._transaction.writes
        ((number,),) = self.execute(SQL["data_version"]).fetchall()
        seen = self._transaction.seen
        if isinstance(seen, _Seen) and seen.number == number and seen.cache is self._caches.current:
            self._cache = seen.cache
            if seen.has_schema or not writes:
                return
        if writes:
            (version,) = self.execute(SQL["schema_version"]).fetchone()
            if version > SCHEMA_VERSION:
                raise SchemaVersionUnknown(self._transaction.path, version, SCHEMA_VERSION)
            if version < SCHEMA_VERSION:
                path = self._transaction.path
                raise StorageError(f"{path} was replaced by one of an older schema; make a new repository on it")
        cache = self._caches.current
        if self.is_past(cache.epoch):
            cache = self._caches.replace(self.newest_epoch())
        self._cache = cache
        self._transaction.seen = _Seen(number, cache, writes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self._has_learned and not self._has_begun_epoch:
            try:
                self._learned.epoch = self.newest_epoch()
            except BaseException as failed:
                # Whatever it is, an interrupt too: the transaction ends, or the file stays locked.
                self._transaction.__exit__(type(failed), failed, failed.__traceback__)
                raise
        self._transaction.__exit__(kind, error, traceback)
        if error is None and self._has_freed_numbers:
            self._caches.replace(self._learned.epoch)
        elif error is None and self._has_learned:
            self._cache.keep(self._learned)
        if error is None:
            for annotator_id, record in self._claimed:
                self._cache.claimed.keep(annotator_id, record)

    def remember_claim(self, annotator_id: str, left: ItemRecord) -> None:
        """Remember, once this is committed, what a claim left of an item that nobody had touched."""
        self._claimed.append((annotator_id, left))

    def newest_epoch(self) -> Epoch:
        """Read the newest epoch of the file."""
        return Epoch(*self.execute(SQL["newest_epoch"]).fetchone())

    def is_past(self, epoch: Epoch) -> bool:
        """Say whether an epoch of this file was ended, so that numbers that were read then may mean something else."""
        found = self.execute(SQL["salt"], (epoch.num,)).fetchone()
        return found is None or found[0] != epoch.salt

    def free_numbers(self) -> None:
        """Let everybody forget what they know of this file once this is committed, since freed numbers may be given again."""
        self.begin_epoch()
        self.execute(SQL["end_epochs"], (self._learned.epoch.num,))
        self._has_freed_numbers = True
        # Whoever is lent this connection next looks at the file, whatever they find in memory.
        self._transaction.seen = None

    _has_freed_numbers = False

    # Records

    def queue(self, project_id: str, queue_id: str, *, deleted: bool = False) -> StoredQueue:
        """Read a live queue of a project, or a deleted one too.

        Raises:
            QueueNotFound: There is none.
        """
        key = self.execute(SQL["queue_key"], (queue_id,)).fetchone()
        queue = None if key is None else self.queue_by_key(*key)
        if queue is None or queue.queue.project_id != project_id:
            raise QueueNotFound(queue_id)
        if queue.queue.deleted_at is not None and not deleted:
            raise QueueNotFound(queue_id)
        return queue

    def find_queue(self, project_id: str, name: str) -> AnnotationQueue | None:
        """Find the oldest live queue of a project that has exactly this name."""
        key = self.execute(SQL["queue_by_name"], (project_id, name)).fetchone()
        return None if key is None else self.queue_by_key(*key).queue

    def add_queue(self, queue: AnnotationQueue) -> None:
        """Store a new queue.

        Raises:
            Conflict: Its id is taken.
        """
        self.begin_epoch()
        if self.execute(SQL["add_queue"], queue_values(queue)).fetchone() is None:
            raise Conflict(f"the queue id {queue.id!r} is taken")

    def queue_by_key(self, num: int, revision: int) -> StoredQueue:
        """Read a queue of any project, deleted or not, by the number and revision that it has in this transaction."""
        kept = self._learned.queues.get(num) if self._has_learned else None
        kept = kept or self._cache.queues.get(num)
        if kept is not None and kept.revision == revision:
            return kept
        columns = self.execute(SQL["queue_by_num"], (num,)).fetchone()
        queue = StoredQueue(num, revision, queue_of(columns))
        size = sum(len(text) for text in columns if isinstance(text, str))
        if size <= LONGEST_QUEUE_KEPT:
            self._learned.queues[num] = queue
            self._learned.size += size + OVERHEAD
        return queue

    def records(
        self,
        project_id: str,
        item_ids: Sequence[str],
        queue_id: str | None,
        *,
        with_items: bool = False,
        labels_of: Collection[str] | None = (),
    ) -> dict[str, ItemRecord]:
        """Read what decisions rest on; arguments, result and errors are those of `Repository.get_records`."""
        found: dict[_RecordRow, list[Sequence[Any]]] = {}
        if queue_id is not None and len(item_ids) == 1 and labels_of is not None and len(labels_of) == 1:
            values = {"id": item_ids[0], "queue": queue_id, "labels_of": self.find_text(*labels_of)}
            rows: Iterable[Sequence[Any]] = self.execute(SQL["record_in_queue"], values)
        else:
            labels = _NOBODY if labels_of == () else self._numbers(labels_of)
            statement = SQL["records" if queue_id is None else "records_in_queue"]
            rows = chain.from_iterable(
                self.execute(statement, {"ids": wanted, "queue": queue_id, "labels_of": labels})
                for wanted in lists(item_ids)
            )
        for row in rows:
            progresses = found.setdefault(_RecordRow._make(row[:_WIDTH]), [])
            if row[_WIDTH] is not None:
                progresses.append(row[_WIDTH:])
        records: dict[str, ItemRecord] = {}
        for head, rows in found.items():
            queue = self.queue_by_key(head.queue, head.queue_revision)
            if queue.queue.project_id != project_id:
                if queue_id is not None:
                    raise QueueNotFound(queue_id)
                continue
            if queue.queue.deleted_at is not None:
                raise QueueNotFound(queue.queue.id)
            # An item that was deleted is looked at for its queue's sake alone.
            if head.item is not None:
                records[head.item_id] = self._record(head, queue, rows)
        if queue_id is not None and not found:
            self.queue(project_id, queue_id)
        return self._with_items(records) if with_items else records

    def _numbers(self, annotators: Iterable[str] | None) -> str | None:
        """Write the numbers of annotators as a JSON list; None for everybody."""
        return None if annotators is None else json.dumps([self.find_text(each) for each in annotators])

    def _record(self, head: _RecordRow, queue: StoredQueue, rows: Iterable[Sequence[Any]]) -> ItemRecord:
        return make_record(
            item_id=head.item_id,
            queue=queue.queue,
            updated_at=from_micros(head.updated_at),
            progresses=progresses_of(head.item_id, rows, self.text),
            revision=make_revision(
                queue=queue.num,
                queue_revision=queue.revision,
                item=cast("int", head.item),
                revision=head.revision,
                last_entry=head.last_entry,
                is_told=head.is_told,
                priority_down=head.priority_down,
                created_at=head.created_at,
                updated_at=head.updated_at,
                annotator=head.annotator,
            ),
            steps=head.steps,
        )

    def _with_items(self, records: dict[str, ItemRecord]) -> dict[str, ItemRecord]:
        nums = json.dumps([cast("Revision", record.revision).item for record in records.values()])
        rows = map(ItemRow._make, self.execute(SQL["live_items_by_num"], (nums,)))
        items = {row.id: self.item_of(row, records[row.id].queue) for row in rows}
        return {item_id: attrs.evolve(record, item=items[item_id]) for item_id, record in records.items()}

    def record(self, project_id: str, item_id: str, queue_id: str | None = None, *, with_item: bool) -> ItemRecord:
        """Read the record of one live item without labels; errors are those of `Repository.get_item`."""
        record = self.records(project_id, [item_id], queue_id, with_items=with_item).get(item_id)
        if record is None:
            raise ItemNotFound(item_id)
        return record

    def record_of(self, row: ItemRow, queue: StoredQueue, *, with_labels: bool = False) -> ItemRecord:
        """Read what a decision rests on about an item whose columns were read."""
        # An item of revision 0 was never touched.
        if not row.revision:
            no_entry, is_told, nobody = None, 0, None
            revision = make_revision(
                queue.num,
                queue.revision,
                row.num,
                0,
                no_entry,
                is_told,
                row.priority_down,
                row.created_at,
                row.updated_at,
                nobody,
            )
            return make_record(row.id, queue.queue, from_micros(row.updated_at), (), revision)
        wanted = {"item": row.num, "labels_of": None if with_labels else _NOBODY}
        rows = self.execute(SQL["record_by_num"], wanted).fetchall()
        progresses = [each[_WIDTH:] for each in rows if each[_WIDTH] is not None]
        return self._record(_RecordRow._make(rows[0][:_WIDTH]), queue, progresses)

    def item_of(self, row: ItemRow, queue: AnnotationQueue) -> QueueItem:
        """Build an item in the aggregate view from its columns."""
        return item_of(row, queue, Texts(str, self.op_name, self.text, self.fields, self.fields))

    # What is kept beside items

    def log_end(self, queue: int) -> LogEnd:
        """Say where the log of a queue ends, with what this transaction appends."""
        end = self._log_ends.get(queue)
        if end is None:
            row = self.execute(SQL["log_end"], (queue,)).fetchone()
            # Without a row nothing was ever added.
            self._log_ends[queue] = end = NO_ENTRIES if row is None else LogEnd._make(row)
        return end

    def append(self, queue: int, micros: int) -> LogEnd:
        """Make room for one more entry of a time at the end of a queue's log, and say where it ends then."""
        end = self.log_end(queue)
        self._log_ends[queue] = end = _log_end(end.entries + 1, max(end.latest, micros))
        return end

    def count(
        self,
        queue: int,
        counts: Mapping[tuple[str | None, str], int],
        log_end: LogEnd | None = None,
        blocks: Sequence[CounterRow] = (),
    ) -> None:
        """Add to the counters of a queue.

        Args:
            queue: Its number.
            counts: As `counters.counts_of` keys them.
            log_end: Where its log ends now; None if it ends where it did.
            blocks: What is added to the counters of blocks.
        """
        sums: dict[str | None, list[int]] = {} if log_end is None else {None: [*_NOTHING]}
        for (annotator_id, kind), n in counts.items():
            of_one = sums.get(annotator_id)
            if of_one is None:
                sums[annotator_id] = of_one = [*_NOTHING]
            of_one[_PLACES[kind]] = n
        entries, latest = log_end or NO_ENTRIES
        rows = [*blocks]
        for annotator_id, of_one in sums.items():
            if annotator_id is None:
                rows.append(CounterRow._make((queue, 0, 0, *of_one, entries, latest)))
            else:
                rows.append(CounterRow._make((queue, 0, self.text_num(annotator_id), *of_one, 0, 0)))
        add_counts(self, rows)

    def claim_context(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[StoredQueue, int, bool]:
        """Read what a claim begins with.

        Returns:
            A live queue, as `queue` reads it; the number of the annotator, 0 for one who never did anything; whether some
            unfinished item is reserved for them.
        """
        row = self.execute(SQL["claim_context"], (annotator_id, queue_id)).fetchone()
        if row is None:
            raise QueueNotFound(queue_id)
        num, revision, annotator, next_expiry, reopenings, entries, latest, is_assigned = row
        # Without a row of counters nothing was ever added.
        self._next_expiry[num] = NEVER_MICROS if next_expiry is None else next_expiry
        self._reopenings[num] = reopenings or 0
        if entries is not None:
            self._log_ends[num] = _log_end(entries, latest)
        if annotator:
            self._learn_num(annotator_id, annotator)
        queue = self.queue_by_key(num, revision)
        if queue.queue.project_id != project_id or queue.queue.deleted_at is not None:
            raise QueueNotFound(queue_id)
        return queue, annotator, bool(is_assigned)

    def low_water_mark(self, queue: int, annotator: int) -> QueueKey:
        """Give a place before which the annotator has settled every open item; only after `claim_context`."""
        mark = self._cache.low_water_marks.get((queue, annotator))
        is_good = (
            mark is not None
            and mark.reopenings == self._reopenings[queue]
            and mark.identity == self.execute(SQL["entry_identity"], (queue, mark.entry)).fetchone()
        )
        return mark.place if mark is not None and is_good else FIRST_PLACE

    def set_low_water_mark(self, queue: int, annotator: int, place: QueueKey) -> None:
        """Remember that place for later transactions; only after `claim_context`."""
        entry = self.log_end(queue).entries
        identity = self.execute(SQL["entry_identity"], (queue, entry)).fetchone()
        # Without any entry nobody has settled anything.
        if identity is not None:
            mark = LowWaterMark(place, self._reopenings[queue], entry, identity)
            self._learned.low_water_marks[queue, annotator] = mark
            self._learned.size += len(place.id) + OVERHEAD

    def reopened(self, queue: int) -> None:
        """Note that items became open or work was reopened, so that no low-water mark is good any more."""
        self.execute(SQL["reopened"], (queue,))
        if queue in self._reopenings:
            self._reopenings[queue] += 1

    def next_expiry(self, queue: int) -> int:
        """Read a time before which no lease in ``work_waiting`` ends, in microseconds."""
        if queue not in self._next_expiry:
            (expiry,) = self.execute(SQL["next_expiry"], (queue,)).fetchone() or (NEVER_MICROS,)
            self._next_expiry[queue] = expiry
        return self._next_expiry[queue]

    def set_next_expiry(self, queue: int, micros: int) -> None:
        """Write that time; only inside a write transaction."""
        self.execute(SQL["set_next_expiry"], (micros, queue))
        self._next_expiry[queue] = micros

    def live(self, queue: int) -> int:
        """Count the live items of a queue."""
        (n,) = self.execute(SQL["live"], (queue,)).fetchone()
        return int(n)

    @reads_rows
    def counts(self, queue: int) -> dict[tuple[str | None, str], int]:
        """Read the counters of a queue, keyed as `counters.counts_of` does."""
        return {
            (self.text(annotator) if annotator else None, name): n
            for annotator, *row in self.execute(SQL["counters"], (queue,)).fetchall()
            for name, n in zip(KIND_NAMES, row, strict=True)
        }


def tells(at: int, updated_at: int, latest: int) -> int:
    """Say whether an entry of the log tells when its item last changed, as the order of changes needs it: 0 or 1.

    Args:
        at: The entry's time, in microseconds.
        updated_at: When the item last changed.
        latest: The greatest time in the log up to the entry.
    """
    return int(at == updated_at == latest)


def lists(texts: Sequence[str]) -> Iterator[str]:
    """Write texts as JSON lists which are all small enough for SQLite, however long the texts are."""
    return (json.dumps(texts[span]) for span in spans(map(len, texts)))
