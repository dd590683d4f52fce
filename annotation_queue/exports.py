"""Labels and skips as lines of JSON or CSV, for files that people and programs open."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from annotation_queue.labels import LabelQuery
from annotation_queue.queues import AnnotationQueues

COLUMNS: Final = ("item_id", "call_id", "annotator_id", "state", "annotation", "reason", "updated_at")
"""What a line holds."""
_RUNS: Final = ("=", "+", "-", "@", "\t", "\r")
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False)
"""Made once: what is stored holds no cycles, and to make an encoder takes as long as a line."""
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def label_lines(queues: AnnotationQueues, queue_id: str) -> Iterator[dict[str, Any]]:
    """Walk over the lines of an export.

    Args:
        queues: The service.
        queue_id: The queue.

    Yields:
        A line for each label or skip, in the order in which they last changed. What changes during the walk may come twice: as
        it was and as it is.

    Raises:
        QueueNotFound: There is no such live queue in the project.
    """
    for label in queues.iter_labels(queue_id, LabelQuery(include_payload=False)):
        progress = label.progress
        yield {
            "item_id": label.item.id,
            "call_id": label.item.call_id,
            "annotator_id": progress.annotator_id,
            "state": progress.state.value,
            "annotation": progress.annotation,
            "reason": progress.reason,
            "updated_at": timestamp(progress.updated_at),
        }


def json_lines(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write lines as JSON, each with its line break."""
    for line in lines:
        yield _ENCODER.encode(line) + "\n"


def csv_lines(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write lines as CSV below their heading, each with its line break; the annotation is JSON text."""
    yield csv_row(COLUMNS)
    for line in lines:
        yield csv_row([_ENCODER.encode(line[name]) if name == "annotation" else line[name] for name in COLUMNS])


class _Echo:
    """A file that hands back what is written to it; a writer of CSV returns that."""

    def write(self, text: str) -> str:
        return text


def csv_row(cells: Sequence[object]) -> str:
    """Write one line of CSV with its line break, with nothing in it that a spreadsheet would run."""
    row: str = csv.writer(_Echo(), lineterminator="\n").writerow([safe_cell(cell) for cell in cells])
    return row


def safe_cell(cell: object) -> object:
    """Write a text so that a spreadsheet takes it for text.

    Args:
        cell: What stands in the cell.

    Returns:
        A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, which a spreadsheet would take for a
        formula, gets an apostrophe in front of it, unless it is a number. Anything else stays as it is.

    >>> safe_cell("=1+1"), safe_cell("-3.5"), safe_cell("fine")
    ("'=1+1", '-3.5', 'fine')
    """
    if isinstance(cell, str) and cell.startswith(_RUNS) and _NUMBER.fullmatch(cell) is None:
        return f"'{cell}"
    return cell


def timestamp(moment: datetime | None) -> str | None:
    """Write a UTC time as ISO 8601 with microseconds and Z; None stays None."""
    return None if moment is None else moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
