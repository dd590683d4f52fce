"""How a run shows on standard error: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
from rich.constrain import Constrain
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from annotation_queue.batch.api import GRACE
from annotation_queue.cli.common import printable, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.progress import ProgressColumn, TaskID

    from annotation_queue.batch.report import BatchReport

_REFRESH: Final = 0.1
_LINE_EVERY: Final = 5.0
_PACE_SECONDS: Final = 30.0
_LABELLING: Final = "labelling"
_LONGEST_NAME: Final = 20
_WIDE: Final = 80
"""Columns of a terminal from which on there is room for what is being done, and for a share in percent."""


@contextmanager
def shown_progress(console: Console, totals: Mapping[str, int]) -> Iterator[Callable[[str, BatchReport], None]]:
    """Show how runs go on, one for each annotator; what a labeler prints meanwhile goes to standard error too.

    Args:
        console: Standard error.
        totals: How many items there are to label, by annotator.

    Yields:
        What takes an annotator's reports; not to be called by two threads at once.
    """
    names = dict.fromkeys(totals, "") if len(totals) == 1 else {name: printable(name) for name in totals}
    said: set[str] = set()
    now = time.monotonic()
    if not console.is_terminal:
        lines = {
            name: _Throttled(partial(_say_line, names[name], total), _LINE_EVERY, names[name], said, shown_at=now)
            for name, total in totals.items()
        }
        with redirect_stdout(sys.stderr):
            yield lambda annotator, report: lines[annotator](report)
        return
    columns: list[ProgressColumn] = [
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[notes]}", markup=False),
    ]
    if console.width >= _WIDE:
        columns = [TextColumn("{task.description}", markup=False), *columns[:-1], TaskProgressColumn(), columns[-1]]
    with _Progress(*columns, console=console, expand=True) as progress:
        bars = {
            name: _Throttled(
                partial(
                    _show_bar,
                    progress,
                    progress.add_task(_heading(names[name], ""), total=total, notes=""),
                    names[name],
                ),
                _REFRESH,
                names[name],
                said,
            )
            for name, total in totals.items()
        }
        yield lambda annotator, report: bars[annotator](report)
        for bar in bars.values():
            bar.flush()


def _say_line(name: str, total: int, report: BatchReport, pace: float) -> None:
    share = f" {report.attempted / total:.0%}" if total else ""
    who = f"{name}: " if name else ""
    say(f"{who}{_doing(report)}: {report.attempted:,}/{total:,}{share} {_notes(report, total, pace)}".rstrip())


def _show_bar(progress: Progress, task: TaskID, name: str, report: BatchReport, pace: float) -> None:
    total = int(progress.tasks[task].total or 0)
    notes = _notes(report, total, pace)
    progress.update(task, completed=report.attempted, description=_heading(name, _doing(report)), notes=notes)


def _heading(name: str, doing: str) -> str:
    """Say who does what, where there is little room for it."""
    if not name:
        return doing or _LABELLING
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return short if doing in ("", _LABELLING) else f"{short} {doing}"


@contextmanager
def shown_addition(console: Console, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many records were added, where that takes long; in a terminal the bar goes when it is done.

    Args:
        console: Standard error.
        total: How many there are; None where nobody knows yet.

    Yields:
        What takes the number so far.
    """
    if not console.is_terminal:
        said_at = [time.monotonic()]

        def tell(count: int) -> None:
            if time.monotonic() - said_at[0] >= _LINE_EVERY:
                said_at[0] = time.monotonic()
                say(f"adding: {count:,}" if total is None else f"adding: {count:,}/{total:,} {count / total:.0%}")

        yield tell
        return
    columns = (TextColumn("adding"), BarColumn(bar_width=None), MofNCompleteColumn())
    with _Progress(*columns, console=console, expand=True, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.update(task, completed=count)


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
    name: str
    said: set[str]
    shown_at: float = float("-inf")
    shown: str = _LABELLING
    trouble: str | None = None
    last: BatchReport | None = None
    recent: deque[tuple[float, int]] = attrs.field(factory=lambda: deque([(0.0, 0)]))

    def __call__(self, report: BatchReport) -> None:
        """Take a report."""
        self.last = report
        now = time.monotonic()
        doing = _doing(report)
        if doing != self.shown:
            self.explain(_why(report), once=report.interrupted)
        if report.storage_error != self.trouble:
            self.trouble = report.storage_error
            self.explain(self.trouble and f"the storage fails, trying again: {self.trouble}", once=False)
        if doing != self.shown or now - self.shown_at >= self.every:
            self.shown_at, self.shown = now, doing
            self.show(report, self.pace(report))

    def explain(self, why: str | None, *, once: bool) -> None:
        """Say why a run does something else now; what holds for all runs is said by one of them."""
        if why is None or (once and why in self.said):
            return
        self.said.add(why)
        say(why if once or not self.name else f"{self.name}: {why}")

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
    return "waiting" if report.waiting_for else _LABELLING


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
        (report.lost - report.expired, "lost to others"),
        (report.expired, "expired"),
    ]
    said = ", ".join(f"{count:,} {word}" for count, word in settled if count or word == "labelled")
    trouble = f"; {report.failed:,} failed, {report.retries:,} retries" if report.retries or report.failed else ""
    return f"{said}{trouble}; {report.seconds:.1f} s, {report.items_per_second:,.1f} items/s"
