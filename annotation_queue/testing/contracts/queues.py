"""Queues: made, read, listed, changed, deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound
from annotation_queue.items import AnnotationQueue, Claim, NewItem
from annotation_queue.labels import LabelQuery
from annotation_queue.query import ItemFilter
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import AnnotationState, SkipPolicy
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from annotation_queue.repository import Repository
    from annotation_queue.testing.clock import Clock


class QueuesContract(Contract):
    """Queues: made, read, listed, changed, deleted."""

    def test_a_queue_has_what_it_was_made_with_and_defaults_for_the_rest(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        made = queues.create("Triage", created_by="ann")
        assert made == AnnotationQueue(
            id="id-000001",
            project_id="project",
            name="Triage",
            created_at=clock.now,
            created_by="ann",
            updated_at=clock.now,
        )
        assert queues.get(made.id) == made

    def test_every_field_of_a_queue_is_stored(self, queues: AnnotationQueues) -> None:
        made = queues.create(
            "é É ß _ 10 9 😀 % \\ '",
            created_by="ann",
            description="long\ntext",
            scorer_refs=(ref for ref in ["b", "a", "b"]),
            annotations_per_item=2**63 - 1,
            skip_policy=SkipPolicy.REQUEUE,
            lease=timedelta(days=3, microseconds=7),
            label_schema={"type": "object", "properties": {"é 😀": {"enum": [1, 1.5, None, "x"]}}},
        )
        assert made.scorer_refs == ("b", "a", "b")
        assert queues.get(made.id) == made

    def test_queues_may_share_a_name(self, queues: AnnotationQueues) -> None:
        one, other = queues.create("same", created_by="ann"), queues.create("same", created_by="ann")
        assert (queues.get(one.id), queues.get(other.id)) == (one, other)
        assert one.id != other.id

    @pytest.mark.parametrize("deleted", [False, True])
    def test_an_id_that_is_taken_by_any_queue_of_any_project_is_a_conflict(
        self, repository: Repository, clock: Clock, *, deleted: bool
    ) -> None:
        first = AnnotationQueues(repository, "one", clock=clock, new_id=lambda: "same")
        second = AnnotationQueues(repository, "two", clock=clock, new_id=lambda: "same")
        made = first.create("first", created_by="ann")
        if deleted:
            first.delete(made.id)
        for each in (first, second):
            with pytest.raises(Conflict):
                each.create("second", created_by="ann")
        assert second.query().queues == ()

    def test_an_update_changes_what_is_given_and_nothing_else(self, queues: AnnotationQueues, clock: Clock) -> None:
        made = queues.create("before", created_by="ann", description="kept")
        at = clock.move(10)
        changed = queues.update(made.id, name="after", scorer_refs=(ref for ref in ["x"]))
        assert changed == queues.get(made.id)
        assert (changed.name, changed.description, changed.scorer_refs) == ("after", "kept", ("x",))
        assert (changed.created_at, changed.updated_at) == (made.created_at, at)

    @pytest.mark.parametrize(
        "change",
        [
            {"description": "new"},
            {"scorer_refs": ["a"]},
            {"annotations_per_item": 3},
            {"skip_policy": SkipPolicy.REQUEUE},
            {"lease": timedelta(seconds=1)},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_each_field_can_be_changed_alone(self, queues: AnnotationQueues, change: dict[str, Any]) -> None:
        made = queues.create("queue", created_by="ann")
        changed = queues.update(made.id, **change)
        (name, value), *_ = change.items()
        assert getattr(queues.get(made.id), name) == getattr(changed, name)
        assert getattr(changed, name) == (tuple(value) if name == "scorer_refs" else value)
        assert getattr(changed, name) != getattr(made, name)

    def test_an_update_that_changes_nothing_leaves_the_time_of_the_last_change(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        made = queues.create("same", created_by="ann", scorer_refs=["a"])
        clock.move(10)
        assert queues.update(made.id) == made
        assert queues.update(made.id, name="same", scorer_refs=["a"], annotations_per_item=1) == made
        assert queues.get(made.id) == made

    def test_a_deleted_queue_is_given_back_with_its_time_and_is_gone(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        made, other = queues.create("gone", created_by="ann"), queues.create("stays", created_by="ann")
        at = clock.move(10)
        deleted = queues.delete(made.id)
        assert (deleted.id, deleted.deleted_at, deleted.updated_at) == (made.id, at, at)
        assert queues.query().queues == (other,)

    def test_every_operation_on_a_deleted_queue_or_what_is_in_it_is_queue_not_found(
        self, queues: AnnotationQueues
    ) -> None:
        queue = queues.create("gone", created_by="ann")
        added = queues.add_items(queue.id, [NewItem(call_id="a"), NewItem(call_id="b")], added_by="ann").added
        item = added[0].id
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        queues.delete(queue.id)
        for operation in (
            lambda: queues.get(queue.id),
            lambda: queues.update(queue.id, name="new"),
            lambda: queues.update(queue.id),
            lambda: queues.delete(queue.id),
            lambda: queues.stats([queue.id]),
            lambda: queues.add_items(queue.id, [], added_by="ann"),
            lambda: queues.query_items(queue.id),
            lambda: list(queues.iter_items(queue.id)),
            lambda: queues.remove_items(queue.id, [item]),
            lambda: queues.get_item(item),
            lambda: queues.get_item(item, queue_id=queue.id, include_position=True),
            lambda: queues.progress(item),
            lambda: queues.history(item),
            lambda: queues.update_progress(item, "ann", AnnotationState.COMPLETED),
            lambda: queues.claim(queue.id, "ann"),
            lambda: queues.claim_batch(queue.id, "ann", 2),
            lambda: queues.claim_batch(queue.id, "ann", 0),
            lambda: queues.complete(claim),
            lambda: queues.skip(claim),
            lambda: queues.release(claim),
            lambda: queues.heartbeat(claim),
            lambda: queues.heartbeat_batch([claim]),
            lambda: queues.save_draft(claim, "draft"),
            lambda: queues.complete_batch([(claim, "label")]),
            lambda: queues.heartbeat(claim.ref),
            lambda: queues.save_draft(claim.ref, "draft"),
            lambda: queues.complete(claim.ref),
            lambda: queues.claim(queue.id, "bob", resume=True),
            lambda: queues.holds(queue.id, "bob"),
            lambda: queues.reset(queue.id, [item], actor_id="ann"),
            lambda: queues.reset(queue.id, [], actor_id="ann"),
            lambda: queues.reset(queue.id, ItemFilter(), actor_id="ann"),
            lambda: queues.labels(queue.id),
            lambda: queues.labels(queue.id, LabelQuery(limit=0)),
            lambda: list(queues.iter_labels(queue.id)),
            lambda: queues.changes(queue.id),
            lambda: queues.throughput(queue.id),
        ):
            with pytest.raises(QueueNotFound) as missing:
                operation()
            assert missing.value.queue_id == queue.id

    def test_a_queue_that_never_was_is_not_found_and_its_items_neither(self, queues: AnnotationQueues) -> None:
        for operation in (
            lambda: queues.get("nothing"),
            lambda: queues.stats(["nothing"]),
            lambda: queues.claim("nothing", "ann"),
        ):
            with pytest.raises(QueueNotFound) as missing:
                operation()
            assert missing.value.queue_id == "nothing"
        with pytest.raises(ItemNotFound):
            queues.get_item("nothing")
