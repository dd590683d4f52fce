"""What the limit was: `sqlite3` by hand with the indexes of schema version 1. It never changes, so that later ones compare.

Kept as the library keeps it: the aggregate state of every item, a progress for each annotator with its fencing token and
lease, the history, the counters. Left out is what costs nothing here: several annotations per item, other policies, checks of
arguments, entities (rows are tuples), clocks and ids that can be injected.

What bounds it is the pages that a transaction writes to the log, not the statements: among 20,000 items a claim writes 11.9 and
a completion 9.2; a bare task queue writes 2.3 and 2.1.
"""

from __future__ import annotations

import json
import sqlite3
import time
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final

from annotation_queue import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from annotation_queue import JsonValue, NewItem

_ALWAYS: Final = -(2**62)
_LEASE: Final = 365 * 86_400_000_000
_CHUNK: Final = 10_000

_SCHEMA: Final = f"""
CREATE TABLE texts (num INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE items (
    num INTEGER PRIMARY KEY, queue INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, call_id TEXT NOT NULL,
    call_started_at INTEGER NOT NULL, call_ended_at INTEGER, call_trace_id TEXT NOT NULL, display_fields INTEGER NOT NULL,
    deleted_at INTEGER, payload TEXT
) STRICT;
CREATE UNIQUE INDEX live_calls ON items (queue, call_id) WHERE deleted_at IS NULL;
CREATE INDEX live_traces ON items (queue, call_trace_id) WHERE deleted_at IS NULL;
CREATE TABLE work (
    num INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority_down INTEGER NOT NULL, created_at INTEGER NOT NULL,
    id TEXT NOT NULL, call_started_at INTEGER NOT NULL, op INTEGER NOT NULL, added_by INTEGER NOT NULL,
    updated_at INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, annotator INTEGER,
    completed INTEGER NOT NULL DEFAULT 0, claimable_at INTEGER DEFAULT {_ALWAYS}, revision INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX work_in_order ON work (queue, priority_down, created_at, id, op, added_by);
CREATE INDEX work_by_state ON work (queue, state, priority_down, created_at, id, op, added_by);
CREATE INDEX work_open ON work (queue, priority_down, created_at, id) WHERE claimable_at = {_ALWAYS};
CREATE INDEX work_leases ON work (queue, claimable_at) WHERE claimable_at > {_ALWAYS};
CREATE INDEX work_by_id ON work (queue, id, op, added_by);
CREATE INDEX work_by_created ON work (queue, created_at, id, op, added_by);
CREATE INDEX work_by_started ON work (queue, call_started_at, id, op, added_by);
CREATE INDEX work_by_started_created ON work (queue, call_started_at, created_at, id, op, added_by);
CREATE INDEX work_by_op ON work (queue, op, id, added_by);
CREATE INDEX work_by_op_created ON work (queue, op, created_at, id, added_by);
CREATE INDEX work_by_updated ON work (queue, updated_at, id, op, added_by);
CREATE INDEX work_by_adder ON work (queue, added_by);
CREATE TABLE blocks (
    priority_down INTEGER NOT NULL, created_at INTEGER NOT NULL, id TEXT NOT NULL, unstarted INTEGER NOT NULL,
    in_progress INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (priority_down, created_at, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE progresses (
    item INTEGER NOT NULL, annotator INTEGER NOT NULL, state INTEGER NOT NULL, token INTEGER NOT NULL,
    lease_expires_at INTEGER, annotation TEXT, reason TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (item, annotator)
) STRICT, WITHOUT ROWID;
CREATE TABLE transitions (
    item INTEGER NOT NULL, revision INTEGER NOT NULL, annotator INTEGER NOT NULL, from_state INTEGER NOT NULL,
    to_state INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT, PRIMARY KEY (item, revision)
) STRICT, WITHOUT ROWID;
CREATE TABLE counters (
    queue INTEGER NOT NULL, annotator INTEGER NOT NULL, kind INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (queue, annotator, kind)
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES (1, 0, 0, 0), (1, 0, 1, 0), (1, 0, 2, 0), (1, 0, 3, 0), (1, 0, 4, 0), (1, 0, 5, 0);
"""

