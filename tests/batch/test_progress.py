"""The bar of ``progress=True``: in a terminal, in a notebook, by tqdm or rich, and silent elsewhere."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from annotation_queue import AnnotationQueues, BatchReport, MemoryRepository, run_batch, run_batches
from annotation_queue.aio import run_batch_async
from annotation_queue.batch import progress
from helpers.batches import fill, label_number
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRAM = """
import asyncio, sys

sys.modules["{missing}"] = None
from annotation_queue import AnnotationQueues, MemoryRepository, NewItem, run_batch, run_batches
from annotation_queue.aio import run_batch_async


def label(item):
    if item.call_id == "3":
        raise ValueError("three")
    return item.call_id


async def label_async(item):
    return item.call_id


with MemoryRepository() as repository:
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann", annotations_per_item=5)
    queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(20)], added_by="ann")
    run_batch(queues, queue.id, label, annotator_id="one", limit=12, max_attempts=1, progress=True)
    run_batches(queues, queue.id, {{"judge-a": label_async, "judge-b": label_async}}, progress=True)
    asyncio.run(run_batch_async(queues, queue.id, label_async, annotator_id="four", limit=7, progress=True))
    print("done")
"""


@pytest.fixture
def queues() -> Iterator[AnnotationQueues]:
    """A project in memory."""
    with MemoryRepository() as repository:
        yield AnnotationQueues(repository, "project")


@pytest.mark.slow
@pytest.mark.parametrize("library", progress._LIBRARIES)
def test_a_terminal_shows_a_bar_by_whichever_library_is_there(library: str) -> None:
    (missing,) = set(progress._LIBRARIES) - {library}
    process = pexpect.spawn(
        sys.executable,
        ["-c", PROGRAM.format(missing=missing)],
        env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
        dimensions=(40, 100),
        encoding="utf-8",
        timeout=PATIENCE,
    )
    shown = ESCAPES.sub("", process.read())
    process.close()
    assert process.exitstatus == 0, shown
    lines = re.split(r"[\r\n]+", shown)
    for heading, count, notes in (("labelling", 12, "1 failed"), ("judge-a", 20, ""), ("judge-b", 20, "")):
        whole = [line for line in lines if line.startswith(heading) and f"{count}/{count}" in line]
        assert any(notes in line for line in whole), shown
    assert any("7/7" in line for line in lines)
    assert lines[-2:] == ["done", ""]


@pytest.mark.slow
@pytest.mark.parametrize("library", progress._LIBRARIES)
@pytest.mark.filterwarnings("ignore")  # what Jupyter's own packages warn of among themselves
def test_a_notebook_shows_a_bar_of_its_own(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for variable in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (missing,) = set(progress._LIBRARIES) - {library}
    # An event loop runs in a notebook already: there it is awaited.
    code = PROGRAM.format(missing=missing).replace("asyncio.run(run_batch_async", "await (run_batch_async")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert "".join(each.text for each in outputs if each.get("name") == "stdout") == "done\n"
    shown = [each.data for each in outputs if each.output_type == "display_data"]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown)
    # tqdm's is made of widgets, with spaces of its own; rich draws into one.
    drawn = str(notebook.metadata.widgets).replace(r"\u2007", " ").replace("\u2007", " ")
    for part in ("12/12", "1 failed", "judge-a", "20/20", "7/7"):
        assert part in drawn


def test_what_is_neither_a_terminal_nor_a_notebook_stays_silent(
    queues: AnnotationQueues, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    told: list[BatchReport] = []
    queue_id = fill(queues, 3, annotations_per_item=4)
    for name, library in (("a", "tqdm"), ("b", "rich")):
        monkeypatch.setattr(progress, "check_bars", lambda library=library: library)
        report = run_batch(queues, queue_id, label_number, annotator_id=name, on_progress=told.append, progress=True)
        assert report.completed == 3
    assert [report.attempted for report in told] == [1, 2, 3, 1, 2, 3]
    reports = run_batches(queues, queue_id, {"c": label_number}, progress=True)
    assert reports["c"].completed == 3

    async def label(item: object) -> object:
        return str(item)

    report = asyncio.run(
        run_batch_async(queues, queue_id, label, annotator_id="d", on_progress=told.append, progress=True)
    )
    assert report.completed == 3
    assert len(told) == 9
    assert capsys.readouterr() == ("", "")


def test_without_a_library_it_says_what_to_install_and_does_nothing(
    queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_id = fill(queues, 3)
    for name in progress._LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)

    async def label(item: object) -> object:
        return str(item)

    message = r"progress=True needs tqdm or rich: pip install 'annotation-queue\[progress\]'"
    with pytest.raises(ModuleNotFoundError, match=message):
        run_batch(queues, queue_id, label_number, annotator_id="model", progress=True)
    with pytest.raises(ModuleNotFoundError, match=message):
        run_batches(queues, queue_id, {"model": label_number}, progress=True)
    with pytest.raises(ModuleNotFoundError, match=message):
        asyncio.run(run_batch_async(queues, queue_id, label, annotator_id="model", progress=True))
    (stats,) = queues.stats([queue_id])
    assert stats.by_annotator == {}


def test_a_bar_says_what_keeps_a_run_from_labelling() -> None:
    said = [
        progress._heading("a", totals, report)
        for totals in ({"a": 1}, {"a": 1, "b": 1})
        for report in (
            BatchReport(),
            BatchReport(waiting_for=1_200),
            BatchReport(interrupted=True),
            BatchReport(storage_error="busy", waiting_for=1),
        )
    ]
    assert said == [
        "labelling",
        "waiting for 1,200 held",
        "stopping",
        "the storage fails, trying again",
        "a",
        "a: waiting for 1,200 held",
        "a: stopping",
        "a: the storage fails, trying again",
    ]
