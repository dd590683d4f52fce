"""PostgreSQL keeps the whole contract, in a database that sorts text as people do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue.testing import RepositoryContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database


class TestPostgresRepository(RepositoryContract):
    @pytest.fixture(autouse=True)
    def _database(self, database: Database) -> Iterator[None]:
        self.database = database
        self.schemas: list[str] = []
        yield
        database.give_back(self.schemas)

    def make_repository(self) -> PostgresRepository:
        self.schemas.append(self.database.take())
        return self.database.repository(self.schemas[-1])


def test_the_database_of_these_tests_sorts_text_otherwise_than_python_does(database: Database) -> None:
    if not database.has_icu:
        pytest.skip("this server is built without ICU")
    with psycopg.connect(database.dsn) as connection:
        rows = connection.execute("SELECT t FROM unnest(ARRAY['a', 'B', 'é', 'f']) AS t ORDER BY t").fetchall()
    assert [text for (text,) in rows] == ["a", "B", "é", "f"] != sorted(["a", "B", "é", "f"])
