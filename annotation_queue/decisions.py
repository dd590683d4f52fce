"""Decisions: what one call changes on an item, as plain functions of what is stored, and how they are carried out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

import attrs

from annotation_queue.construction import quick
from annotation_queue.errors import ClaimLost, Conflict, ItemNotFound, QueueNotFound
from annotation_queue.items import (
    AnnotationQueue,
    Claim,
    ClaimRef,
    Unavailable,
    explain_unavailable,
    ref_of,
    same_queue,
)
from annotation_queue.moves import Wish, fulfil, grant
from annotation_queue.records import Change, ItemRecord, change_of, item_of, own_progress, standing
from annotation_queue.repository import HearsOfLostClaims, RemembersClaims, Repository
from annotation_queue.schemas import check_label
from annotation_queue.states import (
    COMPLETED,
    IN_PROGRESS,
    UNREAD,
    UNSTARTED,
    Progress,
    claimable_at,
    is_for,
    unstarted,
    with_lease,
)
from annotation_queue.values import lease_end

MOST_ATTEMPTS: Final = 1_000
"""How often a call begins again because somebody else was faster, before it gives up with `Conflict`."""


class Decision(NamedTuple):
    """What one call decided about one item.

    Args:
        record: What it rests on.
        progresses: The progresses that it is about, as they shall be.
        change: What changes; None if nothing does.
    """

    record: ItemRecord
    progresses: tuple[Progress, ...]
    change: Change | None

    @property
    def progress(self) -> Progress:
        """The one progress of a decision about one annotator."""
        (progress,) = self.progresses
        return progress

    @property
    def updated_at(self) -> datetime:
        """The item's ``updated_at`` after it, UTC."""
        return self.record.updated_at if self.change is None else self.change.updated_at


# Made for each claim and completion.
_decided: Final = quick(Decision)
Decide: TypeAlias = Callable[[ItemRecord | None], Decision]
"""Decides about the item of a record, or about one that there is not. It may raise, and it may be asked again."""


# What was read comes last, so that all else can be given beforehand.


def finish(claim: Claim | ClaimRef, wish: Wish, record: ItemRecord | None) -> Decision:
    """Complete, skip or release what a claim holds, or revise what it completed or skipped.

    Args:
        claim: The claim.
        wish: What its holder wants.
        record: The item, with the annotator's label; None if it is not there.

    Returns:
        The decision. If all is so already, nothing changes.

    Raises:
        ClaimLost: The claim does not hold the item any more.
        InvalidTransition: The workflow has no such move.
        InvalidLabel: The label does not satisfy the queue's schema.
    """
    record, own = _own(record, claim)
    is_done = own.state is wish.to_state is not UNSTARTED
    return _carried(record, own if is_done else _held(own, claim), wish)


def prolong(
    claim: Claim | ClaimRef, at: datetime, lease: timedelta | None, draft: Wish | None, record: ItemRecord | None
) -> Decision:
    """Prolong the lease of a claim, and store a draft with it if there is one.

    Args:
        claim: The claim.
        at: Now, UTC.
        lease: How long the claim lasts from now; None for the queue's lease.
        draft: The draft, as a wish for in_progress; None for none.
        record: The item; None if it is not there.

    Returns:
        The decision, which moves neither the history nor ``updated_at``.

    Raises:
        ClaimLost: The claim does not hold the item any more.
        InvalidTransition: There is a draft, and the workflow has none.
        InvalidValue: The lease would end beyond the year 9999.
    """
    record, own = _own(record, claim)
    held = _held(own, claim)
    if draft is not None:
        held, _ = fulfil(held, draft)
    progress = with_lease(held, lease_end(at, lease or record.queue.lease))
    return _decided(record, (progress,), change_of(record, (progress,), ()))