_COLUMNS: Final = """
w.num, w.id, i.call_id, i.call_started_at, i.call_ended_at, w.op, i.call_trace_id, i.display_fields, w.added_by, w.state,
w.annotator, w.created_at, w.updated_at, w.priority_down, i.payload
"""
_FIRST_OPEN: Final = f"""
SELECT {_COLUMNS} FROM work AS w INDEXED BY work_open CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = 1 AND w.claimable_at = {_ALWAYS} AND NOT EXISTS (
    SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.annotator = ? AND p.state >= 2)
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1
"""
_EXPIRED: Final = f"""
SELECT num FROM work INDEXED BY work_leases WHERE queue = 1 AND claimable_at > {_ALWAYS} AND claimable_at <= ? LIMIT 1
"""
_GRANT: Final = """
INSERT INTO progresses VALUES (?, ?, 1, 1, ?, NULL, NULL, ?, ?) ON CONFLICT (item, annotator) DO UPDATE SET
    state = 1, token = token + 1, lease_expires_at = excluded.lease_expires_at, updated_at = excluded.updated_at
RETURNING token
"""
_HOLD: Final = """
UPDATE work SET state = 1, annotator = ?, claimable_at = ?, updated_at = ?, revision = revision + 1 WHERE num = ?
RETURNING revision, priority_down, created_at, id
"""
_FINISH: Final = """
UPDATE progresses SET state = 2, lease_expires_at = NULL, annotation = ?, updated_at = ?
WHERE item = ? AND annotator = ? AND token = ? AND state = 1
"""
_SETTLE: Final = """
UPDATE work SET state = 2, annotator = ?, completed = completed + 1, claimable_at = NULL, updated_at = ?,
    revision = revision + 1
WHERE num = ? RETURNING revision, priority_down, created_at, id
"""
# An annotator has counters of kinds 1 to 3 only, the queue (annotator 0) of all.
_COUNT_CLAIM: Final = """
UPDATE counters SET n = n + CASE kind WHEN 0 THEN -1 ELSE 1 END WHERE queue = 1 AND annotator IN (0, ?) AND kind IN (0, 1)
"""
_COUNT_FINISH: Final = """
UPDATE counters SET n = n + CASE kind WHEN 1 THEN -1 ELSE 1 END
WHERE queue = 1 AND annotator IN (0, ?) AND kind IN (1, 2, 4, 5)
"""
_BLOCK: Final = """
SELECT priority_down, created_at, id FROM blocks WHERE (priority_down, created_at, id) <= (?, ?, ?)
ORDER BY priority_down DESC, created_at DESC, id DESC LIMIT 1
"""
_MOVE_TO_HELD: Final = """
UPDATE blocks SET unstarted = unstarted - 1, in_progress = in_progress + 1
WHERE priority_down = ? AND created_at = ? AND id = ?
"""
_MOVE_TO_DONE: Final = """
UPDATE blocks SET in_progress = in_progress - 1, completed = completed + 1
WHERE priority_down = ? AND created_at = ? AND id = ?
"""
_CUT_BLOCKS: Final = """
INSERT INTO blocks (priority_down, created_at, id, unstarted)
SELECT priority_down, created_at, id, min(512, items - place) FROM (
    SELECT priority_down, created_at, id, count(*) OVER () AS items,
        row_number() OVER (ORDER BY priority_down, created_at, id) - 1 AS place
    FROM work)
WHERE place % 512 = 0
"""
_WALK: Final = f"""
SELECT {_COLUMNS} FROM work AS w INDEXED BY work_in_order CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = 1 ORDER BY w.priority_down, w.created_at, w.id
"""
_TRANSITION: Final = "INSERT INTO transitions VALUES (?, ?, ?, ?, ?, ?, NULL)"


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1_000_000)


