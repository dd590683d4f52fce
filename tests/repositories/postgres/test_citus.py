"""A schema on one node of a cluster of Citus: the same answers, and nobody who goes elsewhere gets in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
import psycopg
import pytest

from annotation_queue import AnnotationQueues, Claim, MemoryRepository, NewItem, StorageError
from annotation_queue.repositories.postgres import PostgresRepository, distribute
from annotation_queue.testing import RepositoryContract
from helpers.citus import CITUS_VARIABLE, Cluster
from helpers.killed_workers import complete_all_though_killed
from helpers.long_histories import compare_long_history

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.postgres import Database


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The cluster that the environment names; for one process of tests at a time, since a log shows nothing newer than the
    oldest transaction that is open on its server.
    """
    dsn = os.environ.get(CITUS_VARIABLE)
    if dsn is None:
        pytest.skip(f"no Citus cluster: set {CITUS_VARIABLE} to its coordinator, with a superuser and a database there")
    made = Cluster(dsn)
    yield made
    made.drop()


@pytest.fixture
def repository(cluster: Cluster) -> Iterator[PostgresRepository]:
    schema = cluster.take()
    with cluster.repository(schema) as made:
        yield made
        assert made.check() == ()
    cluster.give_back(schema)


@pytest.mark.slow
class TestCitusRepository(RepositoryContract):
    histories_per_example = 1 / 6

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Cluster) -> Iterator[None]:
        self.cluster = cluster
        self.schemas: list[str] = []
        yield
        for schema in self.schemas:
            cluster.give_back(schema)

    def make_repository(self) -> PostgresRepository:
        self.schemas.append(self.cluster.take())
        return self.cluster.repository(self.schemas[-1])


@pytest.mark.slow
def test_a_long_random_history_gives_the_same_answers_in_a_cluster(repository: PostgresRepository) -> None:
    with MemoryRepository() as memory:
        compare_long_history({"memory": memory, "citus": repository}, 10_000)
    assert strangers(repository) == 0


@pytest.mark.slow
def test_killed_processes_complete_every_item_of_a_cluster_none_twice_and_none_lost(
    cluster: Cluster, repository: PostgresRepository, tmp_path: Path
) -> None:
    complete_all_though_killed(repository, cluster.node(repository._connections.schema), tmp_path)
    assert strangers(repository) == 0


@pytest.mark.slow
def test_nobody_gets_in_by_another_node_and_the_error_names_the_right_one(cluster: Cluster) -> None:
    schema = cluster.take()
    made = cluster.made[schema]
    with pytest.raises(StorageError, match=f"connect to host '{made.host}', port {made.port}"):
        PostgresRepository(cluster.dsn, schema=schema)
    assert distribute(cluster.dsn, schema) == attrs.evolve(made, is_new=False)
    cluster.give_back(schema)


@pytest.mark.slow
def test_what_a_schema_held_before_it_was_distributed_is_there_after_it_and_who_was_in_it_is_refused(
    cluster: Cluster,
) -> None:
    schema = cluster.fresh()
    with PostgresRepository(cluster.dsn, schema=schema) as before:
        queues = AnnotationQueues(before, "project")
        queue = queues.create("queue", created_by="ann")
        items = [NewItem(call_id=str(number), assignees=["eve"] * (number == 2)) for number in range(4)]
        queues.add_items(queue.id, items, added_by="ann")
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        queues.complete(claim, 1)
        held = queues.claim(queue.id, "bob")
        assert isinstance(held, Claim)
        seen = queues.changes(queue.id)
        cluster.distribute(schema)
        for refused in (lambda: queues.complete(held, 2), lambda: queues.claim(queue.id, "bob")):
            with pytest.raises(StorageError):
                refused()
    with cluster.repository(schema) as after:
        queues = queues.using(after)
        assert queues.changes(queue.id) == seen
        queues.complete(held, 2)
        # Whoever follows the log goes on where they were.
        assert [each.item_id for each in queues.changes(queue.id, after=seen.cursor).transitions] == [held.item.id]
        reserved = queues.claim(queue.id, "eve")
        assert isinstance(reserved, Claim)
        assert reserved.item.call_id == "2"
        assert after.check() == ()
    cluster.give_back(schema)


@pytest.mark.slow
def test_who_works_in_a_schema_that_is_moved_to_another_node_is_refused_until_they_go_there(cluster: Cluster) -> None:
    schema = cluster.take()
    with cluster.repository(schema) as before:
        queues = AnnotationQueues(before, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(4)], added_by="ann")
        held = queues.claim(queue.id, "bob")
        assert isinstance(held, Claim)
        seen = queues.changes(queue.id)
        cluster.move(schema)
        for refused in (
            lambda: queues.complete(held, 1),
            lambda: queues.claim(queue.id, "bob"),
            lambda: queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann"),
        ):
            with pytest.raises(StorageError, match="is on another node of its Citus cluster by now"):
                refused()
    with cluster.repository(schema) as after:
        queues = queues.using(after)
        queues.complete(held, 1)
        assert len(queues.changes(queue.id, after=seen.cursor).transitions) == 1
        assert isinstance(queues.claim(queue.id, "bob"), Claim)
        queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
        assert strangers(after) == 1  # what was stored where it was before
        assert after.check() == ()
    cluster.give_back(schema)


def test_a_server_without_citus_is_told_and_gets_no_schema(database: Database) -> None:
    with pytest.raises(StorageError, match="has no Citus; nothing was changed"):
        distribute(database.dsn, "undistributed")
    with psycopg.connect(database.dsn) as connection:
        found = connection.execute("SELECT FROM pg_namespace WHERE nspname = 'undistributed'").fetchall()
    assert found == []


def strangers(repository: PostgresRepository) -> int:
    """Count the entries of logs that name another transaction than the one of this server which wrote them."""
    with repository._connections.writing() as cursor:
        counted = cursor.execute("SELECT count(*) FROM log WHERE xmin::text::bigint <> tx & 4294967295").fetchall()
    ((n,),) = counted
    return int(n)
