"""A process that labels a queue, to be killed, to run out of disk, or to be measured.

Started as ``python -m helpers.batch_process HOW DATABASE QUEUE_ID LOG``. It appends a line to the log before each call of the
labeler and after each label that was acknowledged.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from annotation_queue import AnnotationQueues, SQLiteRepository, StorageFull, run_batch
from annotation_queue.batch.limits import Limits
from helpers.batches import run_within

if TYPE_CHECKING:
    from annotation_queue import BatchReport, QueueItem

PADDING = "x" * 4_000
ROOM = 400_000
WARM = 4_000
"""After so many items, a process that is measured has made whatever it keeps for good."""
LEASE = timedelta(seconds=0.4)


class Log:
    """A file to which every line goes at once, so that it is there whatever becomes of the process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: str, item: QueueItem) -> None:
        os.write(self._file, f"{what} {item.call_id}\n".encode())

    def acknowledge(self, report: BatchReport) -> None:
        if report.newest is not None and report.newest.counted_as == "completed":
            self.write("stored", report.newest.item)


def label_until_killed(queues: AnnotationQueues, queue_id: str, log: Log) -> None:
    never = threading.Event()

    def label(item: QueueItem) -> object:
        log.write("called", item)
        never.wait(0.002)  # a labeler takes its time
        return {"label": item.call_id}

    report = run_batch(
        queues, queue_id, label, annotator_id="model", workers=4, lease=LEASE, on_progress=log.acknowledge
    )
    print(report.completed, report.lost)  # noqa: T201 - the test reads it


def label_until_full(queues: AnnotationQueues, queue_id: str, log: Log, *, database: str, frees: bool) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = threading.Event()

    def look(report: BatchReport) -> None:
        log.acknowledge(report)
        if report.storage_error is not None:
            full.set()
            if frees:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    def label(item: QueueItem) -> object:
        return {"label": item.call_id, "why": PADDING}

    limits = Limits(patience=60.0 if frees else 0.2)
    largest = max(path.stat().st_size for path in Path(database).parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + ROOM, hard))
    try:
        run_within(limits, queues, queue_id, label, workers=2, lease=LEASE, on_progress=look)
    except StorageFull:
        print("full")  # noqa: T201 - the test reads it
    assert full.is_set()


def label_and_measure(queues: AnnotationQueues, queue_id: str) -> None:
    early: list[int] = []

    def look(report: BatchReport) -> None:
        if report.attempted == WARM:
            early.append(sys.getallocatedblocks())

    report = run_batch(queues, queue_id, lambda item: {"label": item.call_id}, annotator_id="model", on_progress=look)
    print(report.completed, *early, sys.getallocatedblocks(), largest_memory())  # noqa: T201 - the test reads it


def largest_memory() -> int:
    """Tell the most memory that this process had resident, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage gives there may be that of the process which started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main() -> None:
    how, database, queue_id, log_path = sys.argv[1:]
    with SQLiteRepository(database, synchronous="NORMAL" if how == "measured" else "FULL") as repository:
        queues = AnnotationQueues(repository, "project")
        if how == "measured":
            label_and_measure(queues, queue_id)
        elif how == "killed":
            label_until_killed(queues, queue_id, Log(log_path))
        else:
            label_until_full(queues, queue_id, Log(log_path), database=database, frees=how == "freed")


if __name__ == "__main__":
    main()
