"""The batch runner: failures are told from skips, earlier ones can be retried, and reports say what was left and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from annotation_queue import (
    AnnotationQueues,
    BatchReport,
    InvalidValue,
    MemoryRepository,
    NewItem,
    RetryLater,
    SkipItem,
    StopReason,
    run_batch,
    run_batches,
)
from annotation_queue.batch.counts import RunCounts
from annotation_queue.batch.report import Failure
from annotation_queue.batch.work import FAILED_PREFIX, Outcome, OutcomeKind, is_failure
from helpers.batches import fill, label_number, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from annotation_queue import ItemFilter, QueueItem
    from annotation_queue.batch.labelers import Labeler


class Resetting(AnnotationQueues):
    """A service that notes what is put back to unstarted."""

    def __init__(self) -> None:
        super().__init__(MemoryRepository(), "project")
        self.resets: list[dict[str, Any]] = []

    def reset(
        self,
        queue_id: str,
        which: Iterable[str] | ItemFilter,
        *,
        actor_id: str,
        annotator_id: str | None = None,
        reason: str | None = None,
    ) -> int:
        item_ids = tuple(cast("Iterable[str]", which))
        who = {"actor_id": actor_id, "annotator_id": annotator_id, "reason": reason}
        self.resets.append({"item_ids": item_ids, **who})
        return super().reset(queue_id, item_ids, actor_id=actor_id, annotator_id=annotator_id, reason=reason)


def fail_or_skip(item: QueueItem) -> object:
    if item.call_id < "call-002":
        raise ValueError("no score")
    if item.call_id == "call-002":
        raise SkipItem("too short")
    if item.call_id == "call-003":
        raise SkipItem("failed: to parse")
    return label_number(item)


def test_the_reason_tells_a_failure_from_a_skip(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 6)
    report = run_batch(queues, queue_id, shape(fail_or_skip), annotator_id="model", max_attempts=1)
    assert (report.failed, report.skipped, report.earlier_failures) == (2, 4, 0)
    reasons = [queues.progress(item.id)[0].reason for item in queues.iter_items(queue_id)]
    assert [is_failure(reason) for reason in reasons] == [True, True, False, False, False, False]
    assert reasons[0] == FAILED_PREFIX + "ValueError: no score"
    assert reasons[3] == "skipped: failed: to parse"


def test_a_later_run_says_how_many_items_failed_before_and_what_to_do(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 6)
    run_batch(queues, queue_id, fail_or_skip, annotator_id="model", max_attempts=1)
    report = run_batch(queues, queue_id, label_number, annotator_id="model")
    assert (report.attempted, report.earlier_failures, report.retried_failures) == (0, 2, 0)
    assert report.advice == (
        "earlier runs of this annotator failed on 2 items and skipped them; retry_failed takes such items up again",
    )
    assert run_batch(queues, queue_id, label_number, annotator_id="other").earlier_failures == 0


def test_failed_items_are_taken_up_again_and_skipped_ones_are_not() -> None:
    queues = Resetting()
    queue_id = fill(queues, 6)
    run_batch(queues, queue_id, fail_or_skip, annotator_id="model", max_attempts=1)
    report = run_batch(queues, queue_id, label_number, annotator_id="model", retry_failed=True)
    assert (report.completed, report.earlier_failures, report.retried_failures, report.advice) == (2, 2, 2, ())
    assert states(queues, queue_id) == ["completed"] * 2 + ["skipped"] * 2 + ["completed"] * 2
    (reset,) = queues.resets
    assert (reset["actor_id"], reset["annotator_id"]) == ("model", "model")
    report = run_batch(queues, queue_id, label_number, annotator_id="model", retry_failed=True)
    assert (report.attempted, report.earlier_failures) == (0, 0)
    assert len(queues.resets) == 1  # nothing failed, so nothing was reset


def test_each_of_several_annotators_retries_its_own_failures() -> None:
    queues = Resetting()
    queue_id = fill(queues, 6, annotations_per_item=2)
    run_batches(queues, queue_id, {"a": fail_or_skip, "b": label_number}, max_attempts=1)
    reports = run_batches(queues, queue_id, {"a": label_number, "b": label_number}, retry_failed=True)
    assert [(report.completed, report.earlier_failures) for report in reports.values()] == [(2, 2), (0, 0)]


def test_a_dry_run_retries_nothing(queues: AnnotationQueues) -> None:
    with pytest.raises(InvalidValue, match="retry_failed"):
        run_batch(queues, fill(queues, 1), label_number, annotator_id="model", dry_run=True, retry_failed=True)


def test_an_annotator_who_finds_a_queue_finished_by_others_is_told_so(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)
    assert run_batch(queues, queue_id, label_number, annotator_id="first").advice == ()
    report = run_batch(queues, queue_id, label_number, annotator_id="second")
    assert (report.attempted, report.stop_reason, report.finished_by_others) == (0, StopReason.DONE, 3)
    (advice,) = report.advice
    assert "others finished 3 items of this queue" in advice
    assert "raise the queue's annotations_per_item" in advice
    queues.update(queue_id, annotations_per_item=2)
    report = run_batch(queues, queue_id, label_number, annotator_id="second")
    assert (report.completed, report.finished_by_others, report.advice) == (3, 0, ())


def test_what_others_hold_is_said_with_the_time_to_come_back(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 1)
    held = queues.claim(queue_id, "bob")
    assert held
    report = run_batch(queues, queue_id, label_number, annotator_id="model")
    assert report.advice == (
        f"others hold what is left, the first until {held.expires_at:%Y-%m-%d %H:%M:%S} UTC; run again then",
    )


def test_the_report_names_the_items_that_failed(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 4)
    reports: list[BatchReport] = []

    def label(item: QueueItem) -> object:
        if item.call_id != "call-003":
            raise ValueError(item.call_id)
        return "x"

    report = run_batch(queues, queue_id, label, annotator_id="model", max_attempts=1, on_progress=reports.append)
    ids = [item.id for item in queues.iter_items(queue_id)]
    assert report.failures == (
        Failure(ids[0], "call-000", 1, "ValueError: call-000"),
        Failure(ids[1], "call-001", 1, "ValueError: call-001"),
        Failure(ids[2], "call-002", 1, "ValueError: call-002"),
    )
    assert [len(one.failures) for one in reports] == [1, 2, 3, 3]


def test_the_report_names_the_newest_thousand_failures(queues: AnnotationQueues) -> None:
    claim = queues.claim(fill(queues, 1), "model")
    assert claim
    counts = RunCounts()
    for n in range(1_003):
        counts.fail(Outcome(claim, OutcomeKind.FAILED, n), f"error {n}")
    assert [failure.error for failure in counts.report().failures] == [f"error {n}" for n in range(3, 1_003)]


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("put_off", [False, True])
def test_no_attempt_sees_what_an_earlier_one_did_to_the_payload(
    queues: AnnotationQueues,
    shape: Callable[[Labeler], Labeler],
    put_off: bool,  # noqa: FBT001 - a case
) -> None:
    queue = queues.create("prompts", created_by="ann")
    queues.add_items(
        queue.id, [NewItem(call_id="call", payload={"text": "a cat", "options": ["cat", "dog"]})], added_by="ann"
    )
    attempts: list[object] = []

    def label(item: QueueItem) -> object:
        assert item.payload is not None
        item.payload["text"] = f"Classify: {item.payload['text']}"
        options = item.payload["options"]
        assert isinstance(options, list)
        options.pop()
        attempts.append(item.payload)
        if len(attempts) < 3:
            raise RetryLater(0) if put_off else TimeoutError
        return item.payload

    report = run_batch(queues, queue.id, shape(label), annotator_id="model")
    assert report.completed == 1
    assert attempts == [{"text": "Classify: a cat", "options": ["cat"]}] * 3
    (item,) = queues.iter_items(queue.id)
    assert item.payload == {"text": "a cat", "options": ["cat", "dog"]}
    assert queues.progress(item.id)[0].annotation == attempts[0]


def test_what_a_caller_does_to_a_reported_item_touches_nothing_that_is_stored(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)

    def look(report: BatchReport) -> None:
        if report.newest is not None and report.newest.item.payload is not None:
            report.newest.item.payload["n"] = object()  # type: ignore[assignment]  # as others do

    report = run_batch(queues, queue_id, fail_or_skip, annotator_id="model", max_attempts=1, on_progress=look)
    assert (report.failed, report.skipped) == (2, 3)
    assert [item.payload for item in queues.iter_items(queue_id)] == [{"n": n} for n in range(3)]
