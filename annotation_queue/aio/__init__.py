"""Annotation queues for asyncio: `AsyncAnnotationQueues`, and `run_batch_async` on the caller's event loop."""

from annotation_queue.aio.batch import run_batch_async
from annotation_queue.aio.queues import AsyncAnnotationQueues

__all__ = ["AsyncAnnotationQueues", "run_batch_async"]
