"""`TelemetryRepository`: spans and metrics of any repository, by OpenTelemetry (extra ``otel``).

It wraps a repository, and everything over it is observed: the service, the runner, the web app::

    from annotation_queue import AnnotationQueues, SQLiteRepository
    from annotation_queue.telemetry import TelemetryRepository

    queues = AnnotationQueues(TelemetryRepository(SQLiteRepository("labels.db")), "acme/chatbot")

Each call of the repository is a span, ``annotation_queue.claim`` and so on, and a value of a histogram. The metrics:

=====================================  ==========================================================================
``annotation_queue.call.duration``     seconds of each call, by ``annotation_queue.call`` and ``error.type``
``annotation_queue.claims``            claims granted
``annotation_queue.claims.unavailable``  claims that got nothing, by ``annotation_queue.reason``
``annotation_queue.claims.lost``       claims that were found lost when somebody used them
``annotation_queue.conflicts``         writes that somebody else was faster than, by ``annotation_queue.call``
``annotation_queue.queue.expiries``    leases that ran out and whose item was granted again, since the queue was made
``annotation_queue.queue.depth``       live items that are not finished
``annotation_queue.queue.oldest.age``  seconds since the oldest item was added that nobody has settled; 0 without one
=====================================  ==========================================================================

The last three belong to a queue and not to this process. They are read when metrics are collected, for the queues that were
claimed from or added to through this repository, at most 100, and those that `TelemetryRepository.watch` was told of. All but
the duration carry ``annotation_queue.project_id``, and all of queues ``annotation_queue.queue_id``; a view of the SDK takes
away an attribute that has too many values. No payload, label, reason or text of an error is in a span or a metric.
"""

try:
    from annotation_queue.telemetry.repository import TelemetryRepository
except ModuleNotFoundError as missing:
    message = "annotation_queue.telemetry needs opentelemetry-api: pip install 'annotation-queue[otel]'"
    raise ModuleNotFoundError(message, name=missing.name) from missing

__all__ = ["TelemetryRepository"]
