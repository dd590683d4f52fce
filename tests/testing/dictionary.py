"""A repository over plain dictionaries, as a stranger writes it from the docstrings of `Repository`."""

from __future__ import annotations

import contextlib
import copy
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs

from annotation_queue.changes import ChangePage, Settlement, change_cursor, is_settlement, place_of_cursor
from annotation_queue.counters import counts_of, stats_of
from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound, StorageError
from annotation_queue.items import AddedItems, Claim, ItemPatch, Purged, copy_queue, explain_unavailable, patched
from annotation_queue.labels import Label
from annotation_queue.moves import grant
from annotation_queue.query import ItemFilter, search_text
from annotation_queue.records import ItemRecord, change_of, put_back, standing, view
from annotation_queue.states import IN_PROGRESS, UNREAD, aggregate, claimable_at, is_for, with_annotation
from annotation_queue.values import lease_end

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType

    from annotation_queue.items import AnnotationQueue, NewItem, QueueItem, QueueStats, Unavailable
    from annotation_queue.labels import LabelPage, LabelQuery
    from annotation_queue.moves import Reset
    from annotation_queue.query import ItemPage, ItemQuery, QueuePage, QueueQuery
    from annotation_queue.records import Change
    from annotation_queue.states import Progress, Transition


_Labelled = TypeVar("_Labelled", "Progress", "Transition")


def copied(labelled: _Labelled) -> _Labelled:
    """Copy what of a progress or a transition can be changed: its label."""
    return labelled if labelled.annotation is None else copy.deepcopy(labelled)


@attrs.define
class Row:
    """What is stored of one item."""

    item: QueueItem
    progresses: dict[str, Progress] = attrs.field(factory=dict)
    is_erased: bool = False
    history: list[Transition] = attrs.field(factory=list)
    revision: int = 0

    def work(self) -> tuple[Progress, ...]:
        """Give copies of the progresses, by annotator id."""
        return tuple(copied(self.progresses[name]) for name in sorted(self.progresses))

    def erase(self) -> None:
        """Forget all but that it was there, for whose sake the entries of others in the log keep their numbers."""
        self.is_erased, self.item = True, attrs.evolve(self.item, payload=None)
        self.progresses, self.history = {}, []

    def shown(self, annotator_id: str | None = None, position: int | None = None) -> QueueItem:
        """Give a copy of the item in a view."""
        seen = [each for each in self.progresses.values() if annotator_id in {None, each.annotator_id}]
        return view(self.item, aggregate(seen), position=position, payload=copy.deepcopy(self.item.payload))


