"""The export: one line of JSON or CSV, or one row of Parquet, for each progress that is completed or skipped."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import StrEnum
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import attrs
import click

from annotation_queue.cli.common import (
    check_outputs,
    choose_queue,
    db_option,
    fail,
    open_queues,
    project_option,
    queue_option,
    say,
    to_json,
)
from annotation_queue.cli.paths import File
from annotation_queue.cli.streams import writing_output
from annotation_queue.errors import ItemNotFound
from annotation_queue.exports import COLUMNS, csv_row, json_lines, label_texts
from annotation_queue.json_values import load_json
from annotation_queue.query import ItemQuery
from annotation_queue.states import AnnotationState
from annotation_queue.values import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annotation_queue.cli.addresses import Address
    from annotation_queue.labels import LabelText
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.states import Transition

STDOUT: Final = "-"
JSONL: Final = "jsonl"
CSV: Final = "csv"
PARQUET: Final = "parquet"
_ROWS_AT_ONCE: Final = 10_000
"""Rows of a row group, which are in memory together."""
_HISTORY: Final = "history"
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_NEW_MODE: Final = 0o666
_ACTOR: Final = "actor_id"
_AS_JSON: Final = ("annotation", _HISTORY)


def labels(queues: AnnotationQueues, queue_id: str, *, history: bool) -> Iterator[dict[str, Any]]:
    """Walk over the lines of an export.

    Args:
        queues: The service.
        queue_id: The queue.
        history: Whether each line has its annotator's changes of the item, oldest first.

    Yields:
        A line for each label or skip, in the order in which they last changed. What changes during the walk may come twice: as
        it was and as it is.
    """
    for text in label_texts(queues, queue_id):
        line: dict[str, Any] = {**text._asdict(), "annotation": load_json(text.annotation)}
        if history:
            # An item that was removed meanwhile has nothing to show any more.
            line[_HISTORY] = []
            with suppress(ItemNotFound):
                line[_HISTORY] = [
                    _change(each)
                    for each in queues.history(line["item_id"])
                    if each.annotator_id == line["annotator_id"]
                ]
        yield line


def _change(transition: Transition) -> dict[str, Any]:
    shown = attrs.asdict(transition, recurse=False)
    return {name: shown[name] for name in ("from_state", "to_state", "at", "reason", "annotation", "actor_id")}


def revisions(queues: AnnotationQueues, queue_id: str) -> Iterator[dict[str, Any]]:
    """Walk over every label that ever stood.

    Args:
        queues: The service.
        queue_id: The queue.

    Yields:
        A line for each, in the order in which they were given: as those of `labels`, with who gave it as ``actor_id``. The
        ``call_id`` of an item that was removed is None.
    """
    query = ItemQuery(include_payload=False)
    call_ids = {item.id: item.call_id for item in queues.iter_items(queue_id, query)}
    after: str | None = None
    while (page := queues.changes(queue_id, after=after)).transitions:
        after = page.cursor
        for each in page.transitions:
            if each.to_state is AnnotationState.COMPLETED:
                yield {
                    "item_id": each.item_id,
                    "call_id": call_ids.get(each.item_id),
                    "annotator_id": each.annotator_id,
                    "state": each.to_state.value,
                    "annotation": each.annotation,
                    "reason": each.reason,
                    "updated_at": timestamp(each.at),
                    _ACTOR: each.actor_id,
                }


def check_target(target: str) -> None:
    """Find out early that an export cannot be written.

    Args:
        target: The file, or ``-``.

    Raises:
        Failure: It is a directory, or its directory is missing.
    """
    if target == STDOUT:
        return
    path = Path(os.path.realpath(target))
    if path.is_dir():
        fail(f"cannot export to {target!r}: it is a directory")
    if not path.parent.is_dir():
        fail(f"cannot export to {target!r}: there is no directory {str(path.parent)!r}")


class Content(StrEnum):
    """What an export holds beside the labels and skips as they are."""

    HISTORY = "history"
    """Each line has its annotator's changes of the item."""
    REVISIONS = "revisions"
    """Every label that ever stood has a line, and skips have none."""


def write_labels(
    queues: AnnotationQueues, queue_id: str, target: str, *, form: str | None = None, content: Content | None = None
) -> int:
    """Export a queue; a file is there whole or, on any error, as it was before.

    Args:
        queues: The service.
        queue_id: The queue.
        target: The file, or ``-`` for standard output.
        form: `JSONL`, `CSV` or `PARQUET`; None for what the file's name says.
        content: What it holds beside the labels and skips as they are; None for nothing.

    Returns:
        How many lines were written.

    Raises:
        Failure: `PARQUET`, and its extra is not installed.
    """
    form = form or next((each for each in (CSV, PARQUET) if target.lower().endswith(f".{each}")), JSONL)
    if content is Content.REVISIONS:
        lines = revisions(queues, queue_id)
    else:
        lines = labels(queues, queue_id, history=content is Content.HISTORY)
    if form == PARQUET:
        write_rows = _parquet_writer(content)
        with _open_target(target) as file:
            return write_rows(file, lines)
    count = 0
    with _open_target(target) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        if content is None:
            count = _write_pages(text, label_texts(queues, queue_id).pages, form)
        else:
            write = _csv_writer(text, content) if form == CSV else _json_writer(text)
            for line in lines:
                write(line)
                count += 1
        text.flush()
        text.detach()
    return count


