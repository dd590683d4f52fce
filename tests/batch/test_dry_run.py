"""The batch runner: dry runs, which store nothing, and what reports tell."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, BatchReport, OnFailure, SkipItem, StopReason, run_batch
from annotation_queue.batch.limits import Limits
from helpers.batches import fill, interrupt, label_number, run_within, states
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import QueueItem
    from annotation_queue.batch.labelers import Labeler


def picky(item: QueueItem) -> object:
    if item.call_id == "call-001":
        raise SkipItem("not worth it")
    if item.call_id == "call-002":
        raise ValueError("no")
    return label_number(item)


@pytest.mark.parametrize("on_failure", [OnFailure.SKIP, OnFailure.RELEASE])
def test_a_dry_run_stores_nothing_and_says_what_it_would_have_stored(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler], on_failure: OnFailure
) -> None:
    queue_id = fill(queues, 6)
    reports: list[BatchReport] = []
    report = run_batch(
        queues,
        queue_id,
        shape(picky),
        annotator_id="model",
        max_attempts=1,
        dry_run=True,
        on_failure=on_failure,
        on_progress=reports.append,
    )
    assert (report.attempted, report.completed, report.skipped, report.failed, report.released) == (6, 4, 1, 1, 0)
    assert report.dry_run
    assert report.labels == {f"call-{n:03}": {"n": n} for n in (0, 3, 4, 5)}
    told = [one.newest for one in reports]
    assert [None if one is None else (one.item.call_id, one.counted_as, one.label, one.reason) for one in told] == [
        ("call-000", "completed", {"n": 0}, None),
        ("call-001", "skipped", None, "not worth it"),
        ("call-002", "failed", None, "ValueError: no"),
        ("call-003", "completed", {"n": 3}, None),
        ("call-004", "completed", {"n": 4}, None),
        ("call-005", "completed", {"n": 5}, None),
    ]
    for item in queues.iter_items(queue_id):
        (progress,) = queues.progress(item.id)
        assert (progress.state, progress.annotation, progress.reason) == ("unstarted", None, "dry run")
    assert run_batch(queues, queue_id, label_number, annotator_id="model").completed == 6


def test_a_dry_run_works_on_each_item_once_up_to_a_limit(
    queues: AnnotationQueues,
) -> None:
    queue_id = fill(queues, 20)
    seen: list[str] = []

    def label(item: QueueItem) -> object:
        seen.append(item.call_id)
        return "x"

    report = run_within(Limits(most_kept=7), queues, queue_id, label, dry_run=True, limit=3)
    assert (report.completed, report.stop_reason) == (3, StopReason.LIMIT)
    report = run_within(Limits(most_kept=7), queues, queue_id, label, dry_run=True)
    assert (report.completed, report.stop_reason) == (7, StopReason.KEPT)
    assert seen == [f"call-{n:03}" for n in (*range(3), *range(7))]
    assert set(states(queues, queue_id)) == {"unstarted"}


def test_an_interrupted_dry_run_stores_nothing_either(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 9)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-003":
            interrupt()
        return "x"

    report = run_batch(queues, queue_id, label, annotator_id="model", dry_run=True)
    assert (report.stop_reason, report.dry_run) == (StopReason.INTERRUPTED, True)
    assert len(report.labels) == report.completed
    assert set(states(queues, queue_id)) == {"unstarted"}


def test_a_failure_can_end_a_dry_run(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 6)
    with pytest.raises(ValueError, match="no"):
        run_batch(
            queues,
            queue_id,
            picky,
            annotator_id="model",
            max_attempts=1,
            dry_run=True,
            on_failure=OnFailure.RAISE,
        )
    assert set(states(queues, queue_id)) == {"unstarted"}


def test_the_slowest_items_are_named(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 30)

    def label(item: QueueItem) -> object:
        if item.call_id in {"call-003", "call-017", "call-021"}:
            threading.Event().wait(0.05 if item.call_id == "call-017" else 0.02)
        return "x"

    report = run_batch(queues, queue_id, label, annotator_id="model")
    assert len(report.slowest) == 5
    took = [slow.seconds for slow in report.slowest]
    assert took == sorted(took, reverse=True)
    by_id = {item.id: item.call_id for item in queues.iter_items(queue_id)}
    assert all(by_id[slow.item_id] == slow.call_id for slow in report.slowest)
    # Another may have been held up by the machine for as long, but not five of them below 20 ms and this one not.
    assert report.slowest[0].seconds >= 0.05


@pytest.mark.slow
def test_attempts_of_an_item_count_together_as_its_time(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 1)
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        threading.Event().wait(0.02)
        if len(calls) < 3:
            raise ConnectionError
        return "x"

    report = run_batch(queues, queue_id, label, annotator_id="model")
    (slow,) = report.slowest
    assert slow.seconds >= 0.06
    assert report.seconds >= slow.seconds + 0.75  # half of the waits, at least, which are not the labeler's


def test_a_label_is_stored_while_the_next_item_is_worked_on(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    queue_id = fill(queues, 3)
    stored: list[str] = []
    come = threading.Condition()

    def look(report: BatchReport) -> None:
        if report.newest is not None:
            with come:
                stored.append(report.newest.item.call_id)
                come.notify()

    def label(item: QueueItem) -> object:
        before = int(item.call_id.removeprefix("call-"))
        with come:
            assert come.wait_for(lambda: len(stored) == before, PATIENCE)
        return "x"

    report = run_batch(queues, queue_id, shape(label), annotator_id="model", on_progress=look)
    assert (report.completed, report.failed) == (3, 0)
