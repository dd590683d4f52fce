"""Queues to label in a batch, and a labeler."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from annotation_queue import NewItem
from annotation_queue.backoff import Backoff
from annotation_queue.batch.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import AnnotationQueues, BatchReport, QueueItem
    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.batch.limits import Limits

AT_ONCE = Backoff(first=0.0, longest=0.0)
"""Waits that are none."""


def fill(queues: AnnotationQueues, count: int, **policies: Any) -> str:  # noqa: ANN401 - those of create
    queue = queues.create("batch", created_by="ann", **policies)
    queues.add_items(
        queue.id, [NewItem(call_id=f"call-{n:03}", payload={"n": n}) for n in range(count)], added_by="ann"
    )
    return queue.id


def run_within(
    limits: Limits,
    queues: AnnotationQueues,
    queue_id: str,
    labeler: Labeler,
    *,
    on_progress: Callable[[BatchReport], object] | None = None,
    **options: Any,  # noqa: ANN401 - those of run_batch
) -> BatchReport:
    """Run as `run_batch`, within limits of the test's."""
    plan = Plan(queues=queues, queue_id=queue_id, limits=limits, **options)
    return plan.run(labeler, annotator_id="model", on_progress=on_progress)


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
