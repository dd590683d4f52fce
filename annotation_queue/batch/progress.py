"""The bar of ``progress=True``: in a terminal or a notebook, by tqdm or rich, whichever is there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from annotation_queue.batch.report import BatchReport
from annotation_queue.items import QueueStats
from annotation_queue.states import COMPLETED, SKIPPED

_LABELLING: Final = "labelling"
_LIBRARIES: Final = ("tqdm", "rich")


class _Bars(Protocol):
    """Bars of one library, one for each annotator."""

    def show(self, name: str, total: int, report: BatchReport) -> None: ...

    def close(self) -> None: ...


def check_bars() -> str:
    """Find what draws bars.

    Returns:
        The library: tqdm if it is there, else rich.

    Raises:
        ModuleNotFoundError: There is neither.
    """
    for name in _LIBRARIES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        return name
    raise ModuleNotFoundError(
        "progress=True needs tqdm or rich: pip install 'annotation-queue[progress]'", name=_LIBRARIES[0]
    )


@contextmanager
def shown_bars(
    totals: Mapping[str, int], on_progress: Callable[[str, BatchReport], object] | None = None
) -> Iterator[Callable[[str, BatchReport], None]]:
    """Show bars on standard error, or in the notebook, while runs go on; nothing if it is neither a terminal nor a notebook.

    Args:
        totals: How many items there are to label, by annotator.
        on_progress: Takes the reports too, after they were shown.

    Yields:
        What takes an annotator's reports; to be called by one thread at a time.
    """
    bars: _Bars = (_TqdmBars if check_bars() == "tqdm" else _RichBars)(totals)

    def tell(annotator_id: str, report: BatchReport) -> None:
        total = max(totals[annotator_id] + report.retried_failures, report.attempted)
        bars.show(annotator_id, total, report)
        if on_progress is not None:
            on_progress(annotator_id, report)

    try:
        yield tell
    finally:
        bars.close()


def to_label(stats: QueueStats, annotator_id: str, limit: int | None) -> int:
    """Count what there is to label for an annotator, or somewhat more.

    Args:
        stats: The queue's statistics.
        annotator_id: The annotator.
        limit: How many it works on at most; None for all.
    """
    own = stats.by_annotator.get(annotator_id, {})
    left = stats.total_items - max(stats.finished_items, own.get(COMPLETED, 0) + own.get(SKIPPED, 0))
    return left if limit is None else min(left, limit)


class _TqdmBars:
    def __init__(self, totals: Mapping[str, int]) -> None:
        from tqdm.auto import tqdm  # noqa: PLC0415 - an extra

        # tqdm takes the output of a notebook for a file, and shows nothing in a file if it is asked to see for itself.
        notebook: Any = sys.modules.get("tqdm.notebook")
        disable = False if notebook is not None and issubclass(tqdm, notebook.tqdm) else None
        self._bars = {
            name: tqdm(total=total, desc=_heading(name, totals), unit="item", disable=disable, dynamic_ncols=True)
            for name, total in totals.items()
        }
        self._totals = totals
        # What it says besides the numbers; that is drawn at once, and a bar that only grows ten times a second.
        self._said: dict[str, tuple[str, str]] = {}

    def show(self, name: str, total: int, report: BatchReport) -> None:
        bar = self._bars[name]
        if bar.disable:
            return
        bar.total = total
        doing, notes = _heading(name, self._totals, report), _notes(report)
        if (doing, notes) != self._said.get(name):
            self._said[name] = doing, notes
            bar.set_postfix_str(notes, refresh=False)
            bar.set_description(doing)
        bar.update(report.attempted - bar.n)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.refresh()
            bar.close()


class _RichBars:
    def __init__(self, totals: Mapping[str, int]) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.progress import (  # noqa: PLC0415 - an extra
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[notes]}", markup=False),
            console=console,
            disable=not (console.is_terminal or console.is_jupyter),
        )
        self._tasks = {
            name: self._progress.add_task(_heading(name, totals), total=total, notes="")
            for name, total in totals.items()
        }
        self._totals = totals
        self._progress.start()

    def show(self, name: str, total: int, report: BatchReport) -> None:
        self._progress.update(
            self._tasks[name],
            total=total,
            completed=report.attempted,
            description=_heading(name, self._totals, report),
            notes=_notes(report),
        )

    def close(self) -> None:
        if not self._progress.disable:
            self._progress.refresh()  # a notebook would keep what it drew last
        self._progress.stop()


def _heading(name: str, totals: Mapping[str, int], report: BatchReport | None = None) -> str:
    """Say what is being done, and by whom if there are several."""
    doing = _LABELLING
    if report is not None and report.storage_error:
        doing = "the storage fails, trying again"
    elif report is not None and report.interrupted:
        doing = "stopping"
    elif report is not None and report.waiting_for:
        doing = f"waiting for {report.waiting_for:,} held"
    if len(totals) == 1:
        return doing
    return name if doing == _LABELLING else f"{name}: {doing}"


def _notes(report: BatchReport) -> str:
    counts = ((report.failed, "failed"), (report.retries, "retried"), (report.lost, "lost"))
    return ", ".join(f"{count:,} {word}" for count, word in counts if count)
