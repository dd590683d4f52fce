"""Garbled rows in a file that is intact otherwise: `check` names them, and every call answers or raises an error of ours."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import attrs
import pytest

from annotation_queue import (
    AnnotationQueueError,
    ItemQuery,
    QueueQuery,
    SortBy,
    SQLiteRepository,
    StorageCorrupt,
    StorageError,
)
from annotation_queue.exports import json_lines, label_texts
from annotation_queue.repositories.sqlite import blocks as sqlite_blocks
from annotation_queue.repositories.sqlite import stretches as sqlite_stretches
from annotation_queue.repositories.sqlite.blocks import KIND_COLUMNS
from annotation_queue.repositories.sqlite.indexes import COUNTED, IN_ORDER
from annotation_queue.repositories.sqlite.queries.selection import Selection
from annotation_queue.values import MIN_INTEGER
from helpers.clocks import Clock
from helpers.faults import NIGHTLY, OPERATIONS, Operation, Scene, outcome, service, set_up

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from annotation_queue.repositories.sql.paths import Index

FACTS = {
    *(
        "project_id",
        "description",
        "lease",
        "created_by",
        "deleted_at",
        "call_id",
        "call_ended_at",
        "call_trace_id",
        "text",
    ),
    *(
        "priority_down",
        "added_by",
        "queues.id",
        "queues.created_at",
        "queues.updated_at",
        "queues.revision",
        "work.revision",
    ),
    "counters.reopenings",
    "label_schema",
    *("log.actor", "progresses.annotation"),
    *("epochs.num", "epochs.salt"),
    *("queues.is_paused", "work.assignees", "counters.erased"),
    # An update, a removal or a restoration moves it too, and none of them is in the history.
    "work.updated_at",
}
"""Columns, or columns of one table, that stand for nothing but themselves."""
SOMETIMES = {
    # Where a block begins may differ, as long as the same items stand in it.
    *("blocks.a", "blocks.b", "blocks.id"),
    *("created_at", "updated_at", "at", "reason", "revision", "lease_expires_at", "num", "op", "annotation"),
    *("counters.next_expiry", "counters.entries", "counters.latest"),
    # An item that the log tells of may as well stand by its own time.
    "work.is_told",
}
"""Those that are compared with something else in some rows only."""
INDEXES = {1, 2}
"""Of the lanes the one that also counts by state and one that does not: all others are like that one."""


@attrs.frozen
class Cell:
    """A stored value.

    Args:
        table: Its table.
        column: Its column.
        key: The row: the primary key's columns and their values.
        value: The value.
    """

    table: str
    column: str
    key: tuple[tuple[str, object], ...]
    value: object

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"

    def put(self, path: Path, value: object) -> bool:
        """Put another value there, unless the schema itself forbids it."""
        where = " AND ".join(f"{name} = ?" for name, _ in self.key)
        with closing(sqlite3.connect(path)) as connection:
            try:
                statement = f"UPDATE {self.table} SET {self.column} = ? WHERE {where}"  # noqa: S608 - names out of the schema
                connection.execute(statement, (value, *(each for _, each in self.key)))
            except sqlite3.IntegrityError:
                return False
            connection.commit()
        return True


def cells(path: Path) -> Iterator[Cell]:
    """List every value of every table, whatever the schema is."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        for (table,) in tables.fetchall():
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            names = [name for _, name, *_ in columns]
            keys = [name for _, name, _, _, _, part in columns if part]
            for row in connection.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall():  # noqa: S608 - as above
                values = dict(zip(names, row, strict=True))
                for name in names:
                    yield Cell(table, name, tuple((key, values[key]) for key in keys), values[name])


@pytest.fixture
def whole(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Scene]:
    """A file whose items have a history of several stretches, and stand in several blocks of each lane."""
    monkeypatch.setattr(sqlite_blocks, "SIZE", 1)
    monkeypatch.setattr(sqlite_stretches, "SIZE", 2)
    path = tmp_path / "whole.db"
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = service(repository, clock, "id")
        scene = set_up(queues, needed=2)
        clock.move(61)
        OPERATIONS["claim_batch"](queues, scene)
        clock.move(1)
        OPERATIONS["start directly"](queues, scene)
        # Items that nobody touched.
        OPERATIONS["add_items"](queues, scene)
        assert repository.check() == ()
    assert sum(cell.table == "blocks" and cell.column == "n" for cell in cells(path)) > len(COUNTED) * 2
    return path, scene


def another(value: object) -> object:
    """Give another value of the same kind."""
    if isinstance(value, int):
        return value + 1 if value < 2**63 - 1 else 0
    return f"{value}x" if isinstance(value, str) else 1


