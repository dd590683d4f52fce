"""Changing many items of a queue, and what was removed: update, reprioritise, reset, restore, purge, pause."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import click

from annotation_queue.cli.choosing import (
    agreed,
    calls_to_ids,
    choose,
    confirmed,
    dry_run_option,
    read_ids,
    time_option,
    which_options,
    yes_option,
)
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
from annotation_queue.cli.jsonl import STDIN, STDIN_NAME, BadLine, numbered_lines, parse_json, parse_line
from annotation_queue.errors import InvalidValue
from annotation_queue.items import ItemPatch
from annotation_queue.queues import AnnotationQueues
from annotation_queue.values import check_integer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from annotation_queue.cli.addresses import Address
    from annotation_queue.repository import CountsRemoved


@click.command(
    short_help="Change items: priority, payload, display fields, assignees.",
    epilog="""
\b
Examples:
  annotation-queue update --op-name chat --priority 5 --db labels.db
  annotation-queue update 0199c0de-… --assign bob --assign eve --db labels.db
  annotation-queue update --assignee bob --unassign --yes --db labels.db
""",
)
@which_options
@db_option
@project_option
@queue_option
@click.option("--priority", type=int, metavar="N", help="Greater is served first.")
@click.option("--payload", metavar="JSON", help="A JSON object that takes the place of the payload, or null.")
@click.option("--display-field", "display_fields", metavar="NAME", multiple=True, help="What is shown; repeatable.")
@click.option(
    "--assign", "assignees", metavar="NAME", multiple=True, help="Reserve them for this annotator; repeatable."
)
@click.option("--unassign", is_flag=True, help="Let anybody claim them.")
def update(
    *,
    item_ids: tuple[str, ...],
    db: Address,
    project: str,
    queue_name: str | None,
    every: bool,
    yes: bool,
    dry_run: bool,
    priority: int | None,
    payload: str | None,
    display_fields: tuple[str, ...],
    assignees: tuple[str, ...],
    unassign: bool,
    **wanted: Any,  # noqa: ANN401 - the filters
) -> int:
    """Change items, by their ids (- for one on each line of standard input) or by filters, all in one step; print how many.

    What is not given stays as it is. An item that has all of it already is not changed and does not count.
    """
    given: dict[str, Any] = {}
    if priority is not None:
        given["priority"] = priority
    if payload is not None:
        given["payload"] = _parsed("--payload", payload)
    if display_fields:
        given["display_fields"] = display_fields
    if assignees and unassign:
        fail("give --assign or --unassign, not both")
    if assignees or unassign:
        given["assignees"] = assignees
    if not given:
        fail("say what to change: --priority, --payload, --display-field, --assign or --unassign")
    patch, which = ItemPatch(**given), choose(item_ids, wanted, every=every)
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        if confirmed(queues, queue, which, "change", yes=yes, dry_run=dry_run):
            click.echo(queues.update_items(queue.id, which, patch))
    return 0


def _parsed(where: str, text: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return parse_json(text)
    except ValueError as error:
        fail(f"{where}: {error}")


@click.command(
    short_help="Give items new priorities from a file.",
    epilog="""
\b
Example:
  ./uncertainty | annotation-queue reprioritise - --db labels.db
""",
)
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@db_option
@project_option
@queue_option
@yes_option
@dry_run_option
def reprioritise(
    *,
    path: str,
    db: Address,
    project: str,
    queue_name: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Give items the priorities that FILE (- for standard input) has, all in one step, and print how many changed.

    Each line is a JSON object with the fields id or call_id, and priority, an integer. Items that the queue does not have are
    passed over.
    """
    by_id: dict[str, int] = {}
    by_call: dict[str, int] = {}
    for where, line in _lines(path):
        known = {name: line[name] for name in ("id", "call_id") if isinstance(line.get(name), str)}
        if len(known) != 1:
            fail(f"{where}: give id or call_id, as text")
        try:
            priority = check_integer("priority", line.get("priority"))
        except InvalidValue as error:
            fail(f"{where}: {error}")
        ((name, value),) = known.items()
        (by_id if name == "id" else by_call)[value] = priority
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        priorities = {**calls_to_ids(queues, queue.id, by_call), **by_id}
        if confirmed(queues, queue, tuple(priorities), "rank", yes=yes, dry_run=dry_run):
            click.echo(queues.reprioritise(queue.id, priorities))
    return 0


