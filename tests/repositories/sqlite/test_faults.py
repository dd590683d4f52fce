"""Faults under way: interrupts, callers that fail, a full disk, killed processes; nothing acknowledged is lost."""

from __future__ import annotations

import gc
import itertools
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, MemoryRepository, NewItem, SQLiteRepository, StorageFull
from annotation_queue.repositories.sqlite.connections import Connections
from annotation_queue.repositories.sqlite.session import Session
from helpers.faults import rows_of, service, set_up
from helpers.histories import History, stored_in
from helpers.workers import kill_at_work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers.clocks import Clock
    from helpers.faults import Operation

COMPLETED = AnnotationState.COMPLETED
WORKERS, KILLS, FEW = 8, 50, 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a repository."""
    return tmp_path / "queues.db"


def test_an_interrupt_before_the_end_of_a_transaction_leaves_no_lock_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with SQLiteRepository(path, synchronous="OFF") as one, SQLiteRepository(path, busy_timeout=0) as other:
        queues = AnnotationQueues(one, "project")
        gc.disable()
        try:
            with monkeypatch.context() as patched:
                patched.setattr(Session, "__exit__", interrupt)
                try:
                    queues.create("interrupted", created_by="ann")
                except KeyboardInterrupt:
                    interrupted = True
            assert interrupted
            AnnotationQueues(other, "project").create("theirs", created_by="bob")
            queues.create("ours", created_by="ann")
        finally:
            gc.enable()
        assert sorted(queue.name for queue in queues.query().queues) == ["ours", "theirs"]


def test_an_error_of_an_iterable_keeps_its_own_cause(path: Path) -> None:
    cause = KeyError("why")

    def items() -> Iterator[NewItem]:
        yield NewItem(call_id="1")
        raise ValueError("what") from cause

    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        with pytest.raises(ValueError, match="what") as failed:
            queues.add_items(queue.id, items(), added_by="ann")
        assert failed.value.__cause__ is cause
        assert queues.stats([queue.id])[0].total_items == 0


def test_a_database_error_of_the_callers_own_id_factory_is_not_taken_for_ours(path: Path) -> None:
    def new_id() -> str:
        raise sqlite3.IntegrityError("theirs")

    with SQLiteRepository(path, synchronous="OFF") as repository:
        queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")
        queues = AnnotationQueues(repository, "project", new_id=new_id)
        with pytest.raises(sqlite3.IntegrityError, match="theirs"):
            queues.add_items(queue.id, [NewItem(call_id="1")], added_by="ann")
        assert queues.stats([queue.id])[0].total_items == 0


FILLER = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from annotation_queue import SQLiteRepository, StorageFull
from helpers.histories import History, stored_in

_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
with SQLiteRepository(sys.argv[1], synchronous="OFF") as repository:
    history = History(repository)
    full = 0
    for limit in (200_000, 300_000, 400_000, 500_001, 600_123, 700_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        before = history.stored()
        try:
            while True:
                history.step()
                before = history.stored()
        except StorageFull:
            full += 1
        # It can still be read, and nothing of the last call is there.
        assert history.stored() == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert repository.check() == ()
        history.step()
    assert full == 6
print(history.steps)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on the size of files")
def test_a_file_that_may_not_grow_is_full_and_works_again_when_it_may(path: Path) -> None:
    tests = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", FILLER, str(path), tests]
    steps = int(subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE).stdout)
    # Nothing that was acknowledged is lost, and nothing was done twice.
    with MemoryRepository() as memory, SQLiteRepository(path) as repository:
        history = History(memory)
        for _ in range(steps):
            history.step()
        assert stored_in(repository) == history.stored()


LONG = "x" * 20_000
LARGE: dict[str, Operation] = {
    "create": lambda queues, _: queues.create("another", created_by="ann", description=LONG),
    "update": lambda queues, it: queues.update(it.queue_id, description=LONG, annotations_per_item=1),
    "add_items": lambda queues, it: queues.add_items(
        it.queue_id, [NewItem(call_id=call, payload={"text": LONG}) for call in "uv"], added_by="ann"
    ),
    "claim": lambda queues, it: queues.claim(it.queue_id, LONG),
    "claim_batch": lambda queues, it: queues.claim_batch(it.queue_id, LONG, 2),
    "complete": lambda queues, it: queues.complete(it.claim, LONG),
    "complete_batch": lambda queues, it: queues.complete_batch([(it.claim, LONG)]),
    "skip": lambda queues, it: queues.skip(it.claim, LONG),
    "release": lambda queues, it: queues.release(it.claim, LONG),
    "update_progress": lambda queues, it: queues.update_progress(it.item_ids[0], "eve", COMPLETED, annotation=LONG),
}
"""Mutations that need some pages more."""


@pytest.mark.parametrize("name", LARGE)
def test_a_full_database_refuses_a_mutation_whole_and_takes_it_when_there_is_room(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    connect = Connections.connect
    opened: list[sqlite3.Connection] = []
    room = 0

    def narrow(connections: Connections) -> sqlite3.Connection:
        opened.append(connect(connections))
        (pages,) = opened[-1].execute("PRAGMA page_count").fetchone()
        opened[-1].execute(f"PRAGMA max_page_count = {pages + room}")
        return opened[-1]

    original = path.with_name("original.db")
    with SQLiteRepository(original, synchronous="OFF") as repository:
        scene = set_up(service(repository, clock, "scene"), needed=2)
    before = rows_of(original)
    monkeypatch.setattr(Connections, "connect", narrow)
    after: list[list[str]] = []
    for room in range(100):  # noqa: B007 - `narrow` reads it
        shutil.copy(original, path)
        with SQLiteRepository(path, synchronous="OFF") as repository:
            try:
                LARGE[name](service(repository, clock, "new"), scene)
            except StorageFull:
                assert rows_of(path) == before
                assert repository.check() == ()
                for connection in opened:
                    connection.execute("PRAGMA max_page_count = 1000000")
                LARGE[name](service(repository, clock, "new"), scene)
                after.append(rows_of(path))
                continue
            finally:
                opened.clear()
            after.append(rows_of(path))
            break
    assert len(after) > 3
    assert all(each == after[0] != before for each in after)


WORKER = """
import os, sys, time
from datetime import timedelta
from annotation_queue import AnnotationQueues, ClaimLost, SQLiteRepository, UnavailableReason

