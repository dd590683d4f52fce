"""The main job: add what a file holds, label it, show the statistics, export the labels."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from annotation_queue.batch import run_batch
from annotation_queue.batch_report import OnFailure
from annotation_queue.cli.bar import shown_progress, summary
from annotation_queue.cli.exports import STDOUT, check_target, write_labels
from annotation_queue.cli.lines import STDIN, open_lines
from annotation_queue.cli.store import (
    FAILURES,
    INTERRUPTED,
    db_option,
    fail,
    find_queue,
    open_queues,
    project_option,
    say,
)
from annotation_queue.cli.views import make_console, print_stats
from annotation_queue.items import UnavailableReason
from annotation_queue.labelers import failure_reason
from annotation_queue.states import SETTLING
from annotation_queue.values import check_id

if TYPE_CHECKING:
    from annotation_queue.batch_report import BatchReport
    from annotation_queue.cli.lines import Lines
    from annotation_queue.items import AnnotationQueue, QueueStats
    from annotation_queue.labelers import Labeler
    from annotation_queue.queues import AnnotationQueues

_SHOWN_PROBLEMS: Final = 20
_LONGEST_LEASE: Final = 86_400.0


@click.command(
    short_help="Label the records of a file with a Python function.",
    epilog="Example: annotation-queue label traces.jsonl --labeler judge:score --annotator gpt-a --db labels.db",
)
@click.argument("items", metavar="ITEMS.jsonl")
@click.option(
    "--labeler", "labeler_name", required=True, metavar="MODULE:FUNCTION", help="Takes an item, returns its label."
)
@click.option("--annotator", required=True, metavar="NAME", help="In whose name the labels are stored.")
@db_option
@click.option(
    "--queue", "queue_name", metavar="NAME", help="Name of the queue, made when missing.  [default: the file's name]"
)
@project_option
@click.option(
    "--id-field", metavar="FIELD", default="id", show_default=True, help="The field of a record that identifies it."
)
@click.option(
    "--export", "target", metavar="OUT.jsonl", help="Export the queue's labels afterwards; - for standard output."
)
@click.option(
    "--workers", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, help="Items labelled at once."
)
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="Label at most so many items.")
@click.option(
    "--max-attempts",
    metavar="N",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Attempts for each item.",
)
@click.option(
    "--on-failure",
    type=click.Choice([choice.value for choice in OnFailure]),
    default=OnFailure.SKIP.value,
    show_default=True,
    help="What becomes of an item on which every attempt failed.",
)
@click.option(
    "--lease",
    type=click.FloatRange(min=0, max=_LONGEST_LEASE, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long items stay held after a crash, at most a day.",
)
@click.option(
    "--synchronous",
    type=click.Choice(["FULL", "NORMAL"], case_sensitive=False),
    default="FULL",
    show_default=True,
    help="NORMAL is faster, and a power cut may cost the newest labels.",
)
def label(
    *,
    items: str,
    labeler_name: str,
    annotator: str,
    db: Path,
    queue_name: str | None,
    project: str,
    id_field: str,
    target: str | None,
    workers: int,
    limit: int | None,
    max_attempts: int,
    on_failure: str,
    lease: float,
    synchronous: str,
) -> int:
    """Label every record of ITEMS.jsonl (- for standard input) with a Python function.

    Each line is a JSON object. Its id is stored as the call id and the object as the payload; records that the queue
    holds already are not added again. The whole file is checked before anything is added. The function may be a
    coroutine function; it is found from the current directory too, and may raise SkipItem.

    Killed or interrupted, run the same command again: nothing labelled is labelled again. The first Ctrl-C lets running
    items end, the second stops at once.
    """
    annotator = check_id("annotator", annotator)
    labeler = load_labeler(labeler_name)
    if target is not None:
        check_target(target)
    if queue_name is None:
        if items == STDIN:
            fail("give the queue a name with --queue when the records come from standard input")
        queue_name = Path(items).stem
    with open_lines(items, id_field) as lines:
        records = _check(lines)
        with open_queues(db, project, create=True, synchronous=synchronous.upper()) as queues:
            queue = _open_queue(queues, queue_name, annotator)
            added = lines.add(queues, queue, annotator)
            there = f", {records - added:,} there already" if records > added else ""
            say(f"{lines.name}: {records:,} records, {added:,} added to queue {queue.name!r}{there}")
            console = make_console(stderr=True)
            with shown_progress(console, _to_do(queues.stats([queue.id])[0], annotator, limit)) as on_progress:
                try:
                    report = run_batch(
                        queues,
                        queue.id,
                        labeler,
                        annotator_id=annotator,
                        workers=workers,
                        limit=limit,
                        max_attempts=max_attempts,
                        on_failure=OnFailure(on_failure),
                        lease=timedelta(seconds=lease),
                        on_progress=on_progress,
                    )
                except BaseException as error:
                    # The runner marks what the labeler raised by saying where.
                    if notes := getattr(error, "__notes__", None):
                        fail(f"{failure_reason(error)} ({notes[0]})", FAILURES)
                    raise
            return _finish(queues, queue, report, target)


def load_labeler(name: str) -> Labeler:
    """Import a labeler, from the current directory too.

    Args:
        name: ``package.module:function``.

    Returns:
        The function.

    Raises:
        Failure: There is none, or its module cannot be imported.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        fail(f"--labeler takes package.module:function, not {name!r}")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - entries of sys.path are texts
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as above
    try:
        with redirect_stdout(sys.stderr):
            found: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody else's module raises
        fail(f"cannot import the labeler's module {module_name!r}: {failure_reason(error)}")
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            fail(f"module {module_name!r} has no {path!r}")
    if not callable(found):
        fail(f"the labeler {name!r} is no function but of type {type(found).__name__}")
    return found


