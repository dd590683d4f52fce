"""Commands that only look: items, statistics, histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from annotation_queue.cli.choosing import filter_options, item_filter
from annotation_queue.cli.common import (
    choose_queue,
    db_option,
    json_option,
    open_queues,
    print_json,
    project_option,
    queue_option,
    say,
)
from annotation_queue.cli.tables import FOLDED, NUMBER, WHOLE, make_console, make_table, print_table, row
from annotation_queue.query import ItemQuery
from annotation_queue.sorting import SORT_FIELDS, SortBy
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, AnnotationState
from annotation_queue.values import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console

    from annotation_queue.cli.addresses import Address
    from annotation_queue.items import AnnotationQueue, QueueItem, QueueStats

_SHOWN_ITEMS: Final = 50
_WIDE: Final = 100
"""Columns of a terminal from which on there is room for times too."""


def print_stats(console: Console, queues: Sequence[AnnotationQueue], stats: Sequence[QueueStats]) -> None:
    """Print statistics as tables: a row for each queue, then a row for each of its annotators.

    Args:
        console: Where to.
        queues: The queues.
        stats: Their statistics, in the same order.
    """
    names = [state.value for state in AnnotationState]
    totals = ("total", "settled", "finished")
    table = make_table(None, [("queue", FOLDED), *((name, NUMBER) for name in (*names, *totals))])
    people = make_table(
        None, [(name, FOLDED) for name in ("queue", "annotator")] + [(name, NUMBER) for name in (*names[1:], "done")]
    )
    for queue, one in zip(queues, stats, strict=True):
        by_state = [one.by_state[state] for state in AnnotationState]
        table.add_row(*row(queue.name, *by_state, one.total_items, one.settled_items, one.finished_items))
        for annotator, counts in one.by_annotator.items():
            numbers = [counts.get(state, 0) for state in (IN_PROGRESS, COMPLETED, SKIPPED)]
            people.add_row(*row(queue.name, annotator, *numbers, percent(done_by(one, annotator), one.total_items)))
    print_table(console, table)
    if people.row_count:
        console.print()
        print_table(console, people)


def done_by(stats: QueueStats, annotator: str) -> int:
    """Count the items that an annotator completed or skipped."""
    counts = stats.by_annotator.get(annotator, {})
    return counts.get(COMPLETED, 0) + counts.get(SKIPPED, 0)


def percent(part: int, whole: int) -> str:
    """Write a share in percent, never more than there is.

    >>> percent(1, 3), percent(9_999, 10_000), percent(0, 0)
    ('33.3%', '99.9%', '')
    """
    return f"{part * 1_000 // whole / 10:.1f}%" if whole else ""


@click.command(
    short_help="Show how far queues and annotators have come.",
    epilog="""
\b
Examples:
  annotation-queue stats --db labels.db
  annotation-queue stats --db labels.db --json | jq .finished_items
""",
)
@db_option
@project_option
@click.option("--queue", "queue_name", metavar="NAME", help="Name or id of the queue; default: all of the project.")
@json_option
def stats(*, db: Address, project: str, queue_name: str | None, as_json: bool) -> None:
    """Show how far queues have come, as a whole and for each annotator.

    settled: items that at least one annotator completed or skipped; finished: items that need nothing more; done: the
    share of all items that the annotator completed or skipped.
    """
    with open_queues(db, project) as queues:
        chosen = queues.query().queues if queue_name is None else (choose_queue(queues, queue_name),)
        counted = queues.stats([queue.id for queue in chosen])
    if not as_json:
        print_stats(make_console(), chosen, counted)
        return
    for queue, one in zip(chosen, counted, strict=True):
        policies = {"annotations_per_item": queue.annotations_per_item, "skip_policy": queue.skip_policy}
        print_json({"queue": queue.name, **attrs.asdict(one, recurse=False), **policies})


def _sort(_context: click.Context, _option: click.Parameter, values: Iterable[str]) -> tuple[SortBy, ...]:
    return tuple(
        SortBy(field, direction or "asc") for field, _, direction in (value.partition(":") for value in values)
    )


@click.command(
    short_help="List a queue's items.",
    epilog="""
