"""Commands that only look: items, statistics, histories; and their tables."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from annotation_queue.cli.store import (
    choose_queue,
    db_option,
    json_option,
    open_queues,
    printable,
    project_option,
    queue_option,
    say,
    timestamp,
)
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.sorting import SORT_FIELDS, SortBy
from annotation_queue.states import AnnotationState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from annotation_queue.items import AnnotationQueue, QueueStats

_SHOWN_ITEMS: Final = 50
_WIDTH: Final = 120
_ENDLESS: Final = 10_000


def make_console(*, stderr: bool = False) -> Console:
    """Make what prints tables: as wide as the terminal, or 120 columns where it is none."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDTH)


_FOLDED: Final = "folded"
_WHOLE: Final = "whole"
_NUMBER: Final = "number"


def _table(title: str | None, columns: Sequence[tuple[str, str]]) -> Table:
    """Make a table of named columns, each folded where there is little room, whole (one word), or of numbers."""
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
        if kind == _FOLDED:
            table.add_column(heading, overflow="fold", min_width=8)
        else:
            table.add_column(heading, no_wrap=True, justify="right" if kind == _NUMBER else "left")
    return table


def _print_table(console: Console, table: Table) -> None:
    """Print a table; where it cannot get as narrow as the terminal, its lines go on rather than lose a number."""
    least = Measurement.get(console, console.options.update(width=_ENDLESS), table).minimum
    if least > console.width:
        table.width = least
    console.print(table, crop=False, soft_wrap=True)


def _row(*cells: object) -> list[Text]:
    return [
        Text("" if cell is None else f"{cell:,}" if isinstance(cell, int) else printable(str(cell))) for cell in cells
    ]


def _print_json(record: dict[str, Any]) -> None:
    click.echo(json.dumps(record, ensure_ascii=False, default=_plain))


def _plain(value: object) -> object:
    return timestamp(value) if isinstance(value, datetime) else list(value)  # type: ignore[call-overload]


def print_stats(console: Console, queues: Sequence[AnnotationQueue], stats: Sequence[QueueStats]) -> None:
    """Print statistics as tables: a row for each queue, then a row for each of its annotators.

    Args:
        console: Where to.
        queues: The queues.
        stats: Their statistics, in the same order.
    """
    names = [state.value for state in AnnotationState]
    totals = ("total", "settled", "finished")
    table = _table(None, [("queue", _FOLDED), *((name, _NUMBER) for name in (*names, *totals))])
    people = _table(None, [("queue", _FOLDED), ("annotator", _FOLDED), *((name, _NUMBER) for name in names[1:])])
    for queue, one in zip(queues, stats, strict=True):
        by_state = [one.by_state[state] for state in AnnotationState]
        table.add_row(*_row(queue.name, *by_state, one.total_items, one.settled_items, one.finished_items))
        for annotator, counts in sorted(one.by_annotator.items()):
            people.add_row(*_row(queue.name, annotator, *[counts.get(state, 0) for state in list(AnnotationState)[1:]]))
    _print_table(console, table)
    if people.row_count:
        console.print()
        _print_table(console, people)


@click.command()
@db_option
@project_option
@click.option("--queue", "queue_name", metavar="NAME", help="Name or id of the queue; default: all of the project.")
@json_option
def stats(*, db: Path, project: str, queue_name: str | None, as_json: bool) -> None:
    """Show how far queues have come, as a whole and for each annotator."""
    with open_queues(db, project) as queues:
        chosen = queues.query().queues if queue_name is None else (choose_queue(queues, queue_name),)
        counted = queues.stats([queue.id for queue in chosen])
    if not as_json:
        print_stats(make_console(), chosen, counted)
        return
    for queue, one in zip(chosen, counted, strict=True):
        _print_json({"queue": queue.name, **attrs.asdict(one, recurse=False, value_serializer=_serialize)})


def _serialize(_owner: object, _field: object, value: object) -> object:
    if isinstance(value, str | int | datetime | tuple) or value is None:
        return value
    return json.loads(json.dumps(value, default=dict))


