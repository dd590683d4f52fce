"""Connections to a PostgreSQL server: who may use them, how transactions begin and end, and what its errors mean."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from annotation_queue.errors import (
    OutcomeUnknown,
    SchemaVersionUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from annotation_queue.repositories.sql.rows import explain_failure

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from types import TracebackType

_LOG: Final = logging.getLogger("annotation_queue.postgres")
_BUSY: Final = (
    errors.QueryCanceled,
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.IdleInTransactionSessionTimeout,
    errors.TooManyConnections,
    errors.CannotConnectNow,
    PoolTimeout,
    TooManyRequests,
)
_FULL: Final = (errors.DiskFull,)
_CORRUPT: Final = (errors.DataCorrupted, errors.IndexCorrupted)
_GRACE_SECONDS: Final = 5.0
"""How much longer than the server's own limit we wait for its answer."""
_SHARED: Final = "SELECT pg_advisory_xact_lock_shared({}, {})"
_ADDING: Final = 1 << 30
_ALONE: Final = "SELECT pg_advisory_xact_lock({}, {})"
# Every question is about one queue out of many, and the tables are indexed by it: whatever the server believes of a table that
# it has not looked at yet, no plan, and least of all one that is kept, may read it from end to end.
_PLANS: Final = {
    custom: f"SET LOCAL plan_cache_mode = force_{kind}_plan; SET LOCAL enable_seqscan = off"
    for custom, kind in ((False, "generic"), (True, "custom"))
}


_VERSION: Final = "SELECT version FROM annotation_queue_schema"


class SilentServer(psycopg.OperationalError):
    """The server, or what is between us, said nothing for longer than its own time limits allow."""


class BoundedConnection(psycopg.Connection[TupleRow]):
    """A connection that waits for the server's answer only so long, and is broken after that."""

    patience: float | None = None
    """How long to wait for one answer, in seconds; None for ever."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as psycopg's
        """Wait as psycopg does, but not longer than that."""
        if self.patience is None:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_bounded(gen, time.monotonic() + self.patience), *args, **kwargs)
        except SilentServer:
            self.pgconn.finish()
            raise


def _bounded(gen: Generator[Any, Any, Any], deadline: float) -> Generator[Any, Any, Any]:
    """Pass on what the driver waits for; it is woken at intervals with nothing, and then a look at the clock is due."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise SilentServer("the server does not answer")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


def translate(error: BaseException, name: str) -> StorageError:
    """Turn the driver's error into ours.

    Args:
        error: What psycopg or its pool raised.
        name: What to call the storage.

    Returns:
        The error to raise from it.
    """
    # Only the server's first line: what comes after may show what a row holds.
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    told = " ".join((primary or str(error)).split())
    if isinstance(error, _BUSY):
        return StorageBusy(f"{name} stayed locked or overloaded ({told}); nothing was written, try again")
    if isinstance(error, _FULL):
        return StorageFull(f"{name} has no room left ({told}); nothing was written, make room and try again")
    if isinstance(error, _CORRUPT):
        return StorageCorrupt(f"{name} is damaged ({told}); restore it from a backup")
    if isinstance(error, PoolClosed):
        return StorageError(f"the repository on {name} is closed; make a new one")
    return StorageError(f"{name} could not be used ({told}); nothing was written")


