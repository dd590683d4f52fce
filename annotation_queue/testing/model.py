"""A model of the whole service: plain dictionaries and brute force, to compare repositories with.

It is written from the definitions of the vocabulary and shares no rule with the code it judges: not the functions of
`states`, `records` or `sorting`, no cursor, no repository. An oracle that called them would repeat their mistakes and
agree with them. Entities, enums and errors are used only to shape what is asked and answered. Every answer costs time
linear in all that is stored, or worse, so keep it small.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from annotation_queue.errors import (
    AnnotationQueueError,
    ClaimLost,
    Conflict,
    ItemNotFound,
)
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    Claim,
    ClaimRef,
    QueueItem,
    QueueStats,
    Unavailable,
    UnavailableReason,
)
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.states import AnnotationState, Progress
from annotation_queue.testing import log
from annotation_queue.testing.tables import Tables, folded, is_live, matches, named, sort_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime, timedelta

    from annotation_queue.changes import ChangePage, Throughput
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
        matching = [row for row in rows if matches(row, query.filter)]
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
        if isinstance(which, ItemFilter):
            in_order = self._tables.in_queue_order(queue)
            which = [row["id"] for row in in_order if matches(self._tables.seen(row, None), which)]
        live = {row["id"]: row for row in self._tables.live_items(queue)}
        moved = 0
        for item_id in dict.fromkeys(which):
            progresses = self._tables.progresses[item_id] if item_id in live else {}
            for who in sorted(progresses):
                if progresses[who]["state"] != "unstarted" and annotator_id in {None, who}:
                    to_state, item = AnnotationState.UNSTARTED, live[item_id]
                    self._move(item, who, to_state, at=at, reason=reason, actor_id=actor_id, override=True)
                    moved += 1
        return moved

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

    # Claims

    def claim(
        self, queue_id: str, annotator_id: str, *, lease: timedelta | None = None, resume: bool = False
    ) -> Claim | Unavailable:
        """Hand out the first item that is held if that is asked for, else the first claimable one."""
        at, queue = self._clock(), self._queue(queue_id)
        if resume and (held := self.holds(queue_id, annotator_id)):
            return self.heartbeat(held[0], lease=lease)
        for item in self._tables.in_queue_order(queue):
            if self._tables.is_claimable(queue, item, annotator_id, at):
                return self._grant(queue, item, annotator_id, at, lease)
        return self._explain(queue, annotator_id, at)

    def holds(self, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        """List what an annotator holds, expired or not."""
        in_order = self._tables.in_queue_order(self._queue(queue_id))
        mine = [(item, self._tables.progresses[item["id"]].get(annotator_id)) for item in in_order]
        return tuple(self._claim(item, own) for item, own in mine if own is not None and own["state"] == "in_progress")

    def claim_batch(
        self, queue_id: str, annotator_id: str, limit: int, *, lease: timedelta | None = None
    ) -> tuple[Claim, ...]:
        """Hand out one item after the other."""
        self._queue(queue_id)
        claims: list[Claim] = []
        while len(claims) < limit and (claim := self.claim(queue_id, annotator_id, lease=lease)):
            claims.append(claim)
        return tuple(claims)

    def heartbeat(self, claim: Claim | ClaimRef, *, lease: timedelta | None = None) -> Claim:
        """Prolong a claim."""
        return self.save_draft(claim, None, lease=lease)

    def save_draft(self, claim: Claim | ClaimRef, annotation: JsonValue, *, lease: timedelta | None = None) -> Claim:
        """Store a draft, if there is one, and prolong the claim."""
        at, item = self._clock(), self._claimed(claim, "in_progress")
        if annotation is not None:
            self._move(item, claim.annotator_id, AnnotationState.IN_PROGRESS, at=at, annotation=annotation)
        own = self._tables.progresses[item["id"]][claim.annotator_id]
        own["lease_expires_at"] = at + (self._queue(item["queue_id"])["lease"] if lease is None else lease)
        return self._claim(item, own)

    def complete(self, claim: Claim | ClaimRef, annotation: JsonValue = None) -> QueueItem:
        """Finish a claim with a label, or revise it."""
        return self._finish(claim, AnnotationState.COMPLETED, annotation=annotation)

    def skip(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        """Finish a claim without a label, or revise the reason."""
        return self._finish(claim, AnnotationState.SKIPPED, reason=reason)

    def release(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        """Give a claim back."""
        return self._finish(claim, AnnotationState.UNSTARTED, reason=reason)

    def heartbeat_batch(
        self, claims: Iterable[Claim | ClaimRef], *, lease: timedelta | None = None
    ) -> tuple[Claim | ClaimLost, ...]:
        """Prolong several claims."""
        return self._in_steps([(claim, partial(self.heartbeat, claim, lease=lease)) for claim in claims])

    def complete_batch(
        self, results: Iterable[tuple[Claim | ClaimRef, JsonValue]]
    ) -> tuple[QueueItem | ClaimLost, ...]:
        """Finish several claims."""
        return self._in_steps([(claim, partial(self.complete, claim, label)) for claim, label in results])

    def _in_steps(self, wanted: list[tuple[Claim | ClaimRef, Callable[[], Any]]]) -> tuple[Any, ...]:
        """Act on several claims: a step takes one of each item, and takes effect whole or not at all."""
        outcomes: dict[int, object] = {}
        while len(outcomes) < len(wanted):
            before, items = self._tables.kept(), set[str]()
            for index, (claim, act) in enumerate(wanted):
                item_id, _ = _aimed(claim)
                if index in outcomes or item_id in items:
                    continue
                items.add(item_id)
                try:
                    outcomes[index] = act()
                except ClaimLost as lost:
                    outcomes[index] = lost
                except AnnotationQueueError:
                    self._tables.restore(before)
                    raise
        return tuple(outcomes[index] for index in range(len(wanted)))

    def _finish(self, claim: Claim | ClaimRef, state: AnnotationState, **given: Any) -> QueueItem:  # noqa: ANN401 - passed on
        at = self._clock()
        item = self._claimed(claim, "in_progress", "in_progress" if state == "unstarted" else state)
        self._move(item, claim.annotator_id, state, at=at, actor_id=claim.annotator_id, **given)
        return self._tables.show(item, claim.annotator_id)

    def _claimed(self, claim: Claim | ClaimRef, *states: str) -> Row:
        """Find the item of a claim whose progress still carries the token and is in one of the states."""
        lost = ClaimLost(_aimed(claim)[0], claim.annotator_id, claim.token)
        try:
            item = self._item(*_aimed(claim))
        except ItemNotFound:
            raise lost from None
        own = self._tables.progresses[item["id"]].get(claim.annotator_id)
        if own is None or own["token"] != claim.token or own["state"] not in states:
            raise lost
        return item

    def _claim(self, item: Row, own: Row) -> Claim:
        return Claim(
            item=self._tables.show(item, own["annotator_id"]),
            annotator_id=own["annotator_id"],
            token=own["token"],
            expires_at=own["lease_expires_at"],
        )

    def _grant(self, queue: Row, item: Row, annotator_id: str, at: datetime, lease: timedelta | None) -> Claim:
        progresses = self._tables.progresses[item["id"]]
        for who in sorted(progresses):
            if progresses[who]["state"] == "in_progress" and progresses[who]["lease_expires_at"] <= at:
                self._move(item, who, AnnotationState.UNSTARTED, at=at, reason="lease expired")
        ends = at + (queue["lease"] if lease is None else lease)
        self._move(item, annotator_id, AnnotationState.IN_PROGRESS, at=at, ends=ends, actor_id=annotator_id)
        return self._claim(item, progresses[annotator_id])

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


def _aimed(claim: Claim | ClaimRef) -> tuple[str, str | None]:
    """Give the item of a claim, and the queue that it has to be in."""
    return (claim.item_id, None) if isinstance(claim, ClaimRef) else (claim.item.id, claim.item.queue_id)
