"""Connections to a PostgreSQL server: who may use them, how transactions begin and end, and what its errors mean."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import ConnectionPool, PoolTimeout

from annotation_queue.errors import StorageError
from annotation_queue.repositories.postgres import placement
from annotation_queue.repositories.postgres.bounded import (
    Attempts,
    BoundedConnection,
    encoding_of,
    has_something_to_say,
)
from annotation_queue.repositories.postgres.conninfo import hosts_of
from annotation_queue.repositories.postgres.hand import Hand
from annotation_queue.repositories.postgres.translation import (
    SilentServer,
    lost_in_commit,
    translate,
    translate_attempt,
)
from annotation_queue.repositories.sql.rows import explain_failure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_LOG: Final = logging.getLogger("annotation_queue.postgres")
_GRACE_SECONDS: Final = 5.0
"""How much longer than the server's own limit we wait for its answer."""
_PATIENT_ATTEMPT: Final = 0.9
"""What part of the time in which the server has to be reached an attempt may take before it counts as failed."""
_BRIEFLY: Final = 100
"""How many milliseconds at a time to wait for a queue alone: as long as somebody waits for that, all others do."""
PAUSE: Final = 0.1
"""How many seconds the others have in between, at most."""
_SHARED: Final = "SELECT pg_advisory_xact_lock_shared({}, {})"
_ADDING: Final = 1 << 30
_ALONE: Final = "SELECT pg_advisory_xact_lock({}, {})"
# Every question is about one queue out of many, and the tables are indexed by it: whatever the server believes of a table that
# it has not looked at yet, no plan, and least of all one that is kept, may read it from end to end. What is looked up by a key
# is a row or a few, for which a bitmap only takes longer.
_PLANS: Final = ("plan_cache_mode = force_generic_plan", "enable_seqscan = off", "enable_bitmapscan = off")
_READS: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITES: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_TIME_LIMITS: Final = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
_CUSTOM: Final = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_bitmapscan = on"
_WAITS: Final = "SET LOCAL idle_in_transaction_session_timeout = 0"
_VERSION: Final = "SELECT version FROM annotation_queue_schema"
_TEXTS: Final = "UTF8"
"""The encoding of a connection, which has to carry every text."""


class Lock(NamedTuple):
    """The two keys of an advisory lock."""

    space: int
    lock: int