class MyRepository:
    """Keeps everything in two dictionaries and a log behind one lock, and looks at everything for every answer."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queues: dict[str, AnnotationQueue] = {}
        self._rows: dict[str, Row] = {}
        self._log: list[Transition] = []
        self._closed = False

    def add_queue(self, queue: AnnotationQueue) -> None:
        with self._open():
            if queue.id in self._queues:
                raise Conflict(f"queue id {queue.id!r} is taken")
            self._queues[queue.id] = copy_queue(queue)

    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        with self._open():
            live = (each for each in self._queues.values() if each.deleted_at is None)
            same = [each for each in live if (each.project_id, each.name) == (queue.project_id, queue.name)]
            if not same:
                self.add_queue(queue)
            return copy_queue(min(same, key=lambda each: (each.created_at, each.id), default=queue))

    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        with self._open():
            queue = self._queues.get(queue_id)
            if queue is None or queue.project_id != project_id or queue.deleted_at is not None:
                raise QueueNotFound(queue_id)
            return copy_queue(queue)

    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        with self._open():
            wanted = search_text(query.name or "")
            found = [
                copy_queue(queue)
                for queue in self._queues.values()
                if queue.project_id == project_id and queue.deleted_at is None and wanted in search_text(queue.name)
            ]
            return query.page(project_id, self._cut(found, query, query.after(project_id)))

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        with self._open():
            if self.get_queue(before.project_id, before.id) != before:
                raise Conflict(f"queue {before.id!r} changed")
            self._queues[before.id] = copy_queue(after)

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
        queue = copy_queue(self._queues[row.item.queue_id])
        progresses = tuple(
            each if labels_of is None or each.annotator_id in labels_of else with_annotation(each, UNREAD)
            for each in row.work()
        )
        item = row.shown() if with_item else None
        revision, steps = (row.revision, queue), len(row.history)
        return ItemRecord(row.item.id, queue, row.item.updated_at, progresses, revision, item=item, steps=steps)

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
        row.history.extend(map(copied, change.transitions))
        self._log.extend(row.history[len(row.history) - len(change.transitions) :])
        row.item = attrs.evolve(row.item, updated_at=change.updated_at)

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        with self._open():
            queue, order = self.get_queue(project_id, queue_id), query.order()
            seen = [row.shown(query.annotator_id) for row in self._live(queue_id)]
            seen.sort(key=lambda item: order.key(order.values(item)))
            if query.include_position:
                seen = [self._rows[item.id].shown(query.annotator_id, n) for n, item in enumerate(seen, 1)]
            found = [item for item in seen if self._matches(item, query.filter)]
            if not query.include_payload:
                found = [attrs.evolve(item, payload=None) for item in found]
            return query.page(
                queue, self._cut(found, query, query.after(queue)), len(found) if query.include_total else None
            )

    def _matches(self, item: QueueItem, wanted: ItemFilter) -> bool:
        finished = standing(self._rows[item.id].work(), self._queues[item.queue_id]).finished
        return wanted.matches(item, finished=finished)

    def _cut(self, found: list[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> list[Any]:
        """Sort what was found, and leave out what comes before the page."""
        order = query.order()
        keyed = sorted((order.key(order.values(each)), index) for index, each in enumerate(found))
        if after is not None:
            keyed = [(key, index) for key, index in keyed if key > order.key(after)]
        return [found[index] for _, index in keyed[query.offset :]]

    def update_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, patch: ItemPatch, at: datetime
    ) -> int:
        with self._open():
            self.get_queue(project_id, queue_id)
            return sum(self._patch(row, patch, at) for row in self._chosen(queue_id, which))

    def reprioritise(self, project_id: str, queue_id: str, priorities: Mapping[str, int], at: datetime) -> int:
        with self._open():
            self.get_queue(project_id, queue_id)
            rows = self._chosen(queue_id, tuple(priorities))
            return sum(self._patch(row, ItemPatch(priority=priorities[row.item.id]), at) for row in rows)

    def _patch(self, row: Row, patch: ItemPatch, at: datetime) -> bool:
        after = patched(row.item, patch, at)
        changes = after is not row.item
        row.item, row.revision = copy.deepcopy(after), row.revision + changes
        return changes

    def _chosen(self, queue_id: str, which: Sequence[str] | ItemFilter) -> list[Row]:
        live = self._live(queue_id)
        if isinstance(which, ItemFilter):
            return [row for row in live if self._matches(row.shown(), which)]
        wanted = set(which)
        return [row for row in live if row.item.id in wanted]

    def reset(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
        with self._open():
            self.get_queue(project_id, queue_id)
            return sum(self._reset(row, wanted) for row in self._in_turn(queue_id, which))

    def _in_turn(self, queue_id: str, which: Sequence[str] | ItemFilter) -> list[Row]:
        """List what is meant: as it is asked for, or in queue order for a filter."""
        meant = {row.item.id: row for row in self._chosen(queue_id, which)}
        order = [row.item.id for row in self._in_order(queue_id)] if isinstance(which, ItemFilter) else which
        return [meant[item_id] for item_id in dict.fromkeys(order) if item_id in meant]

    def _reset(self, row: Row, wanted: Reset) -> int:
        change = put_back(self._record(row), wanted)
        if change is None:
            return 0
        self._apply(row, change)
        return len(change.progresses)

    def remove_items(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, at: datetime) -> int:
        with self._open():
            self.get_queue(project_id, queue_id)
            gone = self._chosen(queue_id, which)
            for row in gone:
                row.item = attrs.evolve(row.item, deleted_at=at, updated_at=max(row.item.updated_at, at))
            return len(gone)

    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        with self._open():
            self.get_queue(project_id, queue_id)
            calls, restored = {row.item.call_id for row in self._live(queue_id)}, 0
            for item_id in dict.fromkeys(item_ids):
                row = self._rows.get(item_id)
                if row is None or row.is_erased or row.item.queue_id != queue_id or row.item.call_id in calls:
                    continue
                calls.add(row.item.call_id)
                row.item = attrs.evolve(row.item, deleted_at=None, updated_at=max(row.item.updated_at, at))
                row.revision += 1
                restored += 1
            return restored

    def restore_queue(self, project_id: str, queue_id: str, at: datetime) -> AnnotationQueue:
        with self._open():
            queue = self._queues.get(queue_id)
            if queue is None or queue.project_id != project_id:
                raise QueueNotFound(queue_id)
            if queue.deleted_at is not None:
                queue = self._queues[queue_id] = attrs.evolve(queue, deleted_at=None, updated_at=at)
            return copy_queue(queue)

    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        with self._open():
            mine = [queue for queue in self._queues.values() if queue.project_id == project_id]
            gone = {each.id for each in mine if each.deleted_at is not None and each.deleted_at < removed_before}
            left = {each.id for each in mine} - gone
            old = [row.item for row in self._rows.values() if row.item.queue_id in left and not row.is_erased]
            items = {item.id for item in old if item.deleted_at is not None and item.deleted_at < removed_before}
            for item_id in items:
                self._rows[item_id].erase()
            bare = [
                each if self._is_kept(each) else attrs.evolve(each, annotation=None, reason=None) for each in self._log
            ]
            self._log = [each for each in bare if self._rows[each.item_id].item.queue_id not in gone]
            self._rows = {key: row for key, row in self._rows.items() if row.item.queue_id not in gone}
            self._queues = {key: queue for key, queue in self._queues.items() if key not in gone}
            return Purged(items=len(items), queues=len(gone))

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
            live = self._in_order(queue_id)
            claims: list[Claim] = []
            waits: list[datetime] = []
            others = 0
            for row in live:
                free_at = self._claimable_at(row, annotator_id, queue)
                if not self._is_for(row, annotator_id):
                    others += free_at is not None
                    continue
                if queue.is_paused or free_at is None or free_at > at or len(claims) == limit:
                    waits += [free_at] if free_at else []
                    continue
                record = self._record(row)
                changed, transitions = grant(
                    record.progresses, row.item.id, annotator_id, at=at, expires_at=expires_at, steps=record.steps
                )
                self._apply(row, change_of(record, changed, transitions))
                claims.append(self._claim(row, changed[-1]))
            unfinished = sum(not standing(row.work(), queue).finished for row in live)
            return tuple(claims) or explain_unavailable(
                live=len(live),
                unfinished=unfinished,
                retry_at=min(waits, default=None),
                is_paused=queue.is_paused,
                is_assigned=others > 0,
            )

    def _is_for(self, row: Row, annotator_id: str) -> bool:
        return is_for(row.item.assignees, annotator_id)

    def _claimable_at(self, row: Row, annotator_id: str, queue: AnnotationQueue) -> datetime | None:
        return claimable_at(row.work(), annotator_id, queue.annotations_per_item, queue.skip_policy)

    def _claim(self, row: Row, own: Progress) -> Claim:
        ends = own.lease_expires_at or row.item.created_at
        return Claim(item=row.shown(own.annotator_id), annotator_id=own.annotator_id, token=own.token, expires_at=ends)

    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        with self._open():
            self.get_queue(project_id, queue_id)
            rows = [row for row in self._in_order(queue_id) if annotator_id in row.progresses]
            mine = [(row, row.progresses[annotator_id]) for row in rows]
            return tuple(self._claim(row, own) for row, own in mine if own.state is IN_PROGRESS)

    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        with self._open():
            queue = self.get_queue(project_id, queue_id)
            after, live = query.after(queue), {row.item.id: row for row in self._live(queue_id)}
            last = self._places()
            found = [
                (place, Label(item=live[item_id].shown(), progress=copied(live[item_id].progresses[annotator_id])))
                for (item_id, annotator_id), place in sorted(last.items(), key=lambda each: each[1])
                if item_id in live and query.annotator_id in {None, annotator_id}
            ]
            if query.newest_first:
                found.reverse()
            if after is not None:
                found = [each for each in found if self._is_behind(each[0], after[0], query)]
            found = [each for each in found if self._is_wanted(each[1], query)]
            labels = [label for _, label in found]
            if not query.include_payload:
                labels = [attrs.evolve(each, item=attrs.evolve(each.item, payload=None)) for each in labels]
            return query.page(queue, labels, [(place,) for place, _ in found])

    def _places(self) -> dict[tuple[str, str], int]:
        return {(each.item_id, each.annotator_id): place for place, each in enumerate(self._log, 1)}

    def _is_behind(self, place: int, cursor: int, query: LabelQuery) -> bool:
        return place < cursor if query.newest_first else place > cursor

    def _is_wanted(self, label: Label, query: LabelQuery) -> bool:
        return label.progress.state in query.states and self._matches(label.item, query.filter)

    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> ChangePage:
        with self._open():
            queue = self.get_queue(project_id, queue_id)
            start = place_of_cursor(queue, after)[0] if after is not None else 0
            log = [(place, each) for place, each in enumerate(self._log_of(queue_id), 1) if self._is_kept(each)]
            shown = [(place, each) for place, each in log if place > start][:limit]
            cursor = change_cursor(queue, (shown[-1][0] if shown else start,))
            return ChangePage(transitions=tuple(copied(each) for _, each in shown), cursor=cursor)

    def _is_kept(self, transition: Transition) -> bool:
        return not self._rows[transition.item_id].is_erased

    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[Settlement, ...]:
        with self._open():
            self.get_queue(project_id, queue_id)
            started: dict[tuple[str, str], datetime] = {}
            found: list[Settlement] = []
            for each in filter(self._is_kept, self._log_of(queue_id)):
                key = (each.item_id, each.annotator_id)
                if each.to_state is IN_PROGRESS:
                    started[key] = each.at
                if is_settlement(each) and each.at > since:
                    found.append(Settlement(copied(each), started.get(key)))
            return tuple(found)

    def _log_of(self, queue_id: str) -> list[Transition]:
        return [each for each in self._log if self._rows[each.item_id].item.queue_id == queue_id]

    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        with self._open():
            return tuple(map(copied, self._row(project_id, item_id).history))

    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[QueueStats, ...]:
        with self._open():
            return tuple(self._count(self.get_queue(project_id, queue_id)) for queue_id in queue_ids)

    def _count(self, queue: AnnotationQueue) -> QueueStats:
        counts: dict[tuple[str | None, str], int] = {}
        for row in self._live(queue.id):
            for key, n in counts_of(standing(row.work(), queue), row.work()).items():
                counts[key] = counts.get(key, 0) + n
        return stats_of(queue.id, counts)

    def check(self) -> tuple[str, ...]:
        return ()

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

    def _in_order(self, queue_id: str) -> list[Row]:
        return sorted(self._live(queue_id), key=lambda row: (-row.item.priority, row.item.created_at, row.item.id))

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
