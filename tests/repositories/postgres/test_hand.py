"""The connection in hand: lent again without a word to the pool, and in nobody's way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import AnnotationQueues, Claim, NewItem, StorageError
from annotation_queue.repositories.postgres.bounded import BoundedConnection
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from annotation_queue.repositories.postgres import PostgresRepository
    from annotation_queue.repositories.postgres.connections import Connections
    from helpers.postgres import Database


@pytest.fixture
def alone(database: Database) -> PostgresRepository:
    """A repository with one connection, whose patience is longer than a test's."""
    return database.repository(
        database.fresh(), max_connections=1, timeout=10 * PATIENCE, connect_timeout=10 * PATIENCE
    )


def asked(connections: Connections) -> int:
    """Tell how often a pool was asked for a connection."""
    return connections._hand.pool.get_stats().get("requests_num", 0)


def pid_of(connections: Connections) -> int:
    with connections.reading() as cursor:
        return cursor.connection.info.backend_pid


def test_what_was_given_back_is_lent_again_without_a_word_to_the_pool(alone: PostgresRepository) -> None:
    connections = alone._connections
    pid, before = pid_of(connections), asked(connections)
    assert {pid_of(connections) for _ in range(5)} == {pid}
    assert asked(connections) == before
    alone.close()


def test_who_waits_at_the_pool_gets_what_is_given_back_next(alone: PostgresRepository) -> None:
    connections = alone._connections
    with ThreadPoolExecutor(3) as threads:
        for _ in range(5):
            with connections.reading() as cursor:
                pid = cursor.connection.info.backend_pid
                waiting = [threads.submit(pid_of, connections) for _ in range(3)]
                wait_until(lambda: connections._hand.pool.get_stats().get("requests_waiting") == 3)
            # Who has it longer than that waits in vain.
            assert [each.result(PATIENCE) for each in waiting] == [pid] * 3
    alone.close()


def test_more_threads_than_connections_never_wait_in_vain(database: Database) -> None:
    with database.repository(
        database.fresh(), max_connections=2, timeout=10 * PATIENCE, connect_timeout=10 * PATIENCE
    ) as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(400)], added_by="ann")

        def label(name: str) -> int:
            claims = [queues.claim(queue.id, name) for _ in range(50)]
            return sum(isinstance(claim, Claim) and bool(queues.complete(claim, 1)) for claim in claims)

        with ThreadPoolExecutor(8) as threads:
            labelled = [threads.submit(label, f"annotator {number}") for number in range(8)]
            assert sum(each.result(4 * PATIENCE) for each in labelled) == 400


def test_what_is_in_hand_is_closed_with_the_repository_and_what_is_lent_when_it_is_given_back(
    database: Database, alone: PostgresRepository
) -> None:
    pid = pid_of(alone._connections)
    alone.close()
    there = "SELECT FROM pg_stat_activity WHERE pid = %s"
    with psycopg.connect(database.dsn, autocommit=True) as admin:
        wait_until(lambda: not admin.execute(there, (pid,)).fetchall())
    with pytest.raises(StorageError, match="is closed"):
        pid_of(alone._connections)
    lending = database.repository(database.fresh(), max_connections=1)
    with lending._connections.reading() as cursor:
        lending.close()
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    assert cursor.connection.closed


def test_a_connection_that_was_in_hand_for_long_goes_back_to_the_pool(
    alone: PostgresRepository,
) -> None:
    connections = alone._connections
    with connections.reading() as cursor:
        lent = cursor.connection
        assert isinstance(lent, BoundedConnection)
        lent.in_hand_until = 0
    before = asked(connections)
    pid_of(connections)
    assert asked(connections) == before + 1
    alone.close()


def test_a_forked_child_leaves_what_the_parent_had_in_hand_alone(
    alone: PostgresRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = alone._connections
    pid = pid_of(connections)
    # As it is after a fork.
    monkeypatch.setattr(connections, "_pid", -1)
    assert pid_of(connections) != pid
    (inherited,) = connections._inherited
    with inherited.take(PATIENCE) as connection:
        assert connection.info.backend_pid == pid
    inherited.close()
    alone.close()
