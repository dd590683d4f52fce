"""Processes: several of them on one SQLite file, and nothing is done twice or lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, NewItem, SQLiteRepository

PROCESSES = 8
COMPLETED = AnnotationState.COMPLETED
OPEN_FILES = Path("/proc/self/fd")
WORKER = """
import json, sys
from annotation_queue import AnnotationQueues, SQLiteRepository

path, queue_id, who = sys.argv[1:]
with SQLiteRepository(path, synchronous="OFF") as repository:
    queues = AnnotationQueues(repository, "project")
    print("ready", flush=True)
    sys.stdin.readline()
    done = []
    while claim := queues.claim(queue_id, who):
        queues.complete(claim, {"by": who})
        done.append(claim.item.id)
print(json.dumps(done))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a repository; its name needs care in URLs and in SQL."""
    return tmp_path / "qu%eue's #1 é.db"


@pytest.mark.parametrize(("needed", "count"), [(1, 1_500), (2, 300)])
def test_8_processes_claim_and_complete_every_item_none_twice_and_none_lost(
    path: Path, needed: int, count: int
) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann", annotations_per_item=needed)
        queues.add_items(queue.id, (NewItem(call_id=str(number)) for number in range(count)), added_by="ann")
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(path), queue.id, f"ann-{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n"
            outputs = []
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            for worker in workers:
                outputs.append(worker.communicate(timeout=60)[0])
                assert worker.returncode == 0
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
        done = {f"ann-{number}": json.loads(output) for number, output in enumerate(outputs)}
        assert all(len(ids) == len(set(ids)) for ids in done.values())
        assert sum(map(len, done.values())) == needed * count
        (stats,) = queues.stats([queue.id])
        assert (stats.total_items, stats.finished_items) == (count, count)
        assert stats.by_annotator == {who: {COMPLETED: len(ids)} for who, ids in done.items() if ids}
        assert repository.check() == ()


def _work_after_fork(repository: SQLiteRepository, queue_id: str, number: int) -> None:
    queues = AnnotationQueues(repository, "project")
    for _ in range(25):
        claim = queues.claim(queue_id, f"ann-{number}")
        assert isinstance(claim, Claim)
        queues.complete(claim, os.getpid())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_repository_made_before_a_fork_works_on_both_sides(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, (NewItem(call_id=str(number)) for number in range(100)), added_by="ann")
        children = [
            context.Process(target=_work_after_fork, args=(repository, queue.id, number)) for number in range(3)
        ]
        for child in children:
            child.start()
        _work_after_fork(repository, queue.id, 3)
        for child in children:
            child.join(60)
            assert child.exitcode == 0
        (stats,) = queues.stats([queue.id])
        assert stats.by_annotator == {f"ann-{number}": {COMPLETED: 25} for number in range(4)}
        assert stats.finished_items == 100
        assert repository.check() == ()


def _files_open_on(path: Path) -> int:
    return sum(each.resolve() == path for each in OPEN_FILES.iterdir())


def _read_after_fork(repository: SQLiteRepository, path: Path, queue_id: str) -> None:
    inherited = _files_open_on(path)
    assert inherited
    assert AnnotationQueues(repository, "project").get(queue_id).id == queue_id
    assert _files_open_on(path) == inherited + 1


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="only there can a process see which files it has open")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_the_file_anew_and_leaves_the_parents_connections_alone(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")
        child = multiprocessing.get_context("fork").Process(target=_read_after_fork, args=(repository, path, queue.id))
        child.start()
        child.join(60)
        assert child.exitcode == 0
