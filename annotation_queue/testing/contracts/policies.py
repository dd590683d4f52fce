"""Policies: what changes for claims when a queue asks for more annotations or counts skips otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annotation_queue.items import Unavailable, UnavailableReason
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.sorting import Direction, SortBy
from annotation_queue.states import AnnotationState, SkipPolicy
from annotation_queue.testing.contracts.base import Contract
from annotation_queue.testing.contracts.claims import fill, take

if TYPE_CHECKING:
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState


class PoliciesContract(Contract):
    """Policies: what changes for claims when a queue asks for more annotations or counts skips otherwise."""

    def test_a_changed_number_of_annotations_opens_and_finishes_items_midway(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue, (first, second) = fill(queues, 2)
        queues.complete(take(queues, queue, "bob"))
        before = queues.get_item(first.id)
        clock.move(1)
        queues.update(queue.id, annotations_per_item=2)
        assert queues.get_item(first.id) == before
        assert queues.stats([queue.id])[0].finished_items == 0
        assert take(queues, queue, "bob").item.id == second.id
        claim = take(queues, queue, "eve")
        assert claim.item.id == first.id
        queues.update(queue.id, annotations_per_item=1)
        assert queues.stats([queue.id])[0].finished_items == 1
        assert queues.claim(queue.id, "ann").__class__ is Unavailable
        # Whoever holds the item may still finish what they began.
        assert queues.complete(claim).annotation_state is COMPLETED
        queues.update(queue.id, annotations_per_item=3)
        assert take(queues, queue, "ann").item.id == first.id

    def test_a_changed_skip_policy_opens_and_finishes_items_midway(self, queues: AnnotationQueues) -> None:
        queue, (item,) = fill(queues)
        queues.skip(take(queues, queue, "bob"))
        queues.update(queue.id, skip_policy=SkipPolicy.REQUEUE)
        assert queues.stats([queue.id])[0].finished_items == 0
        assert queues.claim(queue.id, "bob") == Unavailable(reason=UnavailableReason.SEEN)
        queues.release(take(queues, queue, "eve"))
        queues.update(queue.id, skip_policy=SkipPolicy.FINAL)
        assert queues.claim(queue.id, "eve") == Unavailable(reason=UnavailableReason.FINISHED)
        assert [each.state for each in queues.progress(item.id)] == [SKIPPED, UNSTARTED]

    def test_what_is_left_follows_the_policies(self, queues: AnnotationQueues) -> None:
        queue, items = fill(queues, 4)
        for who, item in (("bob", items[0]), ("eve", items[0]), ("bob", items[1])):
            queues.update_progress(item.id, who, COMPLETED)
        settled = {items[0].id: 2, items[1].id: 1}
        for sort_by in ((), (SortBy("updated_at"),), (SortBy("call_id", Direction.DESC),)):
            for needed in (1, 2, 3, 2, 1):
                queues.update(queue.id, annotations_per_item=needed)
                queues.update_progress(items[0].id, "bob", COMPLETED, annotation=[needed, len(sort_by)])
                for finished in (False, True):
                    query = ItemQuery(filter=ItemFilter(finished=finished), sort_by=sort_by, include_total=True)
                    page = queues.query_items(queue.id, query)
                    wanted = {item.id for item in items if (settled.get(item.id, 0) >= needed) is finished}
                    assert {item.id for item in page.items} == wanted
                    assert page.total == len(wanted)
