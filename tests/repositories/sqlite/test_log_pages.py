"""How many pages a change writes to the write-ahead log: a number that no machine's speed changes, and what bounds the rest."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

import pytest

from annotation_queue import AnnotationQueues, Claim, NewItem, SQLiteRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ITEMS: Final = 100_000
TIMES: Final = 200
_PAGE: Final = 4_096
_LOG_HEAD: Final = 32
_FRAME: Final = 24 + _PAGE


class Worker:
    """An annotator at work in a large queue, whose changes are counted in pages.

    Args:
        path: The file.
        queues: The service on it.
        queue_id: The queue.
        most: How many pages each change may write.
    """

    def __init__(self, path: Path, queues: AnnotationQueues, queue_id: str, most: Mapping[str, float]) -> None:
        self.most = most
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


MOST: Final = {
    "claim": 7.0,
    "complete": 5.4,
    "skip": 6.4,
    "heartbeat": 2.0,
    "draft": 2.1,
    "64 claims": 26.0,
    "64 completed": 20.0,
}
"""How many pages each change may write."""
DONE: Final[dict[int, dict[str, float]]] = {300: MOST, 20_000: MOST | {"skip": 6.5}}
"""How many items are completed before -> the same then. What is counted of the log has grown over a page by 20,000."""


@pytest.fixture(scope="module", params=DONE, ids="{} are done".format)
def worker(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Worker]:
    path = tmp_path_factory.mktemp("pages") / "queues.db"
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("Triage", created_by="ann")
        news = (NewItem(call_id=f"call-{n}", payload={"text": "some text " * 5}) for n in range(ITEMS))
        queues.add_items(queue.id, news, added_by="ann")
        worker = Worker(path, queues, queue.id, DONE[request.param])
        for _ in range(request.param // 64):
            worker.complete_many(worker.claim_many())
        yield worker


@pytest.mark.slow(seconds=15)
def test_a_change_in_a_large_queue_writes_few_pages_and_a_claim_with_its_completion_twelve(worker: Worker) -> None:
    pages: dict[str, list[int]] = {kind: [] for kind in MOST}

    def count(kind: str, change: Callable[[], object]) -> None:
        pages[kind].append(worker.pages(change))

    for n in range(TIMES):
        claims: list[Claim] = []
        count("claim", lambda claims=claims: claims.append(worker.claim()))  # type: ignore[misc]
        (claim,) = claims
        kind, settle = ("skip", worker.skip) if n % 4 == 3 else ("complete", worker.complete)
        count(kind, lambda settle=settle, claim=claim: settle(claim))  # type: ignore[misc]
    claim = worker.claim()
    for _ in range(4):
        count("heartbeat", lambda: worker.heartbeat(claim))
        count("draft", lambda: worker.draft(claim))
        claims = []
        count("64 claims", lambda claims=claims: claims.extend(worker.claim_many()))  # type: ignore[misc]
        count("64 completed", lambda claims=claims: worker.complete_many(claims))  # type: ignore[misc]
    written = {kind: fmean(each) for kind, each in pages.items()}
    assert {kind: n for kind, n in written.items() if n > worker.most[kind]} == {}
    assert written["claim"] + written["complete"] <= 12


@pytest.mark.slow(seconds=15)
def test_where_nothing_is_skipped_a_claim_with_its_completion_writes_hardly_more(worker: Worker) -> None:
    written = []
    for _ in range(TIMES):
        claims: list[Claim] = []
        written.append(worker.pages(lambda claims=claims: claims.append(worker.claim())))  # type: ignore[misc]
        (claim,) = claims
        written.append(worker.pages(lambda claim=claim: worker.complete(claim)))  # type: ignore[misc]
    # Where the last page of the log or of the progresses is full, those before it are written anew.
    assert 2 * fmean(written) <= 12.5


REMOVED: Final = 2_000
MOST_OF_REMOVED: Final = 0.6
"""How many pages a removed item may write, where half of a queue goes in several transactions."""


class FourParts:
    """In the place of `Pace`: each of four parts is a transaction of its own."""

    def __init__(self, *_: float, **__: float) -> None:
        self._parts = 0

    def begin(self) -> None:
        self._parts = 0

    def part(self) -> int:
        return 0 if self._parts else REMOVED // 4

    def took(self, members: int) -> None:
        self._parts += members

    def committed(self) -> None:
        pass


def test_transactions_that_remove_parts_of_a_list_in_no_order_write_few_pages_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All fit into the log, which is not begun anew meanwhile.
    monkeypatch.setattr(f"{SQLiteRepository.__module__}.Pace", FourParts)
    path = tmp_path / "queues.db"
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("Triage", created_by="ann")
        news = (NewItem(call_id=f"call-{n}") for n in range(2 * REMOVED))
        ids = [item.id for item in queues.add_items(queue.id, news, added_by="ann").added]
        scattered = [ids[n * 1_237 % len(ids)] for n in range(REMOVED)]
        pages = Worker(path, queues, queue.id, {}).pages(lambda: queues.remove_items(queue.id, scattered))
        assert queues.stats([queue.id])[0].total_items == REMOVED
    assert pages / REMOVED <= MOST_OF_REMOVED, pages / REMOVED
