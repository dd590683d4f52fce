"""Who gets what: items that are reserved, claims of a very item, and queues that are paused."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import InvalidTransition, InvalidValue, ItemNotFound
from annotation_queue.items import Claim, ItemPatch, NewItem, QueueItem, Unavailable, UnavailableReason
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.states import AnnotationState, Workflow
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

_, _, COMPLETED, SKIPPED = AnnotationState
MINUTE = timedelta(minutes=1)


def taken(claims: tuple[Claim, ...]) -> list[str]:
    """Name claims by their calls."""
    return [claim.item.call_id for claim in claims]


def why(found: Claim | Unavailable) -> UnavailableReason:
    """Say why there was nothing to claim."""
    assert isinstance(found, Unavailable)
    return found.reason


class AssignmentsContract(Contract):
    """Who gets what: items that are reserved, claims of a very item, and queues that are paused."""

    @pytest.fixture
    def reserved(self, queues: AnnotationQueues, queue: AnnotationQueue) -> dict[str, QueueItem]:
        """Items in queue order by call: one for bob, one for anybody, one for bob and eve, one for eve."""
        news = [
            NewItem(call_id="bobs", assignees=["bob"]),
            NewItem(call_id="free"),
            NewItem(call_id="both", assignees=("eve", "bob")),
            NewItem(call_id="eves", assignees=["eve"]),
        ]
        added = queues.add_items(queue.id, news, added_by="ann").added
        return {item.call_id: item for item in added}

    def test_a_reserved_item_is_handed_to_its_assignees_only_in_queue_order(
        self, queues: AnnotationQueues, queue: AnnotationQueue, reserved: dict[str, QueueItem]
    ) -> None:
        assert reserved["both"].assignees == ("bob", "eve")
        assert taken(queues.claim_batch(queue.id, "cy", 9)) == ["free"]
        assert taken(queues.claim_batch(queue.id, "eve", 1)) == ["both"]
        assert taken(queues.claim_batch(queue.id, "bob", 9)) == ["bobs"]
        assert taken(queues.claim_batch(queue.id, "eve", 9)) == ["eves"]

    def test_what_is_reserved_for_others_is_said_after_what_is_held_and_before_what_was_seen(
        self, queues: AnnotationQueues, queue: AnnotationQueue, reserved: dict[str, QueueItem], clock: Clock
    ) -> None:
        (free,) = queues.claim_batch(queue.id, "cy", 9)
        waiting = queues.claim(queue.id, "dee")
        assert isinstance(waiting, Unavailable)
        assert (waiting.reason, waiting.retry_at) == (UnavailableReason.LEASED, free.expires_at)
        queues.skip(free)
        assert why(queues.claim(queue.id, "cy")) is UnavailableReason.ASSIGNED
        for call in ("bobs", "both", "eves"):
            queues.update_progress(reserved[call].id, "dee", SKIPPED)
        assert why(queues.claim(queue.id, "dee")) is UnavailableReason.FINISHED
        clock.move(1)
        (more,) = queues.add_items(queue.id, [NewItem(call_id="more", assignees=["bob"])], added_by="ann").added
        held = queues.claim(queue.id, "bob")
        assert isinstance(held, Claim)
        assert held.item.id == more.id
        assert why(queues.claim(queue.id, "dee")) is UnavailableReason.ASSIGNED
        assert why(queues.claim(queue.id, "bob")) is UnavailableReason.LEASED

    def test_an_assignee_who_settled_an_item_is_not_served_it_again(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue
    ) -> None:
        news = [NewItem(call_id=call, assignees=["bob", "eve"]) for call in "ab"]
        queues.add_items(shared_queue.id, news, added_by="ann")
        for call in "ab":
            claim = queues.claim(shared_queue.id, "bob")
            assert isinstance(claim, Claim)
            assert claim.item.call_id == call
            queues.complete(claim)
        assert why(queues.claim(shared_queue.id, "bob")) is UnavailableReason.SEEN
        assert why(queues.claim(shared_queue.id, "cy")) is UnavailableReason.ASSIGNED
        assert taken(queues.claim_batch(shared_queue.id, "eve", 9)) == ["a", "b"]

    def test_a_reservation_moves_with_the_item_and_with_its_assignees(
        self, queues: AnnotationQueues, queue: AnnotationQueue, reserved: dict[str, QueueItem]
    ) -> None:
        queues.reprioritise(queue.id, {reserved["eves"].id: 2, reserved["both"].id: 1})
        assert taken(queues.claim_batch(queue.id, "eve", 1)) == ["eves"]
        assert (
            queues.update_items(queue.id, [reserved["both"].id, reserved["bobs"].id], ItemPatch(assignees=["cy"])) == 2
        )
        assert taken(queues.claim_batch(queue.id, "bob", 9)) == ["free"]
        assert queues.update_items(queue.id, ItemFilter(assignee="cy"), ItemPatch(assignees=())) == 2
        assert taken(queues.claim_batch(queue.id, "dee", 9)) == ["both", "bobs"]

    def test_who_holds_an_item_keeps_it_when_it_is_reserved_for_others(
        self, queues: AnnotationQueues, queue: AnnotationQueue, reserved: dict[str, QueueItem], clock: Clock
    ) -> None:
        claim = queues.claim(queue.id, "cy", lease=MINUTE)
        assert isinstance(claim, Claim)
        queues.update_items(queue.id, [reserved["free"].id], ItemPatch(assignees=["dee"]))
        clock.move(61)
        assert why(queues.claim(queue.id, "cy")) is UnavailableReason.ASSIGNED
        again = queues.claim(queue.id, "cy", lease=MINUTE, resume=True)
        assert isinstance(again, Claim)
        assert again.token == claim.token
        clock.move(61)
        assert taken(queues.claim_batch(queue.id, "dee", 9)) == ["free"]

    def test_a_filter_finds_what_is_reserved_for_somebody(
        self, queues: AnnotationQueues, queue: AnnotationQueue, reserved: dict[str, QueueItem]
    ) -> None:
        def found(**wanted: object) -> list[str]:
            query = ItemQuery(filter=ItemFilter(**wanted), include_total=True, include_position=True)  # type: ignore[arg-type]  # a test's own
            page = queues.query_items(queue.id, query)
            assert page.total == len(page.items)
            return [item.call_id for item in page.items]

        assert found(assignee="bob") == ["bobs", "both"]
        assert found(assignee="nobody") == []
        queues.remove_items(queue.id, [reserved["bobs"].id])
        assert found(assignee="bob", finished=False) == ["both"]
        queues.restore_items(queue.id, [reserved["bobs"].id])
        assert found(assignee="bob") == ["bobs", "both"]
        assert taken(queues.claim_batch(queue.id, "bob", 1)) == ["bobs"]

    def test_a_very_item_is_claimed_by_the_same_rules(
        self, queues: AnnotationQueues, queue: AnnotationQueue, reserved: dict[str, QueueItem], clock: Clock
    ) -> None:
        claim = queues.claim_item(reserved["both"].id, "eve", lease=MINUTE)
        assert isinstance(claim, Claim)
        assert claim == queues.holds(queue.id, "eve")[0]
        waiting = queues.claim_item(reserved["both"].id, "bob")
        assert isinstance(waiting, Unavailable)
        assert (waiting.reason, waiting.retry_at) == (UnavailableReason.LEASED, clock.now + MINUTE)
        assert why(queues.claim_item(reserved["both"].id, "cy")) is UnavailableReason.ASSIGNED
        clock.move(60)
        taken_over = queues.claim_item(reserved["both"].id, "bob")
        assert isinstance(taken_over, Claim)
        assert [each.reason for each in queues.history(reserved["both"].id)] == [None, "lease expired", None]
        queues.complete(taken_over, "label")
        assert why(queues.claim_item(reserved["both"].id, "eve")) is UnavailableReason.FINISHED
        with pytest.raises(ItemNotFound):
            queues.claim_item("missing", "bob")

    def test_a_very_item_that_the_annotator_settled_is_seen(
        self, queues: AnnotationQueues, shared_item: QueueItem
    ) -> None:
        queues.update_progress(shared_item.id, "bob", SKIPPED)
        assert why(queues.claim_item(shared_item.id, "bob")) is UnavailableReason.SEEN

    def test_a_paused_queue_hands_out_nothing_new(
        self, queues: AnnotationQueues, queue: AnnotationQueue, reserved: dict[str, QueueItem]
    ) -> None:
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        assert queues.update(queue.id, is_paused=True).is_paused
        assert why(queues.claim(queue.id, "cy")) is UnavailableReason.PAUSED
        assert why(queues.claim_item(reserved["free"].id, "cy")) is UnavailableReason.PAUSED
        assert queues.claim_batch(queue.id, "bob", 3) == ()
        resumed = queues.claim(queue.id, "bob", resume=True)
        assert isinstance(resumed, Claim)
        assert queues.complete(resumed).annotation_state is COMPLETED
        queues.update(queue.id, is_paused=False)
        assert taken(queues.claim_batch(queue.id, "cy", 3)) == ["free"]

    def test_an_empty_queue_is_empty_and_a_finished_one_paused(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        queues.update(queue.id, is_paused=True)
        assert why(queues.claim(queue.id, "bob")) is UnavailableReason.EMPTY
        (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
        queues.update_progress(item.id, "cy", COMPLETED)
        assert why(queues.claim(queue.id, "bob")) is UnavailableReason.PAUSED

    def test_what_is_no_assignee_or_no_flag_is_refused(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        for refused in ("ann", [""], [1], None):
            with pytest.raises(InvalidValue):
                NewItem(call_id="a", assignees=refused)  # type: ignore[arg-type]  # refused
        with pytest.raises(InvalidValue, match="is_paused"):
            queues.update(queue.id, is_paused="yes")  # type: ignore[arg-type]  # refused

    def test_a_workflow_without_claims_has_none_of_a_very_item(
        self, make_queues: Callable[..., AnnotationQueues], queue: AnnotationQueue, reserved: dict[str, QueueItem]
    ) -> None:
        direct = make_queues(workflow=Workflow(name="direct", moves=frozenset()))
        with pytest.raises(InvalidTransition):
            direct.claim_item(reserved["free"].id, "bob")
        assert direct.holds(queue.id, "bob") == ()

    def test_what_is_reserved_no_longer_is_granted_when_its_lease_has_ended(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue = queues.create("queue", created_by="ann")
        first, second = queues.add_items(queue.id, [NewItem(call_id=call) for call in "ab"], added_by="ann").added
        for item, minutes in ((first, 5), (second, 60)):
            queues.claim_item(item.id, "bob", lease=timedelta(minutes=minutes))
        queues.update_items(queue.id, [first.id], ItemPatch(assignees=["carol"]))
        clock.move(360)
        assert isinstance(queues.claim(queue.id, "eve"), Unavailable)
        queues.update_items(queue.id, [first.id], ItemPatch(assignees=[]))
        claim = queues.claim(queue.id, "eve")
        assert isinstance(claim, Claim)
        assert claim.item.id == first.id
