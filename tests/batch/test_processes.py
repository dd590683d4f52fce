"""The batch runner in real processes: killed at random moments, out of disk, and how much memory it takes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import helpers
from annotation_queue import AnnotationQueues, NewItem, SQLiteRepository
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = 20
MEGABYTE = 1_000_000


class Job:
    """A queue in a file, and processes that label it."""

    def __init__(self, folder: Path) -> None:
        self.database, self.log = folder / "labels.db", folder / "log"
        self.repository = SQLiteRepository(self.database, synchronous="OFF")
        self.queues = AnnotationQueues(self.repository, "project")
        self.queue_id = self.queues.create("job", created_by="ann").id
        self.log.touch()

    def add(self, count: int) -> None:
        self.queues.add_items(self.queue_id, (NewItem(call_id=f"call-{n}") for n in range(count)), added_by="ann")

    def start(self, how: str) -> subprocess.Popen[str]:
        folder = str(Path(helpers.__file__).parent.parent)
        return subprocess.Popen(
            [sys.executable, "-m", "helpers.batch_process", how, str(self.database), self.queue_id, str(self.log)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([folder, *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, how: str, *, patience: float = PATIENCE) -> str:
        with self.start(how) as process:
            out, err = process.communicate(timeout=patience)
        assert process.returncode == 0, err
        return out

    def lines(self) -> list[str]:
        """Give the log's whole lines."""
        return self.log.read_text().split("\n")[:-1]

    def check(self, count: int) -> None:
        """Make sure that every item has its own label, stored once, and that what was acknowledged was not done again."""
        assert self.repository.check() == ()
        items = list(self.queues.iter_items(self.queue_id))
        assert len(items) == count
        for item in items:
            (progress,) = self.queues.progress(item.id)
            assert progress.state.value == "completed"
            assert isinstance(progress.annotation, dict)
            assert progress.annotation["label"] == item.call_id
            moves = [move.to_state.value for move in self.queues.history(item.id)]
            assert moves.count("completed") == 1
        stored: set[str] = set()
        for line in self.lines():
            what, call_id = line.split()
            assert call_id not in stored, f"{line} after it was stored"
            if what == "stored":
                stored.add(call_id)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A queue in a file."""
    made = Job(tmp_path)
    yield made
    made.repository.close()


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_labels_everything_once(job: Job) -> None:
    count, chance = 2_500, random.Random(7)  # noqa: S311 - moments, no secrets
    job.add(count)
    for _ in range(KILLS):
        before, more = len(job.lines()), chance.randint(1, 60)
        with job.start("killed") as process:
            wait_until(lambda: len(job.lines()) >= before + more or process.poll() is not None)  # noqa: B023 - at once
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
    held = job.queues.stats([job.queue_id])[0].by_annotator["model"]
    assert held.get("completed", 0) < count  # type: ignore[call-overload]  # its value will do
    job.run("killed", patience=2 * PATIENCE)
    job.check(count)


def test_a_run_goes_on_when_there_is_room_on_the_disk_again(job: Job) -> None:
    job.add(300)
    assert job.run("freed") == ""
    job.check(300)


@pytest.mark.slow
def test_a_run_that_ran_out_of_disk_is_resumed_without_a_loss(job: Job) -> None:
    job.add(300)
    assert job.run("full") == "full\n"
    stored = sum(line.startswith("stored") for line in job.lines())
    assert 0 < stored < 300
    job.run("killed")
    job.check(300)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_items_that_were_labelled(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    # What measures the tests would take most of the time, and memory of its own.
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        monkeypatch.delenv(name)
    job.add(20_000)
    completed, early, late, most = map(int, job.run("measured", patience=4 * PATIENCE).split())
    assert completed == 20_000
    assert (
        late - early < 1_000
    )  # blocks of memory, while 16,000 items were labelled; SQLite's own cache is none of them
    assert most < 200 * MEGABYTE
    assert job.queues.stats([job.queue_id])[0].finished_items == 20_000
