"""The limit: `sqlite3` by hand, with our features and our indexes and nothing between them and the caller.

Kept as the library keeps it: the aggregate state of every item, a progress for each annotator with its fencing token and
lease, the history, the counters. Left out is what costs nothing here: several annotations per item, other policies, checks of
arguments, entities (rows are tuples), clocks and ids that can be injected.

What bounds it is the pages that a transaction writes to the log, not the statements: among 20,000 items a claim writes 6.2, a
completion 5.7, about as in the library; a bare task queue writes 2.3 and 2.1, and version 1 by hand 12.0 and 9.3.
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
_NEVER: Final = 2**62
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
    updated_at INTEGER NOT NULL, is_told INTEGER NOT NULL DEFAULT 0, state INTEGER NOT NULL DEFAULT 0,
    settled_as INTEGER NOT NULL DEFAULT 0, annotator INTEGER, completed INTEGER NOT NULL DEFAULT 0,
    claimable_at INTEGER DEFAULT {_ALWAYS}, steps INTEGER NOT NULL DEFAULT 0, last_entry INTEGER
) STRICT;
CREATE INDEX work_in_order ON work (queue, priority_down, created_at, id, settled_as, op, added_by);
CREATE INDEX work_open ON work (queue, priority_down, created_at, id) WHERE claimable_at = {_ALWAYS};
CREATE INDEX work_by_id ON work (queue, id, op, added_by);
CREATE INDEX work_by_created ON work (queue, created_at, id, op, added_by);
CREATE INDEX work_by_started ON work (queue, call_started_at, id, op, added_by);
CREATE INDEX work_by_started_created ON work (queue, call_started_at, created_at, id, op, added_by);
CREATE INDEX work_by_op ON work (queue, op, id, added_by);
CREATE INDEX work_by_op_created ON work (queue, op, created_at, id, added_by);
CREATE INDEX work_by_own_time ON work (queue, updated_at, id, op, added_by, is_told) WHERE is_told = 0;
CREATE INDEX work_by_adder ON work (queue, added_by);
CREATE TABLE blocks (
    priority_down INTEGER NOT NULL, created_at INTEGER NOT NULL, id TEXT NOT NULL, num INTEGER NOT NULL,
    PRIMARY KEY (priority_down, created_at, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE log (
    queue INTEGER NOT NULL, num INTEGER NOT NULL, item INTEGER NOT NULL, step INTEGER NOT NULL, before INTEGER,
    annotator INTEGER NOT NULL, from_state INTEGER NOT NULL, to_state INTEGER NOT NULL, at INTEGER NOT NULL,
    latest INTEGER NOT NULL, started_at INTEGER, reason TEXT, annotation TEXT, PRIMARY KEY (queue, num)
) STRICT, WITHOUT ROWID;
CREATE TABLE progresses (
    item INTEGER NOT NULL, annotator INTEGER NOT NULL, entry INTEGER NOT NULL, state INTEGER NOT NULL,
    token INTEGER NOT NULL, lease_expires_at INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    started_at INTEGER, reason TEXT, annotation TEXT, PRIMARY KEY (item, annotator)
) STRICT, WITHOUT ROWID;
CREATE TABLE counters (
    kind INTEGER NOT NULL, num INTEGER NOT NULL, item INTEGER NOT NULL DEFAULT 0, unstarted INTEGER NOT NULL DEFAULT 0,
    in_progress INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0, entries INTEGER NOT NULL DEFAULT 0, latest INTEGER NOT NULL DEFAULT 0,
    next_expiry INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (kind, num, item)
) STRICT, WITHOUT ROWID;
INSERT INTO counters (kind, num, next_expiry) VALUES (0, 0, {_NEVER});
"""