def move(item_id: str, annotator_id: str, wish: Wish, record: ItemRecord | None) -> Decision:
    """Move or revise an annotator's progress without a claim; in_progress gets the queue's lease.

    Args:
        item_id: The item's id.
        annotator_id: The annotator.
        wish: What is wanted.
        record: The item, with the annotator's label; None if it is not there.

    Returns:
        The decision. If all is so already, nothing changes.

    Raises:
        ItemNotFound: There is no such item.
        InvalidTransition: The workflow has no such move.
        InvalidLabel: The label does not satisfy the queue's schema.
        InvalidValue: The lease would end beyond the year 9999.
    """
    if record is None:
        raise ItemNotFound(item_id)
    return _carried(record, own_progress(record, annotator_id) or unstarted(item_id, annotator_id, wish.at), wish)


def take(item_id: str, annotator_id: str, at: datetime, lease: timedelta | None, record: ItemRecord | None) -> Decision:
    """Claim a very item.

    Args:
        item_id: The item's id.
        annotator_id: Who wants it.
        at: Now, UTC.
        lease: How long the claim lasts; None for the queue's lease.
        record: The item, read with its item; None if it is not there.

    Returns:
        The decision, with the annotator's progress as its last one. If the item cannot be claimed, nothing changes;
        `explain_item` says why.

    Raises:
        ItemNotFound: There is no such item.
        InvalidValue: The lease would end beyond the year 9999.
    """
    if record is None:
        raise ItemNotFound(item_id)
    free_at = claimable_at(record.progresses, annotator_id, *record.queue.policies)
    expires_at = lease_end(at, lease or record.queue.lease)
    is_free = free_at is not None and free_at <= at and is_for(item_of(record).assignees, annotator_id)
    if record.queue.is_paused or not is_free:
        return _decided(record, (), None)
    progresses, transitions = grant(
        record.progresses, item_id, annotator_id, at=at, expires_at=expires_at, steps=record.steps
    )
    return _decided(record, progresses, change_of(record, progresses, transitions))


def explain_item(record: ItemRecord, annotator_id: str) -> Unavailable:
    """Say why an annotator cannot claim an item, as if it were the only one of its queue.

    Args:
        record: The item, read with its item.
        annotator_id: Who wanted it.
    """
    queue = record.queue
    is_finished = standing(record.progresses, queue).finished
    free_at = claimable_at(record.progresses, annotator_id, *queue.policies)
    for_them = is_for(item_of(record).assignees, annotator_id)
    return explain_unavailable(
        live=1,
        unfinished=0 if is_finished else 1,
        retry_at=free_at if for_them else None,
        is_paused=queue.is_paused,
        is_assigned=free_at is not None and not for_them,
    )


def _carried(record: ItemRecord, own: Progress, wish: Wish) -> Decision:
    starts = wish.to_state is IN_PROGRESS is not own.state
    ends = lease_end(wish.at, record.queue.lease) if starts else None
    progress, transition = fulfil(own, wish, ends, record.steps + 1)
    if progress is own:
        return _decided(record, (own,), None)
    if transition is not None and transition.to_state is COMPLETED:
        check_label(record.queue.label_schema, transition.annotation)
    transitions = () if transition is None else (transition,)
    return _decided(record, (progress,), change_of(record, (progress,), transitions))


def _own(record: ItemRecord | None, claim: Claim | ClaimRef) -> tuple[ItemRecord, Progress]:
    """Give the progress that still carries the claim's token; the one place where the fencing token is checked."""
    own = None if record is None else own_progress(record, claim.annotator_id)
    if record is None or own is None or own.token != claim.token:
        raise _lost(claim)
    return record, own


def _held(own: Progress, claim: Claim | ClaimRef) -> Progress:
    if own.state is not IN_PROGRESS:
        raise _lost(claim)
    return own


def _lost(claim: Claim | ClaimRef) -> ClaimLost:
    ref = ref_of(claim)
    return ClaimLost(ref.item_id, ref.annotator_id, ref.token)


