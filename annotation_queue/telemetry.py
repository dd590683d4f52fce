"""`TelemetryRepository`: spans and metrics of any repository, by OpenTelemetry (extra ``otel``).

It wraps a repository, and everything over it is observed: the service, the runner, the web app::

    from annotation_queue import AnnotationQueues, SQLiteRepository
    from annotation_queue.telemetry import TelemetryRepository

    queues = AnnotationQueues(TelemetryRepository(SQLiteRepository("labels.db")), "acme/chatbot")

Each call of the repository is a span, ``annotation_queue.claim`` and so on, and a value of a histogram. The metrics:

=====================================  ==========================================================================
``annotation_queue.call.duration``     seconds of each call, by ``annotation_queue.call`` and ``error.type``
``annotation_queue.claims``            claims granted
``annotation_queue.claims.unavailable``  claims that got nothing, by ``annotation_queue.reason``
``annotation_queue.claims.lost``       claims that were found lost when somebody used them
``annotation_queue.conflicts``         writes that somebody else was faster than, by ``annotation_queue.call``
``annotation_queue.queue.expiries``    leases that ran out and whose item was granted again, since the queue was made
``annotation_queue.queue.depth``       live items that are not finished
``annotation_queue.queue.oldest.age``  seconds since the oldest item was added that nobody has settled; 0 without one
=====================================  ==========================================================================

The last three belong to a queue and not to this process. They are read when metrics are collected, for the queues that were
claimed from or added to through this repository, at most 100, and those that `TelemetryRepository.watch` was told of. All but
the duration carry ``annotation_queue.project_id``, and all of queues ``annotation_queue.queue_id``; a view of the SDK takes
away an attribute that has too many values. No payload, label, reason or text of an error is in a span or a metric.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial, wraps
from types import TracebackType
from typing import Any, ClassVar, Concatenate, Final, NamedTuple, ParamSpec, Self, TypeVar

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import Span, Status, StatusCode, TracerProvider
except ModuleNotFoundError as missing:
    message = "annotation_queue.telemetry needs opentelemetry-api: pip install 'annotation-queue[otel]'"
    raise ModuleNotFoundError(message, name=missing.name) from missing

from annotation_queue.errors import AnnotationQueueError, ClaimLost, Conflict, QueueNotFound, StorageError
from annotation_queue.items import AddedItems, AnnotationQueue, Unavailable
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.repository import HearsOfLostClaims, Repository
from annotation_queue.sorting import SortBy
from annotation_queue.states import LEASE_EXPIRED
from annotation_queue.values import class_name, utc_now

__all__ = ["TelemetryRepository"]

_LOG: Final = logging.getLogger("annotation_queue.telemetry")
_NAME: Final = "annotation_queue"
_MOST_QUEUES: Final = 100
_LOG_PAGE: Final = 1_000
_MOST_PAGES: Final = 50
"""How many pages of a queue's log are read in one collection: the count catches up over several, and never stops for long."""
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CALL: Final = f"{_NAME}.call"
_PROJECT: Final = f"{_NAME}.project_id"
_QUEUE: Final = f"{_NAME}.queue_id"
_REASON: Final = f"{_NAME}.reason"
_ERROR: Final = "error.type"
_OLDEST: Final = ItemQuery(
    filter=ItemFilter(finished=False),
    sort_by=(SortBy("created_at"),),
    limit=1,
    include_payload=False,
)

_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


def _observed(
    method: Callable[Concatenate[Repository, _P], _Answer],
) -> Callable[Concatenate[TelemetryRepository, _P], _Answer]:
    """Make the method that calls that of the wrapped repository inside a span."""
    name, parameters = method.__name__, list(inspect.signature(method).parameters)[1:]

    @wraps(method)
    def call(self: TelemetryRepository, /, *args: _P.args, **kwargs: _P.kwargs) -> _Answer:
        given = {**dict(zip(parameters, args, strict=False)), **kwargs}
        made: _Answer = self._observe(name, given, getattr(self.repository, name), args, kwargs)
        return made

    call.__module__, call.__qualname__ = __name__, f"TelemetryRepository.{name}"
    return call