@pytest.mark.slow
def test_every_stored_value_stands_for_itself_or_is_checked_against_what_it_is_derived_from(
    whole: tuple[Path, Scene],
) -> None:
    original, _ = whole
    copy = original.with_name("copy.db")
    named: dict[str, list[bool]] = {}
    for cell in cells(original):
        if cell.table == "blocks" and dict(cell.key)["lane"] not in INDEXES:
            continue
        shutil.copy(original, copy)
        if cell.put(copy, another(cell.value)):
            with SQLiteRepository(copy, synchronous="OFF") as repository:
                named.setdefault(str(cell), []).append(repository.check() != ())
    assert len(named) > 40
    unchecked = [
        name
        for name, found in named.items()
        if FACTS.isdisjoint({name, name.partition(".")[2]})
        and not (all if SOMETIMES.isdisjoint({name, name.partition(".")[2]}) else any)(found)
    ]
    assert unchecked == []


def test_every_change_of_the_schema_is_named(whole: tuple[Path, Scene]) -> None:
    original, _ = whole
    copy = original.with_name("copy.db")
    with closing(sqlite3.connect(original)) as connection:
        indexes = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
    assert len(indexes) > 5
    for (index,) in indexes:
        shutil.copy(original, copy)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute(f"DROP INDEX {index}")
        with SQLiteRepository(copy, synchronous="OFF") as repository:
            assert any(index in problem for problem in repository.check())


@pytest.mark.parametrize("lane", COUNTED, ids=lambda lane: lane.index)
def test_blocks_that_are_missing_too_many_or_too_long_are_named(whole: tuple[Path, Scene], lane: Index) -> None:
    original, _ = whole
    copy = original.with_name("copy.db")
    where = f"WHERE queue = 1 AND lane = {lane.num}"
    last = f"{where} AND (a, b, id) = (SELECT a, b, id FROM blocks {where} ORDER BY a DESC, b DESC, id DESC LIMIT 1)"  # noqa: S608 - as above
    for statement, name in {
        f"DELETE FROM blocks {last}": lane.index,  # noqa: S608 - as above
        f"DELETE FROM blocks {where} AND a = {MIN_INTEGER}": lane.index,  # noqa: S608 - as above
        f"DELETE FROM blocks {where}": lane.index,  # noqa: S608 - as above
        f"UPDATE blocks SET lane = 99 {last}": "index 99",  # noqa: S608 - as above
        f"UPDATE blocks SET n = n - 1 {last}": lane.index,  # noqa: S608 - as above
    }.items():
        shutil.copy(original, copy)
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute(statement).rowcount > 0
            connection.commit()
        with SQLiteRepository(copy, synchronous="OFF") as repository:
            assert any(name in problem for problem in repository.check()), statement
    # All items stand in one block: counted right, and never split.
    shutil.copy(original, copy)
    with closing(sqlite3.connect(copy)) as connection:
        (n,) = connection.execute(f"SELECT sum(n) FROM blocks {where}").fetchone()  # noqa: S608 - as above
        connection.execute(f"DELETE FROM blocks {where} AND a <> {MIN_INTEGER}")  # noqa: S608 - as above
        connection.execute(f"UPDATE blocks SET n = ? {where}", (n,))  # noqa: S608 - as above
        if lane is IN_ORDER:
            kinds = "WHERE queue = 1 AND kind = 2"
            sums = connection.execute(
                f"SELECT {', '.join(f'sum({each})' for each in KIND_COLUMNS)} FROM counters {kinds}"  # noqa: S608 - as above
            ).fetchone()
            (num,) = connection.execute(f"SELECT num FROM blocks {where}").fetchone()  # noqa: S608 - as above
            connection.execute(f"DELETE FROM counters {kinds} AND num <> ?", (num,))  # noqa: S608 - as above
            connection.execute(f"UPDATE counters SET {', '.join(f'{each} = ?' for each in KIND_COLUMNS)} {kinds}", sums)  # noqa: S608 - as above
        connection.commit()
    with SQLiteRepository(copy, synchronous="OFF") as repository:
        (problem,) = repository.check()
        assert lane.index in problem
        assert f"a block of {n} items" in problem


READS: dict[str, Operation] = {
    "queues": lambda queues, _: queues.query(QueueQuery(name="q")),
    "queue": lambda queues, it: queues.get(it.queue_id),
    "stats": lambda queues, it: queues.stats([it.queue_id]),
    "items": lambda queues, it: queues.query_items(it.queue_id, ItemQuery(include_position=True, include_total=True)),
    "items by op name": lambda queues, it: queues.query_items(it.queue_id, ItemQuery(sort_by=[SortBy("call_op_name")])),
    "items of Fay": lambda queues, it: queues.query_items(it.queue_id, ItemQuery(annotator_id="fay")),
    "item": lambda queues, it: queues.get_item(it.item_ids[0], include_position=True),
    "progress": lambda queues, it: queues.progress(it.item_ids[0]),
    "history": lambda queues, it: queues.history(it.item_ids[0]),
    "labels": lambda queues, it: queues.labels(it.queue_id),
    "an export": lambda queues, it: [*json_lines(label_texts(queues, it.queue_id))],
}
GARBAGE = (9, -1, 2**62, -(2**62), "", "{", "\ud7ff", None, b"\xff")


