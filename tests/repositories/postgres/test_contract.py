"""PostgreSQL keeps the whole contract, in a database that sorts text as people do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import Direction, ItemQuery, NewItem, SortBy
from annotation_queue.testing import AgreementContract, BatchesContract, Contract, RepositoryContract, ThreadsContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue import AnnotationQueues
    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

# The tests beside it cover enough of what it runs.
pytestmark = pytest.mark.unmeasured


class InASchema(Contract):
    """In an empty schema each time, on connections that were used there before."""

    as_its_own = True
    """Whether the connections are set up as those that a repository makes itself."""

    @pytest.fixture(autouse=True)
    def _database(self, database: Database) -> Iterator[None]:
        self.database = database
        self.schemas: list[str] = []
        yield
        database.give_back(self.schemas)

    def make_repository(self) -> PostgresRepository:
        schema = self.database.take()
        self.schemas.append(schema)
        return self.database.repository(schema, pool=self.database.pool(schema, as_its_own=self.as_its_own))


class TestPostgresRepository(InASchema, RepositoryContract):
    histories_per_example = 1 / 6


@pytest.mark.slow
class TestPostgresRepositoryOnAPoolOfTheCallers(InASchema, AgreementContract, BatchesContract, ThreadsContract):
    """The same calls, in transactions that each say what holds for them."""

    as_its_own = False
    histories_per_example = 1 / 6


def test_answers_sort_text_by_code_point_in_a_database_that_sorts_it_otherwise(
    database: Database, queues: AnnotationQueues
) -> None:
    texts = ["f", "a", "é", "B", "_b", "Ab"]
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=text, call_op_name=text) for text in texts], added_by="ann")
    for field in ("call_id", "call_op_name"):
        for direction in Direction:
            found = queues.query_items(queue.id, ItemQuery(sort_by=[SortBy(field, direction)])).items
            assert [item.call_id for item in found] == sorted(texts, reverse=direction is Direction.DESC)
    if database.collation == "C":
        pytest.skip("this server knows no collation that differs from code points; install one with ICU")
    with psycopg.connect(database.dsn) as connection:
        rows = connection.execute("SELECT t FROM unnest(%s::text[]) AS t ORDER BY t", (texts,)).fetchall()
    assert [text for (text,) in rows] != sorted(texts)
    if database.collation == "icu":
        assert [text for (text,) in rows] == ["_b", "a", "Ab", "B", "é", "f"]
