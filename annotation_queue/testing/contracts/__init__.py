"""The contract of a repository as tests, one class for each thing that it does."""

from annotation_queue.testing.contracts.agreement import AgreementContract
from annotation_queue.testing.contracts.aliasing import AliasingContract
from annotation_queue.testing.contracts.assignments import AssignmentsContract
from annotation_queue.testing.contracts.base import Contract
from annotation_queue.testing.contracts.batches import BatchesContract
from annotation_queue.testing.contracts.bulk import BulkContract
from annotation_queue.testing.contracts.changes import ChangesContract
from annotation_queue.testing.contracts.claims import ClaimsContract
from annotation_queue.testing.contracts.cursors import CursorsContract
from annotation_queue.testing.contracts.fencing import FencingContract
from annotation_queue.testing.contracts.history import HistoryContract
from annotation_queue.testing.contracts.holds import HoldsContract
from annotation_queue.testing.contracts.hostile_input import HostileInputContract
from annotation_queue.testing.contracts.isolation import IsolationContract
from annotation_queue.testing.contracts.items import ItemsContract
from annotation_queue.testing.contracts.labels import LabelsContract
from annotation_queue.testing.contracts.long_ids import LongIdsContract
from annotation_queue.testing.contracts.overrides import OverridesContract
from annotation_queue.testing.contracts.policies import PoliciesContract
from annotation_queue.testing.contracts.positions import PositionsContract
from annotation_queue.testing.contracts.progress import ProgressContract
from annotation_queue.testing.contracts.queries import QueriesContract
from annotation_queue.testing.contracts.queue_pages import QueuePagesContract
from annotation_queue.testing.contracts.queues import QueuesContract
from annotation_queue.testing.contracts.repeating import RepeatingContract
from annotation_queue.testing.contracts.revisions import RevisionsContract
from annotation_queue.testing.contracts.statistics import StatisticsContract
from annotation_queue.testing.contracts.storing import StoringContract
from annotation_queue.testing.contracts.threads import ThreadsContract

__all__ = [
    "AgreementContract",
    "AliasingContract",
    "AssignmentsContract",
    "BatchesContract",
    "BulkContract",
    "ChangesContract",
    "ClaimsContract",
    "Contract",
    "CursorsContract",
    "FencingContract",
    "HistoryContract",
    "HoldsContract",
    "HostileInputContract",
    "IsolationContract",
    "ItemsContract",
    "LabelsContract",
    "LongIdsContract",
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
    "ThreadsContract",
]


class RepositoryContract(
    QueuesContract,
    QueuePagesContract,
    RepeatingContract,
    ItemsContract,
    ProgressContract,
    ClaimsContract,
    PoliciesContract,
    FencingContract,
    BatchesContract,
    QueriesContract,
    PositionsContract,
    CursorsContract,
    StatisticsContract,
    HistoryContract,
    RevisionsContract,
    OverridesContract,
    LabelsContract,
    ChangesContract,
    HoldsContract,
    BulkContract,
    AssignmentsContract,
    LongIdsContract,
    IsolationContract,
    HostileInputContract,
    AliasingContract,
    ThreadsContract,
    StoringContract,
    AgreementContract,
):
    """The whole contract: what the docstrings of `Repository` promise, and random histories beside the model.

    Subclass it, with a name that pytest collects, and say how an empty repository is made::

        class TestMyRepository(RepositoryContract):
            def make_repository(self):
                return MyRepository()
    """
