# ruff: noqa: E402 - pytest has to hear of the contracts before they are imported
"""The conformance suite for anybody's repository: a contract, a model beside random histories, and strategies.

This is a whole test module, with the extra ``testing`` (pytest and hypothesis)::

    from hypothesis import given, settings
    from my_storage import MyRepository

    from annotation_queue import AnnotationQueues, NewItem
    from annotation_queue.testing import Call, RepositoryContract, histories, play, strategies


    class TestMyRepository(RepositoryContract):
        def make_repository(self) -> MyRepository:
            return MyRepository()


    @given(strategies.new_items())
    def test_an_item_is_read_as_it_was_added(new: NewItem) -> None:
        with MyRepository() as repository:
            queues = AnnotationQueues(repository, "project")
            queue = queues.create("queue", created_by="ann")
            (item,) = queues.add_items(queue.id, [new], added_by="ann").added
            assert queues.query_items(queue.id).items == (item,)


    @settings(deadline=None)
    @given(histories(max_size=10))
    def test_every_answer_is_that_of_the_model(history: list[Call]) -> None:
        with MyRepository() as repository:
            play(history, repository)

`RepositoryContract` alone is the whole suite; the two functions show how to use its parts in tests of your own. Each
repository that ``make_repository`` gives must be empty and is closed after its test. Where making one needs a fixture, let a
fixture of the class with ``autouse=True`` put it on ``self``. If the repository has a method ``check``, it must return an
empty tuple, and is called all the time.

- One class for each thing that a repository does: `QueuesContract`, `RepeatingContract`, `ItemsContract`, `ProgressContract`,
  `ClaimsContract`, `FencingContract`, `BatchesContract`, `QueriesContract`, `PositionsContract`, `CursorsContract`,
  `StatisticsContract`, `HistoryContract`, `RevisionsContract`, `OverridesContract`, `LabelsContract`, `ChangesContract`,
  `HoldsContract`, `BulkContract`, `AssignmentsContract`, `LongIdsContract`, `IsolationContract`, `HostileInputContract`,
  `AliasingContract`, `ThreadsContract`, `StoringContract` and `AgreementContract`. Each has all that it needs, so that a
  repository can grow through them one by one.
- `repository_state_machine` gives the state machine of `AgreementContract`, with its ``TestCase``. The hypothesis profile
  says how many histories it tries.
- `strategies` makes items, queries, JSON and what must be refused: ``new_items()``, ``item_queries()``, ``json_values()``,
  ``refused_calls()``, ``HOSTILE_TEXTS`` and others. `histories` makes lists of calls.
- `Calls` makes the same calls on several repositories and the `Model`, and compares them.
"""

try:
    import hypothesis  # noqa: F401 - to say what is missing
    import pytest
except ModuleNotFoundError as error:
    message = f"annotation_queue.testing needs {error.name}: pip install 'annotation-queue[testing]'"
    raise ModuleNotFoundError(message, name=error.name) from error

# So that a failing assertion shows its values, as in a test module.
pytest.register_assert_rewrite("annotation_queue.testing.contracts")

from annotation_queue.testing import strategies
from annotation_queue.testing.arguments import ARGUMENTS
from annotation_queue.testing.calls import Calls
from annotation_queue.testing.clock import Clock
from annotation_queue.testing.comparison import PROJECTS, Bench, Disagreement
from annotation_queue.testing.contracts import (
    AgreementContract,
    AliasingContract,
    AssignmentsContract,
    BatchesContract,
    BulkContract,
    ChangesContract,
    ClaimsContract,
    Contract,
    CursorsContract,
    FencingContract,
    HistoryContract,
    HoldsContract,
    HostileInputContract,
    IsolationContract,
    ItemsContract,
    LabelsContract,
    LongIdsContract,
    OverridesContract,
    PoliciesContract,
    PositionsContract,
    ProgressContract,
    QueriesContract,
    QueuePagesContract,
    QueuesContract,
    RepeatingContract,
    RepositoryContract,
    RevisionsContract,
    StatisticsContract,
    StoringContract,
    ThreadsContract,
)
from annotation_queue.testing.histories import Call, histories, play
from annotation_queue.testing.machine import repository_state_machine
from annotation_queue.testing.model import Model
from annotation_queue.testing.tables import Tables

__all__ = [
    "ARGUMENTS",
    "PROJECTS",
    "AgreementContract",
    "AliasingContract",
    "AssignmentsContract",
    "BatchesContract",
    "Bench",
    "BulkContract",
    "Call",
    "Calls",
    "ChangesContract",
    "ClaimsContract",
    "Clock",
    "Contract",
    "CursorsContract",
    "Disagreement",
    "FencingContract",
    "HistoryContract",
    "HoldsContract",
    "HostileInputContract",
    "IsolationContract",
    "ItemsContract",
    "LabelsContract",
    "LongIdsContract",
    "Model",
    "OverridesContract",
    "PoliciesContract",
    "PositionsContract",
    "ProgressContract",
    "QueriesContract",
    "QueuePagesContract",
    "QueuesContract",
    "RepeatingContract",
    "RepositoryContract",
    "RevisionsContract",
    "StatisticsContract",
    "StoringContract",
    "Tables",
    "ThreadsContract",
    "histories",
    "play",
    "repository_state_machine",
    "strategies",
]
