"""Claims: who gets which item, until when, and why there is none."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from annotation_queue.errors import InvalidValue
from annotation_queue.items import AnnotationQueue, Claim, NewItem, QueueItem, Unavailable, UnavailableReason
from annotation_queue.states import AnnotationState, SkipPolicy, Transition
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState


def seconds(count: float) -> timedelta:
    """Say a time in seconds."""
    return timedelta(seconds=count)


def fill(
    queues: AnnotationQueues, count: int = 1, annotations_per_item: int = 1, skip_policy: SkipPolicy = SkipPolicy.FINAL
) -> tuple[AnnotationQueue, tuple[QueueItem, ...]]:
    """Make a queue with a lease of one minute that holds some bare items, named a, b, c."""
    queue = queues.create(
        "queue", created_by="ann", annotations_per_item=annotations_per_item, skip_policy=skip_policy, lease=seconds(60)
    )
    news = (NewItem(call_id=call) for call in "abcdefgh"[:count])
    return queue, queues.add_items(queue.id, news, added_by="ann").added


def take(queues: AnnotationQueues, queue: AnnotationQueue, annotator_id: str, lease: timedelta | None = None) -> Claim:
    """Claim an item that must be there."""
    claim = queues.claim(queue.id, annotator_id, lease=lease)
    assert isinstance(claim, Claim), claim
    return claim


class ClaimsContract(Contract):
    """Claims: who gets which item, until when, and why there is none."""

    def test_a_claim_gives_the_item_in_progress_for_its_annotator(self, queues: AnnotationQueues, clock: Clock) -> None:
        queue, (item,) = fill(queues)
        at = clock.move(5)
        claim = take(queues, queue, "bob")
        assert (claim.annotator_id, claim.token, claim.expires_at) == ("bob", 1, at + seconds(60))
        assert claim.item == queues.get_item(item.id, annotator_id="bob")
        assert (claim.item.annotation_state, claim.item.annotator_user_id) == (IN_PROGRESS, "bob")
        assert claim.item.updated_at == at
        (progress,) = queues.progress(item.id)
        assert (progress.token, progress.lease_expires_at, progress.updated_at) == (1, claim.expires_at, at)
        assert queues.history(item.id) == (
            Transition(
                item_id=item.id,
                annotator_id="bob",
                from_state=UNSTARTED,
                to_state=IN_PROGRESS,
                at=at,
                actor_id="bob",
            ),
        )

    def test_items_are_claimed_by_priority_then_age_then_id(self, queues: AnnotationQueues, clock: Clock) -> None:
        queue = queues.create("queue", created_by="ann")
        for call, priority, later in (
            ("second", 5, 0),
            ("fifth", 0, 1),
            ("third", 5, 0),
            ("sixth", 0, 0),
            ("last", -(2**63), -9),
            ("fourth", 5, 20),
            ("first", 2**63 - 1, 0),
        ):
            clock.move(later)
            queues.add_items(queue.id, [NewItem(call_id=call, priority=priority)], added_by="ann")
        order = [take(queues, queue, "bob").item.call_id for _ in range(7)]
        assert order == [item.call_id for item in queues.query_items(queue.id).items]
        assert order[0] == "first"
        assert order[-1] == "last"
        assert order.index("fifth") < order.index("sixth")

    def test_two_annotators_never_get_the_same_item(self, queues: AnnotationQueues) -> None:
        queue, items = fill(queues, 4)
        claims = [take(queues, queue, who) for who in ("bob", "eve", "bob", "eve")]
        assert [claim.item.id for claim in claims] == [item.id for item in items]
        assert not queues.claim(queue.id, "ann")

    @pytest.mark.parametrize("policy", SkipPolicy)
    @pytest.mark.parametrize("needed", [1, 2, 3])
    def test_draining_a_queue_gives_each_item_its_annotations_and_no_more(
        self, queues: AnnotationQueues, needed: int, policy: SkipPolicy
    ) -> None:
        queue, items = fill(queues, 8, needed, policy)
        annotators = [f"ann-{number}" for number in range(needed + 2)]
        turn = itertools.count()
        working = set(annotators)
        while working:
            for who in sorted(working):
                claim = queues.claim(queue.id, who)
                if not isinstance(claim, Claim):
                    working.discard(who)
                elif next(turn) % 4 == 1:
                    queues.skip(claim)
                else:
                    queues.complete(claim)
        for item in items:
            states = Counter(each.state for each in queues.progress(item.id))
            assert states[IN_PROGRESS] == states[UNSTARTED] == 0
            counted = states[COMPLETED] + (states[SKIPPED] if policy is SkipPolicy.FINAL else 0)
            # With requeued skips an item may run out of annotators before it has all it needs.
            assert counted == needed or (states.total() == len(annotators) and counted < needed)
        stats = queues.stats([queue.id])[0]
        assert stats.settled_items == 8
        if policy is SkipPolicy.FINAL:
            assert stats.finished_items == 8

    def test_several_annotators_work_on_one_item_at_once_but_none_twice(self, queues: AnnotationQueues) -> None:
        queue, (item,) = fill(queues, 1, 2)
        first, second = take(queues, queue, "bob"), take(queues, queue, "eve")
        assert first.item.id == second.item.id == item.id
        assert not queues.claim(queue.id, "ann")
        queues.complete(first)
        assert queues.claim(queue.id, "ann").__class__ is Unavailable
        assert not queues.claim(queue.id, "bob")
        queues.release(second)
        assert not queues.claim(queue.id, "bob")
        queues.complete(take(queues, queue, "ann"))
        assert queues.claim(queue.id, "eve") == Unavailable(reason=UnavailableReason.FINISHED)

    def test_a_final_skip_uses_up_a_slot_and_a_requeued_one_does_not(self, queues: AnnotationQueues) -> None:
        final, _ = fill(queues)
        requeue, (item,) = fill(queues, skip_policy=SkipPolicy.REQUEUE)
        for queue in (final, requeue):
            queues.skip(take(queues, queue, "bob"), reason="too hard")
        assert queues.claim(final.id, "eve") == Unavailable(reason=UnavailableReason.FINISHED)
        assert queues.claim(requeue.id, "bob") == Unavailable(reason=UnavailableReason.SEEN)
        assert take(queues, requeue, "eve").item.id == item.id
        assert queues.progress(item.id)[0].reason == "too hard"

    def test_a_released_item_can_be_claimed_at_once_and_from_its_old_place(self, queues: AnnotationQueues) -> None:
        queue, (first, _) = fill(queues, 2)
        claim = take(queues, queue, "bob")
        take(queues, queue, "bob")
        queues.release(claim, reason="lunch")
        assert queues.progress(first.id)[0].reason == "lunch"
        again = take(queues, queue, "eve")
        assert (again.item.id, again.token) == (first.id, 1)
        queues.release(again)
        assert take(queues, queue, "bob").token == 2

    def test_a_lease_is_live_until_its_end_and_at_its_end_it_is_not(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue, (item,) = fill(queues)
        claim = take(queues, queue, "bob")
        clock.now = claim.expires_at - timedelta(microseconds=1)
        assert queues.claim(queue.id, "eve") == Unavailable(reason=UnavailableReason.LEASED, retry_at=claim.expires_at)
        clock.now = claim.expires_at
        assert take(queues, queue, "eve").item.id == item.id

    def test_a_grant_releases_every_expired_hold_in_order_of_annotators_and_then_starts(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue, (item,) = fill(queues, 1, 4)
        for who, lease in (("é", 10), ("B", 20), ("a", 30), ("live", 100)):
            take(queues, queue, who, seconds(lease))
        before = queues.history(item.id)
        at = clock.move(30)
        claim = take(queues, queue, "a")
        assert claim.token == 2
        released = [
            Transition(
                item_id=item.id,
                annotator_id=who,
                from_state=IN_PROGRESS,
                to_state=UNSTARTED,
                at=at,
                reason="lease expired",
            )
            for who in ("B", "a", "é")
        ]
        started = Transition(
            item_id=item.id, annotator_id="a", from_state=UNSTARTED, to_state=IN_PROGRESS, at=at, actor_id="a"
        )
        assert queues.history(item.id) == (*before, *released, started)
        assert [(each.annotator_id, each.state) for each in queues.progress(item.id)] == [
            ("B", UNSTARTED),
            ("a", IN_PROGRESS),
            ("live", IN_PROGRESS),
            ("é", UNSTARTED),
        ]
        assert queues.progress(item.id)[0].reason == "lease expired"

    def test_an_expired_hold_is_left_alone_until_its_item_is_granted(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue, (first, second) = fill(queues, 2)
        take(queues, queue, "bob", seconds(10))
        take(queues, queue, "bob", seconds(10))
        clock.move(10)
        assert take(queues, queue, "eve").item.id == first.id
        assert queues.get_item(second.id, annotator_id="bob").annotation_state is IN_PROGRESS
        assert len(queues.history(second.id)) == 1

    def test_an_empty_queue_says_so_and_so_does_one_whose_items_were_removed(self, queues: AnnotationQueues) -> None:
        queue, (item,) = fill(queues)
        claim = take(queues, queue, "bob")
        queues.complete(claim)
        assert queues.claim(queue.id, "eve") == Unavailable(reason=UnavailableReason.FINISHED)
        queues.remove_items(queue.id, [item.id])
        assert queues.claim(queue.id, "eve") == Unavailable(reason=UnavailableReason.EMPTY)

    @pytest.mark.parametrize(
        ("needed", "holds", "asks", "retry_after"),
        [
            (1, {"bob": 10}, "eve", 10),
            (1, {"bob": 10}, "bob", 10),
            (2, {"ann": 10, "bob": 20}, "eve", 10),
            (2, {"ann": 10, "bob": 20}, "ann", 10),
            (2, {"ann": 10, "bob": 20}, "bob", 20),
            (3, {"ann": 30}, "ann", 30),
            (2, {"ann": 10, "bob": 20, "cem": 30}, "eve", 20),
            (2, {"ann": 10, "bob": 20, "cem": 30}, "ann", 20),
            (2, {"ann": 10, "bob": 20, "cem": 30}, "cem", 30),
            (1, {"ann": 10, "bob": 20, "cem": 30}, "eve", 30),
        ],
    )
    def test_where_holds_keep_the_item_the_first_time_to_try_again_is_exact(  # noqa: PLR0917 - pytest gives them by name
        self,
        queues: AnnotationQueues,
        clock: Clock,
        needed: int,
        holds: dict[str, int],
        asks: str,
        retry_after: int,
    ) -> None:
        queue, (item,) = fill(queues, 1, needed)
        for who, lease in holds.items():
            # Holds beyond the slots can only be taken directly.
            queues.update(queue.id, lease=seconds(lease))
            queues.update_progress(item.id, who, IN_PROGRESS)
        retry_at = clock.now + seconds(retry_after)
        unavailable = queues.claim(queue.id, asks)
        assert unavailable == Unavailable(reason=UnavailableReason.LEASED, retry_at=retry_at)
        clock.now = retry_at - timedelta(microseconds=1)
        assert queues.claim(queue.id, asks) == unavailable
        clock.now = retry_at
        assert take(queues, queue, asks).item.id == item.id

    def test_of_several_items_the_one_that_comes_free_first_counts(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue, items = fill(queues, 3)
        for lease in (30, 10, 20):
            take(queues, queue, "bob", seconds(lease))
        retry_at = clock.now + seconds(10)
        assert queues.claim(queue.id, "eve") == Unavailable(reason=UnavailableReason.LEASED, retry_at=retry_at)
        clock.now = retry_at
        assert take(queues, queue, "eve").item.id == items[1].id

    def test_items_that_the_annotator_is_done_with_do_not_count_as_leased(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue, _ = fill(queues, 2, 2)
        queues.complete(take(queues, queue, "bob"))
        queues.skip(take(queues, queue, "bob"))
        assert queues.claim(queue.id, "bob") == Unavailable(reason=UnavailableReason.SEEN)
        take(queues, queue, "eve")
        assert queues.claim(queue.id, "bob") == Unavailable(reason=UnavailableReason.SEEN)
        take(queues, queue, "eve", seconds(7))
        assert queues.claim(queue.id, "ann") == Unavailable(
            reason=UnavailableReason.LEASED, retry_at=clock.now + seconds(7)
        )

    def test_a_batch_is_claimed_in_queue_order_and_ends_where_nothing_is_left(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue, items = fill(queues, 5)
        held = take(queues, queue, "eve")
        claims = queues.claim_batch(queue.id, "bob", 3)
        assert [claim.item.id for claim in claims] == [item.id for item in items[1:4]]
        assert {(claim.annotator_id, claim.token, claim.expires_at) for claim in claims} == {
            ("bob", 1, clock.now + seconds(60))
        }
        assert all(claim.item == queues.get_item(claim.item.id, annotator_id="bob") for claim in claims)
        assert [claim.item.id for claim in queues.claim_batch(queue.id, "bob", 2**63 - 1)] == [items[4].id]
        assert queues.claim_batch(queue.id, "bob", 3) == ()
        assert queues.heartbeat(held).token == 1

    def test_a_batch_of_nothing_claims_nothing(self, queues: AnnotationQueues) -> None:
        queue, (item,) = fill(queues)
        assert queues.claim_batch(queue.id, "bob", 0) == ()
        assert queues.history(item.id) == ()

    def test_a_batch_takes_expired_items_too_and_never_one_twice(self, queues: AnnotationQueues, clock: Clock) -> None:
        queue, items = fill(queues, 3, 2)
        queues.claim_batch(queue.id, "bob", 2, lease=seconds(10))
        clock.move(10)
        claims = queues.claim_batch(queue.id, "bob", 10)
        assert [(claim.item.id, claim.token) for claim in claims] == [
            (items[0].id, 2),
            (items[1].id, 2),
            (items[2].id, 1),
        ]

    def test_a_claim_may_ask_for_its_own_lease(self, queues: AnnotationQueues, clock: Clock) -> None:
        queue, _ = fill(queues, 3)
        one = take(queues, queue, "bob", timedelta(microseconds=1))
        (other,) = queues.claim_batch(queue.id, "bob", 1, lease=timedelta(days=36_500))
        assert one.expires_at == clock.now + timedelta(microseconds=1)
        assert other.expires_at == clock.now + timedelta(days=36_500)
        queues.update(queue.id, lease=seconds(5))
        assert take(queues, queue, "bob").expires_at == clock.now + seconds(5)

    def test_a_lease_that_would_end_beyond_the_year_9999_grants_nothing(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue, (item,) = fill(queues)
        clock.now = datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC)
        for operation in (
            lambda: queues.claim(queue.id, "bob"),
            lambda: queues.update_progress(item.id, "bob", IN_PROGRESS),
        ):
            with pytest.raises(InvalidValue) as refused:
                operation()
            assert refused.value.field == "lease"
        assert queues.history(item.id) == ()
        assert queues.heartbeat(take(queues, queue, "bob", seconds(1)), lease=seconds(29)).expires_at.second == 59

    def test_a_claim_is_an_ordinary_value(self, queues: AnnotationQueues) -> None:
        queue, _ = fill(queues)
        claim = take(queues, queue, "bob")
        assert queues.complete(attrs.evolve(claim), "label").annotation_state is COMPLETED
