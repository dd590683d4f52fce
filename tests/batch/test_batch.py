"""The batch runner: every item is labelled once, by several workers, up to a limit."""

from __future__ import annotations

import asyncio
import functools
import threading
from datetime import timedelta
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    BatchReport,
    InvalidValue,
    UnavailableReason,
    run_batch,
)
from annotation_queue.batch.retries import RetryPolicy
from annotation_queue.batch.threads import ThreadLabelers
from annotation_queue.batch.work import OutcomeKind
from helpers.batches import fill, label_number, states
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import QueueItem
    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.batch.work import Outcome


@pytest.mark.parametrize("workers", [1, 5])
def test_every_item_is_labelled_once_and_reported(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler], workers: int
) -> None:
    queue_id = fill(queues, 200)
    seen: list[str] = []
    reports: list[BatchReport] = []

    def label(item: QueueItem) -> object:
        seen.append(item.call_id)
        return label_number(item)

    report = run_batch(
        queues, queue_id, shape(label), annotator_id="model", workers=workers, on_progress=reports.append
    )

    assert sorted(seen) == [f"call-{n:03}" for n in range(200)]
    for n, item in enumerate(queues.iter_items(queue_id)):
        (progress,) = queues.progress(item.id)
        assert (progress.annotator_id, progress.state, progress.annotation) == ("model", "completed", {"n": n})
    assert (report.attempted, report.completed) == (200, 200)
    assert (report.skipped, report.released, report.failed, report.lost, report.retries) == (0, 0, 0, 0, 0)
    assert not report.interrupted
    assert report.unavailable is not None
    assert report.unavailable.reason is UnavailableReason.FINISHED
    assert report.items_per_second == pytest.approx(200 / report.seconds)
    assert [one.attempted for one in reports] == list(range(1, 201))


def test_claims_that_come_one_by_one_are_worked_on_at_once(queues: AnnotationQueues) -> None:
    claims = queues.claim_batch(fill(queues, 3), "model", 3)
    together = threading.Barrier(3)
    outcomes: SimpleQueue[Outcome] = SimpleQueue()

    def label(_item: QueueItem) -> object:
        return together.wait(PATIENCE)

    labelers = ThreadLabelers(label, workers=3, policy=RetryPolicy(most=1), report=outcomes.put)
    labelers.start()
    try:
        for claim in claims:
            labelers.submit((claim,))
        kinds = [outcomes.get(timeout=2 * PATIENCE).kind for _ in claims]
    finally:
        labelers.close(wait=True)
    assert kinds == [OutcomeKind.LABELLED] * 3


def test_a_second_run_finds_nothing_to_do(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)
    run_batch(queues, queue_id, label_number, annotator_id="model")
    report = run_batch(queues, queue_id, label_number, annotator_id="model")
    assert (report.attempted, report.items_per_second) == (0, 0.0)


def test_several_annotators_label_the_same_items(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 10, annotations_per_item=2)
    first = run_batch(queues, queue_id, label_number, annotator_id="model-a")
    assert first.unavailable is not None
    assert first.unavailable.reason is UnavailableReason.SEEN
    assert run_batch(queues, queue_id, label_number, annotator_id="model-b").completed == 10
    assert queues.stats([queue_id])[0].finished_items == 10


def test_workers_label_at_the_same_time(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 12)
    together = threading.Barrier(4)

    def label(_item: QueueItem) -> object:
        together.wait(PATIENCE)
        return "x"

    assert run_batch(queues, queue_id, label, annotator_id="model", workers=4).completed == 12


def test_coroutines_are_at_work_together_and_never_more_than_the_workers(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 12)
    at_work: set[str] = set()
    most = 0
    all_there = asyncio.Event()

    async def label(item: QueueItem) -> object:
        nonlocal most
        at_work.add(item.id)
        most = max(most, len(at_work))
        if len(at_work) == 4:
            all_there.set()
        await asyncio.wait_for(all_there.wait(), PATIENCE)
        at_work.remove(item.id)
        return "x"

    assert run_batch(queues, queue_id, label, annotator_id="model", workers=4).completed == 12
    assert most == 4


def test_a_partial_and_an_object_with_an_async_call_are_coroutine_functions(queues: AnnotationQueues) -> None:
    class Judge:
        async def __call__(self, _item: QueueItem) -> object:
            return "object"

    async def judge(word: str, _item: QueueItem) -> object:
        return word

    for labeler, expected in ((Judge(), "object"), (functools.partial(judge, "partial"), "partial")):
        queue_id = fill(queues, 1)
        run_batch(queues, queue_id, labeler, annotator_id="model")
        (item,) = queues.iter_items(queue_id)
        assert queues.progress(item.id)[0].annotation == expected


def test_no_more_than_two_batches_are_held(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 400)
    held: list[int] = []

    def count(_report: BatchReport) -> None:
        held.append(queues.stats([queue_id])[0].by_annotator["model"].get(AnnotationState.IN_PROGRESS, 0))

    run_batch(queues, queue_id, label_number, annotator_id="model", on_progress=count)
    assert max(held) <= 128


def test_the_limit_bounds_the_items_attempted(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 20)
    assert run_batch(queues, queue_id, label_number, annotator_id="model", limit=0).attempted == 0
    report = run_batch(queues, queue_id, label_number, annotator_id="model", limit=7, workers=3)
    assert (report.attempted, report.unavailable) == (7, None)
    assert states(queues, queue_id) == ["completed"] * 7 + ["unstarted"] * 13


def test_a_label_is_stored_as_it_was_returned(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 30)
    shared: dict[str, object] = {}

    def label(item: QueueItem) -> object:
        assert item.payload is not None
        shared["n"] = item.payload["n"]
        return shared

    run_batch(queues, queue_id, label, annotator_id="model")
    stored = [queues.progress(item.id)[0].annotation for item in queues.iter_items(queue_id)]
    assert stored == [{"n": n} for n in range(30)]


@pytest.mark.parametrize(
    "given",
    [
        {"annotator_id": ""},
        {"workers": 0},
        {"workers": True},
        {"limit": -1},
        {"max_attempts": 0},
        {"on_failure": "explode"},
        {"lease": timedelta()},
        {"rate": 0},
        {"rate": True},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"max_failures": 0},
        {"timeout": timedelta()},
        {"timeout": 30},
        {"stop": True},
        {"labeler": "module:function"},
    ],
)
def test_wrong_arguments_are_refused(queues: AnnotationQueues, given: dict[str, Any]) -> None:
    queue_id = fill(queues, 1)
    arguments: dict[str, Any] = {"labeler": label_number, "annotator_id": "model", **given}
    with pytest.raises(InvalidValue):
        run_batch(queues, queue_id, **arguments)
    assert states(queues, queue_id) == ["unstarted"]


def test_a_run_leaves_no_thread_behind(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 5)
    before = set(threading.enumerate())
    run_batch(queues, queue_id, shape(label_number), annotator_id="model", workers=3)
    assert set(threading.enumerate()) == before
