"""The batch runner: a storage that is busy, full, gone or of unknown mind for a while, under every call of a run."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    BatchReport,
    Conflict,
    MemoryRepository,
    OnFailure,
    OutcomeUnknown,
    SkipItem,
    StopReason,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    utc_now,
)
from annotation_queue.backoff import Backoff
from annotation_queue.batch.limits import Limits
from helpers.batches import fill, interrupt, label_number, run_within, states
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import QueueItem

CALLS = ("claim", "claim_batch", "complete_batch", "skip", "release", "heartbeat")


class Flaky(AnnotationQueues):
    """A service whose storage fails: each call of a kind so many times before it works, before or after it took effect.

    ``most`` bounds how often in all.
    """

    def __init__(
        self, error: Callable[[], Exception], *, after: bool = False, times: int = 1, most: int = 1 << 60
    ) -> None:
        super().__init__(MemoryRepository(), "project")
        self.error, self.after, self.times, self.most = error, after, times, most
        self.failing: set[str] = set(CALLS)
        self.row: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.unbeaten: set[int] = set()

    def fault(self, name: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the call returns
        if name not in self.failing or self.row[name] >= self.times or self.failed[name] >= self.most:
            self.row[name] = 0
            return call()
        self.row[name] += 1
        self.failed[name] += 1
        if self.after:
            call()
        raise self.error()

    def claim(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the service
        return self.fault("claim", lambda: AnnotationQueues.claim(self, *args, **kwargs))

    def claim_batch(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the service
        return self.fault("claim_batch", lambda: AnnotationQueues.claim_batch(self, *args, **kwargs))

    def complete_batch(self, *args: Any) -> Any:  # noqa: ANN401 - as the service
        return self.fault("complete_batch", lambda: AnnotationQueues.complete_batch(self, *args))

    def skip(self, *args: Any) -> Any:  # noqa: ANN401 - as the service
        return self.fault("skip", lambda: AnnotationQueues.skip(self, *args))

    def release(self, *args: Any) -> Any:  # noqa: ANN401 - as the service
        return self.fault("release", lambda: AnnotationQueues.release(self, *args))

    def heartbeat_batch(self, claims: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the service
        try:
            return self.fault("heartbeat", lambda: AnnotationQueues.heartbeat_batch(self, claims, **kwargs))
        except StorageError:
            self.unbeaten.update(claim.token for claim in claims)
            raise

    def is_expired(self, item: QueueItem) -> bool:
        """Tell whether an item's lease has ended, and a heartbeat for it failed."""
        (progress,) = self.progress(item.id)
        end = progress.lease_expires_at
        return end is not None and utc_now() > end and progress.token in self.unbeaten


QUICK = Limits(storage_retries=Backoff(first=0.001, longest=0.002))
BRIEF = Limits(storage_retries=QUICK.storage_retries, patience=0.05, grace=0.05)


def picky(item: QueueItem) -> object:
    if item.call_id < "call-005":
        raise SkipItem("no")
    if item.call_id < "call-008":
        raise ValueError("never")
    return label_number(item)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "after"),
    [
        (lambda: StorageBusy("locked"), False),
        (lambda: StorageFull("no room"), False),
        (lambda: StorageError("gone"), False),
        (lambda: Conflict("the items kept changing"), False),
        (lambda: OutcomeUnknown("the connection died"), False),
        (lambda: OutcomeUnknown("the connection died"), True),
    ],
    ids=["busy", "full", "gone", "conflict", "unknown, not done", "unknown, done"],
)
def test_a_storage_that_fails_three_times_at_every_call_loses_nothing(
    error: Callable[[], Exception],
    after: bool,  # noqa: FBT001 - a case
) -> None:
    # A claim of unknown outcome may have been granted; its items come back when their leases end. Without an end of that,
    # the last item would be granted to nobody again and again.
    queues = Flaky(error, after=after, times=3, most=6)
    queues.failing.remove("heartbeat")
    queue_id = fill(queues, 40, lease=timedelta(seconds=1) if after else timedelta(minutes=5))
    reports: list[BatchReport] = []
    report = run_within(
        QUICK,
        queues,
        queue_id,
        picky,
        workers=3,
        max_attempts=1,
        on_failure=OnFailure.RELEASE,
        on_progress=reports.append,
    )
    assert states(queues, queue_id) == ["skipped"] * 5 + ["unstarted"] * 3 + ["completed"] * 32
    assert (report.completed, report.skipped, report.stop_reason) == (32, 5, StopReason.DONE)
    assert report.storage_error is None
    assert {str(error())} <= {one.storage_error for one in reports} <= {str(error()), None}
    assert {"claim", "claim_batch", "complete_batch", "skip", "release"} <= set(queues.failed)
    for item in queues.iter_items(queue_id):
        assert [one.to_state.value for one in queues.history(item.id)].count("completed") <= 1
    if not after:
        assert (report.released, report.failed, report.lost) == (3, 3, 0)


@pytest.mark.parametrize("name", ["claim_batch", "complete_batch", "claim"])
def test_a_storage_that_keeps_failing_ends_the_run(name: str) -> None:
    queues = Flaky(lambda: StorageError("the disk is gone"), times=1 << 60)
    queues.failing = {name}
    queue_id = fill(queues, 5)
    with pytest.raises(StorageError, match="the disk is gone"):
        run_within(BRIEF, queues, queue_id, label_number)
    assert queues.failed[name] >= 2
    assert set(states(queues, queue_id)) == ({"completed"} if name == "claim" else {"unstarted"})


