"""The command line in real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

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

async def size_async(item):
    return size(item)

def slow(item):
    with open("progress", "a") as file:
        file.write(item.call_id + "\\n")
    time.sleep(0.01)
    return {"size": len(item.payload["text"])}

def stuck(item):
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
        return subprocess.Popen(
            [sys.executable, "-m", "annotation_queue", *arguments],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, stdin: str = "") -> tuple[str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(stdin, timeout=PATIENCE)
        assert process.returncode == code, (out, err)
        assert "Traceback" not in err
        if code >= 2:
            assert out == ""
        return out, err

    def label(self, *arguments: str, labeler: str = "size", code: int = 0, stdin: str = "") -> tuple[str, str]:
        return self.run(*self.label_command(*arguments, labeler=labeler), code=code, stdin=stdin)

    @staticmethod
    def label_command(*arguments: str, labeler: str = "size") -> tuple[str, ...]:
        return (
            "label",
            "--labeler",
            f"own_labelers:{labeler}",
            "--annotator",
            "model",
            "--db",
            "labels.db",
            *arguments,
        )

    def write(self, name: str, records: Iterable[object]) -> None:
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (self.folder / name).write_text("\n".join(lines) + "\n")

    def read(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def records(self, count: int, name: str = "items.jsonl") -> None:
        self.write(name, ({"id": n, "text": "x" * (n % 7)} for n in range(count)))

    def exists(self, name: str) -> bool:
        return (self.folder / name).exists()
