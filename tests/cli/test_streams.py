"""Standard streams that are closed or full: an exit code, never a traceback, and no claim that nobody knows of."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from helpers.shells import Shell

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")


@pytest.fixture
def filled(shell: Shell) -> Shell:
    shell.records(3)
    shell.run("add", "items.jsonl", "--db", "labels.db")
    return shell


def redirected(shell: Shell, redirection: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command with redirections of a shell; give the exit code, the output and what was said."""
    words = " ".join(f"'{word}'" for word in (sys.executable, "-m", "annotation_queue", *arguments))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{words} {redirection}"],
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def in_progress(shell: Shell) -> int:
    (row,) = shell.lines("stats", "--json")
    return int(row["by_state"]["in_progress"])


@pytest.mark.parametrize(
    ("redirection", "problem"),
    [
        (">&-", "standard output: it is closed"),
        pytest.param(">/dev/full", "standard output: No space", marks=needs_full),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("claim", "--annotator", "bob"),
        ("claim", "--annotator", "bob", "--limit", "3"),
        ("stats",),
        ("items", "--json"),
        ("export",),
    ],
)
def test_output_that_cannot_be_written_is_exit_code_3_and_no_claim_is_kept(
    filled: Shell, command: tuple[str, ...], redirection: str, problem: str
) -> None:
    if command == ("export",):
        filled.label("items.jsonl")
    code, _, err = redirected(filled, redirection, *command, "--db", "labels.db")
    assert (code, err.count("\n")) == (3, 1)
    assert problem in err
    assert in_progress(filled) == 0


@pytest.mark.parametrize("redirection", ["2>&-", pytest.param("2>/dev/full", marks=needs_full)])
def test_a_run_goes_on_when_nobody_can_be_told(filled: Shell, redirection: str) -> None:
    code, out, _ = redirected(filled, redirection, *filled.label_command("items.jsonl", "--export", "out.jsonl"))
    assert code == 0
    assert "3" in out
    assert len(filled.read("out.jsonl")) == 3


def test_labels_are_stored_and_exported_though_the_table_cannot_be_printed(filled: Shell) -> None:
    code, _, err = redirected(filled, ">&-", *filled.label_command("items.jsonl", "--export", "out.jsonl"))
    assert code == 3
    assert "standard output: it is closed" in err
    assert len(filled.read("out.jsonl")) == 3


@pytest.mark.parametrize("command", [("complete", "1"), ("skip",), ("release",), ("heartbeat",)])
def test_closed_input_is_empty(filled: Shell, command: tuple[str, ...]) -> None:
    code, _, err = redirected(filled, "<&-", *command, "--db", "labels.db")
    assert (code, "standard input: there is no claim" in err) == (2, True)


@pytest.mark.parametrize("redirection", ["0> unreadable"])
def test_input_that_cannot_be_read_is_exit_code_2(filled: Shell, redirection: str) -> None:
    code, _, err = redirected(filled, redirection, "add", "-", "--queue", "x", "--db", "labels.db")
    assert (code, "cannot read 'standard input'" in err) == (2, True)


def test_all_streams_closed_at_once_do_no_harm(filled: Shell) -> None:
    code, _, _ = redirected(filled, "<&- >&- 2>&-", "claim", "--annotator", "bob", "--db", "labels.db")
    assert code == 3
    assert in_progress(filled) == 0
    assert filled.run("check", "--db", "labels.db")[1] == "labels.db: all is well\n"


def test_ids_that_are_no_text_are_refused(filled: Shell) -> None:
    code, _, err = redirected(filled, "", "remove", "-", "--db", "labels.db")
    assert (code, err) == (0, "")
    done = subprocess.run(
        [sys.executable, "-m", "annotation_queue", "remove", "-", "--db", "labels.db"],
        cwd=filled.folder,
        input=b"\xff\n",
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)


def test_a_hangup_stops_a_run_as_sigterm_does(shell: Shell) -> None:
    shell.records(1_000)
    process = shell.start(*shell.label_command("items.jsonl", labeler="slow"))
    wait_until(lambda: shell.exists("progress"))
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    (row,) = [json.loads(line) for line in shell.run("stats", "--db", "labels.db", "--json")[0].splitlines()]
    assert row["by_state"]["in_progress"] == 0
    assert row["by_state"]["completed"] > 0
