"""How many pages a change writes to the write-ahead log: a number that no machine's speed changes, and what bounds the rest."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from annotation_queue import AnnotationQueues, Claim, NewItem, SQLiteRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ITEMS: Final = 100_000
DONE: Final = 300
TIMES: Final = 40
_PAGE: Final = 4_096
_LOG_HEAD: Final = 32
_FRAME: Final = 24 + _PAGE


class Worker:
    """An annotator at work in a large queue, whose changes are counted in pages.

    Args:
        path: The file.
        queues: The service on it.
        queue_id: The queue.
    """

    def __init__(self, path: Path, queues: AnnotationQueues, queue_id: str) -> None:
        self._path = path
        self._queues = queues
        self._queue_id = queue_id
        self._drafts = 0

    def claim(self) -> Claim:
        claim = self._queues.claim(self._queue_id, "bob")
        assert claim
        return claim

    def complete(self, claim: Claim) -> None:
        self._queues.complete(claim, {"label": "good"})

    def skip(self, claim: Claim) -> None:
        self._queues.skip(claim, reason="unclear")

    def heartbeat(self, claim: Claim) -> None:
        self._queues.heartbeat(claim)

    def draft(self, claim: Claim) -> None:
        self._drafts += 1
        self._queues.save_draft(claim, {"draft": self._drafts})

    def claim_many(self) -> list[Claim]:
        return [*self._queues.claim_batch(self._queue_id, "bob", 64)]

    def complete_many(self, claims: list[Claim]) -> None:
        self._queues.complete_batch([(claim, {"label": "good"}) for claim in claims])

    def pages(self, change: Callable[[], object]) -> int:
        """Make a change, and count the pages that it wrote to the log, which was empty before."""
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            change()
            # Before the connection is closed, which may empty the log again.
            return (Path(f"{self._path}-wal").stat().st_size - _LOG_HEAD) // _FRAME


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    path = tmp_path_factory.mktemp("pages") / "queues.db"
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("Triage", created_by="ann")
        news = (NewItem(call_id=f"call-{n}", payload={"text": "some text " * 5}) for n in range(ITEMS))
        queues.add_items(queue.id, news, added_by="ann")
        worker = Worker(path, queues, queue.id)
        for _ in range(DONE // 64):
            worker.complete_many(worker.claim_many())
        yield worker


@pytest.mark.slow
def test_a_change_in_a_large_queue_writes_few_pages(worker: Worker) -> None:
    most = {
        "claim": 13.6,
        "complete": 12.0,
        "skip": 12.2,
        "heartbeat": 6.0,
        "draft": 6.0,
        "64 claims": 60,
        "64 completed": 60,
    }
    pages = dict.fromkeys(most, 0.0)
    for n in range(TIMES):
        claims: list[Claim] = []
        pages["claim"] += worker.pages(lambda claims=claims: claims.append(worker.claim())) / TIMES  # type: ignore[misc]
        (claim,) = claims
        pages["heartbeat"] += worker.pages(lambda claim=claim: worker.heartbeat(claim)) / TIMES  # type: ignore[misc]
        pages["draft"] += worker.pages(lambda claim=claim: worker.draft(claim)) / TIMES  # type: ignore[misc]
        kind = "complete" if n % 2 else "skip"
        settle = worker.complete if n % 2 else worker.skip
        pages[kind] += worker.pages(lambda settle=settle, claim=claim: settle(claim)) / (TIMES / 2)  # type: ignore[misc]
    for _ in range(4):
        claims = []
        pages["64 claims"] += worker.pages(lambda claims=claims: claims.extend(worker.claim_many())) / 4  # type: ignore[misc]
        pages["64 completed"] += worker.pages(lambda claims=claims: worker.complete_many(claims)) / 4  # type: ignore[misc]
    assert {kind: round(n, 2) for kind, n in pages.items() if n > most[kind]} == {}, pages
