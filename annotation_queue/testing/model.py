"""A model of the whole service: plain dictionaries and brute force, to compare repositories with.

It is written from the definitions of the vocabulary and shares no rule with the code it judges: not the functions of
`states`, `records` or `sorting`, no cursor, no repository. An oracle that called them would repeat their mistakes and
agree with them. Entities, enums and errors are used only to shape what is asked and answered. Every answer costs time
linear in all that is stored, or worse, so keep it small.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import attrs

from annotation_queue.errors import (
    ClaimLost,
    Conflict,
    ItemNotFound,
)
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    Claim,
    QueueItem,
    QueueStats,
    Unavailable,
    UnavailableReason,
)
from annotation_queue.query import ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.states import AnnotationState, Progress
from annotation_queue.testing.tables import Tables, folded, is_live, named, sort_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime, timedelta

    from annotation_queue.items import NewItem
    from annotation_queue.json_values import JsonValue
    from annotation_queue.states import Transition
    from annotation_queue.testing.tables import Row


class Model:
    """The model of one project. Methods take, return and raise what those of `AnnotationQueues` do.

    It trusts its arguments: only what depends on what is stored is refused.

    Args:
        tables: What the models of all projects share.
        project_id: The project.
        workflow: Name of the workflow, a key of `MOVES`.
        clock: Tells the time.
        new_id: Makes ids.
    """

    def __init__(
        self,
        tables: Tables,
        project_id: str,
        *,
        workflow: str = "standard",
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._tables = tables
        self._project_id = project_id
        self._workflow = workflow
        self._clock = clock
        self._new_id = new_id

    # Queues

    def create(self, name: str, *, created_by: str, **settings: Any) -> AnnotationQueue:  # noqa: ANN401 - as the service
        """Make a queue."""
        at, queue_id = self._clock(), self._new_id()
        queue = AnnotationQueue(
            id=queue_id,
            project_id=self._project_id,
            name=name,
            created_by=created_by,
            created_at=at,
            updated_at=at,
            **settings,
        )
        if queue_id in self._tables.queues:
            raise Conflict(f"queue {queue_id!r}")
        self._tables.queues[queue_id] = attrs.asdict(queue, recurse=False)
        return queue

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
        rows = [self._tables.seen(item, query.annotator_id) for item in self._tables.live_items(self._queue(queue_id))]
        wanted = attrs.asdict(query.filter, recurse=False)
        states = wanted.pop("annotation_states")
        matching = [
            row
            for row in rows
            if all(value is None or row[field] == value for field, value in wanted.items())
            and (states is None or row["annotation_state"] in states)
        ]
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

    def remove_items(self, queue_id: str, item_ids: Iterable[str]) -> int:
        """Delete items."""
        at, queue = self._clock(), self._queue(queue_id)
        wanted = set(item_ids)
        found = [row for row in self._tables.live_items(queue) if row["id"] in wanted]
        for row in found:
            row.update(deleted_at=at, updated_at=at)
            self._tables.removed[row["id"]] = self._tables.items.pop(row["id"])
        return len(found)

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
    ) -> QueueItem:
        """Move an annotator's progress directly."""
        at, item = self._clock(), self._item(item_id, queue_id)
        ends = at + self._queue(item["queue_id"])["lease"]
        self._move(item, annotator_id, state, at=at, ends=ends, annotation=annotation, reason=reason)
        return self._tables.show(item, annotator_id)

    def progress(self, item_id: str) -> tuple[Progress, ...]:
        """Read every annotator's progress."""
        progresses = self._tables.progresses[self._item(item_id)["id"]]
        return tuple(Progress(**progresses[annotator_id]) for annotator_id in sorted(progresses))

    def history(self, item_id: str) -> tuple[Transition, ...]:
        """Read every change."""
        return tuple(self._tables.histories[self._item(item_id)["id"]])

    # Claims

    def claim(self, queue_id: str, annotator_id: str, *, lease: timedelta | None = None) -> Claim | Unavailable:
        """Hand out the first claimable item."""
        at, queue = self._clock(), self._queue(queue_id)
        for item in self._tables.in_queue_order(queue):
            if self._tables.is_claimable(queue, item, annotator_id, at):
                return self._grant(queue, item, annotator_id, at, lease)
        return self._explain(queue, annotator_id, at)

    def claim_batch(
        self, queue_id: str, annotator_id: str, limit: int, *, lease: timedelta | None = None
    ) -> tuple[Claim, ...]:
        """Hand out one item after the other."""
        self._queue(queue_id)
        claims: list[Claim] = []
        while len(claims) < limit and (claim := self.claim(queue_id, annotator_id, lease=lease)):
            claims.append(claim)
        return tuple(claims)

    def heartbeat(self, claim: Claim, *, lease: timedelta | None = None) -> Claim:
        """Prolong a claim."""
        at, item = self._clock(), self._claimed(claim)
        own = self._held(claim)
        own["lease_expires_at"] = at + (self._queue(item["queue_id"])["lease"] if lease is None else lease)
        return attrs.evolve(claim, item=self._tables.show(item, claim.annotator_id), expires_at=own["lease_expires_at"])

    def complete(self, claim: Claim, annotation: JsonValue = None) -> QueueItem:
        """Finish a claim with a label."""
        return self._finish(claim, AnnotationState.COMPLETED, annotation, None)

    def skip(self, claim: Claim, reason: str | None = None) -> QueueItem:
        """Finish a claim without a label."""
        return self._finish(claim, AnnotationState.SKIPPED, None, reason)

    def release(self, claim: Claim, reason: str | None = None) -> QueueItem:
        """Give a claim back."""
        item = self._claimed(claim)
        self._held(claim)
        self._move(item, claim.annotator_id, AnnotationState.UNSTARTED, at=self._clock(), reason=reason)
        return self._tables.show(item, claim.annotator_id)

    def _finish(self, claim: Claim, state: AnnotationState, annotation: JsonValue, reason: str | None) -> QueueItem:
        item = self._claimed(claim)
        own = self._tables.progresses[item["id"]].get(claim.annotator_id)
        if own is None or (own["token"], own["state"]) != (claim.token, state):
            self._held(claim)
            at = self._clock()
            self._move(item, claim.annotator_id, state, at=at, annotation=annotation, reason=reason)
        return self._tables.show(item, claim.annotator_id)

    def _claimed(self, claim: Claim) -> Row:
        try:
            return self._item(claim.item.id, claim.item.queue_id)
        except ItemNotFound:
            raise ClaimLost(claim.item.id, claim.annotator_id, claim.token) from None

    def _held(self, claim: Claim) -> Row:
        own = self._tables.progresses[claim.item.id].get(claim.annotator_id)
        if own is None or own["state"] != "in_progress" or own["token"] != claim.token:
            raise ClaimLost(claim.item.id, claim.annotator_id, claim.token)
        return own

    def _grant(self, queue: Row, item: Row, annotator_id: str, at: datetime, lease: timedelta | None) -> Claim:
        progresses = self._tables.progresses[item["id"]]
        for who in sorted(progresses):
            if progresses[who]["state"] == "in_progress" and progresses[who]["lease_expires_at"] <= at:
                self._move(item, who, AnnotationState.UNSTARTED, at=at, reason="lease expired")
        ends = at + (queue["lease"] if lease is None else lease)
        self._move(item, annotator_id, AnnotationState.IN_PROGRESS, at=at, ends=ends)
        return Claim(
            item=self._tables.show(item, annotator_id),
            annotator_id=annotator_id,
            token=progresses[annotator_id]["token"],
            expires_at=ends,
        )

    def _explain(self, queue: Row, annotator_id: str, at: datetime) -> Unavailable:
        items = self._tables.live_items(queue)
        if not items:
            return Unavailable(reason=UnavailableReason.EMPTY)
        if all(self._tables.is_finished(queue, item) for item in items):
            return Unavailable(reason=UnavailableReason.FINISHED)
        instants = sorted(
            own["lease_expires_at"]
            for item in items
            for own in self._tables.progresses[item["id"]].values()
            if own["state"] == "in_progress" and own["lease_expires_at"] > at
        )
        for instant in instants:
            if any(self._tables.is_claimable(queue, item, annotator_id, instant) for item in items):
                return Unavailable(reason=UnavailableReason.LEASED, retry_at=instant)
        return Unavailable(reason=UnavailableReason.SEEN)

    def _queue(self, queue_id: str) -> Row:
        return self._tables.queue(self._project_id, queue_id)

    def _item(self, item_id: str, queue_id: str | None = None) -> Row:
        return self._tables.item(self._project_id, item_id, queue_id)

    def _move(self, item: Row, annotator_id: str, to_state: AnnotationState, **given: Any) -> None:  # noqa: ANN401 - passed on
        self._tables.move(item, annotator_id, to_state, self._workflow, **given)
