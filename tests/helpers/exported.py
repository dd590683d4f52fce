"""What an export has to be: written by the encoder of the standard library from the labels as they are read one by one."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from annotation_queue import AnnotationQueues, AnnotationState, LabelQuery, NewItem
from annotation_queue.cli.exports import write_labels
from annotation_queue.exports import COLUMNS, safe_cell
from annotation_queue.testing.strategies import json_values, texts, times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from annotation_queue import Repository

STATES = (AnnotationState.COMPLETED, AnnotationState.SKIPPED)
LABELLED = st.lists(
    st.tuples(texts(min_size=1), times(), st.sampled_from(STATES), json_values(), st.none() | texts()), max_size=8
)
"""Labels: the annotator, when, the state, the label and the reason."""
Labelled = tuple[str, datetime, AnnotationState, Any, str | None]


def check_export(repository: Repository, labelled: Sequence[Labelled], file: Path) -> None:
    """Give items these labels and export them: each form has the bytes that the encoder writes of the labels."""
    now = [datetime.min.replace(tzinfo=UTC)]
    queues = AnnotationQueues(repository, "project", clock=lambda: now[-1])
    queue = queues.create("queue", created_by="ann")
    for number, (annotator_id, at, state, label, reason) in enumerate(labelled):
        now.append(at)
        new = NewItem(call_id=f"{number} {annotator_id}")
        (item,) = queues.add_items(queue.id, [new], added_by="ann").added
        queues.update_progress(item.id, annotator_id, state, annotation=label, reason=reason)
    for form, written in (("jsonl", json_text), ("csv", csv_text)):
        count = write_labels(queues, queue.id, str(file), form=form)
        assert count == len(labelled)
        assert file.read_bytes() == written(lines_of(queues, queue.id)).encode()


def lines_of(queues: AnnotationQueues, queue_id: str) -> list[dict[str, Any]]:
    """Give what the lines say."""
    return [
        {
            "item_id": label.item.id,
            "call_id": label.item.call_id,
            "annotator_id": label.progress.annotator_id,
            "state": str(label.progress.state),
            "annotation": label.progress.annotation,
            "reason": label.progress.reason,
            "updated_at": f"{label.progress.updated_at.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
        }
        for label in queues.iter_labels(queue_id, LabelQuery())
    ]


def json_text(lines: Sequence[dict[str, Any]]) -> str:
    """Write lines as JSON."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def csv_text(lines: Sequence[dict[str, Any]]) -> str:
    """Write lines as CSV."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        cells = {**line, "annotation": json.dumps(line["annotation"], ensure_ascii=False)}
        writer.writerow([safe_cell(cells[name]) for name in COLUMNS])
    return file.getvalue()
