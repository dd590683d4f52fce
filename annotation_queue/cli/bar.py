"""How a run shows on standard error: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Final

import attrs
from rich.constrain import Constrain
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from annotation_queue.batch import GRACE
from annotation_queue.cli.store import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.progress import ProgressColumn

    from annotation_queue.batch_report import BatchReport

_REFRESH: Final = 0.1
_LINE_EVERY: Final = 5.0
_PACE_SECONDS: Final = 30.0
_WIDE: Final = 80
"""Columns of a terminal from which on there is room for what is being done, and for a share in percent."""


@contextmanager
def shown_progress(console: Console, total: int) -> Iterator[Callable[[BatchReport], None]]:
    """Show how a run goes on; what a labeler prints meanwhile goes to standard error too.

    Args:
        console: Standard error.
        total: How many items there are to label.

    Yields:
        What takes the reports.
    """
    if not console.is_terminal:
        with redirect_stdout(sys.stderr):
            yield _Throttled(lambda report, pace: say(_line(report, total, pace)), _LINE_EVERY, time.monotonic())
        return
    columns: list[ProgressColumn] = [
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[notes]}", markup=False),
    ]
    if console.width >= _WIDE:
        columns = [TextColumn("{task.description}", markup=False), *columns[:-1], TaskProgressColumn(), columns[-1]]
    progress = _Progress(*columns, console=console, expand=True)
    with progress:
        task = progress.add_task("labelling", total=total, notes="")

        def show(report: BatchReport, pace: float) -> None:
            notes = _notes(report, total, pace)
            progress.update(task, completed=report.attempted, description=_doing(report), notes=notes)

        throttled = _Throttled(show, _REFRESH)
        yield throttled
        throttled.flush()


class _Progress(Progress):
    """Leaves room at the end of the line for the ^C that a terminal writes there."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for each in super().get_renderables():
            yield _Shortened(each)


@attrs.frozen
class _Shortened:
    """Renders something in all but the last columns."""

    whole: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console  # the options have its width
        yield Constrain(self.whole, options.max_width - len("^C"))


@attrs.define
class _Throttled:
    """Passes reports on, no more often than every so many seconds; changes of what the run does at once."""

    show: Callable[[BatchReport, float], None]
    every: float
    shown_at: float = float("-inf")
    shown: str = "labelling"
    last: BatchReport | None = None
    recent: deque[tuple[float, int]] = attrs.field(factory=lambda: deque([(0.0, 0)]))

    def __call__(self, report: BatchReport) -> None:
        """Take a report."""
        self.last = report
        now = time.monotonic()
        doing = _doing(report)
        if doing != self.shown and (why := _why(report)):
            say(why)
        if doing != self.shown or now - self.shown_at >= self.every:
            self.shown_at, self.shown = now, doing
            self.show(report, self.pace(report))

    def flush(self) -> None:
        """Show the newest report."""
        if self.last is not None:
            self.show(self.last, self.pace(self.last))

    def pace(self, report: BatchReport) -> float:
        """Measure the items in each second lately, waits left out."""
        if report.waiting_for:
            self.recent.clear()
            return 0.0
        self.recent.append((report.seconds, report.attempted))
        while len(self.recent) > 2 and self.recent[1][0] < report.seconds - _PACE_SECONDS:  # noqa: PLR2004 - two measure
            self.recent.popleft()
        seconds, attempted = self.recent[0]
        return (report.attempted - attempted) / (report.seconds - seconds) if report.seconds > seconds else 0.0


def _doing(report: BatchReport) -> str:
    if report.interrupted:
        return "stopping"
    return "waiting" if report.waiting_for else "labelling"


def _why(report: BatchReport) -> str | None:
    if report.interrupted:
        return f"stopping within {GRACE:.0f} s; Ctrl-C again stops at once"
    if report.waiting_for:
        count = report.waiting_for
        held = f"{count:,} {'item' if count == 1 else 'items'} held by another run, which may have been killed"
        return f"waiting {_until(report)} for {held}"
    return None


def _until(report: BatchReport) -> str:
    at = None if report.unavailable is None else report.unavailable.retry_at
    return "" if at is None else f"until {at:%H:%M:%S} UTC"


def _notes(report: BatchReport, total: int, pace: float) -> str:
    parts = [_until(report)] if report.waiting_for else []
    left = total - report.attempted
    if pace and not report.interrupted and not report.waiting_for:
        parts.append(_speed(pace))
        if left > 0:
            parts.append(f"{_duration(left / pace)} left")
    parts.extend(
        f"{count:,} {word}"
        for count, word in ((report.failed, "failed"), (report.retries, "retried"), (report.lost, "lost"))
        if count
    )
    return ", ".join(parts)


def _line(report: BatchReport, total: int, pace: float) -> str:
    share = f" {report.attempted / total:.0%}" if total else ""
    return f"{_doing(report)}: {report.attempted:,}/{total:,}{share} {_notes(report, total, pace)}".rstrip()


def _speed(pace: float) -> str:
    if pace < 0.1:  # noqa: PLR2004 - telling digits
        return f"{1 / pace:,.0f} s/item"
    return f"{pace:,.0f} items/s" if pace >= 10 else f"{pace:.2f} items/s"  # noqa: PLR2004 - as above


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(report: BatchReport) -> str:
    """Say in one line what a run did."""
    settled = [
        (report.completed, "labelled"),
        (report.skipped, "skipped"),
        (report.released, "released"),
        (report.lost, "lost to others"),
    ]
    said = ", ".join(f"{count:,} {word}" for count, word in settled if count or word == "labelled")
    trouble = f"; {report.failed:,} failed, {report.retries:,} retries" if report.retries or report.failed else ""
    return f"{said}{trouble}; {report.seconds:.1f} s, {report.items_per_second:,.1f} items/s"
