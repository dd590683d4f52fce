"""Annotation queues to embed: items, a state machine per annotator, claims with leases, exact queries, any storage.

`AnnotationQueues` is the service; `MemoryRepository` and `SQLiteRepository` store; `run_batch` labels a whole queue.

Where a thing is found, for those who change the code. Tests mirror the package: the test of ``X.py`` is ``test_X.py``.

1. What a value may be, and its error: `values`, `json_values`, `schemas`, `errors`; an entity's fields: `items`, `states`.
2. A rule of the state machine: `moves` (from one state to the next), `states` (workflows, who may claim, what is finished).
3. What one call decides, and how it is carried out against others: `decisions`; what goes in and out: `arguments`, `answers`.
4. What an item's progresses and a queue's items add up to: `records`, `counters`.
5. What can be asked: `query`, `labels`, `changes`; how values sort: `sorting`; where a page goes on: `cursors`, `walks`.
6. A method of the service: `queues`, `lists`; what it asks of a storage, and what every storage promises: `repository`.
7. A storage: ``repositories/memory``, ``sqlite``, ``postgres``, the same rooms in each; what SQL shares: ``repositories/sql``.
8. A statement: a storage's ``statements.sql``, or its ``queries`` if it is composed; a byte on disk: ``migrations/0001.sql``.
9. What a storage checks about itself: its ``check``; connections and the translation of errors: its ``connections``.
10. Batch jobs: ``batch`` (`api` takes, `run` decides, `threads` and `coroutines` label, `retries`, `heartbeats`, `report`).
11. The published APIs as messages: ``wire``; over HTTP: ``web``; the command line, a module for a group of commands: ``cli``.
12. The contract as tests, with the model that they compare with: ``testing``; what it costs: the repository's ``benchmarks``.
"""

from annotation_queue.batch.api import run_batch, run_batches
from annotation_queue.batch.labelers import RetryLater, SkipItem
from annotation_queue.batch.report import BatchReport, ItemResult, OnFailure, SlowItem, StopReason
from annotation_queue.changes import ChangePage, Throughput
from annotation_queue.errors import (
    AnnotationQueueError,
    ClaimLost,
    Conflict,
    InvalidCursor,
    InvalidLabel,
    InvalidQuery,
    InvalidTransition,
    InvalidValue,
    ItemNotFound,
    NotFound,
    OutcomeUnknown,
    QueueNotFound,
    SchemaVersionUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from annotation_queue.ids import uuid7
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    Claim,
    ClaimRef,
    ItemPatch,
    NewItem,
    Purged,
    QueueItem,
    QueueStats,
    Unavailable,
    UnavailableReason,
)
from annotation_queue.json_values import JsonValue
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.moves import advance
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.records import Change, ItemRecord, Standing
from annotation_queue.repositories.memory import MemoryRepository
from annotation_queue.repositories.sqlite import SQLiteRepository
from annotation_queue.repository import Repository
from annotation_queue.sorting import QUEUE_ORDER, QUEUE_SORT_FIELDS, SORT_FIELDS, Direction, SortBy
from annotation_queue.states import (
    REOPENABLE,
    STANDARD,
    STRICT,
    AnnotationState,
    Progress,
    SkipPolicy,
    Transition,
    Workflow,
    aggregate,
    fold,
    fold_labels,
    is_finished,
)
from annotation_queue.values import utc_now

__version__ = "0.1.0"

__all__ = [
    "QUEUE_ORDER",
    "QUEUE_SORT_FIELDS",
    "REOPENABLE",
    "SORT_FIELDS",
    "STANDARD",
    "STRICT",
    "AddedItems",
    "AnnotationQueue",
    "AnnotationQueueError",
    "AnnotationQueues",
    "AnnotationState",
    "BatchReport",
    "Change",
    "ChangePage",
    "Claim",
    "ClaimLost",
    "ClaimRef",
    "Conflict",
    "Direction",
    "InvalidCursor",
    "InvalidLabel",
    "InvalidQuery",
    "InvalidTransition",
    "InvalidValue",
    "ItemFilter",
    "ItemNotFound",
    "ItemPage",
    "ItemPatch",
    "ItemQuery",
    "ItemRecord",
    "ItemResult",
    "JsonValue",
    "Label",
    "LabelPage",
    "LabelQuery",
    "MemoryRepository",
    "NewItem",
    "NotFound",
    "OnFailure",
    "OutcomeUnknown",
    "Progress",
    "Purged",
    "QueueItem",
    "QueueNotFound",
    "QueuePage",
    "QueueQuery",
    "QueueStats",
    "Repository",
    "RetryLater",
    "SQLiteRepository",
    "SchemaVersionUnknown",
    "SkipItem",
    "SkipPolicy",
    "SlowItem",
    "SortBy",
    "Standing",
    "StopReason",
    "StorageBusy",
    "StorageCorrupt",
    "StorageError",
    "StorageFull",
    "Throughput",
    "Transition",
    "Unavailable",
    "UnavailableReason",
    "Workflow",
    "__version__",
    "advance",
    "aggregate",
    "fold",
    "fold_labels",
    "is_finished",
    "run_batch",
    "run_batches",
    "utc_now",
    "uuid7",
]
