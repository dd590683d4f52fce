"""Filling a queue from a file: ``annotation-queue add``, and the options that ``label`` shares."""

from __future__ import annotations

import getpass
import json
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from annotation_queue.cli.common import (
    FAILURES,
    check_file,
    check_outputs,
    db_option,
    fail,
    lease_option,
    open_queue,
    open_queues,
    print_json,
    project_option,
    say,
    synchronous_option,
)
from annotation_queue.cli.jsonl import STDIN, Shape, open_records, queue_name_of, twin
from annotation_queue.cli.paths import File
from annotation_queue.cli.progress import shown_addition
from annotation_queue.cli.tables import FOLDED, NUMBER, make_console, make_table, print_table, row
from annotation_queue.items import ItemPatch
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.states import SkipPolicy
from annotation_queue.values import check_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from annotation_queue.cli.addresses import Address
    from annotation_queue.cli.common import Command
    from annotation_queue.cli.jsonl import Record, Records
    from annotation_queue.items import AnnotationQueue
    from annotation_queue.queues import AnnotationQueues


class OnChange(StrEnum):
    """What to do with a record that the queue holds with another payload."""

    KEEP = "keep"
    """The queue keeps the payload that it has."""
    STOP = "stop"
    """Nothing is added."""
    UPDATE = "update"
    """The queue takes the payload of the record."""


CHUNK: Final = 1_000
"""How many records are added at once, all or none of them."""

_NAMED: Final = 10
"""How many lines that differ are named."""

_INPUT_OPTIONS: Final = (
    click.option(
        "--queue",
        "queue_name",
        envvar="ANNOTATION_QUEUE_QUEUE",
        metavar="NAME",
        help="Name of the queue, made when missing.  [default: the file's name]",
    ),
    click.option(
        "--id-field", metavar="FIELD", default="id", show_default=True, help="The field of a record that identifies it."
    ),
    click.option(
        "--payload",
        metavar="FIELD",
        multiple=True,
        help="Keep this field for the labeler to see; repeatable.  [default: the whole record]",
    ),
    click.option(
        "--on-bad-line",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        show_default=True,
        help="stop: check everything first, and add nothing if a line is bad. skip: leave bad lines out.",
    ),
    click.option(
        "--on-change",
        type=click.Choice([choice.value for choice in OnChange]),
        default=OnChange.KEEP.value,
        show_default=True,
        help="What to do with a record whose id is in the queue with another payload. keep: leave the queue as it is. "
        "stop: add nothing; the exit code is 2. update: put the record's payload in its place.",
    ),
    click.option(
        "--annotations-per-item",
        metavar="N",
        type=click.IntRange(min=1),
        help="How many annotators each item needs; changes a queue that is there.  [default of a new queue: the number "
        "of --annotator, else 1]",
    ),
)


def input_options(command: Command) -> Command:
    """Give a command the options that say what the input is, and which queue takes it."""
    for option in reversed(_INPUT_OPTIONS):
        command = option(command)
    return command


def target_queue(path: str, queue_name: str | None) -> str:
    """Name the queue that an input fills.

    Raises:
        Failure: Standard input names none.
    """
    if queue_name is None and path == STDIN:
        fail("give the queue a name with --queue when the records come from standard input")
    return queue_name_of(path) if queue_name is None else queue_name


def input_files(path: str) -> list[File]:
    """Name the file of an input, unless it is standard input."""
    return [] if path == STDIN else [File.of(path)]


@attrs.frozen
class Added:
    """What an addition did.

    Args:
        queue: The name of the queue.
        records: How many records were read.
        added: How many of them are new.
        already_there: How many the queue held already, or repeat the id of an earlier one.
        differing: How many of these have another payload than the queue.
        bad_lines: How many lines were left out.
    """

    queue: str
    records: int
    added: int
    already_there: int
    differing: int
    bad_lines: int


@attrs.define
class _Comparison:
    """Compares records with what the queue holds of the same call.

    Args:
        queues: The service.
        queue: The queue.
        records: The input.
        updates: Whether the queue takes the payload of a record that differs.
        differing: The lines of the first records that differ.
        count: How many records differ.
    """

    queues: AnnotationQueues
    queue: AnnotationQueue
    records: Records
    updates: bool = False
    differing: list[int] = attrs.field(factory=list)
    count: int = 0

    def look(self, record: Record) -> bool:
        """Count a record that differs.

        Returns:
            Whether it is a record of that call; else its id is an integer and that of the queue's record a text, or the
            other way round.
        """
        query = ItemQuery(filter=ItemFilter(call_id=record.item.call_id), limit=1)
        for item in self.queues.query_items(self.queue.id, query).items:
            before = item.payload or {}
            known = before.get(self.records.shape.id_field)
            if known is not None and isinstance(known, int) is not record.has_integer_id and str(known) == item.call_id:
                return False
            if _as_text(before) != _as_text(record.item.payload or {}):
                if self.updates:
                    self.queues.update_items(self.queue.id, (item.id,), ItemPatch(payload=record.item.payload))
                self.count += 1
                if len(self.differing) < _NAMED:
                    self.differing.append(record.line)
        return True

    def look_ahead(self) -> None:
        """Look at all records before anything is added.

        Raises:
            Failure: One differs.
        """
        for record in self.records.look_ahead():
            self.look(record)
        self.stop(", so nothing was added")

    def stop(self, what: str) -> None:
        """End the command if a record differs."""
        if self.count:
            fail(f"{self.records.name}: {self.says()}{what}; see --on-change")

    def says(self) -> str:
        """Name the records that differ."""
        named = [f"{line:,}" for line in self.differing]
        more = [f"{self.count - len(named):,} more"] if self.count > len(named) else []
        *before, last = [*named, *more]
        lines = f"{', '.join(before)} and {last}" if before else last
        if self.count == 1:
            return f"1 record differs from the queue's: line {lines}"
        return f"{self.count:,} records differ from the queue's: lines {lines}"


