"""Statistics: the same numbers as a count of everything by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import QueueNotFound
from annotation_queue.items import AnnotationQueue, NewItem, QueueStats
from annotation_queue.states import REOPENABLE, AnnotationState, SkipPolicy
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState

NOBODY = dict.fromkeys(AnnotationState, 0)


def count(queues: AnnotationQueues, queue_id: str) -> QueueStats:
    """Count by reading every item and every progress."""
    queue, items = queues.get(queue_id), queues.query_items(queue_id).items
    progresses = {item.id: queues.progress(item.id) for item in items}
    done = {item_id: [each.state for each in found] for item_id, found in progresses.items()}
    final = {COMPLETED, SKIPPED} if queue.skip_policy is SkipPolicy.FINAL else {COMPLETED}
    by_annotator: dict[str, Counter[AnnotationState]] = {}
    for each in itertools.chain.from_iterable(progresses.values()):
        if each.state is not UNSTARTED:
            by_annotator.setdefault(each.annotator_id, Counter())[each.state] += 1
    return QueueStats(
        queue_id=queue_id,
        total_items=len(items),
        by_state={state: sum(item.annotation_state is state for item in items) for state in AnnotationState},
        settled_items=sum(COMPLETED in states or SKIPPED in states for states in done.values()),
        finished_items=sum(
            sum(state in final for state in states) >= queue.annotations_per_item for states in done.values()
        ),
        by_annotator={who: dict(counts) for who, counts in by_annotator.items()},
    )


def add(queues: AnnotationQueues, queue: AnnotationQueue, calls: str) -> list[str]:
    """Add an item for each letter and give their ids."""
    added = queues.add_items(queue.id, (NewItem(call_id=call) for call in calls), added_by="ann").added
    return [item.id for item in added]


class StatisticsContract(Contract):
    """Statistics: the same numbers as a count of everything by hand."""

    def test_an_empty_queue_counts_nothing_in_every_state(self, queues: AnnotationQueues) -> None:
        queue = queues.create("queue", created_by="ann")
        assert queues.stats([queue.id]) == (
            QueueStats(
                queue_id=queue.id, total_items=0, by_state=NOBODY, settled_items=0, finished_items=0, by_annotator={}
            ),
        )

    @pytest.mark.parametrize("policy", SkipPolicy)
    @pytest.mark.parametrize("needed", [1, 2, 3])
    def test_after_every_change_the_statistics_are_those_of_a_count_by_hand(
        self, make_queues: Callable[..., AnnotationQueues], clock: Clock, needed: int, policy: SkipPolicy
    ) -> None:
        queues = make_queues(workflow=REOPENABLE)
        queue = queues.create("queue", created_by="ann", annotations_per_item=needed, skip_policy=policy)
        ids = add(queues, queue, "abcdefgh")
        steps = itertools.product(
            ["bob", "eve", "é"], [IN_PROGRESS, COMPLETED, IN_PROGRESS, SKIPPED, IN_PROGRESS, UNSTARTED]
        )
        for number, (annotator_id, state) in enumerate(steps):
            clock.move(number % 2)
            for item_id in ids[number % 3 :: 2]:
                if state is not UNSTARTED or queues.get_item(item_id, annotator_id=annotator_id).annotation_state in {
                    UNSTARTED,
                    IN_PROGRESS,
                }:
                    queues.update_progress(item_id, annotator_id, IN_PROGRESS)
                    queues.update_progress(item_id, annotator_id, state)
            claim = queues.claim(queue.id, "claimer")
            assert queues.stats([queue.id]) == (count(queues, queue.id),)
            if claim and number % 3:
                queues.complete(claim)
                assert queues.stats([queue.id]) == (count(queues, queue.id),)
            clock.move(number)
        assert queues.stats([queue.id])[0].by_annotator.keys() >= {"bob", "claimer"}

    def test_an_items_states_sum_to_the_total(self, queues: AnnotationQueues) -> None:
        queue = queues.create("queue", created_by="ann", annotations_per_item=2)
        ids = add(queues, queue, "abcde")
        queues.update_progress(ids[0], "bob", COMPLETED)
        queues.update_progress(ids[0], "eve", COMPLETED)
        queues.update_progress(ids[1], "bob", SKIPPED)
        queues.update_progress(ids[2], "bob", IN_PROGRESS)
        (stats,) = queues.stats([queue.id])
        assert stats.by_state == {UNSTARTED: 2, IN_PROGRESS: 1, COMPLETED: 1, SKIPPED: 1}
        assert (stats.total_items, stats.settled_items, stats.finished_items) == (5, 2, 1)
        assert stats.by_annotator == {"bob": {COMPLETED: 1, SKIPPED: 1, IN_PROGRESS: 1}, "eve": {COMPLETED: 1}}

    def test_removed_items_count_for_nothing(self, queues: AnnotationQueues) -> None:
        queue = queues.create("queue", created_by="ann")
        ids = add(queues, queue, "abc")
        queues.update_progress(ids[0], "bob", COMPLETED)
        queues.update_progress(ids[1], "eve", IN_PROGRESS)
        queues.remove_items(queue.id, ids[:2])
        (stats,) = queues.stats([queue.id])
        assert stats == count(queues, queue.id)
        assert (stats.total_items, stats.settled_items, stats.by_annotator) == (1, 0, {})
        queues.remove_items(queue.id, ids)
        assert queues.stats([queue.id])[0].by_state == NOBODY

    def test_a_released_progress_leaves_no_trace_in_the_statistics(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue = queues.create("queue", created_by="ann")
        add(queues, queue, "a")
        fresh = queues.stats([queue.id])
        claim = queues.claim(queue.id, "bob")
        assert claim
        assert queues.stats([queue.id])[0].by_annotator == {"bob": {IN_PROGRESS: 1}}
        queues.release(claim)
        assert queues.stats([queue.id]) == fresh
        queues.claim(queue.id, "bob")
        clock.move(300)
        queues.claim(queue.id, "eve")
        assert queues.stats([queue.id])[0].by_annotator == {"eve": {IN_PROGRESS: 1}}

    @pytest.mark.parametrize(
        ("needed", "policy", "finished"),
        [(1, SkipPolicy.FINAL, 3), (2, SkipPolicy.FINAL, 1), (1, SkipPolicy.REQUEUE, 2), (2, SkipPolicy.REQUEUE, 0)],
    )
    def test_a_changed_policy_counts_at_once(
        self, queues: AnnotationQueues, needed: int, policy: SkipPolicy, finished: int
    ) -> None:
        queue = queues.create("queue", created_by="ann", annotations_per_item=3)
        ids = add(queues, queue, "abcd")
        for item_id, states in zip(ids, [[COMPLETED, SKIPPED], [COMPLETED], [SKIPPED], []], strict=True):
            for annotator_id, state in zip("xy", states, strict=False):
                queues.update_progress(item_id, annotator_id, state)
        queues.update(queue.id, annotations_per_item=needed, skip_policy=policy)
        assert queues.stats([queue.id]) == (count(queues, queue.id),)
        assert queues.stats([queue.id])[0].finished_items == finished

    def test_statistics_come_in_the_order_asked_for_repeated_ones_repeatedly(self, queues: AnnotationQueues) -> None:
        made = [queues.create(name, created_by="ann") for name in "abc"]
        for number, queue in enumerate(made):
            add(queues, queue, "xyz"[:number])
        asked = [made[2].id, made[0].id, made[1].id, made[2].id]
        stats = queues.stats(each for each in asked)
        assert [each.queue_id for each in stats] == asked
        assert [each.total_items for each in stats] == [2, 0, 1, 2]
        assert queues.stats([]) == ()

    def test_one_unknown_queue_refuses_all(self, queues: AnnotationQueues) -> None:
        queue = queues.create("queue", created_by="ann")
        with pytest.raises(QueueNotFound) as missing:
            queues.stats([queue.id, "nothing"])
        assert missing.value.queue_id == "nothing"