def _parquet_writer(content: Content | None) -> Callable[[IO[bytes], Iterator[dict[str, Any]]], int]:
    """Prepare to write Parquet; find out that it cannot be before anything is opened."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        fail("an export as Parquet needs pyarrow: pip install 'annotation-queue[parquet]'")
    columns = (*COLUMNS, *_FURTHER_COLUMNS.get(content, ()))
    schema = pa.schema([(name, pa.timestamp("us", "UTC") if name == "updated_at" else pa.string()) for name in columns])

    def value(line: dict[str, Any], name: str) -> object:
        if name in _AS_JSON:
            return to_json(line.get(name))
        return datetime.fromisoformat(line[name]) if name == "updated_at" else line[name]

    def write(file: IO[bytes], lines: Iterator[dict[str, Any]]) -> int:
        count = 0
        with parquet.ParquetWriter(file, schema) as writer:
            while rows := list(islice(lines, _ROWS_AT_ONCE)):
                written = [[value(line, name) for line in rows] for name in columns]
                writer.write_table(pa.table(written, schema=schema))
                count += len(rows)
        return count

    return write


def _write_pages(file: TextIOWrapper, pages: Iterator[Sequence[LabelText]], form: str) -> int:
    """Write labels and skips as they are, a page at a time."""
    count = 0
    if form == CSV:
        file.write(csv_row(COLUMNS))
    for page in pages:
        file.write("".join(map(csv_row, page) if form == CSV else json_lines(page)))
        count += len(page)
        del page  # before the next one is read
    return count


def _json_writer(file: TextIOWrapper) -> Callable[[dict[str, Any]], object]:
    return lambda line: file.write(to_json(line) + "\n")


def _csv_writer(file: TextIOWrapper, content: Content | None) -> Callable[[dict[str, Any]], object]:
    columns = (*COLUMNS, *_FURTHER_COLUMNS.get(content, ()))
    file.write(csv_row(columns))
    return lambda line: file.write(
        csv_row([to_json(line[each]) if each in _AS_JSON else line[each] for each in columns])
    )


_FURTHER_COLUMNS: Final[dict[Content | None, tuple[str, ...]]] = {
    Content.HISTORY: (_HISTORY,),
    Content.REVISIONS: (_ACTOR,),
}


@contextmanager
def _open_target(target: str) -> Iterator[IO[bytes]]:
    if target == STDOUT:
        with writing_output():
            sys.stdout.flush()
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    path = Path(os.path.realpath(target))
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            yield device
        return
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    before = path.stat() if path.exists() else None
    mode = _NEW_MODE if before is None else stat.S_IMODE(before.st_mode)
    try:
        # By the umask; what is replaced may be less open than that, but never more.
        with os.fdopen(os.open(beside, _NEW_FILE, mode), "wb") as file:
            yield file
            file.flush()
            if before is not None:
                _take_over(file.fileno(), before)
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _take_over(number: int, before: os.stat_result) -> None:
    """Give a file the owner and the mode of the one that it replaces."""
    if not hasattr(os, "fchmod"):
        return  # a system whose files have neither
    with suppress(PermissionError):  # only root gives files away
        os.fchown(number, before.st_uid, before.st_gid)
    os.fchmod(number, stat.S_IMODE(before.st_mode))


@click.command(
    short_help="Write the labels and skips as JSON lines, CSV or Parquet.",
    epilog="""
\b
Examples:
  annotation-queue export labels.jsonl --db labels.db
  annotation-queue export labels.csv --history --db labels.db
  annotation-queue export labels.parquet --db labels.db
  annotation-queue export every-label.jsonl --revisions --db labels.db
  annotation-queue export --db labels.db | jq -r .annotation.label | sort
""",
)
@db_option
@project_option
@queue_option
@click.option(
    "--format",
    "form",
    type=click.Choice([JSONL, CSV, PARQUET]),
    help="The form of the lines.  [default: csv or parquet for a file named so, else jsonl]",
)
@click.option(
    "--history",
    "content",
    type=Content,
    flag_value=Content.HISTORY,
    help="Add to each line its annotator's changes of the item.",
)
@click.option(
    "--revisions",
    "content",
    type=Content,
    flag_value=Content.REVISIONS,
    help="Write every label that ever stood, with its actor_id.",
)
@click.argument("target", metavar="[OUT]", default=STDOUT)
def export(
    *, db: Address, project: str, queue_name: str | None, form: str | None, target: str, content: Content | None
) -> None:
    """Write one line for each label or skip to OUT, or to standard output.

    Lines have item_id, call_id, annotator_id, state, annotation, reason and updated_at; in CSV and Parquet the annotation and
    the history are JSON text. A text in CSV that begins with =, +, - or @ and is no number gets an apostrophe before it, so
    that no spreadsheet runs it. Lines come in the order in which they last changed; what changes meanwhile may come twice.
    A file is replaced only once everything is written, and keeps its mode; the mode of a new file is what your umask allows.
    OUT must not be the database.
    """
    check_target(target)
    check_outputs(db, outputs=[] if target == STDOUT else [File.of(target)])
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        count = write_labels(queues, queue.id, target, form=form, content=content)
    if target != STDOUT:
        say(f"exported {count:,} lines to {target}")
