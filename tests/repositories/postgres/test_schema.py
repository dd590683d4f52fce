"""What a repository makes in a database, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from annotation_queue import AnnotationQueues, Claim, NewItem, QueueQuery
from annotation_queue.errors import InvalidValue, QueueNotFound, SchemaVersionUnknown, StorageCorrupt
from annotation_queue.repositories.postgres import PostgresRepository
from annotation_queue.repositories.postgres import schema as postgres_schema
from annotation_queue.repositories.postgres.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers.postgres import Database


@pytest.fixture
def admin(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS theirs CASCADE")
        yield connection
        connection.execute("DROP SCHEMA IF EXISTS theirs CASCADE")


def _all_there_is(connection: psycopg.Connection[Any], schema: str) -> list[tuple[Any, ...]]:
    """List every relation and column, except those of one schema and the server's own."""
    return connection.execute(
        "SELECT c.relnamespace::regnamespace::text, c.relname, c.relkind, a.attname FROM pg_class AS c "
        "LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid "
        "WHERE c.relnamespace::regnamespace::text NOT IN (%s, 'pg_toast', 'pg_catalog', 'information_schema') "
        "ORDER BY 1, 2, 3, 4",
        (schema,),
    ).fetchall()


def test_nothing_outside_the_schema_is_touched(database: Database, admin: psycopg.Connection[Any]) -> None:
    admin.execute("CREATE TABLE IF NOT EXISTS public.items (id text)")
    admin.execute("CREATE TABLE IF NOT EXISTS public.queues (id text)")
    before = _all_there_is(admin, "theirs")
    with database.repository("theirs") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
        assert isinstance(queues.claim(queue.id, "bob"), Claim)
    assert _all_there_is(admin, "theirs") == before
    assert admin.execute(
        "SELECT (SELECT count(*) FROM public.items), (SELECT count(*) FROM public.queues)"
    ).fetchall() == [(0, 0)]
    admin.execute("DROP TABLE public.items, public.queues")


def test_a_connection_of_the_callers_pool_is_given_back_as_it_was(database: Database) -> None:
    schema = database.take()
    # Those of plpgsql are there once the server's process has loaded it, which making the triggers does.
    settings = "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'plpgsql.%' ORDER BY name"
    with ConnectionPool(database.dsn, min_size=1, max_size=1, open=True) as pool:
        with pool.connection() as connection:
            before = connection.execute(settings).fetchall()
        with PostgresRepository(schema=schema, pool=pool) as repository:
            AnnotationQueues(repository, "project").create("queue", created_by="ann")
        with pool.connection() as connection:
            assert connection.execute(settings).fetchall() == before
            locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchall()
        # It is the caller's, and so the caller closes it.
        assert not pool.closed
    assert locks == [(0,)]
    database.give_back([schema])


def test_a_pool_of_another_kind_is_refused(database: Database) -> None:
    with pytest.raises(InvalidValue, match="ConnectionPool"):
        PostgresRepository(schema="never", pool=database)  # type: ignore[arg-type]


def test_another_applications_schema_is_left_as_it_is(database: Database, admin: psycopg.Connection[Any]) -> None:
    admin.execute("CREATE SCHEMA theirs")
    admin.execute("CREATE TABLE theirs.things (id text)")
    with pytest.raises(StorageCorrupt, match="another application"):
        database.repository("theirs")
    names = admin.execute("SELECT relname FROM pg_class WHERE relnamespace = 'theirs'::regnamespace").fetchall()
    assert names == [("things",)]


def test_a_newer_schema_is_left_as_it_is(database: Database, admin: psycopg.Connection[Any]) -> None:
    database.repository("theirs").close()
    admin.execute("UPDATE theirs.annotation_queue_schema SET version = 99")
    with pytest.raises(SchemaVersionUnknown) as caught:
        database.repository("theirs")
    assert (caught.value.found, caught.value.supported) == (99, postgres_schema.SCHEMA_VERSION)
    assert admin.execute("SELECT version FROM theirs.annotation_queue_schema").fetchall() == [(99,)]


