"""Taking items out of a queue, and looking whether a file is whole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from annotation_queue.cli.common import (
    FAILURES,
    check_file,
    choose_queue,
    db_option,
    fail,
    open_queues,
    open_repository,
    project_option,
    queue_option,
    say,
)
from annotation_queue.query import ItemFilter, ItemQuery

if TYPE_CHECKING:
    from pathlib import Path

_STDIN: Final = "-"


@click.command(
    short_help="Remove items from a queue.",
    epilog="""
\b
Examples:
  annotation-queue remove --call-id trace-17 --db labels.db
  annotation-queue items --state skipped --json --db labels.db |
    jq -r .id | annotation-queue remove - --db labels.db
""",
)
@click.argument("item_ids", metavar="[ITEM_ID]...", nargs=-1)
@db_option
@project_option
@queue_option
@click.option("--call-id", "call_ids", metavar="ID", multiple=True, help="The item of this call; repeatable.")
def remove(
    *, item_ids: tuple[str, ...], db: Path, project: str, queue_name: str | None, call_ids: tuple[str, ...]
) -> int:
    """Remove items by their ids (- for one on each line of standard input) or their calls' ids, and print how many.

    Their labels are no longer in any list or export, and this command line cannot bring them back. An id that is not in the
    queue is passed over, and the exit code is 1. A removed record may be added again, as a new item.
    """
    if not item_ids and not call_ids:
        fail("say which items: ITEM_ID, or --call-id")
    ids = dict.fromkeys(item_id for item_id in item_ids if item_id != _STDIN)
    if _STDIN in item_ids:
        ids.update(dict.fromkeys(line.strip() for line in sys.stdin if line.strip()))
    missing = 0
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        for call_id in dict.fromkeys(call_ids):
            found = queues.query_items(
                queue.id, ItemQuery(filter=ItemFilter(call_id=call_id), include_payload=False)
            ).items
            missing += not found
            ids.update(dict.fromkeys(item.id for item in found))
        removed = queues.remove_items(queue.id, ids)
    click.echo(removed)
    missing += len(ids) - removed
    if missing:
        say(f"{missing:,} of them {'is' if missing == 1 else 'are'} not in queue {queue.name!r}")
    return FAILURES if missing else 0


@click.command(short_help="Look whether a file is whole.", epilog="Example: annotation-queue check --db labels.db")
@db_option
def check(*, db: Path) -> int:
    """Recount everything that the file keeps, in every project, and print what is wrong, a line each.

    Exit code 0 where all is well, 1 where something is wrong, 3 where the file cannot be read at all. It changes nothing
    and takes longer the more is stored.
    """
    check_file(db)
    with open_repository(db, "FULL") as repository:
        problems = repository.check()
    for problem in problems:
        click.echo(problem)
    many = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    say(f"{db}: {many if problems else 'all is well'}")
    return FAILURES if problems else 0
