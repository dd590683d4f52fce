"""The batch runner: labelers that take too long, hang, ignore their cancellation or block the event loop."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, BatchReport, OnFailure, StopReason, run_batch
from annotation_queue.batch.limits import Limits
from annotation_queue.batch.retries import RetryPolicy
from annotation_queue.batch.work import Work
from helpers.batches import fill, interrupt, label_number, run_within, states
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue import QueueItem

# Long enough for a labeler that returns at once on a machine with much else to do.
LIMIT = timedelta(seconds=0.5)
REASON = "TimeoutError: no label within 0.5 s"


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """What ends the labelers that hang, at the end of the test at the latest."""
    before = set(threading.enumerate())
    event = threading.Event()
    yield event
    event.set()
    wait_until(lambda: set(threading.enumerate()) <= before)


def reason_of(queues: AnnotationQueues, queue_id: str, number: int) -> str | None:
    return queues.progress(list(queues.iter_items(queue_id))[number].id)[0].reason


@pytest.mark.slow
def test_a_function_that_hangs_costs_its_item_and_no_worker(queues: AnnotationQueues, over: threading.Event) -> None:
    queue_id = fill(queues, 6)
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        if item.call_id in {"call-001", "call-003"}:
            over.wait(PATIENCE)
        return label_number(item)

    report = run_batch(queues, queue_id, label, annotator_id="model", timeout=LIMIT)
    assert (report.completed, report.skipped, report.failed, report.timed_out, report.retries) == (4, 2, 2, 2, 0)
    assert report.last_failure == f"call-003: {REASON}"
    assert reason_of(queues, queue_id, 1) == f"failed: {REASON}"
    assert calls == [f"call-{n:03}" for n in range(6)]  # one worker, or the one that took its place
    assert {slow.call_id for slow in report.slowest[:2]} == {"call-001", "call-003"}
    assert report.slowest[1].seconds >= LIMIT.total_seconds()


def test_where_no_thread_can_be_had_the_next_item_waits_for_one(
    queues: AnnotationQueues, over: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_id = fill(queues, 3)
    start, refused = threading.Thread.start, itertools.count(1)

    def start_later(thread: threading.Thread) -> None:
        if thread.name == "labeler-2" and next(refused) <= 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-000":
            over.wait(PATIENCE)
        return "x"

    monkeypatch.setattr(threading.Thread, "start", start_later)
    report = run_batch(queues, queue_id, label, annotator_id="model", timeout=LIMIT)
    assert (report.completed, report.timed_out) == (2, 1)
    assert next(refused) == 5  # refused three times, and then there was one


def test_what_a_function_returns_after_its_time_is_dropped(queues: AnnotationQueues, over: threading.Event) -> None:
    queue_id = fill(queues, 2)
    returned = threading.Event()

    def label(item: QueueItem) -> object:
        if item.call_id == "call-000":
            over.wait(PATIENCE)
            returned.set()
            return "late"
        over.set()
        assert returned.wait(PATIENCE)
        return "x"

    report = run_batch(queues, queue_id, label, annotator_id="model", timeout=LIMIT)
    assert (report.completed, report.timed_out) == (1, 1)
    assert states(queues, queue_id) == ["skipped", "completed"]
    assert reason_of(queues, queue_id, 0) == f"failed: {REASON}"


def test_a_coroutine_that_hangs_is_cancelled(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 5)
    ended: list[str] = []

    async def label(item: QueueItem) -> object:
        if item.call_id == "call-001":
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                ended.append(item.call_id)
                raise
        return "x"

    report = run_batch(queues, queue_id, label, annotator_id="model", timeout=LIMIT, workers=2)
    assert ended == ["call-001"]
    assert (report.completed, report.skipped, report.timed_out) == (4, 1, 1)
    assert reason_of(queues, queue_id, 1) == f"failed: {REASON}"


def test_a_coroutine_that_ignores_its_cancellation_is_left_alone(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)
    others = itertools.count(1)
    all_others = asyncio.Event()

    async def label(item: QueueItem) -> object:
        if item.call_id == "call-000":
            while not all_others.is_set():
                try:
                    await asyncio.wait_for(all_others.wait(), PATIENCE)
                except asyncio.CancelledError:
                    continue
            return "late"
        if next(others) == 2:
            all_others.set()
        return "x"

    report = run_batch(queues, queue_id, label, annotator_id="model", timeout=LIMIT)
    assert (report.completed, report.timed_out) == (2, 1)
    assert states(queues, queue_id) == ["skipped", "completed", "completed"]


@pytest.mark.slow
def test_a_coroutine_that_blocks_the_loop_costs_its_item_only(queues: AnnotationQueues, over: threading.Event) -> None:
    queue_id = fill(queues, 6)
    calls: list[str] = []
    blocked = asyncio.Event()

    async def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        if item.call_id == "call-002":
            blocked.set()
            over.wait(PATIENCE)  # blocks, as a call does that is not awaited
        if item.call_id == "call-001" and calls.count(item.call_id) == 1:
            await blocked.wait()
            await asyncio.sleep(0)
        return label_number(item)

    report = run_batch(queues, queue_id, label, annotator_id="model", timeout=LIMIT, workers=2)
    assert (report.completed, report.skipped, report.timed_out) == (5, 1, 1)
    assert states(queues, queue_id)[2] == "skipped"
    assert calls.count("call-002") == 1
    assert calls.count("call-001") == 2  # it was on the same loop, and started again on the next
    assert reason_of(queues, queue_id, 2) == f"failed: {REASON}"


def test_attempts_share_the_time_and_waits_between_them_do_not_count(queues: AnnotationQueues) -> None:
    claim = queues.claim(fill(queues, 1), "model")
    assert claim
    work = Work(claim, RetryPolicy(timeout=60.0))
    assert work.overdue() == float("-inf")
    work.begin()
    assert -60.0 <= work.overdue() < 0
    work.seconds = 45.0
    assert -15.0 <= work.overdue() < 0
    work.stop()
    assert work.overdue() == float("-inf")
    left = work.left()
    assert left is not None
    assert 0 < left <= 15.0
    work.seconds = 61.0
    assert work.left() == 0.0


def test_a_call_that_ends_while_it_is_timed_neither_breaks_the_watch_nor_counts_twice(
    queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = queues.claim(fill(queues, 1), "model")
    assert claim
    work = Work(claim, RetryPolicy(timeout=60.0))
    now = 100.0
    meanwhile: list[Callable[[], object]] = []  # what another thread does at the moment when the clock is read

    def tell() -> float:
        if meanwhile:
            meanwhile.pop()()
        return now

    monkeypatch.setattr("annotation_queue.batch.work.time.monotonic", tell)
    work.begin()
    now += 40.0
    meanwhile.append(work.stop)
    assert work.overdue() == -20.0
    assert work.seconds == 40.0
    work.seconds = 0.0
    work.begin()
    now += 40.0
    overdue: list[float] = []
    meanwhile.append(lambda: overdue.append(work.overdue()))
    work.stop()
    assert overdue == [float("-inf")]
    assert work.seconds == 40.0


@pytest.mark.parametrize("is_async", [False, True])
def test_no_attempt_begins_when_the_time_is_over(queues: AnnotationQueues, is_async: bool) -> None:  # noqa: FBT001 - a case
    queue_id = fill(queues, 1)
    calls = itertools.count(1)

    def fail(_item: QueueItem) -> object:
        next(calls)
        threading.Event().wait(0.02)
        raise ConnectionError

    async def fail_async(item: QueueItem) -> object:
        return fail(item)

    report = run_batch(
        queues,
        queue_id,
        fail_async if is_async else fail,
        annotator_id="model",
        timeout=timedelta(seconds=0.01),
        max_attempts=3,
    )
    assert next(calls) == 2
    assert (report.failed, report.timed_out) == (1, 1)


@pytest.mark.slow
def test_a_time_limit_can_end_the_run(queues: AnnotationQueues, over: threading.Event) -> None:
    queue_id = fill(queues, 3)

    def label(_item: QueueItem) -> object:
        over.wait(PATIENCE)
        return "x"

    with pytest.raises(TimeoutError, match="no label within") as raised:
        run_batch(queues, queue_id, label, annotator_id="model", timeout=LIMIT, on_failure=OnFailure.RAISE)
    assert "call-000" in raised.value.__notes__[0]
    assert states(queues, queue_id) == ["unstarted"] * 3


def test_labelers_that_all_hang_stop_the_run(queues: AnnotationQueues, over: threading.Event) -> None:
    queue_id = fill(queues, 20)

    def label(_item: QueueItem) -> object:
        over.wait(PATIENCE)
        return "x"

    report = run_batch(
        queues, queue_id, label, annotator_id="model", timeout=timedelta(seconds=0.05), workers=4, max_failures=4
    )
    assert report.stop_reason is StopReason.FAILURES
    assert 4 <= report.timed_out <= 8
    assert set(states(queues, queue_id)) == {"unstarted"}


def test_an_exit_within_the_time_limit_ends_the_run(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)

    async def label(_item: QueueItem) -> object:
        raise SystemExit("no key")

    with pytest.raises(SystemExit, match="no key"):
        run_batch(queues, queue_id, label, annotator_id="model", timeout=LIMIT)
    assert set(states(queues, queue_id)) == {"unstarted"}


def test_a_coroutine_that_outlives_its_cancellation_at_the_end_of_a_run_leaves_no_thread_behind(
    queues: AnnotationQueues,
) -> None:
    queue_id = fill(queues, 2)
    before = set(threading.enumerate())

    async def label(_item: QueueItem) -> object:
        interrupt()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE)
        return "late"

    report = run_within(Limits(grace=0.05), queues, queue_id, label)
    assert (report.interrupted, report.completed) == (True, 0)
    wait_until(lambda: set(threading.enumerate()) <= before)
    assert states(queues, queue_id) == ["unstarted"] * 2


def test_a_run_with_a_time_limit_leaves_no_thread_behind(queues: AnnotationQueues) -> None:
    async def label(item: QueueItem) -> object:
        return label_number(item)

    before = set(threading.enumerate())
    for labeler in (label_number, label):
        report: BatchReport = run_batch(queues, fill(queues, 5), labeler, annotator_id="model", timeout=LIMIT)
        assert (report.completed, report.timed_out) == (5, 0)
    assert set(threading.enumerate()) == before
