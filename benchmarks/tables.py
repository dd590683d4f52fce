"""The tables of ``benchmarks/README.md``, out of the report of a run: ``python -m benchmarks.tables REPORT.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OURS: Final = ("annotation_queue, SQLite", "annotation_queue, memory")
_PAGERS: Final = (*_OURS, "join + ROW_NUMBER, SQLite", "join + ROW_NUMBER, duckdb", "pandas", "plain Python list")
_PAGED: Final = ("pages", "rare states", "stats")
"""The questions whose pages are shown, in this order."""
_DURABILITIES: Final = ("NORMAL", "FULL")


def tables(report: dict[str, Any]) -> str:
    """Write what a reader wants to know of a run.

    Args:
        report: What `report.to_json` wrote, parsed.

    Returns:
        Markdown: the machine, pages beside others, claims beside others, and the targets that are missed.
    """
    machine, largest = report["machine"], max(report["sizes"])
    found = {(each["work"], each["contestant"], each["size"]): each["median"] for each in report["figures"]}
    works = dict.fromkeys(
        each["work"]
        for question in _PAGED
        for each in report["figures"]
        if each["question"] == question and each["unit"] == "ms"
    )
    pages = [(work, *(found.get((work, name, largest)) for name in _PAGERS)) for work in works]
    claims = [(durability, f"claim + complete, {durability}") for durability in _DURABILITIES]
    asked = max(each["size"] for each in report["figures"] if each["work"] == claims[0][1])
    names = dict.fromkeys(each["contestant"] for each in report["figures"] if each["work"] == claims[0][1])
    rates = [(name, *(found.get((work, name, asked)) for _, work in claims)) for name in names]
    rates.sort(key=lambda row: -(row[1] or 0))
    short = [line for line in report["lines"] if not line["held"]]
    system = f"{machine['system'].split('-')[0]}, Python {machine['python']}, SQLite {machine['sqlite']}"
    return "\n\n".join(
        (
            f"One run of `python -m benchmarks` on {machine['processors']} processors, {system}; medians.",
            _table((f"milliseconds, {largest:,} items, pages of 50", *_PAGERS), pages),
            _table((f"claims with their completions each second, {asked:,} items", *_DURABILITIES), rates),
            f"Of the {len(report['lines'])} targets that we set ourselves, {len(short)} are missed:",
            _table(("work", "measured", "target"), [_judged(line) for line in short]),
        )
    )


def _judged(line: dict[str, Any]) -> tuple[str, str, str]:
    sign = "at least" if line["at_least"] else "at most"
    unit = line["unit"]
    return line["work"], f"{_number(line['measured'])} {unit}", f"{sign} {_number(line['limit'])} {unit}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> str:
    def lines() -> Iterator[str]:
        yield _row(heads)
        yield _row(("---", *("---:" for _ in heads[1:])))
        for row in rows:
            yield _row([_number(cell) if isinstance(cell, int | float) else cell or "-" for cell in row])

    return "\n".join(lines())


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.stdout.write(tables(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))) + "\n")