def use(path: Path, scene: Scene) -> list[AnnotationQueueError]:
    """Make every call on a repository; give the errors. Any error that is not ours comes through."""
    errors: list[AnnotationQueueError] = []
    try:
        with SQLiteRepository(path, synchronous="OFF", busy_timeout=0) as repository:
            queues = service(repository, Clock(), "new")
            for operation in [*READS.values(), *OPERATIONS.values()]:
                answer = outcome(operation, queues, scene)
                errors += [answer] if isinstance(answer, AnnotationQueueError) else []
            with suppress(StorageError):
                repository.check()
    except StorageError as error:
        errors.append(error)
    return errors


@pytest.mark.slow
def test_a_garbled_row_gives_answers_or_errors_of_ours(whole: tuple[Path, Scene]) -> None:
    original, scene = whole
    copy = original.with_name("copy.db")
    dice = random.Random(13)  # noqa: S311 - which row gets which garbage, not a secret
    by_column: dict[str, list[Cell]] = {}
    for cell in cells(original):
        by_column.setdefault(str(cell), []).append(cell)
    seen: Counter[str] = Counter()
    for rows in by_column.values():
        for value in GARBAGE if NIGHTLY else dice.sample(GARBAGE, 3):
            shutil.copy(original, copy)
            if dice.choice(rows).put(copy, value):
                seen.update(type(error).__name__ for error in use(copy, scene))
    assert seen["StorageCorrupt"] > 20


def test_garbled_bytes_give_answers_or_errors_of_ours(whole: tuple[Path, Scene]) -> None:
    original, scene = whole
    copy = original.with_name("copy.db")
    intact = original.read_bytes()
    dice = random.Random(17)  # noqa: S311 - which bytes, not a secret
    seen: Counter[str] = Counter()
    for _ in range(3_000 if NIGHTLY else 60):
        garbled = bytearray(intact)
        start = dice.randrange(len(garbled))
        for place in range(start, min(start + dice.choice((1, 1, 16, 4_096)), len(garbled))):
            garbled[place] = dice.randrange(256)
        for ending in ("-wal", "-shm"):
            copy.with_name(copy.name + ending).unlink(missing_ok=True)
        copy.write_bytes(garbled)
        seen.update(type(error).__name__ for error in use(copy, scene))
    assert seen["StorageCorrupt"] > 20


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("items", "payload", "[" * 100_000),
        ("items", "payload", "9" * 5_000),
        ("items", "payload", "no JSON"),
        ("items", "call_started_at", 2**62),
        ("work", "state", 9),
        ("work", "added_by", 99_999),
        ("work", "op", 99_999),
        ("work", "annotator", 99_999),
        ("texts", "text", "no list"),
        ("queues", "scorer_refs", "{"),
        ("queues", "skip_policy", "sometimes"),
    ],
)
def test_what_a_row_holds_that_nobody_wrote_is_called_damage(
    whole: tuple[Path, Scene], table: str, column: str, value: object
) -> None:
    path, scene = whole
    with closing(sqlite3.connect(path)) as connection:
        where = "WHERE num IN (SELECT display_fields FROM items)" if table == "texts" else ""
        connection.execute(f"UPDATE {table} SET {column} = ? {where}", (value,))  # noqa: S608 - names of ours
        connection.commit()
    with SQLiteRepository(path, synchronous="OFF") as repository, pytest.raises(StorageCorrupt, match="backup"):
        service(repository, Clock(), "new").query_items(scene.queue_id)


@pytest.mark.parametrize(
    "error",
    [
        LookupError("x"),
        KeyError("x"),
        ValueError("x"),
        TypeError("x"),
        AttributeError("x"),
        ZeroDivisionError("x"),
        RecursionError("x"),
        UnicodeEncodeError("latin-1", "x", 0, 1, "x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_came_out_of_no_row_is_not_called_damage(
    whole: tuple[Path, Scene], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path, scene = whole

    def fail(*_: object) -> object:
        raise error

    monkeypatch.setattr(Selection, "_nums", fail)
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = service(repository, Clock(), "new")
        with pytest.raises(StorageError, match="check") as raised:
            queues.query_items(scene.queue_id)
        assert not isinstance(raised.value, StorageCorrupt)
        assert raised.value.__cause__ is error
        assert queues.get(scene.queue_id).id == scene.queue_id
