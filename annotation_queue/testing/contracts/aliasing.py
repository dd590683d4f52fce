"""Aliases: what was given or got may be changed, and what is stored does not move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue.items import AnnotationQueue, Claim, NewItem, QueueItem
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemQuery
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from annotation_queue.items import QueueStats
    from annotation_queue.json_values import JsonValue
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.states import Progress

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
    "heartbeat by reference": lambda queues, item: queues.heartbeat(claimed(queues, item).ref).item,
    "draft": lambda queues, item: queues.save_draft(claimed(queues, item), "draft").item,
    "holds": lambda queues, item: queues.holds(item.queue_id, claimed(queues, item).annotator_id)[0].item,
    "resume": lambda queues, item: resumed(queues, claimed(queues, item)).item,
    "labels": lambda queues, item: (
        claimed(queues, item),
        queues.labels(item.queue_id, EVERY_LABEL).labels[0].item,
    )[1],
    "complete": lambda queues, item: queues.complete(claimed(queues, item)),
    "skip": lambda queues, item: queues.skip(claimed(queues, item)),
    "release": lambda queues, item: queues.release(claimed(queues, item)),
}


def _label_of(progresses: Iterable[Progress]) -> JsonValue:
    (own,) = progresses
    return own.annotation


LABEL_WRITES: dict[str, Callable[[AnnotationQueues, QueueItem, JsonValue], object]] = {
    "complete": lambda queues, item, label: queues.complete(claimed(queues, item), label),
    "batch": lambda queues, item, label: queues.complete_batch([(claimed(queues, item), label)]),
    "draft under a claim": lambda queues, item, label: queues.save_draft(claimed(queues, item), label),
    "direct draft": lambda queues, item, label: queues.update_progress(item.id, "bob", IN_PROGRESS, annotation=label),
    "revision": lambda queues, item, label: (
        queues.update_progress(item.id, "bob", COMPLETED),
        queues.update_progress(item.id, "bob", COMPLETED, annotation=label),
    ),
    "override": lambda queues, item, label: queues.update_progress(
        item.id, "bob", COMPLETED, annotation=label, actor_id="ann", override=True
    ),
}
DRAFTS = {"draft under a claim", "direct draft"}
EVERY_LABEL: LabelQuery = LabelQuery(states=frozenset(AnnotationState))
LABEL_READS: dict[str, Callable[[AnnotationQueues, QueueItem], JsonValue]] = {
    "progress": lambda queues, item: _label_of(queues.progress(item.id)),
    "labels": lambda queues, item: _label_of(
        each.progress for each in queues.labels(item.queue_id, EVERY_LABEL).labels
    ),
    "walk": lambda queues, item: _label_of(each.progress for each in queues.iter_labels(item.queue_id, EVERY_LABEL)),
    "history": lambda queues, item: queues.history(item.id)[-1].annotation,
    "changes": lambda queues, item: queues.changes(item.queue_id).transitions[-1].annotation,
}
LOG_READS = {"history", "changes"}


def claimed(queues: AnnotationQueues, item: QueueItem) -> Claim:
    """Claim the only item."""
    claim = queues.claim(item.queue_id, "bob")
    assert isinstance(claim, Claim)
    return claim


def resumed(queues: AnnotationQueues, claim: Claim) -> Claim:
    """Take up a claim again."""
    again = queues.claim(claim.item.queue_id, claim.annotator_id, resume=True)
    assert isinstance(again, Claim)
    return again


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

    @pytest.mark.parametrize("read", LABEL_READS)
    @pytest.mark.parametrize("way", LABEL_WRITES)
    def test_changing_a_label_that_was_given_or_read_elsewhere_changes_nothing_stored(
        self, queues: AnnotationQueues, item_with_payload: QueueItem, way: str, read: str
    ) -> None:
        label = payload()
        LABEL_WRITES[way](queues, item_with_payload, label)
        spoil(label)
        for _ in range(2):
            seen = LABEL_READS[read](queues, item_with_payload)
            # A draft is in no transition.
            assert seen == payload() or (way in DRAFTS and read in LOG_READS and seen is None)
            if seen is not None:
                spoil(seen)
        for again in sorted(LABEL_READS.keys() - (LOG_READS if way in DRAFTS else set())):
            assert LABEL_READS[again](queues, item_with_payload) == payload()

    def test_changing_a_schema_that_was_given_or_read_changes_nothing_stored(self, queues: AnnotationQueues) -> None:
        def schema() -> dict[str, JsonValue]:
            return {"type": "object", "properties": {"a": {"enum": [1, 2]}}}

        given = schema()
        reads: dict[str, Callable[[], AnnotationQueue]] = {
            "create": lambda: queues.create("queue", created_by="ann", queue_id="given", label_schema=schema()),
            "get": lambda: queues.get("given"),
            "query": lambda: queues.query().queues[0],
            "get_or_create": lambda: queues.get_or_create("queue", created_by="ann"),
            "update": lambda: queues.update("given", label_schema=schema()),
        }
        queues.create("queue", created_by="ann", queue_id="given", label_schema=given)
        spoil(given)
        for _ in range(2):
            for read in reads.values():
                seen = read().label_schema
                assert seen == schema()
                spoil(seen)
        changed: dict[str, JsonValue] = {"type": "array", "items": {"type": "string"}}
        after = queues.update("given", label_schema=changed)
        spoil(changed)
        spoil(after.label_schema)
        assert queues.get("given").label_schema == {"type": "array", "items": {"type": "string"}}

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
