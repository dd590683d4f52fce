"""Processes: several of them on one schema, killed at any time, and nothing is done twice or lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, NewItem, Unavailable
from helpers.faults import NIGHTLY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

PROCESSES = 8
ITEMS, KILLS = (20_000, 50) if NIGHTLY else (600, 20)
COMPLETED = AnnotationState.COMPLETED
WORKER = """
import json, os, sys
from datetime import timedelta
from annotation_queue import AnnotationQueues, ClaimLost
from annotation_queue.repositories.postgres import PostgresRepository

dsn, schema, queue_id, who, path = sys.argv[1:]
acknowledged = os.open(path, os.O_WRONLY | os.O_APPEND)
with PostgresRepository(dsn, schema=schema, max_connections=1) as repository:
    queues = AnnotationQueues(repository, "project")
    while claim := queues.claim(queue_id, who, lease=timedelta(seconds=2)):
        try:
            queues.complete(claim, {"by": who})
        except ClaimLost:
            continue
        os.write(acknowledged, (json.dumps([claim.item.id, who]) + "\\n").encode())
"""


def _start(database: Database, schema: str, queue_id: str, number: int, path: Path) -> subprocess.Popen[bytes]:
    arguments = [database.dsn, schema, queue_id, f"ann-{number}", str(path)]
    return subprocess.Popen([sys.executable, "-c", WORKER, *arguments])


@pytest.mark.slow
def test_killed_processes_complete_every_item_none_twice_and_none_lost(
    database: Database, make_repository: Callable[..., PostgresRepository], tmp_path: Path
) -> None:
    repository = make_repository()
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, (NewItem(call_id=str(number)) for number in range(ITEMS)), added_by="ann")
    path = tmp_path / "acknowledged"
    path.touch()
    randomness = random.Random(2026)  # noqa: S311 - repeatable on purpose
    schema = repository._pool.schema
    workers = {number: _start(database, schema, queue.id, number, path) for number in range(PROCESSES)}
    kills = restarts = 0
    deadline = time.monotonic() + (1_200 if NIGHTLY else 120)
    try:
        while queues.stats([queue.id])[0].finished_items < ITEMS or any(w.poll() is None for w in workers.values()):
            assert time.monotonic() < deadline
            number = randomness.randrange(PROCESSES)
            if workers[number].poll() is not None:
                # It was killed, or found nothing to do at that moment.
                if queues.stats([queue.id])[0].finished_items < ITEMS:
                    workers[number] = _start(database, schema, queue.id, number, path)
                    restarts += 1
                time.sleep(0.02)
            elif kills < KILLS and path.stat().st_size:
                time.sleep(randomness.uniform(0, 0.1))
                workers[number].send_signal(signal.SIGKILL)
                kills += workers[number].wait() == -signal.SIGKILL
            else:
                time.sleep(0.02)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()
    acknowledged = [tuple(json.loads(line)) for line in path.read_text().splitlines()]
    stored = Counter(
        (item.id, progress.annotator_id)
        for item in queues.iter_items(queue.id)
        for progress in queues.progress(item.id)
        if progress.state is COMPLETED
    )
    assert kills == KILLS
    assert restarts >= KILLS - PROCESSES
    assert len({item_id for item_id, _ in stored}) == len(stored) == ITEMS
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(stored)
    # What was completed and not acknowledged was being acknowledged by one that was killed.
    assert len(stored) - len(acknowledged) <= KILLS
    assert repository.check() == ()


def test_a_claim_in_flight_keeps_only_its_own_item_from_others(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository()
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    first, second = queues.add_items(queue.id, [NewItem(call_id="a"), NewItem(call_id="b")], added_by="ann").added
    with repository._pool.writing() as cursor:
        cursor.execute("SELECT FROM work ORDER BY priority_down, created_at, id LIMIT 1 FOR UPDATE")
        claim = queues.claim(queue.id, "bob")
    assert isinstance(claim, Claim)
    assert claim.item.id == second.id
    assert isinstance(again := queues.claim(queue.id, "bob"), Claim)
    assert again.item.id == first.id


def test_who_finds_only_items_that_are_locked_looks_again_until_they_are_free(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository()
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
    with ThreadPoolExecutor(1) as pool:
        with repository._pool.writing() as cursor:
            cursor.execute("SELECT FROM work FOR UPDATE")
            claiming = pool.submit(queues.claim, queue.id, "bob")
            with pytest.raises(TimeoutError):
                claiming.result(0.2)
        assert isinstance(claiming.result(20), Claim)
    assert isinstance(queues.claim(queue.id, "eve"), Unavailable)


@pytest.mark.parametrize(("needed", "count"), [(1, 400), (3, 120)])
def test_threads_claim_and_complete_every_item_as_often_as_it_is_needed(
    make_repository: Callable[..., PostgresRepository], needed: int, count: int
) -> None:
    repository = make_repository()
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann", annotations_per_item=needed)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(count)], added_by="ann")

    def work(number: int) -> int:
        done = 0
        # Two threads are one annotator: they may not be handed the same item either.
        while claim := queues.claim(queue.id, f"ann-{number // 2}"):
            queues.complete(claim, number)
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, range(8)))
    (stats,) = queues.stats([queue.id])
    assert sum(done) == needed * count
    assert (stats.finished_items, stats.by_state[COMPLETED]) == (count, count)
    assert repository.check() == ()


def _work_after_fork(repository: PostgresRepository, queue_id: str, number: int) -> None:
    queues = AnnotationQueues(repository, "project")
    for _ in range(10):
        claim = queues.claim(queue_id, f"ann-{number}")
        assert isinstance(claim, Claim)
        queues.complete(claim, os.getpid())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_repository_made_before_a_fork_works_on_both_sides(repository: PostgresRepository) -> None:
    context = multiprocessing.get_context("fork")
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(30)], added_by="ann")
    children = [context.Process(target=_work_after_fork, args=(repository, queue.id, number)) for number in range(2)]
    for child in children:
        child.start()
    _work_after_fork(repository, queue.id, 2)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    (stats,) = queues.stats([queue.id])
    assert stats.by_annotator == {f"ann-{number}": {COMPLETED: 10} for number in range(3)}
