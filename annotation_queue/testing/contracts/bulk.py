"""The list moves: items are changed, ranked anew, removed and restored many at a time, and erased for good."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import ClaimLost, InvalidValue, ItemNotFound, QueueNotFound
from annotation_queue.items import Claim, ItemPatch, NewItem, Purged, QueueItem
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.repository import CountsRemoved
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.repository import Repository
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState
SECOND = timedelta(seconds=1)


def calls(queues: AnnotationQueues, queue: AnnotationQueue, **wanted: object) -> list[str]:
    """List the calls of a queue's items, in queue order."""
    found = queues.query_items(queue.id, ItemQuery(filter=ItemFilter(**wanted)))  # type: ignore[arg-type]  # a test's own
    return [item.call_id for item in found.items]


class BulkContract(Contract):
    """The list moves: items are changed, ranked anew, removed and restored many at a time, and erased for good."""

    @pytest.fixture
    def listed(self, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock) -> dict[str, QueueItem]:
        """Four items in queue order, by call; it is a second later than when they were added."""
        news = [NewItem(call_id=call, call_op_name="op" if call in "ab" else "other") for call in "abcd"]
        added = queues.add_items(queue.id, news, added_by="ann").added
        clock.move(1)
        return {item.call_id: item for item in added}

    def test_a_patch_changes_what_it_gives_and_moves_the_time_and_nothing_else(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem], clock: Clock
    ) -> None:
        patch = ItemPatch(payload={"a": [1]}, display_fields=["a"])
        assert queues.update_items(queue.id, [listed["b"].id, listed["b"].id, "missing"], patch) == 1
        now = queues.get_item(listed["b"].id)
        assert (now.payload, now.display_fields, now.updated_at) == ({"a": [1]}, ("a",), clock.now)
        assert (now.priority, now.created_at, now.call_op_name) == (0, listed["b"].created_at, "op")
        assert queues.get_item(listed["a"].id) == listed["a"]
        assert calls(queues, queue) == ["a", "b", "c", "d"]

    def test_an_item_that_has_all_that_a_patch_says_is_not_changed_and_does_not_count(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem], clock: Clock
    ) -> None:
        everything = ItemPatch(
            priority=2, payload={"b": 1, "a": 1.0}, display_fields=(), assignees=["bob", "ann", "bob"]
        )
        assert queues.update_items(queue.id, ItemFilter(), everything) == 4
        changed_at = clock.now
        clock.move(1)
        assert queues.update_items(queue.id, ItemFilter(), everything) == 0
        assert queues.update_items(queue.id, [listed["a"].id], ItemPatch()) == 0
        now = queues.get_item(listed["a"].id)
        assert (now.updated_at, now.assignees) == (changed_at, ("ann", "bob"))
        # 1 and 1.0 are two numbers.
        assert queues.update_items(queue.id, [listed["a"].id], ItemPatch(payload={"b": 1, "a": 1})) == 1

    def test_an_items_time_never_goes_back(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem], clock: Clock
    ) -> None:
        clock.move(-3600)
        assert queues.update_items(queue.id, ItemFilter(), ItemPatch(priority=1)) == 4
        assert queues.get_item(listed["a"].id).updated_at == listed["a"].updated_at

    def test_new_priorities_are_the_order_of_pages_positions_and_claims(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem]
    ) -> None:
        first = queues.claim(queue.id, "bob")
        assert isinstance(first, Claim)
        ranks = {listed[call].id: rank for call, rank in zip("abcd", (0, 1, 3, 2), strict=True)}
        assert queues.reprioritise(queue.id, {**ranks, "missing": 7}) == 3
        assert calls(queues, queue) == ["c", "d", "b", "a"]
        placed = queues.get_item(listed["b"].id, include_position=True)
        assert (placed.priority, placed.position_in_queue) == (1, 3)
        granted = queues.claim_batch(queue.id, "cy", 9)
        assert [claim.item.call_id for claim in granted] == ["c", "d", "b"]
        assert queues.complete(first).annotation_state is COMPLETED
        assert queues.stats([queue.id])[0].by_state[IN_PROGRESS] == 3

    def test_an_annotator_who_settled_much_is_handed_what_moves_to_the_front(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue
    ) -> None:
        added = queues.add_items(shared_queue.id, [NewItem(call_id=call) for call in "abcd"], added_by="ann").added
        for claim in queues.claim_batch(shared_queue.id, "bob", 2):
            queues.complete(claim)
        peeked = queues.claim(shared_queue.id, "bob")
        assert isinstance(peeked, Claim)
        queues.release(peeked)
        assert queues.reprioritise(shared_queue.id, {added[3].id: 9}) == 1
        found = queues.claim(shared_queue.id, "bob")
        assert isinstance(found, Claim)
        assert found.item.call_id == "d"

    def test_what_was_read_before_an_update_is_not_written_over_it(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem]
    ) -> None:
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        queues.update_items(queue.id, ItemFilter(call_id="a"), ItemPatch(payload={"new": True}, assignees=["eve"]))
        done = queues.complete(claim, "label")
        assert done.annotation_state is COMPLETED
        now = queues.get_item(listed["a"].id)
        assert (now.payload, now.assignees, now.annotator_user_id) == ({"new": True}, ("eve",), "bob")

    def test_a_filter_chooses_what_is_changed_put_back_and_removed(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem]
    ) -> None:
        queues.update_progress(listed["c"].id, "bob", COMPLETED)
        assert queues.update_items(queue.id, ItemFilter(call_op_name={"op", "x"}), ItemPatch(priority=1)) == 2
        assert queues.update_items(queue.id, ItemFilter(finished=True), ItemPatch(priority=5)) == 1
        assert queues.update_items(queue.id, ItemFilter(call_id=()), ItemPatch(priority=9)) == 0
        assert calls(queues, queue) == ["c", "a", "b", "d"]
        assert queues.reset(queue.id, ItemFilter(finished=True), actor_id="boss") == 1
        assert queues.remove_items(queue.id, ItemFilter(call_op_name="op", finished=False)) == 2
        assert calls(queues, queue) == ["c", "d"]

    def test_a_walk_shows_every_item_that_stays_in_place_once_while_others_move(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem]
    ) -> None:
        page = queues.query_items(queue.id, ItemQuery(limit=2))
        queues.reprioritise(queue.id, {listed["a"].id: -1})
        rest = queues.query_items(queue.id, ItemQuery(cursor=page.next_cursor))
        shown = [item.call_id for item in (*page.items, *rest.items)]
        assert [call for call in shown if call != "a"] == ["b", "c", "d"]

    def test_in_an_unknown_queue_nothing_is_changed(
        self, queues: AnnotationQueues, listed: dict[str, QueueItem]
    ) -> None:
        item_id = listed["a"].id
        for call in (
            lambda: queues.update_items("missing", [item_id], ItemPatch(priority=1)),
            lambda: queues.reprioritise("missing", {item_id: 1}),
            lambda: queues.remove_items("missing", [item_id]),
            lambda: queues.restore_items("missing", [item_id]),
            lambda: queues.restore("missing"),
        ):
            with pytest.raises(QueueNotFound):
                call()

    def test_what_is_no_patch_or_priority_is_refused_with_its_field(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        for field, call in (
            ("patch", lambda: queues.update_items(queue.id, [], {"priority": 1})),  # type: ignore[arg-type]  # refused
            ("which", lambda: queues.update_items(queue.id, "ab", ItemPatch())),
            ("priority", lambda: ItemPatch(priority=True)),
            ("payload", lambda: ItemPatch(payload=[1])),  # type: ignore[arg-type]  # refused
            ("assignees[1]", lambda: ItemPatch(assignees=["ann", ""])),
            ("priorities", lambda: queues.reprioritise(queue.id, [("a", 1)])),  # type: ignore[arg-type]  # refused
            ("priorities['a']", lambda: queues.reprioritise(queue.id, {"a": 1.5})),  # type: ignore[dict-item]  # refused
            ("removed_before", lambda: queues.purge(removed_before=None)),  # type: ignore[arg-type]  # refused
        ):
            with pytest.raises(InvalidValue) as refused:
                call()
            assert refused.value.field == field

    def test_a_restored_item_has_its_progresses_its_history_and_its_place(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem], clock: Clock
    ) -> None:
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        queues.complete(claim, "label")
        before = (
            queues.progress(listed["a"].id),
            queues.history(listed["a"].id),
            queues.labels(queue.id).labels[0].progress,
        )
        held = queues.claim(queue.id, "cy", lease=60 * SECOND)
        assert isinstance(held, Claim)
        assert queues.remove_items(queue.id, [listed["a"].id, listed["b"].id]) == 2
        clock.move(1)
        assert queues.restore_items(queue.id, [listed["b"].id, listed["a"].id, listed["c"].id, "missing"]) == 2
        assert queues.restore_items(queue.id, [listed["a"].id]) == 0
        after = (
            queues.progress(listed["a"].id),
            queues.history(listed["a"].id),
            queues.labels(queue.id).labels[0].progress,
        )
        assert after == before
        now = queues.get_item(listed["a"].id, include_position=True)
        assert (now.position_in_queue, now.annotation_state, now.updated_at) == (1, COMPLETED, clock.now)
        assert [each.item.id for each in queues.holds(queue.id, "cy")] == [listed["b"].id]
        assert queues.complete(held, "late").annotation_state is COMPLETED
        stats = queues.stats([queue.id])[0]
        assert (stats.total_items, stats.finished_items, stats.settled_items) == (4, 2, 2)

    def test_an_item_is_not_restored_where_a_live_one_has_its_call(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem]
    ) -> None:
        queues.remove_items(queue.id, [listed["a"].id])
        (again,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
        assert queues.restore_items(queue.id, [listed["a"].id]) == 0
        queues.remove_items(queue.id, [again.id])
        assert queues.restore_items(queue.id, [again.id, listed["a"].id]) == 1
        assert queues.get_item(again.id).call_id == "a"

    def test_a_restored_item_stands_as_the_policies_are_by_then(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem]
    ) -> None:
        queues.update_progress(listed["a"].id, "bob", COMPLETED)
        queues.remove_items(queue.id, [listed["a"].id])
        queues.update(queue.id, annotations_per_item=2)
        queues.restore_items(queue.id, [listed["a"].id])
        found = queues.claim(queue.id, "cy")
        assert isinstance(found, Claim)
        assert found.item.id == listed["a"].id

    def test_a_restored_queue_has_all_that_was_in_it(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem], clock: Clock
    ) -> None:
        assert queues.restore(queue.id) == queue
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        queues.delete(queue.id)
        clock.move(1)
        restored = queues.restore(queue.id)
        assert (restored.deleted_at, restored.updated_at, restored.name) == (None, clock.now, queue.name)
        assert queues.get(queue.id) == restored
        assert queues.complete(claim).id == listed["a"].id
        assert calls(queues, queue) == ["a", "b", "c", "d"]

    def test_what_is_purged_is_gone_for_good_and_what_was_removed_later_is_not(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem], clock: Clock
    ) -> None:
        for call in "abc":
            queues.update_progress(listed[call].id, "bob", COMPLETED, annotation=call)
        start = queues.changes(queue.id, limit=1)
        queues.remove_items(queue.id, [listed["a"].id])
        removed_at = clock.now
        clock.move(1)
        queues.remove_items(queue.id, [listed["b"].id])
        other = queues.create("other", created_by="ann")
        queues.add_items(other.id, [NewItem(call_id="x")], added_by="ann")
        queues.delete(other.id)
        assert queues.purge(removed_before=removed_at).items == 0
        clock.move(1)
        purged = queues.purge(removed_before=removed_at + SECOND / 2)
        assert (purged.items, purged.queues) == (1, 0)
        assert queues.restore_items(queue.id, [listed["a"].id, listed["b"].id]) == 1
        told = queues.changes(queue.id).transitions
        assert [each.annotation for each in told] == ["b", "c"]
        assert queues.changes(queue.id, after=start.cursor).transitions == told
        assert queues.throughput(queue.id).settled == 2
        purged = queues.purge(removed_before=clock.now)
        assert (purged.items, purged.queues) == (0, 1)
        with pytest.raises(QueueNotFound):
            queues.restore(other.id)
        with pytest.raises(ItemNotFound):
            queues.history(listed["a"].id)
        assert [label.progress.annotation for label in queues.labels(queue.id).labels] == ["b", "c"]
        queues.update_progress(listed["d"].id, "bob", SKIPPED)
        assert len(queues.changes(queue.id).transitions) == 3

    def test_what_would_be_restored_or_purged_is_counted_and_stays_as_it_is(
        self,
        repository: Repository,
        queues: AnnotationQueues,
        queue: AnnotationQueue,
        listed: dict[str, QueueItem],
        clock: Clock,
    ) -> None:
        if not isinstance(repository, CountsRemoved):
            pytest.skip("the repository does not count what was removed")
        ids = [item.id for item in listed.values()]
        project = queues.project_id
        queues.remove_items(queue.id, ids[:3])
        (again, taken) = queues.add_items(queue.id, [NewItem(call_id=call) for call in "ab"], added_by="ann").added
        queues.remove_items(queue.id, [again.id])
        other = queues.create("other", created_by="ann")
        queues.add_items(other.id, [NewItem(call_id="x")], added_by="ann")
        queues.remove_items(other.id, ItemFilter())
        queues.delete(other.id)
        clock.move(1)
        asked = [*ids, again.id, taken.id, ids[0], "missing"]
        for _ in range(2):
            # Of the two that had the call "a" one comes back, and none where a live one has the call.
            assert repository.count_restorable(project, queue.id, asked) == 2
            assert repository.count_purgeable(project, clock.now) == Purged(items=4, queues=1)
        assert repository.count_purgeable(project, clock.now - SECOND) == Purged(items=0, queues=0)
        assert repository.count_purgeable("elsewhere", clock.now) == Purged(items=0, queues=0)
        with pytest.raises(QueueNotFound):
            repository.count_restorable("elsewhere", queue.id, asked)
        assert queues.restore_items(queue.id, asked) == 2
        assert repository.count_purgeable(project, clock.now) == Purged(items=2, queues=1)
        assert queues.purge(removed_before=clock.now) == Purged(items=2, queues=1)
        assert repository.count_purgeable(project, clock.now) == Purged(items=0, queues=0)

    def test_a_purge_takes_nothing_of_another_project(
        self,
        make_queues: Callable[..., AnnotationQueues],
        queues: AnnotationQueues,
        queue: AnnotationQueue,
        listed: dict[str, QueueItem],
        clock: Clock,
    ) -> None:
        queues = make_queues()
        queues.remove_items(queue.id, [listed["a"].id])
        clock.move(1)
        elsewhere = make_queues("elsewhere")
        assert elsewhere.purge(removed_before=clock.now).items == 0
        assert queues.restore_items(queue.id, [listed["a"].id]) == 1

    def test_what_is_made_after_a_purge_is_never_taken_for_what_was_purged(
        self, make_queues: Callable[..., AnnotationQueues], clock: Clock
    ) -> None:
        one, elsewhere = make_queues(), make_queues("elsewhere")
        gone = one.create("gone", created_by="ann", annotations_per_item=2)
        (item,) = one.add_items(gone.id, [NewItem(call_id="x", call_op_name="old")], added_by="ann").added
        assert one.claim(gone.id, "bob")
        one.delete(gone.id)
        clock.move(1)
        assert one.purge(removed_before=clock.now).queues == 1
        made = elsewhere.create("made", created_by="eve", queue_id=gone.id)
        elsewhere.add_items(made.id, [NewItem(call_id="y", call_op_name="new")], added_by="eve")
        assert elsewhere.get(made.id) == made
        with pytest.raises(QueueNotFound):
            one.get(made.id)
        with pytest.raises(ItemNotFound):
            one.get_item(item.id)
        assert [(each.call_id, each.call_op_name) for each in elsewhere.iter_items(made.id)] == [("y", "new")]
        assert elsewhere.claim(made.id, "bob")
        assert not elsewhere.claim(made.id, "dan")

    def test_a_claim_of_before_a_removal_is_lost_until_the_item_is_restored(
        self, queues: AnnotationQueues, queue: AnnotationQueue, listed: dict[str, QueueItem]
    ) -> None:
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        queues.remove_items(queue.id, ItemFilter(call_id="a"))
        with pytest.raises(ClaimLost):
            queues.heartbeat(claim)
        queues.restore_items(queue.id, [listed["a"].id])
        assert queues.heartbeat(claim).token == claim.token
