"""Aliases: what was given or got may be changed, and what is stored does not move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue.items import AnnotationQueue, Claim, NewItem, QueueItem
from annotation_queue.query import ItemQuery
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.items import QueueStats
    from annotation_queue.json_values import JsonValue
    from annotation_queue.queues import AnnotationQueues

COMPLETED, IN_PROGRESS = AnnotationState.COMPLETED, AnnotationState.IN_PROGRESS


def payload() -> dict[str, JsonValue]:
    """Make a payload with parts that can be changed."""
    return {"text": "a", "deep": {"list": [1, {"b": 2}]}}


def spoil(value: Any) -> None:  # noqa: ANN401 - any JSON
    """Change everything in a JSON value that can be changed."""
    for part in list(value.values() if isinstance(value, dict) else value):
        if isinstance(part, dict | list):
            spoil(part)
    value.clear()
    (value.append if isinstance(value, list) else lambda spoilt: value.update(x=spoilt))("spoilt")


READS: dict[str, Callable[[AnnotationQueues, QueueItem], QueueItem]] = {
    "get": lambda queues, item: queues.get_item(item.id),
    "perspective": lambda queues, item: queues.get_item(item.id, annotator_id="bob"),
    "position": lambda queues, item: queues.get_item(item.id, include_position=True),
    "query": lambda queues, item: queues.query_items(item.queue_id).items[0],
    "query in a perspective": lambda queues, item: queues.query_items(
        item.queue_id, ItemQuery(annotator_id="bob", include_position=True)
    ).items[0],
    "walk": lambda queues, item: next(queues.iter_items(item.queue_id)),
    "update": lambda queues, item: queues.update_progress(item.id, "bob", IN_PROGRESS),
    "update that changes nothing": lambda queues, item: queues.update_progress(
        item.id, "eve", AnnotationState.UNSTARTED
    ),
    "claim": lambda queues, item: claimed(queues, item).item,
    "heartbeat": lambda queues, item: queues.heartbeat(claimed(queues, item)).item,
    "complete": lambda queues, item: queues.complete(claimed(queues, item)),
    "skip": lambda queues, item: queues.skip(claimed(queues, item)),
    "release": lambda queues, item: queues.release(claimed(queues, item)),
}


def claimed(queues: AnnotationQueues, item: QueueItem) -> Claim:
    """Claim the only item."""
    claim = queues.claim(item.queue_id, "bob")
    assert isinstance(claim, Claim)
    return claim


class AliasingContract(Contract):
    """Aliases: what was given or got may be changed, and what is stored does not move."""

    @pytest.fixture
    def item_with_payload(self, queues: AnnotationQueues, queue: AnnotationQueue) -> QueueItem:
        """An item with a payload."""
        return queues.add_items(queue.id, [NewItem(call_id="a", payload=payload())], added_by="ann").added[0]

    def test_changing_what_was_added_changes_nothing_stored(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        given, fields = payload(), ["x", "y"]
        new = NewItem(call_id="a", payload=given, display_fields=fields)
        spoil(given)
        fields.clear()
        added = queues.add_items(queue.id, [new], added_by="ann").added[0]
        assert new.payload == payload()
        assert new.payload is not None
        spoil(new.payload)
        again = queues.get_item(added.id)
        assert (again.payload, again.display_fields) == (payload(), ("x", "y"))
        assert added.payload == payload()

    def test_one_new_item_added_to_two_queues_is_two_items_that_share_nothing(self, queues: AnnotationQueues) -> None:
        new = NewItem(call_id="a", payload=payload())
        made = [queues.create(name, created_by="ann") for name in "ab"]
        first, second = (queues.add_items(queue.id, [new], added_by="ann").added[0] for queue in made)
        spoil(first.payload)
        assert second.payload == queues.get_item(first.id).payload == queues.get_item(second.id).payload == payload()

    @pytest.mark.parametrize("read", READS)
    def test_changing_the_payload_of_an_item_that_was_read_changes_nothing_stored(
        self, queues: AnnotationQueues, item_with_payload: QueueItem, read: str
    ) -> None:
        seen = READS[read](queues, item_with_payload)
        assert seen.payload == payload()
        spoil(seen.payload)
        spoil(item_with_payload.payload)
        for again in ("get", "query", "query in a perspective"):
            assert READS[again](queues, item_with_payload).payload == payload()

    @pytest.mark.parametrize("way", ["update", "complete", "draft"])
    def test_changing_a_label_that_was_given_or_read_changes_nothing_stored(
        self, queues: AnnotationQueues, item_with_payload: QueueItem, way: str
    ) -> None:
        label = payload()
        if way == "complete":
            queues.complete(claimed(queues, item_with_payload), label)
        else:
            queues.update_progress(
                item_with_payload.id, "bob", COMPLETED if way == "update" else IN_PROGRESS, annotation=label
            )
        spoil(label)
        (read,) = queues.progress(item_with_payload.id)
        assert read.annotation == payload()
        spoil(read.annotation)
        assert queues.progress(item_with_payload.id)[0].annotation == payload()
        if way == "draft":
            queues.update_progress(item_with_payload.id, "bob", COMPLETED)
            assert queues.progress(item_with_payload.id)[0].annotation == payload()

    def test_a_claim_whose_item_was_changed_still_finishes_what_is_stored(
        self, queues: AnnotationQueues, item_with_payload: QueueItem
    ) -> None:
        claim = claimed(queues, item_with_payload)
        spoil(claim.item.payload)
        # The answer carries a copy of what the claim carries by now; what is stored is what was added.
        answered = queues.complete(claim)
        assert answered.payload == claim.item.payload
        assert answered.payload is not None
        answered.payload["y"] = "again"
        assert answered.payload != claim.item.payload
        assert queues.get_item(item_with_payload.id).payload == payload()

    def test_a_claim_whose_payload_is_no_json_any_more_is_finished_all_the_same(
        self, queues: AnnotationQueues, item_with_payload: QueueItem
    ) -> None:
        claim = claimed(queues, item_with_payload)
        assert claim.item.payload is not None
        claim.item.payload["not JSON"] = {1, 2}  # type: ignore[assignment]
        assert queues.complete(claim, "good").annotation_state is COMPLETED
        assert queues.get_item(item_with_payload.id).payload == payload()

    def test_a_list_of_references_may_be_changed_after_it_was_given(self, queues: AnnotationQueues) -> None:
        references = ["a", "b"]
        queue = queues.create("queue", created_by="ann", scorer_refs=references)
        references.append("c")
        assert queues.get(queue.id).scorer_refs == ("a", "b")
        queues.update(queue.id, scorer_refs=references)
        references.clear()
        assert queues.get(queue.id).scorer_refs == ("a", "b", "c")

    def test_changing_statistics_changes_nothing_stored(
        self, queues: AnnotationQueues, item_with_payload: QueueItem
    ) -> None:
        queues.update_progress(item_with_payload.id, "bob", COMPLETED)

        def read() -> QueueStats:
            return queues.stats([item_with_payload.queue_id])[0]

        before, mine = read(), read()
        for mapping in (mine.by_state, mine.by_annotator["bob"], mine.by_annotator):
            if isinstance(mapping, dict):
                mapping.clear()
        assert read() == before
        assert before.by_annotator == {"bob": {COMPLETED: 1}}
