"""Holds: what an annotator has in hand, taken up again after a reload, and claims that travel as references."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import ClaimLost
from annotation_queue.items import AnnotationQueue, Claim, ClaimRef, NewItem, QueueItem
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState


def calls_of(claims: tuple[Claim, ...]) -> list[str]:
    """Name claims by their calls."""
    return [claim.item.call_id for claim in claims]


class HoldsContract(Contract):
    """Holds: what an annotator has in hand, taken up again after a reload, and claims that travel as references."""

    @pytest.fixture
    def items(self, queues: AnnotationQueues, shared_queue: AnnotationQueue) -> dict[str, QueueItem]:
        """Four items whose queue order is b, d, a, c."""
        news = [NewItem(call_id=call, priority=int(call in "bd"), payload={"call": call}) for call in "abcd"]
        added = queues.add_items(shared_queue.id, news, added_by="ann").added
        return {item.call_id: item for item in added}

    def test_what_an_annotator_holds_is_listed_in_queue_order_however_it_was_started(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, items: dict[str, QueueItem], clock: Clock
    ) -> None:
        assert queues.holds(shared_queue.id, "bob") == ()
        queues.update_progress(items["c"].id, "bob", IN_PROGRESS)
        clock.move(1)
        claims = queues.claim_batch(shared_queue.id, "bob", 2, lease=timedelta(seconds=30))
        queues.update_progress(items["a"].id, "eve", IN_PROGRESS)
        held = queues.holds(shared_queue.id, "bob")
        assert held[:2] == claims
        assert calls_of(held) == ["b", "d", "c"]
        for claim in held:
            assert claim.item == queues.get_item(claim.item.id, annotator_id="bob")
            (own,) = [each for each in queues.progress(claim.item.id) if each.annotator_id == "bob"]
            assert (claim.annotator_id, claim.token, claim.expires_at) == ("bob", own.token, own.lease_expires_at)
        assert calls_of(queues.holds(shared_queue.id, "eve")) == ["a"]

    def test_a_hold_ends_when_it_is_finished_released_reset_removed_or_taken_over_and_not_when_its_lease_does(
        self, queues: AnnotationQueues, items: dict[str, QueueItem], clock: Clock
    ) -> None:
        queue = queues.create("one each", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=call) for call in "123456"], added_by="ann")
        claims = queues.claim_batch(queue.id, "bob", 6)
        clock.move(1_000)
        assert calls_of(queues.holds(queue.id, "bob")) == [*"123456"]
        queues.complete(claims[5])
        queues.skip(claims[4])
        queues.release(claims[3])
        queues.reset(queue.id, [claims[2].item.id], actor_id="chief")
        queues.remove_items(queue.id, [claims[1].item.id])
        assert calls_of(queues.holds(queue.id, "bob")) == ["1"]
        assert calls_of(queues.claim_batch(queue.id, "eve", 1)) == ["1"]
        assert queues.holds(queue.id, "bob") == ()
        assert len(items) == 4

    def test_a_resumed_claim_is_the_first_hold_with_its_token_and_a_longer_lease(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, items: dict[str, QueueItem], clock: Clock
    ) -> None:
        first, second = queues.claim_batch(shared_queue.id, "bob", 2)
        history = queues.history(first.item.id)
        at = clock.move(1_000)
        for _ in range(2):
            again = queues.claim(shared_queue.id, "bob", resume=True, lease=timedelta(seconds=9))
            assert isinstance(again, Claim)
            assert (again.item, again.token, again.expires_at) == (first.item, first.token, at + timedelta(seconds=9))
        assert queues.history(first.item.id) == history
        queues.complete(first, "label")
        again = queues.claim(shared_queue.id, "bob", resume=True)
        assert isinstance(again, Claim)
        assert (again.item.id, again.expires_at) == (second.item.id, at + timedelta(minutes=5))
        queues.complete(again)
        new = queues.claim(shared_queue.id, "bob", resume=True)
        assert isinstance(new, Claim)
        assert (new.item.call_id, new.token) == ("a", 1)
        assert items["a"].id == new.item.id

    def test_whoever_holds_nothing_gets_something_new_or_is_told_why_not(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, items: dict[str, QueueItem]
    ) -> None:
        claim = queues.claim(shared_queue.id, "bob", resume=True)
        assert isinstance(claim, Claim)
        assert claim.item.id == items["b"].id
        empty = queues.create("empty", created_by="ann")
        assert queues.claim(empty.id, "bob", resume=True) == queues.claim(empty.id, "bob")

    def test_a_claim_that_went_through_a_text_does_all_that_the_claim_does(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, items: dict[str, QueueItem], clock: Clock
    ) -> None:
        claims = queues.claim_batch(shared_queue.id, "bob", 4)
        refs = [ClaimRef.parse(str(claim.ref)) for claim in claims]
        assert [(ref.item_id, ref.annotator_id, ref.token) for ref in refs] == [
            (claim.item.id, "bob", 1) for claim in claims
        ]
        at = clock.move(1)
        prolonged = queues.heartbeat(refs[0])
        assert (prolonged.item, prolonged.expires_at) == (claims[0].item, at + timedelta(minutes=5))
        assert queues.heartbeat_batch(refs) == queues.heartbeat_batch(claims)
        assert queues.save_draft(refs[0], "draft") == queues.save_draft(claims[0], "draft")
        outcomes = (
            queues.complete(refs[0], "label"),
            queues.skip(refs[1], "why"),
            queues.release(refs[2]),
            *queues.complete_batch([(refs[3], "label")]),
        )
        assert outcomes == tuple(queues.get_item(ref.item_id, annotator_id="bob") for ref in refs)
        states = [queues.progress(ref.item_id)[0].state for ref in refs]
        assert states == [COMPLETED, SKIPPED, UNSTARTED, COMPLETED]
        for ref in (refs[2], ClaimRef(item_id=refs[0].item_id, annotator_id="eve", token=1)):
            with pytest.raises(ClaimLost):
                queues.complete(ref)
        queues.remove_items(shared_queue.id, [items["b"].id])
        for ref in (refs[0], ClaimRef(item_id="nothing", annotator_id="bob", token=1)):
            with pytest.raises(ClaimLost) as lost:
                queues.heartbeat(ref)
            assert lost.value.item_id == ref.item_id

    def test_a_batch_of_heartbeats_prolongs_what_is_held_and_says_what_is_lost(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, items: dict[str, QueueItem], clock: Clock
    ) -> None:
        claims = queues.claim_batch(shared_queue.id, "bob", 4)
        queues.release(claims[1])
        queues.remove_items(shared_queue.id, [claims[2].item.id])
        at = clock.move(1)
        outcomes = queues.heartbeat_batch((each for each in (*claims, claims[0])), lease=timedelta(seconds=5))
        assert [type(each) for each in outcomes] == [Claim, ClaimLost, ClaimLost, Claim, Claim]
        for claim, outcome in zip((*claims, claims[0]), outcomes, strict=True):
            if isinstance(outcome, Claim):
                assert (outcome.item, outcome.token, outcome.expires_at) == (claim.item, 1, at + timedelta(seconds=5))
        assert queues.heartbeat_batch([]) == ()
        assert len(items) == 4
