"""Connections to one SQLite file: who may use them, how transactions begin, and what its errors mean."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from annotation_queue.errors import (
    OutcomeUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from annotation_queue.repositories.sql.rows import explain_failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_LOG: Final = logging.getLogger("annotation_queue.sqlite")
SYNCHRONOUS: Final = ("FULL", "NORMAL", "OFF")

_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# A file size limit is reported as a failed write, a full disk as such.
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY: Final = 0xFF
_BEGIN_WRITING: Final = "BEGIN IMMEDIATE"
# Where the schema itself is garbled, its text is no text.
_DRIVER_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
_CACHE_KIBIBYTES: Final = 16_384
_ROOMY_CACHE_KIBIBYTES: Final = 65_536
"""For changes of many items, which touch pages all over the indexes: what has no room is written more than once."""
LARGE_LOG: Final = 64 << 20
"""From how many bytes on the write-ahead log is not waited for any longer to become empty by itself."""
_CHANGES_UNLOOKED: Final = 64
"""After how many rows that a connection changed it looks at the size of the log again."""
_PAGES_LOGGED: Final = (16 << 20) // 4_096
"""After how many pages in the log a commit moves them into the file.

By itself SQLite does so after 1,000. With twelve pages for a claim and its completion that is after every 83 of them, each time
with a wait for the disk, and for many a page that the next ones change again.
"""
_LOG_KEPT: Final = 16 << 20
"""How many bytes of the log stay for the next writes once it is in the file."""
_EMPTYING_MILLISECONDS: Final = 1_000
"""How long emptying a large log waits for those who read."""
_RETRY_SECONDS: Final = (0.001, 0.006)
LONG_WAIT: Final = 1.0
"""From how many seconds on a wait for another writer is logged."""
_FORK_SECONDS: Final = 10.0
"""How long a fork waits for transactions of other threads."""


def translate(error: sqlite3.Error | UnicodeDecodeError, path: str) -> StorageError:
    """Turn SQLite's error into ours.

    Args:
        error: What SQLite raised.
        path: The file.

    Returns:
        The error to raise from it.
    """
    code: int = getattr(error, "sqlite_errorcode", 0)
    if isinstance(error, UnicodeDecodeError):
        code = sqlite3.SQLITE_CORRUPT
    if code & _PRIMARY in _BUSY:
        return StorageBusy(f"{path} stayed locked by another writer past the deadline; nothing was written, try again")
    if code in _FULL or code & _PRIMARY == sqlite3.SQLITE_FULL:
        return StorageFull(f"{path} has no room left ({error}); nothing was written, make room and try again")
    if code & _PRIMARY in _CORRUPT:
        return StorageCorrupt(f"{path} is no intact SQLite database ({error}); restore it from a backup")
    return StorageError(f"{path} could not be used ({error}); nothing was written")


class Pools:
    """The pools of this process, which no fork may catch with an open connection.

    Within a process SQLite counts its locks on a file itself. A child that inherits a connection believes that it holds locks
    which only its parent does; once that closes the file, others take what the child commits for garbage, and it is lost.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._all: weakref.WeakSet[Connections] = weakref.WeakSet()
        self._held: list[Connections] = []
        self.inherited: Final[list[sqlite3.Connection]] = []
        """What a child inherited all the same; it is never used or closed there."""
        self.refused: Final[set[str]] = set()
        """Paths that were in use at the fork, of which a child can keep no locks."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._hold, after_in_parent=self._let_go, after_in_child=self._begin)

    def add(self, pool: Connections) -> None:
        """Take care of a pool as long as it is used."""
        with self._lock:
            self._all.add(pool)

    def _hold(self) -> None:
        self._lock.acquire()
        deadline = time.monotonic() + _FORK_SECONDS
        for pool in list(self._all):
            pool.hold(deadline)
            self._held.append(pool)

    def _let_go(self) -> None:
        while self._held:
            self._held.pop().let_go()
        self._lock.release()

    def _begin(self) -> None:
        while self._held:
            self._held.pop().begin_in_child()
        self._lock.release()


_pools: Final = Pools()


class Connections:
    """A pool of connections to one file: one thread uses one at a time, and no process those of another.

    Args:
        path: The file.
        synchronous: ``FULL``, ``NORMAL`` or ``OFF``.
        busy_timeout: How long to wait for another writer, in seconds.
    """

    def __init__(self, path: str, synchronous: str, busy_timeout: float) -> None:
        self.path = path
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._gate = threading.RLock()
        self._pid = os.getpid()
        self._idle: list[sqlite3.Connection] = []
        # By the id of a connection: to whom it is lent, and in which thread.
        self._lent: dict[int, tuple[weakref.ref[Transaction], int]] = {}
        self.seen: Final[dict[int, object]] = {}
        """By the id of a connection: what its last borrower left for the next one."""
        self._closed = False
        self._log_path = f"{path}-wal"
        self._log_limit = LARGE_LOG
        # By the id of a connection: after how many changes it looked at the log last.
        self._looked_after: dict[int, int] = {}
        self._identity: tuple[int, int] | None = None
        _pools.add(self)

    def reading(self) -> Transaction:
        """Lend a connection inside a read transaction: every statement sees the same instant."""
        return Transaction(self, "BEGIN")

    def writing(self) -> Transaction:
        """Lend a connection inside a write transaction: commits at the end, rolls back on any exception.

        Entering it raises `StorageBusy` if another writer holds the file past the deadline.
        """
        return Transaction(self, _BEGIN_WRITING)

    def writing_much(self) -> Transaction:
        """As `writing`, for a change of many items: with more memory for pages while it lasts."""
        return Transaction(self, _BEGIN_WRITING, is_roomy=True)

    def retry(self, connection: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
        """Execute a statement that may find the file locked, until it does not or the deadline has passed.

        SQLite's own back-off sleeps longer and longer and so starves a writer among many; short random waits do not.

        Args:
            connection: The connection.
            statement: A statement without parameters.

        Returns:
            Its cursor.
        """
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY not in _BUSY:
                raise
        since = time.monotonic()
        while True:
            try:
                cursor = connection.execute(statement)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY not in _BUSY or time.monotonic() - since >= self._busy_timeout:
                    raise
            else:
                if (waited := time.monotonic() - since) >= LONG_WAIT:
                    _LOG.info("%s was locked by another writer, which was waited for %.1f s", self.path, waited)
                return cursor
            time.sleep(random.uniform(*_RETRY_SECONDS))  # noqa: S311 - jitter, not a secret

    def give_way(self) -> None:
        """Let those who wait for this thread's transaction begin theirs before it begins another one.

        SQLite keeps no order among writers. Each of those who wait tries again within this time.
        """
        time.sleep(_RETRY_SECONDS[1])

    def connect(self) -> sqlite3.Connection:
        """Open a further connection; the caller closes it."""
        # Otherwise SQLite would make a new file where the one that was open is gone.
        self.look_for_file()
        connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            self.retry(connection, f"PRAGMA synchronous = {self._synchronous}")
            # Where a page is split, SQLite would leave a copy of what moved, which a purge does not find any more.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_LOGGED}")
        except BaseException:
            connection.close()
            raise
        return connection

    def peek(self, look: Callable[[sqlite3.Connection], object]) -> None:
        """Look at a file that has a write-ahead log, without changing the one or the other.

        SQLite's errors are passed over: who opens the file for writing meets them too.

        Args:
            look: Takes a connection that only reads. What else it raises comes through.
        """
        log = Path(f"{self.path}-wal")
        # Behind the gate, since no fork may catch this connection either.
        with self._gate, suppress(sqlite3.Error):
            if log.exists() and log.stat().st_size:
                with closing(sqlite3.connect(f"{Path(self.path).as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
                    # All that is looked at is of one moment: another process may migrate the file meanwhile.
                    connection.execute("BEGIN")
                    look(connection)

    def know_file(self) -> None:
        """Remember which file this is, now that it is known to be ours."""
        self._identity = _identity_of(self.path)

    def look_for_file(self) -> None:
        """Make sure that the file at the path is still the one that is open.

        Raises:
            StorageError: It was deleted or replaced, and what is written would be lost with a file that nobody finds any more.
        """
        if self._identity is not None and _identity_of(self.path) != self._identity:
            raise StorageError(
                f"{self.path} was deleted or replaced while it was open; nothing was written, make a new repository on it"
            )

    def keep_log_small(self, connection: sqlite3.Connection) -> None:
        """Empty a log that grew large because somebody always reads; call it after a commit.

        SQLite moves the log into the file by itself, but begins it anew only at a moment in which nobody reads. While this
        waits nobody can write, so that everyone who begins to read finds all in the file.

        Args:
            connection: A connection without a transaction.
        """
        # A first write always looks, for there are programs that make no second one. Less than none is what another connection
        # had written that had the same id.
        looked_after = self._looked_after.get(id(connection), -_CHANGES_UNLOOKED)
        if 0 <= connection.total_changes - looked_after < _CHANGES_UNLOOKED:
            return
        self._looked_after[id(connection)] = connection.total_changes
        try:
            size = os.stat(self._log_path).st_size  # noqa: PTH116 - a path object costs more than the call
        except OSError:
            return
        if size < self._log_limit:
            return
        with suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout = {_EMPTYING_MILLISECONDS}")
            try:
                ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.execute("PRAGMA busy_timeout = 0")
            # Where a long read went on, the next attempt waits until as much again was written.
            self._log_limit = size + LARGE_LOG // 2 if busy else LARGE_LOG

    def vacuum(self) -> None:
        """Write the file anew without its free space, and empty the log.

        Raises:
            StorageBusy: Somebody else wrote past the deadline.
            StorageFull: There is no room for a second file of this size.
            StorageError: It was deleted or replaced.
        """
        self.look_for_file()
        writing = Transaction(self, "VACUUM")
        # It is a transaction of its own.
        writing.__enter__()
        writing.end()
        self.empty_log()

    def write_ahead(self) -> None:
        """Turn the file to write-ahead logging, which stays with it."""
        turning = Transaction(self, "PRAGMA journal_mode = WAL")
        # It is no transaction, and so has nothing to commit.
        turning.__enter__()
        turning.end()

    def empty_log(self) -> None:
        """Move the write-ahead log into the file and empty it, unless somebody still reads what is in it."""
        moving = Transaction(self, "PRAGMA wal_checkpoint(TRUNCATE)")
        # As above.
        moving.__enter__()
        moving.end()

    def close(self) -> None:
        """Close what is idle, and what is lent as soon as it comes back; a second time does nothing."""
        if self._pid != os.getpid():
            self.begin_in_child()
        with self._gate:
            self._closed = True
            self._close_idle()

    def take(self, borrower: Transaction) -> sqlite3.Connection:
        """Lend a connection; nobody else has it until it is given back."""
        if self._pid != os.getpid():
            self.begin_in_child()
        with self._gate:
            if self._closed:
                raise StorageError(f"the repository on {self.path} is closed; make a new one")
            if self.path in _pools.refused:
                raise StorageError(f"{self.path} was in use when this process was forked; fork while it is not")
            if self._idle:
                connection = self._idle.pop()
            else:
                connection = self.connect()
                # Another one may have had its id.
                self.seen.pop(id(connection), None)
            # An interrupt can come between the body of a transaction and its end. SQLite's connections free themselves only
            # at a later garbage collection, and would keep the file locked until then.
            lost = weakref.ref(borrower, lambda _: self.give_back(connection))
            self._lent[id(connection)] = (lost, threading.get_ident())
        return connection

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Take a connection back, without its transaction if that is still open; a second time does nothing."""
        if id(connection) not in self._lent:
            return
        intact = True
        if connection.in_transaction:
            # The body failed, or COMMIT did: nothing of it may stay, nor hold the lock.
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                intact = False
        del self._lent[id(connection)]
        if not intact:
            connection.close()
            return
        self._idle.append(connection)
        # Only now, so that one that is closed meanwhile leaves nothing open.
        if self._closed:
            self._close_idle()

    def hold(self, deadline: float) -> None:
        """Close every connection and lend none until `let_go`, so that a forked child inherits none.

        Args:
            deadline: The monotonic second until which to wait for what other threads were lent. A child that inherits a
                connection all the same refuses to use the file.
        """
        self._gate.acquire()
        own = threading.get_ident()
        while any(thread != own for _, thread in tuple(self._lent.values())) and time.monotonic() < deadline:
            time.sleep(_RETRY_SECONDS[0])
        self._close_idle()

    def let_go(self) -> None:
        """Go on in the parent after a fork."""
        self._gate.release()

    def begin_in_child(self) -> None:
        """Start anew in a forked child."""
        # Another thread of the parent may have held it, if the process was forked without Python's knowledge.
        self._gate = threading.RLock()
        _pools.inherited.extend(self._idle)
        self._idle = []
        if self._lent:
            _pools.refused.add(self.path)
            self._lent = {}
        self._pid = os.getpid()

    def _close_idle(self) -> None:
        # Two threads may do this at once.
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _identity_of(path: str) -> tuple[int, int] | None:
    """Tell a file from any other; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path object costs more than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Transaction:
    """A lent connection for the length of one transaction. SQLite's errors leave it translated.

    Args:
        connections: The pool.
        begin: The statement that begins it.
        is_roomy: Whether it has more memory for pages than others.

    Attributes:
        path: The file.
        writes: Whether it is a write transaction.
    """

    __slots__ = ("__weakref__", "_begin", "_connection", "_connections", "_is_roomy", "path", "writes")

    def __init__(self, connections: Connections, begin: str, *, is_roomy: bool = False) -> None:
        self.path: Final = connections.path
        self.writes: Final = begin == _BEGIN_WRITING
        self._connections = connections
        self._begin = begin
        self._is_roomy = is_roomy
        self._connection: sqlite3.Connection | None = None

    @property
    def seen(self) -> object:
        """What the last borrower of the connection left; None if nobody had it before."""
        return self._connections.seen.get(id(self._connection))

    @seen.setter
    def seen(self, value: object) -> None:
        self._connections.seen[id(self._connection)] = value

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = connection = self._connections.take(self)
            if self._is_roomy:
                connection.execute(f"PRAGMA cache_size = -{_ROOMY_CACHE_KIBIBYTES}")
            self._connections.retry(connection, self._begin)
        except BaseException as error:
            self.end()
            if isinstance(error, _DRIVER_ERRORS):
                raise translate(error, self.path) from error
            raise
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_roomy and error is None and self._connection is not None:
            try:
                self._give_up_cache(self._connection)
            except BaseException as failed:
                self.end()
                if isinstance(failed, sqlite3.Error):
                    raise translate(failed, self.path) from failed
                raise
        try:
            if error is None and self._connection is not None:
                if self.writes:
                    self._connections.look_for_file()
                self._connection.execute("COMMIT")
                if self.writes:
                    self._connections.keep_log_small(self._connection)
        except _DRIVER_ERRORS as failed:
            raise self._uncommitted(failed) from failed
        finally:
            self.end()
        if error is not None:
            if isinstance(error, _DRIVER_ERRORS):
                raise translate(error, self.path) from error
            explain_failure(error, self.path)

    def _give_up_cache(self, connection: sqlite3.Connection) -> None:
        """Give the connection the memory for pages that every other one has."""
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        self._is_roomy = False

    def _uncommitted(self, error: sqlite3.Error | UnicodeDecodeError) -> StorageError:
        """Say what a failed commit means: a device that failed may have kept what the log had got by then."""
        meant = translate(error, self.path)
        if self.writes and type(meant) is StorageError:
            return OutcomeUnknown(
                f"{self.path} failed during a commit ({error}), which took effect or did not; call again"
            )
        return meant

    def end(self) -> None:
        """Give the connection back; a second time does nothing."""
        if self._connection is not None:
            if self._is_roomy:
                with suppress(sqlite3.Error):
                    self._give_up_cache(self._connection)
            self._connections.give_back(self._connection)
