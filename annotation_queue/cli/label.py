"""The main job: add what a file holds, label it, show the statistics, export the labels."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from annotation_queue.batch.api import run_batches
from annotation_queue.batch.progress import to_label
from annotation_queue.batch.report import OnFailure, StopReason
from annotation_queue.batch.work import failure_reason
from annotation_queue.cli.adding import OnChange, add_records, input_files, input_options, target_queue
from annotation_queue.cli.common import (
    DAY,
    FAILURES,
    HELD,
    INTERRUPTED,
    SHORTEST,
    Number,
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
from annotation_queue.cli.endings import say_what_failed, say_why_nothing
from annotation_queue.cli.exports import STDOUT, check_target, labels, write_labels
from annotation_queue.cli.jsonl import STDIN, Shape, open_records
from annotation_queue.cli.labelers import choose_labelers, module_files
from annotation_queue.cli.paths import File, command_files
from annotation_queue.cli.programs import AnswersInDoubt, Programs
from annotation_queue.cli.progress import shown_progress, summary
from annotation_queue.cli.tables import make_console
from annotation_queue.cli.views import print_stats
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import IN_PROGRESS
from annotation_queue.values import check_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annotation_queue.batch.labelers import Labeler
    from annotation_queue.batch.report import BatchReport
    from annotation_queue.cli.addresses import Address
    from annotation_queue.cli.jsonl import Records
    from annotation_queue.items import AnnotationQueue

DRY: Final = 1_000
"""How many records a dry run labels at most."""
_SLOW: Final = 1.0
_MOST_WORKERS: Final = 1_000
_SLOWEST: Final = 1e-4
_FASTEST: Final = 1e6
_LONGEST: Final = 30 * DAY


@attrs.frozen(kw_only=True)
class _Job:
    """What to do with a queue, once it is filled."""

    labelers: Mapping[str, Labeler]
    limit: int | None
    options: dict[str, Any]
    target: str | None
    path: str | None
    as_json: bool

    def run(self, queues: AnnotationQueues, queue: AnnotationQueue) -> dict[str, BatchReport]:
        """Label; say what was done and what failed."""
        stats = queues.stats([queue.id])[0]
        totals = {annotator: to_label(stats, annotator, self.limit) for annotator in self.labelers}
        with shown_progress(make_console(stderr=True), totals) as show:

            def on_progress(annotator: str, report: BatchReport) -> None:
                show(annotator, report)
                labeler = self.labelers[annotator]
                if report.interrupted and isinstance(labeler, Programs):
                    labeler.hurry()

            try:
                reports = run_batches(
                    queues, queue.id, self.labelers, limit=self.limit, on_progress=on_progress, **self.options
                )
            except AnswersInDoubt as error:
                fail(str(error), FAILURES)
            except BaseException as error:
                # The runner marks what a labeler raised by saying where.
                if notes := getattr(error, "__notes__", None):
                    fail(f"{failure_reason(error)} ({notes[0]})", FAILURES)
                raise
        for annotator, report in reports.items():
            who = f"{annotator}: " if len(reports) > 1 else ""
            say(f"{who}{summary(report)}")
            if report.slowest and report.slowest[0].seconds >= _SLOW:
                slowest = ", ".join(f"{slow.call_id} {slow.seconds:,.1f} s" for slow in report.slowest)
                say(f"{who}slowest: {slowest}")
            if report.last_failure is not None:
                say(f"{who}last failure: {' '.join(report.last_failure.split())}")
            if report.stop_reason is StopReason.FAILURES:
                say(f"{who}stopped: too many items failed in a row; see --max-failures")
        return reports

    def finish(self, queues: AnnotationQueues, queue: AnnotationQueue, reports: dict[str, BatchReport]) -> int:
        """Export and show what there is, and say what is left; give the exit code."""
        (stats,) = queues.stats([queue.id])
        is_interrupted = any(report.interrupted for report in reports.values())
        if self.path is not None and not is_interrupted:
            count = write_labels(queues, queue.id, self.path)
            if self.path != STDOUT:
                say(f"exported {count:,} lines to {self.target}")
        if self.as_json:
            for annotator, report in reports.items():
                print_json(_plain(annotator, report))
        else:
            print_stats(make_console(stderr=self.path == STDOUT), [queue], [stats])
        if is_interrupted:
            not_exported = "" if self.path is None else ", nothing was exported"
            say(f"interrupted; run the same command again to go on{not_exported}")
            return INTERRUPTED
        has_failed = False
        for annotator, report in reports.items():
            has_failed |= report.failed > 0 or report.stop_reason is StopReason.FAILURES
            has_failed |= say_what_failed(queues, queue, stats, annotator)
            say_why_nothing(queue, stats, annotator, report)
        if has_failed:
            return FAILURES
        left = [report.unavailable for report in reports.values() if report.unavailable is not None]
        ends = [each.retry_at for each in left if each.retry_at is not None]
        # What one of these annotators held from another one when that one ended may be finished by now.
        if ends and any(IN_PROGRESS in counts for counts in stats.by_annotator.values()):
            say(f"others hold what is left, the first until {min(ends):%Y-%m-%d %H:%M:%S} UTC; run again then")
            return HELD
        return 0


@click.command(
    short_help="Label the records of a file with a Python function or a program.",
    epilog="""
