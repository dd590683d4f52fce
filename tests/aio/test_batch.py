"""A batch run on the caller's event loop: its clients work, the loop never waits, and cancelling it leaves no hold."""

from __future__ import annotations

import asyncio
import inspect
import json
import sqlite3
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from annotation_queue import (
    AnnotationQueues,
    BatchReport,
    MemoryRepository,
    QueueItem,
    QueueNotFound,
    SkipItem,
    SQLiteRepository,
    StopReason,
    run_batch,
)
from annotation_queue.aio import AsyncAnnotationQueues, run_batch_async
from annotation_queue.aio.labelers import CallerLabelers
from annotation_queue.batch.labelers import WorkerLost
from annotation_queue.batch.retries import RetryPolicy
from helpers.batches import fill, label_number, states
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path


@pytest.fixture
def queues() -> Iterator[AnnotationQueues]:
    """A project in memory."""
    with MemoryRepository() as repository:
        yield AnnotationQueues(repository, "project")


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 2 * PATIENCE))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what threads do
            await asyncio.sleep(0.001)


async def forever(_item: QueueItem) -> object:
    return await asyncio.Event().wait()


def steps(queues: AnnotationQueues, queue_id: str) -> list[tuple[str, str | None]]:
    return [
        (step.to_state.value, step.reason)
        for item in queues.iter_items(queue_id)
        for step in queues.history(item.id)
        if step.to_state.value != "in_progress"
    ]


def test_it_takes_what_run_batch_takes() -> None:
    ours, theirs = (inspect.signature(each).parameters for each in (run_batch_async, run_batch))
    assert list(ours) == list(theirs)
    for name, each in theirs.items():
        assert (ours[name].default, ours[name].kind) == (each.default, each.kind)


def test_a_labeler_uses_the_applications_own_client(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 40)
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError):
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
                body = json.dumps({"path": asked}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with (
            server,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", limits=httpx.Limits(max_connections=3), trust_env=False
            ) as client,
        ):
            await client.get("/warm")  # from here on its connections belong to this loop

            async def label(item: QueueItem) -> object:
                return (await client.get(f"/{item.call_id}")).json()

            report = await run_batch_async(queues, queue_id, label, annotator_id="model", workers=8)
            assert (report.completed, report.failed, report.stop_reason) == (40, 0, StopReason.DONE)
        labels = {label.item.call_id: label.progress.annotation for label in queues.iter_labels(queue_id)}
        assert labels == {f"call-{n:03}": {"path": f"/call-{n:03}"} for n in range(40)}
        assert connections <= 3

    run(main())


