"""Zombies on PostgreSQL: a holder is stopped past its lease, somebody else is granted the item, and the holder wakes up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, NewItem
from helpers.clocks import wait_until
from helpers.zombies import ACTS, FATES, check_zombie, world_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import Unavailable
    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

HOLDER = """
import json, sys
from datetime import timedelta
from annotation_queue import AnnotationQueueError, AnnotationQueues
from annotation_queue.repositories.postgres import PostgresRepository

dsn, schema, queue_id = sys.argv[1:]
with PostgresRepository(dsn, schema=schema, max_connections=1) as repository:
    queues = AnnotationQueues(repository, "project")
    claim = queues.claim(queue_id, "bob", lease=timedelta(seconds=1))
    print(claim.item.id, flush=True)
    sys.stdin.readline()
    answers = []
    for act in (
        lambda: queues.complete(claim, "late"),
        lambda: queues.skip(claim, "late"),
        lambda: queues.release(claim, "late"),
        lambda: queues.heartbeat(claim),
        lambda: queues.complete_batch([(claim, "late")]),
    ):
        try:
            answer = act()
        except AnnotationQueueError as error:
            answer = [error]
        answers.append(type(answer[0]).__name__)
    print(json.dumps(answers))
"""


@pytest.mark.slow
@pytest.mark.parametrize("fate", FATES)
def test_a_holder_that_wakes_up_late_writes_nothing_stale(
    make_repository: Callable[..., PostgresRepository], fate: str
) -> None:
    ours, theirs = make_repository(), make_repository()
    for act in ACTS:
        check_zombie(world_of(ours, theirs, act), fate, act)
    assert ours.check() == ()


@pytest.mark.slow
def test_a_process_that_was_stopped_past_its_lease_writes_nothing_stale(
    database: Database, make_repository: Callable[..., PostgresRepository]
) -> None:
    repository = make_repository()
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    arguments = [database.dsn, repository._connections.schema, queue.id]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == f"{item.id}\n"
        os.kill(holder.pid, signal.SIGSTOP)
        granted: list[Claim | Unavailable] = []

        def is_granted() -> bool:
            granted.append(queues.claim(queue.id, "eve"))
            return bool(granted[-1])

        wait_until(is_granted)
        claim = granted[-1]
        assert isinstance(claim, Claim)
        before = queues.progress(item.id), queues.history(item.id)
        os.kill(holder.pid, signal.SIGCONT)
        answers, _ = holder.communicate("go on\n", timeout=60)
    finally:
        holder.kill()
        holder.communicate()
    assert json.loads(answers) == ["ClaimLost"] * 5
    assert (queues.progress(item.id), queues.history(item.id)) == before
    assert queues.complete(claim, "in time").annotation_state is AnnotationState.COMPLETED
    assert repository.check() == ()