\b
Examples:
  annotation-queue items --db labels.db --state skipped --sort updated_at:desc
  annotation-queue items --db labels.db --unfinished --assignee bob
  annotation-queue items --db labels.db --json | jq -r .payload.text
""",
)
@db_option
@project_option
@queue_option
@click.option("--id", "ids", metavar="ID", multiple=True, help="The item with this id; repeatable.")
@filter_options
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
    help="Show at most N.  [default: 50 in a table, all with --json]",
)
@click.option(
    "--offset", metavar="N", type=click.IntRange(min=0), default=0, help="Leave out the first N.  [default: 0]"
)
@click.option("--position", is_flag=True, help="Number the items by their place in the whole queue under this sort.")
@json_option
def items(
    *,
    db: Address,
    project: str,
    queue_name: str | None,
    ids: tuple[str, ...],
    annotator: str | None,
    sort_by: tuple[SortBy, ...],
    limit: int | None,
    offset: int,
    position: bool,
    as_json: bool,
    **wanted: Any,  # noqa: ANN401 - the filters
) -> None:
    """List the items of a queue that meet every filter, in queue order unless sorted."""
    query = ItemQuery(
        filter=item_filter({"id": ids, **wanted}),
        sort_by=sort_by,
        limit=limit if as_json or limit is not None else _SHOWN_ITEMS,
        offset=offset,
        include_position=position,
        include_total=not as_json,
        annotator_id=annotator,
        include_payload=as_json,
    )
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        if as_json:
            for item in queues.iter_items(queue.id, query):
                print_json(attrs.asdict(item, recurse=False))
            return
        page = queues.query_items(queue.id, query)
    console = make_console()
    columns: dict[tuple[str, str], Callable[[QueueItem], object]] = {
        ("item", WHOLE): lambda item: item.id,
        ("call", FOLDED): lambda item: item.call_id,
        ("state", WHOLE): lambda item: item.annotation_state.value,
        ("annotator", FOLDED): lambda item: item.annotator_user_id,
    }
    if console.width >= _WIDE:
        columns["updated", WHOLE] = lambda item: item.updated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if any(item.priority for item in page.items):
        columns["priority", NUMBER] = lambda item: item.priority
    if any(item.assignees for item in page.items):
        columns["reserved for", FOLDED] = lambda item: ", ".join(item.assignees)
    if position:
        columns["position", NUMBER] = lambda item: item.position_in_queue
    table = make_table(f"queue {queue.name}", list(columns))
    for item in page.items:
        table.add_row(*row(*(show(item) for show in columns.values())))
    print_table(console, table)
    if page.total is not None and page.total > len(page.items):
        say(f"{len(page.items):,} of {page.total:,} items; see --limit and --offset")


@click.command(epilog="Example: annotation-queue history 0199c0de-… --db labels.db")
@db_option
@project_option
@click.argument("item_id", metavar="ITEM_ID")
@json_option
def history(*, db: Address, project: str, item_id: str, as_json: bool) -> None:
    """Show every change of an item's states, oldest first."""
    with open_queues(db, project) as queues:
        transitions = queues.history(item_id)
    if as_json:
        for transition in transitions:
            print_json(attrs.asdict(transition, recurse=False))
        return
    texts = [("at", WHOLE), ("annotator", FOLDED), ("from", WHOLE), ("to", WHOLE), ("reason", FOLDED)]
    table = make_table(f"item {item_id}", texts)
    for one in transitions:
        at = timestamp(one.at)
        table.add_row(*row(at, one.annotator_id, one.from_state.value, one.to_state.value, one.reason))
    print_table(make_console(), table)
