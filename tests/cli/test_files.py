"""Files that a command reads and writes: no input and no database is ever written over, wherever a labeler goes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from annotation_queue.cli import paths
from annotation_queue.cli.paths import File
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.shells import Shell

DB = ("--db", "labels.db")
PROBLEM = "would be written over; choose another file"


@pytest.fixture
def labelled(shell: Shell) -> Shell:
    shell.records(3)
    shell.label("items.jsonl", "--export", "out.jsonl")
    return shell


def contents(shell: Shell) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shell.folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    "target",
    [
        "labels.db",
        "./labels.db",
        "sub/../labels.db",
        "link.db",
        "hard.db",
        "labels.db-wal",
        "labels.db-shm",
        "labels.db-journal",
    ],
)
def test_no_export_writes_over_the_database(labelled: Shell, target: str) -> None:
    (labelled.folder / "sub").mkdir()
    (labelled.folder / "link.db").symlink_to("labels.db")
    (labelled.folder / "hard.db").hardlink_to(labelled.folder / "labels.db")
    for command in (("export", target, *DB), labelled.label_command("items.jsonl", "--export", target)):
        before = contents(labelled)
        _, err = labelled.run(*command, code=2)
        assert PROBLEM in err
        assert contents(labelled) == before
    assert len(labelled.lines("export")) == 3


@pytest.mark.parametrize("target", ["items.jsonl", "own_labelers.py", "link.jsonl"])
def test_no_export_writes_over_what_is_read(labelled: Shell, target: str) -> None:
    (labelled.folder / "link.jsonl").symlink_to("items.jsonl")
    before = contents(labelled)
    _, err = labelled.label("items.jsonl", "--export", target, code=2)
    assert PROBLEM in err
    assert contents(labelled) == before


def test_no_export_writes_over_a_program(labelled: Shell) -> None:
    (labelled.folder / "judge.py").write_text("pass")
    _, err = labelled.label("items.jsonl", "--exec", f"{sys.executable} judge.py", "--export", "judge.py", code=2)
    assert PROBLEM in err


@pytest.mark.parametrize("command", ["add", "label"])
def test_an_input_is_no_database(shell: Shell, command: str) -> None:
    (shell.folder / "items.jsonl").touch()
    arguments = ("add", "items.jsonl") if command == "add" else shell.label_command("items.jsonl")
    _, err = shell.run(*arguments, "--db", "items.jsonl", code=2)
    assert PROBLEM in err
    assert (shell.folder / "items.jsonl").read_bytes() == b""


def test_standard_output_is_not_the_database(labelled: Shell) -> None:
    command = [sys.executable, "-m", "annotation_queue", "items", *DB]
    for number in ("stdout", "stderr"):
        with (labelled.folder / "labels.db").open("ab") as file:
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, number: file}
            done = subprocess.run(command, cwd=labelled.folder, **streams, timeout=PATIENCE, check=False)  # type: ignore[call-overload]
        if number == "stdout":
            assert (done.returncode, PROBLEM in done.stderr.decode()) == (2, True)


def test_names_that_differ_by_case_alone_are_one_file_while_neither_is_there(tmp_path: Path) -> None:
    one, other = File.of(tmp_path / "Labels.DB"), File.of(tmp_path / "labels.db")
    assert one.is_same(other)
    assert File.of(tmp_path / "cafe\u0301").is_same(File.of(tmp_path / "caf\u00e9"))
    (tmp_path / "labels.db").touch()
    if not (tmp_path / "Labels.DB").exists():  # case makes a difference here, as it turns out
        assert not one.is_same(other)


def test_the_null_device_may_be_input_and_output(shell: Shell) -> None:
    shell.records(1)
    shell.label("items.jsonl")
    shell.run("export", "/dev/null", *DB)
    assert paths.find_clash([File.of("/dev/null")], [File.of("/dev/null")]) is None


@pytest.mark.parametrize("moment", ["when it is imported", "when it is called"])
def test_a_labeler_that_goes_elsewhere_moves_no_file(shell: Shell, moment: str) -> None:
    shell.records(2)
    (shell.folder / "sub").mkdir()
    move = "os.chdir('sub')\n"
    body = "import os\ndef label(item):\n    CALL\n    return 1\n".replace(
        "CALL", "pass" if "imported" in moment else "go()"
    )
    go = "moved = []\ndef go():\n    if not moved: os.chdir('sub'); moved.append(1)\n"
    (shell.folder / "mover.py").write_text(body + go + (move if "imported" in moment else ""))
    _, err = shell.label("items.jsonl", "--labeler", "mover:label", "--export", "out.jsonl")
    sys.modules.pop("mover", None)
    assert "exported 2 lines to out.jsonl" in err
    assert sorted(path.name for path in (shell.folder / "sub").iterdir()) == []
    assert len(shell.read("out.jsonl")) == 2


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_an_export_keeps_the_mode_of_the_file_that_it_replaces(labelled: Shell, mode: int) -> None:
    out = labelled.folder / "out.jsonl"
    out.chmod(mode)
    before = out.stat().st_ino
    labelled.run("export", "out.jsonl", *DB)
    assert stat.S_IMODE(out.stat().st_mode) == mode
    assert out.stat().st_ino != before


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_export_has_the_mode_that_the_umask_allows(labelled: Shell, umask: int) -> None:
    before = os.umask(umask)
    try:
        labelled.run("export", "new.jsonl", *DB)
    finally:
        os.umask(before)
    assert stat.S_IMODE((labelled.folder / "new.jsonl").stat().st_mode) == 0o666 & ~umask
