"""The modules that a user of the library imports from. What their ``__all__`` names is public, and nothing else."""

from __future__ import annotations

PUBLIC = (
    "annotation_queue",
    "annotation_queue.agreement",
    "annotation_queue.aio",
    "annotation_queue.batch",
    "annotation_queue.cli",
    "annotation_queue.client",
    "annotation_queue.converters",
    "annotation_queue.frames",
    "annotation_queue.repositories.memory",
    "annotation_queue.repositories.postgres",
    "annotation_queue.repositories.sqlite",
    "annotation_queue.storage",
    "annotation_queue.telemetry",
    "annotation_queue.testing",
    "annotation_queue.testing.strategies",
    "annotation_queue.web",
    "annotation_queue.wire.evalguard",
    "annotation_queue.wire.weave",
)
