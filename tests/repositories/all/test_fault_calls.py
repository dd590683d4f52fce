"""The k-th call fails: what is stored is what was there before or what is there after, and the same repository goes on."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    Claim,
    MemoryRepository,
    NewItem,
    OutcomeUnknown,
    Repository,
    SQLiteRepository,
    StorageError,
)
from helpers.faults import BULK, OPERATIONS, Fault, Scene, all_of, failing, plain, rows_of, service, set_up
from helpers.sqlite_files import empty_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.clocks import Clock

pytestmark = [pytest.mark.slow, pytest.mark.unmeasured]

HOW = ("before", "after", "interrupted", "dead")
MOST_CALLS = 200
MUTATIONS = {**OPERATIONS, **BULK}


@pytest.fixture
def template(tmp_path: Path, clock: Clock) -> tuple[Path, Scene]:
    """A file with a scene in it, and the scene; Bob's lease has run out."""
    path = tmp_path / "template.db"
    with empty_repository(path) as repository:
        scene = set_up(service(repository, clock, "scene"), needed=2)
    clock.move(61)
    return path, scene


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", MUTATIONS)
def test_when_the_kth_sql_call_of_a_mutation_fails_it_took_effect_whole_or_not_at_all(
    template: tuple[Path, Scene], clock: Clock, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    original, scene = template
    path = original.with_name("tried.db")
    fault = Fault(0, how)
    monkeypatch.setattr(sqlite3, "connect", failing(fault))
    before = rows_of(original)
    after: list[str] = []
    unknown = 0
    for k in range(MOST_CALLS):
        shutil.copy(original, path)
        with SQLiteRepository(path, synchronous="OFF") as repository:
            # The connection that lies ready is one that can fail; its first call is the operation's.
            queues = service(repository, clock, "new")
            fault.at, fault.calls = k, 0
            try:
                MUTATIONS[name](queues, scene)
            except (StorageError, KeyboardInterrupt) as error:
                failed: BaseException | None = error
            else:
                failed = None
            struck, fault.at = fault.struck, 0
            stored = rows_of(path)
            if k == 0:
                after = stored
                assert after != before
            assert (failed is not None) == struck
            assert stored in (before, after)
            if isinstance(failed, OutcomeUnknown):
                unknown += 1
            elif isinstance(failed, StorageError):
                # It says that nothing was written.
                assert stored == before
            # The same repository goes on: what is not there yet can be done again.
            if stored == before:
                MUTATIONS[name](service(repository, clock, "new"), scene)
                assert rows_of(path) == after
            service(repository, clock, "probe").create("probe", created_by="ann")
            assert repository.check() == ()
        if k and not struck:
            break
    assert k > 2
    # Only the commit of what was written leaves it open whether it took effect.
    assert unknown == (how != "interrupted")


@pytest.mark.parametrize("how", HOW)
def test_when_the_kth_sql_call_of_making_a_file_fails_it_can_be_made_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with SQLiteRepository(tmp_path / "fresh.db", synchronous="OFF"):
        pass
    fresh = rows_of(tmp_path / "fresh.db")
    fault = Fault(0, how)
    monkeypatch.setattr(sqlite3, "connect", failing(fault))
    for k in range(1, MOST_CALLS):
        path = tmp_path / f"{k}.db"
        fault.at, fault.calls = k, 0
        try:
            SQLiteRepository(path, synchronous="OFF").close()
        except (StorageError, KeyboardInterrupt):
            fault.at = 0
        if fault.at:
            break
        assert rows_of(path) in (rows_of(tmp_path / "nothing.db"), fresh)
        with SQLiteRepository(path, synchronous="OFF") as repository:
            assert repository.check() == ()
        assert rows_of(path) == fresh
    assert k > 10


class Refusal(Exception):
    """What a caller's own code raises."""


def at_the(k: int, make: Callable[[], Any]) -> Callable[[], Any]:
    """Make a function whose k-th call raises; the others do what they did."""
    calls = 0

    def call() -> Any:  # noqa: ANN401 - as the function
        nonlocal calls
        calls += 1
        if calls == k:
            raise Refusal
        return make()

    return call


def items(count: int, fails_at: int = 0) -> Iterator[NewItem]:
    """Give new items; before the one of that number it raises."""
    for number in range(1, count + 1):
        if number == fails_at:
            raise Refusal
        yield NewItem(call_id=f"new-{number}", payload={"n": number})


@pytest.mark.parametrize("name", OPERATIONS)
def test_when_the_clock_fails_nothing_is_written(repository: Repository, clock: Clock, name: str) -> None:
    scene = set_up(service(repository, clock, "scene"), needed=2)
    clock.move(61)
    before = plain(all_of(service(repository, clock, "probe")))
    broken = AnnotationQueues(repository, "project", clock=at_the(1, clock), new_id=lambda: "new")
    with pytest.raises(Refusal):
        OPERATIONS[name](broken, scene)
    assert plain(all_of(service(repository, clock, "probe"))) == before
    OPERATIONS[name](service(repository, clock, "new"), scene)


@pytest.mark.parametrize("count", [5, 2_500])
def test_when_the_kth_id_or_item_fails_nothing_is_added(repository: Repository, clock: Clock, count: int) -> None:
    queues = service(repository, clock, "scene")
    scene = set_up(queues, needed=2)
    before = plain(all_of(queues))
    for k in sorted({1, 2, 3, count // 2, count - 1, count}):
        ids = service(repository, clock, "new")._new_id
        broken = AnnotationQueues(repository, "project", clock=clock, new_id=at_the(k, ids))
        with pytest.raises(Refusal):
            broken.add_items(scene.queue_id, items(count), added_by="ann")
        assert plain(all_of(queues)) == before
        with pytest.raises(Refusal):
            queues.add_items(scene.queue_id, items(count, fails_at=k), added_by="ann")
        assert plain(all_of(queues)) == before
    assert len(queues.add_items(scene.queue_id, items(count), added_by="ann").added) == count


def test_when_the_kth_result_of_a_batch_fails_nothing_is_completed(repository: Repository, clock: Clock) -> None:
    queues = service(repository, clock, "scene")
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, items(5), added_by="ann")
    claims = queues.claim_batch(queue.id, "bob", 5, lease=timedelta(hours=1))
    before = plain(all_of(queues))

    def results(fails_at: int) -> Iterator[tuple[Claim, object]]:
        for number, claim in enumerate(claims, 1):
            if number == fails_at:
                raise Refusal
            yield claim, number

    for k in range(1, 6):
        with pytest.raises(Refusal):
            queues.complete_batch(results(k))  # type: ignore[arg-type]  # numbers are JSON
        assert plain(all_of(queues)) == before
    queues.complete_batch(results(0))  # type: ignore[arg-type]  # numbers are JSON
    assert queues.stats([queue.id])[0].finished_items == 5


def test_ids_that_are_taken_half_way_add_nothing(repository: Repository, clock: Clock) -> None:
    # The memory repository and the file must both refuse before they index anything.
    queues = service(repository, clock, "scene")
    scene = set_up(queues, needed=1)
    before = plain(all_of(queues))
    ids = iter(["a", "b", scene.item_ids[2], "c"])
    broken = AnnotationQueues(repository, "project", clock=clock, new_id=lambda: next(ids))
    with pytest.raises(RuntimeError, match="taken"):
        broken.add_items(scene.queue_id, items(4), added_by="ann")
    assert plain(all_of(queues)) == before
    assert isinstance(repository, MemoryRepository | SQLiteRepository)
