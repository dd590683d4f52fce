"""Annotation queues to embed: items, a state machine per annotator, claims with leases, exact queries, any storage.

`AnnotationQueues` is the service; `MemoryRepository` and `SQLiteRepository` store, and `open_repository` finds the storage of
an address; `run_batch` labels a whole queue.

## The words

- project: the tenant: nothing is visible across projects
- queue: a named list of items to annotate, with its policies
- item: one call (trace, row, document) that waits in a queue; a live queue holds each ``call_id`` once
- annotator: whoever labels, a person or a model: an opaque ``annotator_id``
- progress: what one annotator did with one item: the state machine's instance
- claim: the right of one annotator to work on one item until the lease runs out; it carries a fencing token
- label: what an annotator says of an item: the ``annotation`` of a completed progress, any JSON value; before that it is a
  draft
- revision: a change of the label or the reason of a progress that stays in its state
- log: every transition and revision of a queue in the order in which they were stored; nothing in it ever changes
- aggregate state: the state shown for an item when nobody's perspective is asked for: that of the progress that changed
  last
- finished: an item that ``annotations_per_item`` annotators have completed (or skipped, with ``SkipPolicy.FINAL``)
- queue order: ``priority DESC, created_at ASC, id ASC``: the default sort, and the order of claims
- position: the 1-based index of an item in its whole queue under the query's sort, whatever the filter

## The state machine

One for each annotator and item. To say the same again is a no-op that succeeds, so a lost response can be retried. To say
something else in the same state is a revision, which the workflow has or refuses; nothing is dropped in silence. `STANDARD`,
`STRICT` and `REOPENABLE` are workflows, and a backend can bring a table of its own:

>>> from annotation_queue import *
>>> correctable = Workflow("correctable", STANDARD.moves | {(AnnotationState.SKIPPED, AnnotationState.COMPLETED)})
>>> queues = AnnotationQueues(MemoryRepository(), "acme/chatbot", workflow=correctable)

## Claims, drafts and corrections

A claim travels as the short text of its `ClaimRef`. Whoever completes an item again corrects its label; the log keeps both,
and who gave them. A supervisor moves anything anywhere with ``override=True``, and `AnnotationQueues.reset` puts items back
to unstarted.

>>> queue = queues.create("Reviews", created_by="ann")
>>> _ = queues.add_items(queue.id, [NewItem(call_id="call-1")], added_by="ann")
>>> claim = queues.claim(queue.id, "dave")
>>> claim = queues.save_draft(claim, {"stars": 2})  # what is typed so far; it prolongs the claim too
>>> queues.claim(queue.id, "dave", resume=True).item.id == claim.item.id  # after a reload: the same item again
True
>>> text = str(claim.ref)  # for a form or a URL
>>> _ = queues.complete(ClaimRef.parse(text), {"stars": 3})
>>> _ = queues.complete(claim, {"stars": 4})
>>> state = AnnotationState.COMPLETED
>>> _ = queues.update_progress(claim.item.id, "dave", state, annotation={"stars": 5}, actor_id="boss", override=True)
>>> [(each.annotation, each.actor_id) for each in queues.history(claim.item.id)][1:]
[({'stars': 3}, 'dave'), ({'stars': 4}, 'dave'), ({'stars': 5}, 'boss')]
>>> queues.reset(queue.id, [claim.item.id], actor_id="boss", reason="wrong guideline")
1

A queue made with ``label_schema={...}``, a JSON Schema, refuses labels that do not satisfy it with `InvalidLabel`, which says
where and why (extra ``schema``).

## Follow a queue, and read its labels

Whoever follows the cursors of `AnnotationQueues.changes` sees every transition exactly once, however many processes write: a
search index, a webhook, metrics. `AnnotationQueues.throughput` tells from the same log how fast it goes and how long what is
left takes.

>>> cursor = None  # keep it where you keep your own state
>>> while (page := queues.changes(queue.id, after=cursor)).transitions:
...     print([(change.annotator_id, change.to_state.value) for change in page.transitions])
...     cursor = page.cursor
[('dave', 'in_progress'), ('dave', 'completed'), ('dave', 'completed'), ('dave', 'completed'), ('dave', 'unstarted')]
>>> for label in queues.iter_labels(queue.id, LabelQuery(states={AnnotationState.COMPLETED})):
...     print(label.item.call_id, label.progress.annotator_id, label.progress.annotation)

Labels come in the order in which they last changed. `annotation_queue.frames` reads them as a pandas frame.

## Errors

Every error has a class of its own below `AnnotationQueueError`, carries its data (``QueueNotFound.queue_id``,
``InvalidValue.field``) and says in one sentence what happened, to what, and what to do. `StorageError` and its kinds come
from the storage.

## For those who change the code

Where a thing is found, for those who change the code. Tests mirror the package folder by folder; a test is named after its
module, or after what it shows.

1. What a value may be, and its error: `values`, `json_values`, `schemas`, `errors`; an entity's fields: `items`, `states`.
2. A rule of the state machine: `moves` (from one state to the next), `states` (workflows, who may claim, what is finished).
3. What one call decides, and how it is carried out against others: `decisions`; what goes in and out: `arguments`, `answers`.
4. What an item's progresses and a queue's items add up to: `records`, `counters`.
5. What can be asked: `query`, `labels`, `changes`; how values sort: `sorting`; where a page goes on: `cursors`, `walks`.
6. A method of the service: `queues`, `lists`; what it asks of a storage, and what every storage promises: `repository`.
7. A storage: ``repositories/memory``, ``sqlite``, ``postgres``, the same rooms in each; what SQL shares: ``repositories/sql``.
8. A statement: a storage's ``statements.sql``, or its ``queries`` if it is composed; a byte on disk: ``migrations/0001.sql``.
9. What a storage checks about itself: its ``check``; connections and the translation of errors: its ``connections``.
10. Batch jobs: ``batch`` (`batch.api` takes, `batch.run` decides, `batch.threads` and `batch.coroutines` label,
    `batch.retries`, `batch.heartbeats`, `batch.report`). For coroutines: ``aio`` (`aio.queues` is the service,
    with `aio.claims` and `aio.lists`; `aio.calls` its threads; `aio.batch` a job on the caller's event loop).
11. The published APIs as messages: ``wire``, our own: ``wire.v1``; over HTTP: ``web``; from another machine: ``client``; the
    command line, a module for a group of commands: ``cli``.
12. The contract as tests, with the model that they compare with: ``testing``; what it costs: the repository's ``benchmarks``.

Logs are below ``annotation_queue``: ``.batch``, ``.aio``, ``.sqlite``, ``.postgres``, ``.web``, without payloads and labels.
"""

import logging

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
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnreachable,
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
from annotation_queue.json_values import JsonInput, JsonValue
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.moves import advance
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.records import Change, ItemRecord, Standing
from annotation_queue.repositories.memory import MemoryRepository
from annotation_queue.repositories.opening import open_repository
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
# Nothing is shown unless the application says so.
logging.getLogger("annotation_queue").addHandler(logging.NullHandler())

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
    "JsonInput",
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
    "StorageDenied",
    "StorageError",
    "StorageFull",
    "StorageUnreachable",
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
    "open_repository",
    "run_batch",
    "run_batches",
    "utc_now",
    "uuid7",
]