_COLUMNS: Final = """
w.num, w.id, i.call_id, i.call_started_at, i.call_ended_at, w.op, i.call_trace_id, i.display_fields, w.added_by, w.state,
w.annotator, w.created_at, w.updated_at, w.priority_down, i.payload, w.steps, w.last_entry
"""
_FIRST_OPEN: Final = f"""
SELECT {_COLUMNS} FROM work AS w INDEXED BY work_open CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = 1 AND w.claimable_at = {_ALWAYS} AND NOT EXISTS (
    SELECT 1 FROM progresses AS p WHERE p.item = w.num AND p.annotator = ? AND p.state >= 2)
ORDER BY w.priority_down, w.created_at, w.id LIMIT 1
"""
_QUEUE: Final = "SELECT entries, latest, next_expiry FROM counters WHERE kind = 0 AND num = 0 AND item = 0"
_GRANT: Final = """
INSERT INTO progresses VALUES (?, ?, ?, 1, 1, ?, ?, ?, ?, NULL, NULL) ON CONFLICT (item, annotator) DO UPDATE SET
    entry = excluded.entry, state = 1, token = token + 1, lease_expires_at = excluded.lease_expires_at,
    updated_at = excluded.updated_at, started_at = excluded.started_at
RETURNING token
"""
_HOLD: Final = """
UPDATE work SET state = 1, annotator = ?, claimable_at = ?, updated_at = ?, is_told = 1, steps = steps + 1, last_entry = ?
WHERE num = ?
"""
_STARTED: Final = """
SELECT w.steps, w.last_entry, p.started_at FROM progresses AS p JOIN work AS w ON w.num = p.item
WHERE p.item = ? AND p.annotator = ? AND p.token = ? AND p.state = 1
"""
_FINISH: Final = """
UPDATE progresses SET entry = ?, state = 2, lease_expires_at = NULL, updated_at = ? WHERE item = ? AND annotator = ?
"""
_SETTLE: Final = """
UPDATE work SET state = 2, settled_as = 2, annotator = ?, completed = completed + 1, claimable_at = NULL, updated_at = ?,
    is_told = 1, steps = steps + 1, last_entry = ?
WHERE num = ? RETURNING priority_down, created_at, id
"""
_BLOCK: Final = """
SELECT num FROM blocks WHERE (priority_down, created_at, id) <= (?, ?, ?)
ORDER BY priority_down DESC, created_at DESC, id DESC LIMIT 1
"""
_COUNT_CLAIM: Final = """
UPDATE counters SET unstarted = unstarted - ?, in_progress = in_progress + 1, entries = max(entries, ?),
    latest = max(latest, ?), next_expiry = min(next_expiry, ?)
WHERE kind = ? AND num = ? AND item = 0
"""
_COUNT_FINISH: Final = """
UPDATE counters SET in_progress = in_progress - 1, completed = completed + 1, settled = settled + ?1, finished = finished + ?1,
    entries = max(entries, ?2), latest = max(latest, ?3)
WHERE kind = ?4 AND num = ?5 AND item = 0
"""
_ENTRY: Final = "INSERT INTO log VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"
_HELD: Final = "INSERT INTO counters (kind, num, item) VALUES (2, ?, ?)"
_HELD_NO_MORE: Final = "DELETE FROM counters WHERE kind = 2 AND num = ? AND item = ?"
_CUT_BLOCKS: Final = """
INSERT INTO blocks (priority_down, created_at, id, num)
SELECT priority_down, created_at, id, place / 1024 + 1 FROM (
    SELECT priority_down, created_at, id, row_number() OVER (ORDER BY priority_down, created_at, id) - 1 AS place FROM work)
WHERE place % 1024 = 0
"""
_COUNT_BLOCKS: Final = """
INSERT INTO counters (kind, num, unstarted)
SELECT 1, place / 1024 + 1, count(*) FROM (
    SELECT row_number() OVER (ORDER BY priority_down, created_at, id) - 1 AS place FROM work)
GROUP BY place / 1024
"""
_WALK: Final = f"""
SELECT {_COLUMNS} FROM work AS w INDEXED BY work_in_order CROSS JOIN items AS i ON i.num = w.num
WHERE w.queue = 1 ORDER BY w.priority_down, w.created_at, w.id
"""


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1_000_000)


