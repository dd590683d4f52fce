"""What a run gives back: tables for people, JSON for machines, and charts by size."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from benchmarks.harness import Figure, Line, Run

_PACKAGES: Final = (
    "annotation-queue",
    "sqlalchemy",
    "huey",
    "persist-queue",
    "litequeue",
    "diskcache",
    "pandas",
    "duckdb",
)
_CHARTED: Final = ("claims", "adding", "pages", "stats")


def machine() -> dict[str, str]:
    """Describe what the figures were measured on."""
    facts = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
    }
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def print_report(run: Run, console: Console) -> None:
    """Print every figure, then every line as held or short."""
    console.print(" ".join(f"{name} {fact}" for name, fact in machine().items()), highlight=False)
    console.print(_figures_table(run.figures))
    console.print(_lines_table(run.lines))
    short = [line for line in run.lines if not line.held]
    console.print(f"{len(run.lines) - len(short)} lines held, {len(short)} short", highlight=False)


def _figures_table(figures: Iterable[Figure]) -> Table:
    table = Table("work", "items", "contestant", "median", "least", "greatest", "unit", title="Figures")
    for column in table.columns[3:6] + table.columns[1:2]:
        column.justify = "right"
    last = None
    for figure in figures:
        if last not in (None, (figure.work, figure.size)):
            table.add_section()
        last = figure.work, figure.size
        table.add_row(
            figure.work,
            f"{figure.size:,}",
            figure.contestant,
            _number(figure.median),
            _number(min(figure.values)),
            _number(max(figure.values)),
            figure.unit,
        )
    return table


def _lines_table(lines: Iterable[Line]) -> Table:
    table = Table(
        "line", "measured", "line at", "margin", "verdict", "items", title="Lines to hold (margin 1 or more holds)"
    )
    for column in table.columns[1:4]:
        column.justify = "right"
    for line in lines:
        size = f"{line.size:,}" if line.size == line.asked else f"{line.size:,} (line: {line.asked:,})"
        table.add_row(
            line.work,
            f"{_number(line.measured)} {line.unit}",
            f"{'≥' if line.at_least else '≤'} {_number(line.limit)}",
            f"{line.margin:.2f}",
            "[green]held" if line.held else "[red]short",
            size,
        )
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def to_json(run: Run) -> str:
    """Give the whole run as JSON: the machine, the figures with every round, and the lines."""
    document: dict[str, Any] = {
        "machine": machine(),
        "sizes": run.settings.sizes,
        "rounds": run.settings.rounds,
        "figures": [
            {
                "question": figure.question,
                "work": figure.work,
                "contestant": figure.contestant,
                "size": figure.size,
                "unit": figure.unit,
                "median": figure.median,
                "values": figure.values,
            }
            for figure in run.figures
        ],
        "lines": [
            {
                "work": line.work,
                "measured": line.measured,
                "limit": line.limit,
                "at_least": line.at_least,
                "unit": line.unit,
                "margin": line.margin,
                "held": line.held,
                "size": line.size,
                "asked": line.asked,
            }
            for line in run.lines
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def write_report(run: Run, folder: Path) -> None:
    """Write ``report.txt``, ``report.json`` and ``sizes.svg``.

    Args:
        run: The run.
        folder: Where to; made when missing.
    """
    from rich.console import Console  # noqa: PLC0415 - beside the console that the caller has

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(to_json(run), encoding="utf-8")
    with (folder / "report.txt").open("w", encoding="utf-8") as file:
        print_report(run, Console(file=file, width=160))
    draw(run.figures, folder / "sizes.svg")


def draw(figures: Iterable[Figure], path: Path) -> None:
    """Draw what was measured at several sizes, both axes logarithmic: a flat line is what does not grow.

    Args:
        figures: Those of a run.
        path: The picture; its suffix tells the format.
    """
    import matplotlib as mpl  # noqa: PLC0415 - it takes a second to import, and most runs draw nothing

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    works: dict[str, dict[str, list[Figure]]] = {}
    for figure in figures:
        if figure.question in _CHARTED:
            works.setdefault(figure.work, {}).setdefault(figure.contestant, []).append(figure)
    works = {work: found for work, found in works.items() if any(len(each) > 1 for each in found.values())}
    if not works:
        return
    rows = (len(works) + 2) // 3
    picture, axes = plt.subplots(rows, 3, figsize=(15, 4 * rows), squeeze=False, layout="constrained")
    names = sorted({name for found in works.values() for name in found})
    palette = plt.colormaps["tab20"]
    colours = {name: palette(number % 20) for number, name in enumerate(names)}
    for axis in axes.flat[len(works) :]:
        axis.set_visible(False)
    for axis, (work, found) in zip(axes.flat, works.items(), strict=False):
        for name, points in found.items():
            ours = name.startswith("annotation_queue")
            axis.loglog(
                [point.size for point in points],
                [point.median for point in points],
                marker="o",
                linewidth=2.5 if ours else 1,
                color=colours[name],
                label=name,
            )
        unit = next(iter(found.values()))[0].unit
        axis.set(title=work, xlabel="items", ylabel="milliseconds" if unit == "ms" else unit)
        axis.grid(visible=True, which="major", alpha=0.3)
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    picture.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    picture.savefig(path)
    plt.close(picture)
