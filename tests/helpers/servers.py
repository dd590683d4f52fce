"""Apps served over real HTTP on a loopback port, and who may ask them."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from annotation_queue.web import Principal
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from annotation_queue.web import Credentials

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""What a client on loopback verifies servers with: to read the authorities of the machine takes longer than most tests."""
PROJECT = "acme/chatbot"
OTHER = "acme/other"
USERS = {
    "ann-key": Principal("ann", [PROJECT]),
    "bob-key": Principal("bob", [PROJECT, OTHER]),
    "carl-key": Principal("carl", [OTHER]),
}


def authenticate(credentials: Credentials) -> Principal | None:
    """Know three users by their keys."""
    return USERS.get(credentials.secret)


class _Server(uvicorn.Server):
    """A server that ends when it is told to, and not at its next look at the clock."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._loop = asyncio.get_running_loop()
        self._told = asyncio.Event()
        await self._told.wait()

    def end(self) -> None:
        """End it; from any thread, once it has started."""
        self._loop.call_soon_threadsafe(self._told.set)


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an app from a thread; give its URL."""
    server = _Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: hasattr(server, "_told"))
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.end()
        thread.join()