class RawVersion1:
    """Statements by hand on one connection, each operation one transaction, with the tables of version 1."""

    name: ClassVar[str] = "version 1 by hand"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = True

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.path = folder / "raw_version_1.db"
        self.connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, cached_statements=256)
        self._execute = self.connection.execute
        self._execute("PRAGMA journal_mode = WAL")
        self._execute(f"PRAGMA synchronous = {synchronous}")
        self._execute("PRAGMA cache_size = -16384")
        self._texts: dict[str, int] = {}
        if not self._execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self.connection.executescript(_SCHEMA)
        self._annotator = self._text("ann")
        self._execute(
            "INSERT INTO counters VALUES (1, ?1, 1, 0), (1, ?1, 2, 0), (1, ?1, 3, 0) ON CONFLICT DO NOTHING",
            (self._annotator,),
        )

    def _text(self, text: str) -> int:
        num = self._texts.get(text)
        if num is None:
            self._execute("INSERT INTO texts (text) VALUES (?) ON CONFLICT DO NOTHING", (text,))
            (num,) = self._execute("SELECT num FROM texts WHERE text = ?", (text,)).fetchone()
            self._texts[text] = num
        return num

    def fill(self, items: Iterable[NewItem]) -> None:
        """Add items in one transaction, with `executemany`."""
        todo = iter(items)
        self._execute("BEGIN IMMEDIATE")
        (num,) = self._execute("SELECT coalesce(max(num), 0) FROM items").fetchone()
        first, text, at, added_by = num, self._text, time.time_ns() // 1_000, self._text("ann")
        while chunk := list(islice(todo, _CHUNK)):
            cold, hot = [], []
            for new in chunk:
                num += 1
                item_id, started = uuid7(), _micros(new.call_started_at)
                fields = text(json.dumps(new.display_fields))
                cold.append((num, item_id, new.call_id, started, _micros(new.call_ended_at), new.call_trace_id, fields))
                hot.append((num, -new.priority, at, item_id, started, text(new.call_op_name), added_by, at))
            self.connection.executemany("INSERT INTO items VALUES (?, 1, ?, ?, ?, ?, ?, ?, NULL, NULL)", cold)
            self.connection.executemany(
                "INSERT INTO work (num, queue, priority_down, created_at, id, call_started_at, op, added_by, updated_at)"
                " VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)",
                hot,
            )
        self._execute("DELETE FROM blocks")
        self._execute(_CUT_BLOCKS)
        self._execute("UPDATE counters SET n = n + ? WHERE queue = 1 AND annotator = 0 AND kind = 0", (num - first,))
        self._execute("COMMIT")

    def claim(self) -> tuple[str, tuple[int, int]] | None:
        """Grant the first item in queue order."""
        execute, annotator, now = self._execute, self._annotator, time.time_ns() // 1_000
        execute("BEGIN IMMEDIATE")
        # Who takes an expired item is not measured here; that every claim looks whether there is one, is.
        assert execute(_EXPIRED, (now,)).fetchone() is None
        row = execute(_FIRST_OPEN, (annotator,)).fetchone()
        if row is None:
            execute("COMMIT")
            return None
        num, ends = row[0], now + _LEASE
        (token,) = execute(_GRANT, (num, annotator, ends, now, now)).fetchone()
        revision, *place = execute(_HOLD, (annotator, ends, now, num)).fetchone()
        execute(_TRANSITION, (num, revision, annotator, 0, 1, now))
        execute(_MOVE_TO_HELD, execute(_BLOCK, place).fetchone())
        execute(_COUNT_CLAIM, (annotator,))
        execute("COMMIT")
        return row[2], (num, token)

    def complete(self, claim: tuple[int, int], label: dict[str, JsonValue]) -> None:
        """Finish a claim."""
        execute, annotator, now, (num, token) = self._execute, self._annotator, time.time_ns() // 1_000, claim
        execute("BEGIN IMMEDIATE")
        assert execute(_FINISH, (json.dumps(label), now, num, annotator, token)).rowcount == 1
        revision, *place = execute(_SETTLE, (annotator, now, num)).fetchone()
        execute(_TRANSITION, (num, revision, annotator, 1, 2, now))
        execute(_MOVE_TO_DONE, execute(_BLOCK, place).fetchone())
        execute(_COUNT_FINISH, (annotator,))
        execute("COMMIT")

    def done(self) -> Sequence[str]:
        """Read what was finished, and check what is kept beside it."""
        rows = self._execute(
            "SELECT i.call_id, p.annotation, (SELECT count(*) FROM transitions AS t WHERE t.item = i.num)"
            " FROM items AS i JOIN progresses AS p ON p.item = i.num JOIN work AS w ON w.num = i.num"
            " WHERE p.state = 2 AND w.state = 2 AND w.claimable_at IS NULL"
        ).fetchall()
        counts = dict(self._execute("SELECT kind, n FROM counters WHERE annotator = 0"))
        assert counts[2] == counts[4] == counts[5] == len(rows)
        assert all(json.loads(label) == {"label": call} and changes == 2 for call, label, changes in rows)
        return [row[0] for row in rows]

    def walk(self) -> int:
        """Fetch every item in queue order; returns how many there were."""
        return sum(1 for _ in self._execute(_WALK))

    def close(self) -> None:
        """Close the file; the log is written back."""
        self.connection.close()
