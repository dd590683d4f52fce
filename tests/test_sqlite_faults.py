"""Faults under way: interrupts, callers that fail, a full disk, killed processes; nothing acknowledged is lost."""

from __future__ import annotations

import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, NewItem, SQLiteRepository
from annotation_queue.repositories.sqlite_session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPLETED = AnnotationState.COMPLETED
WORKERS, KILLS, ITEMS = 8, 30, 1_000


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
from annotation_queue import AnnotationQueues, NewItem, SQLiteRepository, StorageFull

with SQLiteRepository(sys.argv[1], synchronous="OFF") as repository:
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    acknowledged = 0
    try:
        while True:
            items = [NewItem(call_id=f"{acknowledged}-{n}", payload={"text": "x" * 5_000}) for n in range(10)]
            queues.add_items(queue.id, items, added_by="ann")
            acknowledged += 10
    except StorageFull:
        assert acknowledged
    assert queues.stats([queue.id])[0].total_items == acknowledged
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    queues.add_items(queue.id, [NewItem(call_id="after")], added_by="ann")
    assert queues.stats([queue.id])[0].total_items == acknowledged + 1
    assert repository.check() == ()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on the size of files")
def test_a_file_that_may_not_grow_is_full_and_works_again_when_it_may(path: Path) -> None:
    subprocess.run([sys.executable, "-c", FILLER, str(path)], check=True, timeout=60)


WORKER = """
import os, sys
from datetime import timedelta
from annotation_queue import AnnotationQueues, SQLiteRepository

path, queue_id, who, log = sys.argv[1:]
acknowledgements = os.open(log, os.O_WRONLY | os.O_APPEND)
with SQLiteRepository(path) as repository:
    queues = AnnotationQueues(repository, "project")
    while claim := queues.claim(queue_id, who, lease=timedelta(seconds=1)):
        queues.complete(claim, {"by": os.getpid()})
        os.write(acknowledgements, f"{claim.item.id} {os.getpid()}\\n".encode())
"""


def test_nothing_that_8_workers_acknowledged_is_lost_when_they_are_killed_at_random(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "acknowledged"
    log.touch()
    dice = random.Random(7)  # noqa: S311 - whom to kill, not a secret
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, (NewItem(call_id=str(number)) for number in range(ITEMS)), added_by="ann")

    def start(number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", WORKER, str(path), queue.id, f"ann-{number}", str(log)])

    workers = [start(number) for number in range(WORKERS)]
    try:
        for _ in range(KILLS):
            seen = log.stat().st_size
            deadline = time.monotonic() + 10
            # Kill whoever it is in the midst of work: not before somebody acknowledged something further.
            while log.stat().st_size == seen and any(each.poll() is None for each in workers):
                assert time.monotonic() < deadline
                time.sleep(0.002)
            number = dice.randrange(WORKERS)
            os.kill(workers[number].pid, signal.SIGKILL) if workers[number].poll() is None else None
            workers[number].wait()
            workers[number] = start(number)
        for worker in workers:
            worker.wait(60)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    with SQLiteRepository(path) as repository:
        queues = AnnotationQueues(repository, "project")
        deadline = time.monotonic() + 10
        while queues.stats([queue.id])[0].finished_items < ITEMS:
            # What the killed ones held is free again when their leases have ended.
            assert time.monotonic() < deadline
            for claim in queues.claim_batch(queue.id, "drain", ITEMS):
                queues.complete(claim, {"by": 0})
            time.sleep(0.02)
        assert repository.check() == ()
        acknowledged = Counter(line.split()[0] for line in log.read_text().splitlines())
        assert len(acknowledged) > KILLS
        assert set(acknowledged.values()) == {1}
        by = dict(line.split() for line in log.read_text().splitlines())
        for item in queues.iter_items(queue.id):
            completed = [each for each in queues.progress(item.id) if each.state is COMPLETED]
            assert len(completed) == 1
            if item.id in by:
                assert completed[0].annotation == {"by": int(by[item.id])}
