"""Connections to one SQLite file: who may use them, how transactions begin, and what its errors mean."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Final

from annotation_queue.errors import StorageBusy, StorageCorrupt, StorageError, StorageFull

if TYPE_CHECKING:
    from types import TracebackType

SYNCHRONOUS: Final = ("FULL", "NORMAL", "OFF")

_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# A file size limit is reported as a failed write, a full disk as such.
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY: Final = 0xFF
_CACHE_KIBIBYTES: Final = 16_384
_RETRY_SECONDS: Final = (0.000_5, 0.002)

# Connections that a forked child inherited. They are never used or closed there: closing one would touch the parent's locks.
_inherited: Final[list[sqlite3.Connection]] = []


def translate(error: sqlite3.Error, path: str) -> StorageError:
    """Turn SQLite's error into ours.

    Args:
        error: What SQLite raised.
        path: The file.

    Returns:
        The error to raise from it.
    """
    code: int = getattr(error, "sqlite_errorcode", 0)
    if code & _PRIMARY in _BUSY:
        return StorageBusy(f"{path} stayed locked by another writer past the deadline; nothing was written, try again")
    if code in _FULL or code & _PRIMARY == sqlite3.SQLITE_FULL:
        return StorageFull(f"{path} has no room left ({error}); nothing was written, make room and try again")
    if code & _PRIMARY in _CORRUPT:
        return StorageCorrupt(f"{path} is no intact SQLite database ({error}); restore it from a backup")
    return StorageError(f"{path} could not be used ({error}); nothing was written")


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
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    def reading(self) -> Transaction:
        """Lend a connection inside a read transaction: every statement sees the same instant."""
        return Transaction(self, "BEGIN")

    def writing(self) -> Transaction:
        """Lend a connection inside a write transaction: commits at the end, rolls back on any exception.

        Entering it raises `StorageBusy` where another writer holds the file past the deadline.
        """
        return Transaction(self, "BEGIN IMMEDIATE")

    def retry(self, connection: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
        """Execute a statement that may find the file locked, until it does not or the deadline has passed.

        SQLite's own back-off sleeps longer and longer and so starves a writer among many; short random waits do not.

        Args:
            connection: The connection.
            statement: A statement without parameters.

        Returns:
            Its cursor.
        """
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                return connection.execute(statement)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY not in _BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(random.uniform(*_RETRY_SECONDS))  # noqa: S311 - jitter, not a secret

    def connect(self) -> sqlite3.Connection:
        """Open a further connection; the caller closes it."""
        connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            self.retry(connection, f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def write_ahead(self) -> None:
        """Turn the file to write-ahead logging, which stays with it."""
        try:
            connection = self.take()
            try:
                self.retry(connection, "PRAGMA journal_mode = WAL").fetchall()
            finally:
                self.give_back(connection)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def close(self) -> None:
        """Close what is idle, and what is lent as soon as it comes back; a second time does nothing."""
        if self._pid != os.getpid():
            self._after_fork()
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def take(self) -> sqlite3.Connection:
        """Lend a connection; nobody else has it until it is given back."""
        if self._pid != os.getpid():
            self._after_fork()
        with self._lock:
            if self._closed:
                raise StorageError(f"the repository on {self.path} is closed; make a new one")
            if self._idle:
                return self._idle.pop()
        return self.connect()

    def _after_fork(self) -> None:
        # Another thread of the parent may have held the lock when the process forked.
        self._lock = threading.Lock()
        _inherited.extend(self._idle)
        self._idle = []
        self._pid = os.getpid()

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Take a connection back, without its transaction if that is still open."""
        if connection.in_transaction:
            # The body failed, or COMMIT did: nothing of it may stay, nor hold the lock.
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                connection.close()
                return
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


class Transaction:
    """A lent connection for the length of one transaction. SQLite's errors leave it translated.

    Args:
        connections: The pool.
        begin: The statement that begins it.
    """

    __slots__ = ("_begin", "_connection", "_connections")

    def __init__(self, connections: Connections, begin: str) -> None:
        self._connections = connections
        self._begin = begin

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = connection = self._connections.take()
            try:
                self._connections.retry(connection, self._begin)
            except BaseException:
                self._connections.give_back(connection)
                raise
        except sqlite3.Error as error:
            raise translate(error, self._connections.path) from error
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
        except sqlite3.Error as failed:
            raise translate(failed, self._connections.path) from failed
        finally:
            self._connections.give_back(self._connection)
        if isinstance(error, sqlite3.Error):
            raise translate(error, self._connections.path) from error
