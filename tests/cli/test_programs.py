"""``annotation-queue label --exec``: labelers that are programs, good ones and bad ones."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from annotation_queue.batch.work import FAILED_PREFIX
from annotation_queue.cli import processes, programs
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.shells import Shell

# What stands before each program: it notes its process, and gives the number of every item that it is asked about.
PROLOGUE = """
import json, os, pathlib, signal, subprocess, sys, time
with open("started", "a") as file:
    file.write(f"{os.getpid()}\\n")

def items():
    for line in sys.stdin:
        item = json.loads(line)
        yield item, item["payload"]["id"]

def answer(label):
    print(json.dumps(label))

first = not os.path.exists("first")
pathlib.Path("first").touch()
"""
ONCE = ("--max-attempts", "1")


@pytest.fixture(autouse=True)
def _at_once(no_waits: None) -> None:
    """Retry at once."""


def write(shell: Shell, body: str) -> tuple[str, str]:
    """Write a program; give the option that runs it, without what makes Python slow to start and measures coverage."""
    (shell.folder / "judge.py").write_text(PROLOGUE + body)
    return ("--exec", f"'{sys.executable}' -S judge.py")


def started(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "started").read_text().splitlines()]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def found(shell: Shell) -> dict[str, tuple[str, object, str | None]]:
    """Give what the export says, by call: state, label, reason."""
    return {
        line["call_id"]: (
            line["state"],
            line["annotation"],
            line["reason"] and line["reason"].removeprefix(FAILED_PREFIX),
        )
        for line in shell.lines("export")
    }


def test_a_program_labels_each_item_and_is_kept_running(shell: Shell) -> None:
    shell.records(40)
    program = write(
        shell,
        """
for item, n in items():
    answer({"n": n, "call": item["call_id"], "state": item["annotation_state"], "text": item["payload"]["text"]})
sys.stderr.write("good bye")
""",
    )
    _, err = shell.label("items.jsonl", *program)
    assert found(shell) == {
        str(n): ("completed", {"n": n, "call": str(n), "state": "in_progress", "text": "x" * (n % 7)}, None)
        for n in range(40)
    }
    assert len(started(shell.folder)) == 1
    assert "good bye" in err.splitlines()
    assert not is_alive(started(shell.folder)[0])


def test_each_worker_and_each_annotator_has_a_process_of_its_own(shell: Shell) -> None:
    shell.records(30)
    program = write(
        shell,
        """
for _, n in items():
    while len(open("started").readlines()) < 6:  # as long as all of them are at work at once
        time.sleep(0.001)
    answer(os.getpid())
""",
    )
    shell.label("items.jsonl", *program, "--annotator", "a", "--annotator", "b", "--workers", "3")
    by_annotator: dict[str, set[int]] = {"a": set(), "b": set()}
    for line in shell.lines("export"):
        by_annotator[line["annotator_id"]].add(line["annotation"])
    assert by_annotator["a"] | by_annotator["b"] == set(started(shell.folder))
    assert not by_annotator["a"] & by_annotator["b"]
    assert [len(each) for each in by_annotator.values()] == [3, 3]


def test_answers_may_skip_fail_or_put_off_an_item(shell: Shell) -> None:
    shell.records(6)
    program = write(
        shell,
        """
put_off = False
for _, n in items():
    if n == 1: answer({"$skip": "too short"})
    elif n == 2: answer({"$skip": None})
    elif n == 3: answer({"$error": "no idea"})
    elif n == 4 and not put_off: put_off = True; answer({"$retry_after": 0.01})
    elif n == 5: answer({"$retry_after": "soon"})
    else: answer({"$skip": "kept", "as": "a label"})