@attrs.frozen
class Decisions:
    """Carries out decisions: reads once, decides, writes once, and begins again if somebody else was faster.

    Args:
        repository: Where everything is stored.
        project_id: The project.
    """

    repository: Repository
    project_id: str
    _claims: RemembersClaims | None = attrs.field(init=False)

    @_claims.default
    def _find_claims(self) -> RemembersClaims | None:
        # Asked once, since to ask costs as much as to remember.
        return self.repository if isinstance(self.repository, RemembersClaims) else None

    def add_queue(self, queue: AnnotationQueue, *, repeats: bool) -> AnnotationQueue:
        """Store a new queue.

        Args:
            queue: The queue.
            repeats: Whether a queue that is there, and differs in nothing but its times, is the one that the same call made.

        Returns:
            The queue, or the one that is there.

        Raises:
            Conflict: The id is taken by another queue.
        """
        try:
            self.repository.add_queue(queue)
        except Conflict as error:
            try:
                stored = self.repository.get_queue(self.project_id, queue.id)
            except QueueNotFound:
                raise error from None
            timed = attrs.evolve(queue, created_at=stored.created_at, updated_at=stored.updated_at)
            if not (repeats and same_queue(stored, timed)):
                raise
            return stored
        return queue

    def replace_queue(self, queue_id: str, change: Callable[[AnnotationQueue], AnnotationQueue]) -> AnnotationQueue:
        """Change a queue.

        Args:
            queue_id: The queue.
            change: Makes the queue as it shall be out of the one that is there; it may be asked again.

        Returns:
            The queue as it is now; if nothing differs nothing is written.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            Conflict: The queue kept changing.
        """
        for _ in range(MOST_ATTEMPTS):
            before = self.repository.get_queue(self.project_id, queue_id)
            after = change(before)
            if same_queue(before, after):
                return before
            try:
                self.repository.replace_queue(before, after)
            except Conflict:
                continue
            return after
        raise Conflict(f"queue {queue_id!r} kept changing")

    def record(
        self,
        item_id: str,
        queue_id: str | None = None,
        *,
        with_items: bool = False,
        labels_of: Collection[str] | None = (),
    ) -> ItemRecord:
        """Read the record of one item. Arguments are those of `Repository.get_records`.

        Raises:
            QueueNotFound: As for `Repository.get_records`.
            ItemNotFound: There is no such live item in the project, or in the queue.
        """
        records = self.repository.get_records(
            self.project_id, (item_id,), queue_id, with_items=with_items, labels_of=labels_of
        )
        if item_id not in records:
            raise ItemNotFound(item_id)
        return records[item_id]

    def carry_out_one(
        self,
        item_id: str,
        decide: Decide,
        queue_id: str | None = None,
        *,
        with_item: bool = False,
        labels_of: Collection[str] = (),
    ) -> Decision:
        """Carry out a decision about one item.

        Args:
            item_id: The item.
            decide: What decides about it; what it raises is raised.
            queue_id: The queue that the item must be in; None for whichever it is in.
            with_item: Whether the decision's record carries the item.
            labels_of: The annotators whose labels are read.

        Returns:
            The decision.

        Raises:
            QueueNotFound: As for `Repository.get_records`.
            Conflict: The item kept changing.
        """
        for _ in range(MOST_ATTEMPTS):
            records = self.repository.get_records(
                self.project_id, (item_id,), queue_id, with_items=with_item, labels_of=labels_of
            )
            decision = decide(records.get(item_id))
            if decision.change is None:
                return decision
            try:
                self.repository.save(((decision.record, decision.change),))
            except Conflict:
                continue
            return decision
        raise Conflict(f"item {item_id!r} kept changing")

    def carry_out_claim(
        self,
        claim: Claim | ClaimRef,
        decide: Decide,
        *,
        with_label: bool = False,
    ) -> Decision:
        """Carry out a decision about one claim, as `carry_out_one` does.

        Args:
            claim: The claim.
            decide: What decides about its item.
            with_label: Whether the annotator's label is read.

        Returns:
            The decision; its record carries the item if the claim does not.

        Raises:
            ClaimLost: The claim does not hold its item any more.
            QueueNotFound: The queue of the claim is deleted, or is none of the project.
        """
        remembered = self._from_memory(((claim, decide),), with_label=with_label)
        if remembered is not None:
            return remembered[0]
        labels_of = (claim.annotator_id,) if with_label else ()
        try:
            if isinstance(claim, ClaimRef):
                return self.carry_out_one(claim.item_id, decide, with_item=True, labels_of=labels_of)
            item = claim.item
            return self.carry_out_one(item.id, decide, queue_id=item.queue_id, labels_of=labels_of)
        except ClaimLost as error:
            self._tell_lost((error,))
            raise

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

    def carry_out_claims(
        self, wanted: Sequence[tuple[Claim | ClaimRef, Decide]], *, labels_of: Collection[str] = ()
    ) -> list[tuple[Claim | ClaimRef, Decision | ClaimLost]]:
        """Carry out decisions about claims: one atomic step for those on different items, further ones in steps after it.

        Args:
            wanted: The claims, each with what decides about its item.
            labels_of: The annotators whose labels are read.

        Returns:
            The claims in their order, each with its decision or the `ClaimLost` that it raised.

        Raises:
            QueueNotFound: The queue of a claim is deleted, or is none of the project.
        """
        remembered = self._from_memory(wanted, with_label=bool(labels_of))
        if remembered is not None:
            return [(claim, decision) for (claim, _), decision in zip(wanted, remembered, strict=True)]
        outcomes: dict[int, Decision | ClaimLost] = {}
        waiting = list(enumerate(wanted))
        while waiting:
            step: dict[str, tuple[int, tuple[Claim | ClaimRef, Decide]]] = {}
            for index, (claim, decide) in waiting:
                step.setdefault(ref_of(claim).item_id, (index, (claim, decide)))
            decides: dict[str | None, dict[str, Decide]] = {}
            for item_id, (_, (claim, decide)) in step.items():
                queue_id = claim.item.queue_id if isinstance(claim, Claim) else None
                decides.setdefault(queue_id, {})[item_id] = decide
            with_items = any(isinstance(claim, ClaimRef) for _, (claim, _) in step.values())
            made = self.carry_out(decides, with_items=with_items, labels_of=labels_of)
            outcomes.update((index, made[item_id]) for item_id, (index, _) in step.items())
            waiting = [each for each in waiting if each[0] not in outcomes]
        self._tell_lost([outcome for outcome in outcomes.values() if isinstance(outcome, ClaimLost)])
        return [(claim, outcomes[index]) for index, (claim, _) in enumerate(wanted)]

    def _from_memory(
        self, wanted: Sequence[tuple[Claim | ClaimRef, Decide]], *, with_label: bool
    ) -> list[Decision] | None:
        """Carry out decisions without reading, if the repository remembers what all claims left, and all of it still is so.

        Nothing is remembered twice, so no two of the decisions are about one item.
        """
        if self._claims is None or not wanted:
            return None
        made: list[tuple[Decision, Change]] = []
        try:
            for claim, decide in wanted:
                record = self._remembered(claim, with_label=with_label)
                decision = None if record is None else decide(record)
                if decision is None or decision.change is None:
                    return None
                made.append((decision, decision.change))
            self.repository.save([(decision.record, change) for decision, change in made])
        except (ClaimLost, Conflict, ValueError):
            # It may be outdated, and then nothing follows from it.
            return None
        return [decision for decision, _ in made]

    def _remembered(self, claim: Claim | ClaimRef, *, with_label: bool) -> ItemRecord | None:
        """Give the record that a claim left, if the repository remembers it, and it has all that a decision needs."""
        if isinstance(claim, ClaimRef) or self._claims is None:
            return None
        record = self._claims.record_of_claim(self.project_id, claim.item.id, claim.annotator_id)
        if record is None or record.queue.id != claim.item.queue_id:
            return None
        own = own_progress(record, claim.annotator_id)
        # What they drafted on the item before, if anything, the claim has not read.
        return None if with_label and own is not None and own.annotation is UNREAD else record

    def _tell_lost(self, lost: Sequence[ClaimLost]) -> None:
        if lost and isinstance(self.repository, HearsOfLostClaims):
            self.repository.claims_lost(self.project_id, lost)


def _decision(decide: Decide, record: ItemRecord | None) -> Decision | ClaimLost:
    try:
        return decide(record)
    except ClaimLost as error:
        return error
