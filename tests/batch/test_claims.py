"""The batch runner: claims that are lost, held by others, and kept by heartbeats."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    BatchReport,
    Claim,
    ClaimLost,
    MemoryRepository,
    OnFailure,
    QueueNotFound,
    SkipItem,
    StopReason,
    StorageBusy,
    UnavailableReason,
    run_batch,
)
from annotation_queue.batch.heartbeats import Heartbeats
from annotation_queue.batch.work import bare
from annotation_queue.items import ref_of
from helpers.batches import fill, label_number, states
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from annotation_queue import ClaimRef, QueueItem
    from annotation_queue.batch.labelers import Labeler
    from helpers.clocks import Clock


@pytest.mark.parametrize("how", ["settled", "removed"])
def test_a_lost_claim_is_counted_and_its_result_dropped(queues: AnnotationQueues, how: str) -> None:
    queue_id = fill(queues, 4)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-001":
            if how == "settled":
                queues.update_progress(item.id, "model", AnnotationState.SKIPPED, reason="by hand")
            else:
                queues.remove_items(queue_id, [item.id])
        if item.call_id == "call-002" and how == "removed":
            queues.remove_items(queue_id, [item.id])
            raise SkipItem
        return "x"

    report = run_batch(queues, queue_id, label, annotator_id="model")
    assert report.completed + report.lost == report.attempted == 4
    if how == "removed":
        assert report.lost == 2
    else:
        assert report.lost == 1
        assert states(queues, queue_id) == ["completed", "skipped", "completed", "completed"]


def test_a_deleted_queue_ends_the_run(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 4)

    def label(_item: QueueItem) -> object:
        queues.delete(queue_id)
        return "x"

    with pytest.raises(QueueNotFound):
        run_batch(queues, queue_id, label, annotator_id="model")


def test_what_a_killed_run_held_is_waited_for(queues: AnnotationQueues, clock: Clock) -> None:
    queue_id = fill(queues, 6)
    held = queues.claim_batch(queue_id, "model", 4, lease=timedelta(seconds=60))
    waits: list[BatchReport] = []

    def look(report: BatchReport) -> None:
        if report.waiting_for:
            waits.append(report)
            clock.move(20)

    report = run_batch(queues, queue_id, label_number, annotator_id="model", on_progress=look)
    assert report.completed == 6
    assert [one.waiting_for for one in waits] == [4, 4, 4]
    assert waits[0].unavailable is not None
    assert waits[0].unavailable.retry_at == held[0].expires_at
    assert report.waiting_for == 0


def test_what_others_hold_is_not_waited_for(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)
    held = queues.claim(queue_id, "bob")
    report = run_batch(queues, queue_id, label_number, annotator_id="model")
    assert held
    assert report.completed == 2
    assert report.unavailable is not None
    assert (report.unavailable.reason, report.unavailable.retry_at) == (UnavailableReason.LEASED, held.expires_at)


@pytest.mark.slow
def test_an_item_granted_again_after_its_lease_is_labelled_by_the_newer_claim(
    queues: AnnotationQueues,
    clock: Clock,
) -> None:
    queue_id = fill(queues, 1)
    calls = threading.Semaphore(0)
    second = threading.Event()
    first_call = threading.Lock()

    def label(_item: QueueItem) -> object:
        calls.release()
        if first_call.acquire(blocking=False):
            clock.move(3_600)
            assert second.wait(PATIENCE)
            return "first"
        second.set()
        return "second"

    report = run_batch(queues, queue_id, label, annotator_id="model", workers=2)
    assert (report.attempted, report.completed, report.lost) == (2, 1, 1)
    assert queues.progress(next(queues.iter_items(queue_id)).id)[0].annotation == "second"


def test_heartbeats_keep_the_claims_while_a_labeler_blocks(shape: Callable[[Labeler], Labeler]) -> None:
    queues = AnnotationQueues(MemoryRepository(), "project")
    queue_id = fill(queues, 2)
    lease = timedelta(seconds=0.3)
    ends: dict[str, Any] = {}

    def label(item: QueueItem) -> object:
        def end() -> Any:  # noqa: ANN401 - a time
            return queues.progress(item.id)[0].lease_expires_at

        ends[item.id] = end()
        wait_until(lambda: end() > ends[item.id] + lease)
        assert not queues.claim(queue_id, "bob")
        return "x"

    # A coroutine that is shaped from this function blocks the event loop.
    report = run_batch(queues, queue_id, shape(label), annotator_id="model", lease=lease, max_attempts=1)
    assert (report.completed, report.lost) == (2, 0)


def test_a_heartbeat_that_the_storage_refuses_is_tried_again_and_a_lost_claim_is_let_go() -> None:
    class Flaky(AnnotationQueues):
        beats = 0

        def heartbeat_batch(
            self, claims: Iterable[Claim | ClaimRef], *, lease: timedelta | None = None
        ) -> tuple[Claim | ClaimLost, ...]:
            self.beats += 1
            if self.beats == 1:
                raise StorageBusy("locked")
            (claim,) = map(ref_of, claims)
            if self.beats == 3:
                return (ClaimLost(claim.item_id, claim.annotator_id, claim.token),)
            return super().heartbeat_batch([claim], lease=lease)

    queues = Flaky(MemoryRepository(), "project")
    claim = queues.claim(fill(queues, 1), "model")
    assert claim
    holds = Heartbeats(queues, timedelta(seconds=0.03))
    holds.start()
    holds.add([claim], time.monotonic())
    wait_until(lambda: queues.beats == 3)
    wait_until(lambda: all(hold.is_lost for hold in holds._held.values()))
    holds.close(wait=True)
    assert queues.beats == 3
    assert not holds.has_expired(claim)
    holds.drop([claim])
    assert not holds._held


def test_an_old_hold_on_an_item_that_others_finished_is_no_reason_to_wait_for_others(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 2)
    killed = queues.claim(queue_id, "model")
    assert killed
    queues.update_progress(killed.item.id, "bob", AnnotationState.COMPLETED, annotation="by hand")
    held = queues.claim(queue_id, "carol")
    assert held
    waits: list[BatchReport] = []

    def look(report: BatchReport) -> None:
        waits.append(report)
        assert len(waits) < 3, "the run waits for carol"

    report = run_batch(queues, queue_id, label_number, annotator_id="model", on_progress=look)
    assert (report.attempted, report.stop_reason, waits) == (0, StopReason.DONE, [])
    assert report.unavailable is not None
    assert report.unavailable.retry_at == held.expires_at


def test_an_old_hold_that_has_ended_is_no_reason_to_wait_for_who_took_the_item(
    queues: AnnotationQueues, clock: Clock
) -> None:
    queue_id = fill(queues, 1)
    killed = queues.claim(queue_id, "model", lease=timedelta(seconds=10))
    assert killed
    queues.update_progress(killed.item.id, "bob", AnnotationState.IN_PROGRESS)  # by hand: it needs no slot
    clock.move(20)
    waits: list[BatchReport] = []

    def look(report: BatchReport) -> None:
        waits.append(report)
        assert len(waits) < 3, "the run waits for bob"

    report = run_batch(queues, queue_id, label_number, annotator_id="model", on_progress=look)
    assert (report.attempted, report.stop_reason, waits) == (0, StopReason.DONE, [])


def test_items_that_the_run_keeps_itself_are_not_waited_for(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-001":
            raise ValueError("no")
        return "x"

    waits: list[int] = []
    report = run_batch(
        queues,
        queue_id,
        label,
        annotator_id="model",
        max_attempts=1,
        on_failure=OnFailure.RELEASE,
        on_progress=lambda report: waits.append(report.waiting_for),
    )
    assert (report.completed, report.released, report.stop_reason) == (2, 1, StopReason.DONE)
    assert set(waits) == {0}


def test_heartbeats_that_are_due_soon_are_sent_with_those_that_are_due() -> None:
    class Counting(AnnotationQueues):
        beats: ClassVar[list[list[str]]] = []

        def heartbeat_batch(
            self, claims: Iterable[Claim | ClaimRef], *, lease: timedelta | None = None
        ) -> tuple[Claim | ClaimLost, ...]:
            given = list(claims)
            self.beats.append([claim.item.call_id for claim in given if isinstance(claim, Claim)])
            return super().heartbeat_batch(given, lease=lease)

    queues = Counting(MemoryRepository(), "project")
    claims = queues.claim_batch(fill(queues, 3), "model", 3)
    holds = Heartbeats(queues, timedelta(minutes=5))
    now = time.monotonic()
    for claim, since in zip(claims, (now - 100, now - 95, now - 10), strict=True):  # due now, in 5 s, in 90 s
        holds.add([claim], since)
    holds.start()
    wait_until(lambda: bool(queues.beats))
    holds.close(wait=True)
    assert queues.beats == [["call-000", "call-001"]]


def test_what_is_kept_alive_keeps_no_payload(queues: AnnotationQueues) -> None:
    (claim,) = queues.claim_batch(fill(queues, 1), "model", 1)
    small = bare(claim)
    assert claim.item.payload == {"n": 0}
    assert (small.item.payload, small.item.id, small.token, small.annotator_id, small.expires_at) == (
        None,
        claim.item.id,
        claim.token,
        claim.annotator_id,
        claim.expires_at,
    )
    assert bare(small) is small
    queues.complete(small, "x")
    assert next(queues.iter_items(claim.item.queue_id)).payload == {"n": 0}
