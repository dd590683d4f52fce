"""The core, SQLite, the runner and the command line do their work where fork, fcntl and POSIX signals are missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from helpers import no_posix

PROGRAM = """
import asyncio, os, signal, sys

for name in ("fork", "register_at_fork", "waitid", "killpg"):
    assert not hasattr(os, name), name
assert not hasattr(signal, "SIGHUP")
try:
    import fcntl
except ImportError:
    pass
else:
    raise AssertionError("there is a fcntl")

from annotation_queue import AnnotationQueues, MemoryRepository, NewItem, SQLiteRepository, run_batch, run_batches
from annotation_queue.aio import AsyncAnnotationQueues, run_batch_async


async def label(item):
    return {"call": item.call_id}


async def label_all(queues, queue_id):
    async with AsyncAnnotationQueues(queues._repository, queues.project_id) as awaited:
        return await run_batch_async(awaited, queue_id, label, annotator_id="d")


def use(repository):
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann", annotations_per_item=4)
    queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(20)], added_by="ann")
    claim = queues.claim(queue.id, "a")
    queues.complete(claim, "by hand")
    assert run_batch(queues, queue.id, lambda item: item.call_id, annotator_id="a", workers=2).completed == 19
    reports = run_batches(queues, queue.id, {"b": label, "c": label})
    assert [report.completed for report in reports.values()] == [20, 20]
    assert asyncio.run(label_all(queues, queue.id)).completed == 20
    assert len(list(queues.iter_labels(queue.id))) == 80
    assert repository.check() == ()


with MemoryRepository() as repository:
    use(repository)
with SQLiteRepository("labels.db") as repository:
    use(repository)

from annotation_queue.cli import run

ITEMS = ["label", "items.jsonl", "--annotator", "m", "--db", "cli.db"]
assert run([*ITEMS, "--exec", "cat"]) == 2
assert not os.path.exists("cli.db")
for _ in range(2):  # the second time over what is there
    assert run([*ITEMS, "--labeler", "judge:score", "--export", "out.jsonl"]) == 0
assert run(["stats", "--db", "cli.db"]) == 0
assert run(["check", "--db", "cli.db"]) == 0
"""


def test_all_but_programs_runs_without_posix(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "judge.py").write_text("def score(item):\n    return item.payload['id']\n")
    (tmp_path / "items.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    ran = subprocess.run(
        [sys.executable, no_posix.__file__, "program.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr.count("Traceback")) == (0, 0), ran.stderr
    assert "--exec needs POSIX pipes, sessions and waitid, which this system lacks" in ran.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(line["annotation"] for line in lines) == [1, 2]
