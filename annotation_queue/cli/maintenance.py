"""Taking items out of a queue, looking whether a file is whole, and making it small."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation_queue.cli.choosing import calls_to_ids, choose, confirmed, item_filter, read_ids, which_options
from annotation_queue.cli.common import (
    FAILURES,
    check_file,
    choose_queue,
    db_option,
    fail,
    open_queues,
    project_option,
    queue_option,
    say,
)
from annotation_queue.repositories.sqlite import SQLiteRepository

if TYPE_CHECKING:
    from annotation_queue.cli.addresses import Address
    from annotation_queue.query import ItemFilter


@click.command(
    short_help="Remove items from a queue.",
    epilog="""
\b
Examples:
  annotation-queue remove --call-id trace-17 --db labels.db
  annotation-queue remove --state skipped --yes --db labels.db
""",
)
@which_options
@db_option
@project_option
@queue_option
def remove(
    *,
    item_ids: tuple[str, ...],
    db: Address,
    project: str,
    queue_name: str | None,
    every: bool,
    yes: bool,
    dry_run: bool,
    **wanted: Any,  # noqa: ANN401 - the filters
) -> int:
    """Remove items by their ids (- for one on each line of standard input) or by filters, and print how many.

    Their labels are in no list and no export any more, until restore brings them back. An id or a call that is not in the queue
    is passed over, and the exit code is 1. A removed record may be added again, as a new item.
    """
    call_ids = dict.fromkeys(wanted["call_id"])
    is_named = item_filter({**wanted, "call_id": ()}).shows_all and not every
    if is_named and not item_ids and not call_ids:
        fail("say which items: ITEM_ID, --call-id, another filter, or --all")
    ids = read_ids(item_ids) if is_named else ()
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        if is_named:
            found = (*ids, *calls_to_ids(queues, queue.id, call_ids))
            which: tuple[str, ...] | ItemFilter = tuple(dict.fromkeys(found))
        else:
            which, found = choose(item_ids, wanted, every=every), ()
        if not confirmed(queues, queue, which, "remove", yes=yes, dry_run=dry_run):
            return 0
        removed = queues.remove_items(queue.id, which)
    click.echo(removed)
    missing = len(ids) + len(call_ids) - removed - (len(found) - len(set(found))) if is_named else 0
    if missing:
        say(f"{missing:,} of them {'is' if missing == 1 else 'are'} not in queue {queue.name!r}")
    return FAILURES if missing else 0


@click.command(short_help="Look whether all is whole.", epilog="Example: annotation-queue check --db labels.db")
@db_option
def check(*, db: Address) -> int:
    """Recount everything that is kept, in every project, and print what is wrong, a line each.

    Exit code 0 where all is well, 1 where something is wrong, 3 where it cannot be read at all. It changes nothing
    and takes longer the more is stored.
    """
    check_file(db)
    with db.open("FULL") as repository:
        problems = repository.check()
    for problem in problems:
        click.echo(problem)
    many = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    say(f"{db.shown}: {many if problems else 'all is well'}")
    return FAILURES if problems else 0


@click.command(
    short_help="Give back the room that a file does not need.", epilog="Example: annotation-queue vacuum --db labels.db"
)
@db_option
def vacuum(*, db: Address) -> int:
    """Write an SQLite file anew without what removed and purged items left free in it, and print how many bytes it has then.

    Meanwhile others can read and not write, and the disk needs room for a second file.
    """
    check_file(db)
    if db.path is None:
        fail(f"{db.shown}: only files are made smaller; a server does it by itself")
    with SQLiteRepository(db.path) as repository:
        repository.vacuum()
    log = Path(f"{db.path}-wal")
    if log.exists() and log.stat().st_size:
        say(f"{db.shown} is being read, so that it becomes small when the last one closes it, or with another vacuum")
    click.echo(db.path.stat().st_size)
    return 0
