"""The batch runner: labelers whose exceptions and labels defy whoever looks at them. No run hangs, and no item is lost."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from datetime import timedelta
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import (
    AnnotationQueues,
    BatchReport,
    InvalidValue,
    MemoryRepository,
    RetryLater,
    SkipItem,
    run_batch,
)
from annotation_queue.batch import WorkerLost
from annotation_queue.batch.coroutines import LoopLabelers
from annotation_queue.batch.heartbeats import Heartbeats
from annotation_queue.batch.retries import RetryPolicy
from annotation_queue.batch.threads import ThreadLabelers
from annotation_queue.batch.work import OutcomeKind, Work, is_failure
from annotation_queue.json_values import dump_json
from helpers import hostile
from helpers.batches import fill, label_number, states

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import QueueItem
    from annotation_queue.batch.labelers import Labeler, Labelers
    from annotation_queue.batch.work import Outcome

SOON = 20.0
"""Seconds after which a run is taken to hang."""


def run_or_hang(
    queues: AnnotationQueues,
    queue_id: str,
    labeler: Labeler,
    **options: Any,  # noqa: ANN401 - those of run_batch
) -> BatchReport | BaseException:
    """Run in another thread, so that a run which hangs fails the test; give the report, or what the run raised."""
    ended: list[BatchReport | BaseException] = []

    def run() -> None:
        try:
            ended.append(run_batch(queues, queue_id, labeler, annotator_id="model", **options))
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SOON)
    assert ended, "the run hangs"
    return ended[0]


class Silent(SkipItem):
    """A skip that never calls what it derives from."""

    def __init__(self, length: int) -> None:
        self.length = length


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (lambda: Silent(3), None),
        (lambda: SkipItem(Unspeakable()), "SkipItem: its reason cannot be read"),  # type: ignore[arg-type]  # as others do
        (lambda: SkipItem(hostile.Array()), None),  # type: ignore[arg-type]  # as others do
    ],
    ids=["without super().__init__", "a reason whose str() raises", "a reason that cannot be compared"],
)
def test_a_skip_that_cannot_say_why_is_a_skip(
    queues: AnnotationQueues,
    shape: Callable[[Labeler], Labeler],
    error: Callable[[], Exception],
    reason: str | None,
) -> None:
    queue_id = fill(queues, 2)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-000":
            raise error()
        return "x"

    report = run_or_hang(queues, queue_id, shape(label))
    assert isinstance(report, BatchReport)
    assert (report.completed, report.skipped, report.failed) == (1, 1, 0)
    found = queues.progress(next(queues.iter_items(queue_id)).id)[0].reason
    assert (found or "").startswith(reason or "")


def test_a_rate_that_is_next_to_nothing_is_waited_for_until_the_run_is_stopped(
    queues: AnnotationQueues, shape: Callable[[Labeler], Labeler]
) -> None:
    queue_id = fill(queues, 3)
    stop = threading.Event()

    def look(report: BatchReport) -> None:
        if report.attempted:
            stop.set()

    report = run_or_hang(queues, queue_id, shape(label_number), rate=1e-10, stop=stop, on_progress=look)
    assert isinstance(report, BatchReport)
    assert (report.attempted, report.completed) == (1, 1)
    assert states(queues, queue_id) == ["completed", "unstarted", "unstarted"]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_submitted_after_the_withdrawal_is_given_back_unattempted(
    queues: AnnotationQueues,
    is_async: bool,  # noqa: FBT001 - a case
) -> None:
    (claim,) = queues.claim_batch(fill(queues, 1), "model", 1)
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    calls: list[str] = []

    def label(item: QueueItem) -> object:
        calls.append(item.id)
        return "x"

    async def label_async(item: QueueItem) -> object:
        return label(item)

    policy = RetryPolicy()
    labelers: Labelers = (
        LoopLabelers(label_async, workers=1, policy=policy, report=outcomes.put)
        if is_async
        else ThreadLabelers(label, workers=1, policy=policy, report=outcomes.put)
    )
    labelers.start()
    try:
        assert labelers.withdraw() == []
        labelers.submit((claim,))
        outcome = outcomes.get(timeout=SOON)
    finally:
        labelers.close(wait=True)
    assert (outcome.kind, outcome.attempts, calls) == (OutcomeKind.WITHDRAWN, 0, [])


def throw_into(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise an exception in another thread, as some time limits do."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))


def test_an_exception_that_is_thrown_into_a_worker_costs_its_item_alone(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)

    def label(item: QueueItem) -> object:
        if item.call_id == "call-001":
            throw_into(threading.current_thread(), TimeoutError)
            for _ in range(1_000_000):  # it arrives soon
                pass
        return "x"

    report = run_or_hang(queues, queue_id, label, max_attempts=1)
    assert isinstance(report, BatchReport)
    assert (report.completed, report.failed) == (2, 1)


def test_a_thread_that_is_gone_ends_the_run_and_what_it_held_is_released(
    queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_id = fill(queues, 3)

    def break_off(_work: Work, _error: BaseException) -> NoReturn:
        raise MemoryError

    # What nobody has thought of: the guard itself fails.
    monkeypatch.setattr(Work, "labelled", break_off)
    monkeypatch.setattr(Work, "broken", break_off)
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    error = run_or_hang(queues, queue_id, label_number)
    assert isinstance(error, WorkerLost)
    assert "'labeler-1' ended without a result" in str(error)
    assert states(queues, queue_id) == ["unstarted"] * 3


def test_heartbeats_that_are_gone_end_the_run_before_its_claims_are_lost(
    queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_id = fill(queues, 3)
    over = threading.Event()

    def break_off(_heartbeats: Heartbeats) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr(Heartbeats, "_until_due", break_off)
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    try:
        error = run_or_hang(queues, queue_id, lambda _item: over.wait(SOON))
    finally:
        over.set()
    assert isinstance(error, WorkerLost)
    assert "heartbeats ended" in str(error)
    assert states(queues, queue_id) == ["unstarted"] * 3


def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()


def cancel_every_task() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


def exit_in_another_task() -> None:
    async def leave() -> NoReturn:
        raise SystemExit("from a task of its own")

    task = asyncio.get_running_loop().create_task(leave())
    task.add_done_callback(lambda task: task.exception())


@pytest.mark.parametrize("misdeed", [stop_the_loop, cancel_every_task, exit_in_another_task])
@pytest.mark.parametrize("timeout", [None, timedelta(seconds=30)])
def test_a_loop_that_is_gone_ends_the_run_and_what_it_held_is_released(
    queues: AnnotationQueues, misdeed: Callable[[], None], timeout: timedelta | None
) -> None:
    queue_id = fill(queues, 3)

    async def label(_item: QueueItem) -> object:
        misdeed()
        await asyncio.sleep(SOON)
        return "x"

    error = run_or_hang(queues, queue_id, label, workers=2, timeout=timeout)
    assert isinstance(error, WorkerLost), error
    assert "event loop ended" in str(error)
    assert states(queues, queue_id) == ["unstarted"] * 3


@pytest.mark.parametrize("timeout", [None, timedelta(seconds=30)])
@pytest.mark.parametrize("waits", [False, True])
def test_a_labeler_that_cancels_the_task_that_calls_it_costs_its_item_alone(
    queues: AnnotationQueues,
    timeout: timedelta | None,
    waits: bool,  # noqa: FBT001 - a case
) -> None:
    queue_id = fill(queues, 3)

    async def label(item: QueueItem) -> object:
        if item.call_id == "call-001":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if waits:
                await asyncio.sleep(0)
        return "x"

    report = run_or_hang(queues, queue_id, label, max_attempts=1, timeout=timeout)
    assert isinstance(report, BatchReport)
    assert report.completed + report.failed == 3
    assert report.completed >= 2
    assert "in_progress" not in states(queues, queue_id)


def test_a_label_that_the_queue_refuses_keeps_none_of_the_others_from_being_stored() -> None:
    class Strict(AnnotationQueues):
        def complete_batch(self, results: Any) -> Any:  # noqa: ANN401 - as the service
            for index, (_, annotation) in enumerate(results):
                if annotation == {"n": 7}:
                    raise InvalidValue(f"results[{index}].annotation", "7", "another number")
            return super().complete_batch(results)

    queues = Strict(MemoryRepository(), "project")
    queue_id = fill(queues, 40)
    report = run_or_hang(queues, queue_id, label_number, workers=8)
    assert isinstance(report, BatchReport)
    assert (report.completed, report.failed, report.retries) == (39, 1, 0)
    assert report.last_failure is not None
    assert report.last_failure.startswith("call-007: InvalidValue: results[0].annotation")


misdeeds = st.sampled_from(sorted(hostile.MISDEEDS))
errors = st.builds(
    hostile.ErrorRecipe,
    base=st.sampled_from(
        [Exception, ValueError, KeyError, SkipItem, RetryLater, OSError, StopIteration, GeneratorExit]
    ),
    looks=st.dictionaries(st.sampled_from(hostile.LOOKS), misdeeds, max_size=3),
    parts=st.dictionaries(st.sampled_from(hostile.PARTS), misdeeds, max_size=3),
    forgetful=st.booleans(),
)
values = st.builds(
    hostile.ValueRecipe,
    base=st.sampled_from([object, hostile.Array, dict, list, str, int, float]),
    looks=st.dictionaries(st.sampled_from(hostile.VALUE_LOOKS), misdeeds, max_size=3),
)
labels = st.recursive(
    st.one_of(st.none(), st.integers(), st.floats(), st.text(), values),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@given(recipes=st.lists(st.one_of(errors, labels), min_size=1, max_size=8), is_async=st.booleans())
def test_no_exception_and_no_label_makes_a_run_hang_or_lose_an_item(
    recipes: list[Any],
    is_async: bool,  # noqa: FBT001 - a case
) -> None:
    queues = AnnotationQueues(MemoryRepository(), "project")
    queue_id = fill(queues, len(recipes))

    def label(item: QueueItem) -> object:
        doing = hostile.cook(recipes[int(item.call_id.removeprefix("call-"))])
        if issubclass(type(doing), BaseException):
            raise doing
        return doing

    async def label_async(item: QueueItem) -> object:
        return label(item)

    ended = run_or_hang(queues, queue_id, label_async if is_async else label, max_attempts=1, workers=2)
    assert "in_progress" not in states(queues, queue_id)
    if type(ended) is not BatchReport:  # what is no Exception ends the run, and nothing stays behind
        assert not issubclass(type(ended), Exception)
        return
    assert ended.completed + ended.skipped == len(recipes)
    failed = {failure.call_id for failure in ended.failures}
    for item in queues.iter_items(queue_id):
        (progress,) = queues.progress(item.id)
        assert progress.state.value in {"completed", "skipped"}
        assert is_failure(progress.reason) is (item.call_id in failed)
        dump_json("annotation", progress.annotation)