class RawSQLite:
    """Statements by hand on one connection, each operation one transaction."""

    name: ClassVar[str] = "sqlite3 by hand"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = True

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.path = folder / "raw.db"
        self.connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, cached_statements=256)
        self._execute = self.connection.execute
        self._execute("PRAGMA journal_mode = WAL")
        self._execute(f"PRAGMA synchronous = {synchronous}")
        self._execute("PRAGMA cache_size = -16384")
        self._texts: dict[str, int] = {}
        if not self._execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self.connection.executescript(_SCHEMA)
        self._annotator = self._text("ann")
        self._execute("INSERT INTO counters (kind, num) VALUES (0, ?) ON CONFLICT DO NOTHING", (self._annotator,))

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
        self._execute("DELETE FROM counters WHERE kind = 1")
        self._execute(_CUT_BLOCKS)
        self._execute(_COUNT_BLOCKS)
        self._execute("UPDATE counters SET unstarted = unstarted + ? WHERE kind = 0 AND num = 0", (num - first,))
        self._execute("COMMIT")

    def claim(self) -> tuple[str, tuple[int, int]] | None:
        """Grant the first item in queue order."""
        execute, annotator, now = self._execute, self._annotator, time.time_ns() // 1_000
        execute("BEGIN IMMEDIATE")
        entries, latest, next_expiry = execute(_QUEUE).fetchone()
        # Who takes an expired item is not measured here; that every claim looks whether there is one, is.
        assert next_expiry > now
        row = execute(_FIRST_OPEN, (annotator,)).fetchone()
        if row is None:
            execute("COMMIT")
            return None
        num, entry, ends = row[0], entries + 1, now + _LEASE
        item_id, steps, before, created_at, priority_down = row[1], row[-2], row[-1], row[11], row[13]
        (token,) = execute(_GRANT, (num, annotator, entry, ends, now, now, now)).fetchone()
        execute(_HOLD, (annotator, ends, now, entry, num))
        execute(_ENTRY, (entry, num, steps + 1, before, annotator, 0, 1, now, max(latest, now), None, None))
        (block,) = execute(_BLOCK, (priority_down, created_at, item_id)).fetchone()
        execute(_COUNT_CLAIM, (1, entry, now, ends, 0, 0))
        execute(_COUNT_CLAIM, (0, 0, 0, 0, 0, annotator))
        execute(_COUNT_CLAIM, (1, 0, 0, 0, 1, block))
        execute(_HELD, (annotator, num))
        execute("COMMIT")
        return row[2], (num, token)

    def complete(self, claim: tuple[int, int], label: dict[str, JsonValue]) -> None:
        """Finish a claim."""
        execute, annotator, now, (num, token) = self._execute, self._annotator, time.time_ns() // 1_000, claim
        execute("BEGIN IMMEDIATE")
        entries, latest, _ = execute(_QUEUE).fetchone()
        entry = entries + 1
        steps, before, started_at = execute(_STARTED, (num, annotator, token)).fetchone()
        execute(_FINISH, (entry, now, num, annotator))
        place = execute(_SETTLE, (annotator, now, entry, num)).fetchone()
        told = (steps + 1, before, annotator, 1, 2, now, max(latest, now), started_at, json.dumps(label))
        execute(_ENTRY, (entry, num, *told))
        (block,) = execute(_BLOCK, place).fetchone()
        execute(_COUNT_FINISH, (1, entry, now, 0, 0))
        execute(_COUNT_FINISH, (0, 0, 0, 0, annotator))
        execute(_COUNT_FINISH, (0, 0, 0, 1, block))
        execute(_HELD_NO_MORE, (annotator, num))
        execute("COMMIT")

    def done(self) -> Sequence[str]:
        """Read what was finished, and check what is kept beside it."""
        rows = self._execute(
            "SELECT i.call_id, l.annotation, w.steps"
            " FROM items AS i JOIN progresses AS p ON p.item = i.num JOIN work AS w ON w.num = i.num"
            " JOIN log AS l ON l.queue = 1 AND l.num = p.entry"
            " WHERE p.state = 2 AND w.state = 2 AND w.claimable_at IS NULL"
        ).fetchall()
        (counts,) = self._execute(
            "SELECT completed, settled, finished FROM counters WHERE kind = 0 AND num = 0"
        ).fetchall()
        assert {*counts} == {len(rows)}
        assert all(json.loads(label) == {"label": call} and changes == 2 for call, label, changes in rows)
        return [row[0] for row in rows]

    def walk(self) -> int:
        """Fetch every item in queue order; returns how many there were."""
        return sum(1 for _ in self._execute(_WALK))

    def close(self) -> None:
        """Close the file; the log is written back."""
        self.connection.close()
