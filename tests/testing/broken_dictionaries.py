"""Deliberately wrong variants of the dictionary repository, each by one fault."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from annotation_queue.errors import QueueNotFound
from annotation_queue.items import AddedItems
from annotation_queue.query import ItemFilter, ItemPage
from annotation_queue.records import view
from annotation_queue.states import ALWAYS, aggregate
from testing.dictionary import MyRepository, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, timedelta

    from annotation_queue.items import AnnotationQueue, Claim, NewItem, QueueItem, QueueStats, Unavailable
    from annotation_queue.query import ItemQuery, QueuePage, QueueQuery
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.states import Progress, Transition

Make: TypeAlias = "Callable[[NewItem, AnnotationQueue], QueueItem]"


class SavesWithoutComparing(MyRepository):
    def _compare(self, record: ItemRecord) -> None:
        pass


class ComparesTheItemOnly(MyRepository):
    def _compare(self, record: ItemRecord) -> None:
        queue = self._queues[record.queue.id]
        revision = (record.revision[0], queue)  # type: ignore[index]  # its own
        super()._compare(attrs.evolve(record, revision=revision, queue=queue))


class SavesOneAfterTheOther(MyRepository):
    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        for write in writes:
            super().save([write])


class SavesTheFirstOnly(MyRepository):
    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        super().save(writes[:1])


class ReplacesWithoutComparing(MyRepository):
    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        super().replace_queue(self.get_queue(before.project_id, before.id), after)


class KeepsPartOfWhatFailed(MyRepository):
    def add_items(self, project_id: str, queue_id: str, items: Iterable[NewItem], make: Make) -> AddedItems:
        self.get_queue(project_id, queue_id)
        read: list[NewItem] = []
        try:
            read.extend(items)
        except RuntimeError:
            super().add_items(project_id, queue_id, read, make)
            raise
        return super().add_items(project_id, queue_id, read, make)


class ReadsBeforeItLooks(MyRepository):
    def add_items(self, project_id: str, queue_id: str, items: Iterable[NewItem], make: Make) -> AddedItems:
        return super().add_items(project_id, queue_id, list(items), make)


class ChecksDuplicatesWithoutALock(MyRepository):
    def add_items(self, project_id: str, queue_id: str, items: Iterable[NewItem], make: Make) -> AddedItems:
        queue = self.get_queue(project_id, queue_id)
        calls = {row.item.call_id for row in self._live(queue_id)}
        time.sleep(0.01)
        given = list(items)
        made = [make(new, queue) for new in {new.call_id: new for new in given}.values() if new.call_id not in calls]
        self._store({item.id: item for item in made})
        return AddedItems(added=tuple(made), duplicates=len(given) - len(made))


class OverwritesTakenIds(MyRepository):
    def add_items(self, project_id: str, queue_id: str, items: Iterable[NewItem], make: Make) -> AddedItems:
        held, self._rows = self._rows, {k: row for k, row in self._rows.items() if row.item.deleted_at is None}
        added = super().add_items(project_id, queue_id, items, make)
        self._rows = held | self._rows
        return added


class SortsTiesBackwards(MyRepository):
    def _cut(self, found: list[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> list[Any]:
        if after is not None or any(by.field == "id" for by in query.sort_by):
            return super()._cut(found, query, after)
        order = query.order()
        found = sorted(found, key=lambda each: each.id, reverse=True)
        return sorted(found, key=lambda each: order.key(order.values(each))[:-1])[query.offset :]


class SortsAbsentValuesFirst(MyRepository):
    def _cut(self, found: list[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> list[Any]:
        field = query.sort_by[0].field if query.sort_by else "id"
        return sorted(super()._cut(found, query, after), key=lambda each: getattr(each, field) is not None)


class RepeatsTheItemOfTheCursor(MyRepository):
    def _cut(self, found: list[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> list[Any]:
        order, every = query.order(), super()._cut(found, query, None)
        return [each for each in every if after is None or order.key(order.values(each)) >= order.key(after)]


class SkipsTiesBehindTheCursor(MyRepository):
    def _cut(self, found: list[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> list[Any]:
        order, every = query.order(), super()._cut(found, query, None)
        return [each for each in every if after is None or order.key(order.values(each))[:-1] > order.key(after)[:-1]]


class SkipsOneTooManyByOffset(MyRepository):
    def _cut(self, found: list[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> list[Any]:
        return super()._cut(found, query, after)[1 if query.offset else 0 :]


class StopsAtTheLimit(MyRepository):
    def _cut(self, found: list[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> list[Any]:
        return super()._cut(found, query, after)[: query.limit]


class NumbersWhatIsShown(MyRepository):
    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        page = super().query_items(project_id, queue_id, query)
        if not query.include_position:
            return page
        return attrs.evolve(
            page,
            items=tuple(attrs.evolve(item, position_in_queue=place) for place, item in enumerate(page.items, 1)),
        )


class NumbersDeletedItemsToo(MyRepository):
    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        page = super().query_items(project_id, queue_id, query)
        gone = sum(row.item.deleted_at is not None and row.item.queue_id == queue_id for row in self._rows.values())
        if not query.include_position:
            return page
        items = (attrs.evolve(item, position_in_queue=(item.position_in_queue or 0) + gone) for item in page.items)
        return attrs.evolve(page, items=tuple(items))


class CountsThePage(MyRepository):
    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        page = super().query_items(project_id, queue_id, query)
        return attrs.evolve(page, total=len(page.items)) if query.include_total else page


class FiltersWithoutCase(MyRepository):
    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        wanted = query.filter.call_op_name
        if not isinstance(wanted, str):
            return super().query_items(project_id, queue_id, query)
        alike = {row.item.call_op_name for row in self._live(queue_id)}
        alike = {name for name in alike if name.casefold() == wanted.casefold()}
        found: list[QueueItem] = []
        for name in sorted(alike):
            same = attrs.evolve(query.filter, call_op_name=name)
            whole = attrs.evolve(query, filter=same, limit=None, offset=0, cursor=None)
            found += super().query_items(project_id, queue_id, whole).items
        return query.page(
            self.get_queue(project_id, queue_id),
            self._cut(found, query, None),
            len(found) if query.include_total else None,
        )


class IgnoresTheStatesOfAPerspective(MyRepository):
    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        if query.annotator_id is not None:
            query = attrs.evolve(query, filter=attrs.evolve(query.filter, annotation_states=None))
        return super().query_items(project_id, queue_id, query)


class SearchesWithCase(MyRepository):
    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        page = super().query_queues(project_id, query)
        return attrs.evolve(page, queues=tuple(each for each in page.queues if (query.name or "") in each.name))


class CountsDeletedItems(MyRepository):
    def _count(self, queue: AnnotationQueue) -> QueueStats:
        gone = sum(row.item.deleted_at is not None and row.item.queue_id == queue.id for row in self._rows.values())
        stats = super()._count(queue)
        return attrs.evolve(stats, total_items=stats.total_items + gone)


class CountsOnce(MyRepository):
    """Its statistics stay as they were when they were first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._counted: dict[AnnotationQueue, QueueStats] = {}

    def _count(self, queue: AnnotationQueue) -> QueueStats:
        return self._counted.setdefault(queue, super()._count(queue))