def test_an_empty_schema_that_somebody_else_made_is_used(database: Database, admin: psycopg.Connection[Any]) -> None:
    admin.execute("CREATE SCHEMA theirs")
    with database.repository("theirs") as repository:
        assert AnnotationQueues(repository, "project").create("queue", created_by="ann").name == "queue"


def test_a_migration_that_fails_leaves_nothing_behind(database: Database, admin: psycopg.Connection[Any]) -> None:
    pool = Connections(database.dsn, "theirs", None, max_connections=1, timeout=20, prepare_threshold=None)
    with pytest.raises(Exception, match="nothing was written"):
        postgres_schema.prepare(pool, [["CREATE TABLE a (b bigint)", "CREATE TABLE a (b bigint)"]])
    assert admin.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'theirs'").fetchall() == [(0,)]
    postgres_schema.prepare(pool, [["CREATE TABLE a (b bigint)"]])
    postgres_schema.prepare(pool, [["CREATE TABLE a (b bigint)"], ["ALTER TABLE a ADD COLUMN c bigint"]])
    assert admin.execute("SELECT version FROM theirs.annotation_queue_schema").fetchall() == [(2,)]
    pool.close()


def test_every_text_column_compares_by_code_point(database: Database, admin: psycopg.Connection[Any]) -> None:
    database.repository("theirs").close()
    columns = admin.execute(
        "SELECT c.relname, a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid "
        "JOIN pg_collation AS l ON l.oid = a.attcollation "
        "WHERE c.relnamespace = 'theirs'::regnamespace AND l.collname <> 'C'"
    ).fetchall()
    assert columns == []


def test_every_key_of_what_grows_begins_with_the_queue(database: Database, admin: psycopg.Connection[Any]) -> None:
    database.repository("theirs").close()
    first = admin.execute(
        "SELECT DISTINCT c.relname FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indrelid "
        "JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = x.indkey[0] "
        "WHERE c.relnamespace = 'theirs'::regnamespace AND a.attname <> 'queue'"
    ).fetchall()
    assert {name for (name,) in first} == {"queues", "item_ids"}


@pytest.mark.parametrize(
    "options",
    [
        {"schema": ""},
        {"schema": "pg_own"},
        {"schema": "x" * 64},
        {"max_connections": 0},
        {"max_connections": True},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": True},
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        PostgresRepository("host=nowhere.invalid", **options)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252"])
def test_a_callers_pool_that_cannot_carry_every_text_does_so_as_long_as_it_lends_a_connection(
    database: Database, encoding: str
) -> None:
    schema = database.take()
    settings = {"client_encoding": encoding.lower()}
    with ConnectionPool(database.dsn, min_size=1, max_size=1, open=True, kwargs=settings) as pool:
        with PostgresRepository(schema=schema, pool=pool) as repository:
            queues = AnnotationQueues(repository, "project")
            queue = queues.create("\N{GRINNING FACE}", created_by="ann")
            assert queues.query(QueueQuery(name="\N{GRINNING FACE}")).queues == (queue,)
            with pytest.raises(QueueNotFound):
                queues.get("plain")
        # It is the caller's, and is as before.
        with pool.connection() as connection:
            assert connection.info.parameter_status("client_encoding") == encoding
            assert (
                connection.info.encoding == {"LATIN1": "iso8859-1", "SQL_ASCII": "ascii", "WIN1252": "cp1252"}[encoding]
            )
    database.give_back([schema])


def test_a_callers_pool_whose_arrays_know_no_null_works(database: Database) -> None:
    schema = database.take()
    settings = {"options": "-c array_nulls=off"}
    with ConnectionPool(database.dsn, min_size=1, max_size=1, open=True, kwargs=settings) as pool:
        with PostgresRepository(schema=schema, pool=pool) as repository:
            queues = AnnotationQueues(repository, "project")
            queue = queues.create("queue", created_by="ann")
            queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
            claim = queues.claim(queue.id, "bob")
            assert isinstance(claim, Claim)
            assert queues.complete(claim, 1).annotation_state == "completed"
            assert repository.check() == ()
        with pool.connection() as connection:
            assert connection.execute("SHOW array_nulls").fetchall() == [("off",)]
    database.give_back([schema])
