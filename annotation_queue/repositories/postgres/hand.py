"""What is in hand of a pool: a connection that was given back, and is lent again before the pool has it back."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from psycopg.pq import TransactionStatus

from annotation_queue.repositories.postgres.bounded import BoundedConnection

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

_LONGEST: Final = 60.0
"""After how many seconds a connection goes back to the pool, which tells when it is too old."""


class Hand:
    """Keeps one connection of a pool in hand from one transaction to the next, whichever thread has that.

    To have one back and lend it again takes the pool several times as long, and a claim is one statement and little else.
    Nobody waits for what is in hand: who finds nothing there says so before they look once more and then ask the pool; who puts
    something there looks afterwards whether anybody has said so, and then gives it to the pool. One of the two sees the other,
    whatever their order, and without a lock, which a fork could leave locked.

    Args:
        pool: The pool.
        keeps_one: Whether the pool is ours alone. Else it is lent to others, too, who may wait for what we have in hand.
    """

    def __init__(self, pool: ConnectionPool[Any], *, keeps_one: bool) -> None:
        self.pool = pool
        self._keeps_one = keeps_one
        # What is done to these is done at once, for all threads.
        self._idle: deque[Connection[Any]] = deque()
        self._wanted: deque[None] = deque()
        self._closed = False

    @property
    def has_room(self) -> bool:
        """Whether a connection is free, or another one may be made."""
        pool = self.pool.get_stats()
        return bool(self._idle) or pool["pool_available"] > 0 or pool["pool_size"] < pool["pool_max"]

    def take(self, timeout: float) -> Connection[Any]:
        """Lend a connection.

        Args:
            timeout: How long to wait for one that is free, in seconds.

        Raises:
            PoolTimeout: None was to be had in time.
        """
        # Nothing is in hand after it is closed, and the pool says so.
        try:
            return self._idle.pop()
        except IndexError:
            self._wanted.append(None)
        try:
            with suppress(IndexError):
                return self._idle.pop()
            connection: Connection[Any] = self.pool.getconn(timeout=timeout)
        finally:
            self._wanted.pop()
        if self._keeps_one and isinstance(connection, BoundedConnection):
            connection.in_hand_until = time.monotonic() + _LONGEST
        return connection

    def give_back(self, connection: Connection[Any]) -> None:
        """Take a connection back; it is in no transaction any more if it is good for another one."""
        if not self._may_keep(connection):
            self.pool.putconn(connection)
            return
        self._idle.append(connection)
        if self._wanted or self._closed or len(self._idle) > 1:
            self._put_down()

    def close(self) -> None:
        """Close the pool, and what is in hand; what is lent, when it is given back."""
        self._closed = True
        self._put_down()
        self.pool.close()

    def _put_down(self) -> None:
        """Give what is in hand to the pool, unless somebody has taken it meanwhile."""
        with suppress(IndexError):
            while True:
                self.pool.putconn(self._idle.pop())

    def _may_keep(self, connection: Connection[Any]) -> bool:
        if not isinstance(connection, BoundedConnection) or self._idle or self._wanted:
            return False
        is_good = connection.pgconn.transaction_status == TransactionStatus.IDLE
        return is_good and time.monotonic() < connection.in_hand_until