class StoresWhatItWasGiven(MyRepository):
    def _store(self, made: dict[str, QueueItem]) -> None:
        self._rows.update((item_id, Row(item)) for item_id, item in made.items())


class RowThatIsHandedOut(Row):
    def work(self) -> tuple[Progress, ...]:
        return tuple(self.progresses[name] for name in sorted(self.progresses))


class RowWhosePayloadIsHandedOut(Row):
    def shown(self, annotator_id: str | None = None, position: int | None = None) -> QueueItem:
        seen = [each for each in self.progresses.values() if annotator_id in {None, each.annotator_id}]
        return view(self.item, aggregate(seen), position=position)


class HandsOutItsLabels(MyRepository):
    def _store(self, made: dict[str, QueueItem]) -> None:
        self._rows.update((item_id, RowThatIsHandedOut(copy.deepcopy(item))) for item_id, item in made.items())


class HandsOutItsPayloads(MyRepository):
    def _store(self, made: dict[str, QueueItem]) -> None:
        self._rows.update((item_id, RowWhosePayloadIsHandedOut(copy.deepcopy(item))) for item_id, item in made.items())


class SortsHistoriesByTime(MyRepository):
    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        return tuple(sorted(super().history(project_id, item_id), key=lambda each: each.at))


class ForgetsReleasesInHistories(MyRepository):
    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        return tuple(each for each in super().history(project_id, item_id) if each.reason != "lease expired")


