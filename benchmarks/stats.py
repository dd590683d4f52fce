"""Statistics of one queue: counters beside scans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.contestants.rows import RANKS
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE, repeated
from benchmarks.pages import CONTESTANTS, STORAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.fixtures import Filled
    from benchmarks.harness import Run

_QUESTION: Final = "stats"
_LARGE: Final = 1_000_000


def measure(run: Run) -> None:
    """Race the counts by state at every size; ours count by annotator too."""
    for size in run.settings.sizes:
        calls: dict[str, Callable[[], Any]] = {}
        answers = {}
        for name, filled in zip(STORAGES, run.fixtures.worked(size), strict=True):
            calls[name] = _ask(filled)
            (stats,) = calls[name]()
            answers[name] = {RANKS[state]: n for state, n in stats.by_state.items() if n}
        contestants = [kind(run.fixtures.scratch(), run.fixtures.items(size)) for kind in CONTESTANTS]
        for contestant in contestants:
            calls[contestant.name] = contestant.count
            answers[contestant.name] = contestant.count()
        expected = answers[OURS_MEMORY]
        assert sum(expected.values()) == size
        for name, answer in answers.items():
            assert answer == expected, f"{name} counts wrong"
        laps = {
            name: repeated(call, at_most=500, seconds=run.settings.lap_seconds / 10) for name, call in calls.items()
        }
        medians = run.race(_QUESTION, "stats of a queue", size, laps, unit="ms")
        for contestant in contestants:
            contestant.close()
    for name, limit in ((OURS_SQLITE, 5.0), (OURS_MEMORY, 1.0)):
        run.at_most(f"stats: {STORAGES[name]}", medians[name], limit, asked=_LARGE, size=size, unit="ms")


def _ask(filled: Filled) -> Callable[[], Any]:
    return lambda: filled.queues.stats([filled.queue_id])
