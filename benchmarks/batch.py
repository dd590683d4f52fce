"""What `run_batch` costs with a labeler that does nothing, beside single pairs."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from annotation_queue import run_batch
from benchmarks.claims import pair
from benchmarks.contestants.ours import Ours, OursInMemory, OursOnSQLite
from benchmarks.harness import repeated

if TYPE_CHECKING:
    from annotation_queue import JsonValue, QueueItem
    from benchmarks.harness import Lap, Run

_ASKED: Final = 100_000
_BATCH: Final = 64


def measure(run: Run) -> None:
    """Race the runner, single pairs, and batches without the runner."""
    size = run.settings.size(_ASKED)
    # Laps of one length: what comes up once in thousands of operations, as a full garbage collection, comes up in each.
    count = min(size // (2 * run.settings.rounds), 10 * run.settings.pairs)
    lines: tuple[tuple[type[Ours], str, float], ...] = ((OursOnSQLite, "SQLite", 1.5), (OursInMemory, "memory", 1.0))
    for kind, storage, line in lines:
        with ExitStack() as stack:
            runner, single, batches = (stack.enter_context(run.fixtures.queue(kind, size, "NORMAL")) for _ in range(3))
            laps: dict[str, Lap] = {
                f"{storage}, run_batch": _runner_lap(runner, count),
                f"{storage}, single pairs": repeated(pair(single), at_most=count, seconds=float("inf")),
                f"{storage}, batches of {_BATCH}": _batch_lap(batches, count),
            }
            rates = run.race("batch", "claim + complete in batches, NORMAL", size, laps, unit="/s")
        ratio = rates[f"{storage}, run_batch"] / rates[f"{storage}, single pairs"]
        run.at_least(f"run_batch / single pairs: {storage}", ratio, line, asked=_ASKED, size=size)


def _label(item: QueueItem) -> JsonValue:
    return {"label": item.call_id}


def _runner_lap(contestant: Ours, limit: int) -> Lap:
    def lap() -> tuple[int, float]:
        before = len(contestant.done())
        started = time.perf_counter()
        report = run_batch(contestant.queues, contestant.queue_id, _label, annotator_id="ann", limit=limit)
        elapsed = time.perf_counter() - started
        assert len(contestant.done()) - before == limit, f"run_batch lost something: {report}"
        return limit, elapsed

    return lap


def _batch_lap(contestant: Ours, limit: int) -> Lap:
    def lap() -> tuple[int, float]:
        left, started = limit, time.perf_counter()
        while left:
            claims = contestant.queues.claim_batch(contestant.queue_id, "ann", min(left, _BATCH))
            contestant.queues.complete_batch([(claim, _label(claim.item)) for claim in claims])
            left -= len(claims)
        return limit, time.perf_counter() - started

    return lap
