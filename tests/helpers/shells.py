"""The command line, in this process or in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import chdir
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from annotation_queue.cli import run
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LABELERS = """
import os, pathlib, sys, time
from annotation_queue import SkipItem

print("imported")

def size(item):
    print(f"labelling {item.call_id}\\n", end="")  # whole, whatever other threads print
    return {"size": len(item.payload["text"])}

def plain_size(item):
    return {"size": len(item.payload["text"])}

async def size_async(item):
    return size(item)

def slow(item):
    with open("progress", "a") as file:
        file.write(item.call_id + "\\n")
    time.sleep(0.01)
    return {"size": len(item.payload["text"])}

def steady(item):
    time.sleep(0.005)

def plain(item):
    return "abc"[item.payload["id"] % 3]

def stuck(item):
    print("labelling stuck")
    pathlib.Path("stuck").touch()
    time.sleep(60)

def picky(item):
    if item.call_id == "3":
        raise ValueError("three is\\nno good")
    if item.call_id == "4":
        raise SkipItem("four is fine")
    return item.call_id

number = 7
"""


class Shell:
    """A folder to run commands in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "own_labelers.py").write_text(LABELERS)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "annotation_queue", *arguments],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run_apart(self, *arguments: str, code: int = 0, stdin: str = "") -> tuple[str, str]:
        """Run a command in a process of its own; give its output and what it said."""
        with self.start(*arguments) as process:
            out, err = process.communicate(stdin, timeout=PATIENCE)
        return self._check(process.returncode, out, err, code)

    def run(self, *arguments: str, code: int = 0, stdin: str | bytes = "") -> tuple[str, str]:
        """Run a command in this process, which takes a tenth of the time; give its output and what it said."""
        return self._check(*self.end(*arguments, stdin=stdin), code)

    def end(self, *arguments: str, stdin: str | bytes = "") -> tuple[int, str, str]:
        """Run a command in this process, however it ends; give its exit code, its output and what it said."""
        path = list(sys.path)
        try:
            with chdir(self.folder), CliRunner().isolation(input=stdin) as (out, err, _):
                got = run(arguments)
                sys.stdout.flush()
                sys.stderr.flush()
        finally:
            sys.path[:] = path
            for name in ("own_labelers", "broken"):
                sys.modules.pop(name, None)
        return got, out.getvalue().decode(), err.getvalue().decode()

    @staticmethod
    def _check(got: int, out: str, err: str, code: int) -> tuple[str, str]:
        assert got == code, (out, err)
        assert "Traceback" not in err
        if code in (2, 3):
            assert out == ""
        return out, err

    def label(self, *arguments: str, labeler: str = "size", code: int = 0, stdin: str | bytes = "") -> tuple[str, str]:
        return self.run(*self.label_command(*arguments, labeler=labeler), code=code, stdin=stdin)

    def lines(self, *arguments: str, code: int = 0, stdin: str | bytes = "") -> list[dict[str, Any]]:
        """Run a command on the database, and read the JSON lines that it prints."""
        out, _ = self.run(*arguments, "--db", "labels.db", code=code, stdin=stdin)
        return [json.loads(line) for line in out.splitlines()]

    @staticmethod
    def label_command(*arguments: str, labeler: str = "size") -> tuple[str, ...]:
        """Spell the command that labels: by one of our labelers in the name of model, unless arguments say otherwise."""
        given = () if {"--labeler", "--exec"} & set(arguments) else ("--labeler", f"own_labelers:{labeler}")
        who = () if "--annotator" in arguments else ("--annotator", "model")
        return ("label", *given, *who, "--db", "labels.db", *arguments)

    def write(self, name: str, records: Iterable[object]) -> None:
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (self.folder / name).write_text("\n".join(lines) + "\n")

    def read(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def records(self, count: int, name: str = "items.jsonl") -> None:
        self.write(name, ({"id": n, "text": "x" * (n % 7)} for n in range(count)))

    def exists(self, name: str) -> bool:
        return (self.folder / name).exists()