class MovesTheTimeAtAHeartbeat(MyRepository):
    def _apply(self, row: Row, change: Change) -> None:
        ends = [each.lease_expires_at for each in change.progresses if each.lease_expires_at is not None]
        super()._apply(row, change if change.transitions else attrs.evolve(change, updated_at=max(ends)))


class IgnoresLiveHolds(MyRepository):
    def _claimable_at(self, row: Row, annotator_id: str, queue: AnnotationQueue) -> datetime | None:
        free_at = super()._claimable_at(row, annotator_id, queue)
        return None if free_at is None else ALWAYS


class PassesOverExpiredHolds(MyRepository):
    def _claimable_at(self, row: Row, annotator_id: str, queue: AnnotationQueue) -> datetime | None:
        free_at = super()._claimable_at(row, annotator_id, queue)
        return None if free_at != ALWAYS else free_at


class LetsAnAnnotatorInTwice(MyRepository):
    def _claimable_at(self, row: Row, annotator_id: str, queue: AnnotationQueue) -> datetime | None:
        return super()._claimable_at(row, f"not {annotator_id}", queue)


class TellsAWrongTimeToComeBack(MyRepository):
    def claim(
        self, project_id: str, queue_id: str, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        answer = super().claim(project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease)
        if isinstance(answer, tuple) or answer.retry_at is None:
            return answer
        queue = self.get_queue(project_id, queue_id)
        waits = [self._claimable_at(row, annotator_id, queue) for row in self._live(queue_id)]
        return attrs.evolve(answer, retry_at=max(wait for wait in waits if wait is not None))


class ClaimsOneTooMany(MyRepository):
    def claim(
        self, project_id: str, queue_id: str, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        more = limit if limit == 1 else limit + 1
        return super().claim(project_id, queue_id, annotator_id, limit=more, at=at, lease=lease)


class ClaimsWithoutALock(MyRepository):
    def _claimable_at(self, row: Row, annotator_id: str, queue: AnnotationQueue) -> datetime | None:
        free_at = super()._claimable_at(row, annotator_id, queue)
        held = self._lock
        held.release()
        time.sleep(0)
        held.acquire()
        return free_at


class ForgetsTheLeaseOfTheClaim(MyRepository):
    def claim(
        self, project_id: str, queue_id: str, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        del lease
        return super().claim(project_id, queue_id, annotator_id, limit=limit, at=at, lease=None)


class LeaksQueues(MyRepository):
    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        owner = self._queues[queue_id].project_id if queue_id in self._queues else project_id
        return super().get_queue(owner, queue_id)


class LeaksItems(MyRepository):
    def _row(self, project_id: str, item_id: str, queue_id: str | None = None) -> Row:
        owner = self._rows[item_id].item.project_id if item_id in self._rows else project_id
        return super()._row(owner, item_id, queue_id)


class KeepsDeletedQueues(MyRepository):
    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        try:
            return super().get_queue(project_id, queue_id)
        except QueueNotFound:
            queue = self._queues.get(queue_id)
            if queue is None or queue.project_id != project_id:
                raise
            return queue


class KeepsDeletedItems(MyRepository):
    def remove_items(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, at: datetime) -> int:
        wanted = [row.item.id for row in self._chosen(queue_id, which)]
        rows = {item_id: row for item_id, row in self._rows.items() if item_id in wanted}
        removed = super().remove_items(project_id, queue_id, wanted, at)
        for row in rows.values():
            row.item = attrs.evolve(row.item, deleted_at=None)
        return removed


class AnswersWhenItIsClosed(MyRepository):
    def close(self) -> None:
        pass


class ForgetsThePayloadOfAFilter(MyRepository):
    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        page = super().query_items(project_id, queue_id, query)
        if query.filter == ItemFilter():
            return page
        return attrs.evolve(page, items=tuple(attrs.evolve(item, payload=None) for item in page.items))


class ShowsPayloadsUnasked(MyRepository):
    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        return super().query_items(project_id, queue_id, attrs.evolve(query, include_payload=True))


class EndsAtItsBytes(MyRepository):
    """Ends a page by its bytes as if nothing followed."""

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        page = super().query_items(project_id, queue_id, query)
        return page if query.max_bytes is None else attrs.evolve(page, items=page.items[:1], next_cursor=None)
