"""A repository on LMDB, as an example to begin with: an embedded store that knows keys and bytes, and nothing else.

It keeps one value for each queue, item and transition, and reads a whole queue for an answer, so it suits queues of some
thousand items. All that it needs of the library comes from `annotation_queue.storage`. If your storage can do better (an
index by queue order, counters), ask the same functions for each item, and keep what they gave.

Any number of threads and processes may share a folder: LMDB lets one of them write at a time, and readers never wait. Keys are
digests, since LMDB's are short and identifiers need not be.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

import attrs
import lmdb

from annotation_queue import storage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

ERASED: Final = b""
"""What stands in a log where a purge took something, so that what is behind it keeps its number."""
NUMBER_BYTES: Final = 8


@attrs.frozen
class Row:
    """What is stored of one item: what its record holds, but for the queue."""

    item: storage.QueueItem
    progresses: tuple[storage.Progress, ...] = ()
    steps: int = 0


def record_of(written: bytes, queue: storage.AnnotationQueue) -> storage.ItemRecord:
    """Make the record of a row; whatever differs in the row or the queue is another revision."""
    row = storage.load_entity(Row, written)
    item = storage.view(row.item, storage.aggregate(row.progresses))
    given = item.id, queue, item.updated_at, row.progresses, (written, queue)
    return storage.ItemRecord(*given, item=item, steps=row.steps)


def key_of(*ids: str) -> bytes:
    """Make a key of identifiers, which may be longer than the keys of LMDB."""
    return b"".join(hashlib.sha256(each.encode()).digest()[:20] for each in ids)


class Transaction:
    """What one method reads and writes, at one instant."""

    def __init__(self, txn: lmdb.Transaction, tables: dict[str, lmdb._Database]) -> None:
        self._txn = txn
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        found = self._txn.get(key, db=self._tables[table])
        return None if found is None else bytes(found)

    def put(self, table: str, key: bytes, entity: object) -> None:
        self._txn.put(key, storage.dump_entity(entity), db=self._tables[table])

    def below(self, table: str, prefix: bytes = b"") -> dict[bytes, bytes]:
        """Read what is stored under keys that begin so, in the order of the keys."""
        values = {}
        with self._txn.cursor(db=self._tables[table]) as cursor:
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()).startswith(prefix):
                values[bytes(cursor.key())] = bytes(cursor.value())
                found = cursor.next()
        return values

    def add_queue(self, queue: storage.AnnotationQueue) -> None:
        if self.get("queues", key_of(queue.id)) is not None:
            raise storage.Conflict(f"queue id {queue.id!r} is taken")
        self.put("queues", key_of(queue.id), queue)

    def any_queue(self, project_id: str, queue_id: str) -> storage.AnnotationQueue:
        """Read a queue, live or deleted."""
        found = self.get("queues", key_of(queue_id))
        queue = None if found is None else storage.load_entity(storage.AnnotationQueue, found)
        if queue is None or queue.project_id != project_id:
            raise storage.QueueNotFound(queue_id)
        return queue

    def queue(self, project_id: str, queue_id: str) -> storage.AnnotationQueue:
        queue = self.any_queue(project_id, queue_id)
        if queue.deleted_at is not None:
            raise storage.QueueNotFound(queue_id)
        return queue

    def all_queues(self, project_id: str) -> list[storage.AnnotationQueue]:
        """Read the queues of a project, live and deleted."""
        queues = [storage.load_entity(storage.AnnotationQueue, each) for each in self.below("queues").values()]
        return [each for each in queues if each.project_id == project_id]

    def queues(self, project_id: str) -> list[storage.AnnotationQueue]:
        return [each for each in self.all_queues(project_id) if each.deleted_at is None]

    def record(self, project_id: str, item_id: str, queue_id: str | None = None) -> storage.ItemRecord:
        if queue_id is not None:
            self.queue(project_id, queue_id)
        place = self.get("places", key_of(item_id))
        written = None if place is None else self.get("items", key_of(storage.load_entity(str, place), item_id))
        item = None if written is None else storage.load_entity(Row, written).item
        if written is None or item is None or item.project_id != project_id or queue_id not in {None, item.queue_id}:
            raise storage.ItemNotFound(item_id)
        queue = self.queue(project_id, item.queue_id)
        if item.deleted_at is not None:
            raise storage.ItemNotFound(item_id)
        return record_of(written, queue)

    def records(self, queue: storage.AnnotationQueue) -> list[storage.ItemRecord]:
        """Read the items of a queue, live and removed."""
        return [record_of(each, queue) for each in self.below("items", key_of(queue.id)).values()]

    def live(self, queue: storage.AnnotationQueue) -> list[storage.ItemRecord]:
        return [record for record in self.records(queue) if storage.item_of(record).deleted_at is None]

    def store(self, item: storage.QueueItem, progresses: tuple[storage.Progress, ...] = (), steps: int = 0) -> None:
        self.put("places", key_of(item.id), item.queue_id)
        self.put("items", key_of(item.queue_id, item.id), Row(item, progresses, steps))

    def alter(
        self, records: Iterable[storage.ItemRecord], after: Callable[[storage.QueueItem], storage.QueueItem]
    ) -> int:
        """Store items as they shall be, with their progresses as they are; count those that change."""
        altered = [(record, after(storage.item_of(record))) for record in records]
        altered = [(record, item) for record, item in altered if item is not record.item]
        for record, item in altered:
            self.store(item, record.progresses, record.steps)
        return len(altered)

    def log(self, queue: storage.AnnotationQueue) -> list[storage.Transition | None]:
        """Read the log of a queue, with None where something was erased."""
        entries = self.below("log", key_of(queue.id)).values()
        return [None if each == ERASED else storage.load_entity(storage.Transition, each) for each in entries]

    def end_of_log(self, queue: storage.AnnotationQueue) -> int:
        """Count the entries of a queue's log, erased ones too: the number of the next one."""
        start = key_of(queue.id)
        with self._txn.cursor(db=self._tables["log"]) as cursor:
            found = cursor.prev() if cursor.set_range(start + b"\xff" * NUMBER_BYTES) else cursor.last()
            key = bytes(cursor.key()) if found else b""
        return int.from_bytes(key.removeprefix(start), "big") + 1 if key.startswith(start) else 0

    def change(self, record: storage.ItemRecord, change: storage.Change) -> storage.ItemRecord:
        """Store a change of an item as it is now; give what is stored."""
        after = storage.after_change(record, change)
        self.store(storage.item_of(after), after.progresses, after.steps)
        for number, transition in enumerate(change.transitions, self.end_of_log(record.queue)):
            self.put("log", key_of(record.queue.id) + number.to_bytes(NUMBER_BYTES, "big"), transition)
        return after

    def delete(self, table: str, key: bytes) -> None:
        self._txn.delete(key, db=self._tables[table])

    def erase_items(self, queue: storage.AnnotationQueue, item_ids: Collection[str]) -> None:
        """Erase items of a queue, and what its log says of them."""
        for item_id in item_ids:
            self.delete("places", key_of(item_id))
            self.delete("items", key_of(queue.id, item_id))
        for key, written in self.below("log", key_of(queue.id)).items():
            if written != ERASED and storage.load_entity(storage.Transition, written).item_id in item_ids:
                self._txn.put(key, ERASED, db=self._tables["log"])

    def erase_queue(self, queue: storage.AnnotationQueue) -> None:
        """Erase a queue with all that is in it."""
        for record in self.records(queue):
            self.delete("places", key_of(record.item_id))
        for table in ("items", "log", "queues"):
            for key in self.below(table, key_of(queue.id)):
                self.delete(table, key)