def _lines(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with click.open_file(path, "rb") as file:
        for number, text in numbered_lines(file):
            where = f"{STDIN_NAME if path == STDIN else path}:{number}"
            try:
                line = parse_line(text)
            except BadLine as error:
                fail(f"{where}: {error}")
            if not isinstance(line, dict):
                fail(f"{where}: expected a JSON object")
            yield where, line


@click.command(
    short_help="Put items back to unstarted.",
    epilog="Example: annotation-queue reset --state completed --annotator model-1 --actor boss --db labels.db",
)
@which_options
@db_option
@project_option
@queue_option
@click.option("--actor", required=True, metavar="NAME", help="Who does it; it stands in the history.")
@click.option("--annotator", metavar="NAME", help="Only what this annotator did.")
@click.option("--reason", metavar="TEXT", help="Why; it stands in the history.")
def reset(
    *,
    item_ids: tuple[str, ...],
    db: Address,
    project: str,
    queue_name: str | None,
    every: bool,
    yes: bool,
    dry_run: bool,
    actor: str,
    annotator: str | None,
    reason: str | None,
    **wanted: Any,  # noqa: ANN401 - the filters
) -> int:
    """Put progresses on items back to unstarted, all in one step, and print how many.

    Labels are cleared; those that were completed stay in the history. What is held is lost to its holder.
    """
    which = choose(item_ids, wanted, every=every)
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        if confirmed(queues, queue, which, "put back", yes=yes, dry_run=dry_run):
            click.echo(queues.reset(queue.id, which, actor_id=actor, annotator_id=annotator, reason=reason))
    return 0


@click.command(short_help="Bring removed items or a deleted queue back.")
@click.argument("item_ids", metavar="[ITEM_ID]...", nargs=-1)
@db_option
@project_option
@queue_option
@click.option("--deleted-queue", metavar="QUEUE_ID", help="Bring this queue back, with all that was in it.")
@yes_option
@dry_run_option
def restore(
    *,
    item_ids: tuple[str, ...],
    db: Address,
    project: str,
    queue_name: str | None,
    deleted_queue: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Bring removed items back, by their ids (- for one on each line of standard input), with all their labels; print how many.

    An item whose call is in the queue again is passed over, and the exit code is 1.
    """
    if deleted_queue is not None and dry_run:
        fail("give --dry-run with ITEM_ID: it counts items")
    with _open_with_removed(db, project) as (queues, removed):
        if deleted_queue is not None:
            click.echo(queues.restore(deleted_queue).id)
            return 0
        if not item_ids:
            fail("say what to bring back: ITEM_ID, or --deleted-queue")
        ids, queue = read_ids(item_ids), choose_queue(queues, queue_name)
        restored = removed.count_restorable(project, queue.id, ids)
        if not dry_run:
            if not agreed(queue, restored, "bring back", yes=yes):
                return 0
            restored = queues.restore_items(queue.id, ids)
    click.echo(restored)
    missing = len(ids) - restored
    if missing:
        say(
            f"{missing:,} of them {'is' if missing == 1 else 'are'} not removed from queue {queue.name!r}, or there again"
        )
    return FAILURES if missing else 0


@click.command(
    short_help="Erase for good what was removed.",
    epilog="Example: annotation-queue purge --removed-before 2026-01-01T00:00:00Z --yes --db labels.db",
)
@db_option
@project_option
@time_option("--removed-before", "Erase what was removed or deleted before this time.", required=True)
@yes_option
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
def purge(*, db: Address, project: str, removed_before: datetime, yes: bool, dry_run: bool) -> int:
    """Erase removed items and deleted queues of the project, with their labels and histories; print how many of each.

    Nothing of it can be brought back. What SQLite deletes is overwritten in the file; backups keep what they have.
    """
    if not dry_run:
        say(f"erase for good what was removed from project {project!r} before {removed_before.isoformat()}")
    if not yes and not dry_run:
        if not sys.stdin.isatty():
            fail("what is erased cannot be brought back: give --yes, or answer on a terminal")
        click.confirm("Go on?", abort=True, err=True)
    with _open_with_removed(db, project) as (queues, removed):
        count = partial(removed.count_purgeable, project) if dry_run else queues.purge
        purged = count(removed_before=removed_before)
    click.echo(json.dumps({"items": purged.items, "queues": purged.queues}))
    return 0


@contextmanager
def _open_with_removed(db: Address, project: str) -> Iterator[tuple[AnnotationQueues, CountsRemoved]]:
    """Open the queues of a project, with what counts the things that were removed from them."""
    check_file(db)
    with db.open("FULL") as repository:
        # All that an address opens can do that.
        yield AnnotationQueues(repository, project), cast("CountsRemoved", repository)


@click.command(short_help="Hand out nothing more of a queue.")
@db_option
@project_option
@queue_option
def pause(*, db: Address, project: str, queue_name: str | None) -> int:
    """Let nobody claim anything more of a queue, until it is resumed; what is held can be finished."""
    return _set_pause(db, project, queue_name, is_paused=True)


@click.command(short_help="End the pause of a queue.")
@db_option
@project_option
@queue_option
def resume(*, db: Address, project: str, queue_name: str | None) -> int:
    """Let annotators claim items of a queue again."""
    return _set_pause(db, project, queue_name, is_paused=False)


def _set_pause(db: Address, project: str, queue_name: str | None, *, is_paused: bool) -> int:
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        queues.update(queue.id, is_paused=is_paused)
    say(f"queue {queue.name!r} is {'paused' if is_paused else 'not paused'}")
    return 0