class Connections:
    """A pool of connections to one schema: one transaction uses one at a time, and no process those of another.

    Nothing is set for longer than a transaction on a connection that is not ours alone: one of the caller's pool, or one behind
    a pooler such as PgBouncer, where another client has it next.

    Args:
        conninfo: Where the server is, as for libpq; not used with a ``pool``.
        schema: The schema that everything is in.
        pool: A pool that the caller keeps and closes; None to make one.
        max_connections: How many connections to open at most.
        timeout: How long to wait for a connection that is free, a lock or a statement, in seconds each.
        connect_timeout: How long to wait for each host of a server that cannot be reached, in seconds.
        prepare_threshold: How often a statement is executed before it is prepared; None for never.
    """

    is_joined = False
    """Whether its transactions are parts of one of the caller's."""

    def __init__(
        self,
        conninfo: str,
        schema: str,
        pool: ConnectionPool[Any] | None,
        *,
        max_connections: int,
        timeout: float,
        connect_timeout: float = 5.0,
        prepare_threshold: int | None,
    ) -> None:
        self.schema = schema
        self.name = f"schema {schema!r}"
        self.timeout = timeout
        # An attempt goes on to the next host after that.
        self.connect_timeout = connect_timeout * (hosts_of(conninfo) if pool is None else 1)
        self.attempts = Attempts()
        self._conninfo = conninfo
        self._max = max_connections
        self._kwargs: dict[str, Any] = {
            "autocommit": True,
            "client_encoding": "utf8",
            "prepare_threshold": prepare_threshold,
            # What the driver understands is whole seconds, from 2 on.
            "connect_timeout": max(2, int(connect_timeout)),
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
        self._hand = self._open() if pool is None else Hand(pool, keeps_one=False)
        # A forked child must not even close what it inherited: that would tell the server that the parent has gone.
        self._inherited: list[Hand] = []
        self._space = crc32(f"annotation_queue {schema}".encode()) >> 2
        self.is_distributed = False
        """Whether the schema is distributed in a cluster of Citus."""
        self._set(_PLANS)
        milliseconds = max(1, round(timeout * 1_000))
        brief = f"SET LOCAL lock_timeout = {min(_BRIEFLY, milliseconds)}"
        self._alone = f"{brief}; {_ALONE}; SET LOCAL lock_timeout = {milliseconds}"

    def distribute(self) -> None:
        """Go on as on a schema that is distributed; only while nobody else uses the connections."""
        self.is_distributed = True
        self._set((*_PLANS, *placement.PLANS))
        if self._is_ours:
            # Those that are open have other settings.
            self._hand.close()
            self._hand = self._open()

    def _set(self, plans: Sequence[str]) -> None:
        """Say what is set for each transaction: how to plan, and the rest."""
        milliseconds = max(1, round(self.timeout * 1_000))
        # Arrays are how lists are given, and may hold NULLs.
        settings = [f"search_path TO {quoted(self.schema)}, pg_temp", "jit = off", "array_nulls = on", *plans]
        settings += [f"{name} = {milliseconds}" for name in _TIME_LIMITS]
        self._settings = [f"SET LOCAL {each}" for each in settings]
        self._local = "; ".join(self._settings)
        # Else a transaction of one statement would begin as the database or the user begins transactions.
        settings += ["default_transaction_isolation = 'read committed'", "default_transaction_read_only = off"]
        self._of_session = "; ".join(f"SET {each}" for each in settings)

    @property
    def has_room(self) -> bool:
        """Whether most likely nobody has to wait for a connection now."""
        return self._hand.has_room

    def reading(self, *, custom: bool = False, ordered: bool = False, patience: float | None = None) -> Transaction:
        """Lend a connection inside a read transaction: every statement sees the same instant.

        Args:
            custom: Whether the best plan of a statement depends on its values and on how much is stored. Else it is planned
                once for a connection: to plan it takes the server longer than to look up a key.
            ordered: Whether it reads the beginning of an order that an index has. Of a table that the server has not looked at
                yet it believes that all of it is sorted as soon.
            patience: How long to wait for each answer, in seconds; None for a little longer than the server's own limit.
        """
        # A plan that reads the start of an order does not sort, or look a row up by a bitmap of its whole queue: of a table
        # that was full once, and empty when the server last looked, it believes that these cost less than a key. What is
        # planned once uses no bitmap anyway, and has an index for all columns of its order: none that has some of them will do.
        off = "bitmapscan" if custom else "incremental_sort"
        own = [_CUSTOM] * custom + [f"SET LOCAL enable_sort = off; SET LOCAL enable_{off} = off"] * ordered
        return self.transaction(_READS, own, patience=self._patience if patience is None else patience)

    def one_statement(self, *, writes: bool = False) -> Transaction:
        """Lend a connection for one statement, which is a transaction by itself if that is possible.

        It locks nothing before it, and looks at no version. What it depends on it has to find by itself.

        Args:
            writes: Whether it writes.
        """
        # A schema that is distributed may be on another node by now.
        own = [placement.NOT_HERE, _VERSION] if self.is_distributed and writes else None
        begin = _WRITES if writes else _READS
        return self.transaction(begin, own, writes=writes, patience=self._patience)

    def lock_of(self, queue: int, *, adding: bool = False) -> Lock:
        """Give what a queue is locked by, or what whoever adds to it locks."""
        return Lock(self._space | _ADDING if adding else self._space, _lock_key(queue))

    def writing(
        self,
        shared: Sequence[int] = (),
        *,
        alone: int | None = None,
        adding: int | None = None,
        naming: str | None = None,
        custom: bool = False,
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
        """
        own = [_CUSTOM] if custom else []
        # A migration waits for all who have looked, and who looks after it sees what it made.
        own += [placement.NOT_HERE, _VERSION] if self.is_distributed else [_VERSION]
        own += [_SHARED.format(*self.lock_of(queue)) for queue in sorted(set(shared))]
        if alone is not None:
            # What stores changes asks for the shared lock without waiting. As long as somebody waits for the queue alone, the
            # server grants that only to who has it already, and not to who has the stronger one.
            own += [each.format(*self.lock_of(alone)) for each in (self._alone, _SHARED)]
        own += [] if adding is None else [_ALONE.format(*self.lock_of(adding, adding=True))]
        own += [] if naming is None else [_ALONE.format(~self._space, crc32(naming.encode()) >> 1)]
        return self.transaction(_WRITES, own, writes=True, patience=self._patience)

    def migrating(self) -> Transaction:
        """Lend a connection inside a write transaction in which nobody else changes the schema; it may take its time."""
        lock = _ALONE.format(self._space, 0)
        own = [_WAITS, "SET LOCAL statement_timeout = 0", lock]
        return self.transaction(_WRITES, own, writes=True, patience=None)

    def transaction(
        self, begin: str, own: Sequence[str] | None, *, writes: bool = False, patience: float | None
    ) -> Transaction:
        """Make a transaction, which begins when it is entered.

        Args:
            begin: The statement that begins it.
            own: The statements that come next: what holds for this one, and what it locks. None if its only statement may be a
                transaction by itself.
            writes: Whether it writes.
            patience: How long to wait for each answer, in seconds; None for ever.
        """
        with_settings = "; ".join([begin, self._local, *(own or ())])
        begins = (with_settings, "" if own is None else "; ".join([begin, *own]))
        return Transaction(self, begins, writes=writes, patience=patience)

    @property
    def _patience(self) -> float:
        return self.timeout + _GRACE_SECONDS

    def take(self, begins: tuple[str, str], *, patience: float | None) -> psycopg.Connection[Any]:
        """Lend a connection with a transaction begun, or ready for the only statement of one.

        Args:
            begins: How it begins, and how on a connection that has our settings already; empty for a statement by itself.
            patience: How long to wait for each answer, in seconds; None for ever.

        A connection that the server has closed meanwhile is noticed here, before anything was done, and replaced. Whoever wants
        a queue alone asks for it again and again.
        """
        if self._pid != os.getpid():
            self._begin_in_child()
        if self._closed:
            raise StorageError(f"the repository on {self.name} is closed; make a new one")
        deadline = time.monotonic() + self.timeout
        while True:
            connection = self._lend(deadline)
            try:
                self._begin(connection, begins, patience=patience)
            except BaseException as error:
                broken = connection.broken or connection.closed
                self.give_back(connection)
                lost = broken and isinstance(error, psycopg.OperationalError) and not isinstance(error, SilentServer)
                if time.monotonic() >= deadline or not (lost or isinstance(error, errors.LockNotAvailable)):
                    raise
                if lost:
                    _LOG.info("a connection to %s was lost before anything was done, and is replaced", self.name)
                else:
                    time.sleep(PAUSE * random.random())  # noqa: S311 - jitter, not a secret
            else:
                return connection

    def _lend(self, deadline: float) -> psycopg.Connection[Any]:
        """Take a connection out of the pool.

        Raises:
            StorageUnreachable: No connection could be made in the time that a server has to be reached in.
        """
        failed = self._failures()
        long = _PATIENT_ATTEMPT * min(self.connect_timeout, deadline - time.monotonic())
        while True:
            patience = max(0.01, min(deadline - time.monotonic(), self.connect_timeout))
            try:
                lent = self._hand.take(patience)
            except PoolTimeout as timeout:
                error = self.attempts.error
                fails = self._failures() > failed and not (self._is_ours and error is None)
                if fails or self.attempts.longest() >= max(0.01, long):
                    raise translate_attempt(error or psycopg.OperationalError(str(timeout)), self.name) from timeout
                if time.monotonic() >= deadline:
                    raise
            else:
                return lent

    def _failures(self) -> int:
        """Tell how many attempts of the pool to connect have failed so far."""
        return self.attempts.failed if self._is_ours else self._hand.pool.get_stats().get("connections_errors", 0)

    def _begin(self, connection: psycopg.Connection[Any], begins: tuple[str, str], *, patience: float | None) -> None:
        if not connection.autocommit:
            connection.autocommit = True
            self._switched.add(connection)
        if isinstance(connection, BoundedConnection):
            connection.patience = patience
        begin = begins[isinstance(connection, BoundedConnection) and connection.is_set]
        # A statement by itself must not be what finds out that the server has hung up: what became of it nobody would know.
        begin = begin or ("SELECT" if has_something_to_say(connection) else "")
        if not begin:
            return
        if not self._is_ours and encoding_of(connection) != _TEXTS:
            first, _, rest = begin.partition("; ")
            begin = f"{first}; SET LOCAL client_encoding = {_TEXTS}; {rest}"
        self._check_version(self.cursor(connection).execute(begin, prepare=False), begin)

    def cursor(self, connection: psycopg.Connection[Any]) -> psycopg.Cursor[TupleRow]:
        """Make a cursor, for statements in the transaction of a connection that was lent."""
        return psycopg.RawCursor(connection, row_factory=tuple_row)

    def _check_version(self, answers: psycopg.Cursor[TupleRow], begin: str) -> None:
        """Look at the schema version that a transaction has found as it began, if it asked for that.

        Raises:
            SchemaVersionUnknown: A newer version of this library has migrated the schema meanwhile.
            StorageError: The schema was replaced by an older one.
        """
        if _VERSION not in begin:
            return
        # What sets something answers with no row.
        while answers.pgresult is not None and not answers.pgresult.ntuples and answers.nextset():
            pass
        (found,) = answers.fetchone() or (None,)
        if self.version is not None and found != self.version:
            raise placement.replaced(self.name, found, self.version)

    def commit(self, connection: psycopg.Connection[Any], *, writes: bool) -> None:
        """Commit the transaction of a connection that was lent.

        Raises:
            OutcomeUnknown: The connection was lost, and it writes.
        """
        if connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            # Its only statement was the whole of it.
            return
        try:
            done = connection.execute("COMMIT", prepare=False).statusmessage
        except psycopg.Error as error:
            if writes and (connection.closed or connection.broken):
                raise lost_in_commit(error, self.name) from error
            raise translate(error, self.name) from error
        if done != "COMMIT":
            raise StorageError(f"{self.name} did not commit; nothing was written")

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
            self._hand.give_back(connection)

    def close(self) -> None:
        """Close the pool if it is ours; a second time does nothing."""
        if self._pid != os.getpid():
            self._begin_in_child()
        if not self._closed:
            self._closed = True
            if self._is_ours:
                self._hand.close()

    def _look(self) -> None:
        """Connect once: the pool would try again and again, and then not say what was wrong."""
        try:
            psycopg.connect(self._conninfo, **self._kwargs).close()
        except psycopg.Error as error:
            raise translate_attempt(error, self.name) from error

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        """Make our settings once for all transactions of a connection, if it is ours alone."""
        # A pooler gives numbers of its own, by which to cancel what it passes on, and not those of the server's processes.
        is_direct = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone() == (
            connection.info.backend_pid,
        )
        if is_direct and isinstance(connection, BoundedConnection):
            connection.execute(self._of_session.encode(), prepare=False)
            connection.is_set = True

    def _open(self) -> Hand:
        pool = ConnectionPool(
            self._conninfo,
            connection_class=BoundedConnection,
            configure=self._configure,
            kwargs={**self._kwargs, "attempts": self.attempts},
            min_size=0,
            max_size=self._max,
            timeout=self.timeout,
            # Whoever asks after that begins with new attempts.
            reconnect_timeout=self.connect_timeout,
            name=f"annotation_queue {self.schema}",
            open=True,
        )
        return Hand(pool, keeps_one=True)

    def _begin_in_child(self) -> None:
        """Start anew in a forked child."""
        if not self._is_ours:
            raise StorageError(f"the pool of {self.name} belongs to another process; make a repository after the fork")
        pid = os.getpid()
        with self._locks.setdefault(pid, threading.Lock()):
            if self._pid != pid:
                self._inherited.append(self._hand)
                # Those of the parent never end here.
                self.attempts = Attempts()
                self._hand = self._open()
                if self._closed:
                    self._hand.close()
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
        begins: The statements that begin it, as for `Connections.take`.
        writes: Whether it writes.
        patience: How long to wait for each answer, in seconds; None for ever.
    """

    def __init__(
        self, connections: Connections, begins: tuple[str, str], *, writes: bool, patience: float | None
    ) -> None:
        self.connections = connections
        self._begins = begins
        self._writes = writes
        self._patience = patience
        self._connection: psycopg.Connection[Any] | None = None
        self.told = 0
        """How many entries of logs were written so far: no two of a transaction have the same number."""

    @property
    def is_joined(self) -> bool:
        """Whether it is a part of a transaction of the caller's."""
        return self.connections.is_joined

    def begin(self) -> psycopg.Connection[Any]:
        """Enter it, for who makes cursors by themselves."""
        try:
            self._connection = connection = self.connections.take(self._begins, patience=self._patience)
        except psycopg.Error as error:
            raise translate(error, self.connections.name, begins=True) from error
        return connection

    def __enter__(self) -> psycopg.Cursor[TupleRow]:
        return self.connections.cursor(self.begin())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        name = self.connections.name
        is_lost = error is not None and self._writes and self._is_lost()
        try:
            if error is None and self._connection is not None:
                self.connections.commit(self._connection, writes=self._writes)
        finally:
            self.end()
        if isinstance(error, psycopg.Error):
            if is_lost:
                raise lost_in_commit(error, name) from error
            raise translate(error, name) from error
        explain_failure(error, name)

    def __del__(self) -> None:
        # An interrupt can come between the body of a transaction and its end.
        self.end()

    def _is_lost(self) -> bool:
        """Tell whether the connection was lost during a statement that was a transaction by itself."""
        lost = self._connection is not None and (self._connection.closed or self._connection.broken)
        return (
            lost and not self._begins[1] and isinstance(self._connection, BoundedConnection) and self._connection.is_set
        )

    def end(self) -> None:
        """Give the connection back; a second time does nothing."""
        connection, self._connection = getattr(self, "_connection", None), None
        if connection is not None:
            self.connections.give_back(connection)
