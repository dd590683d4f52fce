"""Fencing: what a claim may still do after something else happened to its item."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from annotation_queue.errors import ClaimLost, InvalidTransition, InvalidValue, QueueNotFound
from annotation_queue.items import AnnotationQueue, Claim, NewItem, QueueItem
from annotation_queue.states import REOPENABLE, STRICT, AnnotationState, Workflow
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState

MUTATIONS: dict[str, Callable[[AnnotationQueues, Claim], object]] = {
    "complete": lambda queues, claim: queues.complete(claim, "late label"),
    "skip": lambda queues, claim: queues.skip(claim, "late reason"),
    "release": lambda queues, claim: queues.release(claim, "late reason"),
    "complete_batch": lambda queues, claim: only(queues.complete_batch([(claim, "late label")])),
    "heartbeat": lambda queues, claim: queues.heartbeat(claim),
    "heartbeat_batch": lambda queues, claim: only(queues.heartbeat_batch([claim])),
    "save_draft": lambda queues, claim: queues.save_draft(claim, "late draft"),
}


def only(outcomes: Sequence[QueueItem | Claim | ClaimLost]) -> QueueItem | Claim:
    """Give the only outcome, or raise it."""
    (outcome,) = outcomes
    if isinstance(outcome, ClaimLost):
        raise outcome
    return outcome


every_mutation = pytest.mark.parametrize("mutation", MUTATIONS)


def everything(queues: AnnotationQueues, claim: Claim) -> tuple[object, ...]:
    """Read all that is stored of the claim's item."""
    item_id = claim.item.id
    stats = queues.stats([claim.item.queue_id])
    return queues.get_item(item_id), queues.progress(item_id), queues.history(item_id), stats


def expect_lost(queues: AnnotationQueues, claim: Claim, mutation: str) -> None:
    """Check that the claim is refused and that nothing was written."""
    before = everything(queues, claim)
    with pytest.raises(ClaimLost) as lost:
        MUTATIONS[mutation](queues, claim)
    assert (lost.value.item_id, lost.value.annotator_id, lost.value.token) == (claim.item.id, "bob", claim.token)
    assert everything(queues, claim) == before


