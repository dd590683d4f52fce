"""Positions: the place of an item in its whole queue, whatever is shown of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from annotation_queue.items import AnnotationQueue, NewItem
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.sorting import Direction, SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.varied import PERSPECTIVES, VariedQueue

if TYPE_CHECKING:
    from annotation_queue.queues import AnnotationQueues

COMPLETED = AnnotationState.COMPLETED


class PositionsContract(VariedQueue):
    """Positions: the place of an item in its whole queue, whatever is shown of it."""

    def test_the_position_is_that_in_the_whole_queue_whatever_is_shown(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue
    ) -> None:
        by_name = ItemQuery(sort_by=[SortBy("call_op_name")], include_position=True)
        places = {item.id: item.position_in_queue for item in queues.query_items(varied_queue.id, by_name).items}
        assert sorted(places.values()) == list(range(1, 23))  # type: ignore[type-var]  # each has a position
        page = queues.query_items(
            varied_queue.id, attrs.evolve(by_name, filter=ItemFilter(annotation_states={COMPLETED}), limit=3, offset=2)
        )
        assert [item.position_in_queue for item in page.items] == [places[item.id] for item in page.items]
        assert len(page.items) == 3
        on = queues.query_items(varied_queue.id, attrs.evolve(by_name, limit=2, cursor=page.next_cursor))
        assert [item.position_in_queue for item in on.items] == [places[item.id] for item in on.items]
        assert all(item.position_in_queue is None for item in queues.query_items(varied_queue.id).items)

    def test_the_position_follows_the_perspective_that_is_sorted_by(
        self, queues: AnnotationQueues, varied_queue: AnnotationQueue
    ) -> None:
        sort_by = [SortBy("annotation_state", Direction.DESC)]
        for annotator_id in PERSPECTIVES:
            whole = queues.query_items(
                varied_queue.id, ItemQuery(sort_by=sort_by, annotator_id=annotator_id, include_position=True)
            ).items
            assert [item.position_in_queue for item in whole] == list(range(1, 23))

    def test_an_item_is_numbered_in_queue_order_when_asked_for(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        news = [NewItem(call_id="low", priority=-1), NewItem(call_id="high", priority=5), NewItem(call_id="middle")]
        added = queues.add_items(queue.id, news, added_by="ann").added
        assert [queues.get_item(item.id, include_position=True).position_in_queue for item in added] == [3, 1, 2]
        assert queues.get_item(added[0].id).position_in_queue is None
        queues.remove_items(queue.id, [added[1].id])
        assert queues.get_item(added[0].id, annotator_id="bob", include_position=True).position_in_queue == 2
