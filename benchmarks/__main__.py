"""``python -m benchmarks [QUESTION ...] [--quick] [--largest N] [--json FILE] [--output DIR]``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from benchmarks import (
    adding,
    batch,
    claims,
    contention,
    imports,
    labels,
    lists,
    orders,
    pages,
    postgres,
    postgres_pages,
    rare,
    sizes,
    stats,
)
from benchmarks.fixtures import opened_fixtures
from benchmarks.harness import GRID, Run, full_settings, quick_settings, thaw
from benchmarks.report import print_report, to_json, write_report

if TYPE_CHECKING:
    from collections.abc import Sequence

# What keeps large fixtures in memory comes last.
QUESTIONS: Final = {
    "imports": imports.measure,
    "sizes": sizes.measure,
    "adding": adding.measure,
    "contention": contention.measure,
    "postgres": postgres.measure,
    "postgres_pages": postgres_pages.measure,
    "claims": claims.measure,
    "batch": batch.measure,
    "rare": rare.measure,
    "pages": pages.measure,
    "orders": orders.measure,
    "stats": stats.measure,
    "labels": labels.measure,
    "lists": lists.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the questions.

    Args:
        arguments: Those of the command line; None for the process's.

    Returns:
        0: a line that is short fails nothing. A wrong answer raises `AssertionError`.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the library costs, beside others.")
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"out of {', '.join(QUESTIONS)}; all without")
    parser.add_argument("--quick", action="store_true", help="small sizes, two to three minutes")
    parser.add_argument("--largest", type=int, default=GRID[-1], metavar="N", help="leave out larger sizes of the grid")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write report.txt, report.json and sizes.svg there")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.questions if name not in QUESTIONS]
    if unknown:
        parser.error(f"no such question: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    if sys.flags.optimize:
        parser.error("answers are checked by assertions, which -O leaves out")
    settings = quick_settings() if chosen.quick else full_settings(chosen.largest)
    started = time.perf_counter()
    with opened_fixtures() as fixtures:
        run = Run(settings=settings, fixtures=fixtures)
        for name, measure in QUESTIONS.items():
            if not chosen.questions or name in chosen.questions:
                run.console.print(f"{name} ({time.perf_counter() - started:.0f} s)", highlight=False)
                measure(run)
                thaw()
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=160)
    print_report(run, console)
    console.print(f"{time.perf_counter() - started:.0f} seconds", highlight=False)
    if chosen.json:
        chosen.json.write_text(to_json(run), encoding="utf-8")
    if chosen.output:
        write_report(run, chosen.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
