"""Batch labelling in this process: `run_batch` and `run_batches`, and what they report.

The labeler takes an item and returns its label, any JSON value. It is a function, called in threads, or a coroutine
function. It may raise `SkipItem`, or ``RetryLater(20)`` if a service says when to come back. A failing item is tried again,
each time with a fresh copy of its payload, and then skipped; its reason is ``failed: `` and the error. A label that is no
JSON value is not tried again. Ctrl-C, SIGTERM and SIGHUP let running items end and release the rest; a killed run is
resumed by running it again. A label is stored in the same step as the completion.

- ``workers=8``: items worked on at once: threads for a function, tasks on one event loop for a coroutine function
- ``rate=5``: at most five calls in each second; after a stall, what is overdue is not made up for
- ``timeout=timedelta(seconds=30)``: gives an item up after so long; a thread that hangs is replaced, not killed
- ``max_attempts=3``, ``on_failure="skip"``: how often an item is tried, and what becomes of it then: ``skip``, ``release``
  or ``raise``
- ``max_failures=50``: stops after so many failed items in a row, and releases them: an outage uses up nothing
- ``retry_failed=True``: takes up the items again that earlier runs of this annotator failed on
- ``dry_run=True``: stores nothing; the labels are in the report
- ``stop=event``: ends the run once that ``threading.Event`` is set

The report says what was completed, skipped, released, failed and lost, how many retries there were, the slowest items, and
why the run stopped. ``report.failures`` names the items that failed, and ``report.advice`` says what was left and what to
do about it: earlier failures, a queue that others finished, items that others hold. The runner logs to
``annotation_queue.batch``.
`run_batches` runs several annotators over one queue at the same time.

>>> from annotation_queue import AnnotationQueues, MemoryRepository, NewItem, run_batches
>>> queues = AnnotationQueues(MemoryRepository(), "acme/chatbot")
>>> pair = queues.create("Two judges", created_by="ann", annotations_per_item=2)
>>> _ = queues.add_items(pair.id, [NewItem(call_id="call-1", priority=1)], added_by="ann")
>>> judge = lambda item: {"urgent": item.priority > 0}
>>> reports = run_batches(queues, pair.id, {"judge-v1": judge, "judge-v2": judge})
>>> reports["judge-v2"].completed, reports["judge-v2"].stop_reason.value
(1, 'done')
"""

from annotation_queue.batch.api import run_batch, run_batches
from annotation_queue.batch.labelers import RetryLater, SkipItem, WorkerLost
from annotation_queue.batch.report import BatchReport, Failure, ItemResult, OnFailure, SlowItem, StopReason

__all__ = [
    "BatchReport",
    "Failure",
    "ItemResult",
    "OnFailure",
    "RetryLater",
    "SkipItem",
    "SlowItem",
    "StopReason",
    "WorkerLost",
    "run_batch",
    "run_batches",
]
