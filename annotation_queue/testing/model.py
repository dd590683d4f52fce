"""A model of the whole service: plain dictionaries and brute force, to compare repositories with.

It is written from the definitions of the vocabulary and shares no rule with the code it judges: not the functions of
`states`, `records` or `sorting`, no cursor, no repository. An oracle that called them would repeat their mistakes and
agree with them. Entities, enums and errors are used only to shape what is asked and answered. Every answer costs time
linear in all that is stored, or worse, so keep it small.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from annotation_queue.changes import ChangePage, Throughput
from annotation_queue.docstrings import shown_whole
from annotation_queue.errors import (
    Conflict,
    QueueNotFound,
)
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    ItemPatch,
    NewItem,
    Purged,
    QueueItem,
    QueueStats,
)
from annotation_queue.json_values import JsonValue
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.states import AnnotationState, Progress, Transition
from annotation_queue.testing import log
from annotation_queue.testing.model_claims import ModelOfClaims
from annotation_queue.testing.tables import Row, folded, is_live, named, sort_rows


@shown_whole
class Model(ModelOfClaims):
    """The model of one project. Methods take, return and raise what those of `AnnotationQueues` do.

    It trusts its arguments: only what depends on what is stored is refused.

    Args:
        tables: What the models of all projects share.
        project_id: The project.
        workflow: Name of the workflow, a key of `tables.MOVES`.
        clock: Tells the time.
        new_id: Makes ids.
    """

    # Queues

    def create(
        self,
        name: str,
        *,
        created_by: str,
        queue_id: str | None = None,
        **settings: Any,  # noqa: ANN401 - as the service
    ) -> AnnotationQueue:
        """Make a queue, or give the one that the same call made."""
        queue = self._new_queue(name, queue_id, created_by=created_by, **settings)
        stored = self._tables.queues.get(queue.id)
        if stored is None:
            self._tables.queues[queue.id] = attrs.asdict(queue, recurse=False)
            return copy.deepcopy(queue)
        same = {**stored, "created_at": queue.created_at, "updated_at": queue.updated_at}
        if queue_id is None or AnnotationQueue(**same) != queue:
            raise Conflict(f"queue {queue.id!r}")
        return AnnotationQueue(**stored)

    def get_or_create(self, name: str, *, created_by: str, **settings: Any) -> AnnotationQueue:  # noqa: ANN401 - as the service
        """Find the oldest live queue of a name, or make it."""
        same = [row for row in self._tables.queues.values() if is_live(row, self._project_id) and row["name"] == name]
        if same:
            return AnnotationQueue(**min(same, key=lambda row: (row["created_at"], row["id"])))
        return self.create(name, created_by=created_by, **settings)

    def _new_queue(self, name: str, queue_id: str | None, **fields: Any) -> AnnotationQueue:  # noqa: ANN401 - as the service
        at = self._clock()
        return AnnotationQueue(
            id=self._new_id() if queue_id is None else queue_id,
            project_id=self._project_id,
            name=name,
            created_at=at,
            updated_at=at,
            **fields,
        )

    def get(self, queue_id: str) -> AnnotationQueue:
        """Read a queue."""
        return AnnotationQueue(**self._queue(queue_id))

    def query(self, query: QueueQuery = QueueQuery()) -> QueuePage:  # noqa: B008 - a frozen value
        """Read queues."""
        rows = [row for row in self._tables.queues.values() if is_live(row, self._project_id)]
        if query.name is not None:
            rows = [row for row in rows if folded(query.name) in folded(row["name"])]
        sort = named(query.sort_by) or [("created_at", False)]
        rows, next_cursor = self._tables.page(rows, sort, query, ("queues", self._project_id))
        return QueuePage(queues=tuple(AnnotationQueue(**row) for row in rows), next_cursor=next_cursor)

    def update(self, queue_id: str, **changes: Any) -> AnnotationQueue:  # noqa: ANN401 - as the service
        """Change a queue."""
        at, row = self._clock(), self._queue(queue_id)
        if "scorer_refs" in changes:
            changes["scorer_refs"] = tuple(changes["scorer_refs"])
        if any(row[field] != value for field, value in changes.items()):
            row.update(changes, updated_at=at)
        return AnnotationQueue(**row)

    def delete(self, queue_id: str) -> AnnotationQueue:
        """Delete a queue."""
        at, row = self._clock(), self._queue(queue_id)
        row.update(deleted_at=at, updated_at=at)
        return AnnotationQueue(**row)

    def stats(self, queue_ids: Iterable[str]) -> tuple[QueueStats, ...]:
        """Count what queues hold."""
        return tuple(self._tables.stats(self._queue(queue_id)) for queue_id in list(queue_ids))

    # Items

    def add_items(self, queue_id: str, items: Iterable[NewItem], *, added_by: str) -> AddedItems:
        """Add items, all or none."""
        at, queue = self._clock(), self._queue(queue_id)
        held = {row["call_id"] for row in self._tables.live_items(queue)}
        added: dict[str, Row] = {}
        duplicates = 0
        for new in items:
            if new.call_id in held:
                duplicates += 1
                continue
            held.add(new.call_id)
            item_id = self._new_id()
            if item_id in self._tables.items or item_id in self._tables.removed or item_id in added:
                raise Conflict(f"item {item_id!r}")
            added[item_id] = {
                "id": item_id,
                "project_id": self._project_id,
                "queue_id": queue_id,
                "call_id": new.call_id,
                "call_started_at": at if new.call_started_at is None else new.call_started_at,
                "call_ended_at": new.call_ended_at,
                "call_op_name": new.call_op_name,
                "call_trace_id": new.call_trace_id,
                "display_fields": new.display_fields,
                "added_by": added_by,
                "created_at": at,
                "created_by": added_by,
                "updated_at": at,
                "deleted_at": None,
                "priority": new.priority,
                "payload": copy.deepcopy(new.payload),
                "assignees": new.assignees,
            }
        for item_id, row in added.items():
            self._tables.items[item_id] = row
            self._tables.progresses[item_id] = {}
            self._tables.histories[item_id] = []
        return AddedItems(added=tuple(self._tables.show(row, None) for row in added.values()), duplicates=duplicates)

    def get_item(
        self,
        item_id: str,
        *,
        queue_id: str | None = None,
        annotator_id: str | None = None,
        include_position: bool = False,
    ) -> QueueItem:
        """Read an item."""
        item = self._item(item_id, queue_id)
        shown = self._tables.show(item, annotator_id)
        if include_position:
            ids = [row["id"] for row in self._tables.in_queue_order(self._queue(item["queue_id"]))]
            shown = attrs.evolve(shown, position_in_queue=ids.index(item_id) + 1)
        return shown

    def query_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> ItemPage:  # noqa: B008 - a frozen value
        """Read items of a queue."""
        queue = self._queue(queue_id)
        rows = [self._tables.seen(item, query.annotator_id) for item in self._tables.live_items(queue)]
        matching = [row for row in rows if self._tables.matches(queue, row, query.filter)]
        sort = named(query.sort_by) or [("priority", False), ("created_at", True)]
        scope = ("items", self._project_id, queue_id, query.annotator_id)
        page, next_cursor = self._tables.page(matching, sort, query, scope)
        if query.include_position:
            ids = [row["id"] for row in sort_rows(rows, sort)]
            page = [{**row, "position_in_queue": ids.index(row["id"]) + 1} for row in page]
        if not query.include_payload:
            page = [{**row, "payload": None} for row in page]
        return ItemPage(
            items=tuple(QueueItem(**row) for row in page),
            next_cursor=next_cursor,
            total=len(matching) if query.include_total else None,
        )

    def iter_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> Iterator[QueueItem]:  # noqa: B008
        """Walk over items while nothing else happens."""
        yield from self.query_items(queue_id, query).items

    def update_items(self, queue_id: str, which: Iterable[str] | ItemFilter, patch: ItemPatch) -> int:
        """Change items."""
        at, queue = self._clock(), self._queue(queue_id)
        wanted = set(self._chosen(queue, which))
        return sum(self._patch(row, patch.given, at) for row in self._tables.live_items(queue) if row["id"] in wanted)

    def reprioritise(self, queue_id: str, priorities: Mapping[str, int]) -> int:
        """Change priorities."""
        at, queue = self._clock(), self._queue(queue_id)
        rows = [row for row in self._tables.live_items(queue) if row["id"] in priorities]
        return sum(self._patch(row, {"priority": priorities[row["id"]]}, at) for row in rows)

    def _patch(self, row: Row, given: Row, at: datetime) -> bool:
        """Change an item, and tell whether anything changed; a payload is another one if its text is."""
        if all(json.dumps(row[field]) == json.dumps(value) for field, value in given.items()):
            return False
        row.update(copy.deepcopy(given), updated_at=max(row["updated_at"], at))
        return True

    def remove_items(self, queue_id: str, which: Iterable[str] | ItemFilter) -> int:
        """Delete items."""
        at, queue = self._clock(), self._queue(queue_id)
        wanted = set(self._chosen(queue, which))
        found = [row for row in self._tables.live_items(queue) if row["id"] in wanted]
        for row in found:
            row.update(deleted_at=at, updated_at=max(row["updated_at"], at))
            self._tables.removed[row["id"]] = self._tables.items.pop(row["id"])
        return len(found)

    def restore_items(self, queue_id: str, item_ids: Iterable[str]) -> int:
        """Bring removed items back, in the order in which they are asked for."""
        at, queue, tables = self._clock(), self._queue(queue_id), self._tables
        restored = 0
        for item_id in dict.fromkeys(item_ids):
            row = tables.removed.get(item_id)
            calls = {each["call_id"] for each in tables.live_items(queue)}
            if row is not None and row["queue_id"] == queue_id and row["call_id"] not in calls:
                tables.items[item_id] = {**row, "deleted_at": None, "updated_at": max(row["updated_at"], at)}
                del tables.removed[item_id]
                restored += 1
        return restored

    def restore(self, queue_id: str) -> AnnotationQueue:
        """Bring a deleted queue back."""
        at, row = self._clock(), self._tables.queues.get(queue_id)
        if row is None or row["project_id"] != self._project_id:
            raise QueueNotFound(queue_id)
        if row["deleted_at"] is not None:
            row.update(deleted_at=None, updated_at=at)
        return AnnotationQueue(**row)

    def purge(self, *, removed_before: datetime) -> Purged:
        """Erase what was removed before a time; in the logs, None stands where something was."""
        tables = self._tables
        mine = [row for row in tables.queues.values() if row["project_id"] == self._project_id]
        gone = {row["id"] for row in mine if row["deleted_at"] is not None and row["deleted_at"] < removed_before}
        removed = [
            row
            for row in tables.removed.values()
            if row["project_id"] == self._project_id
            and row["queue_id"] not in gone
            and row["deleted_at"] < removed_before
        ]
        erased = {row["id"] for row in removed}
        erased |= {row["id"] for row in (*tables.items.values(), *tables.removed.values()) if row["queue_id"] in gone}
        for item_id in erased:
            for kept in (tables.items, tables.removed, tables.progresses, tables.histories):
                kept.pop(item_id, None)
        for queue_id, log_of in tables.logs.items():
            tables.logs[queue_id] = [None if each is None or each.item_id in erased else each for each in log_of]
        for queue_id in gone:
            del tables.queues[queue_id]
            tables.logs.pop(queue_id, None)
        return Purged(items=len(removed), queues=len(gone))

    # Progress

    def update_progress(
        self,
        item_id: str,
        annotator_id: str,
        state: AnnotationState,
        *,
        queue_id: str | None = None,
        annotation: JsonValue = None,
        reason: str | None = None,
        actor_id: str | None = None,
        override: bool = False,
    ) -> QueueItem:
        """Move or revise an annotator's progress directly."""
        at, item = self._clock(), self._item(item_id, queue_id)
        self._move(
            item,
            annotator_id,
            state,
            at=at,
            ends=at + self._queue(item["queue_id"])["lease"],
            annotation=annotation,
            reason=reason,
            actor_id=annotator_id if actor_id is None else actor_id,
            override=override,
        )
        return self._tables.show(item, annotator_id)

    def reset(
        self,
        queue_id: str,
        which: Iterable[str] | ItemFilter,
        *,
        actor_id: str,
        annotator_id: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Put progresses back to unstarted, item after item as they are asked for, or in queue order for a filter."""
        at, queue = self._clock(), self._queue(queue_id)
        live = {row["id"]: row for row in self._tables.live_items(queue)}
        moved = 0
        for item_id in self._chosen(queue, which):
            progresses = self._tables.progresses[item_id] if item_id in live else {}
            for who in sorted(progresses):
                if progresses[who]["state"] != "unstarted" and annotator_id in {None, who}:
                    to_state, item = AnnotationState.UNSTARTED, live[item_id]
                    self._move(item, who, to_state, at=at, reason=reason, actor_id=actor_id, override=True)
                    moved += 1
        return moved

    def _chosen(self, queue: Row, which: Iterable[str] | ItemFilter) -> list[str]:
        """List the ids that are given, each once, or those of the items that a filter shows, in queue order."""
        if not isinstance(which, ItemFilter):
            return [*dict.fromkeys(which)]
        tables, in_order = self._tables, self._tables.in_queue_order(queue)
        return [row["id"] for row in in_order if tables.matches(queue, tables.seen(row, None), which)]

    def progress(self, item_id: str) -> tuple[Progress, ...]:
        """Read every annotator's progress."""
        progresses = self._tables.progresses[self._item(item_id)["id"]]
        return tuple(Progress(**progresses[annotator_id]) for annotator_id in sorted(progresses))

    def history(self, item_id: str) -> tuple[Transition, ...]:
        """Read every change."""
        return tuple(self._tables.histories[self._item(item_id)["id"]])

    def labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> LabelPage:  # noqa: B008 - a frozen value
        """Read labels of a queue."""
        return log.labels(self._tables, self._queue(queue_id), query)

    def iter_labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> Iterator[Label]:  # noqa: B008
        """Walk over labels while nothing else happens."""
        yield from self.labels(queue_id, query).labels

    def changes(self, queue_id: str, *, after: str | None = None, limit: int = 1_000) -> ChangePage:
        """Read a queue's log."""
        return log.changes(self._tables, self._queue(queue_id), after, limit)

    def throughput(self, queue_id: str, *, window: timedelta) -> Throughput:
        """Tell how fast a queue is being worked on."""
        return log.throughput(self._tables, self._queue(queue_id), window, self._clock())
