"""The connection of a caller, with a transaction that calls of a repository join."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors, postgres, sql
from psycopg.adapt import AdaptersMap
from psycopg.rows import TupleRow, tuple_row

from annotation_queue.errors import StorageError
from annotation_queue.repositories.postgres.bounded import encoding_of
from annotation_queue.repositories.postgres.connections import PAUSE, Connections, Transaction
from annotation_queue.repositories.postgres.translation import translate
from annotation_queue.values import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAVEPOINT: Final = "SAVEPOINT annotation_queue"
_RELEASE: Final = "RELEASE SAVEPOINT annotation_queue"
_ROLLBACK: Final = f"ROLLBACK TO SAVEPOINT annotation_queue; {_RELEASE}"
_OF_SOME: Final = "enable_sort"
"""What is set for some of our transactions, besides what is set for all."""
_ENCODING: Final = "client_encoding"
_ACCEPTED: Final = "a psycopg connection in a transaction: begin one, with connection.transaction() for example"
_TOLD: Final[WeakKeyDictionary[psycopg.Connection[Any], int]] = WeakKeyDictionary()
"""How many entries of logs were written over each connection: those of one transaction have to be told apart."""
_ADAPTERS: Final = AdaptersMap(types=postgres.types)
"""How values travel where nobody has changed it."""
postgres.register_default_adapters(_ADAPTERS)


class JoinedCursor(psycopg.RawCursor[TupleRow]):
    """A cursor that takes nothing over from its connection: neither how rows are made nor how values travel."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)

    @property
    def adapters(self) -> AdaptersMap:
        """How values travel."""
        return _ADAPTERS


class Joined(Connections):
    """A connection of the caller's, whose transaction every one of ours is a part of, between two savepoints.

    No call is tried again: what is in the way may be what the caller's transaction has done itself. Only who wants a queue
    alone asks for that again and again, as everybody does; no lock keeps out the transaction that has it.

    Args:
        connections: The connections to the same schema that are not joined.
        connection: The caller's connection.
    """

    is_joined = True

    def __init__(self, connections: Connections, connection: psycopg.Connection[Any]) -> None:
        if not isinstance(connection, psycopg.Connection):
            raise refuse("connection", connection, "a psycopg.Connection")
        # Names, limits and the version are the same; but for them, nothing is shared.
        vars(self).update(vars(connections))
        self.connection = connection
        self._closed = False
        # Each begins with SET LOCAL.
        self._names = [*(each.split()[2] for each in self._settings), _OF_SOME]
        self._read = f"SELECT {', '.join(f'current_setting({name!r})' for name in self._names)}"
        self._lock = threading.RLock()
        self._before: list[Sequence[tuple[str, str]] | None] = []
        """For each of ours that is open, the outermost first: the settings before it; None once they were put back."""

    def transaction(
        self, begin: str, own: Sequence[str] | None, *, writes: bool = False, patience: float | None
    ) -> Transaction:
        """See `Connections.transaction`: it begins with a savepoint."""
        del begin  # the caller has begun
        text = "; ".join([*self._settings, *(own or ())])
        return _Part(self, (text, text), writes=writes, patience=patience)

    def take(self, begins: tuple[str, str], *, patience: float | None) -> psycopg.Connection[Any]:
        """Set a savepoint, and our settings, and take locks; again and again, as `Connections.take`, if it wants a queue alone.

        Raises:
            InvalidValue: The connection is in no transaction, or in pipeline mode.
            StorageError: It is closed, or its transaction has failed before.
        """
        del patience  # that is the caller's
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return self._take(begins)
            except errors.LockNotAvailable:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(PAUSE * random.random())  # noqa: S311 - jitter, not a secret

    def _take(self, begins: tuple[str, str]) -> psycopg.Connection[Any]:
        self._check()
        self._lock.acquire()
        self._before.append(())
        try:
            settings: list[tuple[str, str]] = []
            encoding = encoding_of(self.connection)
            self._execute(_SAVEPOINT)
            if encoding is not None and encoding != "UTF8":
                settings.append((_ENCODING, encoding))
                self._execute("SET LOCAL client_encoding = UTF8")
            begin, _ = begins
            answers = self._execute(f"{self._read}; {begin}")
            settings += zip(self._names, answers.fetchone() or (), strict=True)
            self._before[-1] = settings
            if answers.nextset():
                self._check_version(answers, begin)
        except BaseException:
            self.give_back(self.connection)
            raise
        return self.connection

    def cursor(self, connection: psycopg.Connection[Any]) -> psycopg.Cursor[TupleRow]:
        """See `Connections.cursor`."""
        return JoinedCursor(connection)

    def commit(self, connection: psycopg.Connection[Any], *, writes: bool) -> None:
        """Put the settings back, and leave what was done to the caller's transaction."""
        del connection, writes  # there is only one, and nothing is committed
        put_back = sql.SQL("; ").join(
            [
                *(
                    sql.SQL("SELECT set_config({}, {}, TRUE)").format(name, value)
                    for name, value in reversed(self._before[-1] or ())
                ),
                sql.SQL(_RELEASE),
            ]
        )
        try:
            self._execute(put_back.as_string(self.cursor(self.connection)))
        except psycopg.Error as error:
            raise translate(error, self.name) from error
        self._before[-1] = None

    def give_back(self, connection: psycopg.Connection[Any]) -> None:
        """Undo what was done since the savepoint, unless it was left to the caller's transaction."""
        del connection  # there is only one
        is_done = self._before.pop() is None
        try:
            if not is_done and not self.connection.closed:
                # If it fails, the connection is of no use to the caller either, who is told by their next statement.
                with suppress(psycopg.Error):
                    self._execute(_ROLLBACK)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Take no further calls; the connection stays open."""
        self._closed = True

    def _execute(self, statement: str) -> psycopg.Cursor[TupleRow]:
        return self.cursor(self.connection).execute(statement.encode(), prepare=False)

    def _check(self) -> None:
        status, states = self.connection.pgconn.transaction_status, psycopg.pq.TransactionStatus
        if self._closed:
            raise StorageError(f"the with block that joins a transaction to {self.name} is over; begin another one")
        if self.connection.closed:
            raise StorageError(
                f"the connection that was to be joined to {self.name} is closed, and what it had begun is gone"
            )
        if self.connection.pgconn.pipeline_status != psycopg.pq.PipelineStatus.OFF:
            raise refuse("connection", self.connection, f"{_ACCEPTED}, and not in pipeline mode")
        if status == states.INERROR:
            raise StorageError(
                "the transaction that was to be joined has failed before; roll it back and begin another one"
            )
        if status == states.IDLE and self.connection.autocommit:
            raise refuse("connection", self.connection, _ACCEPTED)


class _Part(Transaction):
    """A part of the caller's transaction."""

    @property
    def _over(self) -> psycopg.Connection[Any]:
        return cast("Joined", self.connections).connection

    @property
    def told(self) -> int:
        """How many entries of logs were written over the connection."""
        return _TOLD.get(self._over, 0)

    @told.setter
    def told(self, told: int) -> None:
        _TOLD[self._over] = max(told, self.told)