class FencingContract(Contract):
    """Fencing: what a claim may still do after something else happened to its item."""

    @pytest.fixture
    def queue_of_one(self, queues: AnnotationQueues) -> AnnotationQueue:
        """A queue with one item, one minute of lease and one annotation for each item."""
        made = queues.create("queue", created_by="ann", lease=timedelta(seconds=60))
        queues.add_items(made.id, [NewItem(call_id="a")], added_by="ann")
        return made

    @pytest.fixture
    def claim(self, queues: AnnotationQueues, queue_of_one: AnnotationQueue) -> Claim:
        """Bob's claim on it."""
        made = queues.claim(queue_of_one.id, "bob")
        assert isinstance(made, Claim)
        return made

    @pytest.mark.parametrize(
        "seconds", [0, 59.999999, 60, 1_000_000], ids=["at once", "live", "expired", "long expired"]
    )
    @pytest.mark.parametrize(
        ("mutation", "state", "label", "reason"),
        [
            ("complete", COMPLETED, "late label", None),
            ("complete_batch", COMPLETED, "late label", None),
            ("skip", SKIPPED, None, "late reason"),
            ("release", UNSTARTED, None, "late reason"),
        ],
    )
    def test_a_holder_may_finish_also_after_the_lease_while_nobody_took_over(  # noqa: PLR0917 - pytest gives them by name
        self,
        queues: AnnotationQueues,
        claim: Claim,
        clock: Clock,
        seconds: float,
        mutation: str,
        state: AnnotationState,
        label: str | None,
        reason: str | None,
    ) -> None:
        at = clock.move(seconds)
        seen = MUTATIONS[mutation](queues, claim)
        assert seen == queues.get_item(claim.item.id, annotator_id="bob")
        (progress,) = queues.progress(claim.item.id)
        assert (progress.state, progress.annotation, progress.reason) == (state, label, reason)
        assert (progress.token, progress.lease_expires_at, progress.updated_at) == (1, None, at)
        last = queues.history(claim.item.id)[-1]
        assert (last.from_state, last.to_state, last.at, last.reason) == (IN_PROGRESS, state, at, reason)

    @pytest.mark.parametrize("seconds", [0, 30, 60, 1_000_000])
    def test_a_heartbeat_moves_the_end_of_the_lease_and_nothing_else(
        self, queues: AnnotationQueues, claim: Claim, clock: Clock, seconds: float
    ) -> None:
        item, (progress,), history = (
            queues.get_item(claim.item.id),
            queues.progress(claim.item.id),
            queues.history(claim.item.id),
        )
        at = clock.move(seconds)
        prolonged = queues.heartbeat(claim)
        assert prolonged == attrs.evolve(claim, expires_at=at + timedelta(seconds=60))
        assert queues.get_item(claim.item.id) == item
        assert queues.history(claim.item.id) == history
        assert queues.progress(claim.item.id) == (attrs.evolve(progress, lease_expires_at=prolonged.expires_at),)
        clock.move(59.999999)
        assert not queues.claim(claim.item.queue_id, "eve")
        clock.move(0.000001)
        assert queues.claim(claim.item.queue_id, "eve")

    def test_a_heartbeat_may_ask_for_its_own_lease_a_shorter_one_too(
        self, queues: AnnotationQueues, claim: Claim, clock: Clock
    ) -> None:
        assert queues.heartbeat(claim, lease=timedelta(days=1)).expires_at == clock.now + timedelta(days=1)
        prolonged = queues.heartbeat(claim, lease=timedelta(seconds=1))
        assert prolonged.expires_at == clock.now + timedelta(seconds=1)
        assert queues.complete(prolonged).annotation_state is COMPLETED

    def test_a_claim_from_before_a_heartbeat_is_as_good_as_the_one_after(
        self, queues: AnnotationQueues, claim: Claim
    ) -> None:
        queues.heartbeat(claim)
        assert queues.complete(claim).annotation_state is COMPLETED

    @every_mutation
    def test_a_claim_that_somebody_else_took_over_is_lost(
        self, queues: AnnotationQueues, claim: Claim, clock: Clock, mutation: str
    ) -> None:
        clock.move(60)
        taken = queues.claim(claim.item.queue_id, "eve")
        assert isinstance(taken, Claim)
        expect_lost(queues, claim, mutation)
        queues.complete(taken)
        expect_lost(queues, claim, mutation)

    @every_mutation
    def test_a_claim_that_the_same_annotator_took_over_again_is_lost(
        self, queues: AnnotationQueues, claim: Claim, clock: Clock, mutation: str
    ) -> None:
        clock.move(60)
        taken = queues.claim(claim.item.queue_id, "bob")
        assert isinstance(taken, Claim)
        assert taken.token == claim.token + 1
        expect_lost(queues, claim, mutation)
        queues.complete(taken, "label")
        expect_lost(queues, claim, mutation)

    @every_mutation
    @pytest.mark.parametrize("finish", ["complete", "skip"])
    def test_a_finished_claim_may_be_finished_the_same_way_again_and_no_other(
        self, queues: AnnotationQueues, claim: Claim, clock: Clock, finish: str, mutation: str
    ) -> None:
        first = MUTATIONS[finish](queues, claim)
        clock.move(100)
        if mutation.removesuffix("_batch") == finish:
            before = everything(queues, claim)
            assert MUTATIONS[mutation](queues, claim) == first
            assert everything(queues, claim) == before
        else:
            expect_lost(queues, claim, mutation)

    @every_mutation
    def test_a_released_claim_is_lost(self, queues: AnnotationQueues, claim: Claim, mutation: str) -> None:
        queues.release(claim)
        expect_lost(queues, claim, mutation)
        queues.claim(claim.item.queue_id, "bob")
        expect_lost(queues, claim, mutation)

    @every_mutation
    @pytest.mark.parametrize("finished", [False, True])
    def test_a_claim_on_a_removed_item_is_lost(
        self, queues: AnnotationQueues, claim: Claim, mutation: str, *, finished: bool
    ) -> None:
        if finished:
            queues.complete(claim)
        queues.remove_items(claim.item.queue_id, [claim.item.id])
        with pytest.raises(ClaimLost):
            MUTATIONS[mutation](queues, claim)
        assert queues.stats([claim.item.queue_id])[0].by_annotator == {}

    @every_mutation
    @pytest.mark.parametrize("finished", [False, True])
    def test_a_claim_in_a_deleted_queue_finds_no_queue(
        self, queues: AnnotationQueues, claim: Claim, mutation: str, *, finished: bool
    ) -> None:
        if finished:
            queues.complete(claim)
        queues.delete(claim.item.queue_id)
        with pytest.raises(QueueNotFound):
            MUTATIONS[mutation](queues, claim)

    @every_mutation
    @pytest.mark.parametrize(
        "change",
        [{"token": 0}, {"token": 2}, {"annotator_id": "eve"}],
        ids=lambda change: "-".join(map(str, *change.items())) if len(change) == 1 else "",
    )
    def test_a_claim_that_was_never_granted_is_lost(
        self, queues: AnnotationQueues, claim: Claim, mutation: str, change: dict[str, Any]
    ) -> None:
        before = everything(queues, claim)
        with pytest.raises(ClaimLost):
            MUTATIONS[mutation](queues, attrs.evolve(claim, **change))
        assert everything(queues, claim) == before

    @every_mutation
    @pytest.mark.parametrize("token", [0, 2])
    @pytest.mark.parametrize("finish", ["complete", "skip"])
    def test_a_finished_item_is_not_finished_again_by_another_token(
        self, queues: AnnotationQueues, claim: Claim, finish: str, token: int, mutation: str
    ) -> None:
        MUTATIONS[finish](queues, claim)
        expect_lost(queues, attrs.evolve(claim, token=token), mutation)

    @every_mutation
    def test_a_direct_release_or_start_anew_takes_the_claim_away(
        self, queues: AnnotationQueues, claim: Claim, mutation: str
    ) -> None:
        queues.update_progress(claim.item.id, "bob", UNSTARTED)
        expect_lost(queues, claim, mutation)
        queues.update_progress(claim.item.id, "bob", IN_PROGRESS)
        expect_lost(queues, claim, mutation)

    @every_mutation
    def test_another_annotators_direct_update_does_not_take_the_claim_away(
        self, queues: AnnotationQueues, claim: Claim, mutation: str
    ) -> None:
        queues.update_progress(claim.item.id, "eve", COMPLETED)
        MUTATIONS[mutation](queues, claim)
        assert len(queues.progress(claim.item.id)) == 2

    @every_mutation
    def test_reopening_a_finished_item_ends_the_claim_that_finished_it(
        self, make_queues: Callable[..., AnnotationQueues], queue_of_one: AnnotationQueue, mutation: str
    ) -> None:
        queues = make_queues(workflow=REOPENABLE)
        claim = queues.claim(queue_of_one.id, "bob")
        assert isinstance(claim, Claim)
        queues.complete(claim, "first")
        queues.update_progress(claim.item.id, "bob", IN_PROGRESS)
        assert queues.stats([queue_of_one.id])[0].finished_items == 0
        expect_lost(queues, claim, mutation)
        assert not queues.claim(queue_of_one.id, "eve")

    def test_a_reopened_item_is_free_for_others_when_its_lease_ran_out_and_keeps_the_label(
        self, make_queues: Callable[..., AnnotationQueues], queue_of_one: AnnotationQueue, clock: Clock
    ) -> None:
        queues = make_queues(workflow=REOPENABLE)
        claim = queues.claim(queue_of_one.id, "bob")
        assert isinstance(claim, Claim)
        queues.skip(claim)
        queues.update_progress(claim.item.id, "bob", IN_PROGRESS, annotation="draft")
        clock.move(60)
        assert queues.claim(queue_of_one.id, "eve")
        bob, eve = queues.progress(claim.item.id)
        assert (bob.state, bob.annotation, bob.token) == (UNSTARTED, "draft", 2)
        assert (eve.state, eve.annotation, eve.token) == (IN_PROGRESS, None, 1)

    def test_a_claim_can_be_finished_under_the_strict_workflow(
        self, make_queues: Callable[..., AnnotationQueues], queue_of_one: AnnotationQueue
    ) -> None:
        queues = make_queues(workflow=STRICT)
        claim = queues.claim(queue_of_one.id, "bob")
        assert isinstance(claim, Claim)
        assert queues.complete(claim).annotation_state is COMPLETED

    def test_a_workflow_without_the_move_refuses_to_finish_the_claim_and_writes_nothing(
        self, make_queues: Callable[..., AnnotationQueues], queue_of_one: AnnotationQueue
    ) -> None:
        queues = make_queues(
            workflow=Workflow("no skips", {("unstarted", "in_progress"), ("in_progress", "completed")})
        )
        claim = queues.claim(queue_of_one.id, "bob")
        assert isinstance(claim, Claim)
        before = everything(queues, claim)
        for mutation in ("skip", "release"):
            with pytest.raises(InvalidTransition, match="the no skips workflow has no move from in_progress to"):
                MUTATIONS[mutation](queues, claim)
        assert everything(queues, claim) == before
        assert queues.complete(claim).annotation_state is COMPLETED

    @every_mutation
    @pytest.mark.parametrize("claim", [None, "id", {"token": 1}])
    def test_what_is_no_claim_is_refused(self, queues: AnnotationQueues, mutation: str, claim: Any) -> None:  # noqa: ANN401
        with pytest.raises(InvalidValue) as refused:
            MUTATIONS[mutation](queues, claim)
        assert refused.value.field == "claim"
