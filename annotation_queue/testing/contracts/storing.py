"""Storing: compare-and-swap on records and queues, additions all or nothing, and the end of a repository's life."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import attrs
import pytest

from annotation_queue.errors import Conflict, QueueNotFound, StorageError
from annotation_queue.items import AnnotationQueue, Claim, NewItem, QueueItem, admit
from annotation_queue.moves import advance
from annotation_queue.query import ItemQuery, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.records import Change, ItemRecord, change_of, standing
from annotation_queue.states import IN_PROGRESS, UNREAD, AnnotationState, SkipPolicy, unstarted
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.repository import Repository
    from annotation_queue.testing.clock import Clock

COMPLETED, SKIPPED = AnnotationState.COMPLETED, AnnotationState.SKIPPED


def change(record: ItemRecord, annotator_id: str, state: AnnotationState, clock: Clock) -> tuple[ItemRecord, Change]:
    """Decide that an annotator without progress on the item goes to a state."""
    progress, transition = advance(
        unstarted(record.item_id, annotator_id, clock.now), state, at=clock.now, step=record.steps + 1
    )
    assert transition is not None
    return record, change_of(record, (progress,), (transition,))


def add(queues: AnnotationQueues, queue: AnnotationQueue, *calls: str) -> tuple[QueueItem, ...]:
    """Add a bare item for each call."""
    return queues.add_items(queue.id, [NewItem(call_id=call) for call in calls], added_by="ann").added


def record_of(repository: Repository, item: QueueItem) -> ItemRecord:
    """Read the record of an item, with every label."""
    return repository.get_records("project", [item.id], with_items=False, labels_of=None)[item.id]


Happening: TypeAlias = "Callable[[AnnotationQueues, AnnotationQueue, QueueItem], object]"
HAPPENINGS: dict[str, Happening] = {
    "the same annotator moved": lambda queues, _, item: queues.update_progress(item.id, "bob", SKIPPED),
    "another annotator moved": lambda queues, _, item: queues.update_progress(item.id, "eve", COMPLETED),
    "somebody claimed it": lambda queues, queue, _: queues.claim(queue.id, "eve"),
    "more annotations are needed": lambda queues, queue, _: queues.update(queue.id, annotations_per_item=2),
    "skips count otherwise": lambda queues, queue, _: queues.update(queue.id, skip_policy=SkipPolicy.REQUEUE),
    "the item was removed": lambda queues, queue, item: queues.remove_items(queue.id, [item.id]),
    "the queue was deleted": lambda queues, queue, _: queues.delete(queue.id),
}


class StoringContract(Contract):
    """Storing: compare-and-swap on records and queues, additions all or nothing, and the end of a repository's life."""

    def test_a_record_holds_the_queue_the_progresses_by_annotator_and_the_time_of_the_last_change(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        (item,) = add(queues, queue, "a")
        record = record_of(repository, item)
        assert (record.item_id, record.queue, record.progresses) == (item.id, queue, ())
        assert record.updated_at == item.updated_at
        at = clock.move(1)
        for annotator_id in ("é", "B", "a"):
            queues.update_progress(item.id, annotator_id, COMPLETED)
        later = record_of(repository, item)
        assert [each.annotator_id for each in later.progresses] == ["B", "a", "é"]
        assert later.updated_at == at
        assert later.revision != record.revision
        assert (record.steps, later.steps) == (0, 3)

    def test_a_record_is_found_in_its_own_queue_only(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        (item,) = add(queues, queue, "a")
        other = queues.create("other", created_by="ann")
        assert repository.get_records("project", [item.id], other.id, with_items=False) == {}
        with pytest.raises(QueueNotFound):
            repository.get_records("project", [item.id], "nothing", with_items=False)
        assert repository.get_records("another", [item.id], with_items=False) == {}

    def test_records_of_many_items_are_read_together_and_those_that_are_not_there_are_left_out(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        first, second, third = add(queues, queue, "a", "b", "c")
        queues.update_progress(second.id, "bob", COMPLETED)
        queues.remove_items(queue.id, [third.id])
        for queue_id in (None, queue.id):
            found = repository.get_records(
                "project", [second.id, "nothing", third.id, first.id], queue_id, with_items=False
            )
            assert {item_id: len(record.progresses) for item_id, record in found.items()} == {first.id: 0, second.id: 1}
        assert repository.get_records("project", [], with_items=True) == {}

    def test_records_of_items_of_several_queues_are_read_together(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        other = queues.create("other", created_by="ann", annotations_per_item=2)
        (here,), (there,) = add(queues, queue, "a"), add(queues, other, "a")
        found = repository.get_records("project", [here.id, there.id], with_items=True)
        assert {item_id: record.queue for item_id, record in found.items()} == {here.id: queue, there.id: other}
        assert {item_id: record.item for item_id, record in found.items()} == {here.id: here, there.id: there}
        queues.delete(other.id)
        with pytest.raises(QueueNotFound):
            repository.get_records("project", [here.id, there.id], with_items=True)

    def test_a_record_carries_the_item_in_the_aggregate_view_if_it_is_asked_for(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        (item,) = queues.add_items(queue.id, [NewItem(call_id="a", payload={"text": ["good"]})], added_by="ann").added
        queues.update_progress(item.id, "bob", COMPLETED)
        for with_items, expected in ((True, queues.get_item(item.id)), (False, None)):
            found = repository.get_records("project", [item.id], with_items=with_items)
            assert found[item.id].item == expected

    def test_a_label_that_is_not_asked_for_is_not_read_and_stays_as_it_is_when_its_progress_changes(
        self, repository: Repository, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue = queues.create("three", created_by="ann", annotations_per_item=3)
        (item,) = add(queues, queue, "a")
        for annotator_id in ("bob", "eve"):
            queues.update_progress(item.id, annotator_id, IN_PROGRESS, annotation={"of": [annotator_id]})
        record = repository.get_records("project", [item.id], with_items=False, labels_of=["eve"])[item.id]
        assert [each.annotation for each in record.progresses] == [UNREAD, {"of": ["eve"]}]
        at = clock.move(1)
        steps = range(record.steps + 1, record.steps + 3)
        moved = [advance(each, SKIPPED, at=at, step=n) for n, each in zip(steps, record.progresses, strict=True)]
        transitions = tuple(transition for _, transition in moved if transition is not None)
        repository.save([(record, change_of(record, tuple(progress for progress, _ in moved), transitions))])
        assert [each.annotation for each in queues.progress(item.id)] == [{"of": ["bob"]}, {"of": ["eve"]}]

    @pytest.mark.parametrize("happening", HAPPENINGS)
    def test_a_change_that_rests_on_what_is_no_longer_so_is_a_conflict_and_stores_nothing(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock, happening: str
    ) -> None:
        first, second = add(queues, queue, "a", "b")
        stale = change(record_of(repository, first), "bob", COMPLETED, clock)
        HAPPENINGS[happening](queues, queue, first)
        lives = happening not in {"the item was removed", "the queue was deleted"}
        before = (queues.progress(first.id), queues.history(first.id)) if lives else None
        with pytest.raises(Conflict):
            repository.save([stale])
        if lives:
            assert (queues.progress(first.id), queues.history(first.id)) == before
            # All of a step or none of it, whichever of the writes comes first.
            for order in (1, -1):
                fresh = change(record_of(repository, second), "bob", COMPLETED, clock)
                with pytest.raises(Conflict):
                    repository.save([fresh, stale][::order])
                assert (queues.progress(second.id), queues.history(second.id)) == ((), ())
            assert queues.stats([queue.id])[0].by_annotator.get("bob", {}).get(COMPLETED, 0) == 0

    def test_a_heartbeat_makes_older_records_stale_too(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        (item,) = add(queues, queue, "a")
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        stale = change(record_of(repository, item), "eve", COMPLETED, clock)
        clock.move(1)
        queues.heartbeat(claim)
        with pytest.raises(Conflict):
            repository.save([stale])

    def test_changes_of_several_items_are_stored_together(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        added = add(queues, queue, "a", "b", "c")
        at = clock.move(1)
        repository.save([change(record_of(repository, item), "bob", SKIPPED, clock) for item in added])
        for item in added:
            assert [(each.annotator_id, each.state) for each in queues.progress(item.id)] == [("bob", SKIPPED)]
            assert [each.to_state for each in queues.history(item.id)] == [SKIPPED]
            assert queues.get_item(item.id).updated_at == at
        assert queues.stats([queue.id])[0].finished_items == 3

    def test_a_change_without_transitions_moves_neither_history_nor_time(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        (item,) = add(queues, queue, "a")
        assert queues.claim(queue.id, "bob")
        before, history = queues.get_item(item.id), queues.history(item.id)
        record = record_of(repository, item)
        longer = attrs.evolve(record.progresses[0], lease_expires_at=clock.now + timedelta(days=1))
        repository.save([(record, change_of(record, (longer,), ()))])
        assert queues.progress(item.id) == (longer,)
        assert (queues.get_item(item.id), queues.history(item.id)) == (before, history)
        assert record_of(repository, item).revision != record.revision
        assert change_of(record, (longer,), ()).standing == standing((longer,), queue)

    def test_a_queue_that_changed_meanwhile_is_not_replaced(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        changed = queues.update(queue.id, name="theirs")
        with pytest.raises(Conflict):
            repository.replace_queue(queue, attrs.evolve(queue, name="ours"))
        assert queues.get(queue.id) == changed
        queues.delete(queue.id)
        with pytest.raises(QueueNotFound):
            repository.replace_queue(changed, attrs.evolve(changed, name="ours"))

    def test_items_are_made_in_order_once_each_and_never_for_duplicates(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        add(queues, queue, "b")
        made: list[str] = []

        def make(new: NewItem, into: AnnotationQueue) -> QueueItem:
            assert into == queue
            made.append(new.call_id)
            return admit(new, item_id=f"made-{len(made)}", queue=into, added_by="ann", at=clock.now)

        given = (NewItem(call_id=call) for call in "cbaca")
        result = repository.add_items("project", queue.id, given, make)
        assert made == [item.call_id for item in result.added] == ["c", "a"]
        assert result.duplicates == 3

    def test_when_an_item_cannot_be_made_nothing_is_added(
        self, repository: Repository, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        def make(new: NewItem, into: AnnotationQueue) -> QueueItem:
            if new.call_id == "c":
                message = "no more ids"
                raise LookupError(message)
            return admit(new, item_id=new.call_id, queue=into, added_by="ann", at=clock.now)

        with pytest.raises(LookupError, match="no more ids"):
            repository.add_items("project", queue.id, [NewItem(call_id=call) for call in "abcd"], make)
        assert queues.query_items(queue.id).items == ()
        assert queues.stats([queue.id])[0].total_items == 0
        assert len(add(queues, queue, *"abcd")) == 4

    def test_the_same_claim_on_another_queue_of_the_same_annotator_is_apart(self, queues: AnnotationQueues) -> None:
        one, other = queues.create("one", created_by="ann"), queues.create("other", created_by="ann")
        items = [add(queues, each, "a")[0] for each in (one, other)]
        assert queues.claim(one.id, "bob")
        assert queues.progress(items[1].id) == ()
        claim = queues.claim(other.id, "bob")
        assert isinstance(claim, Claim)
        assert (claim.item.id, claim.token) == (items[1].id, 1)

    def test_a_repository_is_closed_by_leaving_its_block(self) -> None:
        with self.make_repository() as repository:
            AnnotationQueues(repository, "project").create("queue", created_by="ann")
        with pytest.raises(StorageError):
            repository.query_queues("project", QueueQuery())

    def test_a_closed_repository_raises_a_storage_error_and_closes_twice(self) -> None:
        repository = self.make_repository()
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        added = add(queues, queue, "a", "b")
        claim = queues.claim(queue.id, "bob")
        assert claim
        repository.close()
        repository.close()
        operations: list[Callable[[], object]] = [
            lambda: queues.create("new", created_by="ann"),
            lambda: queues.get(queue.id),
            queues.query,
            lambda: queues.update(queue.id, name="new"),
            lambda: queues.delete(queue.id),
            lambda: queues.stats([queue.id]),
            lambda: queues.stats([]),
            lambda: queues.add_items(queue.id, [NewItem(call_id="c")], added_by="ann"),
            lambda: queues.add_items(queue.id, [], added_by="ann"),
            lambda: queues.get_item(added[1].id),
            lambda: queues.query_items(queue.id, ItemQuery(limit=0)),
            lambda: queues.remove_items(queue.id, [added[1].id]),
            lambda: queues.remove_items(queue.id, []),
            lambda: queues.progress(added[1].id),
            lambda: queues.history(added[1].id),
            lambda: queues.update_progress(added[1].id, "ann", SKIPPED),
            lambda: queues.claim(queue.id, "ann"),
            lambda: queues.complete(claim),
            lambda: queues.save_draft(claim, "draft"),
            lambda: queues.claim(queue.id, "bob", resume=True),
            lambda: queues.holds(queue.id, "bob"),
            lambda: queues.reset(queue.id, [added[0].id], actor_id="ann"),
            lambda: queues.labels(queue.id),
            lambda: queues.changes(queue.id),
            lambda: queues.throughput(queue.id),
            lambda: queues.get_or_create("queue", created_by="ann"),
        ]
        for operation in operations:
            with pytest.raises(StorageError):
                operation()
