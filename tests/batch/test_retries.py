"""The batch runner: waits between attempts, hints, a limit on the rate of calls, rows of failures."""

from __future__ import annotations

import heapq
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import (
    AnnotationQueues,
    BatchReport,
    InvalidValue,
    OnFailure,
    RetryLater,
    SkipItem,
    StopReason,
    run_batch,
)
from annotation_queue.backoff import Backoff
from annotation_queue.batch.labelers import MAX_DELAY
from annotation_queue.batch.retries import RateLimit, RetryPolicy
from annotation_queue.batch.work import OutcomeKind, Work
from helpers.batches import fill, interrupt, label_number, states
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue import QueueItem
    from annotation_queue.batch.labelers import Labeler


def test_a_hint_uses_up_no_attempt(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 2)
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        if len(calls) <= 5:
            raise RetryLater(0)
        return "x"

    report = run_batch(queues, queue_id, shape(label), annotator_id="model", max_attempts=1)
    assert calls == ["call-000"] * 6 + ["call-001"]
    assert (report.completed, report.failed, report.retries, report.last_failure) == (2, 0, 5, None)


def test_an_item_that_is_put_off_for_ever_fails_in_the_end(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 1)
    calls = itertools.count()

    def label(_item: QueueItem) -> object:
        next(calls)
        raise RetryLater(timedelta())

    report = run_batch(queues, queue_id, label, annotator_id="model", max_attempts=1)
    assert next(calls) == 101
    assert (report.failed, report.skipped, report.retries) == (1, 1, 100)
    assert report.last_failure == "call-000: RetryLater: asked to be called again after 0 s"


def test_a_hint_is_waited_for_and_at_most_a_tenth_more(queues: AnnotationQueues) -> None:
    claim = queues.claim(fill(queues, 1), "model")
    assert claim
    for chance, expected in ((0.0, 90.0), (1.0, 99.0)):
        work = Work(claim, RetryPolicy(most=1, chance=lambda chance=chance: chance))  # type: ignore[misc]
        work.begin()
        assert work.failed(RetryLater(timedelta(seconds=90))) == pytest.approx(expected)


def test_growing_waits_go_on_where_they_were_after_a_hint(queues: AnnotationQueues) -> None:
    claim = queues.claim(fill(queues, 1), "model")
    assert claim
    backoff = Backoff(first=0.5, longest=30.0, spread=0.0)
    work = Work(claim, RetryPolicy(most=3, backoff=backoff, chance=lambda: 0.0))
    waits = []
    for error in (ValueError(), RetryLater(7), ValueError(), RetryLater(8), ValueError()):
        work.begin()
        waits.append(work.failed(error))
    assert waits[:-1] == [0.5, 7.0, 1.0, 8.0]
    assert getattr(waits[-1], "kind", None) is OutcomeKind.FAILED


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), True, "60", None, timedelta(days=1, microseconds=1)])
def test_a_hint_that_is_no_time_is_refused_and_fails_the_item(queues: AnnotationQueues, delay: Any) -> None:  # noqa: ANN401 - anything
    with pytest.raises(InvalidValue, match="delay"):
        RetryLater(delay)
    queue_id = fill(queues, 1)

    def label(_item: QueueItem) -> object:
        raise RetryLater(delay)

    report = run_batch(queues, queue_id, label, annotator_id="model", max_attempts=1)
    assert report.failed == 1
    assert report.last_failure is not None
    assert report.last_failure.startswith("call-000: InvalidValue: delay")


def test_the_longest_hint_is_a_day() -> None:
    assert RetryLater(MAX_DELAY).delay == 86_400.0


def test_an_interrupt_ends_the_wait_for_a_hint(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 1)

    def label(_item: QueueItem) -> object:
        interrupt()
        raise RetryLater(3_600)

    report = run_batch(queues, queue_id, shape(label), annotator_id="model")
    assert (report.stop_reason, report.attempted, report.released) == (StopReason.INTERRUPTED, 1, 1)
    assert states(queues, queue_id) == ["unstarted"]


