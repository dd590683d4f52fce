"""Processes: several of them on one schema, killed at any time, and nothing is done twice or lost."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, NewItem, Unavailable
from helpers.killed_workers import PROCESSES, complete_all_though_killed
from helpers.ranking import CLAIMERS, claim_while_others_rank
from helpers.workers import work_on_both_sides_of_a_fork

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

COMPLETED = AnnotationState.COMPLETED
MAKER = """
import os, sys, time
from annotation_queue import AnnotationQueues
from annotation_queue.repositories.postgres import PostgresRepository

dsn, schema, go_on = sys.argv[1:]
with PostgresRepository(dsn, schema=schema, max_connections=1) as repository:
    queues = AnnotationQueues(repository, "project")
    print("ready", flush=True)
    while not os.path.exists(go_on):
        time.sleep(0.0005)
    for number in range(10):
        print(queues.get_or_create(f"queue {number}", created_by="ann").id, flush=True)
"""


@pytest.mark.slow
def test_of_many_processes_that_want_a_queue_of_a_name_one_makes_it(
    database: Database, make_repository: Callable[..., PostgresRepository], tmp_path: Path
) -> None:
    repository = make_repository()
    go_on = tmp_path / "go on"
    command = [sys.executable, "-c", MAKER, database.dsn, repository._connections.schema, str(go_on)]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    go_on.touch()
    answers = [maker.communicate(timeout=60)[0].split() for maker in makers]
    assert [maker.returncode for maker in makers] == [0] * PROCESSES
    made = {queue.name: queue.id for queue in AnnotationQueues(repository, "project").query().queues}
    assert answers == [[made[f"queue {number}"] for number in range(10)]] * PROCESSES
    assert len(made) == 10


@pytest.mark.slow
def test_killed_processes_complete_every_item_none_twice_and_none_lost(
    database: Database, make_repository: Callable[..., PostgresRepository], tmp_path: Path
) -> None:
    complete_all_though_killed(make_repository(), database.dsn, tmp_path)


def test_a_claim_in_flight_keeps_only_its_own_item_from_others(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository()
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    first, second = queues.add_items(queue.id, [NewItem(call_id="a"), NewItem(call_id="b")], added_by="ann").added
    with repository._connections.writing() as cursor:
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
        with repository._connections.writing() as cursor:
            cursor.execute("SELECT FROM work FOR UPDATE")
            claiming = pool.submit(queues.claim, queue.id, "bob")
            with pytest.raises(TimeoutError):
                claiming.result(0.2)
        assert isinstance(claiming.result(20), Claim)
    assert isinstance(queues.claim(queue.id, "eve"), Unavailable)


@pytest.mark.slow
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


@pytest.mark.slow
def test_while_8_processes_claim_another_ranks_all_items_anew_and_each_claim_is_that_of_some_moment(
    repository: PostgresRepository,
) -> None:
    with ProcessPoolExecutor(CLAIMERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        claim_while_others_rank(repository, pool, one_by_one=False)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_repository_made_before_a_fork_works_on_both_sides(repository: PostgresRepository) -> None:
    work_on_both_sides_of_a_fork(repository, children=2, each=10)
