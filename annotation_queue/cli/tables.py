"""Tables on a terminal, or 120 columns wide where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from annotation_queue.cli.common import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH: Final = 120
_ENDLESS: Final = 10_000

FOLDED: Final = "folded"
"""A column of text that is folded where there is little room."""
WHOLE: Final = "whole"
"""A column of single words."""
NUMBER: Final = "number"
"""A column of numbers."""


def make_console(*, stderr: bool = False) -> Console:
    """Make what prints tables: as wide as the terminal, or 120 columns where it is none."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDTH)


def make_table(title: str | None, columns: Sequence[tuple[str, str]]) -> Table:
    """Make a table.

    Args:
        title: What stands above it; None for nothing.
        columns: For each its heading and its kind.

    Returns:
        The table, without rows.
    """
    table = Table(
        title=title and Text(printable(title)),
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name, kind in columns:
        # Headings are no markup: rich would load its table of emoji for them, the slowest import of all.
        heading = Text(name)
        if kind == FOLDED:
            table.add_column(heading, overflow="fold", min_width=8)
        else:
            table.add_column(heading, no_wrap=True, justify="right" if kind == NUMBER else "left")
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table; where it cannot get as narrow as the terminal, its lines go on rather than lose a number."""
    least = Measurement.get(console, console.options.update(width=_ENDLESS), table).minimum
    if least > console.width:
        table.width = least
    console.print(table, crop=False, soft_wrap=True)


def row(*cells: object) -> list[Text]:
    """Write cells: nothing for None, integers with separators, text without what could move the cursor."""
    return [
        Text("" if cell is None else f"{cell:,}" if isinstance(cell, int) else printable(str(cell))) for cell in cells
    ]
