"""Deliberately wrong variants of the dictionary repository, each by one fault of what changes or reserves many items."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs

from annotation_queue.items import Claim, ItemPatch, Purged, Unavailable, UnavailableReason
from testing.dictionary import MyRepository, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.moves import Reset
    from annotation_queue.query import ItemFilter


class HandsReservedItemsToOthers(MyRepository):
    def _is_for(self, row: Row, annotator_id: str) -> bool:
        return super()._is_for(row, annotator_id) or bool(row.item.assignees)


class KeepsReservedItemsFromEverybody(MyRepository):
    def _is_for(self, row: Row, annotator_id: str) -> bool:
        return super()._is_for(row, annotator_id) and not row.item.assignees


class ForgetsItsPauses(MyRepository):
    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        return attrs.evolve(super().get_queue(project_id, queue_id), is_paused=False)


class SaysSeenForAssigned(MyRepository):
    def claim(
        self, project_id: str, queue_id: str, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        found = super().claim(project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease)
        if isinstance(found, Unavailable) and found.reason is UnavailableReason.ASSIGNED:
            return Unavailable(reason=UnavailableReason.SEEN)
        return found


class CountsWhatIsTheSame(MyRepository):
    def update_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, patch: ItemPatch, at: datetime
    ) -> int:
        super().update_items(project_id, queue_id, which, patch, at)
        return len(self._chosen(queue_id, which))


class LetsUpdatesTurnBackTheTime(MyRepository):
    def _patch(self, row: Row, patch: ItemPatch, at: datetime) -> bool:
        changes = super()._patch(row, patch, at)
        row.item = attrs.evolve(row.item, updated_at=at) if changes else row.item
        return changes


class UpdatesPayloadsOnly(MyRepository):
    def _patch(self, row: Row, patch: ItemPatch, at: datetime) -> bool:
        kept = row.item.priority
        changes = super()._patch(row, patch, at)
        row.item = attrs.evolve(row.item, priority=kept)
        return changes


class GivesAllTheFirstPriority(MyRepository):
    def reprioritise(self, project_id: str, queue_id: str, priorities: Mapping[str, int], at: datetime) -> int:
        first = next(iter(priorities.values()))
        return super().reprioritise(project_id, queue_id, dict.fromkeys(priorities, first), at)


class RestoresBesideALiveCall(MyRepository):
    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        gone = [self._rows[item_id] for item_id in dict.fromkeys(item_ids) if item_id in self._rows]
        self.get_queue(project_id, queue_id)
        found = [row for row in gone if row.item.deleted_at is not None and row.item.queue_id == queue_id]
        for row in found:
            row.item = attrs.evolve(row.item, deleted_at=None, updated_at=at)
        return len(found)


class RestoresWithoutProgresses(MyRepository):
    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        live = {row.item.id for row in self._live(queue_id)}
        restored = super().restore_items(project_id, queue_id, item_ids, at)
        for row in self._live(queue_id):
            row.progresses = row.progresses if row.item.id in live else {}
        return restored


class PurgesWithoutTheLog(MyRepository):
    """Leaves the labels of what it purges in the log."""

    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        log, rows = [*self._log], dict(self._rows)
        purged = super().purge(project_id, removed_before)
        self._log = log
        self._rows = {**rows, **self._rows}
        for row in self._rows.values():
            row.is_erased = False
        return purged


class PurgesWhatWasRemovedLater(MyRepository):
    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        return super().purge(project_id, removed_before.replace(year=9999))


class PurgesOtherProjects(MyRepository):
    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        projects = {project_id, *(queue.project_id for queue in self._queues.values())}
        purged = [super(PurgesOtherProjects, self).purge(each, removed_before) for each in sorted(projects)]
        return Purged(items=sum(each.items for each in purged), queues=sum(each.queues for each in purged))


class ResetsInTheOrderOfAddition(MyRepository):
    def _in_turn(self, queue_id: str, which: Sequence[str] | ItemFilter) -> list[Row]:
        return self._chosen(queue_id, which)


class ResetsWhatItFoundBefore(MyRepository):
    """Looks which items a filter shows, lets others in, and puts back those of them that it still shows."""

    def __init__(self) -> None:
        super().__init__()
        self._updated = threading.Condition(self._lock)

    def update_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, patch: ItemPatch, at: datetime
    ) -> int:
        with self._updated:
            changed = super().update_items(project_id, queue_id, which, patch, at)
            self._updated.notify_all()
            return changed

    def reset(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
        with self._updated:
            self.get_queue(project_id, queue_id)
            found = self._ids(queue_id, which)
            if len(found) == 1:  # of two: until the other one alone is meant
                self._updated.wait_for(lambda: found.isdisjoint(self._ids(queue_id, which)), timeout=5)
            rows = [row for row in self._in_turn(queue_id, which) if row.item.id in found]
            return sum(self._reset(row, wanted) for row in rows)

    def _ids(self, queue_id: str, which: Sequence[str] | ItemFilter) -> set[str]:
        return {row.item.id for row in self._chosen(queue_id, which)}
