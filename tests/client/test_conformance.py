"""The client keeps the contract of the service: the suite's tests of it, over a real socket."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from annotation_queue import STANDARD, AnnotationQueues, MemoryRepository, Repository, Workflow, testing
from annotation_queue.client import RemoteQueues
from annotation_queue.web import create_app
from helpers.remote import Apps, AsNamed, anybody, serving_apps
from helpers.servers import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.testing.clock import Clock


@pytest.fixture(scope="module")
def apps() -> Iterator[Apps]:
    with serving_apps() as made:
        yield made


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(verify=NO_TLS, auth=AsNamed(), timeout=60) as made:
        yield made


class Remote(testing.Contract):
    """Makes services that ask a server for everything."""

    def make_repository(self) -> MemoryRepository:
        return MemoryRepository()

    @pytest.fixture
    def make_queues(
        self, repository: Repository, clock: Clock, apps: Apps, http: httpx.Client
    ) -> Callable[..., AnnotationQueues]:
        counter = itertools.count(1)

        def make(project_id: str = "project", workflow: Workflow = STANDARD) -> AnnotationQueues:
            def service(repository: Repository, project_id: str) -> AnnotationQueues:
                new_id = lambda: f"id-{next(counter):06}"  # noqa: E731 - as the contract makes them
                return AnnotationQueues(repository, project_id, workflow=workflow, clock=clock, new_id=new_id)

            app = create_app(repository, authenticate=anybody, authorize=lambda *_: True, make_queues=service)
            # It has the methods of the service, which is what the tests ask.
            return cast("AnnotationQueues", RemoteQueues(apps.add(app), project_id, client=http))

        return make


class TestRemoteQueues(
    Remote,
    testing.HoldsContract,
    testing.OverridesContract,
    testing.BatchesContract,
    testing.ChangesContract,
):
    """The part that the fast run has."""

    # One asks in one's own name.
    test_a_batch_may_complete_the_same_item_for_several_annotators_and_the_same_claim_twice = None  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.thinned
class TestTheRestOfRemoteQueues(
    Remote,
    testing.QueuesContract,
    testing.RepeatingContract,
    testing.ItemsContract,
    testing.ProgressContract,
    testing.ClaimsContract,
    testing.FencingContract,
    testing.HistoryContract,
    testing.RevisionsContract,
    testing.LabelsContract,
    testing.LongIdsContract,
    testing.BulkContract,
    testing.AssignmentsContract,
    testing.IsolationContract,
    testing.HostileInputContract,
    testing.QueriesContract,
    testing.QueuePagesContract,
    testing.PositionsContract,
    testing.CursorsContract,
    testing.StatisticsContract,
    testing.AgreementContract,
    testing.StoringContract,
    testing.PoliciesContract,
    testing.AliasingContract,
    testing.ThreadsContract,
):
    """All else that the suite asks."""

    histories_per_example = 1 / 3

    # Ids of 1 MiB are no part of a URL.
    test_the_longest_text_and_the_deepest_and_longest_json_are_stored = None  # type: ignore[assignment]
    test_queues_of_projects_whose_ids_begin_alike_are_apart = None  # type: ignore[assignment]
    # A generator is read to be sent.
    test_adding_to_no_queue_reads_nothing_of_the_generator = None  # type: ignore[assignment]
