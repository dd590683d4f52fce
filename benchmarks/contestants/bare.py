"""Task queues on disk: first come first served, no states, no annotators, no history, no pages."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, ClassVar, Final

import diskcache
import litequeue
import persistqueue
from huey.storage import SqliteStorage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from annotation_queue import JsonValue, NewItem

_SYNCHRONOUS: Final = {"OFF": 0, "NORMAL": 1, "FULL": 2}


def _message(new: NewItem) -> bytes:
    fields = {
        "call_id": new.call_id,
        "call_op_name": new.call_op_name,
        "call_trace_id": new.call_trace_id,
        "display_fields": new.display_fields,
    }
    return json.dumps(fields).encode()


class _Storage(SqliteStorage):  # type: ignore[misc] # huey has no types
    """Huey knows OFF and FULL only; the connection is made in one place."""

    synchronous = 1

    def _create_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._create_connection()
        connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        return connection


class Huey:
    """Huey's queue and its store of results, without its workers."""

    name: ClassVar[str] = "huey"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = False

    def __init__(self, folder: Path, synchronous: str) -> None:
        kind = type("_Chosen", (_Storage,), {"synchronous": _SYNCHRONOUS[synchronous]})
        self._storage = kind("q", filename=str(folder / "huey.db"), timeout=30, isolation_level=None)

    def fill(self, items: Iterable[NewItem]) -> None:
        """Add messages in one transaction."""
        rows = (("q", _message(new), 0.0) for new in items)
        with self._storage.db(commit=True) as cursor:
            cursor.executemany("INSERT INTO task (queue, data, priority) VALUES (?, ?, ?)", rows)

    def claim(self) -> tuple[str, str] | None:
        """Take a message off the queue; it is gone from there."""
        message = self._storage.dequeue()
        if message is None:
            return None
        call_id = json.loads(bytes(message))["call_id"]
        return call_id, call_id

    def complete(self, claim: str, label: dict[str, JsonValue]) -> None:
        """Store the result."""
        self._storage.put_data(claim, json.dumps(label).encode())

    def done(self) -> Sequence[str]:
        """Read the keys of the results."""
        results = self._storage.result_items()
        assert all(json.loads(bytes(value)) == {"label": key} for key, value in results.items())
        return list(results)

    def close(self) -> None:
        """Close this thread's connection."""
        self._storage.close()


class PersistQueue:
    """persist-queue's `SQLiteAckQueue`; it stores no label."""

    name: ClassVar[str] = "persist-queue"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = False

    def __init__(self, folder: Path, synchronous: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._queue = persistqueue.SQLiteAckQueue(str(folder), auto_commit=True)
        for connection in (self._queue._putter, self._queue._getter):  # noqa: SLF001 - there is no option for it
            assert connection is not None
            connection.execute(f"PRAGMA synchronous = {synchronous}")

    def fill(self, items: Iterable[NewItem]) -> None:
        """Add messages one by one; it knows no other way."""
        for new in items:
            self._queue.put(_message(new))

    def claim(self) -> tuple[str, int] | None:
        """Mark the next message as taken."""
        try:
            taken = self._queue.get(block=False, raw=True)
        except persistqueue.Empty:
            return None
        return json.loads(taken["data"])["call_id"], taken["pqid"]

    def complete(self, claim: int, _label: dict[str, JsonValue]) -> None:
        """Acknowledge it."""
        self._queue.ack(id=claim)

    def done(self) -> Sequence[str]:
        """Read what was acknowledged."""
        acked = int(persistqueue.sqlackqueue.AckStatus.acked)
        return [json.loads(row["data"])["call_id"] for row in self._queue.queue() if int(row["status"]) == acked]

    def close(self) -> None:
        """Close the file."""
        self._queue.close()


class Litequeue:
    """litequeue; it stores no label."""

    name: ClassVar[str] = "litequeue"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = False

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._queue = litequeue.LiteQueue(folder / "litequeue.db")
        self._queue.conn.execute(f"PRAGMA synchronous = {synchronous}")

    def fill(self, items: Iterable[NewItem]) -> None:
        """Add messages in one transaction."""
        with self._queue.transaction():
            for new in items:
                self._queue.put(_message(new).decode())

    def claim(self) -> tuple[str, str] | None:
        """Lock the next message."""
        message = self._queue.pop()
        return None if message is None else (json.loads(message.data)["call_id"], message.message_id)

    def complete(self, claim: str, _label: dict[str, JsonValue]) -> None:
        """Mark it as done."""
        self._queue.done(claim)

    def done(self) -> Sequence[str]:
        """Read what is marked as done."""
        rows = self._queue.conn.execute(
            "SELECT data FROM Queue WHERE status = ?", (litequeue.MessageStatus.DONE.value,)
        )
        return [json.loads(row["data"])["call_id"] for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._queue.close()


class DiskCache:
    """diskcache's `push` and `pull`, the labels as keys of the same cache."""

    name: ClassVar[str] = "diskcache"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = False

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._cache = diskcache.Cache(
            str(folder / "diskcache"), sqlite_synchronous=_SYNCHRONOUS[synchronous], eviction_policy="none"
        )

    def fill(self, items: Iterable[NewItem]) -> None:
        """Add messages in one transaction."""
        with self._cache.transact():
            for new in items:
                self._cache.push(_message(new))

    def claim(self) -> tuple[str, str] | None:
        """Take a message off the queue; it is gone from there."""
        _, message = self._cache.pull()
        if message is None:
            return None
        call_id = json.loads(message)["call_id"]
        return call_id, call_id

    def complete(self, claim: str, label: dict[str, JsonValue]) -> None:
        """Store the label."""
        self._cache.set(claim, json.dumps(label))

    def done(self) -> Sequence[str]:
        """Read the keys of the labels."""
        keys = [key for key in self._cache.iterkeys() if str(key).startswith("call-")]
        assert all(json.loads(self._cache[key]) == {"label": key} for key in keys)
        return keys

    def close(self) -> None:
        """Close the file."""
        self._cache.close()
