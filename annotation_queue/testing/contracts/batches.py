"""Several completions in one step."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import ClaimLost, InvalidValue
from annotation_queue.items import Claim, NewItem, QueueItem
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from annotation_queue.json_values import JsonValue
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

COMPLETED = AnnotationState.COMPLETED


def filled(queues: AnnotationQueues, items: int, annotations_per_item: int = 1) -> str:
    """Make a queue that holds some bare items."""
    queue_id = queues.create("Triage", created_by="ann", annotations_per_item=annotations_per_item).id
    queues.add_items(queue_id, [NewItem(call_id=f"call-{n}") for n in range(items)], added_by="ann")
    return queue_id


class BatchesContract(Contract):
    """Several completions in one step."""

    def test_a_batch_stores_every_label_and_answers_in_order(self, queues: AnnotationQueues) -> None:
        queue_id = filled(queues, 5)
        claims = queues.claim_batch(queue_id, "bob", 5)
        outcomes = queues.complete_batch((claim, {"n": n}) for n, claim in enumerate(claims))
        assert [outcome.id for outcome in outcomes if isinstance(outcome, QueueItem)] == [
            claim.item.id for claim in claims
        ]
        assert [queues.progress(claim.item.id)[0].annotation for claim in claims] == [{"n": n} for n in range(5)]
        assert queues.stats([queue_id])[0].finished_items == 5

    def test_a_label_that_is_no_json_stores_nothing(self, queues: AnnotationQueues) -> None:
        queue_id = filled(queues, 2)
        first, second = queues.claim_batch(queue_id, "bob", 2)
        with pytest.raises(InvalidValue, match=r"results\[1\]\.annotation"):
            queues.complete_batch([(first, "a"), (second, float("nan"))])
        assert queues.stats([queue_id])[0].settled_items == 0

    def test_an_empty_batch_does_nothing(self, queues: AnnotationQueues) -> None:
        assert queues.complete_batch([]) == ()

    def test_a_batch_of_completions_stores_what_is_held_and_says_which_claims_are_lost(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue_id = filled(queues, 5)
        claim = queues.claim(queue_id, "bob", lease=timedelta(seconds=60))
        assert isinstance(claim, Claim)
        expired, removed, finished, live = queues.claim_batch(queue_id, "bob", 4, lease=timedelta(seconds=100))
        queues.remove_items(queue_id, [removed.item.id])
        queues.complete(finished, "first label")
        clock.move(60)
        taken = queues.claim(queue_id, "eve")
        assert isinstance(taken, Claim)
        assert taken.item.id == claim.item.id
        at = clock.move(40)
        history = queues.history(claim.item.id)
        results: list[tuple[Claim, JsonValue]] = [
            (live, {"label": 1}),
            (claim, "stale"),
            (removed, "late"),
            (finished, None),
            (expired, None),
        ]
        outcomes = queues.complete_batch(results)
        assert [type(outcome) for outcome in outcomes] == [QueueItem, ClaimLost, ClaimLost, QueueItem, QueueItem]
        for (each, _), outcome in zip(results, outcomes, strict=True):
            if isinstance(outcome, ClaimLost):
                assert (outcome.item_id, outcome.annotator_id, outcome.token) == (each.item.id, "bob", 1)
            else:
                assert outcome == queues.get_item(each.item.id, annotator_id="bob")
                assert outcome.annotation_state is COMPLETED
        assert queues.history(claim.item.id) == history
        assert queues.progress(live.item.id)[0].annotation == {"label": 1}
        assert queues.progress(live.item.id)[0].updated_at == at
        assert queues.progress(finished.item.id)[0].annotation == "first label"
        assert len(queues.history(finished.item.id)) == 2

    def test_a_batch_may_complete_the_same_item_for_several_annotators_and_the_same_claim_twice(
        self, queues: AnnotationQueues
    ) -> None:
        queue_id = filled(queues, 1, annotations_per_item=2)
        claim, other = queues.claim(queue_id, "bob"), queues.claim(queue_id, "eve")
        assert isinstance(claim, Claim)
        assert isinstance(other, Claim)
        outcomes = queues.complete_batch((each, label) for each, label in [(claim, 1), (other, 2), (claim, 3)])
        assert [outcome.annotator_user_id for outcome in outcomes if isinstance(outcome, QueueItem)] == [
            "bob",
            "eve",
            "bob",
        ]
        assert [each.annotation for each in queues.progress(claim.item.id)] == [3, 2]
        labels = [each.annotation for each in queues.history(claim.item.id) if each.to_state is COMPLETED]
        assert labels == [1, 2, 3]