class TelemetryRepository(HearsOfLostClaims):
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
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        self._instruments = _Instruments.of(meter_provider or metrics.get_meter_provider())
        self._clock = clock
        self._lock = threading.Lock()
        # In the order in which they were used last, so that the oldest makes room.
        self._watched: dict[_Key, _Watched] = {}
        self._instruments.repositories.add(self)

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
        self._use(_Key(project_id, queue_id), is_kept=True)

    def claims_lost(self, project_id: str, lost: Sequence[ClaimLost]) -> None:
        """See `HearsOfLostClaims`: count them."""
        self._instruments.lost.add(len(lost), {_PROJECT: project_id})

    # The methods of the contract, in its order.

    add_queue = _observed(Repository.add_queue)
    get_or_create_queue = _observed(Repository.get_or_create_queue)
    get_queue = _observed(Repository.get_queue)
    query_queues = _observed(Repository.query_queues)
    replace_queue = _observed(Repository.replace_queue)
    add_items = _observed(Repository.add_items)
    get_item = _observed(Repository.get_item)
    get_records = _observed(Repository.get_records)
    save = _observed(Repository.save)
    query_items = _observed(Repository.query_items)
    update_items = _observed(Repository.update_items)
    reprioritise = _observed(Repository.reprioritise)
    remove_items = _observed(Repository.remove_items)
    restore_items = _observed(Repository.restore_items)
    restore_queue = _observed(Repository.restore_queue)
    purge = _observed(Repository.purge)
    claim = _observed(Repository.claim)
    holds = _observed(Repository.holds)
    labels = _observed(Repository.labels)
    changes = _observed(Repository.changes)
    settled_since = _observed(Repository.settled_since)
    history = _observed(Repository.history)
    stats = _observed(Repository.stats)
    check = _observed(Repository.check)

    def close(self) -> None:
        """Close the repository, and read nothing of it any more."""
        self._instruments.repositories.discard(self)
        self.repository.close()

    def __enter__(self) -> Self:
        self.repository.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._instruments.repositories.discard(self)
        self.repository.__exit__(kind, error, traceback)

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._is_global:
            raise TypeError(
                "a TelemetryRepository with providers of its own cannot be pickled; leave them out to use the global ones"
            )
        return TelemetryRepository, (self.repository,)

    def _observe(
        self, name: str, given: dict[str, Any], call: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - what the repository answers
        place = _place(given)
        error: BaseException | None = None
        with self._tracer.start_as_current_span(
            f"{_NAME}.{name}", attributes=place, record_exception=False, set_status_on_exception=False
        ) as span:
            since = time.perf_counter()
            try:
                answer = call(*args, **kwargs)
            except BaseException as raised:
                error = raised
                self._note_error(span, name, place, raised)
                raise
            finally:
                kind = {} if error is None else {_ERROR: class_name(error)}
                self._instruments.seconds.record(time.perf_counter() - since, {_CALL: name, **kind})
            self._note_answer(span, name, place, answer)
            return answer

    def _note_error(self, span: Span, name: str, place: dict[str, str], error: BaseException) -> None:
        # Its kind and not its text, which may tell what a row holds.
        kind = class_name(error)
        span.set_attribute(_ERROR, kind)
        if isinstance(error, Conflict):
            self._instruments.conflicts.add(1, {_CALL: name, **_project_of(place)})
        elif isinstance(error, StorageError) or not isinstance(error, AnnotationQueueError):
            span.set_status(Status(StatusCode.ERROR, kind))  # the others are answers

    def _note_answer(self, span: Span, name: str, place: dict[str, str], answer: Any) -> None:  # noqa: ANN401
        if name == "claim":
            self._use(_Key(place[_PROJECT], place[_QUEUE]))
            if isinstance(answer, Unavailable):
                span.set_attribute(_REASON, answer.reason.value)
                self._instruments.unavailable.add(1, {_REASON: answer.reason.value, **place})
            else:
                span.set_attribute(f"{_NAME}.granted", len(answer))
                self._instruments.claims.add(len(answer), place)
        elif isinstance(answer, AddedItems):
            self._use(_Key(place[_PROJECT], place[_QUEUE]))
            span.set_attribute(f"{_NAME}.added", len(answer.added))

    def _use(self, key: _Key, *, is_kept: bool = False) -> None:
        """Note that a queue is used; the one that was not used for longest makes room."""
        with self._lock:
            watched = self._watched.pop(key, None) or _Watched()
            watched.is_kept |= is_kept
            self._watched[key] = watched
            others = [each for each, found in self._watched.items() if not found.is_kept]
            for each in others[: max(0, len(others) - _MOST_QUEUES)]:
                del self._watched[each]

    def _read(self, read: Callable[[_Key, _Watched], float]) -> dict[_Key, float]:
        """Read something of every queue that is watched; what cannot be read now is left out."""
        with self._lock:
            watched = dict(self._watched)
        found = {}
        for key, each in watched.items():
            try:
                found[key] = read(key, each)
            except QueueNotFound:
                with self._lock:
                    self._watched.pop(key, None)
            except Exception as error:  # noqa: BLE001 - whatever a storage raises, the other queues are read
                _LOG.info("queue %r could not be observed: %s", key.queue_id, class_name(error))
        return found

    def _depth(self, key: _Key, _watched: _Watched) -> float:
        (stats,) = self.repository.stats(key.project_id, (key.queue_id,))
        return stats.total_items - stats.finished_items

    def _age(self, key: _Key, _watched: _Watched) -> float:
        found = self.repository.query_items(key.project_id, key.queue_id, _OLDEST).items
        return max(0.0, (self._clock() - found[0].created_at).total_seconds()) if found else 0.0

    def _expiries(self, key: _Key, watched: _Watched) -> float:
        with watched.lock:
            for _ in range(_MOST_PAGES):
                page = self.repository.changes(key.project_id, key.queue_id, watched.cursor, _LOG_PAGE)
                watched.cursor = page.cursor
                watched.expiries += sum(
                    step.actor_id is None and step.reason == LEASE_EXPIRED for step in page.transitions
                )
                if len(page.transitions) < _LOG_PAGE:
                    break
            return watched.expiries


class _Watched:
    """What is kept of a queue between two collections: how far its log was read, and how many leases ran out up to there."""

    def __init__(self) -> None:
        self.is_kept = False
        self.lock = threading.Lock()
        self.cursor: str | None = None
        self.expiries = 0


class _Instruments:
    """The instruments of one provider, which takes each name only once, and the repositories that they observe."""

    _all: ClassVar[weakref.WeakKeyDictionary[MeterProvider, _Instruments]] = weakref.WeakKeyDictionary()
    _lock: ClassVar = threading.Lock()

    @classmethod
    def of(cls, provider: MeterProvider) -> _Instruments:
        """Give the instruments of a provider."""
        with cls._lock:
            if provider not in cls._all:
                cls._all[provider] = cls(provider.get_meter(_NAME))
            return cls._all[provider]

    def __init__(self, meter: Meter) -> None:
        self.repositories: weakref.WeakSet[TelemetryRepository] = weakref.WeakSet()
        self.seconds = meter.create_histogram(
            f"{_NAME}.call.duration",
            "s",
            "Seconds of each call of the repository",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.claims = meter.create_counter(f"{_NAME}.claims", "{claim}", "Claims granted")
        self.unavailable = meter.create_counter(f"{_NAME}.claims.unavailable", "{call}", "Claims that got nothing")
        self.lost = meter.create_counter(f"{_NAME}.claims.lost", "{claim}", "Claims found lost when they were used")
        self.conflicts = meter.create_counter(
            f"{_NAME}.conflicts", "{call}", "Writes that somebody else was faster than"
        )
        meter.create_observable_counter(
            f"{_NAME}.queue.expiries",
            [partial(self._observe, TelemetryRepository._expiries)],  # noqa: SLF001 - two classes of one module
            "{lease}",
            "Leases that ran out and whose item was granted again",
        )
        meter.create_observable_gauge(
            f"{_NAME}.queue.depth",
            [partial(self._observe, TelemetryRepository._depth)],  # noqa: SLF001 - as above
            "{item}",
            "Live items that are not finished",
        )
        meter.create_observable_gauge(
            f"{_NAME}.queue.oldest.age",
            [partial(self._observe, TelemetryRepository._age)],  # noqa: SLF001 - as above
            "s",
            "Seconds since the oldest item was added that nobody has settled",
        )

    def _observe(
        self, read: Callable[[TelemetryRepository, _Key, _Watched], float], _options: CallbackOptions
    ) -> Iterable[Observation]:
        # Several repositories may be open on one storage, and watch the same queue.
        found: dict[_Key, float] = {}
        for repository in list(self.repositories):
            found.update(repository._read(partial(read, repository)))  # noqa: SLF001 - as above
        return [Observation(value, key.attributes()) for key, value in found.items()]


class _Key(NamedTuple):
    """A queue, by which it is watched."""

    project_id: str
    queue_id: str

    def attributes(self) -> dict[str, str]:
        return {_PROJECT: self.project_id, _QUEUE: self.queue_id}


def _place(given: dict[str, Any]) -> dict[str, str]:
    """Say of which project and queue a call is, by its arguments; nothing if it is of several queues, or of none."""
    queue: object = given.get("before", given.get("queue"))
    if writes := given.get("writes"):
        queues = {(record.queue.project_id, record.queue.id): record.queue for record, _ in writes}
        queue = next(iter(queues.values())) if len(queues) == 1 else None
    if isinstance(queue, AnnotationQueue):
        return _Key(queue.project_id, queue.id).attributes()
    named = {_PROJECT: given.get("project_id"), _QUEUE: given.get("queue_id")}
    return {name: value for name, value in named.items() if isinstance(value, str)}


def _project_of(place: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in place.items() if name == _PROJECT}