class Connections:
    """A pool of connections to one schema: one transaction uses one at a time, and no process those of another.

    Nothing is set on a connection for longer than a transaction, so that a pooler such as PgBouncer may stand in between.

    Args:
        conninfo: Where the server is, as for libpq; not used with a ``pool``.
        schema: The schema that everything is in.
        pool: A pool that the caller keeps and closes; None to make one.
        max_connections: How many connections to open at most.
        timeout: How long to wait for a connection, a lock or a statement, in seconds each.
        prepare_threshold: How often a statement is executed before it is prepared; None for never.
    """

    def __init__(
        self,
        conninfo: str,
        schema: str,
        pool: ConnectionPool[Any] | None,
        *,
        max_connections: int,
        timeout: float,
        prepare_threshold: int | None,
    ) -> None:
        self.schema = schema
        self.name = f"schema {schema!r}"
        self.timeout = timeout
        self._conninfo = conninfo
        self._max = max_connections
        self._kwargs: dict[str, Any] = {
            "autocommit": True,
            "client_encoding": "utf8",
            "prepare_threshold": prepare_threshold,
            "connect_timeout": max(2, round(timeout)),
        }
        self._is_ours = pool is None
        self._pid = os.getpid()
        # By process: a fork may catch one that another thread holds.
        self._locks: dict[int, threading.Lock] = {}
        self._closed = False
        self.version: int | None = None
        """The schema version that was found when it was opened; whoever writes looks whether it still is the same."""
        # Connections that the caller wants without autocommit, while they are lent.
        self._switched: set[psycopg.Connection[Any]] = set()
        if pool is None:
            self._look()
        self._pool = self._open() if pool is None else pool
        # A forked child must not even close what it inherited: that would tell the server that the parent has gone.
        self._inherited: list[ConnectionPool[Any]] = []
        self._space = crc32(f"annotation_queue {schema}".encode()) >> 2
        milliseconds = max(1, round(timeout * 1_000))
        self._settings = (
            f"SET LOCAL search_path TO {quoted(schema)}, pg_temp; SET LOCAL statement_timeout = {milliseconds}; "
            f"SET LOCAL lock_timeout = {milliseconds}; SET LOCAL jit = off"
        )
        self._idle = f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}"

    def reading(self, *, custom: bool = False, ordered: bool = False) -> Transaction:
        """Lend a connection inside a read transaction: every statement sees the same instant.

        Args:
            custom: Whether the best plan of a statement depends on its values and on how much is stored. Else it is planned
                once for a connection: to plan it takes the server longer than to look up a key.
            ordered: Whether it reads the beginning of an order that an index has. Of a table that the server has not looked at
                yet it believes that all of it is sorted as soon.
        """
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        sorts = "; SET LOCAL enable_sort = off" if ordered else ""
        return Transaction(self, f"{begin}; {self._settings}; {self._idle}; {_PLANS[custom]}{sorts}")

    def writing(
        self,
        shared: Sequence[int] = (),
        *,
        alone: int | None = None,
        adding: int | None = None,
        naming: str | None = None,
        custom: bool = False,
        waits: bool = False,
    ) -> Transaction:
        """Lend a connection inside a write transaction: commits at the end, rolls back on any exception.

        Its statements each see what was committed before them. The locks are taken in an order in which nobody can wait for
        somebody who waits for them: queues first, by number.

        Args:
            shared: Numbers of queues that change only after it.
            alone: Number of a queue that nobody else works on.
            adding: Number of a queue that nobody else adds to.
            naming: What nobody else looks for, to make it if it is not there.
            custom: As for `reading`.
            waits: Whether the caller's own code runs inside it, which may take any time.
        """
        parts = ["BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", self._settings, _PLANS[custom]]
        parts += [] if waits else [self._idle]
        # A migration waits for all who have looked, and who looks after it sees what it made.
        parts += [_VERSION]
        parts += [_SHARED.format(self._space, _lock_key(queue)) for queue in sorted(set(shared))]
        parts += [] if alone is None else [_ALONE.format(self._space, _lock_key(alone))]
        parts += [] if adding is None else [_ALONE.format(self._space | _ADDING, _lock_key(adding))]
        parts += [] if naming is None else [_ALONE.format(~self._space, crc32(naming.encode()) >> 1)]
        return Transaction(self, "; ".join(parts), writes=True)

    def migrating(self) -> Transaction:
        """Lend a connection inside a write transaction in which nobody else changes the schema; it may take its time."""
        lock = _ALONE.format(self._space, 0)
        milliseconds = max(1, round(self.timeout * 1_000))
        begin = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {milliseconds}"
        path = f"SET LOCAL search_path TO {quoted(self.schema)}, pg_temp"
        return Transaction(self, f"{begin}; {path}; SET LOCAL statement_timeout = 0; {lock}", writes=True, patient=True)

    def take(self, begin: str, *, patient: bool) -> psycopg.Connection[Any]:
        """Lend a connection with a transaction begun.

        A connection that the server has closed meanwhile is noticed here, before anything was done, and replaced.
        """
        if self._pid != os.getpid():
            self._begin_in_child()
        if self._closed:
            raise StorageError(f"the repository on {self.name} is closed; make a new one")
        deadline = time.monotonic() + self.timeout
        while True:
            connection: psycopg.Connection[Any] = self._pool.getconn(timeout=max(0.01, deadline - time.monotonic()))
            try:
                self._begin(connection, begin, patient=patient)
            except BaseException as error:
                broken = connection.broken or connection.closed
                self.give_back(connection)
                again = isinstance(error, psycopg.OperationalError) and not isinstance(error, SilentServer)
                if not (broken and again and time.monotonic() < deadline):
                    raise
                _LOG.info("a connection to %s was lost before anything was done, and is replaced", self.name)
            else:
                return connection

    def _begin(self, connection: psycopg.Connection[Any], begin: str, *, patient: bool) -> None:
        if not connection.autocommit:
            connection.autocommit = True
            self._switched.add(connection)
        if isinstance(connection, BoundedConnection):
            connection.patience = None if patient else self.timeout + _GRACE_SECONDS
        if not self._is_ours:
            self._check_encoding(connection)
        answers = psycopg.Cursor(connection, row_factory=tuple_row).execute(begin, prepare=False)
        if _VERSION in begin:
            self._check_version(answers)

    def _check_encoding(self, connection: psycopg.Connection[Any]) -> None:
        """Refuse a connection of the caller's pool that cannot carry every text."""
        encoding = connection.info.parameter_status("client_encoding")
        if encoding != "UTF8":
            raise StorageError(
                f"a connection to {self.name} is encoded in {encoding}, which cannot carry every text; make the pool with "
                "kwargs={'client_encoding': 'utf8'}"
            )

    def _check_version(self, answers: psycopg.Cursor[TupleRow]) -> None:
        """Look at the schema version that a transaction has found as it began.

        Raises:
            SchemaVersionUnknown: A newer version of this library has migrated the schema meanwhile.
            StorageError: The schema was replaced by an older one.
        """
        # What sets something answers with no row.
        while answers.pgresult is not None and not answers.pgresult.ntuples and answers.nextset():
            pass
        (found,) = answers.fetchone() or (None,)
        if self.version is None or found == self.version:
            return
        if found is not None and found > self.version:
            raise SchemaVersionUnknown(self.name, found, self.version)
        raise StorageError(
            f"{self.name} has version {found} and had version {self.version} when it was opened: it was replaced; nothing was "
            "written, make a new repository"
        )

    def give_back(self, connection: psycopg.Connection[Any]) -> None:
        """Take a connection back, without its transaction if that is still open."""
        if not connection.closed and connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            # The body failed, or COMMIT did: nothing of it may stay, nor hold a lock.
            try:
                connection.execute("ROLLBACK", prepare=False)
            except (psycopg.Error, OSError):
                connection.close()
        if connection in self._switched:
            self._switched.discard(connection)
            with suppress(psycopg.Error):
                connection.autocommit = False
        with suppress(psycopg.Error):
            self._pool.putconn(connection)

    def close(self) -> None:
        """Close the pool if it is ours; a second time does nothing."""
        if self._pid != os.getpid():
            self._begin_in_child()
        if not self._closed:
            self._closed = True
            if self._is_ours:
                self._pool.close()

    def _look(self) -> None:
        """Connect once: the pool would try again and again, and then not say what was wrong."""
        try:
            psycopg.connect(self._conninfo, **self._kwargs).close()
        except psycopg.Error as error:
            raise translate(error, self.name) from error

    def _open(self) -> ConnectionPool[Any]:
        return ConnectionPool(
            self._conninfo,
            connection_class=BoundedConnection,
            kwargs=self._kwargs,
            min_size=0,
            max_size=self._max,
            timeout=self.timeout,
            reconnect_timeout=self.timeout,
            name=f"annotation_queue {self.schema}",
            open=True,
        )

    def _begin_in_child(self) -> None:
        """Start anew in a forked child."""
        if not self._is_ours:
            raise StorageError(f"the pool of {self.name} belongs to another process; make a repository after the fork")
        pid = os.getpid()
        with self._locks.setdefault(pid, threading.Lock()):
            if self._pid != pid:
                self._inherited.append(self._pool)
                self._pool = self._open()
                if self._closed:
                    self._pool.close()
                # The last: until then every other thread comes here.
                self._pid = pid


