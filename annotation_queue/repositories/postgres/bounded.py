"""One connection to a server: what became of the attempts to make it, and how long it waits for an answer."""

from __future__ import annotations

import select
import time
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import psycopg
from psycopg import errors
from psycopg.adapt import Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from psycopg.rows import TupleRow

from annotation_queue.repositories.postgres.translation import SilentServer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from psycopg import abc

_Made = TypeVar("_Made")
_FINE: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})


class Attempts:
    """What became of the attempts of a process to connect, which its pool makes in threads of its own."""

    def __init__(self) -> None:
        self.error: psycopg.Error | None = None
        """Why the last one that ended failed; None if it did not."""
        self.failed = 0
        """How many have failed so far."""
        self._begun: list[float] = []

    def run(self, connect: Callable[[], _Made]) -> _Made:
        """Make an attempt."""
        begun = time.monotonic()
        self._begun.append(begun)
        try:
            made = connect()
        except psycopg.Error as error:
            self.error = error
            self.failed += 1
            raise
        else:
            self.error = None
            return made
        finally:
            self._begun.remove(begun)

    def longest(self) -> float:
        """Tell for how many seconds the oldest one under way has taken; 0 if there is none."""
        return time.monotonic() - min(self._begun, default=time.monotonic())


class BoundedConnection(psycopg.Connection[TupleRow]):
    """A connection that waits for the server's answer only so long, and is broken after that."""

    patience: float | None = None
    """How long to wait for one answer, in seconds; None for ever."""
    is_set: bool = False
    """Whether our settings hold for all of its transactions, since nobody else ever uses it."""
    in_hand_until: float = 0.0
    """Until when it may be lent again before its pool has it back, by the monotonic clock."""

    @cached_property
    def prepares(self) -> bool:
        """Whether statements may be prepared under names of our own: on a connection that is set, and if anything may be."""
        return self.is_set and self.prepare_threshold is not None

    @cached_property
    def named(self) -> set[str]:
        """The names of statements that are prepared under their own names."""
        return set()

    @cached_property
    def reader(self) -> abc.Transformer:
        """Reads rows as the driver does."""
        return Transformer(self)

    @cached_property
    def poll(self) -> select.poll:
        """Tells whether there is something to read, where the system can be asked so."""
        return _poll_of(self)

    def ask(self, name: str, text: bytes, values: Sequence[object]) -> list[TupleRow]:
        """Execute a statement that is a transaction by itself, prepared under a name of its own, and read what it gives.

        A cursor of the driver takes twice as long, since it finds out each time what a value is, which statement it is and
        whether that is prepared. Here everything is sent as text, and the server knows what it is.

        Args:
            name: The statement's name.
            text: The statement, with the server's own placeholders.
            values: What they stand for, in their order: integers, texts and None.

        Raises:
            DataError: A text has a NUL, which would be its end.
        """
        sent = [None if value is None else str(value).encode() for value in values]
        if b"\0" in b"".join(filter(None, sent)):
            raise psycopg.DataError("a text cannot contain NUL")
        try:
            if name in self.named:
                return self._answer(partial(self.pgconn.send_query_prepared, name.encode(), sent))
        except errors.InvalidSqlStatementName:
            # The driver drops all that is prepared after some statements.
            self.named.discard(name)
        # It is there if somebody was interrupted who prepared it.
        with suppress(errors.DuplicatePreparedStatement):
            self._answer(partial(self.pgconn.send_prepare, name.encode(), text))
        self.named.add(name)
        return self._answer(partial(self.pgconn.send_query_prepared, name.encode(), sent))

    def _answer(self, send: Callable[[], None]) -> list[TupleRow]:
        send()
        *_, result = self.wait(execute(self.pgconn))
        if result.status not in _FINE:
            raise errors.error_from_result(result)
        self.reader.set_pgresult(result)
        return self.reader.load_rows(0, result.ntuples, tuple)

    @classmethod
    def connect(  # type: ignore[override]  # the rest is psycopg's
        cls,
        conninfo: str = "",
        *,
        attempts: Attempts | None = None,
        **options: Any,  # noqa: ANN401 - as psycopg's
    ) -> Self:
        """Connect as psycopg does, and keep what became of it."""
        attempt = partial(super().connect, conninfo, **options)
        return attempt() if attempts is None else attempts.run(attempt)

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


def has_something_to_say(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether the server has said something to a connection that asked nothing: most likely that it hangs up."""
    if not hasattr(select, "poll"):
        return bool(select.select([connection.pgconn.socket], [], [], 0)[0])
    poll = connection.poll if isinstance(connection, BoundedConnection) else _poll_of(connection)
    return bool(poll.poll(0))


def _poll_of(connection: psycopg.Connection[Any]) -> select.poll:
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return poll


def encoding_of(connection: psycopg.Connection[Any]) -> str | None:
    """Tell which encoding a connection has, in the server's words."""
    return connection.info.parameter_status("client_encoding")
