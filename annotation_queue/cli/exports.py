"""The export: one JSON line for each progress that is completed or skipped."""

from __future__ import annotations

import json
import os
import secrets
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click

from annotation_queue.cli.store import (
    choose_queue,
    db_option,
    fail,
    open_queues,
    project_option,
    queue_option,
    say,
    timestamp,
)
from annotation_queue.errors import ItemNotFound
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.states import SETTLING, UNSTARTED, AnnotationState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.values import JsonValue

STDOUT: Final = "-"
_TOUCHED: Final = frozenset(AnnotationState) - {UNSTARTED}


def labels(queues: AnnotationQueues, queue_id: str) -> Iterator[dict[str, JsonValue]]:
    """Walk over what annotators completed or skipped.

    Args:
        queues: The service.
        queue_id: The queue.

    Yields:
        A line for each, in queue order and by annotator id. What changes during the walk may show as before or after.
    """
    for item in queues.iter_items(queue_id, ItemQuery(filter=ItemFilter(annotation_states=_TOUCHED))):
        # An item that is removed during the walk has nothing to show any more.
        with suppress(ItemNotFound):
            for progress in queues.progress(item.id):
                if progress.state in SETTLING:
                    yield {
                        "item_id": item.id,
                        "call_id": item.call_id,
                        "annotator_id": progress.annotator_id,
                        "state": progress.state.value,
                        "annotation": progress.annotation,
                        "reason": progress.reason,
                        "updated_at": timestamp(progress.updated_at),
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


def write_labels(queues: AnnotationQueues, queue_id: str, target: str) -> int:
    """Export a queue; a file is there whole or, on any error, as it was before.

    Args:
        queues: The service.
        queue_id: The queue.
        target: The file, or ``-`` for standard output.

    Returns:
        How many lines were written.
    """
    count = 0
    with _open_target(target) as file:
        for line in labels(queues, queue_id):
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


@contextmanager
def _open_target(target: str) -> Iterator[IO[bytes]]:
    if target == STDOUT:
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
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@click.command(short_help="Write the labels and skips as JSON lines.")
@db_option
@project_option
@queue_option
@click.argument("target", metavar="[OUT.jsonl]", default=STDOUT)
def export(db: Path, project: str, queue_name: str | None, target: str) -> None:
    """Write one JSON line for each label or skip to OUT.jsonl, or to standard output.

    Lines have item_id, call_id, annotator_id, state, annotation, reason and updated_at. Items come in queue order,
    their annotators by id. A file is replaced only once everything is written.
    """
    check_target(target)
    with open_queues(db, project) as queues:
        queue = choose_queue(queues, queue_name)
        count = write_labels(queues, queue.id, target)
    if target != STDOUT:
        say(f"exported {count:,} lines to {target}")