""",
    )
    shell.label("items.jsonl", *program, code=1)
    label = {"$skip": "kept", "as": "a label"}
    assert found(shell) == {
        "0": ("completed", label, None),
        "1": ("skipped", None, "too short"),
        "2": ("skipped", None, None),
        "3": ("skipped", None, "AnswerRefused: no idea"),
        "4": ("completed", label, None),
        "5": ("skipped", None, "AnswerRefused: $retry_after takes seconds, not text"),
    }
    assert len(started(shell.folder)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        ("sys.exit(3)", "ended with exit code 3 before it answered"),
        ("sys.exit('ValueError: no good')", "ended with exit code 1 before it answered; it said: ValueError: no good"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by signal 11 (Segmentation fault) before it answered"),
        ("os.close(1); time.sleep(60)", "closed its output before it answered"),
        ("print('Loading …')", "answered what is not JSON: Expecting value at column 1: 'Loading …'"),
        ("print()", "answered what is not JSON: Expecting value at column 1: ''"),
        ("print('NaN')", "answered what is not JSON: NaN is not JSON: 'NaN'"),
        ("os.write(1, b'\"\\xff\"\\n')", "answered what is 'utf-8' codec can't decode byte 0xff"),
        ("os.write(1, b'x' * (17 << 20))", "answered with more than 16,777,216 bytes"),
        ("time.sleep(600)", "gave no answer within 2 s"),
    ],
)
def test_what_is_no_answer_fails_the_attempt_and_the_program_is_started_again(
    shell: Shell, misdeed: str, reason: str
) -> None:
    shell.records(3)
    program = write(
        shell,
        f"""
for _, n in items():
    if n == 1:
        {misdeed}
    else:
        answer(n)
""",
    )
    _, err = shell.label("items.jsonl", *program, *ONCE, "--timeout", "2", code=1)
    states = found(shell)
    assert (states["0"][:2], states["2"][:2]) == (("completed", 0), ("completed", 2))
    assert states["1"][0] == "skipped"
    assert states["1"][2] is not None
    assert f"ProgramFailed: {sys.executable} {reason}" in states["1"][2]
    assert "1 failed" in err
    assert len(started(shell.folder)) == 2
    assert not any(is_alive(process) for process in started(shell.folder))


def test_a_program_that_recovers_labels_the_item_at_the_next_attempt(shell: Shell) -> None:
    shell.records(2)
    program = write(
        shell,
        """
for _, n in items():
    if first: sys.exit(9)
    answer(n)
""",
    )
    _, err = shell.label("items.jsonl", *program)
    assert {state for state, *_ in found(shell).values()} == {"completed"}
    assert "2 labelled; 0 failed, 1 retries" in err


def test_a_program_may_end_after_each_answer(shell: Shell) -> None:
    shell.records(4)
    program = write(shell, "answer(next(items())[1])")
    _, err = shell.label("items.jsonl", *program)
    assert {call: label for call, (_, label, _) in found(shell).items()} == {str(n): n for n in range(4)}
    assert "4 labelled; " in err
    assert "failed" not in err


def test_full_pipes_never_stop_a_program_or_the_run(shell: Shell) -> None:
    shell.write("items.jsonl", [{"id": n, "text": "x" * 900_000} for n in range(3)])
    program = write(
        shell,
        """
# Speaks more than any pipe holds before it listens, then while it listens, and after it answered.
while True:
    sys.stderr.write("y" * 300_000 + "\\n")
    line = sys.stdin.readline()
    if not line:
        break
    sys.stderr.write("z" * 300_000 + "\\n")
    answer("x" * len(json.loads(line)["payload"]["text"]))
    sys.stderr.write("w" * 300_000 + "\\n")
""",
    )
    _, err = shell.label("items.jsonl", *program, *ONCE)
    assert {len(str(label)) for _, label, _ in found(shell).values()} == {900_000}
    assert err.count("y") + err.count("z") + err.count("w") > 9 * 300_000


@pytest.mark.slow
def test_a_program_that_reads_nothing_and_speaks_without_end_is_stopped_at_the_time_limit(shell: Shell) -> None:
    shell.write("items.jsonl", [{"id": 0, "text": "x" * 900_000}])
    program = write(shell, "while True: sys.stderr.write('y' * 1_000 + '\\n')")
    shell.label("items.jsonl", *program, *ONCE, "--timeout", "2", code=1)
    assert "gave no answer within 2 s; it said: yyyy" in str(found(shell)["0"][2])
    assert not is_alive(started(shell.folder)[0])


@pytest.mark.slow
def test_what_a_program_started_ends_with_it(shell: Shell) -> None:
    shell.records(2)
    program = write(
        shell,
        """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("children", "a") as file:
    file.write(f"{child.pid}\\n")
for _, n in items():
    if n == 0: time.sleep(600)
    answer(n)
