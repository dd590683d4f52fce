"""The command line used wrongly, and its help: one line, an exit code, and nothing done."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import annotation_queue
from annotation_queue import AnnotationQueues, SQLiteRepository

if TYPE_CHECKING:
    from helpers.shells import Shell


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.jsonl"], "cannot read 'missing.jsonl': No such file"),
        (["."], "cannot read '.': Is a directory"),
        (["items.jsonl", "--labeler", "no_such_module:x"], "cannot import the labeler's module 'no_such_module'"),
        (["items.jsonl", "--labeler", "broken:x"], "'broken': ZeroDivisionError: division by zero"),
        (["items.jsonl", "--labeler", "own_labelers:absent"], "module 'own_labelers' has no 'absent'"),
        (["items.jsonl", "--labeler", "own_labelers:number"], "is no function but of type int"),
        (["items.jsonl", "--labeler", "own_labelers"], "takes package.module:function"),
        (["items.jsonl", "--workers", "0"], "Invalid value for '--workers'"),
        (["items.jsonl", "--lease", "0"], "Invalid value for '--lease'"),
        (["items.jsonl", "--on-failure", "explode"], "Invalid value for '--on-failure'"),
        (["items.jsonl", "--export", "no/such/out.jsonl"], "there is no directory"),
        (["items.jsonl", "--export", "."], "it is a directory"),
        (["items.jsonl", "--db", "no/such/labels.db"], "there is no directory"),
        (["items.jsonl", "--annotator", ""], "annotator: expected non-empty text"),
        (["items.jsonl", "--no-such-option"], "No such option"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(shell: Shell, arguments: list[str], problem: str) -> None:
    shell.records(1)
    (shell.folder / "broken.py").write_text("1 / 0")
    _, err = shell.label(*arguments, code=2)
    words = [line for line in err.splitlines() if line != "imported"]
    assert len(words) == 1
    assert words[0].startswith("annotation-queue: ")
    assert problem in words[0]
    assert not shell.exists("labels.db")


def test_a_file_that_is_no_database_is_exit_code_3_and_left_alone(shell: Shell) -> None:
    shell.records(1)
    (shell.folder / "labels.db").write_text("this is somebody's diary, not a database" * 100)
    before = (shell.folder / "labels.db").read_bytes()
    _, err = shell.label("items.jsonl", code=3)
    assert err.splitlines()[-1].startswith("annotation-queue: ")
    assert (shell.folder / "labels.db").read_bytes() == before
    shell.run("stats", "--db", "labels.db", code=3)


def test_commands_that_only_look_make_no_file(shell: Shell) -> None:
    for command in (["stats"], ["items"], ["export"], ["history", "x"]):
        _, err = shell.run(*command, "--db", "labels.db", code=2)
        assert "there is no file 'labels.db'" in err
    assert not shell.exists("labels.db")


@pytest.mark.parametrize("command", [("stats",), ("add", "items.jsonl")])
def test_a_server_in_words_is_no_file_and_its_password_is_not_shown(shell: Shell, command: tuple[str, ...]) -> None:
    shell.records(1)
    out, err = shell.run(*command, "--db", "host=localhost user=me password=secret", code=2)
    assert "expected a file, or a server as postgresql://user@host/database instead of in words" in err
    assert "secret" not in out + err
    # Whoever calls a file so has it, and folders may well be called so.
    (shell.folder / "user=me.db").write_bytes(b"")
    shell.run("add", "items.jsonl", "--db", "user=me.db")
    (shell.folder / "user=me").mkdir()
    shell.run("add", "items.jsonl", "--db", "./user=me/new.db")


def test_the_queue_that_is_meant_must_be_clear(shell: Shell) -> None:
    shell.records(1)
    shell.label("items.jsonl")
    _, err = shell.run("export", "--db", "labels.db", "--queue", "nope", code=2)
    assert "there is no queue 'nope' in project 'default'" in err
    _, err = shell.run("export", "--db", "labels.db", "--project", "elsewhere", code=2)
    assert "there is no queue in project 'elsewhere'" in err
    shell.label("items.jsonl", "--queue", "other")
    _, err = shell.run("export", "--db", "labels.db", code=2)
    assert "say which queue with --queue: 'items', 'other'" in err
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        made = AnnotationQueues(repository, "default").create("items", created_by="ann")
    _, err = shell.label("items.jsonl", code=2)
    assert "2 queues are named 'items'" in err
    assert made.id in err
    assert shell.run("export", "--db", "labels.db", "--queue", made.id)[0] == ""


def test_help_and_version_are_on_standard_output(shell: Shell) -> None:
    assert shell.run()[0] == shell.run("--help")[0]
    assert "130  interrupted" in shell.run("--help")[0]
    assert "--on-failure" in shell.run("label", "--help")[0]
    assert annotation_queue.__version__ in shell.run("--version")[0]


def test_a_missing_extra_is_named(shell: Shell) -> None:
    code = "import sys; sys.modules['click'] = None; from annotation_queue.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=shell.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'annotation-queue: the command line needs an extra: pip install "annotation-queue[cli]"\n'
