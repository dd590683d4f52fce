"""Laps, rounds, figures and lines: what the questions share."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.fixtures import Fixtures

Lap: TypeAlias = "Callable[[], tuple[int, float]]"
"""Does some work and says how many operations it did, in how many seconds."""

GRID: Final = (1_000, 10_000, 100_000, 1_000_000)
QUICK_GRID: Final = (1_000, 3_000)

OURS_SQLITE: Final = "annotation_queue, SQLite"
OURS_MEMORY: Final = "annotation_queue, memory"


@attrs.frozen(kw_only=True)
class Settings:
    """How long and how large to measure.

    Args:
        quick: Whether to leave out what only a report needs.
        sizes: The grid, ascending.
        rounds: How many laps each contestant runs.
        pairs: Claims and completions in a lap, at most.
        lap_seconds: About how long a lap may last.
        budget: After so many seconds a contestant runs no further laps of a race.
        special: How many items count as "very many" for the lines on veterans and expired leases.
        contention_seconds: How long the processes compete.
        file_pairs: How many items are completed to see what that adds to a file.
    """

    quick: bool = False
    sizes: tuple[int, ...]
    rounds: int
    pairs: int
    lap_seconds: float
    budget: float
    special: int
    contention_seconds: float
    file_pairs: int

    def size(self, asked: int) -> int:
        """Give the largest size of the grid that is at most what a line asks for."""
        return max((size for size in self.sizes if size <= asked), default=self.sizes[0])


def full_settings(largest: int) -> Settings:
    """Settings for a report, with sizes up to ``largest``."""
    sizes = tuple(size for size in GRID if size <= largest) or GRID[:1]
    special = min(100_000, max(sizes))
    return Settings(
        sizes=sizes,
        rounds=5,
        pairs=1_000,
        lap_seconds=2.0,
        budget=20.0,
        special=special,
        contention_seconds=5.0,
        file_pairs=2_000,
    )


def quick_settings() -> Settings:
    """Settings for every change: is everything still right, and nothing ten times slower."""
    return Settings(
        quick=True,
        sizes=QUICK_GRID,
        rounds=3,
        pairs=60,
        lap_seconds=0.15,
        budget=0.6,
        special=600,
        contention_seconds=0.8,
        file_pairs=200,
    )


@attrs.frozen(kw_only=True)
class Figure:
    """What a contestant needed.

    Args:
        question: The module that asked.
        work: What was done.
        contestant: Who did it.
        size: Among how many items.
        unit: ``/s`` for operations a second, ``ms`` for milliseconds each, or another unit of `values`.
        values: One for each round.
    """

    question: str
    work: str
    contestant: str
    size: int
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure that is compared."""
        return statistics.median(self.values)


@attrs.frozen(kw_only=True)
class Line:
    """A line to hold, and what was measured.

    Args:
        work: What it is about.
        measured: What was measured, in the unit of the limit.
        limit: The line.
        at_least: Whether more is better.
        unit: Of both.
        asked: The size that the line asks for.
        size: The size that was measured.
    """

    work: str
    measured: float
    limit: float
    at_least: bool
    unit: str
    asked: int
    size: int

    @property
    def margin(self) -> float:
        """How many times better than the line; below 1 it is short."""
        if self.at_least:
            return self.measured / self.limit
        return self.limit / self.measured if self.measured else float("inf")

    @property
    def held(self) -> bool:
        """Whether the line holds."""
        return self.margin >= 1


@attrs.define(kw_only=True)
class Run:
    """One run: what was asked for, and what came out so far.

    Args:
        settings: How long and how large to measure.
        fixtures: The filled repositories.
        console: Where progress is told.
    """

    settings: Settings
    fixtures: Fixtures
    console: Console = attrs.field(factory=lambda: Console(stderr=True))
    figures: list[Figure] = attrs.field(factory=list)
    lines: list[Line] = attrs.field(factory=list)

    def race(self, question: str, work: str, size: int, laps: Mapping[str, Lap], *, unit: str) -> dict[str, float]:
        """Let contestants run laps in turn.

        Args:
            question: The module that asks.
            work: What they do.
            size: Among how many items.
            laps: The contestants.
            unit: ``/s`` or ``ms``.

        Returns:
            The median of each in that unit.
        """
        seconds = race(laps, self.settings.rounds, self.settings.budget)
        medians: dict[str, float] = {}
        for name, each in seconds.items():
            values = tuple(1 / value for value in each) if unit == "/s" else tuple(value * 1_000 for value in each)
            medians[name] = self.note(question, work, name, size=size, unit=unit, values=values)
        return medians

    def note(
        self, question: str, work: str, contestant: str, *, size: int, unit: str, values: tuple[float, ...]
    ) -> float:
        """Keep a figure; returns its median."""
        figure = Figure(question=question, work=work, contestant=contestant, size=size, unit=unit, values=values)
        self.figures.append(figure)
        self.console.print(f"  {work}, {size:,}: {contestant} {figure.median:,.4g} {unit}", highlight=False)
        return figure.median

    def at_least(self, work: str, measured: float, limit: float, *, asked: int, size: int, unit: str = "x") -> None:
        """Judge a line that asks for at least so much."""
        self._judge(work, measured, limit, at_least=True, asked=asked, size=size, unit=unit)

    def at_most(self, work: str, measured: float, limit: float, *, asked: int, size: int, unit: str = "x") -> None:
        """Judge a line that allows at most so much."""
        self._judge(work, measured, limit, at_least=False, asked=asked, size=size, unit=unit)

    def _judge(
        self, work: str, measured: float, limit: float, *, at_least: bool, asked: int, size: int, unit: str
    ) -> None:
        self.lines.append(
            Line(work=work, measured=measured, limit=limit, at_least=at_least, unit=unit, asked=asked, size=size)
        )


def race(laps: Mapping[str, Lap], rounds: int, budget: float) -> dict[str, list[float]]:
    """Run laps in turn, the first one changing from round to round.

    What exists before is frozen out of the garbage collector, until `thaw`: nobody pays for traversing another's objects.

    Args:
        laps: The contestants.
        rounds: How many laps each runs.
        budget: Who has used up so many seconds is left out of further rounds.

    Returns:
        The seconds of one operation, for each round.
    """
    names = list(laps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0.0)
    gc.freeze()
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            if number and spent[name] >= budget:
                continue
            gc.collect()
            operations, elapsed = laps[name]()
            assert operations, f"{name} had nothing to do"
            seconds[name].append(elapsed / operations)
            spent[name] += elapsed
    return seconds


def thaw() -> None:
    """Let the garbage collector have everything again, between questions."""
    gc.unfreeze()
    gc.collect()


def repeated(call: Callable[[], object], *, at_most: int, seconds: float) -> Lap:
    """Make a lap of one call over and over: at least once, until either limit is reached."""

    def lap() -> tuple[int, float]:
        operations, started = 0, time.perf_counter()
        while True:
            call()
            operations += 1
            elapsed = time.perf_counter() - started
            if operations >= at_most or elapsed >= seconds:
                return operations, elapsed

    return lap
