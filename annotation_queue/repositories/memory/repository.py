"""The repository in memory: for tests, and for jobs that need no durability."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from types import TracebackType
from typing import NoReturn, Self

import attrs

from annotation_queue.changes import ChangePage, Settlement
from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound, StorageError
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    Claim,
    ItemPatch,
    NewItem,
    Purged,
    QueueItem,
    QueueStats,
    Unavailable,
    copy_queue,
    explain_unavailable,
    make_claim,
    patched,
)
from annotation_queue.labels import LabelPage, LabelQuery
from annotation_queue.moves import Reset, grant
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.records import Change, ItemRecord
from annotation_queue.repositories.memory.forks import hold_at_fork
from annotation_queue.repositories.memory.item import StoredItem, packed, unpacked_transition
from annotation_queue.repositories.memory.queries import find_page
from annotation_queue.repositories.memory.queue import StoredQueue
from annotation_queue.repositories.memory.queue_listings import QueueListings
from annotation_queue.repository import CountsRemoved
from annotation_queue.states import Transition
from annotation_queue.values import lease_end


class MemoryRepository(CountsRemoved):
    """Keeps everything in this process's memory, indexed; it is gone with the repository.

    The methods are those of `Repository`. One lock serialises them. Claiming, saving, reading an item and a page in
    queue order take about as long with a thousand items as with a million. It cannot be pickled: `TypeError`.

    >>> with MemoryRepository() as repository:
    ...     repository.stats("project", [])
    ()
    """

    def __init__(self) -> None:
        # Reentrant, since making an item and an iterable of items may call back.
        self._lock = threading.RLock()
        hold_at_fork(self._lock)
        self._closed = False
        self._queues: dict[str, StoredQueue] = {}
        """By id, deleted ones too."""
        self._listings: dict[str, QueueListings] = {}
        """The live queues, by project."""
        self._items: dict[str, StoredItem] = {}
        """By id, deleted ones too."""

    # Queues

    def add_queue(self, queue: AnnotationQueue) -> None:
        """Store a new queue. O(1)."""
        with self._lock:
            self._check_open()
            if queue.id in self._queues:
                raise Conflict(f"queue id {queue.id!r} is taken")
            kept = copy_queue(queue)
            self._queues[queue.id] = StoredQueue(kept, self._items)
            self._listings.setdefault(queue.project_id, QueueListings()).put(kept)

    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        """Find the oldest live queue of a name, or store one. O(q) for all the queues of the repository."""
        with self._lock:
            self._check_open()
            same = [
                stored.queue
                for stored in self._queues.values()
                if (stored.queue.project_id, stored.queue.name) == (queue.project_id, queue.name)
                and stored.queue.deleted_at is None
            ]
            if same:
                return copy_queue(min(same, key=attrgetter("created_at", "id")))
            self.add_queue(queue)
            return queue

    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        """Read a live queue. O(1)."""
        with self._lock:
            return copy_queue(self._queue(project_id, queue_id).queue)

    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        """Read live queues of a project. The cost is that of `QueueListings.page`."""
        with self._lock:
            self._check_open()
            return self._listings.get(project_id, QueueListings()).page(project_id, query)

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        """Change or delete a queue by compare-and-swap. O(1), but O(n log n) where a policy changes."""
        with self._lock:
            stored = self._queue(before.project_id, before.id)
            if stored.queue != before:
                raise Conflict(f"queue {before.id!r} changed")
            kept = copy_queue(after)
            stored.replace(kept)
            self._listings[after.project_id].put(kept)

    # Items

    def add_items(
        self,
        project_id: str,
        queue_id: str,
        items: Iterable[NewItem],
        make: Callable[[NewItem, AnnotationQueue], QueueItem],
    ) -> AddedItems:
        """Add items to a queue, each call once. O(k log n) for k items; they are read before anybody has to wait."""
        self.get_queue(project_id, queue_id)
        given = list(items)
        with self._lock:
            stored = self._queue(project_id, queue_id)
            made: dict[str, QueueItem] = {}
            duplicates = 0
            for new in given:
                if new.call_id in stored.calls or new.call_id in made:
                    duplicates += 1
                else:
                    made[new.call_id] = make(new, stored.queue)
            added = {item.id: StoredItem(item) for item in made.values()}
            if len(added) < len(made) or not added.keys().isdisjoint(self._items):
                raise Conflict("an item's id is taken")
            self._items.update(added)
            stored.add(list(added.values()))
        return AddedItems(added=tuple(made.values()), duplicates=duplicates)

    def get_item(self, project_id: str, item_id: str, queue_id: str | None = None) -> QueueItem:
        """Read a live item. O(its payload)."""
        with self._lock:
            return self._item(project_id, item_id, queue_id)[1].show()

    def get_records(
        self,
        project_id: str,
        item_ids: Sequence[str],
        queue_id: str | None = None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None = (),
    ) -> dict[str, ItemRecord]:
        """Read all that decisions about items rest on. O(progresses on them)."""
        with self._lock:
            if queue_id is not None and not item_ids:
                self._queue(project_id, queue_id)
            records: dict[str, ItemRecord] = {}
            for item_id in item_ids:
                found = self._found(project_id, item_id, queue_id)
                if found is not None:
                    queue, stored = found
                    records[item_id] = queue.record(stored, with_item=with_items, labels_of=labels_of)
            return records

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """Store changes of items by compare-and-swap. O(log n) for each."""
        with self._lock:
            self._check_open()
            steps = []
            for record, change in writes:
                queue, stored = self._queues[record.queue.id], self._items[record.item_id]
                if record.revision != queue.revision(stored):
                    raise Conflict(f"item {record.item_id!r} changed")
                steps.append((queue, stored, change, packed(change)))
            for queue, stored, change, kept in steps:
                queue.change(stored, change, *kept)

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        """Read items of a queue. The cost is that of `find_page`."""
        with self._lock:
            return find_page(self._queue(project_id, queue_id), query)

    def update_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, patch: ItemPatch, at: datetime
    ) -> int:
        """Change items. O(log n) for each that changes, and O(n) for a filter."""
        with self._lock:
            queue = self._queue(project_id, queue_id)
            return _patch(queue, ((stored, patch) for stored in queue.chosen(which)), at)

    def reprioritise(self, project_id: str, queue_id: str, priorities: Mapping[str, int], at: datetime) -> int:
        """Change priorities. O(log n) for each that changes."""
        with self._lock:
            queue = self._queue(project_id, queue_id)
            wanted = ((stored, priorities[stored.item.id]) for stored in queue.chosen(tuple(priorities)))
            return _patch(queue, ((stored, ItemPatch(priority=priority)) for stored, priority in wanted), at)

    def reset(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
        """Put progresses back to unstarted. O(log n) for each that changes, and O(n log n) for a filter."""
        with self._lock:
            return self._queue(project_id, queue_id).reset(which, wanted)

    def remove_items(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, at: datetime) -> int:
        """Delete items softly. O(log n) for each, and O(n) for a filter."""
        with self._lock:
            queue = self._queue(project_id, queue_id)
            gone = queue.chosen(which)
            for stored in gone:
                queue.remove(stored, at)
            return len(gone)

    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        """Bring removed items back. The cost is that of `StoredQueue.restore`."""
        with self._lock:
            queue = self._queue(project_id, queue_id)
            removed = queue.restorable(item_ids)
            for stored in removed:
                queue.restore(stored, at)
            return len(removed)

    def count_restorable(self, project_id: str, queue_id: str, item_ids: Sequence[str]) -> int:
        """See `CountsRemoved`. O(k) for k ids."""
        with self._lock:
            return len(self._queue(project_id, queue_id).restorable(item_ids))

    def restore_queue(self, project_id: str, queue_id: str, at: datetime) -> AnnotationQueue:
        """Bring a deleted queue back. O(1)."""
        with self._lock:
            self._check_open()
            stored = self._queues.get(queue_id)
            if stored is None or stored.queue.project_id != project_id:
                raise QueueNotFound(queue_id)
            if stored.queue.deleted_at is not None:
                stored.replace(attrs.evolve(stored.queue, deleted_at=None, updated_at=at))
                stored.policy_revision += 1
                self._listings[project_id].put(stored.queue)
            return copy_queue(stored.queue)

    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        """Erase what was removed, and let go of its memory. O(n) for all that is stored."""
        with self._lock:
            gone, items = self._purgeable(project_id, removed_before)
            for queue_id, old in items.items():
                self._queues[queue_id].erase(old)
                for each in old:
                    del self._items[each.item.id]
            for item_id in [key for key, each in self._items.items() if each.item.queue_id in gone]:
                del self._items[item_id]
            for queue_id in gone:
                del self._queues[queue_id]
            return Purged(items=sum(map(len, items.values())), queues=len(gone))

    def count_purgeable(self, project_id: str, removed_before: datetime) -> Purged:
        """See `CountsRemoved`. O(n) for all that is stored."""
        with self._lock:
            gone, items = self._purgeable(project_id, removed_before)
            return Purged(items=sum(map(len, items.values())), queues=len(gone))

    def _purgeable(self, project_id: str, before: datetime) -> tuple[set[str], dict[str, list[StoredItem]]]:
        """List what was removed before a time: the ids of queues, and the items of all other queues by theirs."""
        self._check_open()
        mine = {key: stored.queue for key, stored in self._queues.items() if stored.queue.project_id == project_id}
        gone = {key for key, queue in mine.items() if _is_before(queue.deleted_at, before)}
        left = mine.keys() - gone
        items: dict[str, list[StoredItem]] = {}
        for stored in self._items.values():
            if stored.item.queue_id in left and _is_before(stored.item.deleted_at, before):
                items.setdefault(stored.item.queue_id, []).append(stored)
        return gone, items

    def claim(
        self,
        project_id: str,
        queue_id: str,
        annotator_id: str,
        *,
        limit: int,
        at: datetime,
        lease: timedelta | None,
    ) -> tuple[Claim, ...] | Unavailable:
        """Grant an annotator the first claimable items in queue order. O(log n) for each, as `claims.ClaimIndex.first` says."""
        with self._lock:
            queue = self._queue(project_id, queue_id)
            expires_at = lease_end(at, queue.queue.lease if lease is None else lease)
            claims: list[Claim] = []
            most = 0 if queue.queue.is_paused else limit
            while len(claims) < most and (stored := queue.claims.first(annotator_id, at, queue.queue)) is not None:
                progresses, transitions = grant(
                    stored.progresses,
                    stored.item.id,
                    annotator_id,
                    at=at,
                    expires_at=expires_at,
                    steps=len(stored.history or ()),
                )
                queue.grant(stored, progresses, transitions)
                claims.append(
                    make_claim(
                        item=stored.show(annotator_id),
                        annotator_id=annotator_id,
                        token=progresses[-1].token,
                        expires_at=expires_at,
                    )
                )
            if claims:
                return tuple(claims)
            retry_at = queue.claims.retry_at(annotator_id, queue.queue)
            return explain_unavailable(
                live=len(queue.in_order),
                unfinished=queue.unfinished,
                retry_at=retry_at,
                is_paused=queue.queue.is_paused,
                is_assigned=retry_at is None and queue.claims.reserved.keep_from(annotator_id),
            )

    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        """Read an item's history. O(its length)."""
        with self._lock:
            return self._item(project_id, item_id)[1].told()

    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        """Read what an annotator holds. O(their holds)."""
        with self._lock:
            return tuple(self._queue(project_id, queue_id).holds(annotator_id))

    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        """Read labels of a queue's live items. O(log n), and linear in what the page shows and its filters pass over."""
        with self._lock:
            return self._queue(project_id, queue_id).labels(query)

    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> ChangePage:
        """Read a queue's log from a cursor on. O(limit)."""
        with self._lock:
            return self._queue(project_id, queue_id).changes(after, limit)

    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[Settlement, ...]:
        """Read which settlements a queue's log has after a time. O(log n), and linear in what the log got since."""
        with self._lock:
            found = self._queue(project_id, queue_id).log.settled_since(since, self._items)
            return tuple(attrs.evolve(each, transition=unpacked_transition(each.transition)) for each in found)

    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[QueueStats, ...]:
        """Count what queues hold. O(annotators) for each."""
        with self._lock:
            self._check_open()
            stats = {queue_id: self._queue(project_id, queue_id).stats() for queue_id in dict.fromkeys(queue_ids)}
            return tuple(stats[queue_id] for queue_id in queue_ids)

    # Life

    def close(self) -> None:
        """Let go of everything; a second time does nothing."""
        with self._lock:
            self._closed = True
            self._queues = {}
            self._listings = {}
            self._items = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a MemoryRepository lives in the memory of its process and cannot be pickled; "
            "processes share a SQLiteRepository or a PostgresRepository"
        )

    def check(self) -> tuple[str, ...]:
        """Recount every index and every counter. O(n log n) for each queue.

        Returns:
            What is wrong, in words; nothing when the repository is whole.
        """
        with self._lock:
            self._check_open()
            wrong = [
                f"item {item_id!r} is stored under another id"
                for item_id, stored in self._items.items()
                if stored.item.id != item_id or stored.item.queue_id not in self._queues
            ]
            wrong += [
                f"queue {queue_id!r} is stored under another id"
                for queue_id, queue in self._queues.items()
                if queue.queue.id != queue_id
            ]
            for project_id, listings in self._listings.items():
                of_project = [each.queue for each in self._queues.values() if each.queue.project_id == project_id]
                live = [queue for queue in of_project if queue.deleted_at is None]
                wrong += [f"project {project_id!r}: {each}" for each in listings.check(live)]
            return (*wrong, *(each for stored in self._queues.values() for each in stored.check()))

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the repository is closed; make a new one")

    def _queue(self, project_id: str, queue_id: str) -> StoredQueue:
        """Give a live queue of the project."""
        stored = self._queues.get(queue_id)
        if stored is None or stored.queue.project_id != project_id or stored.queue.deleted_at is not None:
            # Where nothing is left, since everything was let go of, that is said first.
            self._check_open()
            raise QueueNotFound(queue_id)
        return stored

    def _item(self, project_id: str, item_id: str, queue_id: str | None = None) -> tuple[StoredQueue, StoredItem]:
        """Give a live item of the project, and of the queue if one is named, with its live queue."""
        found = self._found(project_id, item_id, queue_id)
        if found is None:
            raise ItemNotFound(item_id)
        return found

    def _found(self, project_id: str, item_id: str, queue_id: str | None) -> tuple[StoredQueue, StoredItem] | None:
        """Give what `_item` gives, or None if there is no such item."""
        stored = self._items.get(item_id)
        if queue_id is None:
            self._check_open()
            if stored is None or stored.item.project_id != project_id:
                return None
            queue = self._queue(project_id, stored.item.queue_id)
        else:
            queue = self._queue(project_id, queue_id)
            if stored is None or stored.item.queue_id != queue_id:
                return None
        return None if stored.item.deleted_at is not None else (queue, stored)


def _patch(queue: StoredQueue, patches: Iterable[tuple[StoredItem, ItemPatch]], at: datetime) -> int:
    """Change items of a queue, and count those that change."""
    changed = 0
    for stored, patch in patches:
        before = stored.show()
        after = patched(before, patch, at)
        if after is not before:
            queue.put(stored, after)
            changed += 1
    return changed


def _is_before(removed: datetime | None, moment: datetime) -> bool:
    return removed is not None and removed < moment
