"""A queue's log: read on and on, nothing missed and nothing twice, and the pace that it tells."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.changes import Settlement, Throughput
from annotation_queue.errors import InvalidCursor, QueueNotFound
from annotation_queue.items import AnnotationQueue, Claim, NewItem, QueueItem
from annotation_queue.states import AnnotationState, SkipPolicy, fold, fold_labels
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.repository import Repository
    from annotation_queue.states import Transition
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState


def fill(queues: AnnotationQueues, queue_id: str, calls: str) -> dict[str, QueueItem]:
    """Add a bare item for each letter."""
    added = queues.add_items(queue_id, [NewItem(call_id=call) for call in calls], added_by="ann").added
    return {item.call_id: item for item in added}


def follow(queues: AnnotationQueues, queue_id: str, after: str | None, limit: int) -> tuple[list[Transition], str]:
    """Read on to the end, a page at a time."""
    read: list[Transition] = []
    for _ in range(1_000):
        page = queues.changes(queue_id, after=after, limit=limit)
        assert len(page.transitions) <= limit
        read += page.transitions
        after = page.cursor
        if not page.transitions:
            return read, after
    raise AssertionError("the log does not end")


class ChangesContract(Contract):
    """A queue's log: read on and on, nothing missed and nothing twice, and the pace that it tells."""

    def test_the_log_has_every_change_of_the_queue_in_the_order_in_which_it_was_stored(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, clock: Clock
    ) -> None:
        items = fill(queues, shared_queue.id, "abc")
        made = [("c", "bob", IN_PROGRESS), ("a", "bob", COMPLETED), ("c", "bob", UNSTARTED), ("b", "eve", SKIPPED)]
        for number, (call, who, state) in enumerate(made):
            clock.move(-number)
            queues.update_progress(items[call].id, who, state)
        queues.update_progress(items["a"].id, "bob", COMPLETED, annotation="corrected")
        page = queues.changes(shared_queue.id)
        told = [(each.item_id, each.annotator_id, each.to_state) for each in page.transitions]
        assert told == [(items[call].id, who, state) for call, who, state in (*made, ("a", "bob", COMPLETED))]
        for item in items.values():
            assert queues.history(item.id) == tuple(each for each in page.transitions if each.item_id == item.id)

    def test_what_is_stored_in_one_step_is_in_the_log_in_its_order(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, clock: Clock
    ) -> None:
        items = fill(queues, shared_queue.id, "abcd")
        claims = queues.claim_batch(shared_queue.id, "bob", 4)
        assert [each.item_id for each in queues.changes(shared_queue.id).transitions] == [
            item.id for item in items.values()
        ]
        cursor = queues.changes(shared_queue.id).cursor
        queues.complete_batch([(claims[n], n) for n in (2, 0, 3)])
        page = queues.changes(shared_queue.id, after=cursor)
        assert [(each.item_id, each.annotation) for each in page.transitions] == [
            (claims[n].item.id, n) for n in (2, 0, 3)
        ]
        clock.move(1_000)
        assert isinstance(queues.claim(shared_queue.id, "eve"), Claim)
        assert isinstance(queues.claim(shared_queue.id, "eve"), Claim)
        last = queues.changes(shared_queue.id, after=page.cursor).transitions
        assert [(each.annotator_id, each.reason, each.actor_id) for each in last] == [
            ("eve", None, "eve"),
            ("bob", "lease expired", None),
            ("eve", None, "eve"),
        ]

    @pytest.mark.parametrize("limit", [1, 2, 3, 1_000])
    def test_who_follows_the_cursors_sees_every_change_once_and_in_order(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, clock: Clock, limit: int
    ) -> None:
        items = [item.id for item in fill(queues, shared_queue.id, "abcde").values()]
        seen: list[Transition] = []
        cursor: str | None = None
        for turn in range(12):
            clock.move([0, 1, -100][turn % 3])
            for item_id in items[turn % 4 : turn % 4 + 2]:
                queues.update_progress(item_id, f"who {turn % 3}", COMPLETED, annotation=turn)
            read, cursor = follow(queues, shared_queue.id, cursor, limit)
            seen += read
            if turn == 6:
                queues.remove_items(shared_queue.id, [items.pop()])
                queues.reset(shared_queue.id, items[:2], actor_id="chief")
        read, cursor = follow(queues, shared_queue.id, cursor, limit)
        assert (*seen, *read) == queues.changes(shared_queue.id).transitions
        for item_id in items:
            history = [each for each in seen if each.item_id == item_id]
            assert tuple(history) == queues.history(item_id)
            states = {each.annotator_id: each.state for each in queues.progress(item_id)}
            labels = {
                each.annotator_id: each.annotation for each in queues.progress(item_id) if each.state is COMPLETED
            }
            assert (fold(history), fold_labels(history)) == (states, labels)

    def test_an_empty_page_has_a_cursor_that_goes_on_where_the_log_goes_on(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        items = fill(queues, queue.id, "a")
        empty = queues.changes(queue.id)
        assert empty.transitions == ()
        assert queues.changes(queue.id, after=empty.cursor).transitions == ()
        queues.update_progress(items["a"].id, "bob", COMPLETED)
        page = queues.changes(queue.id, after=empty.cursor)
        assert len(page.transitions) == 1
        assert queues.changes(queue.id, after=page.cursor).transitions == ()
        queues.update_progress(items["a"].id, "bob", COMPLETED, annotation="more")
        for after in (page.cursor, queues.changes(queue.id, after=empty.cursor, limit=1).cursor):
            assert [each.annotation for each in queues.changes(queue.id, after=after).transitions] == ["more"]

    def test_the_log_keeps_what_happened_on_removed_items(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        items = fill(queues, queue.id, "ab")
        for item in items.values():
            queues.update_progress(item.id, "bob", COMPLETED, annotation=item.call_id)
        before = queues.changes(queue.id)
        queues.remove_items(queue.id, [items["a"].id])
        after = queues.changes(queue.id)
        assert after.transitions == before.transitions
        assert queues.changes(queue.id, after=before.cursor).transitions == ()
        assert [each.annotation for each in after.transitions] == ["a", "b"]

    def test_a_page_of_large_labels_may_end_early_and_who_follows_sees_them_all(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        items = fill(queues, queue.id, "abcde")
        labels = [letter * 900_000 for letter in items]
        for item, label in zip(items.values(), labels, strict=True):
            queues.update_progress(item.id, "bob", COMPLETED, annotation=label)
        read, _ = follow(queues, queue.id, None, 1_000)
        assert [each.annotation for each in read] == labels

    def test_what_changes_nothing_is_not_in_the_log(
        self, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        fill(queues, queue.id, "a")
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        before = queues.changes(queue.id)
        clock.move(1)
        queues.save_draft(claim, "draft")
        queues.heartbeat_batch([claim, claim.ref])
        queues.update_progress(claim.item.id, "bob", IN_PROGRESS, annotation="another draft")
        queues.claim(queue.id, "bob", resume=True)
        queues.holds(queue.id, "bob")
        assert queues.changes(queue.id).transitions == before.transitions

    def test_a_cursor_holds_for_its_queue_only(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        other = queues.create("other", created_by="ann")
        cursor = queues.changes(queue.id).cursor
        for bad in (f"{cursor}A", cursor[:-1], "x", queues.changes(other.id).cursor):
            with pytest.raises(InvalidCursor):
                queues.changes(queue.id, after=bad)
        with pytest.raises(InvalidCursor):
            queues.changes(other.id, after=cursor)
        queues.delete(queue.id)
        with pytest.raises(QueueNotFound):
            queues.changes(queue.id, after=cursor)

    # The pace

    def test_what_was_settled_within_the_window_is_counted_and_revisions_are_not(
        self, queues: AnnotationQueues, shared_queue: AnnotationQueue, clock: Clock
    ) -> None:
        items = fill(queues, shared_queue.id, "abcd")
        queues.update_progress(items["a"].id, "bob", COMPLETED)
        clock.move(3_600)
        queues.update_progress(items["b"].id, "eve", IN_PROGRESS)
        clock.move(10)
        queues.update_progress(items["b"].id, "eve", COMPLETED)
        queues.update_progress(items["c"].id, "bob", SKIPPED)
        queues.update_progress(items["a"].id, "bob", COMPLETED, annotation="a revision")
        queues.update_progress(items["d"].id, "bob", IN_PROGRESS)
        clock.move(30)
        queues.update_progress(items["d"].id, "bob", COMPLETED)
        clock.move(60)
        assert queues.throughput(shared_queue.id) == Throughput(
            settled=3,
            by_annotator={"bob": 2, "eve": 1},
            per_hour=3.0,
            median_seconds=20.0,
            left=4,
            eta=timedelta(hours=4),
        )
        minute = queues.throughput(shared_queue.id, window=timedelta(seconds=60, microseconds=1))
        assert (minute.settled, minute.by_annotator, minute.median_seconds) == (1, {"bob": 1}, 30.0)
        # A step counts if it is later than the start of the window.
        assert queues.throughput(shared_queue.id, window=timedelta(seconds=60)).settled == 0

    def test_without_a_settlement_there_is_no_rate_and_the_end_is_not_known(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        fill(queues, queue.id, "ab")
        expected = Throughput(settled=0, by_annotator={}, per_hour=0.0, median_seconds=None, left=2, eta=None)
        assert queues.throughput(queue.id) == expected

    def test_what_was_settled_counts_whatever_came_after_it(self, queues: AnnotationQueues, clock: Clock) -> None:
        queue = queues.create("queue", created_by="ann", skip_policy=SkipPolicy.REQUEUE)
        items = fill(queues, queue.id, "abc")
        for call, state in (("a", COMPLETED), ("b", COMPLETED), ("c", SKIPPED)):
            queues.update_progress(items[call].id, "bob", state)
        queues.reset(queue.id, [items["a"].id], actor_id="chief")
        queues.remove_items(queue.id, [items["b"].id])
        clock.move(1)
        told = queues.throughput(queue.id)
        assert (told.settled, told.left, told.eta) == (3, 2, timedelta(minutes=40))

    def test_settlements_are_told_in_the_order_in_which_they_were_stored_with_their_starts(
        self, repository: Repository, queues: AnnotationQueues, shared_queue: AnnotationQueue, clock: Clock
    ) -> None:
        items = fill(queues, shared_queue.id, "ab")
        since = clock.now
        first = clock.move(10)
        queues.update_progress(items["a"].id, "bob", IN_PROGRESS)
        clock.move(5)
        queues.update_progress(items["a"].id, "bob", COMPLETED, annotation={"deep": []})
        # The clocks go back, and what they say counts.
        clock.move(-20)
        queues.update_progress(items["b"].id, "bob", COMPLETED)
        clock.move(8)
        queues.update_progress(items["b"].id, "eve", SKIPPED)
        told = repository.settled_since("project", shared_queue.id, since)
        history = queues.changes(shared_queue.id).transitions
        assert told == (Settlement(history[1], first), Settlement(history[3], None))
