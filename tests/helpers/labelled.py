"""A queue whose items were all labelled, in the order in which they were added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annotation_queue import AnnotationState, NewItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue import AnnotationQueue, AnnotationQueues


def labelled_queue(
    queues: AnnotationQueues, *, label: int = 0, payload: int = 0, sizes: Sequence[int] = (10, 10, 1_000, 10, 10, 10)
) -> AnnotationQueue:
    """Make one: for each size, the label and the payload have that size times what is given here."""
    queue = queues.create("queue", created_by="ann")
    news = [NewItem(call_id=f"{n}", payload={"text": "x" * size * payload}) for n, size in enumerate(sizes)]
    for item, size in zip(queues.add_items(queue.id, news, added_by="ann").added, sizes, strict=True):
        queues.update_progress(item.id, "bob", AnnotationState.COMPLETED, annotation="x" * size * label)
    return queue
