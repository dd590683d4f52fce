"""What ``label`` says at its end: which items failed, and why there was nothing to label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annotation_queue.batch.work import is_failure
from annotation_queue.cli.common import say
from annotation_queue.cli.views import done_by
from annotation_queue.items import UnavailableReason
from annotation_queue.labels import LabelQuery
from annotation_queue.states import SKIPPED

if TYPE_CHECKING:
    from annotation_queue.batch.report import BatchReport
    from annotation_queue.items import AnnotationQueue, QueueStats
    from annotation_queue.queues import AnnotationQueues


def say_what_failed(queues: AnnotationQueues, queue: AnnotationQueue, stats: QueueStats, annotator: str) -> bool:
    """Say how many items an annotator skipped because they failed, in this run or before it."""
    count = count_failed(queues, queue.id, annotator) if stats.by_annotator.get(annotator, {}).get(SKIPPED) else 0
    if count:
        what = "1 item failed and has" if count == 1 else f"{count:,} items failed and have"
        say(f"{annotator}: {what} no label, counting earlier runs; to try again, add --retry-failed")
    return count > 0


def say_why_nothing(queue: AnnotationQueue, stats: QueueStats, annotator: str, report: BatchReport) -> None:
    """Say why there was nothing to label, and what to do."""
    if report.attempted or report.unavailable is None or not stats.total_items:
        return
    if done_by(stats, annotator) == stats.total_items:
        say(f"{annotator}: nothing was left to label; this annotator has done every item")
    elif report.unavailable.reason is UnavailableReason.FINISHED:
        count = queue.annotations_per_item
        theirs = "annotation" if count == 1 else f"{count:,} annotations"
        say(
            f"{annotator}: nothing was left to label; every item of queue {queue.name!r} has its {theirs}. "
            f"To have {annotator} label them too, add --annotations-per-item {count + 1}"
        )


def count_failed(queues: AnnotationQueues, queue_id: str, annotator: str) -> int:
    """Count the items that an annotator skipped because they failed; the cost is linear in what the annotator skipped."""
    query = LabelQuery(annotator_id=annotator, states=frozenset({SKIPPED}), include_payload=False)
    return sum(is_failure(label.progress.reason) for label in queues.iter_labels(queue_id, query))