path, queue_id, who, log, end = sys.argv[1:]
acknowledgements = os.open(log, os.O_WRONLY | os.O_APPEND)
with SQLiteRepository(path) as repository:
    queues = AnnotationQueues(repository, "project")
    while True:
        if claim := queues.claim(queue_id, who, lease=timedelta(seconds=1)):
            try:
                queues.complete(claim, {"by": os.getpid()})
            except ClaimLost:
                # On a busy machine more than a second may have passed since the claim.
                continue
            os.write(acknowledgements, f"{claim.item.id} {os.getpid()}\\n".encode())
        elif claim.reason is UnavailableReason.FINISHED and os.path.exists(end):
            break
        else:
            # What a killed worker held is free again when its lease has ended.
            time.sleep(0.01)
"""


def integrity_of(path: Path) -> list[object]:
    """Ask SQLite itself whether a file is whole, without our own check."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
        return [line for (line,) in found] + connection.execute("PRAGMA foreign_key_check").fetchall()


@pytest.mark.slow
def test_nothing_that_8_workers_acknowledged_is_lost_when_50_are_killed_at_random(path: Path, tmp_path: Path) -> None:
    log, end = tmp_path / "acknowledged", tmp_path / "end"
    log.touch()
    total = 0
    calls = (str(number) for number in itertools.count())
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")

    def add_if_few_are_left() -> None:
        nonlocal total
        with SQLiteRepository(path, synchronous="OFF") as repository:
            queues = AnnotationQueues(repository, "project")
            (stats,) = queues.stats([queue.id])
            if stats.total_items - stats.finished_items < FEW:
                more = [NewItem(call_id=call) for call in itertools.islice(calls, 4 * FEW)]
                queues.add_items(queue.id, more, added_by="ann")
            total = queues.stats([queue.id])[0].total_items

    def start(number: int) -> subprocess.Popen[bytes]:
        arguments = [str(path), queue.id, f"ann-{number}", str(log), str(end)]
        return subprocess.Popen([sys.executable, "-c", WORKER, *arguments])

    kill_at_work(start, log, workers=WORKERS, kills=KILLS, prepare=add_if_few_are_left, end=end.touch)
    assert integrity_of(path) == ["ok"]
    with SQLiteRepository(path) as repository:
        queues = AnnotationQueues(repository, "project")
        (stats,) = queues.stats([queue.id])
        assert (stats.total_items, stats.finished_items) == (total, total)
        assert repository.check() == ()
        acknowledged = [line.split() for line in log.read_text().splitlines()]
        assert len(acknowledged) > KILLS
        assert set(Counter(item_id for item_id, _ in acknowledged).values()) == {1}
        by = dict(acknowledged)
        for item in queues.iter_items(queue.id):
            completed = [each for each in queues.progress(item.id) if each.state is COMPLETED]
            assert len(completed) == 1
            if item.id in by:
                assert completed[0].annotation == {"by": int(by[item.id])}
