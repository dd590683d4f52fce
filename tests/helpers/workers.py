"""Processes that claim and complete: killed at work and started again, or forked from the one that made the repository."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from annotation_queue import AnnotationQueues, AnnotationState, Claim, NewItem, QueueNotFound
from helpers.clocks import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from annotation_queue import QueueItem, Repository


def kill_at_work(
    start: Callable[[int], subprocess.Popen[bytes]],
    log: Path,
    *,
    workers: int,
    kills: int,
    prepare: Callable[[], object],
    end: Callable[[], object],
) -> None:
    """Kill workers in the midst of their work, each at once replaced by another, and let the last ones end by themselves.

    Args:
        start: Starts a worker, given its number.
        log: Where each of them adds a line for what it acknowledged: an item and its own process id.
        workers: How many there are at a time.
        kills: How many are killed, with SIGKILL.
        prepare: Called before each kill.
        end: Called after the last one; makes the workers end.
    """
    dice = random.Random(2026)  # noqa: S311 - whom to kill, repeatable on purpose
    killed = 0
    running = [start(number) for number in range(workers)]

    def at_work() -> list[int]:
        seen = {line.split()[1] for line in log.read_text().splitlines()}
        return [number for number, worker in enumerate(running) if str(worker.pid) in seen]

    try:
        while killed < kills:
            prepare()
            # Only those who acknowledged something, and not before somebody does again.
            wait_until(lambda: bool(at_work()))
            number = dice.choice(at_work())
            seen = log.stat().st_size
            wait_until(lambda seen=seen: log.stat().st_size > seen)  # type: ignore[misc]  # a default binds the loop's value
            os.kill(running[number].pid, signal.SIGKILL)
            killed += running[number].wait() == -signal.SIGKILL
            running[number] = start(number)
        end()
        assert [worker.wait(60) for worker in running] == [0] * workers
    finally:
        for worker in running:
            worker.kill()
            worker.wait()


def work_on_both_sides_of_a_fork(repository: Repository, *, children: int, each: int) -> None:
    """Let forked children and their parent complete a queue with one repository, made before the fork; assert they did.

    Args:
        repository: The repository, with nothing in it.
        children: How many children.
        each: How many items each of them and the parent completes.
    """
    context = multiprocessing.get_context("fork")
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    total = (children + 1) * each
    queues.add_items(queue.id, (NewItem(call_id=str(number)) for number in range(total)), added_by="ann")
    forked = [context.Process(target=_work, args=(repository, queue.id, n, each)) for n in range(children)]
    for child in forked:
        child.start()
    _work(repository, queue.id, children, each)
    for child in forked:
        child.join(60)
        assert child.exitcode == 0
    (stats,) = queues.stats([queue.id])
    assert stats.by_annotator == {f"ann-{n}": {AnnotationState.COMPLETED: each} for n in range(children + 1)}
    assert stats.finished_items == total


def work_in_started_processes(method: str, repository: Repository, *, workers: int, each: int) -> None:
    """Let processes that inherit nothing complete a queue with the service that they were given; assert they did.

    Args:
        method: How processes start: ``spawn`` or ``forkserver``.
        repository: The repository, with nothing in it.
        workers: How many processes.
        each: How many items each of them completes.
    """
    context = multiprocessing.get_context(method)
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, (NewItem(call_id=str(number)) for number in range(workers * each)), added_by="ann")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        jobs = [pool.submit(_complete, queues, queue.id, f"ann-{number}", each) for number in range(workers)]
        # What a worker is handed and what it hands back travels both ways: claims, items, errors.
        done = [item for job in jobs for item in job.result(60)]
        lost = pool.submit(queues.get, "no such queue").exception(60)
    assert isinstance(lost, QueueNotFound)
    assert lost.queue_id == "no such queue"
    assert sorted(item.id for item in done) == sorted(item.id for item in queues.iter_items(queue.id))
    (stats,) = queues.stats([queue.id])
    assert stats.finished_items == stats.total_items == workers * each


def _complete(queues: AnnotationQueues, queue_id: str, annotator_id: str, count: int) -> list[QueueItem]:
    done = []
    for _ in range(count):
        claim = queues.claim(queue_id, annotator_id)
        assert isinstance(claim, Claim)
        done.append(queues.complete(claim, os.getpid()))
    return done


def _work(repository: Repository, queue_id: str, number: int, count: int) -> None:
    queues = AnnotationQueues(repository, "project")
    for _ in range(count):
        claim = queues.claim(queue_id, f"ann-{number}")
        assert isinstance(claim, Claim)
        queues.complete(claim, os.getpid())
