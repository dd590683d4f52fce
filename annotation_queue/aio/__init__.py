"""Annotation queues for asyncio: `AsyncAnnotationQueues` and `run_batch_async`."""

from annotation_queue.aio.queues import AsyncAnnotationQueues

__all__ = ["AsyncAnnotationQueues"]
