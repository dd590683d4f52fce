"""What every contract has: a repository to test, a service over it, a clock and ids that count up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from annotation_queue.items import AnnotationQueue, NewItem, QueueItem
from annotation_queue.queues import AnnotationQueues
from annotation_queue.repository import Repository
from annotation_queue.states import STANDARD, Workflow
from annotation_queue.testing.clock import Clock


class Contract:
    """The base of every contract: subclass one, or ``RepositoryContract``, and say how a repository is made."""

    def make_repository(self) -> Repository:
        """Make an empty repository, which shares nothing with those made before.

        It is called once for each test, and for each history of the state machine; whatever it made is closed afterwards.
        """
        raise NotImplementedError("override make_repository: it makes an empty repository")

    @pytest.fixture
    def repository(self) -> Iterator[Repository]:
        """An empty repository. If it has a method ``check``, this finds nothing wrong when the test is over."""
        with self.make_repository() as made:
            yield made
            assert getattr(made, "check", tuple)() == ()

    @pytest.fixture
    def clock(self) -> Clock:
        """A clock that the test moves."""
        return Clock()

    @pytest.fixture
    def make_queues(self, repository: Repository, clock: Clock) -> Callable[..., AnnotationQueues]:
        """Make services over the same repository, clock and ids; ids count up, so that they sort as they were made."""
        counter = itertools.count(1)

        def make(project_id: str = "project", workflow: Workflow = STANDARD) -> AnnotationQueues:
            return AnnotationQueues(
                repository, project_id, workflow=workflow, clock=clock, new_id=lambda: f"id-{next(counter):06}"
            )

        return make

    @pytest.fixture
    def queues(self, make_queues: Callable[..., AnnotationQueues]) -> AnnotationQueues:
        """The service for one project, with the standard workflow."""
        return make_queues()

    @pytest.fixture
    def queue(self, queues: AnnotationQueues) -> AnnotationQueue:
        """An empty queue."""
        return queues.create("queue", created_by="ann")

    @pytest.fixture
    def shared_queue(self, queues: AnnotationQueues) -> AnnotationQueue:
        """A queue whose items take three annotations."""
        return queues.create("queue", created_by="ann", annotations_per_item=3)

    @pytest.fixture
    def shared_item(self, queues: AnnotationQueues, shared_queue: AnnotationQueue) -> QueueItem:
        """Its only item."""
        return queues.add_items(shared_queue.id, [NewItem(call_id="a")], added_by="ann").added[0]
