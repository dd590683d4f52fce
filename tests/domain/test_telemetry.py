"""Spans and metrics of any repository, as the SDK's exporters in memory get them."""

from __future__ import annotations

import inspect
import pickle
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from annotation_queue import (
    AnnotationQueues,
    Claim,
    ClaimLost,
    Conflict,
    MemoryRepository,
    NewItem,
    QueueNotFound,
    Repository,
    SQLiteRepository,
    StorageBusy,
    run_batch,
)
from annotation_queue.repository import HearsOfLostClaims, RemembersClaims
from annotation_queue.telemetry import TelemetryRepository, watched
from annotation_queue.testing import (
    AliasingContract,
    ClaimsContract,
    HoldsContract,
    QueuesContract,
    RepositoryContract,
    StoringContract,
)
from helpers.clocks import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from annotation_queue.records import ItemRecord

MARK = "sk-5ecret"


class Bench:
    """A project in memory that is observed, and what the exporters got."""

    def __init__(self, repository: Repository | None = None) -> None:
        self.spans = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])
        self.clock = Clock()
        self.inner = repository or MemoryRepository()
        self.repository = self.observe(self.inner)
        self.queues = AnnotationQueues(self.repository, "project", clock=self.clock)
        self.queue = self.queues.create("queue", created_by="ann", lease=timedelta(seconds=60))

    def observe(self, repository: Repository) -> TelemetryRepository:
        return TelemetryRepository(
            repository,
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            clock=self.clock,
        )

    def add(self, *calls: str) -> None:
        self.queues.add_items(
            self.queue.id, [NewItem(call_id=call, payload={"key": MARK}) for call in calls], added_by="ann"
        )

    def claim(self, annotator_id: str) -> Claim:
        claim = self.queues.claim(self.queue.id, annotator_id)
        assert isinstance(claim, Claim)
        return claim

    def points(self, name: str) -> list[tuple[dict[str, Any], float]]:
        """Collect, and give the values of a metric with their attributes, without those of the project and the queue."""
        found = []
        data = self.reader.get_metrics_data()
        for resource in [] if data is None else data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points if metric.name == f"annotation_queue.{name}" else ():
                        attributes = dict(point.attributes or {})
                        assert attributes.pop("annotation_queue.project_id", "project") == "project"
                        assert attributes.pop("annotation_queue.queue_id", self.queue.id) == self.queue.id
                        if isinstance(point, HistogramDataPoint):
                            found.append((attributes, float(point.count)))
                        else:
                            assert isinstance(point, NumberDataPoint)
                            found.append((attributes, point.value))
        return found

    def value(self, name: str) -> float:
        """Collect, and give the one value of a metric; 0 if there is none."""
        ((_, value),) = self.points(name) or [({}, 0)]
        return value

    def last(self) -> ReadableSpan:
        return self.spans.get_finished_spans()[-1]

    def close(self) -> None:
        self.repository.close()
        self.meter_provider.shutdown()
        self.tracer_provider.shutdown()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A project in memory that is observed."""
    made = Bench()
    yield made
    made.close()


def test_what_the_observed_repository_remembers_of_a_claim_is_remembered() -> None:
    class Remembering(MemoryRepository, RemembersClaims):
        def record_of_claim(self, project_id: str, item_id: str, annotator_id: str) -> ItemRecord | None:
            return self.get_records(project_id, [item_id], with_items=False)[item_id] if annotator_id == "bob" else None

    for repository, remembers in ((Remembering(), True), (MemoryRepository(), False)):
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        (item,) = queues.add_items(queue.id, [NewItem(call_id="call")], added_by="ann").added
        observed = TelemetryRepository(repository)
        found = observed.record_of_claim("project", item.id, "bob")
        assert (found is not None and found.item_id == item.id) is remembers
        assert observed.record_of_claim("project", item.id, "carol") is None


def test_every_method_of_the_contract_is_observed() -> None:
    theirs = {name for name, value in vars(Repository).items() if callable(value) and not name.startswith("_")}
    missing = theirs - set(dir(TelemetryRepository))
    assert missing == set(), "add each to TelemetryRepository"
    for name in theirs:
        ours, contract = getattr(TelemetryRepository, name), getattr(Repository, name)
        assert inspect.signature(ours) == inspect.signature(contract)
        assert ours.__doc__ == contract.__doc__ or name == "close"
    assert issubclass(TelemetryRepository, HearsOfLostClaims)


def test_a_claim_is_a_span_and_counts(bench: Bench) -> None:
    bench.add("a", "b")
    bench.queues.claim_batch(bench.queue.id, "ann", 5)
    span = bench.last()
    assert span.name == "annotation_queue.claim"
    assert dict(span.attributes or {}) == {
        "annotation_queue.project_id": "project",
        "annotation_queue.queue_id": bench.queue.id,
        "annotation_queue.granted": 2,
    }
    assert span.status.is_unset
    assert bench.points("claims") == [({}, 2)]
    assert not bench.queues.claim(bench.queue.id, "ann")
    assert (bench.last().attributes or {})["annotation_queue.reason"] == "leased"
    assert bench.points("claims.unavailable") == [({"annotation_queue.reason": "leased"}, 1)]
    assert bench.value("claims") == 2


def test_spans_are_children_of_what_is_under_way(bench: Bench) -> None:
    with bench.tracer_provider.get_tracer("app").start_as_current_span("request") as request:
        bench.queues.get(bench.queue.id)
    parent = bench.spans.get_finished_spans()[-2].parent
    assert parent is not None
    assert parent.span_id == request.get_span_context().span_id


def test_the_seconds_of_each_call_are_measured_errors_apart(bench: Bench) -> None:
    bench.queues.get(bench.queue.id)
    with pytest.raises(QueueNotFound):
        bench.queues.get("no such queue")
    assert bench.points("call.duration") == [
        ({"annotation_queue.call": "add_queue"}, 1),
        ({"annotation_queue.call": "get_queue"}, 1),
        ({"annotation_queue.call": "get_queue", "error.type": "QueueNotFound"}, 1),
    ]
    # That something is not there is an answer, and no failure.
    assert bench.last().status.is_unset
    assert (bench.last().attributes or {})["error.type"] == "QueueNotFound"


def test_lost_claims_are_counted_whichever_call_finds_them(bench: Bench) -> None:
    bench.add("a", "b", "c")
    claims = [bench.claim("ann") for _ in range(3)]
    for claim in claims:
        bench.queues.release(claim)
    with pytest.raises(ClaimLost):
        bench.queues.complete(claims[0])
    with pytest.raises(ClaimLost):
        bench.queues.heartbeat(claims[0].ref)
    lost = bench.queues.complete_batch([(claim, MARK) for claim in claims])
    assert all(isinstance(each, ClaimLost) for each in lost)
    assert bench.points("claims.lost") == [({}, 5)]


def test_conflicts_are_counted_by_call(bench: Bench) -> None:
    with pytest.raises(Conflict):
        bench.repository.add_queue(bench.queue)
    bench.add("a")
    other = AnnotationQueues(bench.inner, "project", clock=bench.clock)
    claim = bench.claim("ann")
    read = bench.inner.get_records

    def read_and_be_overtaken(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the repository
        records = read(*args, **kwargs)
        bench.inner.get_records = read  # type: ignore[method-assign]
        other.heartbeat(claim)
        return records

    bench.inner.get_records = read_and_be_overtaken  # type: ignore[method-assign]
    bench.queues.complete(claim)
    assert bench.points("conflicts") == [
        ({"annotation_queue.call": "add_queue"}, 1),
        ({"annotation_queue.call": "save"}, 1),
    ]


def test_depth_age_and_expiries_are_those_of_the_queue(bench: Bench) -> None:
    bench.add("a")
    bench.clock.move(30)
    bench.add("b")
    bench.clock.move(10)
    assert (bench.value("queue.depth"), bench.value("queue.oldest.age")) == (2, 40)
    stale = bench.claim("ann")
    bench.clock.move(60)
    assert bench.value("queue.expiries") == 0  # it keeps its item until somebody is granted it
    claim = bench.claim("bob")
    assert claim.item.id == stale.item.id
    assert bench.value("queue.expiries") == 1
    bench.queues.complete(claim)
    assert (bench.value("queue.depth"), bench.value("queue.oldest.age")) == (1, 70)
    bench.queues.complete(bench.claim("bob"))
    assert (bench.value("queue.depth"), bench.value("queue.oldest.age")) == (0, 0)
    # Whoever watches it elsewhere reads the same, without having been there.
    with bench.observe(bench.inner) as elsewhere:
        elsewhere.watch("project", bench.queue.id)
        assert bench.points("queue.expiries") == [({}, 1)]


def test_the_log_is_read_on_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_LOG_PAGE", 2)
    monkeypatch.setattr(watched, "_MOST_PAGES", 1)
    bench.add("a")
    for _ in range(3):
        bench.claim("ann")
        bench.clock.move(61)
    # Of the log's five entries each collection reads two: a claim and its expiry.
    assert [bench.value("queue.expiries") for _ in range(4)] == [1, 2, 2, 2]


def test_a_queue_that_is_deleted_is_forgotten_and_a_failing_storage_passed_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("a")

    def fail(*_args: object) -> object:
        raise StorageBusy("busy")

    with monkeypatch.context() as failing:
        failing.setattr(bench.inner, "stats", fail)
        assert bench.points("queue.depth") == []
    assert bench.value("queue.depth") == 1
    bench.queues.delete(bench.queue.id)
    assert bench.points("queue.depth") == []
    assert bench.repository._queues.listed() == []


def test_the_queue_that_was_not_used_for_longest_is_watched_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "_MOST_QUEUES", 2)
    bench.repository.watch("project", "kept")
    for queue_id in ("one", "two", "one", "three"):
        bench.repository._queues.use(watched.QueueKey("project", queue_id))
    assert [key.queue_id for key in bench.repository._queues.listed()] == ["kept", "one", "three"]


def test_failures_of_the_storage_are_marked_and_nothing_of_an_item_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("a", "b", "c", "d")

    def label(_item: object) -> object:
        return MARK

    run_batch(bench.queues, bench.queue.id, label, annotator_id="model", limit=2)
    bench.queues.skip(bench.claim("ann"), MARK)

    def fail(*_args: object) -> object:
        raise StorageBusy(MARK)

    monkeypatch.setattr(bench.inner, "get_queue", fail)
    with pytest.raises(StorageBusy):
        bench.queues.get(bench.queue.id)
    assert (bench.last().status.is_ok, bench.last().status.description) == (False, "StorageBusy")
    assert not bench.last().events
    told = "".join(span.to_json() for span in bench.spans.get_finished_spans())
    metrics = bench.reader.get_metrics_data()
    assert metrics is not None
    assert "annotation_queue.save" in told
    assert MARK not in told + metrics.to_json()


def test_closing_it_closes_the_repository_and_stops_reading_it(bench: Bench) -> None:
    bench.add("a")
    bench.repository.close()
    assert bench.points("queue.depth") == []
    with pytest.raises(OSError, match="closed"):
        bench.inner.get_queue("project", bench.queue.id)


def test_it_travels_with_a_repository_that_can(tmp_path: Path) -> None:
    with TelemetryRepository(SQLiteRepository(tmp_path / "labels.db")) as repository:
        queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")
        with pickle.loads(pickle.dumps(repository)) as there:  # noqa: S301 - our own bytes
            assert isinstance(there, TelemetryRepository)
            assert there.get_queue("project", queue.id) == queue
    bench = Bench()
    with pytest.raises(TypeError, match="with providers of its own cannot be pickled"):
        pickle.dumps(bench.repository)
    bench.close()


def test_without_opentelemetry_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("annotation_queue.telemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'annotation-queue\[otel\]'"):
        __import__("annotation_queue.telemetry")


class Observed:
    """Repositories in memory that are observed, all by one pair of providers, which nobody reads."""

    tracer_provider = TracerProvider(shutdown_on_exit=False)
    meter_provider = MeterProvider(shutdown_on_exit=False)

    def make_repository(self) -> TelemetryRepository:
        return TelemetryRepository(
            MemoryRepository(), tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )


class TestTelemetryRepository(
    Observed,
    QueuesContract,
    ClaimsContract,
    HoldsContract,
    AliasingContract,
    StoringContract,
):
    """What the wrapper could break: what goes in and out. The whole contract is kept in the slow run."""


@pytest.mark.slow
@pytest.mark.thinned
class TestTelemetryRepositoryAsAWhole(Observed, RepositoryContract):
    many = 500
    histories_per_example = 1 / 3
