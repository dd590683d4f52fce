"""The part of the model that hands out claims and tells what may still be done with them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import attrs

from annotation_queue.errors import (
    AnnotationQueueError,
    ClaimLost,
    ItemNotFound,
)
from annotation_queue.items import (
    Claim,
    ClaimRef,
    QueueItem,
    Unavailable,
    UnavailableReason,
)
from annotation_queue.json_values import JsonValue
from annotation_queue.states import AnnotationState
from annotation_queue.testing.tables import Row, Tables


class ModelOfClaims:
    """Claims of one project, over the tables that all projects share; arguments are those of `model.Model`."""

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
        return self._explain(queue, self._tables.live_items(queue), annotator_id, at)

    def claim_item(self, item_id: str, annotator_id: str, *, lease: timedelta | None = None) -> Claim | Unavailable:
        """Claim a very item, or explain why not as if there were no other."""
        at, item = self._clock(), self._item(item_id)
        queue = self._queue(item["queue_id"])
        if self._tables.is_claimable(queue, item, annotator_id, at):
            return self._grant(queue, item, annotator_id, at, lease)
        return self._explain(queue, [item], annotator_id, at)

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
        renewed = self._claim(item, own)
        return attrs.evolve(renewed, item=_as_claimed(renewed.item, claim))

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
        return _as_claimed(self._tables.show(item, claim.annotator_id), claim)

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

    def _explain(self, queue: Row, items: list[Row], annotator_id: str, at: datetime) -> Unavailable:
        if not items:
            return Unavailable(reason=UnavailableReason.EMPTY)
        if queue["is_paused"]:
            return Unavailable(reason=UnavailableReason.PAUSED)
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
        left = [item for item in items if not self._tables.is_finished(queue, item)]
        states = [
            self._tables.progresses[item["id"]].get(annotator_id, {"state": "unstarted"})["state"] for item in left
        ]
        if any(state in {"unstarted", "in_progress"} for state in states):
            return Unavailable(reason=UnavailableReason.ASSIGNED)
        return Unavailable(reason=UnavailableReason.SEEN)

    def _queue(self, queue_id: str) -> Row:
        return self._tables.queue(self._project_id, queue_id)

    def _item(self, item_id: str, queue_id: str | None = None) -> Row:
        return self._tables.item(self._project_id, item_id, queue_id)

    def _move(self, item: Row, annotator_id: str, to_state: AnnotationState, **given: Any) -> None:  # noqa: ANN401 - passed on
        self._tables.move(item, annotator_id, to_state, self._workflow, **given)


def _as_claimed(item: QueueItem, claim: Claim | ClaimRef) -> QueueItem:
    """Show an item as a claim carries it: what was updated since then is not looked at."""
    if isinstance(claim, ClaimRef):
        return item
    kept = {
        name: copy.deepcopy(getattr(claim.item, name))
        for name in ("priority", "payload", "display_fields", "assignees")
    }
    return attrs.evolve(item, **kept)


def _aimed(claim: Claim | ClaimRef) -> tuple[str, str | None]:
    """Give the item of a claim, and the queue that it has to be in."""
    return (claim.item_id, None) if isinstance(claim, ClaimRef) else (claim.item.id, claim.item.queue_id)
