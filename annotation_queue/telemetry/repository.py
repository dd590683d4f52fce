"""`TelemetryRepository`: another repository, observed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider

from annotation_queue.changes import ChangePage, Settlement
from annotation_queue.docstrings import documented_as
from annotation_queue.errors import AnnotationQueueError, ClaimLost, Conflict, StorageError
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    Claim,
    ItemPatch,
    NewItem,
    Purged,
    QueueItem,
    QueueStats,
    Unavailable,
)
from annotation_queue.labels import LabelPage, LabelQuery
from annotation_queue.moves import Reset
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.records import Change, ItemRecord
from annotation_queue.repository import HearsOfLostClaims, RemembersClaims, Repository
from annotation_queue.states import Transition
from annotation_queue.telemetry.instruments import NAME, Instruments
from annotation_queue.telemetry.watched import PROJECT, QUEUE, QueueKey, WatchedQueues
from annotation_queue.values import class_name, utc_now

_CALL: Final = f"{NAME}.call"
_REASON: Final = f"{NAME}.reason"
_ERROR: Final = "error.type"


class TelemetryRepository(HearsOfLostClaims, RemembersClaims):
    """Another repository, with a span and metrics for each of its calls. The methods are those of `Repository`.

    What it costs: some microseconds for each call; and at each collection of metrics, for each queue that is watched, the
    statistics, the oldest item that nobody has settled, and what its log got since. Pickled, it takes the repository along and
    uses the global providers on the other side.

    Args:
        repository: The repository; it is closed with this one.
        tracer_provider: Where spans go; None for the global provider.
        meter_provider: Where metrics go; None for the global provider. Set that up before.
        clock: Tells the time, timezone-aware, for the age of items.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._repository = repository
        self._is_global = tracer_provider is None and meter_provider is None
        self._tracer = trace.get_tracer(NAME, tracer_provider=tracer_provider)
        self._instruments = Instruments.of(meter_provider or metrics.get_meter_provider())
        self._queues = WatchedQueues(repository, clock)
        self._instruments.watched.add(self._queues)

    @property
    def repository(self) -> Repository:
        """The repository that is observed, with whatever it can do besides the contract."""
        return self._repository

    def watch(self, project_id: str, queue_id: str) -> None:
        """Read depth, age and expiries of a queue when metrics are collected, whoever works on it.

        Args:
            project_id: The project.
            queue_id: The queue; one that is not found is forgotten.
        """
        self._queues.use(QueueKey(project_id, queue_id), is_kept=True)

    def record_of_claim(self, project_id: str, item_id: str, annotator_id: str) -> ItemRecord | None:
        """See `RemembersClaims`: what the observed repository remembers, if it does."""
        if not isinstance(self._repository, RemembersClaims):
            return None
        return self._repository.record_of_claim(project_id, item_id, annotator_id)

    def claims_lost(self, project_id: str, lost: Sequence[ClaimLost]) -> None:
        """See `HearsOfLostClaims`: count them."""
        self._instruments.lost.add(len(lost), {PROJECT: project_id})

    # The methods of the contract, in its order.

    @documented_as(Repository.add_queue)
    def add_queue(self, queue: AnnotationQueue) -> None:
        with self._observed("add_queue", queue.project_id, queue.id):
            self._repository.add_queue(queue)

    @documented_as(Repository.get_or_create_queue)
    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        with self._observed("get_or_create_queue", queue.project_id) as span:
            found = self._repository.get_or_create_queue(queue)
            span.set_attribute(QUEUE, found.id)
            return found

    @documented_as(Repository.get_queue)
    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        with self._observed("get_queue", project_id, queue_id):
            return self._repository.get_queue(project_id, queue_id)

    @documented_as(Repository.query_queues)
    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        with self._observed("query_queues", project_id):
            return self._repository.query_queues(project_id, query)

    @documented_as(Repository.replace_queue)
    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        with self._observed("replace_queue", before.project_id, before.id):
            self._repository.replace_queue(before, after)

    @documented_as(Repository.add_items)
    def add_items(
        self,
        project_id: str,
        queue_id: str,
        items: Iterable[NewItem],
        make: Callable[[NewItem, AnnotationQueue], QueueItem],
    ) -> AddedItems:
        with self._observed("add_items", project_id, queue_id) as span:
            answer = self._repository.add_items(project_id, queue_id, items, make)
            self._note_addition(span, QueueKey(project_id, queue_id), answer)
            return answer

    @documented_as(Repository.get_item)
    def get_item(self, project_id: str, item_id: str, queue_id: str | None = None) -> QueueItem:
        with self._observed("get_item", project_id, queue_id):
            return self._repository.get_item(project_id, item_id, queue_id)

    @documented_as(Repository.get_records)
    def get_records(
        self,
        project_id: str,
        item_ids: Sequence[str],
        queue_id: str | None = None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None = (),
    ) -> dict[str, ItemRecord]:
        with self._observed("get_records", project_id, queue_id):
            return self._repository.get_records(
                project_id, item_ids, queue_id, with_items=with_items, labels_of=labels_of
            )

    @documented_as(Repository.save)
    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        with self._observed("save", *_place(writes)):
            self._repository.save(writes)

    @documented_as(Repository.query_items)
    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        with self._observed("query_items", project_id, queue_id):
            return self._repository.query_items(project_id, queue_id, query)

    @documented_as(Repository.update_items)
    def update_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, patch: ItemPatch, at: datetime
    ) -> int:
        with self._observed("update_items", project_id, queue_id):
            return self._repository.update_items(project_id, queue_id, which, patch, at)

    @documented_as(Repository.reprioritise)
    def reprioritise(self, project_id: str, queue_id: str, priorities: Mapping[str, int], at: datetime) -> int:
        with self._observed("reprioritise", project_id, queue_id):
            return self._repository.reprioritise(project_id, queue_id, priorities, at)

    @documented_as(Repository.reset)
    def reset(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
        with self._observed("reset", project_id, queue_id):
            return self._repository.reset(project_id, queue_id, which, wanted)

    @documented_as(Repository.remove_items)
    def remove_items(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, at: datetime) -> int:
        with self._observed("remove_items", project_id, queue_id):
            return self._repository.remove_items(project_id, queue_id, which, at)

    @documented_as(Repository.restore_items)
    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        with self._observed("restore_items", project_id, queue_id):
            return self._repository.restore_items(project_id, queue_id, item_ids, at)

    @documented_as(Repository.restore_queue)
    def restore_queue(self, project_id: str, queue_id: str, at: datetime) -> AnnotationQueue:
        with self._observed("restore_queue", project_id, queue_id):
            return self._repository.restore_queue(project_id, queue_id, at)

    @documented_as(Repository.purge)
    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        with self._observed("purge", project_id):
            return self._repository.purge(project_id, removed_before)

    @documented_as(Repository.claim)
    def claim(
        self, project_id: str, queue_id: str, annotator_id: str, *, limit: int, at: datetime, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        with self._observed("claim", project_id, queue_id) as span:
            answer = self._repository.claim(project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease)
            self._note_claims(span, QueueKey(project_id, queue_id), answer)
            return answer

    @documented_as(Repository.holds)
    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        with self._observed("holds", project_id, queue_id):
            return self._repository.holds(project_id, queue_id, annotator_id)

    @documented_as(Repository.labels)
    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        with self._observed("labels", project_id, queue_id):
            return self._repository.labels(project_id, queue_id, query)

    @documented_as(Repository.changes)
    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> ChangePage:
        with self._observed("changes", project_id, queue_id):
            return self._repository.changes(project_id, queue_id, after, limit)

    @documented_as(Repository.settled_since)
    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[Settlement, ...]:
        with self._observed("settled_since", project_id, queue_id):
            return self._repository.settled_since(project_id, queue_id, since)

    @documented_as(Repository.history)
    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        with self._observed("history", project_id):
            return self._repository.history(project_id, item_id)

    @documented_as(Repository.stats)
    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[QueueStats, ...]:
        with self._observed("stats", project_id):
            return self._repository.stats(project_id, queue_ids)

    @documented_as(Repository.check)
    def check(self) -> tuple[str, ...]:
        with self._observed("check"):
            return self._repository.check()

    def close(self) -> None:
        """Close the repository, and read nothing of it any more."""
        self._instruments.watched.discard(self._queues)
        self._repository.close()

    def __enter__(self) -> Self:
        self._repository.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._instruments.watched.discard(self._queues)
        self._repository.__exit__(kind, error, traceback)

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._is_global:
            raise TypeError(
                "a TelemetryRepository with providers of its own cannot be pickled; leave them out to use the global ones"
            )
        return TelemetryRepository, (self._repository,)

    @contextmanager
    def _observed(self, name: str, project_id: str | None = None, queue_id: str | None = None) -> Iterator[Span]:
        """Make a span of what is done within, and measure it.

        Args:
            name: The method that is called.
            project_id: Of which project; None if it is of all.
            queue_id: Of which queue; None if it is of several, or of none.
        """
        place = {key: value for key, value in ((PROJECT, project_id), (QUEUE, queue_id)) if value is not None}
        failed: dict[str, str] = {}
        with self._tracer.start_as_current_span(
            f"{NAME}.{name}", attributes=place, record_exception=False, set_status_on_exception=False
        ) as span:
            since = time.perf_counter()
            try:
                yield span
            except BaseException as error:
                failed[_ERROR] = class_name(error)
                self._note_error(span, name, project_id, error)
                raise
            finally:
                self._instruments.seconds.record(time.perf_counter() - since, {_CALL: name, **failed})

    def _note_error(self, span: Span, name: str, project_id: str | None, error: BaseException) -> None:
        # Its kind and not its text, which may tell what a row holds.
        kind = class_name(error)
        span.set_attribute(_ERROR, kind)
        if isinstance(error, Conflict):
            place = {} if project_id is None else {PROJECT: project_id}
            self._instruments.conflicts.add(1, {_CALL: name, **place})
        elif isinstance(error, StorageError) or not isinstance(error, AnnotationQueueError):
            span.set_status(Status(StatusCode.ERROR, kind))  # the others are answers

    def _note_addition(self, span: Span, key: QueueKey, answer: AddedItems) -> None:
        self._queues.use(key)
        span.set_attribute(f"{NAME}.added", len(answer.added))

    def _note_claims(self, span: Span, key: QueueKey, answer: tuple[Claim, ...] | Unavailable) -> None:
        self._queues.use(key)
        if isinstance(answer, Unavailable):
            span.set_attribute(_REASON, answer.reason.value)
            self._instruments.unavailable.add(1, {_REASON: answer.reason.value, **key.attributes()})
        else:
            span.set_attribute(f"{NAME}.granted", len(answer))
            self._instruments.claims.add(len(answer), key.attributes())


def _place(writes: Sequence[tuple[ItemRecord, Change]]) -> tuple[str, ...]:
    """Say of which project and queue writes are; nothing if they are of several queues."""
    queues = {(record.queue.project_id, record.queue.id) for record, _ in writes}
    return next(iter(queues)) if len(queues) == 1 else ()
