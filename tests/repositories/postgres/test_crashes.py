"""The server crashes again and again under processes at work: they go on, and nothing acknowledged is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import AnnotationQueues, AnnotationState, NewItem
from annotation_queue.repositories.postgres import PostgresRepository
from helpers.clocks import wait_until
from helpers.faults import NIGHTLY

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.postgres import Server

WORKERS = 4
CRASHES, ITEMS_EACH = (20, 300) if NIGHTLY else (3, 100)
COMPLETED = AnnotationState.COMPLETED
WORKER = """
import json, os, sys, time
from datetime import timedelta
from annotation_queue import AnnotationQueues, ClaimLost, StorageError, UnavailableReason
from annotation_queue.repositories.postgres import PostgresRepository

dsn, queue_id, who, path = sys.argv[1:]
acknowledged = os.open(path, os.O_WRONLY | os.O_APPEND)

def persist(call):
    while True:
        try:
            return call()
        except StorageError:
            # OutcomeUnknown too: what took effect and is called again changes nothing.
            time.sleep(0.02)

with persist(lambda: PostgresRepository(dsn, max_connections=1, timeout=5)) as repository:
    queues = AnnotationQueues(repository, "project")
    while True:
        claim = persist(lambda: queues.claim(queue_id, who, lease=timedelta(seconds=1)))
        if not claim:
            if claim.reason is UnavailableReason.FINISHED:
                break
            time.sleep(0.02)
            continue
        try:
            persist(lambda: queues.complete(claim, {"by": who}))
        except ClaimLost:
            continue
        os.write(acknowledged, (json.dumps([claim.item.id, who]) + "\\n").encode())
"""


def _kill_a_server_process(server: Server) -> None:
    """Kill a process that works for a client; the server then ends all of them, and recovers by itself."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        own = connection.info.backend_pid
        found = "SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> %s"
        ((pid,),) = connection.execute(found, (own,)).fetchall()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: _is_broken(connection))


def _is_broken(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.slow
def test_processes_at_work_outlive_crashes_of_the_server_and_lose_nothing(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "acknowledged"
    path.touch()
    with PostgresRepository(server.dsn, timeout=20) as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        calls = (NewItem(call_id=str(number)) for number in range((CRASHES + 1) * ITEMS_EACH))
        total = len(queues.add_items(queue.id, calls, added_by="ann").added)
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, server.dsn, queue.id, f"ann-{number}", str(path)])
        for number in range(WORKERS)
    ]
    try:
        for crash in range(CRASHES):
            seen = path.stat().st_size
            wait_until(lambda seen=seen: path.stat().st_size > seen)  # type: ignore[misc]  # a default binds the loop's value
            if crash % 2:
                _kill_a_server_process(server)
            else:
                server.stop("immediate")
                server.start()
        assert [worker.wait(120) for worker in workers] == [0] * WORKERS
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    acknowledged = [tuple(json.loads(line)) for line in path.read_text().splitlines()]
    with PostgresRepository(server.dsn, timeout=20) as repository:
        queues = AnnotationQueues(repository, "project")
        stored = Counter(
            (item.id, each.annotator_id)
            for item in queues.iter_items(queue.id)
            for each in queues.progress(item.id)
            if each.state is COMPLETED
        )
        assert repository.check() == ()
    assert len({item_id for item_id, _ in stored}) == len(stored) == total
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(stored)
    # What was stored and not acknowledged was taken over by somebody else between an unknown commit and its repetition.
    assert len(stored) - len(acknowledged) <= CRASHES * WORKERS
