"""The service for coroutines: all of it is there, the loop never waits, and no claim is lost to a cancellation."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from annotation_queue import (
    AnnotationQueues,
    Claim,
    InvalidValue,
    ItemQuery,
    MemoryRepository,
    NewItem,
    QueueNotFound,
    SQLiteRepository,
    StorageBusy,
    StorageError,
)
from annotation_queue.aio import AsyncAnnotationQueues
from annotation_queue.aio.claims import CANCELLED
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

TICKS = 20
"""How often the loop must go round while a call waits, to show that it does not wait itself."""
WITHOUT_WAITING = {"using", "project_id", "repository"}
"""What the service has that asks no storage, so that there is nothing to await."""


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


SHARED = sorted(public(AnnotationQueues) - WITHOUT_WAITING)


def test_every_method_of_the_service_is_there() -> None:
    missing = public(AnnotationQueues) - public(AsyncAnnotationQueues)
    assert missing == set(), "add each to AsyncAnnotationQueues"
    assert public(AsyncAnnotationQueues) - public(AnnotationQueues) == {"aclose", "sync"}


@pytest.mark.parametrize("name", SHARED)
def test_a_method_takes_what_that_of_the_service_takes_and_is_awaited(name: str) -> None:
    theirs, ours = getattr(AnnotationQueues, name), getattr(AsyncAnnotationQueues, name)
    signature = inspect.signature(theirs)
    assert list(inspect.signature(ours).parameters.values()) == list(signature.parameters.values())
    if str(signature.return_annotation).startswith("Iterator["):
        assert inspect.signature(ours).return_annotation == f"Async{signature.return_annotation}"
    else:
        assert inspect.iscoroutinefunction(ours)
        assert inspect.signature(ours).return_annotation == signature.return_annotation
        assert ours.__doc__ == theirs.__doc__
    assert ours.__doc__
    assert name in vars(AsyncAnnotationQueues), "what it only inherits is not in the reference"


@pytest.mark.parametrize("name", SHARED)
def test_a_method_hands_on_every_argument(name: str) -> None:
    signature = inspect.signature(getattr(AnnotationQueues, name))
    given = {each.name: object() for each in list(signature.parameters.values())[1:]}
    by_place = [each for each in given if signature.parameters[each].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    taken: list[dict[str, Any]] = []

    def note(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of the method
        taken.append(dict(signature.bind(None, *args, **kwargs).arguments))

    async def main() -> None:
        async with AsyncAnnotationQueues(MemoryRepository(), "project") as queues:
            queues._sync = cast("AnnotationQueues", SimpleNamespace(**{name: note}))
            answer = getattr(queues, name)(
                *(given[each] for each in by_place), **{each: given[each] for each in given if each not in by_place}
            )
            if inspect.iscoroutine(answer):
                await answer

    run(main())
    assert taken == [{"self": None, **given}]


def test_making_one_takes_what_the_service_takes_and_how_many_threads() -> None:
    ours = inspect.signature(AsyncAnnotationQueues.__init__).parameters
    theirs = inspect.signature(AnnotationQueues.__init__).parameters
    assert [str(each) for each in ours.values()][:-2] == [str(each) for each in theirs.values()]
    assert list(ours)[-2:] == ["threads", "executor"]
    with MemoryRepository() as repository:
        wrong: list[dict[str, Any]] = [{"threads": 0}, {"threads": True}, {"executor": "two"}]
        for refused in wrong:
            with pytest.raises(InvalidValue, match=next(iter(refused))):
                AsyncAnnotationQueues(repository, "project", **refused)


class Guarded(MemoryRepository):
    """Tells in which threads it is asked, and makes whoever claims wait if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[threading.Thread] = set()
        self.claiming = threading.Semaphore(0)
        self.may_claim = threading.Event()
        self.may_claim.set()

    def claim(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the repository
        self._note()
        self.claiming.release()
        assert self.may_claim.wait(PATIENCE)
        return super().claim(*args, **kwargs)

    def save(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as above; a very item is claimed by it
        if not self.may_claim.is_set():
            self.claiming.release()
        assert self.may_claim.wait(PATIENCE)
        return super().save(*args, **kwargs)

    def query_items(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as above
        self._note()
        return super().query_items(*args, **kwargs)

    def labels(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as above
        self._note()
        return super().labels(*args, **kwargs)

    def _note(self) -> None:
        self.threads.add(threading.current_thread())


@asynccontextmanager
async def filled(
    repository: Any,  # noqa: ANN401 - any of them
    count: int = 3,
    **options: Any,  # noqa: ANN401 - those of the queues
) -> AsyncIterator[tuple[AsyncAnnotationQueues, str]]:
    with repository:
        async with AsyncAnnotationQueues(repository, "project", **options) as queues:
            queue = await queues.create("queue", created_by="ann")
            items = [NewItem(call_id=f"call-{n}", payload={"n": n}) for n in range(count)]
            await queues.add_items(queue.id, items, added_by="ann")
            yield queues, queue.id


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what threads do
            await asyncio.sleep(0.001)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 2 * PATIENCE))


def test_an_item_goes_its_whole_way() -> None:
    async def main() -> None:
        async with filled(MemoryRepository()) as (queues, queue_id):
            claim = await queues.claim(queue_id, "ann")
            assert isinstance(claim, Claim)
            await queues.complete(claim, {"ok": True})
            assert [item.call_id async for item in queues.iter_items(queue_id)] == ["call-0", "call-1", "call-2"]
            (label,) = [label async for label in queues.iter_labels(queue_id)]
            assert label.progress.annotation == {"ok": True}
            assert queues.project_id == queues.sync.project_id == "project"
            with pytest.raises(QueueNotFound):
                await queues.get("no such queue")

    run(main())


def test_the_loop_goes_on_while_another_writer_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"

    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with filled(SQLiteRepository(path, synchronous="OFF", busy_timeout=2 * PATIENCE)) as (queues, queue_id):
            writer = sqlite3.connect(path, isolation_level=None)
            writer.execute("BEGIN IMMEDIATE")
            claiming = asyncio.create_task(queues.claim(queue_id, "ann"))
            beat = asyncio.create_task(tick())
            # Reading needs no writer to wait for: it overtakes the claim.
            assert len([item async for item in queues.iter_items(queue_id)]) == 3
            await until(lambda: ticks >= TICKS)
            assert not claiming.done()
            writer.execute("ROLLBACK")
            writer.close()
            assert isinstance(await claiming, Claim)
            beat.cancel()

    run(main())


def test_pages_are_read_in_threads_and_let_go_of() -> None:
    repository = Guarded()

    async def main() -> None:
        async with filled(repository, 1_203) as (queues, queue_id):
            claims = await queues.claim_batch(queue_id, "ann", 2)
            await queues.complete_batch([(claim, 1) for claim in claims])
            seen = [item.call_id async for item in queues.iter_items(queue_id, ItemQuery(limit=1_100))]
            assert seen == [f"call-{n}" for n in range(1_100)]
            assert len([label async for label in queues.iter_labels(queue_id)]) == 2
            with pytest.raises(InvalidValue):  # at once, as the service does
                queues.iter_items(queue_id, "all")  # type: ignore[arg-type]  # on purpose
            with pytest.raises(QueueNotFound):
                [item async for item in queues.iter_items("no such queue")]

    run(main())
    assert repository.threads
    assert threading.main_thread() not in repository.threads


def test_no_more_calls_are_under_way_than_there_are_threads() -> None:
    repository = Guarded()

    async def main() -> None:
        async with filled(repository, 9, threads=2) as (queues, queue_id):
            repository.may_claim.clear()
            claiming = [asyncio.create_task(queues.claim(queue_id, f"ann-{n}")) for n in range(9)]
            await until(lambda: repository.claiming._value == 2)
            # The seven that have no thread are never made; two are under way.
            for task in claiming:
                task.cancel()
            await asyncio.wait(claiming)
            assert all(task.cancelled() for task in claiming)
            repository.may_claim.set()
        assert repository.claiming._value == 2
        assert len(repository.threads) <= 2

    run(main())


CLAIMS = [name for name in SHARED if name.startswith("claim")]


@pytest.mark.parametrize("is_granted_late", [True, False])
@pytest.mark.parametrize("name", CLAIMS)
def test_a_cancelled_claim_is_given_back(name: str, *, is_granted_late: bool) -> None:
    repository = Guarded()

    async def main() -> None:
        async with filled(repository) as (queues, queue_id):
            (first, *_) = [item async for item in queues.iter_items(queue_id)]
            known = {"queue_id": queue_id, "annotator_id": "ann", "limit": 2, "item_id": first.id}
            method = getattr(queues, name)
            required = [
                known[each.name]
                for each in inspect.signature(method).parameters.values()
                if each.default is inspect.Parameter.empty
            ]
            repository.may_claim.clear()
            claiming = asyncio.create_task(method(*required))
            await until(lambda: repository.claiming.acquire(blocking=False))
            if is_granted_late:  # the task is cancelled while its thread waits for the storage
                claiming.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await claiming
                repository.may_claim.set()
            else:  # it was granted, and the task is cancelled before it has heard of it
                repository.may_claim.set()
                (under_way,) = queues._calls._under_way()
                under_way.result(PATIENCE)
                claiming.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await claiming
            await until(lambda: not queues._calls._under_way())
            assert await queues.holds(queue_id, "ann") == ()
            steps = await queues.history(first.id)
            assert [(step.to_state.value, step.reason) for step in steps] == [
                ("in_progress", None),
                ("unstarted", CANCELLED),
            ]
            assert await method(*required)

    run(main())


def test_a_cancelled_claim_on_a_file_that_another_writer_holds_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    begun = threading.Event()

    class Told(SQLiteRepository):
        def claim(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the repository
            begun.set()
            return super().claim(*args, **kwargs)

    async def main() -> None:
        async with filled(Told(path, synchronous="OFF", busy_timeout=PATIENCE)) as (queues, queue_id):
            writer = sqlite3.connect(path, isolation_level=None)
            writer.execute("BEGIN IMMEDIATE")
            request = asyncio.create_task(queues.claim_batch(queue_id, "ann", 2))
            await until(begun.is_set)
            request.cancel()
            await asyncio.wait([request])
            writer.execute("ROLLBACK")
            writer.close()
            await until(lambda: not queues._calls._under_way())
            assert await queues.holds(queue_id, "ann") == ()
            assert isinstance(await queues.claim(queue_id, "bob"), Claim)

    run(main())


def test_what_is_resumed_stays_held_when_its_caller_is_cancelled() -> None:
    repository = Guarded()

    async def main() -> None:
        async with filled(repository) as (queues, queue_id):
            repository.may_claim.clear()
            claiming = asyncio.create_task(queues.claim(queue_id, "ann", resume=True))
            await until(lambda: repository.claiming.acquire(blocking=False))
            claiming.cancel()
            await asyncio.wait([claiming])
            repository.may_claim.set()
            await until(lambda: not queues._calls._under_way())
            (held,) = await queues.holds(queue_id, "ann")
            assert (await queues.claim(queue_id, "ann", resume=True)).ref == held.ref  # type: ignore[union-attr]

    run(main())


def test_giving_back_is_tried_again_while_the_storage_fails_and_given_up_when_it_is_closed(
    no_waits: None, caplog: pytest.LogCaptureFixture
) -> None:
    del no_waits
    repository, failures = Guarded(), 3
    tries = 0

    def save(*args: Any) -> None:  # noqa: ANN401 - those of the repository
        nonlocal tries
        tries += 1
        if tries <= failures:
            raise StorageBusy("busy")
        MemoryRepository.save(repository, *args)

    repository.save = save  # type: ignore[method-assign]

    async def cancel_a_claim(queues: AsyncAnnotationQueues, queue_id: str) -> None:
        repository.may_claim.clear()
        claiming = asyncio.create_task(queues.claim(queue_id, "ann"))
        await until(lambda: repository.claiming.acquire(blocking=False))
        claiming.cancel()
        await asyncio.wait([claiming])

    async def main() -> None:
        nonlocal failures
        async with filled(repository) as (queues, queue_id):
            await cancel_a_claim(queues, queue_id)
            repository.may_claim.set()
            await until(lambda: not queues._calls._under_way())
            assert tries == 4
            assert await queues.holds(queue_id, "ann") == ()
            failures = 1_000_000
            await cancel_a_claim(queues, queue_id)
            closing = asyncio.create_task(queues.aclose())
            await asyncio.sleep(0)
            repository.may_claim.set()
            await closing
            assert "could not be given back, and ends with its lease: busy" in caplog.text
            assert "call-0" not in caplog.text

    run(main())


def test_closing_waits_for_what_is_under_way_and_takes_nothing_more() -> None:
    repository = Guarded()

    async def main() -> None:
        async with filled(repository) as (queues, queue_id):
            repository.may_claim.clear()
            claiming = asyncio.create_task(queues.claim(queue_id, "ann"))
            await until(lambda: repository.claiming.acquire(blocking=False))
            closing = asyncio.create_task(queues.aclose())
            for _ in range(TICKS):
                await asyncio.sleep(0)
            assert not closing.done()
            repository.may_claim.set()
            await closing
            assert isinstance(await claiming, Claim)
            with pytest.raises(StorageError, match="the queues of 'project' are closed; make new ones"):
                await queues.get(queue_id)
            with pytest.raises(StorageError):
                [item async for item in queues.iter_items(queue_id)]
            assert queues.sync.get(queue_id).id == queue_id  # the repository is the caller's

    run(main())


def test_threads_of_the_callers_are_shared_and_left_alone() -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor, Guarded() as repository:
            for project in ("one", "two"):
                async with AsyncAnnotationQueues(repository, project, executor=executor) as queues:
                    queue = await queues.create("queue", created_by="ann")
                    async with queues.using(repository) as others:
                        assert await others.get(queue.id) == queue
                        assert [item async for item in others.iter_items(queue.id)] == []
            assert {thread.name for thread in repository.threads} == {"mine_0"}
            assert executor.submit(int).result() == 0

    run(main())


def test_a_call_has_the_context_of_its_caller() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen = []

    async def main() -> None:
        with MemoryRepository() as repository:
            clock_of = AsyncAnnotationQueues(repository, "project", new_id=lambda: seen.append(request.get()) or "id")  # type: ignore[func-returns-value]
            async with clock_of as queues:
                request.set("request 7")
                await queues.create("queue", created_by="ann")

    run(main())
    assert seen == ["request 7"]


def test_two_loops_share_one() -> None:
    with MemoryRepository() as repository:
        queues = AsyncAnnotationQueues(repository, "project")
        queue = asyncio.run(queues.create("queue", created_by="ann"))
        assert asyncio.run(queues.get(queue.id)) == queue
        with suppress(StorageError):
            asyncio.run(queues.aclose())
