"""Labels and skips as lines of JSON or CSV, for files that people and programs open."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from annotation_queue.json_values import spaced_json
from annotation_queue.labels import LabelQuery, LabelText, text_of
from annotation_queue.queues import AnnotationQueues
from annotation_queue.repository import ReadsLabelTexts
from annotation_queue.values import check_id
from annotation_queue.walks import Walk, walk

COLUMNS: Final = LabelText._fields
"""What a line holds."""
_LABELS: Final = LabelQuery(include_payload=False)
_RUNS: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def label_texts(queues: AnnotationQueues, queue_id: str) -> Walk[LabelText]:
    """Walk over what an export tells.

    Args:
        queues: The service.
        queue_id: The queue.

    Returns:
        A text for each label or skip, in the order in which they last changed. What changes during the walk may come twice: as
        it was and as it is.

    Raises:
        QueueNotFound: There is no such live queue in the project; it comes up in the walk.
    """
    repository, project_id, queue_id = queues.repository, queues.project_id, check_id("queue_id", queue_id)
    if isinstance(repository, ReadsLabelTexts):
        reader = repository

        def read(part: LabelQuery) -> tuple[Sequence[LabelText], str | None]:
            return reader.label_texts(project_id, queue_id, part)
    else:

        def read(part: LabelQuery) -> tuple[Sequence[LabelText], str | None]:
            page = queues.labels(queue_id, part)
            return [text_of(label) for label in page.labels], page.next_cursor

    return walk(read, _LABELS)


def json_lines(texts: Iterable[LabelText]) -> Iterator[str]:
    """Write labels as lines of JSON, each with its line break."""
    # Every value is text or JSON already: put together it takes a third of the time of an encoder that looks at each.
    for item_id, call_id, annotator_id, state, annotation, reason, updated_at in texts:
        yield (
            f'{{"item_id": {spaced_json(item_id)}, "call_id": {spaced_json(call_id)}, '
            f'"annotator_id": {spaced_json(annotator_id)}, "state": "{state}", "annotation": {annotation}, '
            f'"reason": {"null" if reason is None else spaced_json(reason)}, "updated_at": "{updated_at}"}}\n'
        )


def csv_lines(texts: Iterable[LabelText]) -> Iterator[str]:
    """Write labels as lines of CSV below their heading, each with its line break; the annotation is JSON text."""
    yield csv_row(COLUMNS)
    yield from map(csv_row, texts)


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
