"""Apps served over real HTTP on a loopback port, and who may ask them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from annotation_queue.web import Principal
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from annotation_queue.web import Credentials

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


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an app from a thread; give its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
