"""A proxy between PostgreSQL and its client, which can fall silent or hang up at a chosen moment."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import psycopg

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
        self.does = ""
        """What it does then: ``hang up`` before it forwards that, ``hang up after`` it, or ``fall silent``."""
        info = psycopg.conninfo.conninfo_to_dict(dsn)
        self._host, self._port = str(info.get("host", "localhost")), int(info.get("port") or 5432)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.folder / _PORT_NAME))
        self._socket.listen()
        self._open: list[socket.socket] = []
        self._silent = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Hang up everything."""
        for each in [self._socket, *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                server = self._connect()
                self._open += [client, server]
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

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
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(1 << 16):
                if not self._silent.is_set():
                    client.sendall(said)