def _sort(_context: click.Context, _option: click.Parameter, values: Iterable[str]) -> tuple[SortBy, ...]:
    return tuple(
        SortBy(field, direction or "asc") for field, _, direction in (value.partition(":") for value in values)
    )


@click.command()
@db_option
@project_option
@queue_option
@click.option("--id", "item_id", metavar="ID", help="Only the item with this id.")
@click.option("--call-id", metavar="ID", help="Only items of this call.")
@click.option("--op-name", metavar="NAME", help="Only items whose call has this operation's name.")
@click.option("--trace-id", metavar="ID", help="Only items whose call is of this trace.")
@click.option("--added-by", metavar="USER", help="Only items that this user added.")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    type=click.Choice([state.value for state in AnnotationState]),
    help=f"Only items in this state; repeatable. One of {', '.join(state.value for state in AnnotationState)}.",
)
@click.option(
    "--annotator", metavar="NAME", help="States as this annotator sees them, instead of the newest of anybody's."
)
@click.option(
    "--sort",
    "sort_by",
    metavar="FIELD[:asc|desc]",
    multiple=True,
    callback=_sort,
    help=f"Sort by this field; repeatable. One of {', '.join(sorted(SORT_FIELDS))}.",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    help="Show at most so many.  [default: 50 in a table, all with --json]",
)
@click.option(
    "--offset", metavar="N", type=click.IntRange(min=0), default=0, help="Leave out so many first.  [default: 0]"
)
@click.option("--position", is_flag=True, help="Number the items by their place in the whole queue under this sort.")
@json_option
def items(
    *,
    db: Path,
    project: str,
    queue_name: str | None,
    item_id: str | None,
    call_id: str | None,
    op_name: str | None,
    trace_id: str | None,
    added_by: str | None,
    states: tuple[str, ...],
    annotator: str | None,
    sort_by: tuple[SortBy, ...],
    limit: int | None,
    offset: int,
    position: bool,
    as_json: bool,
) -> None:
    """List a queue's items, in queue order unless sorted."""
    query = ItemQuery(
        filter=ItemFilter(item_id, call_id, op_name, trace_id, added_by, frozenset(states) if states else None),
        sort_by=sort_by,
        limit=limit if as_json or limit is not None else _SHOWN_ITEMS,
        offset=offset,
        include_position=position,
        include_total=not as_json,
        annotator_id=annotator,
    )
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        if as_json:
            for item in queues.iter_items(queue.id, query):
                _print_json(attrs.asdict(item, recurse=False))
            return
        page = queues.query_items(queue.id, query)
    texts = [("item", _WHOLE), ("call", _FOLDED), ("state", _WHOLE), ("annotator", _FOLDED), ("updated", _WHOLE)]
    numbers = [(name, _NUMBER) for name in ("priority", *(["position"] if position else []))]
    table = _table(f"queue {queue.name}", [*texts, *numbers])
    for item in page.items:
        updated = item.updated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        state, who = item.annotation_state.value, item.annotator_user_id
        place = [item.position_in_queue] if position else []
        table.add_row(*_row(item.id, item.call_id, state, who, updated, item.priority, *place))
    _print_table(make_console(), table)
    if page.total is not None and page.total > len(page.items):
        say(f"{len(page.items):,} of {page.total:,} items; see --limit and --offset")


@click.command()
@db_option
@project_option
@click.argument("item_id", metavar="ITEM_ID")
@json_option
def history(*, db: Path, project: str, item_id: str, as_json: bool) -> None:
    """Show every change of an item's states, oldest first."""
    with open_queues(db, project) as queues:
        transitions = queues.history(item_id)
    if as_json:
        for transition in transitions:
            _print_json(attrs.asdict(transition, recurse=False))
        return
    texts = [("at", _WHOLE), ("annotator", _FOLDED), ("from", _WHOLE), ("to", _WHOLE), ("reason", _FOLDED)]
    table = _table(f"item {item_id}", texts)
    for one in transitions:
        at = timestamp(one.at)
        table.add_row(*_row(at, one.annotator_id, one.from_state.value, one.to_state.value, one.reason))
    _print_table(make_console(), table)
