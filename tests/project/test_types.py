"""What type checkers say of the package: everything public has a type that is known to all of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import annotation_queue
from helpers.public import PUBLIC
from project.test_annotations import public
from testing import dictionary

ROOT = Path(annotation_queue.__file__).parents[1]
USES = """
from annotation_queue import AnnotationQueues, Claim, JsonInput, NewItem, QueueItem, Unavailable, UnavailableReason, run_batch
from typing_extensions import assert_type

def use(queues: AnnotationQueues) -> None:
    labels: dict[str, int] = {"stars": 5}
    words: list[str] = ["good"]
    claim = queues.claim("queue", "ann")
    if claim:
        assert_type(claim, Claim)
        queues.complete(claim, labels)
    else:
        assert_type(claim, Unavailable)
        assert_type(claim.reason, UnavailableReason)
    if isinstance(claim, Claim):
        queues.save_draft(claim, words)
    NewItem(call_id="call", payload=labels, display_fields=words)
    queues.create("queue", created_by="ann", label_schema={"enum": words})
    report = run_batch(queues, "queue", lambda item: item.call_id, annotator_id="bot", on_failure="release")
    assert_type(report.completed, int)

async def label(item: QueueItem) -> JsonInput:
    return {"call": item.call_id}

def use_coroutine(queues: AnnotationQueues) -> None:
    run_batch(queues, "queue", label, annotator_id="bot", on_failure="forget")  # the only fault
"""


def run_module(*arguments: str) -> str:
    """Run a program of this environment where the package is; give what it printed."""
    command = [sys.executable, "-m", *arguments]
    # A checker that asks an environment's Python where its packages are may be answered by the Python that it was made of.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout


def basedpyright(*arguments: str) -> dict[str, Any]:
    """Run the checker, which brings its own Node.js, and read its report."""
    report: dict[str, Any] = json.loads(
        run_module("basedpyright", "--outputjson", "--pythonpath", sys.executable, *arguments)
    )
    return report


@pytest.mark.slow
def test_every_public_name_has_a_type_that_every_checker_knows() -> None:
    offered = [(name, value) for name, value in public() if name.rpartition(".")[0] in PUBLIC]
    names = {name for name, _ in offered}
    names |= {f"{value.__module__}.{value.__qualname__}" for _, value in offered if isinstance(value, type)}
    completeness = basedpyright("--verifytypes", "annotation_queue", "--ignoreexternal")["typeCompleteness"]
    symbols = [each for each in completeness["symbols"] if each["isExported"] and is_of(each["name"], names)]
    unknown = [each["name"] for each in symbols if not each["isTypeKnown"] or each["isTypeAmbiguous"]]
    assert unknown == []
    assert len(symbols) > 700


def is_of(name: str, names: set[str]) -> bool:
    """Tell whether a symbol is one of some names, or a member of one."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in names for length in range(2, len(parts) + 1))


@pytest.mark.slow
def test_checkers_follow_what_callers_write(tmp_path: Path) -> None:
    program = tmp_path / "uses.py"
    program.write_text(USES, encoding="utf-8")
    wrong_line = 1 + USES.splitlines().index(next(line for line in USES.splitlines() if "the only fault" in line))
    report = basedpyright("--level", "error", str(program))
    assert [each["range"]["start"]["line"] + 1 for each in report["generalDiagnostics"]] == [wrong_line], report
    said = run_module("mypy", "--strict", "--config-file=", "--no-error-summary", str(program))
    assert [line.split(":")[1] for line in said.splitlines() if ": error:" in line] == [str(wrong_line)], said


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_the_readme_shows_has_no_fault_for_checkers(checker: str, tmp_path: Path) -> None:
    blocks = [example.parsed for example in Sybil(parsers=[PythonCodeBlockParser()]).parse(ROOT / "README.md")]
    program = tmp_path / "readme.py"
    program.write_text("\n\n".join(blocks), encoding="utf-8")
    shutil.copy(dictionary.__file__, tmp_path / "my_storage.py")
    if checker == "mypy":
        said = run_module("mypy", "--strict", "--config-file=", str(program))
        assert said == "Success: no issues found in 1 source file\n"
    else:
        settings = {
            "include": ["readme.py"],
            "extraPaths": [str(ROOT)],
            "typeCheckingMode": "strict",
            "reportDuplicateImport": False,  # each block imports what it shows
        }
        (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
        report = basedpyright("--level", "error", "--project", str(tmp_path))
        assert [each["message"] for each in report["generalDiagnostics"]] == []
        assert report["summary"]["filesAnalyzed"] == 1
