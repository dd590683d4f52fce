"""Memory repositories whose indexes split early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from annotation_queue.repositories.memory import MemoryRepository, sorted_keys, timed_keys
from annotation_queue.repositories.memory import queries as memory_queries
from helpers.memory import service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue import AnnotationQueues
    from helpers.clocks import Clock


@pytest.fixture
def repository() -> Iterator[MemoryRepository]:
    with MemoryRepository() as made:
        yield made
        assert made.check() == ()


@pytest.fixture
def queues(repository: MemoryRepository, clock: Clock) -> AnnotationQueues:
    return service(repository, clock)


@pytest.fixture(scope="module", autouse=True)
def _short_blocks() -> Iterator[None]:
    """Let few items fill many blocks of the indexes, and be enough to arrange selections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_keys, "_FULL", 4)
        patch.setattr(timed_keys, "_FULL", 3)
        patch.setattr(memory_queries, "_FEW", 3)
        patch.setattr(memory_queries, "_GLANCE", 5)
        yield