class Crew:
    """Workers that call under a rate limit on a clock of their own, which may stand still for all of them at once."""

    def __init__(self, rate: float, workers: int) -> None:
        self.now = 1_000.0
        self.limit = RateLimit(rate, clock=lambda: self.now)
        self.starts: list[float] = []
        # When each worker wakes up, and what it waits for.
        self.asleep: list[tuple[float, int, Iterator[float]]] = []
        for worker in range(workers):
            self.sleep(worker, self.limit.waits())

    def sleep(self, worker: int, turn: Iterator[float]) -> None:
        """Let a worker go on until it has to wait; each call takes no time."""
        for wait in turn:
            heapq.heappush(self.asleep, (self.now + wait, worker, turn))
            return
        self.starts.append(self.now)
        heapq.heappush(self.asleep, (self.now, worker, self.limit.waits()))

    def step(self, late: float) -> None:
        """Wake the worker that is due first, so much too late; all that were due meanwhile are late too."""
        due, worker, turn = heapq.heappop(self.asleep)
        self.now = max(self.now, due) + late
        self.sleep(worker, turn)


@given(
    rate=st.floats(0.1, 1_000),
    workers=st.integers(1, 40),
    lates=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0001, 0.003, 2.0, 100.0]), min_size=1, max_size=300),
    window=st.floats(0.001, 10),
)
def test_a_rate_limit_holds_within_any_time_whatever_stalls(
    rate: float, workers: int, lates: list[float], window: float
) -> None:
    crew = Crew(rate, workers)
    for late in lates:
        crew.step(late)
    starts = crew.starts
    assert starts == sorted(starts)
    for first in starts:
        within = sum(first <= start <= first + window for start in starts)
        assert within <= rate * window + 1 + 1e-6 * len(starts)


def test_a_stall_does_not_make_up_for_what_is_overdue() -> None:
    crew = Crew(rate=20, workers=40)
    crew.step(2.0)  # everybody was due within these two seconds
    stalled = crew.now
    while crew.now < stalled + 1:
        crew.step(0.0)
    assert sum(stalled <= start < stalled + 1 for start in crew.starts) <= 21


@pytest.mark.parametrize("workers", [1, 3, 40])
def test_a_rate_limit_lets_through_what_it_may(workers: int) -> None:
    crew = Crew(rate=20, workers=workers)
    while crew.now < 1_010:
        crew.step(0.0)
    assert 199 <= len(crew.starts) <= 202


def test_a_rate_limit_lets_nothing_wait_that_came_late_enough() -> None:
    times = iter([0.0, 0.25, 10.0, 10.0])
    rate_limit = RateLimit(4, clock=lambda: next(times))
    assert [next(rate_limit.waits(), 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.25]


@pytest.mark.parametrize("rate", [1e-10, 5e-324])
def test_no_single_wait_is_longer_than_a_clock_takes(rate: float) -> None:
    crew = Crew(rate, workers=2)
    for _ in range(10):
        assert all(wakes - crew.now <= 3_600 for wakes, _, _ in crew.asleep)
        crew.step(0.0)
    assert len(crew.starts) == 1


def test_calls_are_spaced_in_a_run(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 6)
    report = run_batch(queues, queue_id, shape(label_number), annotator_id="model", workers=3, rate=100)
    assert report.completed == 6
    assert report.seconds >= 5 / 100


@pytest.mark.usefixtures("no_waits")
def test_further_attempts_count_towards_the_rate(queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]) -> None:
    queue_id = fill(queues, 1)
    calls = itertools.count(1)

    def label(_item: QueueItem) -> object:
        if next(calls) < 3:
            raise ConnectionError
        return "x"

    report = run_batch(queues, queue_id, shape(label), annotator_id="model", rate=50)
    assert (report.completed, report.retries) == (1, 2)
    assert report.seconds >= 2 / 50