""",
    )
    shell.label("items.jsonl", *program, *ONCE, "--timeout", "2", code=1)
    children = [int(line) for line in (shell.folder / "children").read_text().splitlines()]
    assert len(children) == 2
    wait_until(lambda: not any(is_running(process) for process in children))


def is_running(process: int) -> bool:
    """Tell whether a process that is not ours runs still: neither gone nor a zombie that nobody has buried yet."""
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123 - no file of ours
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_that_ignores_the_end_of_its_input_is_told_and_then_killed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "END_GRACE", 0.1)
    monkeypatch.setattr(processes, "END_LOOK", 0.1)
    shell.records(1)
    program = write(
        shell,
        """
signal.signal(signal.SIGTERM, lambda *_: pathlib.Path("told").touch())
for _, n in items():
    answer(n)
while True: time.sleep(1)
""",
    )
    shell.label("items.jsonl", *program)
    assert shell.exists("told")
    assert not is_alive(started(shell.folder)[0])


def test_an_interrupt_lets_programs_answer_and_ends_them(shell: Shell) -> None:
    shell.records(500)
    program = write(
        shell,
        """
signal.signal(signal.SIGINT, lambda *_: pathlib.Path("interrupted").touch())
for _, n in items():
    time.sleep(0.01)
    answer(n)
    pathlib.Path("answered").touch()
""",
    )
    process = shell.start(*shell.label_command("items.jsonl", *program, "--workers", "2"))
    wait_until(lambda: shell.exists("answered"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "failed" not in err
    assert not shell.exists("interrupted")
    (row,) = shell.lines("stats", "--json")
    assert row["by_state"]["completed"] > 0
    assert row["by_state"]["in_progress"] == 0
    assert not any(is_alive(process) for process in started(shell.folder))


def test_a_kill_of_the_run_ends_its_programs_by_the_end_of_their_input(shell: Shell) -> None:
    shell.records(500)
    program = write(
        shell,
        """
for _, n in items():
    time.sleep(0.01)
    answer(n)
    pathlib.Path("answered").touch()
""",
    )
    process = shell.start(*shell.label_command("items.jsonl", *program, "--workers", "2"))
    wait_until(lambda: shell.exists("answered"))
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: not any(is_running(process) for process in started(shell.folder)))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--exec", "no-such-program x"), "--exec 'no-such-program x': there is no command 'no-such-program'"),
        (("--exec", "'unclosed"), "No closing quotation"),
        (("--exec", " "), "--exec takes a command"),
        (("--exec", "cat", "--labeler", "own_labelers:size"), "give --labeler or --exec, and not both"),
        (("--exec", "cat", "--exec", "cat"), "1 annotators and 2 --exec: give one for all, or one for each"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_before_anything_is_done(
    shell: Shell, arguments: tuple[str, ...], problem: str
) -> None:
    shell.records(1)
    _, err = shell.label("items.jsonl", *arguments, code=2)
    assert problem in err
    assert not shell.exists("labels.db")


def test_a_file_that_is_no_program_fails_with_the_reason(shell: Shell) -> None:
    shell.records(1)
    script = shell.folder / "judge"
    script.write_bytes(b"\x00\x01 no program")
    script.chmod(0o755)
    shell.label("items.jsonl", "--exec", str(script), *ONCE, code=1)
    assert found(shell)["0"][2] == f"ProgramFailed: cannot start '{script}': Exec format error"


def test_a_program_that_always_dies_stops_the_run_before_every_item_is_spent(shell: Shell) -> None:
    shell.records(100)
    program = write(shell, "sys.exit('the model is gone')")
    _, err = shell.label("items.jsonl", *program, *ONCE, "--max-failures", "5", code=1)
    assert "stopped: too many items failed in a row; see --max-failures" in err
    assert "the model is gone" in err
    (row,) = shell.lines("stats", "--json")
    assert row["by_state"] == {"unstarted": 100, "in_progress": 0, "completed": 0, "skipped": 0}


def test_json_lines_report_the_run(shell: Shell) -> None:
    shell.records(3)
    out, _ = shell.label("items.jsonl", "--exec", "cat", "--json")
    (report,) = [json.loads(line) for line in out.splitlines()]
    assert (report["annotator"], report["completed"], report["failed"], report["stop_reason"]) == (
        "model",
        3,
        0,
        "done",
    )
    assert found(shell)["2"][1]["call_id"] == "2"  # type: ignore[index]  # cat answers with the item itself
