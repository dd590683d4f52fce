"""Tables as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(caption: str, header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Write a table, with every text in it escaped.

    Args:
        caption: What stands above it.
        header: The names of the columns.
        rows: The rows; their first cells name them. None is a dash, and numbers have separators.

    Returns:
        HTML.

    >>> html_table("<b>", ["name", "n"], [["a & b", 1000]])
    '<table><caption>&lt;b&gt;</caption><thead><tr><th>name</th><th>n</th></tr></thead><tbody><tr><th>a &amp; b</th>\
<td style="text-align: right">1,000</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{_text(each)}</th>" for each in header)
    body = "".join(f"<tr><th>{_text(first)}</th>{''.join(map(_cell, others))}</tr>" for first, *others in rows)
    return f"<table><caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    aligned = ' style="text-align: right"' if isinstance(value, int | float) else ""
    return f"<td{aligned}>{_text(value)}</td>"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"  # noqa: PLR2004 - digits that one reads
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
