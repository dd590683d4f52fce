"""Overrides and resets: what supervisors do, whatever the workflow, and what is left of it in the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import ClaimLost, InvalidValue
from annotation_queue.items import AnnotationQueue, NewItem, QueueItem
from annotation_queue.query import ItemFilter
from annotation_queue.states import STRICT, AnnotationState, fold_labels
from annotation_queue.testing.contracts.base import Contract
from annotation_queue.testing.contracts.revisions import everything, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState


class OverridesContract(Contract):
    """Overrides and resets: what supervisors do, whatever the workflow, and what is left of it in the history."""

    @pytest.mark.parametrize("to_state", [IN_PROGRESS, COMPLETED, SKIPPED])
    @pytest.mark.parametrize("from_state", [IN_PROGRESS, COMPLETED, SKIPPED])
    def test_an_override_makes_any_move_and_any_revision_whatever_the_workflow(
        self,
        make_queues: Callable[..., AnnotationQueues],
        shared_item: QueueItem,
        clock: Clock,
        from_state: AnnotationState,
        to_state: AnnotationState,
    ) -> None:
        queues = make_queues(workflow=STRICT)
        queues.update_progress(shared_item.id, "bob", IN_PROGRESS, annotation="old")
        if from_state is not IN_PROGRESS:
            queues.update_progress(shared_item.id, "bob", from_state)
        at = clock.move(1)
        seen = queues.update_progress(
            shared_item.id, "bob", to_state, annotation="new", reason="why", actor_id="chief", override=True
        )
        assert seen == queues.get_item(shared_item.id, annotator_id="bob")
        (progress,) = queues.progress(shared_item.id)
        assert (progress.state, progress.annotation, progress.reason) == (to_state, "new", "why")
        assert (progress.lease_expires_at is not None) is (to_state is IN_PROGRESS)
        last = queues.history(shared_item.id)[-1]
        if from_state is to_state is IN_PROGRESS:
            assert last.actor_id == "bob"
        else:
            assert (last.from_state, last.to_state, last.at, last.actor_id) == (from_state, to_state, at, "chief")
            assert (last.reason, last.annotation) == ("why", "new" if to_state is COMPLETED else None)

    @pytest.mark.parametrize("from_state", [IN_PROGRESS, COMPLETED, SKIPPED])
    def test_an_override_to_unstarted_clears_label_and_reason_and_ends_the_hold(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock, from_state: AnnotationState
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        queues.update_progress(shared_item.id, "bob", from_state, annotation="label", reason="reason")
        at = clock.move(1)
        queues.update_progress(
            shared_item.id, "bob", UNSTARTED, reason="wrong guidelines", actor_id="chief", override=True
        )
        (progress,) = queues.progress(shared_item.id)
        assert (progress.state, progress.annotation, progress.reason) == (UNSTARTED, None, None)
        assert (progress.lease_expires_at, progress.updated_at) == (None, at)
        last = queues.history(shared_item.id)[-1]
        assert (last.from_state, last.to_state, last.reason) == (from_state, UNSTARTED, "wrong guidelines")
        assert (last.annotation, last.actor_id) == (None, "chief")
        assert fold_labels(queues.history(shared_item.id)) == {}
        if from_state is COMPLETED:
            assert queues.history(shared_item.id)[-2].annotation == "label"
        for act in (queues.complete, queues.skip, queues.release, queues.heartbeat):
            with pytest.raises(ClaimLost):
                act(claim)
        assert queues.holds(shared_item.queue_id, "bob") == ()

    def test_an_override_names_who_makes_it_and_one_to_unstarted_has_no_label(
        self, queues: AnnotationQueues, shared_item: QueueItem
    ) -> None:
        queues.update_progress(shared_item.id, "bob", COMPLETED, annotation="label")
        before = everything(queues, shared_item)
        with pytest.raises(InvalidValue, match="actor_id"):
            queues.update_progress(shared_item.id, "bob", SKIPPED, override=True)
        with pytest.raises(InvalidValue, match="annotation"):
            queues.update_progress(shared_item.id, "bob", UNSTARTED, annotation="x", actor_id="chief", override=True)
        assert everything(queues, shared_item) == before

    @pytest.mark.parametrize("to_state", [COMPLETED, SKIPPED])
    def test_a_claim_is_lost_when_somebody_else_settled_its_work_by_an_override(
        self, queues: AnnotationQueues, shared_item: QueueItem, to_state: AnnotationState
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        queues.update_progress(shared_item.id, "bob", to_state, annotation="theirs", actor_id="chief", override=True)
        before = everything(queues, shared_item)
        for act in (queues.complete, queues.skip):
            with pytest.raises(ClaimLost):
                act(claim, "mine")
        assert everything(queues, shared_item) == before

    @pytest.mark.parametrize("to_state", [COMPLETED, SKIPPED])
    def test_a_stale_claim_never_carries_the_token_of_what_was_done_without_it(
        self, queues: AnnotationQueues, shared_item: QueueItem, to_state: AnnotationState
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        queues.release(claim)
        queues.update_progress(shared_item.id, "bob", to_state, annotation="done without a claim")
        before = everything(queues, shared_item)
        for act in (queues.complete, queues.skip):
            with pytest.raises(ClaimLost):
                act(claim, "late")
        assert everything(queues, shared_item) == before

    def test_a_reset_puts_every_progress_back_and_says_how_many(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, shared_item: QueueItem, clock: Clock
    ) -> None:
        (other,) = queues.add_items(shared_queue.id, [NewItem(call_id="b")], added_by="ann").added
        for annotator_id, state in {"é": COMPLETED, "a": SKIPPED, "B": IN_PROGRESS}.items():
            queues.update_progress(shared_item.id, annotator_id, state, annotation=annotator_id)
        queues.update_progress(other.id, "a", COMPLETED)
        queues.update_progress(shared_item.id, "gone", IN_PROGRESS)
        queues.update_progress(shared_item.id, "gone", UNSTARTED)
        at = clock.move(1)
        which = (each for each in (other.id, "missing", shared_item.id, other.id))
        assert queues.reset(shared_queue.id, which, actor_id="chief", reason="anew") == 4
        for item in (other, shared_item):
            assert {each.state for each in queues.progress(item.id)} == {UNSTARTED}
            assert [each.annotation for each in queues.progress(item.id)] == [None] * len(queues.progress(item.id))
            assert queues.get_item(item.id).updated_at == at
        assert queues.stats([shared_queue.id])[0].by_annotator == {}
        told = queues.changes(shared_queue.id).transitions[-4:]
        assert [(each.item_id, each.annotator_id) for each in told] == [
            (other.id, "a"),
            *((shared_item.id, name) for name in ("B", "a", "é")),
        ]
        assert {(each.actor_id, each.reason, each.at, each.to_state) for each in told} == {
            ("chief", "anew", at, UNSTARTED)
        }
        before = queues.changes(shared_queue.id).transitions
        assert queues.reset(shared_queue.id, [other.id, shared_item.id], actor_id="chief") == 0
        assert queues.changes(shared_queue.id).transitions == before

    def test_a_reset_of_one_annotator_or_by_a_filter_leaves_the_rest(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, shared_item: QueueItem
    ) -> None:
        (other,) = queues.add_items(shared_queue.id, [NewItem(call_id="b")], added_by="ann").added
        for item in (shared_item, other):
            for annotator_id in ("bob", "eve"):
                queues.update_progress(item.id, annotator_id, COMPLETED, annotation="label")
        assert queues.reset(shared_queue.id, ItemFilter(), actor_id="chief", annotator_id="eve") == 2
        assert queues.reset(shared_queue.id, ItemFilter(call_id="b"), actor_id="chief") == 1
        assert queues.reset(shared_queue.id, ItemFilter(call_id="nothing"), actor_id="chief") == 0
        assert [each.state for each in queues.progress(shared_item.id)] == [COMPLETED, UNSTARTED]
        assert [each.state for each in queues.progress(other.id)] == [UNSTARTED, UNSTARTED]

    def test_a_reset_by_a_filter_stands_in_the_log_in_queue_order_and_one_by_ids_in_theirs(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, shared_item: QueueItem
    ) -> None:
        news = [NewItem(call_id=call, priority=priority) for call, priority in (("b", -1), ("c", 1), ("d", 1))]
        added = queues.add_items(shared_queue.id, news, added_by="ann").added
        item_ids = [shared_item.id, *(item.id for item in added)]
        in_order = [item_ids[place] for place in (2, 3, 0, 1)]
        for which, expected in ((ItemFilter(annotation_states={SKIPPED}), in_order), (item_ids[::-1], item_ids[::-1])):
            for item_id in item_ids:
                queues.update_progress(item_id, "bob", SKIPPED)
            assert queues.reset(shared_queue.id, which, actor_id="chief") == 4
            told = queues.changes(shared_queue.id).transitions[-4:]
            assert [each.item_id for each in told] == expected

    def test_a_reset_item_can_be_claimed_anew_by_whoever_had_it(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
        claim = take(queues, queue.id)
        queues.complete(claim, "label")
        assert not queues.claim(queue.id, "eve")
        queues.reset(queue.id, [item.id], actor_id="chief")
        again = take(queues, queue.id)
        assert (again.item.id, again.token) == (item.id, claim.token + 1)
        assert queues.progress(item.id)[0].annotation is None
        with pytest.raises(ClaimLost):
            queues.complete(claim, "late")
