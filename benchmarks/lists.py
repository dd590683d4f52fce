"""Lists that move: ranking items anew, removing many, and what reserved items cost the claims."""

from __future__ import annotations

import threading
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from annotation_queue import ItemFilter, ItemPatch, ItemQuery
from annotation_queue.repositories.memory import MemoryRepository
from annotation_queue.repositories.sqlite import SQLiteRepository
from benchmarks.fixtures import Filled, fill
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE
from benchmarks.postgres import OursOnPostgres, folder_of, started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annotation_queue import Repository
    from benchmarks.harness import Run

_QUESTION: Final = "lists"
_ASKED: Final = 100_000
_RESERVED: Final = 200_000
_RANK: Final = "rank anew"
_BY_IDS: Final = "remove by ids"
_BY_FILTER: Final = "remove by a filter"
_REMOVALS: Final[Mapping[str, Callable[[Sequence[str]], Sequence[str] | ItemFilter]]] = {
    _BY_IDS: lambda ids: ids,
    _BY_FILTER: lambda _: ItemFilter(finished=False),
    # An item costs more there: nearly every page of the indexes keeps the other half of its items.
    "remove half of a queue by ids": lambda ids: ids[: len(ids) // 2],
}
"""What is removed of a queue with these ids. Nothing in it is finished."""
_LEAST: Final = {
    (_RANK, OURS_SQLITE): 30_000,
    (_RANK, OursOnPostgres.name): 10_000,
    (_BY_IDS, OURS_SQLITE): 40_000,
    (_BY_FILTER, OURS_SQLITE): 40_000,
}
"""Least items a second."""
_ROUNDS: Final = 3
"""How many queues SQLite, which has most of the lines, ranks anew and removes in each way; the others do so once."""
_LONGEST_WAIT: Final = 1_000
"""Most milliseconds that a claim of another queue waits meanwhile."""
_CLAIMS: Final = 300
_MOST_GROWTH: Final = 1.3
"""How much longer a claim may take beside reserved items."""


def measure(run: Run) -> None:
    """Rank 100,000 items anew and remove them, and claim beside as many that are reserved for others."""
    server = started(run)
    try:
        for name in (OURS_SQLITE, OURS_MEMORY, *([OursOnPostgres.name] if server is not None else [])):
            _rank_and_remove(run, name, server)
        for name in (OURS_SQLITE, OURS_MEMORY):
            _reserve(run, name)
    finally:
        if server is not None:
            server.remove()


def _opened(run: Run, name: str, server: Any) -> Repository:  # noqa: ANN401 - of the tests, which may be missing
    if name == OURS_MEMORY:
        return MemoryRepository()
    if name == OURS_SQLITE:
        return SQLiteRepository(run.fixtures.scratch() / "queues.db", synchronous="NORMAL")
    return OursOnPostgres(folder_of(run, server), "NORMAL").repository


def _rank_and_remove(run: Run, name: str, server: Any) -> None:  # noqa: ANN401 - as above
    """Rank a queue anew and remove its items in each way, out of a queue that was filled for it."""
    size = run.settings.size(_ASKED)
    rates: dict[str, list[float]] = {}
    longest = 0.0
    rounds = min(run.settings.rounds, _ROUNDS) if name == OURS_SQLITE else 1
    for _ in range(rounds):
        for work, choose in _REMOVALS.items():
            with _opened(run, name, server) as repository:
                filled = fill(repository, size)
                ids = [item.id for item in filled.queues.iter_items(filled.queue_id, ItemQuery(include_payload=False))]
                ranks = {item_id: (number * 7_919) % size + 1_000 for number, item_id in enumerate(ids)}
                ranked = _rate(partial(filled.queues.reprioritise, filled.queue_id, ranks), size)
                rates.setdefault(_RANK, []).append(ranked)
                which = choose(ids)
                removed, waited = _remove(filled, which, size if isinstance(which, ItemFilter) else len(which))
            rates.setdefault(work, []).append(removed)
            longest = max(longest, waited)
    for work, values in rates.items():
        rate = run.note(_QUESTION, work, name, size=size, unit="/s", values=tuple(values))
        if (work, name) in _LEAST:
            run.at_least(f"{work}: {name}", rate, _LEAST[work, name], asked=_ASKED, size=size, unit="/s")
    if name == OURS_SQLITE:
        run.at_most(f"claim elsewhere meanwhile: {name}", longest, _LONGEST_WAIT, asked=_ASKED, size=size, unit="ms")


def _remove(filled: Filled, which: Sequence[str] | ItemFilter, expected: int) -> tuple[float, float]:
    """Remove items while somebody claims elsewhere; gives items a second, and the longest wait in milliseconds."""
    queues = filled.queues
    waits = _Waits(filled, queues.create("other", created_by="ann").id)
    try:
        rate = _rate(partial(queues.remove_items, filled.queue_id, which), expected)
    finally:
        # Otherwise a removal that fails would never end the program.
        longest = waits.stop()
    return rate, longest


def _rate(call: Any, expected: int) -> float:  # noqa: ANN401 - a call that counts what it changed
    began = time.perf_counter()
    assert call() == expected
    return expected / (time.perf_counter() - began)


class _Waits:
    """Asks for claims of another queue in a thread, and notes the longest answer."""

    def __init__(self, filled: Filled, queue_id: str) -> None:
        self._queues = filled.queues
        self._queue_id = queue_id
        self._over = threading.Event()
        self._longest = 0.0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._over.is_set():
            began = time.perf_counter()
            assert not self._queues.claim(self._queue_id, "bob")
            self._longest = max(self._longest, time.perf_counter() - began)
            self._over.wait(0.002)

    def stop(self) -> float:
        """End, and give the longest wait in milliseconds."""
        self._over.set()
        self._thread.join()
        return self._longest * 1_000


def _reserve(run: Run, name: str) -> None:
    """Claim where the first half is reserved for others, then 100 for the annotator, in turn with a queue of no such items."""
    size = run.settings.size(_RESERVED)
    with _opened(run, name, None) as other, _opened(run, name, None) as repository:
        plain, filled = fill(other, size), fill(repository, size)
        queues, queue_id = filled.queues, filled.queue_id
        ids = [item.id for item in queues.iter_items(queue_id, ItemQuery(include_payload=False))]
        queues.update_items(queue_id, ids[: size // 2], ItemPatch(assignees=["others"]))
        beside = _times_as_long(filled, "bob", plain)
        # Nor is the one that bob claimed for anybody else: an item costs more to claim on which others have progress.
        queues.update_items(queue_id, [ids[size // 2]], ItemPatch(assignees=["others"]))
        queues.update_items(queue_id, ids[size // 2 + 1 :: max(1, size // 200)], ItemPatch(assignees=["cy"]))
        own = _times_as_long(filled, "cy", plain)
    for what, measured in (("beside items reserved for others", beside), ("of an annotator with reserved items", own)):
        run.at_most(f"claim {what}: {name}", measured, _MOST_GROWTH, asked=_RESERVED, size=size)


def _times_as_long(filled: Filled, annotator_id: str, plain: Filled) -> float:
    """Compare the median seconds of claims with those of another queue, claim by claim: a busy machine slows down both."""
    pairs = [(_claim_time(filled, annotator_id), _claim_time(plain, "ann")) for _ in range(_CLAIMS)]
    return median(there for there, _ in pairs) / median(here for _, here in pairs)


def _claim_time(filled: Filled, annotator_id: str) -> float:
    """Give the seconds of a claim, which is released again."""
    began = time.perf_counter()
    claim = filled.queues.claim(filled.queue_id, annotator_id)
    seconds = time.perf_counter() - began
    assert claim
    filled.queues.release(claim)
    return seconds