def _as_text(payload: Mapping[str, Any]) -> str:
    return json.dumps(payload, sort_keys=True)


def add_records(
    queues: AnnotationQueues, queue: AnnotationQueue, records: Records, added_by: str, on_change: OnChange
) -> Added:
    """Add records to a queue, each id once, in bounded memory; say on standard error what was done.

    Args:
        queues: The service.
        queue: The queue.
        records: What to add. A failure in their midst leaves whole chunks added; adding them again adds the rest.
        added_by: User id.
        on_change: What to do with a record that the queue holds with another payload.

    Returns:
        What was done.

    Raises:
        Failure: A record differs and shall not, or its id is an integer where the queue's is the same digits as text.
    """
    comparison = _Comparison(queues, queue, records, updates=on_change is OnChange.UPDATE)
    if on_change is OnChange.STOP:
        comparison.look_ahead()
    source = iter(records)
    added = twins = 0
    with shown_addition(make_console(stderr=True), records.total) as tell:
        while chunk := list(islice(source, CHUNK)):
            new = {
                item.call_id
                for item in queues.add_items(queue.id, (each.item for each in chunk), added_by=added_by).added
            }
            added += len(new)
            for record in chunk:
                if record.item.call_id in new:
                    new.remove(record.item.call_id)  # whoever repeats it comes later
                elif not comparison.look(record):
                    problem = twin(record, "the queue's record")
                    if not records.skip_bad:
                        fail(f"{records.name}:{record.line}: {problem}; nothing after it was added")
                    records.note_bad(record.line, problem)
                    twins += 1
            tell(records.read)
    read = records.read - twins
    done = Added(queue.name, read, added, read - added, comparison.count, records.bad)
    there = f", {done.already_there:,} there already" if done.already_there else ""
    bad = f"; {done.bad_lines:,} bad lines left out" if done.bad_lines else ""
    say(f"{records.name}: {done.records:,} records, {added:,} added to queue {queue.name!r}{there}{bad}")
    if on_change is OnChange.STOP:
        comparison.stop("; what comes before the first of them was added")
    if comparison.count:
        kept = "the queue has theirs now" if comparison.updates else "the queue keeps its own (see --on-change)"
        say(f"{records.name}: {comparison.says()}; {kept}")
    return done


@click.command(
    short_help="Add the records of a file to a queue.",
    epilog="""
\b
Examples:
  annotation-queue add traces.jsonl.gz --db labels.db
  zcat traces.gz | annotation-queue add - --queue traces --db labels.db
""",
)
@click.argument("items", metavar="ITEMS.jsonl")
@db_option
@input_options
@project_option
@click.option(
    "--skip-policy",
    type=click.Choice([policy.value for policy in SkipPolicy]),
    help="Whether a skip counts as an annotation (final) or leaves the item to others (requeue).  "
    "[default of a new queue: final]",
)
@lease_option("How long a claim lasts; changes a queue that is there.  [default of a new queue: 300]", default=None)
@click.option("--added-by", metavar="USER", help="In whose name.  [default: who runs the command]")
@synchronous_option
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as a JSON line.")
def add(
    *,
    items: str,
    db: Address,
    queue_name: str | None,
    project: str,
    id_field: str,
    payload: tuple[str, ...],
    on_bad_line: str,
    on_change: str,
    annotations_per_item: int | None,
    skip_policy: str | None,
    lease: timedelta | None,
    added_by: str | None,
    synchronous: str,
    as_json: bool,
) -> int:
    """Add the records of ITEMS.jsonl (- for standard input) to a queue, gzipped or not.

    Each line is a JSON object. Its id is stored as the call id and the object as the payload. A record whose id is in the
    queue is not added again, so a second run adds only what is new; if its payload differs, it is named, see --on-change.
    Every bad line is named with its number. An id may be an integer or text, but 1 and "1" in one queue are an error.
    """
    user = check_id("added-by", _user() if added_by is None else added_by)
    name = target_queue(items, queue_name)
    wanted = {"annotations_per_item": annotations_per_item, "skip_policy": skip_policy, "lease": lease}
    policies: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    check_file(db, create=True)
    check_outputs(db, inputs=input_files(items))
    change = OnChange(on_change)
    shape, again = Shape(id_field, payload), change is OnChange.STOP
    with (
        open_records(items, shape, skip_bad=on_bad_line == "skip", twice=again) as records,
        open_queues(db, project, create=True, synchronous=synchronous) as queues,
    ):
        done = add_records(queues, open_queue(queues, name, user, **policies), records, user, change)
    if as_json:
        print_json(attrs.asdict(done))
    else:
        numbers = ("records", "added", "already there", "bad lines")
        table = make_table(None, [("queue", FOLDED), *((each, NUMBER) for each in numbers)])
        table.add_row(*row(done.queue, done.records, done.added, done.already_there, done.bad_lines))
        print_table(make_console(), table)
    return FAILURES if done.bad_lines else 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name; KeyError before Python 3.13
        fail("say in whose name with --added-by")