class LMDBRepository:
    """Stores everything in a folder that LMDB keeps. Its methods are those of `Repository`.

    Args:
        path: The folder; made when missing.
        most_bytes: How large it may grow.
        is_durable: Whether what a method wrote survives the loss of power.
    """

    def __init__(self, path: Path, *, most_bytes: int = 1 << 30, is_durable: bool = True) -> None:
        self._env = lmdb.open(str(path), map_size=most_bytes, max_dbs=4, sync=is_durable, metasync=is_durable)
        self._tables = {name: self._env.open_db(name.encode()) for name in ("queues", "items", "places", "log")}
        self._is_closed = False

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[Transaction]:
        if self._is_closed:
            raise storage.StorageError("the repository is closed")
        try:
            with self._env.begin(write=write) as txn:
                yield Transaction(txn, self._tables)
        except lmdb.MapFullError as error:
            raise storage.StorageFull("the folder is full; open it with more most_bytes") from error
        except lmdb.Error as error:
            raise storage.StorageError(f"LMDB failed ({error}); nothing was written") from error

    def add_queue(self, queue: storage.AnnotationQueue) -> None:
        with self._transaction(write=True) as stored:
            stored.add_queue(queue)

    def get_or_create_queue(self, queue: storage.AnnotationQueue) -> storage.AnnotationQueue:
        with self._transaction(write=True) as stored:
            same = [each for each in stored.queues(queue.project_id) if each.name == queue.name]
            if not same:
                stored.add_queue(queue)
            return min(same, key=lambda each: (each.created_at, each.id), default=queue)

    def get_queue(self, project_id: str, queue_id: str) -> storage.AnnotationQueue:
        with self._transaction() as stored:
            return stored.queue(project_id, queue_id)

    def query_queues(self, project_id: str, query: storage.QueueQuery) -> storage.QueuePage:
        with self._transaction() as stored:
            return storage.scan_queues(project_id, query, stored.queues(project_id))

    def replace_queue(self, before: storage.AnnotationQueue, after: storage.AnnotationQueue) -> None:
        with self._transaction(write=True) as stored:
            if not storage.same_queue(stored.queue(before.project_id, before.id), before):
                raise storage.Conflict(f"queue {before.id!r} changed")
            stored.put("queues", key_of(after.id), after)

    def add_items(
        self,
        project_id: str,
        queue_id: str,
        items: Iterable[storage.NewItem],
        make: Callable[[storage.NewItem, storage.AnnotationQueue], storage.QueueItem],
    ) -> storage.AddedItems:
        self.get_queue(project_id, queue_id)
        given = list(items)  # outside of the transaction: it may take its time
        with self._transaction(write=True) as stored:
            queue = stored.queue(project_id, queue_id)
            new = storage.scan_additions(queue, given, stored.live(queue), make)
            for item in new.added:
                if stored.get("places", key_of(item.id)) is not None:
                    raise storage.Conflict(f"item id {item.id!r} is taken")
                stored.store(item)
            return new

    def get_item(self, project_id: str, item_id: str, queue_id: str | None = None) -> storage.QueueItem:
        with self._transaction() as stored:
            return storage.item_of(stored.record(project_id, item_id, queue_id))

    def get_records(
        self,
        project_id: str,
        item_ids: Sequence[str],
        queue_id: str | None = None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None = (),
    ) -> dict[str, storage.ItemRecord]:
        records = {}
        with self._transaction() as stored:
            if queue_id is not None:
                stored.queue(project_id, queue_id)
            for item_id in item_ids:
                with suppress(storage.ItemNotFound):
                    record = stored.record(project_id, item_id, queue_id)
                    records[item_id] = storage.shown_record(record, with_item=with_items, labels_of=labels_of)
        return records

    def save(self, writes: Sequence[tuple[storage.ItemRecord, storage.Change]]) -> None:
        with self._transaction(write=True) as stored:
            for read, change in writes:
                try:
                    now = stored.record(read.queue.project_id, read.item_id)
                except (storage.ItemNotFound, storage.QueueNotFound):
                    raise storage.Conflict(f"item {read.item_id!r} was removed") from None
                if now.revision != read.revision:
                    raise storage.Conflict(f"item {read.item_id!r} changed")
                stored.change(now, change)

    def query_items(self, project_id: str, queue_id: str, query: storage.ItemQuery) -> storage.ItemPage:
        with self._transaction() as stored:
            queue = stored.queue(project_id, queue_id)
            return storage.scan_items(queue, query, stored.live(queue))

    def update_items(
        self,
        project_id: str,
        queue_id: str,
        which: Sequence[str] | storage.ItemFilter,
        patch: storage.ItemPatch,
        at: datetime,
    ) -> int:
        with self._transaction(write=True) as stored:
            chosen = storage.scan_selection(which, stored.live(stored.queue(project_id, queue_id)))
            return stored.alter(chosen, lambda item: storage.patched(item, patch, at))

    def reprioritise(self, project_id: str, queue_id: str, priorities: Mapping[str, int], at: datetime) -> int:
        patches = {item_id: storage.ItemPatch(priority=priority) for item_id, priority in priorities.items()}
        with self._transaction(write=True) as stored:
            chosen = storage.scan_selection(tuple(patches), stored.live(stored.queue(project_id, queue_id)))
            return stored.alter(chosen, lambda item: storage.patched(item, patches[item.id], at))

    def reset(
        self, project_id: str, queue_id: str, which: Sequence[str] | storage.ItemFilter, wanted: storage.Reset
    ) -> int:
        with self._transaction(write=True) as stored:
            made = storage.scan_resets(which, wanted, stored.live(stored.queue(project_id, queue_id)))
            for record, change in made:
                stored.change(record, change)
            return sum(len(change.progresses) for _, change in made)

    def remove_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | storage.ItemFilter, at: datetime
    ) -> int:
        with self._transaction(write=True) as stored:
            chosen = storage.scan_selection(which, stored.live(stored.queue(project_id, queue_id)))
            return stored.alter(
                chosen, lambda item: attrs.evolve(item, deleted_at=at, updated_at=max(item.updated_at, at))
            )

    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        with self._transaction(write=True) as stored:
            chosen = storage.scan_restorations(item_ids, stored.records(stored.queue(project_id, queue_id)))
            return stored.alter(
                chosen, lambda item: attrs.evolve(item, deleted_at=None, updated_at=max(item.updated_at, at))
            )

    def restore_queue(self, project_id: str, queue_id: str, at: datetime) -> storage.AnnotationQueue:
        with self._transaction(write=True) as stored:
            queue = stored.any_queue(project_id, queue_id)
            if queue.deleted_at is not None:
                queue = attrs.evolve(queue, deleted_at=None, updated_at=at)
                stored.put("queues", key_of(queue.id), queue)
            return queue

    def purge(self, project_id: str, removed_before: datetime) -> storage.Purged:
        """As the contract says. LMDB overwrites the freed pages of its file when it needs them, and not before."""

        def is_old(entity: storage.AnnotationQueue | storage.QueueItem) -> bool:
            return entity.deleted_at is not None and entity.deleted_at < removed_before

        items = queues = 0
        with self._transaction(write=True) as stored:
            for queue in stored.all_queues(project_id):
                if is_old(queue):
                    stored.erase_queue(queue)
                    queues += 1
                else:
                    old = {each.item_id for each in stored.records(queue) if is_old(storage.item_of(each))}
                    stored.erase_items(queue, old)
                    items += len(old)
        return storage.Purged(items=items, queues=queues)

    def claim(
        self, project_id: str, queue_id: str, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
    ) -> tuple[storage.Claim, ...] | storage.Unavailable:
        with self._transaction(write=True) as stored:
            queue = stored.queue(project_id, queue_id)
            granted, why_not = storage.scan_claims(
                queue, annotator_id, stored.live(queue), limit=limit, at=at, lease=lease
            )
            claims = [
                storage.claim_of(stored.change(record, change), change.progresses[-1]) for record, change in granted
            ]
            return tuple(claims) if why_not is None else why_not

    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[storage.Claim, ...]:
        with self._transaction() as stored:
            return storage.scan_holds(annotator_id, stored.live(stored.queue(project_id, queue_id)))

    def labels(self, project_id: str, queue_id: str, query: storage.LabelQuery) -> storage.LabelPage:
        with self._transaction() as stored:
            queue = stored.queue(project_id, queue_id)
            return storage.scan_labels(queue, query, stored.live(queue), stored.log(queue))

    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> storage.ChangePage:
        with self._transaction() as stored:
            queue = stored.queue(project_id, queue_id)
            return storage.scan_changes(queue, stored.log(queue), after, limit)

    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[storage.Settlement, ...]:
        with self._transaction() as stored:
            return storage.scan_settlements(stored.log(stored.queue(project_id, queue_id)), since)

    def history(self, project_id: str, item_id: str) -> tuple[storage.Transition, ...]:
        with self._transaction() as stored:
            record = stored.record(project_id, item_id)
            return tuple(each for each in stored.log(record.queue) if each is not None and each.item_id == item_id)

    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[storage.QueueStats, ...]:
        with self._transaction() as stored:
            queues = [stored.queue(project_id, queue_id) for queue_id in queue_ids]
            return tuple(storage.scan_stats(each, [row.progresses for row in stored.live(each)]) for each in queues)

    def check(self) -> tuple[str, ...]:
        return ()  # nothing is kept beside what it is derived from

    def close(self) -> None:
        self._is_closed = True
        self._env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
