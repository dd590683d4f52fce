"""Batch labelling in this process: `run_batch` and `run_batches`, and what they report."""

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