def test_a_damaged_storage_is_not_tried_again() -> None:
    queues = Flaky(lambda: StorageCorrupt("not ours"), times=1 << 60)
    queues.failing = {"complete_batch"}
    queue_id = fill(queues, 5)
    with pytest.raises(StorageCorrupt):
        run_within(QUICK, queues, queue_id, label_number)
    assert queues.failed["complete_batch"] == 1
    assert "in_progress" not in states(queues, queue_id)


@pytest.mark.parametrize("name", ["claim_batch", "claim"])
def test_an_interrupt_ends_the_wait_for_a_claim(name: str) -> None:
    queues = Flaky(lambda: StorageBusy("locked"), times=1 << 60)
    queues.failing = {name}
    queue_id = fill(queues, 5)
    told = threading.Event()

    def look(report: BatchReport) -> None:
        if report.storage_error and not told.is_set():
            told.set()
            interrupt()

    report = run_within(QUICK, queues, queue_id, label_number, on_progress=look)
    assert report.stop_reason is StopReason.INTERRUPTED
    assert set(states(queues, queue_id)) == ({"completed"} if name == "claim" else {"unstarted"})


def test_an_interrupt_bounds_the_wait_for_a_completion() -> None:
    queues = Flaky(lambda: StorageBusy("locked"), times=1 << 60)
    queues.failing = {"complete_batch"}
    queue_id = fill(queues, 5)
    told = threading.Event()

    def look(report: BatchReport) -> None:
        if report.storage_error and not told.is_set():
            told.set()
            interrupt()

    with pytest.raises(StorageBusy):
        run_within(BRIEF, queues, queue_id, label_number, on_progress=look)
    assert set(states(queues, queue_id)) == {"unstarted"}


def test_results_are_kept_while_the_storage_is_away_and_stored_once_it_is_back() -> None:
    queues = Flaky(lambda: StorageError("away"), times=1 << 60)
    queues.failing = {"complete_batch"}
    queue_id = fill(queues, 20)
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.call_id)
        return label_number(item)

    def look(report: BatchReport) -> None:
        if report.storage_error and queues.failed["complete_batch"] > 20:
            queues.failing = set()

    report = run_within(QUICK, queues, queue_id, label, on_progress=look)
    assert report.completed == 20
    assert sorted(calls) == [f"call-{n:03}" for n in range(20)]  # none was labelled a second time


def test_a_result_is_discarded_once_heartbeats_have_failed_for_longer_than_the_lease() -> None:
    queues = Flaky(lambda: StorageError("away"), times=1 << 60)
    queues.failing = {"heartbeat"}
    queue_id = fill(queues, 1)
    lease = timedelta(seconds=0.15)
    reports: list[BatchReport] = []
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.id)
        if len(calls) == 1:
            wait_until(lambda: queues.is_expired(item))
            return "stale"
        queues.failing = set()
        return "fresh"

    report = run_within(QUICK, queues, queue_id, label, lease=lease, on_progress=reports.append)
    assert (report.attempted, report.completed, report.lost, report.expired) == (2, 1, 1, 1)
    assert report.last_failure is not None
    assert "heartbeats failed for longer than the lease" in report.last_failure
    newest = reports[0].newest
    assert newest is not None
    assert (newest.counted_as, newest.label) == ("lost", "stale")
    (item,) = queues.iter_items(queue_id)
    assert queues.progress(item.id)[0].annotation == "fresh"


def test_heartbeats_that_never_work_stop_the_run_in_the_end() -> None:
    queues = Flaky(lambda: StorageError("away"), times=1 << 60)
    queues.failing = {"heartbeat"}
    queue_id = fill(queues, 1)

    def label(item: QueueItem) -> object:
        wait_until(lambda: queues.is_expired(item))
        return "stale"

    report = run_within(QUICK, queues, queue_id, label, lease=timedelta(seconds=0.05), max_failures=3)
    assert (report.stop_reason, report.expired, report.completed) == (StopReason.FAILURES, 3, 0)


@pytest.mark.slow
def test_heartbeats_that_fail_for_less_than_the_lease_cost_nothing() -> None:
    queues = Flaky(lambda: StorageBusy("locked"), times=2)
    queues.failing = {"heartbeat"}
    queue_id = fill(queues, 1)
    beat = threading.Event()

    def label(item: QueueItem) -> object:
        def end() -> Any:  # noqa: ANN401 - a time
            return queues.progress(item.id)[0].lease_expires_at

        first = end()
        wait_until(lambda: end() > first)
        beat.set()
        return "x"

    report = run_within(QUICK, queues, queue_id, label, lease=timedelta(seconds=3))
    assert beat.is_set()
    assert queues.failed["heartbeat"] >= 2
    assert (report.completed, report.lost, report.expired) == (1, 0, 0)


def test_an_error_of_an_unknown_kind_does_not_end_the_heartbeats() -> None:
    queues = Flaky(lambda: RuntimeError("a driver's own"), times=1)
    queues.failing = {"heartbeat"}
    queue_id = fill(queues, 2)

    def label(item: QueueItem) -> object:
        def end() -> Any:  # noqa: ANN401 - a time
            return queues.progress(item.id)[0].lease_expires_at

        first = end()
        wait_until(lambda: end() > first)
        return "x"

    report = run_within(QUICK, queues, queue_id, label, lease=timedelta(seconds=1.5), workers=2)
    assert (report.completed, report.lost) == (2, 0)