def test_the_loop_goes_on_while_another_writer_keeps_the_run_from_storing(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"

    async def main() -> None:
        with SQLiteRepository(path, synchronous="OFF") as repository:
            async with AsyncAnnotationQueues(repository, "project") as queues:
                queue_id = fill(queues.sync, 20)
                labelled = asyncio.Event()
                lock = asyncio.Lock()  # bound to this loop as soon as two wait for it

                async def label(item: QueueItem) -> object:
                    async with lock:
                        await asyncio.sleep(0)
                    labelled.set()
                    return label_number(item)

                writer = sqlite3.connect(path, isolation_level=None)
                running = asyncio.create_task(run_batch_async(queues, queue_id, label, annotator_id="model", workers=4))
                await labelled.wait()
                writer.execute("BEGIN IMMEDIATE")
                for _ in range(50):
                    await asyncio.sleep(0.001)
                assert not running.done()
                writer.execute("ROLLBACK")
                writer.close()
                assert (await running).completed == 20

    run(main())


def test_every_outcome_is_that_of_run_batch(queues: AnnotationQueues, no_waits: None) -> None:
    del no_waits
    queue_id = fill(queues, 6)
    tried: list[str] = []

    async def label(item: QueueItem) -> object:
        tried.append(item.call_id)
        await asyncio.sleep(0)
        match item.call_id:
            case "call-001":
                raise SkipItem("too short")
            case "call-002":
                raise ValueError("no score")
            case "call-003":
                raise asyncio.CancelledError  # as a client does that was closed
            case "call-004":
                await asyncio.Event().wait()
        return label_number(item)

    async def main() -> None:
        report = await run_batch_async(
            queues, queue_id, label, annotator_id="model", max_attempts=2, timeout=timedelta(milliseconds=50), workers=6
        )
        assert (report.completed, report.skipped, report.failed, report.timed_out) == (2, 4, 3, 1)
        assert {failure.call_id for failure in report.failures} == {"call-002", "call-003", "call-004"}

    run(main())
    assert sorted(tried) == sorted([f"call-{n:03}" for n in range(6)] + ["call-002", "call-003"])
    assert ("skipped", "failed: RuntimeError: the labeler was cancelled") in steps(queues, queue_id)


def test_what_the_labeler_raises_is_raised(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)

    async def label(_item: QueueItem) -> object:
        raise SystemExit(3)

    async def main() -> None:
        with pytest.raises(SystemExit):
            await run_batch_async(queues, queue_id, label, annotator_id="model")
        with pytest.raises(QueueNotFound):
            await run_batch_async(queues, "no such queue", label, annotator_id="model")

    run(main())
    assert states(queues, queue_id) == ["unstarted"] * 3


def test_cancelling_it_cancels_the_calls_and_releases_what_is_held(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 10)
    cancelled = []
    at_work = 0

    async def label(item: QueueItem) -> object:
        nonlocal at_work
        if item.call_id == "call-000":
            return "done"
        at_work += 1
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item.call_id)
            raise

    async def main() -> None:
        before = asyncio.all_tasks()
        running = asyncio.create_task(run_batch_async(queues, queue_id, label, annotator_id="model", workers=3))
        await until(lambda: at_work == 3 and states(queues, queue_id).count("completed") == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert running.cancelled()
        assert len(cancelled) == 3
        assert queues.holds(queue_id, "model") == ()
        assert asyncio.all_tasks() == before

    run(main())
    assert states(queues, queue_id) == ["completed"] + ["unstarted"] * 9
    assert set(steps(queues, queue_id)[1:]) == {("unstarted", "run interrupted")}


def test_a_time_limit_around_it_ends_it(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 2)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await run_batch_async(queues, queue_id, forever, annotator_id="model")

    run(main())
    assert queues.holds(queue_id, "model") == ()


def test_a_loop_that_is_shut_down_uses_up_no_item(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 4)
    begun = []

    async def label(_item: QueueItem) -> object:
        begun.append(1)
        return await asyncio.Event().wait()

    async def main() -> None:
        running = asyncio.create_task(
            run_batch_async(queues, queue_id, label, annotator_id="model", workers=2, max_attempts=1, max_failures=None)
        )
        await until(lambda: len(begun) == 2)
        assert not running.done()  # and it is never awaited

    run(main())
    assert states(queues, queue_id) == ["unstarted"] * 4


def test_a_labeler_that_cancels_its_own_task_ends_the_run(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 3)

    async def label(_item: QueueItem) -> object:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return await asyncio.Event().wait()

    async def main() -> None:
        report = await run_batch_async(queues, queue_id, label, annotator_id="model")
        assert (report.interrupted, report.completed, report.failed) == (True, 0, 0)

    run(main())
    assert states(queues, queue_id) == ["unstarted"] * 3


def test_a_second_cancellation_leaves_the_holds_to_their_leases(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 1)
    begun, release = asyncio.Event(), threading.Event()
    releasing = threading.Event()

    class Slow(AnnotationQueues):
        def release(self, *args: Any, **kwargs: Any) -> QueueItem:  # noqa: ANN401 - those of the service
            releasing.set()
            assert release.wait(PATIENCE)
            return super().release(*args, **kwargs)

    async def label(_item: QueueItem) -> object:
        begun.set()
        return await asyncio.Event().wait()

    async def main() -> None:
        slow = Slow(queues._repository, "project")
        running = asyncio.create_task(run_batch_async(slow, queue_id, label, annotator_id="model"))
        await begun.wait()
        running.cancel()
        await until(releasing.is_set)
        running.cancel()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main())


def test_stop_lets_running_items_end(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 8)
    stop, go_on = threading.Event(), asyncio.Event()

    async def label(item: QueueItem) -> object:
        stop.set()
        await go_on.wait()
        return label_number(item)

    async def main() -> None:
        def on_progress(report: BatchReport) -> None:
            if report.interrupted:
                go_on.set()

        report = await run_batch_async(
            queues, queue_id, label, annotator_id="model", workers=2, stop=stop, on_progress=on_progress
        )
        assert (report.interrupted, report.completed) == (True, 2)

    run(main())
    assert sorted(states(queues, queue_id)) == ["completed"] * 2 + ["unstarted"] * 6


def test_progress_is_told_on_the_loop_and_what_it_raises_ends_the_run(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 100)
    told: list[int] = []

    def tell(report: BatchReport) -> None:
        assert not asyncio.get_running_loop().is_closed()
        assert threading.current_thread() is threading.main_thread()
        told.append(report.attempted)
        if len(told) == 5:
            raise ZeroDivisionError

    async def label(item: QueueItem) -> object:
        await asyncio.sleep(0.001)
        return label_number(item)

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await run_batch_async(queues, queue_id, label, annotator_id="model", on_progress=tell)
        assert told == [1, 2, 3, 4, 5]
        assert queues.holds(queue_id, "model") == ()
        told.clear()
        report = await run_batch_async(queues, queue_id, label, annotator_id="other", limit=3, on_progress=tell)
        assert report.completed == 3
        assert told == [1, 2, 3]

    run(main())


def test_a_plain_function_is_called_in_threads(queues: AnnotationQueues) -> None:
    queue_id = fill(queues, 5)
    threads = set()

    def label(item: QueueItem) -> object:
        threads.add(threading.current_thread())
        return label_number(item)

    async def main() -> None:
        assert (await run_batch_async(queues, queue_id, label, annotator_id="model", workers=2)).completed == 5

    run(main())
    assert threading.main_thread() not in threads


def test_a_loop_that_was_closed_is_found_out() -> None:
    loop = asyncio.new_event_loop()
    labelers = CallerLabelers(forever, 1, RetryPolicy(), print, loop=loop, on_cancelled=print)
    labelers.check()
    loop.close()
    with pytest.raises(WorkerLost, match="the event loop of the labelers was closed"):
        labelers.check()
    labelers.close(wait=True)
    labelers.check()
