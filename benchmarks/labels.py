"""Labels in bulk and the log: pages that cost the same at every size, and the walk that an export is.

The lines are about a walk, which gives entities, and about an export as JSON lines, which makes none.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from annotation_queue import LabelQuery
from annotation_queue.cli.exports import write_labels
from benchmarks.fixtures import Filled, fill, work_off
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE, repeated
from benchmarks.postgres import OursOnPostgres, folder_of, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.harness import Lap, Run

_QUESTION: Final = "labels"
_SMALL: Final = 10_000
_LARGE: Final = 1_000_000
_EXPORTED: Final = 100_000
_ON_POSTGRES: Final = 100_000
"""Largest size on PostgreSQL, where a million items take longer to fill than everything else here together."""
_PAGE: Final = 50
_LIMITS: Final = {OURS_SQLITE: 3.0, OURS_MEMORY: 1.0, OursOnPostgres.name: 10.0}
"""Most milliseconds of a page."""
_EXPORT_RATES: Final = {OURS_SQLITE: 50_000, OursOnPostgres.name: 20_000}
"""Least labels a second that a walk over all of them reads, and that an export writes."""


def measure(run: Run) -> None:
    """Race pages of labels and of changes at two sizes, and walk over the labels of 100,000 items."""
    server = started(run)
    pages: dict[str, dict[int, Mapping[str, float]]] = {}
    try:
        for asked, size in zip((_SMALL, _LARGE), _sizes(run), strict=True):
            on_disk, in_memory = run.fixtures.worked(size)
            filled = {OURS_SQLITE: on_disk, OURS_MEMORY: in_memory}
            if server is not None:
                at_most = min(size, _ON_POSTGRES)
                filled[OursOnPostgres.name] = _on_postgres(run, server, at_most)
            for work, medians in _pages(run, size, filled):
                pages.setdefault(work, {})[asked] = medians
            if asked == _LARGE:
                _export(run, filled)
        _judge(run, pages)
    finally:
        if server is not None:
            server.remove()


def _sizes(run: Run) -> tuple[int, int]:
    """Give the sizes between which growth is measured: in a short run the smallest and the largest there is."""
    small, large = run.settings.size(_SMALL), run.settings.size(_LARGE)
    return (small if small < large else run.settings.sizes[0]), large


def _on_postgres(run: Run, server: Any, size: int) -> Filled:  # noqa: ANN401 - of the tests, which may be missing
    filled = fill(OursOnPostgres(folder_of(run, server), "NORMAL").repository, size)
    work_off(filled)
    return filled


def _pages(run: Run, size: int, filled: Mapping[str, Filled]) -> Iterator[tuple[str, Mapping[str, float]]]:
    calls: dict[str, Callable[[Filled], Callable[[], object]]] = {
        "labels, first page": lambda each: partial(_labels, each, LabelQuery(limit=_PAGE)),
        "labels, newest first": lambda each: partial(_labels, each, LabelQuery(limit=_PAGE, newest_first=True)),
        "labels, page in the middle": _middle,
        "changes, page in the middle": _middle_of_changes,
    }
    for work, ask in calls.items():
        laps: dict[str, Lap] = {
            name: repeated(ask(each), at_most=500, seconds=run.settings.lap_seconds / 5)
            for name, each in filled.items()
        }
        yield work, run.race(_QUESTION, f"{work} of {_PAGE}", size, laps, unit="ms")


def _labels(filled: Filled, query: LabelQuery) -> None:
    page = filled.queues.labels(filled.queue_id, query)
    assert len(page.labels) == _PAGE


def _middle(filled: Filled) -> Callable[[], object]:
    half = filled.queues.stats([filled.queue_id])[0].total_items // 2
    cursor = filled.queues.labels(filled.queue_id, LabelQuery(limit=half)).next_cursor
    return partial(_labels, filled, LabelQuery(limit=_PAGE, cursor=cursor))


def _middle_of_changes(filled: Filled) -> Callable[[], object]:
    half = filled.queues.stats([filled.queue_id])[0].total_items
    after = filled.queues.changes(filled.queue_id, limit=half).cursor

    def page() -> None:
        assert len(filled.queues.changes(filled.queue_id, after=after, limit=_PAGE).transitions) == _PAGE

    return page


def _export(run: Run, filled: Mapping[str, Filled]) -> None:
    size = run.settings.size(_EXPORTED)
    exported = dict(filled)
    exported[OURS_SQLITE], exported[OURS_MEMORY] = run.fixtures.worked(size)
    works = {"walk over labels": ("walk over all labels", _walk), "export": ("export all labels as JSON lines", _write)}
    for line, (work, lap) in works.items():
        laps = {name: partial(lap, each) for name, each in exported.items()}
        medians = run.race(_QUESTION, work, size, laps, unit="/s")
        for name, rate in _EXPORT_RATES.items():
            if name in medians:
                run.at_least(f"{line}: {name}", medians[name], rate, asked=_EXPORTED, size=size, unit="/s")


def _walk(filled: Filled) -> tuple[int, float]:
    began = time.perf_counter()
    n = sum(1 for _ in filled.queues.iter_labels(filled.queue_id))
    return n, time.perf_counter() - began


def _write(filled: Filled) -> tuple[int, float]:
    began = time.perf_counter()
    return write_labels(filled.queues, filled.queue_id, os.devnull), time.perf_counter() - began


def _judge(run: Run, pages: Mapping[str, Mapping[int, Mapping[str, float]]]) -> None:
    small, large = _sizes(run)
    for work, by_size in pages.items():
        for name, milliseconds in by_size[_LARGE].items():
            size = min(large, _ON_POSTGRES) if name == OursOnPostgres.name else large
            run.at_most(f"{work}: {name}", milliseconds, _LIMITS[name], asked=_LARGE, size=size, unit="ms")
            growth = milliseconds / by_size[_SMALL][name]
            run.at_most(f"{work}, growth from {small:,}: {name}", growth, 2, asked=_LARGE, size=size)
