"""Queues to label in a batch, and a labeler."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from annotation_queue import NewItem

if TYPE_CHECKING:
    from annotation_queue import AnnotationQueues, QueueItem


def fill(queues: AnnotationQueues, count: int, **policies: Any) -> str:  # noqa: ANN401 - those of create
    queue = queues.create("batch", created_by="ann", **policies)
    queues.add_items(
        queue.id, [NewItem(call_id=f"call-{n:03}", payload={"n": n}) for n in range(count)], added_by="ann"
    )
    return queue.id


def states(queues: AnnotationQueues, queue_id: str, annotator_id: str | None = "model") -> list[str]:
    return [
        queues.get_item(item.id, annotator_id=annotator_id).annotation_state.value
        for item in queues.iter_items(queue_id)
    ]


def label_number(item: QueueItem) -> object:
    assert item.payload is not None
    return {"n": item.payload["n"]}


def interrupt(number: int = signal.SIGINT) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)  # as the kernel does with Ctrl-C