def _check(lines: Lines) -> int:
    records, repeated, problems = lines.check()
    if problems:
        for problem in problems[:_SHOWN_PROBLEMS]:
            say(problem)
        more = f", of which {_SHOWN_PROBLEMS} are shown" if len(problems) > _SHOWN_PROBLEMS else ""
        fail(f"{lines.name}: {len(problems):,} bad lines{more}; nothing was added")
    if repeated:
        say(f"{lines.name}: {repeated:,} lines repeat the id of an earlier one and are left out")
    return records


def _open_queue(queues: AnnotationQueues, name: str, created_by: str) -> AnnotationQueue:
    found = find_queue(queues, name)
    if found is not None:
        return found
    made = queues.create(name, created_by=created_by)
    # Another run may have made it at the same moment; both then take the older one.
    same = [queue for queue in queues.query().queues if queue.name == name]
    oldest = min(same, key=lambda queue: (queue.created_at, queue.id))
    if oldest.id != made.id:
        queues.delete(made.id)
    return oldest


def _to_do(stats: QueueStats, annotator: str, limit: int | None) -> int:
    own = stats.by_annotator.get(annotator, {})
    settled = sum(count for state, count in own.items() if state in SETTLING)
    left = stats.total_items - max(stats.finished_items, settled)
    return left if limit is None else min(left, limit)


def _finish(queues: AnnotationQueues, queue: AnnotationQueue, report: BatchReport, target: str | None) -> int:
    say(summary(report))
    if report.last_failure is not None:
        say(f"last failure: {' '.join(report.last_failure.split())}")
    print_stats(make_console(stderr=target == STDOUT), [queue], queues.stats([queue.id]))
    if report.interrupted:
        say("interrupted; run the same command again to go on" + ("" if target is None else ", nothing was exported"))
        return INTERRUPTED
    if target is not None:
        count = write_labels(queues, queue.id, target)
        if target != STDOUT:
            say(f"exported {count:,} lines to {target}")
    left = report.unavailable
    if left is not None and left.reason is UnavailableReason.LEASED and left.retry_at is not None and not report.failed:
        say(f"others hold what is left, the first until {left.retry_at:%Y-%m-%d %H:%M:%S} UTC; run again then")
        return FAILURES
    return FAILURES if report.failed else 0
