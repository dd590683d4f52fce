"""The batch runner: several annotators at the same time, and runs that are stopped from outside."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    BatchReport,
    InvalidValue,
    MemoryRepository,
    OnFailure,
    QueueNotFound,
    StopReason,
    StorageError,
    run_batch,
    run_batches,
)
from helpers.batches import fill, interrupt, label_number, states
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import AnnotationQueue, QueueItem
    from annotation_queue.batch.api import BatchOptions
    from annotation_queue.batch.labelers import Labeler


def test_several_annotators_label_every_item_at_the_same_time(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    queue_id = fill(queues, 60, annotations_per_item=3)
    together = threading.Barrier(3)
    at_work = threading.Lock()
    told: list[tuple[str, int]] = []

    def label(item: QueueItem) -> object:
        if item.call_id == "call-000":
            together.wait(PATIENCE)
        return label_number(item)

    def look(annotator_id: str, report: BatchReport) -> None:
        assert at_work.acquire(blocking=False)  # one at a time
        told.append((annotator_id, report.attempted))
        at_work.release()

    names = ["gpt-b", "gpt-a", "gpt-c"]
    reports = run_batches(queues, queue_id, dict.fromkeys(names, shape(label)), on_progress=look)
    assert list(reports) == names
    for name in names:
        assert (reports[name].completed, reports[name].stop_reason) == (60, StopReason.DONE)
        assert [count for who, count in told if who == name] == list(range(1, 61))
    for n, item in enumerate(queues.iter_items(queue_id)):
        assert [(one.annotator_id, one.state, one.annotation) for one in queues.progress(item.id)] == [
            (name, "completed", {"n": n}) for name in sorted(names)
        ]
    assert queues.stats([queue_id])[0].finished_items == 60


def test_annotators_share_the_items_that_need_one_label(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 50)
    reports = run_batches(queues, queue_id, {"a": label_number, "b": label_number})
    assert sum(report.completed for report in reports.values()) == 50
    assert queues.stats([queue_id])[0].finished_items == 50


def test_options_are_those_of_each_annotator(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 20, annotations_per_item=2)
    reports = run_batches(queues, queue_id, {"a": label_number, "b": label_number}, limit=3, workers=2)
    assert [(report.completed, report.stop_reason) for report in reports.values()] == [(3, StopReason.LIMIT)] * 2


def test_no_annotators_need_no_run(queues: AnnotationQueues) -> None:
    assert run_batches(queues, fill(queues, 1), {}) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_interrupt_ends_all_runs(queues: AnnotationQueues, number: signal.Signals) -> None:
    queue_id = fill(queues, 30, annotations_per_item=2)
    before = signal.getsignal(number)
    both = threading.Barrier(2)
    sent = threading.Event()

    def label(item: QueueItem) -> object:
        if item.call_id == "call-004":
            if both.wait(PATIENCE) == 0:
                interrupt(number)
                sent.set()
            assert sent.wait(PATIENCE)
            for annotator_id in ("a", "b"):
                wait_until(lambda who=annotator_id: states(queues, queue_id, who).count("in_progress") <= 1)  # type: ignore[misc]
        return "x"

    reports = run_batches(queues, queue_id, {"a": label, "b": label})
    for name, report in reports.items():
        assert (report.stop_reason, report.interrupted, report.completed) == (StopReason.INTERRUPTED, True, 5)
        assert states(queues, queue_id, name) == ["completed"] * 5 + ["unstarted"] * 25
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_all_runs_at_once(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    queue_id = fill(queues, 3, annotations_per_item=2)
    over = threading.Event()
    both = threading.Barrier(2)
    threads_before = set(threading.enumerate())
    handler_before = signal.getsignal(signal.SIGINT)

    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        if both.wait(PATIENCE) == 0:
            interrupt()
        over.wait(PATIENCE)
        return "x"

    second = threading.Lock()

    def again(_annotator_id: str, report: BatchReport) -> None:
        if report.interrupted and second.acquire(blocking=False):
            interrupt()

    try:
        with pytest.raises(KeyboardInterrupt):
            run_batches(queues, queue_id, {"a": shape(label), "b": shape(label)}, on_progress=again)
    finally:
        over.set()
    wait_until(lambda: set(threading.enumerate()) <= threads_before)
    assert calls == ["call-000"] * 2
    assert [states(queues, queue_id, name)[0] for name in "ab"] == ["in_progress"] * 2
    assert signal.getsignal(signal.SIGINT) is handler_before


def test_an_error_of_one_run_ends_the_others_and_is_raised(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 200, annotations_per_item=2)
    failed = threading.Event()
    error = ValueError("no")

    def fail(item: QueueItem) -> object:
        if item.call_id == "call-003":
            failed.set()
            raise error
        return "x"

    def label(item: QueueItem) -> object:
        if item.call_id == "call-100":
            assert failed.wait(PATIENCE)
            wait_until(lambda: "in_progress" not in states(queues, queue_id, "a"))
        return "x"

    with pytest.raises(ValueError, match="no") as raised:
        run_batches(queues, queue_id, {"a": fail, "b": label}, on_failure=OnFailure.RAISE, max_attempts=1)
    assert raised.value is error
    for name in "ab":
        assert "in_progress" not in states(queues, queue_id, name)


def test_failures_in_a_row_stop_only_the_annotator_that_has_them(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 20, annotations_per_item=2)

    def fail(_item: QueueItem) -> object:
        raise ConnectionError

    reports = run_batches(queues, queue_id, {"a": fail, "b": label_number}, max_attempts=1, max_failures=5)
    assert reports["a"].stop_reason is StopReason.FAILURES
    assert reports["b"].completed == 20


@pytest.mark.parametrize("together", [False, True])
def test_a_run_can_be_stopped_from_another_thread(queues: AnnotationQueues, together: bool) -> None:  # noqa: FBT001 - a case
    queue_id = fill(queues, 30)
    stop = threading.Event()

    def label(item: QueueItem) -> object:
        if item.call_id == "call-004":
            stop.set()
            wait_until(lambda: states(queues, queue_id).count("in_progress") == 1)
        return "x"

    reports: list[BatchReport] = []

    def run() -> None:
        if together:
            reports.extend(run_batches(queues, queue_id, {"model": label}, stop=stop).values())
        else:
            reports.append(run_batch(queues, queue_id, label, annotator_id="model", stop=stop))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    (report,) = reports
    assert (report.stop_reason, report.interrupted, report.completed) == (StopReason.INTERRUPTED, True, 5)
    assert states(queues, queue_id) == ["completed"] * 5 + ["unstarted"] * 25


def test_a_run_that_was_stopped_before_it_began_does_nothing(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)
    stop = threading.Event()
    stop.set()
    report = run_batch(queues, queue_id, label_number, annotator_id="model", stop=stop)
    assert (report.stop_reason, report.attempted) == (StopReason.INTERRUPTED, 0)
    assert states(queues, queue_id) == ["unstarted"] * 3


@pytest.mark.parametrize("name", ["heartbeats", "labeler-3", "labelers", "labelers-watch", "run-b"])
@pytest.mark.parametrize("together", [False, True])
def test_a_run_for_which_there_is_no_thread_fails_and_leaves_none(
    queues: AnnotationQueues,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    together: bool,  # noqa: FBT001 - a case
) -> None:
    if name == "run-b" and not together:
        return
    queue_id = fill(queues, 40, annotations_per_item=2)
    before = set(threading.enumerate())
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    async def label_async(_item: QueueItem) -> object:
        return "x"

    monkeypatch.setattr(threading.Thread, "start", refuse)
    labeler = label_async if name == "labelers" else label_number
    options: BatchOptions = {"workers": 4, "timeout": timedelta(minutes=1)}
    labelers = {"a": labeler, "b": labeler} if together else {"a": labeler}
    with pytest.raises(RuntimeError, match="can't start new thread"):
        run_batches(queues, queue_id, labelers, **options)
    assert set(threading.enumerate()) == before
    for annotator in "ab":
        assert "in_progress" not in states(queues, queue_id, annotator)


def test_runs_of_which_one_cannot_be_made_leave_no_thread() -> None:
    class Unlucky(AnnotationQueues):
        looks = 0

        def get(self, queue_id: str) -> AnnotationQueue:
            self.looks += 1
            if self.looks == 3:
                raise StorageError("away")
            return super().get(queue_id)

    queues = Unlucky(MemoryRepository(), "project")
    queue_id = fill(queues, 1)
    before = set(threading.enumerate())
    with pytest.raises(StorageError):
        run_batches(queues, queue_id, dict.fromkeys("abcd", label_number))
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize(
    ("labelers", "options", "field"),
    [
        ({"": label_number}, {}, "annotator_id"),
        ({"a": "module:function"}, {}, "labelers\\['a'\\]"),
        ({"a": label_number}, {"workers": 0}, "workers"),
        ({"a": label_number}, {"stop": True}, "stop"),
    ],
)
def test_what_is_wrong_is_refused_before_any_run_begins(
    queues: AnnotationQueues, labelers: dict[str, Any], options: dict[str, Any], field: str
) -> None:
    queue_id = fill(queues, 1)
    before = set(threading.enumerate())
    with pytest.raises(InvalidValue, match=field):
        run_batches(queues, queue_id, {"fine": label_number, **labelers}, **options)
    with pytest.raises(QueueNotFound):
        run_batches(queues, "nowhere", {"fine": label_number})
    assert states(queues, queue_id, "fine") == ["unstarted"]
    assert set(threading.enumerate()) == before
