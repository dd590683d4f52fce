"""Exports: their bytes on each storage, and what they hold of it at a time."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from annotation_queue import AnnotationQueues, AnnotationState, InvalidValue, MemoryRepository, NewItem, QueueNotFound
from annotation_queue.cli.exports import write_labels
from annotation_queue.exports import csv_lines, json_lines, label_texts
from helpers.exported import LABELLED, Labelled, check_export
from helpers.sqlite_files import empty_repository

if TYPE_CHECKING:
    from pathlib import Path


MEBIBYTE = 1 << 20


@given(labelled=LABELLED)
def test_an_export_has_the_bytes_that_the_encoder_writes_of_the_labels(
    tmp_path_factory: pytest.TempPathFactory, labelled: list[Labelled]
) -> None:
    folder = tmp_path_factory.mktemp("exports")
    check_export(MemoryRepository(), labelled, folder / "out")
    with empty_repository(folder / "queues.db") as repository:
        check_export(repository, labelled, folder / "out")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_of_many_pages_is_whole_and_in_order_and_holds_one_of_them(
    queues: AnnotationQueues, tmp_path: Path, form: str
) -> None:
    queue = queues.create("queue", created_by="ann")
    added = queues.add_items(queue.id, [NewItem(call_id=f"call {n}") for n in range(30)], added_by="ann").added
    for item in added:
        queues.update_progress(item.id, "bob", AnnotationState.COMPLETED, annotation=["é" * (MEBIBYTE // 4)])
    tracemalloc.start()
    try:
        held, _ = tracemalloc.get_traced_memory()
        written = write_labels(queues, queue.id, str(tmp_path / "out"), form=form)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written == 30
    size = (tmp_path / "out").stat().st_size
    assert size > 15 * MEBIBYTE
    assert peak - held < size * 0.8, f"held {(peak - held) / MEBIBYTE:.1f} MiB of {size / MEBIBYTE:.1f}"
    lines = (tmp_path / "out").read_text(encoding="utf-8").splitlines()[form == "csv" :]
    assert [item.call_id in line[:100] for item, line in zip(added, lines, strict=True)] == [True] * 30


def test_an_export_of_no_queue_says_so_and_one_of_no_labels_is_empty(queues: AnnotationQueues) -> None:
    queue = queues.create("queue", created_by="ann")
    assert list(json_lines(label_texts(queues, queue.id))) == []
    assert len(list(csv_lines(label_texts(queues, queue.id)))) == 1
    with pytest.raises(QueueNotFound):
        list(label_texts(queues, "unknown"))
    with pytest.raises(InvalidValue):
        label_texts(queues, "")
