"""Statements of PostgreSQL are seen, or one of them fails, and all that a schema holds can be read and put back."""

from __future__ import annotations

import os
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from annotation_queue.repositories.postgres.bounded import BoundedConnection
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

HOW: Final = ("cut before", "cut after", "terminated", "refused", "interrupted")
BREAKS: Final = frozenset({"cut before", "cut after", "terminated"})
"""What leaves no connection."""
_COLUMNS: Final = """
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r' AND a.attgenerated = '' AND c.relname <> 'annotation_queue_schema'
GROUP BY c.relname ORDER BY c.relname
"""
_NO_ROOM: Final = "DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$"


class StatementFault:
    """Makes one statement of the repositories of this process fail, with a real error of the server or of the driver.

    Args:
        dsn: Where the server is.
        how: The connection is ``cut before`` the statement reaches the server, or ``cut after`` it ran; its server process
            is ``terminated`` before; the server has ``refused`` it for want of room; or the caller is ``interrupted`` after it.
    """

    def __init__(self, dsn: str, how: str) -> None:
        self.at = 0
        """The how many-th statement fails, from 1 on; 0 for none."""
        self.calls = 0
        self.statement = ""
        """The statement that failed; empty if it has not come."""
        self._how = how
        self._dsn = dsn
        self._execute = psycopg.Cursor.execute

    def set_to(self, at: int) -> None:
        """Count from here on, and fail at that statement."""
        self.at, self.calls, self.statement = at, 0, ""

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make that statement fail, whether a cursor or the connection itself executes it."""
        execute, ask = psycopg.Cursor.execute, BoundedConnection.ask

        def execute_or_fail(cursor: psycopg.Cursor[Any], statement: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the method
            if not isinstance(cursor.connection, BoundedConnection):
                return execute(cursor, statement, *args, **options)
            return self._run_or_fail(cursor, statement, lambda: execute(cursor, statement, *args, **options))

        def ask_or_fail(connection: BoundedConnection, name: str, statement: bytes, values: Any) -> Any:  # noqa: ANN401 - as the method
            cursor = psycopg.Cursor(connection)
            return self._run_or_fail(cursor, statement, lambda: ask(connection, name, statement, values))

        monkeypatch.setattr(psycopg.Cursor, "execute", execute_or_fail)
        monkeypatch.setattr(BoundedConnection, "ask", ask_or_fail)

    def _run_or_fail(self, cursor: psycopg.Cursor[Any], statement: Any, run: Callable[[], Any]) -> Any:  # noqa: ANN401 - as what it wraps
        self.calls += 1
        if self.calls != self.at:
            return run()
        self.statement = statement.decode() if isinstance(statement, bytes) else str(statement)
        if self._how == "refused":
            return self._execute(cursor, _NO_ROOM)
        if self._how == "cut before":
            _cut(self._dsn, cursor.connection)
        elif self._how == "terminated":
            terminate(self._dsn, cursor.connection.info.backend_pid)
        run()
        if self._how == "cut after":
            _cut(self._dsn, cursor.connection)
            return self._execute(cursor, "SELECT")
        assert self._how == "interrupted"
        raise KeyboardInterrupt


def terminate(dsn: str, pid: int) -> None:
    """Terminate a process of the server, and wait until it is gone."""
    with psycopg.connect(dsn, autocommit=True) as other:
        # Told how long to wait, the server would look at intervals of 100 ms only.
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        _await_end(other, pid)


def _await_end(other: psycopg.Connection[Any], pid: int) -> None:
    wait_until(lambda: not other.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall())


def _cut(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """Cut the wire in both directions; neither side was told before.

    It waits until the server has noticed: what its process had locked, a claim would pass over.
    """
    pid = connection.info.backend_pid
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
    with psycopg.connect(dsn, autocommit=True) as other:
        _await_end(other, pid)


def see_statements(monkeypatch: pytest.MonkeyPatch, see: Callable[[str], object]) -> None:
    """Tell the text of every statement that is executed from now on, by a cursor or by a connection itself."""
    execute, ask = psycopg.Cursor.execute, BoundedConnection.ask

    def see_and_execute(cursor: psycopg.Cursor[Any], statement: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as what it wraps
        see(statement.decode() if isinstance(statement, bytes) else statement)
        return execute(cursor, statement, *args, **options)

    def see_and_ask(connection: BoundedConnection, name: str, statement: bytes, values: Any) -> Any:  # noqa: ANN401 - as what it wraps
        see(statement.decode())
        return ask(connection, name, statement, values)

    monkeypatch.setattr(psycopg.Cursor, "execute", see_and_execute)
    monkeypatch.setattr(BoundedConnection, "ask", see_and_ask)


class Contents:
    """All that a schema holds, deleted things and counters too.

    Args:
        dsn: Where the server is, and the database.
        schema: The schema, which has its tables.
    """

    def __init__(self, dsn: str, schema: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        self._columns: dict[str, list[str]] = dict(self._connection.execute(_COLUMNS, (schema,)).fetchall())

    def close(self) -> None:
        """Forget what was kept."""
        self._connection.close()

    def keep(self) -> None:
        """Keep what there is, to be put back."""
        for table in self._columns:
            self._connection.execute(f"CREATE TEMPORARY TABLE kept_{table} AS TABLE {table}")

    def put_back(self) -> None:
        """Make everything as it was when it was kept."""
        steps = []
        for table, columns in self._columns.items():
            names = ", ".join(columns)
            steps.append(f"DELETE FROM {table}")  # noqa: S608 - names of our own tables
            kept = f"SELECT {names} FROM kept_{table}"  # noqa: S608 - as above
            steps.append(f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE {kept}")
        self._connection.execute("; ".join(steps))

    def rows(self) -> list[str]:
        """Read everything, sorted.

        Numbers that the server gives out are given as their ranks: one that is given out is gone, whatever fails then. What
        is counted is given as its sums. What is drawn by lot, and the numbers of transactions, are left out.
        """
        tables = {table: self._connection.execute(f"TABLE {table}") for table in self._columns}
        read = {
            table: [dict(zip([each.name for each in cursor.description or ()], row, strict=True)) for row in cursor]
            for table, cursor in tables.items()
        }
        queues = {number: f"queue {rank}" for rank, number in enumerate(sorted(row["num"] for row in read["queues"]))}
        items = {number: f"item {rank}" for rank, number in enumerate(sorted(row["num"] for row in read["items"]))}
        lines = []
        for table, rows in read.items():
            for row in rows:
                for column, names in (
                    ("queue", queues),
                    ("item", items),
                    ("num", queues if table == "queues" else items),
                ):
                    if column in row:
                        row[column] = names[row[column]]
                for drawn in ("tx", *(["revision"] if table == "queues" else [])):
                    row.pop(drawn, None)
                if table not in {"counters", "openings"}:
                    lines.append(f"{table} {row}")
        counted: Counter[tuple[str, str, str]] = Counter()
        for row in read["counters"]:
            for kind in row.keys() - {"queue", "annotator", "seq"}:
                counted[row["queue"], row["annotator"] if kind.startswith("own_") else "", kind] += row[kind]
        for row in read["openings"]:
            counted[row["queue"], "", "is opened"] |= row["openings"] > 0
        return sorted([*lines, *(f"counted {key} {n}" for key, n in counted.items() if n)])
