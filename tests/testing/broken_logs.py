"""Deliberately wrong variants of the dictionary repository, each by one fault, in its labels, its log or its holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

from annotation_queue.changes import ChangePage, Settlement, change_cursor, place_of_cursor
from annotation_queue.json_values import write_json
from annotation_queue.labels import LabelTextPage, text_of
from annotation_queue.repository import ReadsLabelTexts
from annotation_queue.states import IN_PROGRESS, UNSTARTED, Transition, with_annotation
from testing.dictionary import MyRepository, Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from annotation_queue.items import AnnotationQueue, Claim, Unavailable
    from annotation_queue.labels import LabelPage, LabelQuery
    from annotation_queue.records import Change, ItemRecord


class SkipsALateCommit(MyRepository):
    """Numbers a step when it begins and shows it when it ends: whoever read on meanwhile passed it over."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = 0
        self._numbers: list[tuple[int, int]] = []

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        number = self._begin()
        time.sleep(0.001)
        with self._lock:
            super().save(writes)
            self._end(number)

    def claim(
        self, project_id: str, queue_id: str, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        with self._lock:
            number = self._begin()
            answer = super().claim(project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease)
            self._end(number)
            return answer

    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> ChangePage:
        with self._open():
            queue = self.get_queue(project_id, queue_id)
            start = (0,) if after is None else place_of_cursor(queue, after)
            numbered = sorted(zip(self._numbers, self._log, strict=True), key=lambda each: each[0])
            mine = [each for each in numbered if self._rows[each[1].item_id].item.queue_id == queue_id]
            shown = [(place, each) for place, each in mine if place > start][:limit]
            cursor = change_cursor(queue, shown[-1][0] if shown else start)
            return ChangePage(transitions=tuple(each for _, each in shown), cursor=cursor)

    def _begin(self) -> int:
        with self._lock:
            self._begun += 1
            return self._begun

    def _end(self, number: int) -> None:
        new = len(self._log) - len(self._numbers)
        self._numbers += [(number, place) for place in range(new)]


class DropsRevisions(MyRepository):
    def _apply(self, row: Row, change: Change) -> None:
        if not any(each.from_state is each.to_state for each in change.transitions):
            super()._apply(row, change)


class DropsDrafts(MyRepository):
    def _apply(self, row: Row, change: Change) -> None:
        if not change.transitions:
            kept = {name: own.annotation for name, own in row.progresses.items()}
            same = tuple(with_annotation(each, kept.get(each.annotator_id)) for each in change.progresses)
            change = attrs.evolve(change, progresses=same)
        super()._apply(row, change)


class KeepsLabelsAfterAReset(MyRepository):
    def _apply(self, row: Row, change: Change) -> None:
        kept = {name: own.annotation for name, own in row.progresses.items()}
        super()._apply(row, change)
        for name, own in row.progresses.items():
            if own.state is UNSTARTED and own.annotation is None:
                row.progresses[name] = with_annotation(own, kept.get(name))


class TellsOtherTransitions(MyRepository):
    """Stores transitions that lack something."""

    lacking: dict[str, Any]

    def _apply(self, row: Row, change: Change) -> None:
        less = tuple(attrs.evolve(each, **self.lacking) for each in change.transitions)
        super()._apply(row, attrs.evolve(change, transitions=less))


class ForgetsActors(TellsOtherTransitions):
    lacking = {"actor_id": None}  # noqa: RUF012 - never changed


class ForgetsEarlierLabels(TellsOtherTransitions):
    lacking = {"annotation": None}  # noqa: RUF012 - never changed


class ToldOfDrafts(MyRepository):
    """Writes drafts into the history."""

    def _apply(self, row: Row, change: Change) -> None:
        before = {name: own.annotation for name, own in row.progresses.items()}
        drafts = tuple(
            Transition(
                item_id=each.item_id,
                annotator_id=each.annotator_id,
                from_state=IN_PROGRESS,
                to_state=IN_PROGRESS,
                at=row.item.updated_at,
            )
            for each in change.progresses
            if not change.transitions and each.annotation != before.get(each.annotator_id)
        )
        super()._apply(row, attrs.evolve(change, transitions=change.transitions + drafts))


class CountsProgressesAsSteps(MyRepository):
    def _record(self, row: Row, **wanted: Any) -> ItemRecord:  # noqa: ANN401 - as it is given
        record = super()._record(row, **wanted)
        return attrs.evolve(record, steps=len(record.progresses))


class LetsTheTimeGoBack(MyRepository):
    def _apply(self, row: Row, change: Change) -> None:
        at = change.transitions[-1].at if change.transitions else change.updated_at
        super()._apply(row, attrs.evolve(change, updated_at=at))


class StoresWritesByTheirIds(MyRepository):
    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        super().save(sorted(writes, key=lambda write: write[0].item_id))


class SortsLabelsByTheClock(MyRepository):
    def _places(self) -> dict[tuple[str, str], int]:
        by_time = sorted(super()._places().items(), key=lambda each: (self._log[each[1] - 1].at, each[1]))
        return {key: place for place, (key, _) in enumerate(by_time, 1)}


class MovesLabelsByDrafts(MyRepository):
    def __init__(self) -> None:
        super().__init__()
        self._moved: dict[tuple[str, str], int] = {}

    def _apply(self, row: Row, change: Change) -> None:
        super()._apply(row, change)
        for number, each in enumerate(change.progresses):
            last = max(self._moved.values(), default=0)
            self._moved[each.item_id, each.annotator_id] = last + 1 + number

    def _places(self) -> dict[tuple[str, str], int]:
        return {**super()._places(), **self._moved}


class RepeatsTheLabelOfTheCursor(MyRepository):
    def _is_behind(self, place: int, cursor: int, query: LabelQuery) -> bool:
        return place == cursor or super()._is_behind(place, cursor, query)


class WalksLabelsByOffset(MyRepository):
    """Counts what was shown, so that what changes meanwhile shifts the rest."""

    def _places(self) -> dict[tuple[str, str], int]:
        in_order = sorted(super()._places().items(), key=lambda each: each[1])
        return {key: place for place, (key, _) in enumerate(in_order, 1)}


class FindsLabelsOfRemovedItems(MyRepository):
    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        gone = [row for row in self._rows.values() if row.item.queue_id == queue_id and row.item.deleted_at is not None]
        times = [(row, row.item.deleted_at) for row in gone]
        for row, _ in times:
            row.item = attrs.evolve(row.item, deleted_at=None)
        try:
            return super().labels(project_id, queue_id, query)
        finally:
            for row, at in times:
                row.item = attrs.evolve(row.item, deleted_at=at)


class EndsLabelsAtTheirBytes(MyRepository):
    """Ends a page of labels by its bytes as if nothing followed."""

    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        page = super().labels(project_id, queue_id, query)
        return page if query.max_bytes is None else attrs.evolve(page, labels=page.labels[:1], next_cursor=None)


class ShowsPayloadsOfLabelsUnasked(MyRepository):
    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        return super().labels(project_id, queue_id, attrs.evolve(query, include_payload=True))


class WritesTextsAsTheyAreStored(MyRepository, ReadsLabelTexts):
    def label_texts(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelTextPage:
        page = self.labels(project_id, queue_id, query)
        texts = [text_of(each)._replace(annotation=write_json(each.progress.annotation)) for each in page.labels]
        return LabelTextPage(tuple(texts), page.next_cursor)


class EndsTextsOfLabelsAtTheirBytes(MyRepository, ReadsLabelTexts):
    """Ends a page by its bytes as if nothing followed."""

    def label_texts(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelTextPage:
        page = self.labels(project_id, queue_id, query)
        texts = tuple(map(text_of, page.labels))
        return LabelTextPage(texts, page.next_cursor) if query.max_bytes is None else LabelTextPage(texts[:1], None)


class SortsTheLogByTime(MyRepository):
    def _log_of(self, queue_id: str) -> list[Transition]:
        return sorted(super()._log_of(queue_id), key=lambda each: each.at)


class ForgetsTheLogOfRemovedItems(MyRepository):
    def _log_of(self, queue_id: str) -> list[Transition]:
        return [each for each in super()._log_of(queue_id) if self._rows[each.item_id].item.deleted_at is None]


class HandsOutItsLog(MyRepository):
    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> ChangePage:
        page = super().changes(project_id, queue_id, after, limit)
        log = self._log_of(queue_id)
        same = [next(kept for kept in log if kept == each) for each in page.transitions]
        return attrs.evolve(page, transitions=tuple(same))


class HandsOutItsSchemas(MyRepository):
    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        super().get_queue(project_id, queue_id)
        return self._queues[queue_id]


class CountsRevisionsAsSettled(MyRepository):
    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[Settlement, ...]:
        found = super().settled_since(project_id, queue_id, since)
        revised = [each for each in self._log_of(queue_id) if each.from_state is each.to_state and each.at > since]
        return (*found, *(Settlement(each, None) for each in revised))


class ForgetsWhenWorkBegan(MyRepository):
    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[Settlement, ...]:
        found = super().settled_since(project_id, queue_id, since)
        return tuple(attrs.evolve(each, started_at=None) for each in found)


class ShowsHoldsOfOthers(MyRepository):
    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        names = {name for row in self._live(queue_id) for name in row.progresses} | {annotator_id}
        held: list[Claim] = []
        for name in sorted(names):
            held += super().holds(project_id, queue_id, name)
        return tuple(held)


class ListsHoldsByTheirEnds(MyRepository):
    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        return tuple(sorted(super().holds(project_id, queue_id, annotator_id), key=lambda each: each.expires_at))


class KeepsHoldsAfterAReset(MyRepository):
    """Remembers who holds what, and forgets it only by what its holder does and by an expired lease."""

    def __init__(self) -> None:
        super().__init__()
        self._held: set[tuple[str, str]] = set()

    def _apply(self, row: Row, change: Change) -> None:
        super()._apply(row, change)
        for each in change.transitions:
            key = (each.item_id, each.annotator_id)
            if each.to_state is IN_PROGRESS:
                self._held.add(key)
            elif each.actor_id in {None, each.annotator_id}:
                self._held.discard(key)

    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        self.get_queue(project_id, queue_id)
        rows = [row for row in self._in_order(queue_id) if (row.item.id, annotator_id) in self._held]
        return tuple(self._claim(row, row.progresses[annotator_id]) for row in rows)


class GetsOrCreatesWithoutALock(MyRepository):
    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        same = [each for each in self._queues.values() if each.name == queue.name and each.deleted_at is None]
        time.sleep(0.01)
        return super().get_or_create_queue(queue) if same else self._added(queue)

    def _added(self, queue: AnnotationQueue) -> AnnotationQueue:
        self.add_queue(queue)
        return queue


class GetsTheNewestOfAName(MyRepository):
    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        found = super().get_or_create_queue(queue)
        same = [
            each for each in self._queues.values() if (each.name, each.project_id) == (found.name, found.project_id)
        ]
        live = [each for each in same if each.deleted_at is None]
        return max(live, key=lambda each: (each.created_at, each.id))


class GetsADeletedQueueOfAName(MyRepository):
    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        same = [
            each
            for each in self._queues.values()
            if (each.name, each.project_id, each.deleted_at is None) == (queue.name, queue.project_id, False)
        ]
        return same[0] if same else super().get_or_create_queue(queue)
