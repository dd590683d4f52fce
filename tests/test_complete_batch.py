"""Several completions in one step."""

from __future__ import annotations

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, ClaimLost, InvalidValue, NewItem, QueueItem


def new_queue(queues: AnnotationQueues, items: int, annotations_per_item: int = 1) -> str:
    queue_id = queues.create("Triage", created_by="ann", annotations_per_item=annotations_per_item).id
    queues.add_items(queue_id, [NewItem(call_id=f"call-{n}") for n in range(items)], added_by="ann")
    return queue_id


def test_a_batch_stores_every_label_and_answers_in_order(queues: AnnotationQueues) -> None:
    queue_id = new_queue(queues, 5)
    claims = queues.claim_batch(queue_id, "bob", 5)
    outcomes = queues.complete_batch((claim, {"n": n}) for n, claim in enumerate(claims))
    assert [outcome.id for outcome in outcomes if isinstance(outcome, QueueItem)] == [claim.item.id for claim in claims]
    assert [queues.progress(claim.item.id)[0].annotation for claim in claims] == [{"n": n} for n in range(5)]
    assert queues.stats([queue_id])[0].finished_items == 5


def test_a_lost_claim_keeps_none_of_the_others_from_being_stored(queues: AnnotationQueues) -> None:
    queue_id = new_queue(queues, 3)
    first, second, third = queues.claim_batch(queue_id, "bob", 3)
    queues.release(second)
    queues.remove_items(queue_id, [third.item.id])
    outcomes = queues.complete_batch([(first, "a"), (second, "b"), (third, "c")])
    assert isinstance(outcomes[0], QueueItem)
    assert [outcome.token for outcome in outcomes[1:] if isinstance(outcome, ClaimLost)] == [second.token, third.token]
    assert queues.stats([queue_id])[0].by_annotator == {"bob": {AnnotationState.COMPLETED: 1}}


def test_claims_of_two_annotators_on_one_item_are_both_stored(queues: AnnotationQueues) -> None:
    queue_id = new_queue(queues, 1, annotations_per_item=2)
    bob, carol = queues.claim(queue_id, "bob"), queues.claim(queue_id, "carol")
    assert bob
    assert carol
    queues.complete_batch([(bob, "b"), (carol, "c"), (bob, "again")])
    assert [(each.annotator_id, each.annotation) for each in queues.progress(bob.item.id)] == [
        ("bob", "b"),
        ("carol", "c"),
    ]
    assert len(queues.history(bob.item.id)) == 4


def test_a_label_that_is_no_json_stores_nothing(queues: AnnotationQueues) -> None:
    queue_id = new_queue(queues, 2)
    first, second = queues.claim_batch(queue_id, "bob", 2)
    with pytest.raises(InvalidValue, match=r"results\[1\]\.annotation"):
        queues.complete_batch([(first, "a"), (second, float("nan"))])
    assert queues.stats([queue_id])[0].settled_items == 0


def test_an_empty_batch_does_nothing(queues: AnnotationQueues) -> None:
    assert queues.complete_batch([]) == ()
