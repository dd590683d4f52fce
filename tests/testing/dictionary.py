"""A repository over plain dictionaries, as a stranger writes it from the docstrings of `Repository`."""

from __future__ import annotations

import contextlib
import copy
import threading
from typing import TYPE_CHECKING, Any, Self

import attrs

from annotation_queue.counters import counts_of, stats_of
from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound, StorageError
from annotation_queue.items import AddedItems, Claim, explain_unavailable
from annotation_queue.moves import grant
from annotation_queue.query import search_text
from annotation_queue.records import ItemRecord, change_of, standing, view
from annotation_queue.states import UNREAD, aggregate, claimable_at, with_annotation
from annotation_queue.values import lease_end

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType

    from annotation_queue.items import AnnotationQueue, NewItem, QueueItem, QueueStats, Unavailable
    from annotation_queue.query import ItemPage, ItemQuery, QueuePage, QueueQuery
    from annotation_queue.records import Change
    from annotation_queue.states import Progress, Transition


def copied(progress: Progress) -> Progress:
    """Copy what of a progress can be changed: its label."""
    return progress if progress.annotation is None else copy.deepcopy(progress)


@attrs.define
class Row:
    """What is stored of one item."""

    item: QueueItem
    progresses: dict[str, Progress] = attrs.field(factory=dict)
    history: list[Transition] = attrs.field(factory=list)
    revision: int = 0

    def work(self) -> tuple[Progress, ...]:
        """Give copies of the progresses, by annotator id."""
        return tuple(copied(self.progresses[name]) for name in sorted(self.progresses))

    def shown(self, annotator_id: str | None = None, position: int | None = None) -> QueueItem:
        """Give a copy of the item in a view."""
        seen = [each for each in self.progresses.values() if annotator_id in {None, each.annotator_id}]
        return view(self.item, aggregate(seen), position=position, payload=copy.deepcopy(self.item.payload))


