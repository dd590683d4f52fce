"""Histories: every change once, in order, and folding them gives the states."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import ClaimLost, InvalidTransition, ItemNotFound
from annotation_queue.items import AnnotationQueue, Claim, NewItem, QueueItem
from annotation_queue.states import REOPENABLE, AnnotationState, Transition, fold, fold_labels
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState


class HistoryContract(Contract):
    """Histories: every change once, in order, and folding them gives the states."""

    def test_a_new_item_has_no_history(self, queues: AnnotationQueues, shared_item: QueueItem) -> None:
        assert queues.history(shared_item.id) == ()
        with pytest.raises(ItemNotFound):
            queues.history("nothing")

    def test_every_change_is_appended_with_its_states_time_and_reason(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        steps = [
            ("bob", UNSTARTED, IN_PROGRESS, "curious é 😀"),
            ("eve", UNSTARTED, SKIPPED, ""),
            ("bob", IN_PROGRESS, UNSTARTED, None),
            ("bob", UNSTARTED, COMPLETED, "a\nb"),
        ]
        expected = []
        for annotator_id, before, after, reason in steps:
            at = clock.move(0.000001)
            queues.update_progress(shared_item.id, annotator_id, after, reason=reason)
            expected.append(
                Transition(
                    item_id=shared_item.id,
                    annotator_id=annotator_id,
                    from_state=before,
                    to_state=after,
                    at=at,
                    reason=reason,
                    actor_id=annotator_id,
                )
            )
            assert queues.history(shared_item.id) == tuple(expected)

    def test_changes_at_the_same_time_stay_in_the_order_in_which_they_were_made(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        made = ["z", "a", "é", "B", "a", "z"]
        for index, annotator_id in enumerate(made):
            queues.update_progress(shared_item.id, annotator_id, IN_PROGRESS if index < 4 else UNSTARTED)
        clock.move(-3_600)
        queues.update_progress(shared_item.id, "late", COMPLETED)
        history = queues.history(shared_item.id)
        assert [each.annotator_id for each in history] == [*made, "late"]
        assert history[-1].at < history[0].at

    def test_what_is_refused_or_changes_nothing_leaves_no_history(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, shared_item: QueueItem
    ) -> None:
        claim = queues.claim(shared_queue.id, "bob")
        assert isinstance(claim, Claim)
        queues.complete(claim)
        before = queues.history(shared_item.id)
        queues.complete(claim)
        queues.update_progress(shared_item.id, "bob", COMPLETED)
        queues.update_progress(shared_item.id, "eve", UNSTARTED)
        for refused, error in (
            (lambda: queues.update_progress(shared_item.id, "bob", IN_PROGRESS), InvalidTransition),
            (lambda: queues.release(claim), ClaimLost),
            (lambda: queues.heartbeat(claim), ClaimLost),
        ):
            with pytest.raises(error):
                refused()
        assert queues.history(shared_item.id) == before
        assert len(before) == 2

    @pytest.mark.parametrize("seed", range(8))
    def test_folding_the_history_gives_the_states_and_the_labels_and_no_label_that_was_acknowledged_is_missing(
        self, make_queues: Callable[..., AnnotationQueues], clock: Clock, seed: int
    ) -> None:
        chance = random.Random(seed)  # noqa: S311 - a reproducible choice, no secret
        queues = make_queues(workflow=REOPENABLE)
        queue = queues.create("queue", created_by="ann", annotations_per_item=2)
        added = queues.add_items(queue.id, (NewItem(call_id=call) for call in "abc"), added_by="ann").added
        claims: list[Claim] = []
        acknowledged: set[tuple[str, str, str]] = set()
        for turn in range(120):
            clock.move(chance.choice([0, 0, 1, 100, 400, -150]))
            who = chance.choice(["bob", "eve", "é"])
            try:
                match chance.randrange(4):
                    case 0 if claim := queues.claim(queue.id, who):
                        claims.append(claim)
                    case 1 if claims:
                        claim = chance.choice(claims)
                        if chance.randrange(2):
                            queues.complete(claim, f"label {turn}")
                            acknowledged.add((claim.item.id, claim.annotator_id, f"label {turn}"))
                        else:
                            acts: list[Callable[[Claim], object]] = [queues.skip, queues.release, queues.heartbeat]
                            chance.choice(acts)(claim)
                    case _:
                        item_id, state = chance.choice(added).id, chance.choice(list(AnnotationState))
                        label = None if state is UNSTARTED else f"label {turn}"
                        queues.update_progress(item_id, who, state, annotation=label)
                        if state is COMPLETED:
                            acknowledged.add((item_id, who, f"label {turn}"))
            except (ClaimLost, InvalidTransition):
                pass
            for item in added if turn % 10 == 9 else ():
                history, progresses = queues.history(item.id), queues.progress(item.id)
                assert fold(history) == {each.annotator_id: each.state for each in progresses}
                labels = {each.annotator_id: each.annotation for each in progresses if each.state is COMPLETED}
                assert fold_labels(history) == labels
                starts = [
                    each.annotator_id
                    for each in history
                    if each.to_state is IN_PROGRESS or (each.from_state is UNSTARTED and each.to_state is not UNSTARTED)
                ]
                assert all(each.token == starts.count(each.annotator_id) for each in progresses)
                last = max([item.created_at, *(each.at for each in history)])
                assert queues.get_item(item.id).updated_at == last
        told = {(each.item_id, each.annotator_id, each.annotation) for each in queues.changes(queue.id).transitions}
        assert acknowledged <= told
        assert len(acknowledged) > 5
        assert sum(len(queues.history(item.id)) for item in added) > 30

    def test_the_history_of_a_removed_item_is_gone_and_that_of_its_successor_starts_anew(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, shared_item: QueueItem
    ) -> None:
        queues.update_progress(shared_item.id, "bob", COMPLETED)
        queues.remove_items(shared_queue.id, [shared_item.id])
        with pytest.raises(ItemNotFound):
            queues.history(shared_item.id)
        again = queues.add_items(shared_queue.id, [NewItem(call_id="a")], added_by="ann").added[0]
        assert queues.history(again.id) == ()
