"""The batch runner: Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, BatchReport, run_batch
from annotation_queue.batch import retries
from annotation_queue.batch import run as batch_run
from helpers.batches import fill, interrupt, label_number, states
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import QueueItem
    from annotation_queue.batch.labelers import Labeler


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no busy machine outlast the grace time."""
    monkeypatch.setattr(batch_run, "GRACE", PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_running_items_end_and_releases_the_rest(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler], number: signal.Signals
) -> None:
    queue_id = fill(queues, 30)
    before = signal.getsignal(number)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-004":
            wait_until(lambda: states(queues, queue_id)[5] == "in_progress")  # claimed ahead
            interrupt(number)
            wait_until(lambda: states(queues, queue_id).count("in_progress") == 1)
        return "x"

    report = run_batch(queues, queue_id, shape(label), annotator_id="model")
    assert report.interrupted
    assert report.completed == 5
    assert report.released >= 1
    assert states(queues, queue_id) == ["completed"] * 5 + ["unstarted"] * 25
    released = [queues.history(item.id) for item in queues.iter_items(queue_id)][5]
    assert released[-1].reason == "run interrupted"
    assert signal.getsignal(number) is before


def test_an_interrupt_ends_the_wait_between_attempts(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "RETRY_WAIT", 60.0)
    monkeypatch.setattr(retries, "MAX_RETRY_WAIT", 60.0)
    queue_id = fill(queues, 1)

    def label(_item: QueueItem) -> object:
        interrupt()
        raise ValueError("no")

    report = run_batch(queues, queue_id, shape(label), annotator_id="model")
    assert (report.interrupted, report.attempted, report.released, report.failed) == (True, 1, 1, 0)
    assert states(queues, queue_id) == ["unstarted"]


def test_an_interrupt_ends_the_wait_for_a_killed_run(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 1)
    assert queues.claim(queue_id, "model")
    report = run_batch(queues, queue_id, label_number, annotator_id="model", on_progress=lambda _report: interrupt())
    assert (report.interrupted, report.attempted) == (True, 0)


def test_items_that_outlast_the_grace_time_are_released(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "GRACE", 0.05)
    queue_id = fill(queues, 3)
    over, done = threading.Event(), threading.Event()

    def label(_item: QueueItem) -> object:
        interrupt()
        over.wait(PATIENCE)
        done.set()
        return "x"

    try:
        report = run_batch(queues, queue_id, shape(label), annotator_id="model")
    finally:
        over.set()
    assert (report.interrupted, report.attempted, report.completed) == (True, 0, 0)
    assert report.released >= 1
    assert done.wait(PATIENCE)
    assert states(queues, queue_id) == ["unstarted"] * 3


def test_a_second_interrupt_stops_at_once(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 3)
    over = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    threads_before = set(threading.enumerate())
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        interrupt()
        over.wait(PATIENCE)
        return "x"

    def again(report: BatchReport) -> None:
        assert report.interrupted
        interrupt()

    try:
        with pytest.raises(KeyboardInterrupt):
            run_batch(queues, queue_id, shape(label), annotator_id="model", on_progress=again)
    finally:
        over.set()
    wait_until(lambda: set(threading.enumerate()) <= threads_before)
    assert calls == ["call-000"]
    assert states(queues, queue_id)[0] == "in_progress"
    assert signal.getsignal(signal.SIGINT) is before


def test_an_ignored_signal_stays_ignored(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def label(_item: QueueItem) -> object:
        interrupt()
        return "x"

    try:
        report = run_batch(queues, queue_id, label, annotator_id="model")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (report.completed, report.interrupted) == (3, False)


def test_a_run_in_another_thread_leaves_signals_alone(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)
    reports: list[BatchReport] = []
    handlers: list[object] = []

    def label(item: QueueItem) -> object:
        handlers.append(signal.getsignal(signal.SIGINT))
        return label_number(item)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: reports.append(run_batch(queues, queue_id, label, annotator_id="model")))
    thread.start()
    thread.join(PATIENCE)
    assert reports[0].completed == 3
    assert handlers == [before] * 3
