"""What PostgreSQL logs: migrations, without what the connection says of its user; and errors tell no row's values."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue.repositories.postgres.schema import SCHEMA_VERSION
from annotation_queue.repositories.postgres.translation import translate

if TYPE_CHECKING:
    from helpers.postgres import Database


def test_a_migration_is_logged_once(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "annotation_queue")
    schema = database.fresh()
    for _ in range(2):
        database.repository(schema).close()
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("annotation_queue.postgres", f"schema {schema!r} was migrated from schema version 0 to {SCHEMA_VERSION}")
    ]
    database.give_back([schema])


def test_an_error_of_the_server_is_told_without_the_row_that_it_shows(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE told (word text CHECK (word = 'no'))")
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("INSERT INTO told VALUES ('a label')")
    assert "a label" in str(caught.value)
    told = str(translate(caught.value, "schema 'x'"))
    assert "violates check constraint" in told
    assert "a label" not in told