\b
Examples:
  annotation-queue label traces.jsonl --labeler judge:score \\
      --annotator gpt-a --db labels.db
  annotation-queue label traces.jsonl.gz --workers 8 --rate 50 --timeout 60 \\
      --labeler judge:a --annotator gpt-a \\
      --labeler judge:b --annotator gpt-b --db labels.db --export out.jsonl
  annotation-queue label traces.jsonl --exec 'python judge.py --strict' \\
      --annotator rules --db labels.db
""",
)
@click.argument("items", metavar="ITEMS.jsonl")
@click.option(
    "--labeler",
    "labeler_names",
    metavar="MODULE:FUNCTION",
    multiple=True,
    help="A function that takes an item and returns its label; one for all annotators, or one for each in their order.",
)
@click.option(
    "--exec",
    "commands",
    metavar="COMMAND",
    multiple=True,
    help="A program instead of a function: it reads an item as a line of JSON and answers with its label as a line.",
)
@click.option(
    "--annotator",
    "annotators",
    required=True,
    metavar="NAME",
    multiple=True,
    help="In whose name labels are stored. Repeatable: each annotator labels the whole queue, all at the same time.",
)
@db_option
@input_options
@project_option
@click.option(
    "--export", "target", metavar="OUT", help="Export the queue's labels afterwards, as the export command does."
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, _MOST_WORKERS),
    default=1,
    show_default=True,
    help="Items that each annotator labels at once.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="Label at most N items per annotator.")
@click.option(
    "--rate",
    metavar="N",
    type=Number(_SLOWEST, _FASTEST),
    help="Call the labeler at most N times a second for each annotator; retries count.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Number(SHORTEST, _LONGEST),
    help="Time limit. For a function: for an item, all attempts together. For a program: for each attempt; then it is killed.",
)
@click.option(
    "--max-attempts",
    metavar="N",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Attempts for each item, with growing waits.",
)
@click.option(
    "--on-failure",
    type=click.Choice([choice.value for choice in OnFailure]),
    default=OnFailure.SKIP.value,
    show_default=True,
    help="What to do with an item on which every attempt failed.",
)
@click.option(
    "--max-failures",
    metavar="N",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Stop when N items in a row have failed, and give those back; 0: never stop.",
)
@click.option(
    "--retry-failed", is_flag=True, help="Try the items again that failed in earlier runs and were skipped for that."
)
@lease_option("How long items stay held after a crash, at most a day.", default=60.0)
@click.option(
    "--dry-run", is_flag=True, help=f"Store nothing: label the first {DRY:,} records or --limit, print labels."
)
@synchronous_option
@click.option("--json", "as_json", is_flag=True, help="Print a report for each annotator as a JSON line.")
def label(
    *,
    items: str,
    labeler_names: tuple[str, ...],
    commands: tuple[str, ...],
    annotators: tuple[str, ...],
    db: Address,
    queue_name: str | None,
    project: str,
    id_field: str,
    payload: tuple[str, ...],
    on_bad_line: str,
    on_change: str,
    annotations_per_item: int | None,
    target: str | None,
    workers: int,
    limit: int | None,
    rate: float | None,
    timeout: float | None,
    max_attempts: int,
    on_failure: str,
    max_failures: int,
    retry_failed: bool,
    lease: timedelta,
    dry_run: bool,
    synchronous: str,
    as_json: bool,
) -> int:
    """Label every record of ITEMS.jsonl (- for standard input, gzipped or not) with a Python function or a program.

    Each line is a JSON object. Its id is stored as the call id and the object as the payload. A record whose id is in the
    queue is not added again; if its payload differs, it is named, see --on-change.

    A function may be a coroutine function. It is found from the current directory too, and may raise SkipItem or
    RetryLater.

    A program is kept running, one process per worker. It reads each item as a line of JSON and answers it with one line:
    the label, or {"$skip": REASON}, {"$error": MESSAGE} or {"$retry_after": SECONDS}. What it logs it writes to standard
    error, which is passed on. A program that dies, hangs past --timeout or answers anything else fails the attempt and is
    started again.

    A line too many on standard output would give every item the label of the one before. So each item has a number, $item,
    and a program may answer {"$item": N, "$label": LABEL}, or put $item beside $skip, $error or $retry_after. An answer with
    another number ends the run with exit code 1. An answer without a number is stored only after the program has read the
    next item, or ended, without writing more; if it writes more, the run ends with exit code 1, and the labels in doubt are
    named and not stored. A program that reads items ahead, or is a pipeline, should answer with the number.

    An item on which every attempt failed is skipped, and the exit code is 1 until it has a label; --retry-failed tries it
    again.

    Killed or interrupted, run the same command again: nothing labelled is labelled again. The first Ctrl-C lets running
    items end, the second stops at once.
    """
    names = [check_id("annotator", name) for name in dict.fromkeys(annotators)]
    name = target_queue(items, queue_name)
    if as_json and (dry_run or target == STDOUT):
        fail("--json and the labels cannot both go to standard output")
    if target is not None:
        check_target(target)
    check_file(db, create=True)
    # From here on absolute: a labeler may go to another directory, already when it is imported.
    files = [*input_files(items), *(each for command in commands for each in command_files(command))]
    outputs = [] if target is None or target == STDOUT else [File.of(target)]
    check_outputs(db, outputs=outputs, inputs=files)
    path = target and (STDOUT if target == STDOUT else os.path.abspath(target))  # noqa: PTH100 - a text, as it was given
    db, source = db.absolute(), STDIN if items == STDIN else os.path.abspath(items)  # noqa: PTH100 - a text for messages
    with ExitStack() as opened:
        options: dict[str, Any] = {
            # The answer of a program waits for the next item, which another thread sends.
            "workers": workers * Programs.THREADS_EACH if commands else workers,
            "rate": rate,
            "timeout": None if commands or timeout is None else timedelta(seconds=timeout),
            "max_attempts": max_attempts,
            "on_failure": OnFailure(on_failure),
            "max_failures": max_failures or None,
            "lease": lease,
        }
        if retry_failed:
            options["retry_failed"] = True
        pace = 0.0 if rate is None else 1 / rate
        make_programs = partial(Programs, most=workers, timeout=timeout, pace=pace)
        chosen = choose_labelers(opened, names, labeler_names, commands, make_programs)
        check_outputs(db, outputs=outputs, inputs=module_files(labeler_names))
        job = _Job(labelers=chosen, limit=limit, options=options, target=target, path=path, as_json=as_json)
        change = OnChange(on_change)
        records = opened.enter_context(
            open_records(
                source,
                Shape(id_field, payload),
                skip_bad=on_bad_line == "skip",
                shown=items,
                twice=change is OnChange.STOP,
            )
        )
        if dry_run:
            return _try(records, job, name)
        queues = opened.enter_context(open_queues(db, project, create=True, synchronous=synchronous))
        given = {} if annotations_per_item is None else {"annotations_per_item": annotations_per_item}
        queue = open_queue(queues, name, names[0], {"annotations_per_item": len(names)}, **given)
        added = add_records(queues, queue, records, names[0], change)
        if len(names) > queue.annotations_per_item:
            say(
                f"queue {queue.name!r} takes {queue.annotations_per_item} of the {len(names)} annotators for each item; "
                f"see --annotations-per-item"
            )
        code = job.finish(queues, queue, job.run(queues, queue))
        return code or (FAILURES if added.bad_lines else 0)


def _try(records: Records, job: _Job, name: str) -> int:
    """Label the first records in memory, and print what would be exported."""
    from annotation_queue import MemoryRepository  # noqa: PLC0415 - who labels in earnest needs none

    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, "dry-run")
        queue = queues.create(name, created_by="dry-run", annotations_per_item=len(job.labelers))
        first = islice((record.item for record in records), DRY if job.limit is None else min(job.limit, DRY))
        queues.add_items(queue.id, first, added_by="dry-run")
        reports = job.run(queues, queue)
        for line in labels(queues, queue.id, history=False):
            print_json(line)
    say("dry run: nothing was stored")
    if any(report.interrupted for report in reports.values()):
        return INTERRUPTED
    return FAILURES if records.bad or any(report.failed for report in reports.values()) else 0


def _plain(annotator: str, report: BatchReport) -> dict[str, Any]:
    """Give a report's numbers."""
    # Programs keep the time limit by themselves, so timed_out would tell half of it.
    left_out = ("newest", "labels", "dry_run", "unavailable", "waiting_for", "storage_error", "timed_out")
    numbers = attrs.asdict(report, filter=lambda field, _value: field.name not in left_out)
    return {"annotator": annotator, **numbers, "items_per_second": round(report.items_per_second, 1)}
