"""A proxy between PostgreSQL and its client, which can fall silent or hang up at a chosen moment."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import psycopg

_KEY = re.compile(rb"K\0\0\0\x0c.{8}", re.DOTALL)
"""How the server tells a connection the number of its process, and the secret by which its statements can be cancelled."""
_KEY_OF_OURS = b"K\0\0\0\x0c\0\0\0\x07secr"
_PORT_NAME = ".s.PGSQL.5432"


class Proxy:
    """Forwards what both sides say, over a socket of its own.

    Args:
        dsn: Where the server is.
    """

    def __init__(self, dsn: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="aq-px-", dir="/tmp"))
        self.hears: bytes | None = None
        """What the client has to say for the proxy to do something; None for nothing."""
        self.renumbers = False
        """Whether it gives connections a number of its own, as a pooler does."""
        self.does = ""
        """What it does then: ``hang up`` before it forwards that, ``hang up after`` it, or ``fall silent``."""
        info = psycopg.conninfo.conninfo_to_dict(dsn)
        self._host, self._port = str(info.get("host", "localhost")), int(info.get("port") or 5432)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.folder / _PORT_NAME))
        self._socket.listen()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._silent = threading.Event()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Hang up everything."""
        _hang_up(self._socket)
        self._accepting.join()
        # Nobody is let in any more.
        _hang_up(*self._open)
        for thread in self._threads:
            thread.join()
        for each in [self._socket, *self._open]:
            each.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self._open.append(client)
                server = self._connect()
                for work, *ends in ((self._forward, client, server), (self._answer, server, client)):
                    self._threads.append(threading.Thread(target=work, args=ends, daemon=True))
                    self._threads[-1].start()

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            self._open.append(socket.create_connection((self._host, self._port)))
        else:
            self._open.append(socket.socket(socket.AF_UNIX))
            self._open[-1].connect(f"{self._host}/.s.PGSQL.{self._port}")
        return self._open[-1]

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := client.recv(1 << 16):
                heard = self.hears is not None and self.hears in said
                if heard:
                    self.hears = None
                    if self.does == "fall silent":
                        self._silent.set()
                    if self.does == "hang up":
                        break
                    if self.does == "hang up after":
                        # The server does what it was told, and its answer is lost.
                        client.shutdown(socket.SHUT_RDWR)
                if not self._silent.is_set():
                    server.sendall(said)
        _hang_up(client, server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(1 << 16):
                if not self._silent.is_set():
                    client.sendall(_KEY.sub(_KEY_OF_OURS, said) if self.renumbers else said)


def _hang_up(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
