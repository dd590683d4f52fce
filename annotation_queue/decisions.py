"""Decisions: what one call changes on an item, as plain functions of what is stored, and how they are carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import attrs

from annotation_queue.errors import ClaimLost, Conflict, ItemNotFound
from annotation_queue.records import change_of, own_progress
from annotation_queue.states import IN_PROGRESS, UNSTARTED, advance, unstarted, with_lease
from annotation_queue.values import lease_end

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime, timedelta

    from annotation_queue.items import Claim
    from annotation_queue.json_values import JsonValue
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repository import Repository
    from annotation_queue.states import AnnotationState, Progress, Workflow

MOST_ATTEMPTS: Final = 1_000
"""How often a call begins again because somebody else was faster, before it gives up with `Conflict`."""


class Decision(NamedTuple):
    """What one call decided about one item.

    Args:
        record: What it rests on.
        progress: The annotator's progress as it shall be.
        change: What changes; None if nothing does.
    """

    record: ItemRecord
    progress: Progress
    change: Change | None

    @property
    def updated_at(self) -> datetime:
        """The item's ``updated_at`` after it, UTC."""
        return self.record.updated_at if self.change is None else self.change.updated_at


Decide: TypeAlias = "Callable[[ItemRecord | None], Decision]"
"""Decides about the item of a record, or about one that there is not. It may raise, and it may be asked again."""


def finish(
    record: ItemRecord | None,
    claim: Claim,
    to_state: AnnotationState,
    *,
    at: datetime,
    workflow: Workflow,
    annotation: JsonValue = None,
    reason: str | None = None,
) -> Decision:
    """Complete, skip or release what a claim holds.

    Args:
        record: The item; None if it is not there.
        claim: The claim.
        to_state: Completed, skipped, or unstarted for a release.
        at: Now, UTC.
        workflow: Which moves there are.
        annotation: The label; None keeps a draft that is there.
        reason: Why.

    Returns:
        The decision. If the claim led to that state before, nothing changes.

    Raises:
        ClaimLost: The claim does not hold the item any more.
        InvalidTransition: The workflow has no such move.
    """
    own = None if record is None else own_progress(record, claim.annotator_id)
    if record is not None and own is not None and own.token == claim.token and own.state is to_state is not UNSTARTED:
        return Decision(record, own, None)
    record, held = _held(record, claim)
    progress, transition = advance(held, to_state, at=at, workflow=workflow, annotation=annotation, reason=reason)
    return Decision(record, progress, change_of(record, (progress,), () if transition is None else (transition,)))


def prolong(record: ItemRecord | None, claim: Claim, *, at: datetime, lease: timedelta | None) -> Decision:
    """Prolong the lease of a claim.

    Args:
        record: The item; None if it is not there.
        claim: The claim.
        at: Now, UTC.
        lease: How long the claim lasts from now; None for the queue's lease.

    Returns:
        The decision, which moves nothing but the lease.

    Raises:
        ClaimLost: The claim does not hold the item any more.
        InvalidValue: The lease would end beyond the year 9999.
    """
    record, held = _held(record, claim)
    progress = with_lease(held, lease_end(at, lease or record.queue.lease))
    return Decision(record, progress, change_of(record, (progress,), ()))


def move(
    record: ItemRecord | None,
    item_id: str,
    annotator_id: str,
    to_state: AnnotationState,
    *,
    at: datetime,
    workflow: Workflow,
    annotation: JsonValue,
    reason: str | None,
) -> Decision:
    """Move an annotator's progress without a claim.

    Args:
        record: The item; None if it is not there.
        item_id: The item's id.
        annotator_id: The annotator.
        to_state: Where it shall go; in_progress gets the queue's lease.
        at: Now, UTC.
        workflow: Which moves there are.
        annotation: The label; None keeps the one that is there.
        reason: Why.

    Returns:
        The decision. If the progress is in that state already, nothing changes.

    Raises:
        ItemNotFound: There is no such item.
        InvalidTransition: The workflow has no such move.
        InvalidValue: The lease would end beyond the year 9999.
    """
    if record is None:
        raise ItemNotFound(item_id)
    own = own_progress(record, annotator_id) or unstarted(item_id, annotator_id, at)
    progress, transition = advance(
        own,
        to_state,
        at=at,
        workflow=workflow,
        lease_expires_at=lease_end(at, record.queue.lease) if to_state is IN_PROGRESS else None,
        annotation=annotation,
        reason=reason,
    )
    change = None if transition is None else change_of(record, (progress,), (transition,))
    return Decision(record, progress, change)


def _held(record: ItemRecord | None, claim: Claim) -> tuple[ItemRecord, Progress]:
    """Give the progress that the claim holds; the one place where the fencing token is checked."""
    own = None if record is None else own_progress(record, claim.annotator_id)
    if record is None or own is None or own.state is not IN_PROGRESS or own.token != claim.token:
        raise ClaimLost(claim.item.id, claim.annotator_id, claim.token)
    return record, own


@attrs.frozen
class Decisions:
    """Carries out decisions: reads once, decides, writes once, and begins again if somebody else was faster.

    Args:
        repository: Where everything is stored.
        project_id: The project.
    """

    repository: Repository
    project_id: str

    def carry_out(
        self,
        decides: Mapping[str | None, Mapping[str, Decide]],
        *,
        with_items: bool = False,
        labels_of: Collection[str] = (),
    ) -> dict[str, Decision | ClaimLost]:
        """Carry out a decision about each of some items, in one atomic step.

        Args:
            decides: The queue that items must be in, None for whichever they are in -> item id -> what decides about the item.
                No item may stand twice. Each queue costs one read; all are written together.
            with_items: Whether the decisions' records carry the items.
            labels_of: The annotators whose labels are read.

        Returns:
            Item id -> the decision, or the `ClaimLost` that it raised, which keeps none of the others from being stored.

        Raises:
            QueueNotFound: As for `Repository.get_records`.
            Conflict: The items kept changing.
        """
        for _ in range(MOST_ATTEMPTS):
            made: dict[str, Decision | ClaimLost] = {}
            for queue_id, of_queue in decides.items():
                records = self.repository.get_records(
                    self.project_id, tuple(of_queue), queue_id, with_items=with_items, labels_of=labels_of
                )
                for item_id, decide in of_queue.items():
                    made[item_id] = _decision(decide, records.get(item_id))
            writes = [
                (each.record, each.change)
                for each in made.values()
                if isinstance(each, Decision) and each.change is not None
            ]
            if not writes:
                return made
            try:
                self.repository.save(writes)
            except Conflict:
                continue
            return made
        raise Conflict("the items kept changing")

    def carry_out_one(
        self,
        item_id: str,
        decide: Decide,
        queue_id: str | None,
        *,
        with_items: bool = False,
        labels_of: Collection[str] = (),
    ) -> Decision:
        """Carry out a decision about one item; as `carry_out`, but a lost claim is raised.

        Raises:
            ClaimLost: The decision raised it.
        """
        made = self.carry_out({queue_id: {item_id: decide}}, with_items=with_items, labels_of=labels_of)[item_id]
        if isinstance(made, ClaimLost):
            raise made
        return made


def _decision(decide: Decide, record: ItemRecord | None) -> Decision | ClaimLost:
    try:
        return decide(record)
    except ClaimLost as error:
        return error
