"""The part of the service that annotators use: claims, progress and its history."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from annotation_queue.errors import ClaimLost, ItemNotFound
from annotation_queue.items import Claim, Unavailable
from annotation_queue.json_values import check_json
from annotation_queue.service import Service, check_reason, make_decision
from annotation_queue.states import (
    COMPLETED,
    IN_PROGRESS,
    SKIPPED,
    UNSTARTED,
    advance,
    check_move,
    check_state,
    unstarted,
)
from annotation_queue.values import check_id, check_integer, check_lease, lease_end, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    from annotation_queue.items import QueueItem
    from annotation_queue.json_values import JsonValue
    from annotation_queue.records import ItemRecord
    from annotation_queue.service import Decision
    from annotation_queue.states import AnnotationState, Progress, Transition


class Annotating(Service):
    """The methods of `AnnotationQueues` that annotators use."""

    def claim(self, queue_id: str, annotator_id: str, *, lease: timedelta | None = None) -> Claim | Unavailable:
        """Hand out the first item in queue order that this annotator may work on.

        Args:
            queue_id: The queue.
            annotator_id: Who wants to work.
            lease: How long the claim lasts without a heartbeat; None for the queue's lease.

        Returns:
            The claim, or a falsy `Unavailable` that says why there is none.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidTransition: The workflow has no move from unstarted to in_progress.
        """
        granted = self._claim(queue_id, annotator_id, 1, lease)
        return granted if isinstance(granted, Unavailable) else granted[0]

    def claim_batch(
        self, queue_id: str, annotator_id: str, limit: int, *, lease: timedelta | None = None
    ) -> tuple[Claim, ...]:
        """Hand out several items in one atomic step.

        Args:
            queue_id: The queue.
            annotator_id: Who wants to work.
            limit: At most so many, at least 0.
            lease: How long the claims last without a heartbeat; None for the queue's lease.

        Returns:
            The claims, in queue order; none where `claim` would give an `Unavailable`.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidTransition: The workflow has no move from unstarted to in_progress.
        """
        if check_integer("limit", limit, minimum=0) == 0:
            self._repository.get_queue(self._project_id, check_id("queue_id", queue_id))
            return ()
        granted = self._claim(queue_id, annotator_id, limit, lease)
        return () if isinstance(granted, Unavailable) else granted

    def heartbeat(self, claim: Claim, *, lease: timedelta | None = None) -> Claim:
        """Prolong a claim, also one whose lease ran out as long as nobody was granted the item.

        Args:
            claim: The claim.
            lease: How long it lasts from now; None for the queue's lease.

        Returns:
            The claim with its new end. Nothing else moves, no ``updated_at`` and no history.

        Raises:
            ClaimLost: The claim no longer holds its item, or the item was removed.
            QueueNotFound: The queue was deleted.
        """
        claim = _check_claim(claim)
        lease = lease if lease is None else check_lease("lease", lease)
        at = self._now()

        def decide(own: Progress | None, record: ItemRecord) -> tuple[Progress, Transition | None]:
            held = _held(claim, own)
            return attrs.evolve(held, lease_expires_at=lease_end(at, lease or record.queue.lease)), None

        item, progress = self._change(
            make_decision(claim.item.id, lambda: self._claimed(claim), claim.annotator_id, decide)
        )
        return Claim(
            item=item,
            annotator_id=claim.annotator_id,
            token=claim.token,
            expires_at=progress.lease_expires_at or claim.expires_at,
        )

    def complete(self, claim: Claim, annotation: JsonValue = None) -> QueueItem:
        """Finish a claim with a label.

        Args:
            claim: The claim.
            annotation: The label, any JSON value; None keeps a draft that is there.

        Returns:
            The item in the annotator's perspective. Repeated under the same token it changes nothing and succeeds.

        Raises:
            ClaimLost: The claim no longer holds its item, or the item was removed; nothing was written.
            QueueNotFound: The queue was deleted.
            InvalidTransition: The workflow has no such move.
        """
        check_json("annotation", annotation)
        return self._finish(claim, COMPLETED, annotation, None)

    def complete_batch(self, results: Iterable[tuple[Claim, JsonValue]]) -> tuple[QueueItem | ClaimLost, ...]:
        """Finish several claims with one commit instead of one for each.

        Args:
            results: The claims with their labels. Those on different items are stored in one atomic step; a further one on
                the same item in a step of its own, after it.

        Returns:
            For each in order what `complete` would return, or the `ClaimLost` that it would raise; one lost claim keeps
            none of the others from being stored.

        Raises:
            InvalidValue: A label is no JSON; nothing was written.
            QueueNotFound: A queue was deleted; nothing of the step was written.
            InvalidTransition: The workflow has no such move; nothing of the step was written.
        """
        at = self._now()
        waiting: list[tuple[int, Claim, JsonValue]] = []
        for index, (claim, annotation) in enumerate(results):
            check_json(f"results[{index}].annotation", annotation)
            waiting.append((index, _check_claim(claim), annotation))
        outcomes: dict[int, QueueItem | ClaimLost] = {}
        while waiting:
            step: dict[str, tuple[int, Claim, JsonValue]] = {}
            for result in waiting:
                step.setdefault(result[1].item.id, result)
            done = self._change_all(partial(self._completions, step.values(), at))
            for (index, _, _), outcome in zip(step.values(), done, strict=True):
                outcomes[index] = outcome
            waiting = [result for result in waiting if result[0] not in outcomes]
        return tuple(outcomes[index] for index in sorted(outcomes))

    def skip(self, claim: Claim, reason: str | None = None) -> QueueItem:
        """Finish a claim without a label. Returns and raises as `complete`.

        Args:
            claim: The claim.
            reason: Why.
        """
        return self._finish(claim, SKIPPED, None, check_reason(reason))

    def release(self, claim: Claim, reason: str | None = None) -> QueueItem:
        """Give a claim back; the item can be claimed again at once. Raises as `complete`; repeated it is `ClaimLost`.

        Args:
            claim: The claim.
            reason: Why.

        Returns:
            The item in the annotator's perspective.
        """
        return self._finish(claim, UNSTARTED, None, check_reason(reason))

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
        """Move an annotator's progress directly, without a claim: no token is needed and slots do not matter.

        Args:
            item_id: The item.
            annotator_id: The annotator.
            state: Where it shall go. In_progress gets the queue's lease.
            queue_id: The queue the item must be in; None for whichever it is in.
            annotation: The label, any JSON value; None keeps the one that is there.
            reason: Why.

        Returns:
            The item in the annotator's perspective. In that state already, nothing changes: no label, no lease, no history.

        Raises:
            QueueNotFound: ``queue_id`` is no live queue of the project, or without it the item's queue is deleted.
            ItemNotFound: There is no such live item in the project, or in the queue.
            InvalidTransition: The workflow has no such move.
        """
        annotator_id, to_state = check_id("annotator_id", annotator_id), check_state("state", state)
        check_json("annotation", annotation)
        why = check_reason(reason)
        at = self._now()

        def decide(own: Progress | None, record: ItemRecord) -> tuple[Progress, Transition | None]:
            ends = lease_end(at, record.queue.lease) if to_state is IN_PROGRESS else None
            progress = own or unstarted(item_id, annotator_id, at)
            return advance(
                progress,
                to_state,
                at=at,
                workflow=self._workflow,
                lease_expires_at=ends,
                annotation=annotation,
                reason=why,
            )

        return self._change(
            make_decision(
                item_id,
                lambda: (self._item(item_id, queue_id), self._record(item_id, queue_id)),
                annotator_id,
                decide,
            )
        )[0]

    def progress(self, item_id: str) -> tuple[Progress, ...]:
        """Read what every annotator did with an item.

        Args:
            item_id: The item.

        Returns:
            Their progresses, by annotator id, released ones included.

        Raises:
            QueueNotFound: The item's queue is deleted.
            ItemNotFound: There is no such live item in the project.
        """
        return self._record(check_id("item_id", item_id), None).progresses

    def history(self, item_id: str) -> tuple[Transition, ...]:
        """Read every change of every progress on an item.

        Args:
            item_id: The item.

        Returns:
            The transitions, oldest first; `states.fold` of them gives the states of `progress`.

        Raises:
            QueueNotFound: The item's queue is deleted.
            ItemNotFound: There is no such live item in the project.
        """
        return self._repository.history(self._project_id, check_id("item_id", item_id))

    def _claimed(self, claim: Claim) -> tuple[QueueItem, ItemRecord]:
        """Read the item of a claim and its record."""
        item = claim.item
        try:
            # The item is what the claim carries, but for a payload, which may have been changed.
            if item.payload is not None:
                item = self._item(item.id, item.queue_id)
            return item, self._record(item.id, item.queue_id)
        except ItemNotFound as error:
            raise _lost(claim) from error

    def _claim(
        self, queue_id: str, annotator_id: str, limit: int, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        queue_id, annotator_id = check_id("queue_id", queue_id), check_id("annotator_id", annotator_id)
        check_move(self._workflow, UNSTARTED, IN_PROGRESS)
        lease = lease if lease is None else check_lease("lease", lease)
        at = self._now()
        return self._repository.claim(self._project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease)

    def _finish(self, claim: Claim, to_state: AnnotationState, label: JsonValue, reason: str | None) -> QueueItem:
        return self._change(self._finishing(claim, to_state, label, reason, self._now()))[0]

    def _completions(self, results: Iterable[tuple[int, Claim, JsonValue]], at: datetime) -> Iterator[Decision]:
        # Made one by one: many that are kept at once, with all they refer to, would keep the garbage collector busy.
        for _, claim, annotation in results:
            yield self._finishing(claim, COMPLETED, annotation, None, at)

    def _finishing(
        self, claim: Claim, to_state: AnnotationState, label: JsonValue, reason: str | None, at: datetime
    ) -> Decision:
        claim = _check_claim(claim)

        def decide(own: Progress | None, _record: ItemRecord) -> tuple[Progress, Transition | None]:
            if own is not None and own.token == claim.token and own.state is to_state and to_state is not UNSTARTED:
                return own, None
            held = _held(claim, own)
            return advance(held, to_state, at=at, workflow=self._workflow, annotation=label, reason=reason)

        return make_decision(claim.item.id, lambda: self._claimed(claim), claim.annotator_id, decide)


def _held(claim: Claim, own: Progress | None) -> Progress:
    """Give the progress that the claim holds; the one place where the fencing token is checked."""
    if own is None or own.state is not IN_PROGRESS or own.token != claim.token:
        raise _lost(claim)
    return own


def _lost(claim: Claim) -> ClaimLost:
    return ClaimLost(claim.item.id, claim.annotator_id, claim.token)


def _check_claim(claim: object) -> Claim:
    if not isinstance(claim, Claim):
        raise refuse("claim", claim, "a Claim")
    return claim
