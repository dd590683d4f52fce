"""Repositories on a server travel to other processes, unless the pool is the caller's."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from psycopg_pool import ConnectionPool

from annotation_queue import AnnotationQueues
from annotation_queue.repositories.postgres import PostgresRepository
from helpers.workers import work_in_started_processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.postgres import Database


def test_a_pickled_repository_opens_the_same_schema_with_the_same_options(
    make_repository: Callable[..., PostgresRepository],
) -> None:
    repository = make_repository(max_connections=3, timeout=7.0, prepare_threshold=None)
    queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")
    with pickle.loads(pickle.dumps(repository)) as opened:  # noqa: S301 - our own
        assert isinstance(opened, PostgresRepository)
        assert opened._options == repository._options
        assert opened._options["timeout"] == 7.0
        assert opened.get_queue("project", queue.id) == queue


def test_a_repository_on_the_callers_pool_says_that_it_cannot_be_pickled(database: Database) -> None:
    schema = database.take()
    with (
        ConnectionPool(database.dsn, kwargs={"client_encoding": "utf8"}, min_size=1, max_size=2, open=True) as pool,
        PostgresRepository(schema=schema, pool=pool) as repository,
        pytest.raises(TypeError, match="give PostgresRepository a conninfo instead"),
    ):
        pickle.dumps(repository)
    database.give_back([schema])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_inherit_nothing_share_a_schema(repository: PostgresRepository, method: str) -> None:
    work_in_started_processes(method, repository, workers=2, each=25)
