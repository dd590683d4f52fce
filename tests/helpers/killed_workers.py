"""Processes that claim and complete in a schema of PostgreSQL until all is done, though some of them are killed."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from annotation_queue import AnnotationQueues, AnnotationState, NewItem
from helpers.faults import NIGHTLY
from helpers.workers import kill_at_work

if TYPE_CHECKING:
    from pathlib import Path

    from annotation_queue.repositories.postgres import PostgresRepository

PROCESSES = 8
ITEMS, KILLS = (20_000, 50) if NIGHTLY else (600, 12)
FEW = 200
"""With fewer items left the workers could run out of work before enough of them were killed."""
WORKER = """
import os, sys, time
from datetime import timedelta
from annotation_queue import AnnotationQueues, ClaimLost
from annotation_queue.repositories.postgres import PostgresRepository

dsn, schema, queue_id, who, log, end = sys.argv[1:]
acknowledged = os.open(log, os.O_WRONLY | os.O_APPEND)
with PostgresRepository(dsn, schema=schema, max_connections=1) as repository:
    queues = AnnotationQueues(repository, "project")
    while not os.path.exists(end):
        claim = queues.claim(queue_id, who, lease=timedelta(seconds=1))
        if not claim:
            time.sleep(0.02)
            continue
        try:
            queues.complete(claim, {"by": os.getpid()})
        except ClaimLost:
            continue
        os.write(acknowledged, f"{claim.item.id} {os.getpid()}\\n".encode())
"""


def complete_all_though_killed(repository: PostgresRepository, dsn: str, folder: Path) -> None:
    """Let processes complete every item, kill some, and see that none was completed twice and nothing acknowledged is lost.

    Args:
        repository: The repository, on an empty schema.
        dsn: Where its server is.
        folder: An empty folder.
    """
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    calls = map(str, itertools.count())
    queues.add_items(queue.id, [NewItem(call_id=call) for call in itertools.islice(calls, ITEMS)], added_by="ann")
    log, end = folder / "acknowledged", folder / "end"
    log.touch()

    def left() -> int:
        (stats,) = queues.stats([queue.id])
        return stats.total_items - stats.finished_items

    def start(number: int) -> subprocess.Popen[bytes]:
        arguments = [dsn, repository._connections.schema, queue.id, f"ann-{number}", str(log), str(end)]
        return subprocess.Popen([sys.executable, "-c", WORKER, *arguments])

    def prepare() -> None:
        if left() < FEW:
            more = [NewItem(call_id=call) for call in itertools.islice(calls, 3 * FEW)]
            queues.add_items(queue.id, more, added_by="ann")

    def finish() -> None:
        deadline = time.monotonic() + (1_200 if NIGHTLY else 120)
        while left():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        end.touch()

    kill_at_work(start, log, workers=PROCESSES, kills=KILLS, prepare=prepare, end=finish)
    acknowledged = [line.split() for line in log.read_text().splitlines()]
    by = dict(acknowledged)
    assert len(by) == len(acknowledged) > KILLS
    (stats,) = queues.stats([queue.id])
    assert stats.finished_items == stats.total_items >= ITEMS
    completed = 0
    for item in queues.iter_items(queue.id):
        (progress,) = (each for each in queues.progress(item.id) if each.state is AnnotationState.COMPLETED)
        completed += 1
        assert item.id not in by or progress.annotation == {"by": int(by[item.id])}
    # What was completed and not acknowledged was being acknowledged by one that was killed.
    assert completed - len(acknowledged) <= KILLS
    assert repository.check() == ()