class MyRepository:
    """Keeps everything in two dictionaries behind one lock, and looks at everything for every answer."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queues: dict[str, AnnotationQueue] = {}
        self._rows: dict[str, Row] = {}
        self._closed = False

    def add_queue(self, queue: AnnotationQueue) -> None:
        with self._open():
            if queue.id in self._queues:
                raise Conflict(f"queue id {queue.id!r} is taken")
            self._queues[queue.id] = queue

    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        with self._open():
            queue = self._queues.get(queue_id)
            if queue is None or queue.project_id != project_id or queue.deleted_at is not None:
                raise QueueNotFound(queue_id)
            return queue

    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        with self._open():
            wanted = search_text(query.name or "")
            found = [
                queue
                for queue in self._queues.values()
                if queue.project_id == project_id and queue.deleted_at is None and wanted in search_text(queue.name)
            ]
            return query.page(project_id, self._cut(found, query, query.after(project_id)))

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        with self._open():
            if self.get_queue(before.project_id, before.id) != before:
                raise Conflict(f"queue {before.id!r} changed")
            self._queues[before.id] = after

    def add_items(
        self,
        project_id: str,
        queue_id: str,
        items: Iterable[NewItem],
        make: Callable[[NewItem, AnnotationQueue], QueueItem],
    ) -> AddedItems:
        with self._open():
            queue = self.get_queue(project_id, queue_id)
            calls = {row.item.call_id for row in self._live(queue_id)}
            made: dict[str, QueueItem] = {}
            duplicates = 0
            for new in items:
                if new.call_id in calls:
                    duplicates += 1
                    continue
                calls.add(new.call_id)
                item = make(new, queue)
                if item.id in self._rows or item.id in made:
                    raise Conflict(f"item id {item.id!r} is taken")
                made[item.id] = item
            self._store(made)
            return AddedItems(added=tuple(made.values()), duplicates=duplicates)

    def _store(self, made: dict[str, QueueItem]) -> None:
        for item_id, item in made.items():
            self._rows[item_id] = Row(copy.deepcopy(item))

    def get_item(self, project_id: str, item_id: str, queue_id: str | None = None) -> QueueItem:
        with self._open():
            return self._row(project_id, item_id, queue_id).shown()

    def get_records(
        self,
        project_id: str,
        item_ids: Sequence[str],
        queue_id: str | None = None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None = (),
    ) -> dict[str, ItemRecord]:
        with self._open():
            if queue_id is not None:
                self.get_queue(project_id, queue_id)
            records = {}
            for item_id in item_ids:
                with contextlib.suppress(ItemNotFound):
                    row = self._row(project_id, item_id, queue_id)
                    records[item_id] = self._record(row, with_item=with_items, labels_of=labels_of)
            return records

    def _record(self, row: Row, *, with_item: bool = False, labels_of: Collection[str] | None = None) -> ItemRecord:
        queue = self._queues[row.item.queue_id]
        progresses = tuple(
            each if labels_of is None or each.annotator_id in labels_of else with_annotation(each, UNREAD)
            for each in row.work()
        )
        item = row.shown() if with_item else None
        return ItemRecord(row.item.id, queue, row.item.updated_at, progresses, (row.revision, queue), item=item)

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        with self._open():
            for record, _ in writes:
                self._compare(record)
            for record, change in writes:
                self._apply(self._rows[record.item_id], change)

    def _compare(self, record: ItemRecord) -> None:
        row = self._rows[record.item_id]
        if record.revision != (row.revision, self._queues[row.item.queue_id]) or row.item.deleted_at is not None:
            raise Conflict(f"item {record.item_id!r} changed")

    def _apply(self, row: Row, change: Change) -> None:
        row.revision += 1
        for each in change.progresses:
            old = row.progresses.get(each.annotator_id)
            kept = each if each.annotation is not UNREAD else with_annotation(each, old.annotation if old else None)
            row.progresses[each.annotator_id] = copied(kept)
        row.history.extend(change.transitions)
        row.item = attrs.evolve(row.item, updated_at=change.updated_at)

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        with self._open():
            queue, order = self.get_queue(project_id, queue_id), query.order()
            seen = [row.shown(query.annotator_id) for row in self._live(queue_id)]
            seen.sort(key=lambda item: order.key(order.values(item)))
            if query.include_position:
                seen = [self._rows[item.id].shown(query.annotator_id, n) for n, item in enumerate(seen, 1)]
            found = [item for item in seen if query.filter.matches(item)]
            if not query.include_payload:
                found = [attrs.evolve(item, payload=None) for item in found]
            return query.page(
                queue, self._cut(found, query, query.after(queue)), len(found) if query.include_total else None
            )

    def _cut(self, found: list[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> list[Any]:
        """Sort what was found, and leave out what comes before the page."""
        order = query.order()
        keyed = sorted((order.key(order.values(each)), index) for index, each in enumerate(found))
        if after is not None:
            keyed = [(key, index) for key, index in keyed if key > order.key(after)]
        return [found[index] for _, index in keyed[query.offset :]]

    def remove_items(self, project_id: str, queue_id: str, item_ids: Iterable[str], at: datetime) -> int:
        with self._open():
            self.get_queue(project_id, queue_id)
            wanted = set(item_ids)
            gone = [row for row in self._live(queue_id) if row.item.id in wanted]
            for row in gone:
                row.item = attrs.evolve(row.item, deleted_at=at, updated_at=at)
            return len(gone)

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
        with self._open():
            queue = self.get_queue(project_id, queue_id)
            expires_at = lease_end(at, lease or queue.lease)
            live = sorted(self._live(queue_id), key=lambda row: (-row.item.priority, row.item.created_at, row.item.id))
            claims: list[Claim] = []
            waits: list[datetime] = []
            for row in live:
                free_at = self._claimable_at(row, annotator_id, queue)
                if free_at is None or free_at > at or len(claims) == limit:
                    waits += [free_at] if free_at else []
                    continue
                changed, transitions = grant(row.work(), row.item.id, annotator_id, at=at, expires_at=expires_at)
                record = self._record(row)
                self._apply(row, change_of(record, changed, transitions))
                claims.append(
                    Claim(
                        item=row.shown(annotator_id),
                        annotator_id=annotator_id,
                        token=changed[-1].token,
                        expires_at=expires_at,
                    )
                )
            unfinished = sum(not standing(row.work(), queue).finished for row in live)
            return tuple(claims) or explain_unavailable(
                live=len(live), unfinished=unfinished, retry_at=min(waits, default=None)
            )

    def _claimable_at(self, row: Row, annotator_id: str, queue: AnnotationQueue) -> datetime | None:
        return claimable_at(row.work(), annotator_id, queue.annotations_per_item, queue.skip_policy)

    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        with self._open():
            return tuple(self._row(project_id, item_id).history)

    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[QueueStats, ...]:
        with self._open():
            return tuple(self._count(self.get_queue(project_id, queue_id)) for queue_id in queue_ids)

    def _count(self, queue: AnnotationQueue) -> QueueStats:
        counts: dict[tuple[str | None, str], int] = {}
        for row in self._live(queue.id):
            for key, n in counts_of(standing(row.work(), queue), row.work()).items():
                counts[key] = counts.get(key, 0) + n
        return stats_of(queue.id, counts)

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> threading.RLock:
        if self._closed:
            raise StorageError("the repository is closed")
        return self._lock

    def _live(self, queue_id: str) -> list[Row]:
        return [row for row in self._rows.values() if row.item.queue_id == queue_id and row.item.deleted_at is None]

    def _row(self, project_id: str, item_id: str, queue_id: str | None = None) -> Row:
        if queue_id is not None:
            self.get_queue(project_id, queue_id)
        row = self._rows.get(item_id)
        if row is None or row.item.project_id != project_id or queue_id not in {None, row.item.queue_id}:
            raise ItemNotFound(item_id)
        self.get_queue(project_id, row.item.queue_id)
        if row.item.deleted_at is not None:
            raise ItemNotFound(item_id)
        return row
