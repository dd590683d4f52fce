"""Which items a command means: ids, or a filter made of options; and what is asked before many of them are changed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from annotation_queue.cli.common import Command, fail, say
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.states import AnnotationState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.queues import AnnotationQueues

_STDIN: Final = "-"
_TEXTS: Final = {
    "--call-id": ("call_id", "The item of this call; repeatable."),
    "--op-name": ("call_op_name", "Items of this operation; repeatable."),
    "--trace-id": ("call_trace_id", "Items of this trace; repeatable."),
    "--added-by": ("added_by", "Items that this user added; repeatable."),
}


def _time(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment.astimezone() if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError, OSError):  # which of them what is too early raises depends on the system
        said = f"{text!r} is no time such as 2026-01-31T12:00:00Z, in the years 1 to 9999"
        raise click.BadParameter(said) from None


def time_option(name: str, what: str, *, required: bool = False) -> Callable[[Command], Command]:
    """Make an option that takes a time, ISO 8601; without an offset it is local."""
    return click.option(name, metavar="TIME", callback=_time, required=required, help=what)


def filter_options(command: Command) -> Command:
    """Give a command the options that choose items; `item_filter` takes them."""
    options = [
        *(
            click.option(name, field, metavar="TEXT", multiple=True, help=text)
            for name, (field, text) in _TEXTS.items()
        ),
        click.option(
            "--state",
            "annotation_states",
            multiple=True,
            type=click.Choice([state.value for state in AnnotationState]),
            help="Items in this state; repeatable.",
        ),
        click.option(
            "--finished/--unfinished", "finished", default=None, help="Items that need nothing more, or the others."
        ),
        click.option("--assignee", metavar="NAME", help="Items that are reserved for this annotator."),
        time_option("--updated-from", "Items that changed at this time or later."),
        time_option("--updated-until", "Items that changed before this time."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def item_filter(wanted: dict[str, Any]) -> ItemFilter:
    """Make the filter out of the values of `filter_options`; what is not given is no condition."""
    return ItemFilter(**{name: value for name, value in wanted.items() if value not in {(), None}})


_all_option = click.option("--all", "every", is_flag=True, help="All items of the queue, if nothing else chooses.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only count the items that are meant.")


def which_options(command: Command) -> Command:
    """Give a command that changes many items its arguments: ids or filters, and how it asks."""
    command = filter_options(_all_option(yes_option(dry_run_option(command))))
    return click.argument("item_ids", metavar="[ITEM_ID]...", nargs=-1)(command)


def read_ids(item_ids: Iterable[str]) -> tuple[str, ...]:
    """Read ids: those that are given, and for ``-`` one on each line of standard input."""
    given = list(item_ids)
    ids = dict.fromkeys(item_id for item_id in given if item_id != _STDIN)
    if _STDIN in given:
        ids.update(dict.fromkeys(line.strip() for line in sys.stdin if line.strip()))
    return tuple(ids)


def choose(item_ids: tuple[str, ...], wanted: dict[str, Any], *, every: bool) -> tuple[str, ...] | ItemFilter:
    """Say which items are meant.

    Args:
        item_ids: The ids that are given.
        wanted: The values of `filter_options`.
        every: Whether all items are meant where nothing else chooses.

    Raises:
        Failure: Nothing chooses, or both ids and filters do.
    """
    chosen = item_filter(wanted)
    if item_ids and not chosen.shows_all:
        fail("give ITEM_ID or filters, not both")
    if item_ids:
        return read_ids(item_ids)
    if chosen.shows_all and not every:
        fail("say which items: ITEM_ID, filters such as --op-name, or --all")
    return chosen


def confirmed(
    queues: AnnotationQueues,
    queue: AnnotationQueue,
    which: tuple[str, ...] | ItemFilter,
    what: str,
    *,
    yes: bool,
    dry_run: bool,
) -> bool:
    """Say what will be changed, and ask on a terminal.

    Args:
        queues: The service.
        queue: The queue.
        which: The items.
        what: What is done to them, as in "remove 7 items of queue 'x'".
        yes: Whether not to ask.
        dry_run: Whether to print the number of items that are meant, and to do no more.

    Returns:
        Whether to go on.
    """
    wanted = which if isinstance(which, ItemFilter) else ItemFilter(id=which)
    count = queues.query_items(queue.id, ItemQuery(filter=wanted, limit=0, include_total=True)).total or 0
    if dry_run:
        click.echo(count)
        return False
    return agreed(queue, count, what, yes=yes)


def agreed(queue: AnnotationQueue, count: int, what: str, *, yes: bool) -> bool:
    """Say what will be done to so many items, and ask on a terminal; arguments and result are those of `confirmed`."""
    if yes or not sys.stdin.isatty():
        return True
    say(f"{what} {'1 item' if count == 1 else f'{count:,} items'} of queue {queue.name!r}")
    return click.confirm("Go on?", err=True)


def calls_to_ids(queues: AnnotationQueues, queue_id: str, by_call: dict[str, Any]) -> dict[str, Any]:
    """Turn what is keyed by call ids into the same by item ids, without the calls that the queue does not have."""
    query = ItemQuery(filter=ItemFilter(call_id=by_call), include_payload=False)
    return {item.id: by_call[item.call_id] for item in queues.iter_items(queue_id, query)}