def quoted(name: str) -> str:
    """Write the name of a schema so that SQL reads it as it is."""
    return '"' + name.replace('"', '""') + '"'


def _lock_key(queue: int) -> int:
    """Fold the number of a queue into 31 bits, from 1 on; queues that share a lock only wait for one another."""
    return queue % ((1 << 31) - 1) + 1 if queue >= 1 << 31 else queue


class Transaction:
    """A lent connection for the length of one transaction. The driver's errors leave it translated.

    Args:
        connections: Where the connection comes from.
        begin: The statements that begin it.
        writes: Whether it writes.
        patient: Whether its statements may take any time.
    """

    def __init__(self, connections: Connections, begin: str, *, writes: bool = False, patient: bool = False) -> None:
        self._connections = connections
        self._begin = begin
        self._writes = writes
        self._patient = patient
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> psycopg.Cursor[TupleRow]:
        try:
            self._connection = connection = self._connections.take(self._begin, patient=self._patient)
        except psycopg.Error as error:
            raise translate(error, self._connections.name) from error
        return psycopg.Cursor(connection, row_factory=tuple_row)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        name = self._connections.name
        try:
            if error is None and self._connection is not None:
                self._commit(self._connection)
        finally:
            self.end()
        if isinstance(error, psycopg.Error):
            raise translate(error, name) from error
        explain_failure(error, name)

    def __del__(self) -> None:
        # An interrupt can come between the body of a transaction and its end.
        self.end()

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        name = self._connections.name
        try:
            done = connection.execute("COMMIT", prepare=False).statusmessage
        except psycopg.Error as error:
            if self._writes and (connection.closed or connection.broken):
                what = f"the connection to {name} was lost during a commit ({error}), which took effect or did not"
                raise OutcomeUnknown(f"{what}; call again") from error
            raise translate(error, name) from error
        if done != "COMMIT":
            raise StorageError(f"{name} did not commit; nothing was written")

    def end(self) -> None:
        """Give the connection back; a second time does nothing."""
        connection, self._connection = getattr(self, "_connection", None), None
        if connection is not None:
            self._connections.give_back(connection)
