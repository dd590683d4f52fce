"""Connections of ``annotation-queue serve``: those that ask nothing make room for those that do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

PATIENCE: Final = 10.0
"""Seconds that a connection has for its first request, headers and all."""
MOST: Final = 512
"""Most connections at a time."""
AT_ONCE: Final = 32
"""Most connections that are accepted in one go, before those that are too many are closed."""
_OTHER_FILES: Final = 64
"""Files that the process needs besides: the database's, the standard streams, the listener's."""


def most_connections() -> int:
    """Say how many connections this process can hold: 512, or as many as its limit of open files allows."""
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ModuleNotFoundError:
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(1, min(MOST, soft - AT_ONCE - _OTHER_FILES))


class ServedConnection(H11Protocol):
    """A connection that is closed if no request comes in time, and the first to go if there are too many."""

    most: ClassVar[int] = MOST
    """Most connections at a time."""
    patience: ClassVar[float] = PATIENCE
    """Seconds that a connection has for its first request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start the clock of a new connection, and close the oldest idle one if there are too many."""
        super().connection_made(transport)
        self._since = time.monotonic()
        self.loop.call_later(self.patience, self._close_if_idle)
        if len(self.connections) > self.most:
            self._make_room()

    def _make_room(self) -> None:
        # One that is closing stays among the connections until the loop comes round.
        ours = [each for each in self.connections if isinstance(each, ServedConnection)]
        open_ones = [each for each in ours if not each.transport.is_closing()]
        idle = [each for each in open_ones if each.is_idle]
        if len(open_ones) > self.most and idle:
            min(idle, key=lambda each: each._since).transport.close()  # noqa: SLF001 - one of us

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self.cycle is None:
            self.transport.close()


def connections_of(most: int, patience: float = PATIENCE) -> type[ServedConnection]:
    """Make the class of a server's connections.

    Args:
        most: Most connections at a time.
        patience: Seconds that a connection has for its first request.

    Returns:
        The class, for uvicorn's ``http``.
    """
    return type("Connection", (ServedConnection,), {"most": most, "patience": patience})
