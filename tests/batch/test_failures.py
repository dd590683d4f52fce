"""The batch runner: labelers that skip, fail, exit or return what is no label."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, BatchReport, OnFailure, SkipItem, run_batch
from annotation_queue.batch import work
from annotation_queue.batch.limits import Limits
from helpers.batches import fill, label_number, run_within, states

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import QueueItem
    from annotation_queue.batch.labelers import Labeler


def test_a_labeler_may_skip(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 3)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-000":
            raise SkipItem
        if item.call_id == "call-001":
            raise SkipItem("too \0 short")
        return "x"

    report = run_batch(queues, queue_id, shape(label), annotator_id="model")
    assert (report.completed, report.skipped, report.failed, report.retries) == (1, 2, 0, 0)
    found = [queues.progress(item.id)[0] for item in queues.iter_items(queue_id)]
    assert [(one.state.value, one.reason) for one in found] == [
        ("skipped", None),
        ("skipped", "too ? short"),
        ("completed", None),
    ]


@pytest.mark.usefixtures("no_waits")
def test_a_failure_is_tried_again(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 2)
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        if len(calls) < 3:
            raise ConnectionError
        return "x"

    report = run_batch(queues, queue_id, shape(label), annotator_id="model")
    assert calls == ["call-000"] * 3 + ["call-001"]
    assert (report.completed, report.failed, report.retries, report.last_failure) == (2, 0, 2, None)


@pytest.mark.usefixtures("no_waits")
def test_what_fails_every_time_is_skipped_with_the_error_as_reason(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    queue_id = fill(queues, 2)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-000":
            raise ValueError("bad \0\udc80" + "!" * 10_000)
        return "x"

    report = run_batch(queues, queue_id, shape(label), annotator_id="model", max_attempts=2)
    assert (report.attempted, report.completed, report.skipped, report.failed, report.retries) == (2, 1, 1, 1, 1)
    assert report.last_failure is not None
    assert report.last_failure.startswith("call-000: ValueError: bad ??!!!")
    progress = queues.progress(next(queues.iter_items(queue_id)).id)[0]
    assert progress.state.value == "skipped"
    assert progress.reason is not None
    assert progress.reason.startswith("failed: ValueError: bad ??!!!")
    assert len(progress.reason) == 500


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("label", [float("nan"), {1: 2}, {"a": object()}, "\0", (1, 2)])
def test_a_label_that_is_no_json_is_a_failure_at_once(queues: AnnotationQueues, label: object) -> None:
    queue_id = fill(queues, 1)
    report = run_batch(queues, queue_id, lambda _item: label, annotator_id="model")
    assert (report.completed, report.skipped, report.failed, report.retries) == (0, 1, 1, 0)
    reason = queues.progress(next(queues.iter_items(queue_id)).id)[0].reason
    assert reason is not None
    assert reason.startswith("failed: InvalidValue: ")


def test_an_error_that_cannot_be_printed_still_has_a_reason() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert work.failure_reason(Mute()) == "Mute"


@pytest.mark.usefixtures("no_waits")
def test_failures_can_be_released_and_are_not_tried_again_in_the_same_run(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 10)
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        if item.call_id < "call-004":
            raise ValueError("no")
        return "x"

    report = run_batch(
        queues, queue_id, label, annotator_id="model", max_attempts=2, on_failure=OnFailure.RELEASE, workers=2
    )
    assert len(calls) == 4 * 2 + 6
    assert (report.attempted, report.completed, report.released, report.failed) == (10, 6, 4, 4)
    assert states(queues, queue_id) == ["unstarted"] * 4 + ["completed"] * 6
    assert queues.history(next(queues.iter_items(queue_id)).id)[-1].reason == "failed: ValueError: no"


def test_a_run_that_releases_ends_when_too_many_items_fail(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 300)

    def label(_item: QueueItem) -> object:
        raise ValueError("no")

    report = run_within(Limits(most_kept=5), queues, queue_id, label, max_attempts=1, on_failure=OnFailure.RELEASE)
    assert 5 <= report.failed <= 5 + 128
    assert set(states(queues, queue_id)) == {"unstarted"}


@pytest.mark.usefixtures("no_waits")
def test_a_failure_can_end_the_run(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 50)
    error = ValueError("no")

    def label(item: QueueItem) -> object:
        if item.call_id == "call-003":
            raise error
        return "x"

    with pytest.raises(ValueError, match="no") as raised:
        run_batch(queues, queue_id, shape(label), annotator_id="model", on_failure=OnFailure.RAISE)
    assert raised.value is error
    assert "call-003" in error.__notes__[0]
    found = states(queues, queue_id)
    assert found[:4] == ["completed"] * 3 + ["unstarted"]
    assert "in_progress" not in found


def test_a_labeler_that_exits_ends_the_run(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 20)

    def label(_item: QueueItem) -> object:
        raise SystemExit("no key")

    with pytest.raises(SystemExit, match="no key"):
        run_batch(queues, queue_id, shape(label), annotator_id="model")
    assert set(states(queues, queue_id)) == {"unstarted"}


def test_a_cancelled_error_of_the_labelers_own_is_a_failure_like_any_other(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 2)

    async def label(_item: QueueItem) -> object:
        raise asyncio.CancelledError

    report = run_batch(queues, queue_id, label, annotator_id="model", max_attempts=1)
    assert (report.failed, report.skipped) == (2, 2)
    assert report.last_failure == "call-001: RuntimeError: the labeler was cancelled"


def test_an_error_of_the_callers_own_ends_the_run_and_releases_what_is_held(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 10)

    def look(_report: BatchReport) -> None:
        raise RuntimeError("display broke")

    with pytest.raises(RuntimeError, match="display broke"):
        run_batch(queues, queue_id, label_number, annotator_id="model", on_progress=look)
    assert "in_progress" not in states(queues, queue_id)
