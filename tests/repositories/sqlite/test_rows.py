"""Rows have names: what a statement gives and what reads it name the same columns in the same order."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, NewItem, SQLiteRepository
from annotation_queue.repositories.sql.rows import ItemRow, ProgressRow, QueueRow, TransitionRow
from annotation_queue.repositories.sqlite.blocks import BlockRow
from annotation_queue.repositories.sqlite.connections import Connections
from annotation_queue.repositories.sqlite.statements import SQL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

RENAMED = {"op": "call_op_name"}


@pytest.mark.parametrize(
    ("statement", "values", "row"),
    [
        ("queue_by_num", (1,), QueueRow),
        ("live_items_by_num", ("[1]",), ItemRow),
        ("record_by_num", {"item": 1, "labels_of": None}, ProgressRow),
        ("history", {"queue": 1, "last_entry": 1}, TransitionRow),
        ("changes", {"queue": 1, "after": 0, "limit": 1}, TransitionRow),
        ("settled_since", {"queue": 1, "num": 0, "since": 0}, TransitionRow),
        ("held", {"queue": 1, "annotator": 1}, ItemRow),
        ("blocks", (1, 1), BlockRow),
    ],
)
def test_a_row_has_the_columns_of_its_statement(
    tmp_path: Path, statement: str, values: Sequence[object] | Mapping[str, object], row: type[ItemRow]
) -> None:
    path = tmp_path / "queues.db"
    SQLiteRepository(path, synchronous="OFF").close()
    with closing(sqlite3.connect(path)) as connection:
        names = [column[0] for column in connection.execute(SQL[statement], values).description]
    # What comes before it is read on its own. An expression has no name of its own.
    named = [
        (RENAMED.get(found, found), field) for found, field in zip(names[-len(row._fields) :], row._fields, strict=True)
    ]
    assert [(found, field) for found, field in named if found != field and "CASE" not in found] == []


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List what is executed from now on."""
    executed: list[str] = []
    connect = Connections.connect

    def connect_traced(self: Connections) -> sqlite3.Connection:
        connection = connect(self)
        connection.set_trace_callback(executed.append)
        return connection

    monkeypatch.setattr(Connections, "connect", connect_traced)
    return executed


@pytest.mark.parametrize("by_ref", [False, True])
def test_64_claims_are_completed_without_reading_or_by_two_transactions_that_read_them_in_one_statement(
    tmp_path: Path, statements: list[str], *, by_ref: bool
) -> None:
    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(64)], added_by="ann")
        claims = queues.claim_batch(queue.id, "ann", 64)
        statements.clear()
        # What a claim left is remembered. Who hands in its reference may be another process, and so what it left is read.
        queues.complete_batch([(claim.ref if by_ref else claim, "good") for claim in claims])
        assert sum(text.startswith("BEGIN") for text in statements) == 1 + by_ref
        assert sum(text.startswith(("SELECT w.id", "SELECT i.id")) for text in statements) == by_ref
        assert repository.check() == ()


def test_nothing_is_locked_while_an_iterable_takes_its_time(tmp_path: Path) -> None:
    path = tmp_path / "queues.db"
    with SQLiteRepository(path, synchronous="OFF") as one, SQLiteRepository(path, busy_timeout=0) as other:
        queues, theirs = AnnotationQueues(one, "project"), AnnotationQueues(other, "project")
        queue = queues.create("queue", created_by="ann")

        def items() -> Iterator[NewItem]:
            for number in range(5_000):
                if number % 1_000 == 0:
                    theirs.create(f"written meanwhile {number}", created_by="bob")
                    # It may even write to the repository that reads it.
                    queues.create(f"written by itself {number}", created_by="bob")
                yield NewItem(call_id=str(number))

        assert len(queues.add_items(queue.id, items(), added_by="ann").added) == 5_000
        assert len(queues.query().queues) == 11
