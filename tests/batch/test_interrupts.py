"""The batch runner: Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, BatchReport, run_batch
from annotation_queue.backoff import Backoff
from annotation_queue.batch.limits import Limits
from helpers.batches import fill, interrupt, label_number, run_within, states
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import QueueItem
    from annotation_queue.batch.labelers import Labeler


PATIENT = Limits(grace=PATIENCE)
"""No busy machine outlasts this grace time."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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

    report = run_within(PATIENT, queues, queue_id, shape(label))
    assert report.interrupted
    assert report.completed == 5
    assert report.released >= 1
    assert states(queues, queue_id) == ["completed"] * 5 + ["unstarted"] * 25
    released = [queues.history(item.id) for item in queues.iter_items(queue_id)][5]
    assert released[-1].reason == "run interrupted"
    assert signal.getsignal(number) is before


def test_an_interrupt_ends_the_wait_between_attempts(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    slow = Limits(grace=PATIENCE, retries=Backoff(first=60.0, longest=60.0))
    queue_id = fill(queues, 1)

    def label(_item: QueueItem) -> object:
        interrupt()
        raise ValueError("no")

    report = run_within(slow, queues, queue_id, shape(label))
    assert (report.interrupted, report.attempted, report.released, report.failed) == (True, 1, 1, 0)
    assert states(queues, queue_id) == ["unstarted"]


def test_an_interrupt_ends_the_wait_for_a_killed_run(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 1)
    assert queues.claim(queue_id, "model")
    report = run_batch(queues, queue_id, label_number, annotator_id="model", on_progress=lambda _report: interrupt())
    assert (report.interrupted, report.attempted) == (True, 0)


def test_items_that_outlast_the_grace_time_are_released(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    queue_id = fill(queues, 3)
    over, done = threading.Event(), threading.Event()

    def label(_item: QueueItem) -> object:
        interrupt()
        over.wait(PATIENCE)
        done.set()
        return "x"

    try:
        report = run_within(Limits(grace=0.05), queues, queue_id, shape(label))
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


def test_a_terminal_that_goes_away_and_its_shell_that_says_so_too_stop_a_run_once(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 5)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-001":
            interrupt(signal.SIGHUP)
            wait_until(lambda: states(queues, queue_id).count("in_progress") == 1)
            interrupt(signal.SIGHUP)
        return "x"

    report = run_within(PATIENT, queues, queue_id, label)
    assert (report.interrupted, report.completed) == (True, 2)
    assert states(queues, queue_id) == ["completed"] * 2 + ["unstarted"] * 3


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
