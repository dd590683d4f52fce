"""The tables that grow can be hash-partitioned by queue: the same code gives the same answers on them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from annotation_queue.repositories.postgres import schema as postgres_schema
from annotation_queue.repositories.postgres.connections import Connections
from helpers.long_histories import compare_long_history

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

PARTITIONED: Final = ("long_texts", "calls", "items", "work", "progresses", "log", "counters", "blocks")
PARTITIONS: Final = 4


def partitioned(version: int, statements: tuple[str, ...]) -> Iterator[str]:
    """Make a partitioned table of each table that begins with the queue; its parts have what is set for storage.

    Args:
        version: To which the statements lead. It is in the names of parts, since a later version may make a table anew.
        statements: Those of a migration.
    """
    for statement in statements:
        found = re.fullmatch(r"CREATE TABLE (\w+) \( .*? \)(?P<storage>| WITH \(.*\))", statement)
        if found is None or found[1] not in PARTITIONED:
            yield statement
            continue
        yield f"{statement[: found.start('storage')]} PARTITION BY HASH (queue)"
        for part in range(PARTITIONS):
            values = f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {part})"
            yield f"CREATE TABLE {found[1]}_{version}_{part} PARTITION OF {found[1]} {values}{found['storage']}"


@pytest.fixture
def parted(database: Database) -> Iterator[PostgresRepository]:
    """A repository on partitioned tables."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS parted CASCADE")
        pool = Connections(database.dsn, "parted", None, max_connections=1, timeout=20, prepare_threshold=None)
        postgres_schema.prepare(pool, [[*partitioned(*each)] for each in enumerate(postgres_schema.MIGRATIONS, 1)])
        pool.close()
        with database.repository("parted") as repository:
            yield repository
            assert repository.check() == ()
        kinds = "SELECT relname FROM pg_class WHERE relnamespace = 'parted'::regnamespace AND relkind = 'p'"
        assert {name for (name,) in connection.execute(kinds).fetchall()} == {*PARTITIONED}
        connection.execute("DROP SCHEMA parted CASCADE")


@pytest.mark.slow(seconds=10)
def test_a_random_history_has_the_answers_of_the_model_on_partitioned_tables(parted: PostgresRepository) -> None:
    compare_long_history({"partitioned": parted}, 4_000)
