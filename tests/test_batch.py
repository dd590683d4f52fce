"""The batch runner: every item once, failures, waiting, interrupts, heartbeats."""

from __future__ import annotations

import asyncio
import functools
import signal
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    BatchReport,
    ClaimLost,
    InvalidValue,
    MemoryRepository,
    NewItem,
    OnFailure,
    QueueNotFound,
    SkipItem,
    StorageBusy,
    UnavailableReason,
    batch,
    labelers,
    run_batch,
)
from annotation_queue.holds import Holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import Claim, QueueItem
    from annotation_queue.labelers import Labeler

PATIENCE = 10.0


def fill(queues: AnnotationQueues, count: int, **policies: Any) -> str:  # noqa: ANN401 - those of create
    queue = queues.create("batch", created_by="ann", **policies)
    queues.add_items(
        queue.id, [NewItem(call_id=f"call-{n:03}", payload={"n": n}) for n in range(count)], added_by="ann"
    )
    return queue.id


def states(queues: AnnotationQueues, queue_id: str, annotator_id: str | None = "model") -> list[str]:
    return [
        queues.get_item(item.id, annotator_id=annotator_id).annotation_state.value
        for item in queues.iter_items(queue_id)
    ]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def label_number(item: QueueItem) -> object:
    assert item.payload is not None
    return {"n": item.payload["n"]}


@pytest.fixture(params=["function", "coroutine function"])
def shape(request: pytest.FixtureRequest) -> Callable[[Labeler], Labeler]:
    """Give a labeler as a function, or as a coroutine function."""
    if request.param == "function":
        return lambda labeler: labeler

    def as_coroutine_function(labeler: Labeler) -> Labeler:
        async def label(item: QueueItem) -> object:
            await asyncio.sleep(0)
            return labeler(item)

        return label

    return as_coroutine_function


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr(labelers, "RETRY_WAIT", 0.0)


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
    assert progress.reason.startswith("ValueError: bad ??!!!")
    assert len(progress.reason) == 500


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("label", [float("nan"), {1: 2}, {"a": object()}, "\0", (1, 2)])
def test_a_label_that_is_no_json_is_a_failure(queues: AnnotationQueues, label: object) -> None:
    queue_id = fill(queues, 1)
    report = run_batch(queues, queue_id, lambda _item: label, annotator_id="model")
    assert (report.completed, report.skipped, report.failed, report.retries) == (0, 1, 1, 2)
    reason = queues.progress(next(queues.iter_items(queue_id)).id)[0].reason
    assert reason is not None
    assert reason.startswith("InvalidValue: ")


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


def test_an_error_that_cannot_be_printed_still_has_a_reason() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert labelers.failure_reason(Mute()) == "Mute"


def test_waits_between_attempts_grow_up_to_a_bound() -> None:
    assert [labelers.retry_wait(attempt) for attempt in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert labelers.retry_wait(10_000) == labelers.MAX_RETRY_WAIT


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
    assert queues.history(next(queues.iter_items(queue_id)).id)[-1].reason == "ValueError: no"


@pytest.mark.usefixtures("no_waits")
def test_a_run_that_releases_ends_when_too_many_items_fail(
    queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_KEPT", 5)
    queue_id = fill(queues, 300)

    def label(_item: QueueItem) -> object:
        raise ValueError("no")

    report = run_batch(queues, queue_id, label, annotator_id="model", max_attempts=1, on_failure=OnFailure.RELEASE)
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


def test_what_a_killed_run_held_is_waited_for(queues: AnnotationQueues, clock: Any) -> None:  # noqa: ANN401
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


def test_an_item_granted_again_after_its_lease_is_labelled_by_the_newer_claim(
    queues: AnnotationQueues,
    clock: Any,  # noqa: ANN401 - the fixture's
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


def test_heartbeats_keep_the_claims_while_a_labeler_blocks() -> None:
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

    report = run_batch(queues, queue_id, label, annotator_id="model", lease=lease, max_attempts=1)
    assert (report.completed, report.lost) == (2, 0)


def test_a_heartbeat_that_the_storage_refuses_is_tried_again_and_a_lost_claim_is_let_go() -> None:
    class Flaky(AnnotationQueues):
        beats = 0

        def heartbeat(self, claim: Claim, *, lease: timedelta | None = None) -> Claim:
            self.beats += 1
            if self.beats == 1:
                raise StorageBusy("locked")
            if self.beats == 3:
                raise ClaimLost(claim.item.id, claim.annotator_id, claim.token)
            return super().heartbeat(claim, lease=lease)

    queues = Flaky(MemoryRepository(), "project")
    claim = queues.claim(fill(queues, 1), "model")
    assert claim
    holds = Holds(queues, timedelta(seconds=0.03))
    holds.add([claim])
    wait_until(lambda: queues.beats == 3 and not holds._due)
    holds.close(wait=True)
    assert queues.beats == 3
    holds.drop(claim)


def interrupt(number: int = signal.SIGINT) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)  # as the kernel does with Ctrl-C


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_running_items_end_and_releases_the_rest(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler], number: signal.Signals
) -> None:
    queue_id = fill(queues, 30)
    before = signal.getsignal(number)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-004":
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
    monkeypatch.setattr(labelers, "RETRY_WAIT", 60.0)
    monkeypatch.setattr(labelers, "MAX_RETRY_WAIT", 60.0)
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
    monkeypatch.setattr(batch, "GRACE", 0.05)
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


def test_a_second_interrupt_stops_at_once(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)
    over = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def label(_item: QueueItem) -> object:
        interrupt()
        over.wait(PATIENCE)
        return "x"

    def again(report: BatchReport) -> None:
        assert report.interrupted
        interrupt()

    try:
        with pytest.raises(KeyboardInterrupt):
            run_batch(queues, queue_id, label, annotator_id="model", on_progress=again)
    finally:
        over.set()
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


def test_an_error_of_the_callers_own_ends_the_run_and_releases_what_is_held(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 10)

    def look(_report: BatchReport) -> None:
        raise RuntimeError("display broke")

    with pytest.raises(RuntimeError, match="display broke"):
        run_batch(queues, queue_id, label_number, annotator_id="model", on_progress=look)
    assert "in_progress" not in states(queues, queue_id)


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
