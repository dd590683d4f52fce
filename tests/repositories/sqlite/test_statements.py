"""How many statements a claim and what ends it are."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, ClaimRef, NewItem, SQLiteRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What every connection executes from now on, many rows of one statement as one."""
    executed: list[str] = []
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            executed.append(statement)
            return super().execute(statement, *values)  # type: ignore[arg-type]

        def executemany(self, statement: str, *values: object) -> sqlite3.Cursor:
            executed.append(statement)
            return super().executemany(statement, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=Connection))
    return executed


@pytest.fixture
def queues(tmp_path: Path, statements: list[str]) -> Iterator[AnnotationQueues]:
    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "p")
        queue = queues.create("q", created_by="ann", queue_id="q")
        queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(8)], added_by="ann")
        # What is read once, who the annotator is, and when the first lease ends.
        queues.complete(claimed(queues), "good")
        statements.clear()
        yield queues


def claimed(queues: AnnotationQueues) -> Claim:
    claim = queues.claim("q", "ann")
    assert claim
    return claim


def reads(statements: list[str]) -> int:
    return sum(each.startswith("SELECT") for each in statements)


def test_a_claim_reads_the_queue_and_the_item_and_where_it_is_counted(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    claimed(queues)
    assert reads(statements) == 3
    assert len(statements) == 10


def test_who_claimed_an_item_that_nobody_had_touched_completes_it_without_reading_it_again(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    claim = claimed(queues)
    statements.clear()
    queues.complete(claim, "good")
    assert reads(statements) == 2
    assert not any("FROM items" in each or "FROM work" in each or "FROM progresses" in each for each in statements)
    assert len(statements) == 9


def test_another_process_reads_the_item_once(queues: AnnotationQueues, statements: list[str]) -> None:
    claim = claimed(queues)
    statements.clear()
    queues.complete(ClaimRef(item_id=claim.item.id, annotator_id=claim.annotator_id, token=claim.token), "good")
    assert sum("FROM items" in each or "FROM work" in each for each in statements) <= 2


def test_counters_are_inserted_for_an_annotator_who_comes_for_the_first_time_and_only_changed_afterwards(
    queues: AnnotationQueues, statements: list[str]
) -> None:
    def insertions() -> int:
        return sum(each.startswith("INSERT INTO counters") for each in statements)

    claimed(queues)
    assert insertions() == 0
    for already in (0, 1):
        assert queues.claim("q", "bob")
        assert insertions() == 1
        (stats,) = queues.stats(["q"])
        assert stats.by_annotator["bob"] == {AnnotationState.IN_PROGRESS: already + 1}
        assert stats.by_state[AnnotationState.IN_PROGRESS] == already + 2


def test_the_parameters_of_a_write_are_given_by_name_whatever_their_order_and_however_many_are_null(
    tmp_path: Path,
) -> None:
    with SQLiteRepository(tmp_path / "queues.db") as repository:
        queues = AnnotationQueues(repository, "p")
        queue = queues.create("q", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(4)], added_by="ann")
        for reason in (None, "too dark"):
            claim = queues.claim(queue.id, "ann")
            assert claim
            assert queues.skip(claim, reason).annotation_state is AnnotationState.SKIPPED
            assert [each.reason for each in queues.history(claim.item.id)] == [None, reason]
        assert repository.check() == ()
