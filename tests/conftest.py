"""What tests share: repositories to run on, a clock to set, ids to count, hypothesis profiles."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from annotation_queue import AnnotationQueues, MemoryRepository, SQLiteRepository, Workflow
from annotation_queue.states import STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from annotation_queue import Repository

_SLOW_MACHINE = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("default", deadline=None, suppress_health_check=_SLOW_MACHINE, max_examples=60)
settings.register_profile(
    "ci", deadline=None, suppress_health_check=_SLOW_MACHINE, max_examples=60, derandomize=True, print_blob=True
)
settings.register_profile("nightly", deadline=None, suppress_health_check=_SLOW_MACHINE, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

REPOSITORIES: dict[str, Callable[[Path], Repository]] = {
    "memory": lambda _folder: MemoryRepository(),
    "sqlite": lambda folder: SQLiteRepository(folder / "queues.db", synchronous="OFF"),
}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> datetime:
        """Go on by some seconds, or back."""
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture(params=sorted(REPOSITORIES))
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    """A fresh repository, one after the other of each kind; whole when the test is over."""
    with REPOSITORIES[request.param](tmp_path) as made:
        yield made
        assert made.check() == ()  # type: ignore[attr-defined]  # our own repositories check themselves


@pytest.fixture
def make_queues(repository: Repository, clock: Clock) -> Callable[..., AnnotationQueues]:
    """Make services over the same repository, clock and ids; ids count up, so that they sort as they were made."""
    counter = itertools.count(1)

    def make(project_id: str = "project", workflow: Workflow = STANDARD) -> AnnotationQueues:
        return AnnotationQueues(
            repository, project_id, workflow=workflow, clock=clock, new_id=lambda: f"id-{next(counter):06}"
        )

    return make


@pytest.fixture
def queues(make_queues: Callable[..., AnnotationQueues]) -> AnnotationQueues:
    """The service for one project, with the standard workflow."""
    return make_queues()