def test_an_item_that_waits_for_its_turn_is_given_back_unattempted(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    queue_id = fill(queues, 3)

    def look(report: BatchReport) -> None:
        if report.newest is not None and report.newest.counted_as == "completed":
            interrupt()

    report = run_batch(queues, queue_id, shape(label_number), annotator_id="model", rate=1 / 3_600, on_progress=look)
    assert (report.stop_reason, report.attempted, report.completed) == (StopReason.INTERRUPTED, 1, 1)
    assert report.released >= 1
    assert states(queues, queue_id) == ["completed", "unstarted", "unstarted"]


def test_a_run_stops_after_so_many_failures_in_a_row_and_uses_up_none_of_them(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    queue_id = fill(queues, 40)

    def label(item: QueueItem) -> object:
        if item.call_id >= "call-003":
            raise ConnectionError("no route")
        return "x"

    report = run_batch(queues, queue_id, shape(label), annotator_id="model", max_attempts=1, max_failures=4)
    assert report.stop_reason is StopReason.FAILURES
    assert (report.completed, report.skipped, report.interrupted) == (3, 0, False)
    assert 4 <= report.failed <= report.released
    assert states(queues, queue_id) == ["completed"] * 3 + ["unstarted"] * 37
    third = list(queues.iter_items(queue_id))[3]
    assert queues.history(third.id)[-1].reason == "failed: ConnectionError: no route"


def test_a_run_of_fifty_failures_in_a_row_stops_unless_told_otherwise(queues: AnnotationQueues) -> None:
    def label(_item: QueueItem) -> object:
        raise ConnectionError

    queue_id = fill(queues, 60)
    report = run_batch(queues, queue_id, label, annotator_id="model", max_attempts=1)
    assert report.stop_reason is StopReason.FAILURES
    assert set(states(queues, queue_id)) == {"unstarted"}
    report = run_batch(queues, queue_id, label, annotator_id="model", max_attempts=1, max_failures=None)
    assert (report.stop_reason, report.failed, report.skipped) == (StopReason.DONE, 60, 60)


@pytest.mark.parametrize("between", ["label", "skip"])
def test_a_label_or_a_skip_ends_the_row(queues: AnnotationQueues, between: str) -> None:
    queue_id = fill(queues, 12)
    reports: list[BatchReport] = []

    def label(item: QueueItem) -> object:
        if int(item.call_id.removeprefix("call-")) % 3:
            raise ValueError("no")
        if between == "skip":
            raise SkipItem
        return "x"

    report = run_batch(
        queues, queue_id, label, annotator_id="model", max_attempts=1, max_failures=3, on_progress=reports.append
    )
    assert (report.stop_reason, report.failed, report.released) == (StopReason.DONE, 8, 0)
    assert report.completed + report.skipped == 12
    # The failed ones are skipped when their row has ended, and not before.
    assert [one.skipped + one.completed for one in reports] == [1, 1, 1, 4, 4, 4, 7, 7, 7, 10, 10, 10]


def test_a_row_that_an_interrupt_cuts_off_is_released(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 9)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-001":
            interrupt()
            wait_until(lambda: states(queues, queue_id).count("in_progress") == 2)  # this one and the failed one
        raise ValueError("no")

    report = run_batch(queues, queue_id, label, annotator_id="model", max_attempts=1)
    assert (report.stop_reason, report.failed, report.skipped) == (StopReason.INTERRUPTED, 2, 0)
    assert states(queues, queue_id) == ["unstarted"] * 9


def test_failures_in_a_row_stop_a_run_that_releases_too(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 9)

    def label(_item: QueueItem) -> object:
        raise ValueError("no")

    report = run_batch(
        queues, queue_id, label, annotator_id="model", max_attempts=1, max_failures=2, on_failure=OnFailure.RELEASE
    )
    assert report.stop_reason is StopReason.FAILURES
    assert set(states(queues, queue_id)) == {"unstarted"}
