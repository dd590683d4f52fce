"""The command line in a terminal: the progress, what it says while it waits or stops, and tables where there is little room."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
import pexpect
import pytest
from rich.console import Console

from annotation_queue import AnnotationQueues, BatchReport, SQLiteRepository, Unavailable, UnavailableReason
from annotation_queue.cli import progress
from annotation_queue.cli.app import app
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from helpers.shells import Shell

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def start(shell: Shell, columns: int, *arguments: str) -> pexpect.spawn[str]:
    """Start a command in a terminal of so many columns."""
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR"}}
    return pexpect.spawn(
        sys.executable,
        [*(() if "-c" in arguments else ("-m", "annotation_queue")), *arguments],
        cwd=str(shell.folder),
        env={**environment, "TERM": "xterm-256color"},
        dimensions=(40, columns),
        encoding="utf-8",
        timeout=PATIENCE,
    )


def finish(process: pexpect.spawn[str], shown: str = "", *, code: int = 0) -> list[str]:
    """Wait for the end; give every line that the command ever showed, without colours."""
    shown += process.read()
    process.close()
    assert (process.exitstatus, process.signalstatus) == (code, None)
    return [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", shown)) if line]


def show(shell: Shell, columns: int, *arguments: str, code: int = 0) -> list[str]:
    """Run a command in a terminal of so many columns; give every line that it ever showed."""
    return finish(start(shell, columns, *arguments), code=code)


def test_the_bar_shows_pace_share_and_failures_and_leaves_room_for_ctrl_c(shell: Shell) -> None:
    shell.records(40)
    lines = show(shell, 100, *shell.label_command("items.jsonl", "--max-attempts", "1", labeler="picky"), code=1)
    bars = [line for line in lines if line.startswith("labelling ")]
    assert bars
    assert "40/40" in bars[-1]
    assert "100%" in bars[-1]
    assert bars[-1].rstrip().endswith("items/s, 1 failed")
    assert max(len(line) for line in bars) == 98
    assert any(line.startswith("38 labelled, 2 skipped") for line in lines)


@pytest.mark.slow
def test_a_bulk_command_says_what_it_will_change_and_asks(shell: Shell) -> None:
    shell.records(3)
    shell.run("add", "items.jsonl", "--db", "labels.db")
    ranks = shell.folder / "ranks.jsonl"
    ranks.write_text('{"call_id": "1", "priority": 5}\n', encoding="utf-8")
    commands = {
        "change 3 items of queue 'items'": ("update", "--unfinished", "--priority", "7"),
        "put back 3 items of queue 'items'": ("reset", "--all", "--actor", "boss"),
        "remove 3 items of queue 'items'": ("remove", "--state", "unstarted"),
        "remove 1 item of queue 'items'": ("remove", "--call-id", "1"),
        "bring back 0 items of queue 'items'": ("restore", "missing"),
        "rank 1 item of queue 'items'": ("reprioritise", "ranks.jsonl"),
        "erase for good what was removed from project 'default' before 2100": (
            "purge",
            "--removed-before",
            "2100-01-01",
        ),
    }
    for told, command in commands.items():
        asked = start(shell, 100, *command, "--db", "labels.db")
        asked.expect_exact("Go on? [y/N]:")
        assert told in (asked.before or "")
        asked.sendline("n")
        finish(asked, code=130 if "purge" in command else 0)
    assert [item["priority"] for item in shell.lines("items", "--json")] == [0, 0, 0]
    agreed = start(shell, 100, "reprioritise", "ranks.jsonl", "--db", "labels.db")
    agreed.expect_exact("Go on? [y/N]:")
    agreed.sendline("y")
    assert finish(agreed)[-1] == "1"
    assert [item["call_id"] for item in shell.lines("items", "--json")] == ["1", "0", "2"]


@pytest.mark.slow
def test_a_narrow_terminal_shows_the_numbers_whole(shell: Shell) -> None:
    shell.records(40)
    lines = show(shell, 50, *shell.label_command("items.jsonl"))
    bars = [line for line in lines if "items/s" in line and "━" in line]
    assert bars
    assert "40/40" in bars[-1]
    assert max(len(line) for line in bars) <= 48
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        ids = [item.id for item in queues.iter_items(queues.query().queues[0].id)]
    (row,) = [line for line in show(shell, 50, "items", "--db", "labels.db", "--limit", "1") if ids[0] in line]
    assert row.split()[:4] == [ids[0], "0", "completed", "model"]


def test_a_labelers_prints_stay_above_the_bar(shell: Shell) -> None:
    shell.records(3)
    lines = show(shell, 100, *shell.label_command("items.jsonl"))
    assert [line for line in lines if line.startswith("labelling 0")] == ["labelling 0"]
    assert "3/3" in [line for line in lines if "━" in line][-1]


def test_every_annotator_has_a_bar_and_80_columns_are_enough(shell: Shell) -> None:
    shell.records(40)
    names = ("gpt-a", "an-annotator-with-a-very-long-name", "x")
    who = [part for name in names for part in ("--annotator", name)]
    lines = show(shell, 80, *shell.label_command("items.jsonl", *who, labeler="steady"))
    bars = [line for line in lines if "━" in line]
    assert max(len(line) for line in bars) == 78
    for name in ("gpt-a ", "an-annotator-with-a… ", "x "):
        last = [line for line in bars if line.startswith(name)][-1]
        assert " 40/40 100% " in last
        assert last.rstrip().endswith("items/s")
    assert [line.split(";")[0] for line in lines if " labelled; " in line] == [f"{name}: 40 labelled" for name in names]


@pytest.mark.slow
def test_tables_fit_80_columns(shell: Shell) -> None:
    shell.records(12)
    shell.label("items.jsonl", "--annotator", "gpt-a", "--annotator", "gpt-b", labeler="plain")
    (item,) = shell.lines("items", "--json", "--limit", "1")
    commands = ("stats", "items", "items --position", f"history {item['id']}", "agreement", "add items.jsonl", "check")
    code = "import sys; from annotation_queue.cli import run; sys.exit(sum(run(each.split()) for each in sys.argv[1:]))"
    process = start(shell, 80, "-c", code, *(f"{command} --db labels.db" for command in commands))
    lines = [line.rstrip() for line in finish(process)]
    assert [line for line in lines if len(line) > 80] == []
    assert len([line for line in lines if item["id"] in line]) == 3


@pytest.mark.parametrize("command", ["", *app.list_commands(click.Context(app))])
def test_help_fits_80_columns(shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = shell.run(*command.split(), "--help")
    assert [line for line in out.splitlines() if len(line) > 80] == []


@pytest.mark.slow
def test_a_wait_for_another_run_says_until_when_and_ends_as_soon_as_it_can(shell: Shell) -> None:
    shell.records(3)
    shell.label("items.jsonl", "--limit", "0")
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        held = queues.claim(queues.query().queues[0].id, "model", lease=timedelta(hours=1))
        assert held
        process = start(shell, 100, *shell.label_command("items.jsonl"))
        process.expect("waiting .*waiting ")
        shown = process.before + process.after
        queues.release(held)
        lines = finish(process, shown)
    (why,) = [line for line in lines if line.startswith("waiting until")]
    assert why.endswith("UTC for 1 item held by another run, which may have been killed")
    assert any(line.startswith("waiting ━") and " until " in line for line in lines)
    assert any(line.startswith("3 labelled") for line in lines)


def test_without_a_terminal_a_run_is_shown_in_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    held = Unavailable(reason=UnavailableReason.LEASED, retry_at=datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC))
    with progress.shown_progress(Console(file=io.StringIO()), {"model": 8_000}) as show:
        for now, report in (
            (101.0, BatchReport(attempted=50, seconds=1.0)),  # too early for a line
            (110.0, BatchReport(attempted=1_000, failed=2, seconds=10.0)),
            (4_110.0, BatchReport(attempted=2_000, retries=1, lost=3, seconds=4_010.0)),
            (4_150.0, BatchReport(attempted=2_002, seconds=4_050.0)),
            (4_150.0, BatchReport(attempted=2_002, seconds=4_010.0, waiting_for=1_200, unavailable=held)),
            (4_151.0, BatchReport(attempted=2_002, seconds=4_011.0, interrupted=True)),
        ):
            seconds[0] = now
            show("model", report)
        sys.stdout.write("a labeler's own")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "labelling: 1,000/8,000 12% 100 items/s, 1:10 left, 2 failed",
        "labelling: 2,000/8,000 25% 0.25 items/s, 6:40:00 left, 1 retried, 3 lost",
        "labelling: 2,002/8,000 25% 20 s/item, 33:19:20 left",
        "waiting until 12:00:05 UTC for 1,200 items held by another run, which may have been killed",
        "waiting: 2,002/8,000 25% until 12:00:05 UTC",
        "stopping within 10 s; Ctrl-C again stops at once",
        "stopping: 2,002/8,000 25%",
        "a labeler's own",
    ]


@pytest.mark.slow
def test_ctrl_c_stops_the_run_and_not_the_programs_that_label(shell: Shell) -> None:
    shell.records(2_000)
    # Ctrl-C in a terminal goes to every process of the job; a program that noticed would end without an answer.
    (shell.folder / "judge.py").write_text(
        "import sys, time\nfor line in sys.stdin:\n    time.sleep(0.01)\n    print(1)\n"
    )
    program = ("--exec", f"'{sys.executable}' -S judge.py", "--annotator", "a", "--annotator", "b")
    process = start(shell, 100, *shell.label_command("items.jsonl", *program))
    process.expect("items/s")
    shown = process.before + process.after
    process.sendintr()
    lines = finish(process, shown, code=130)
    assert lines.count("stopping within 10 s; Ctrl-C again stops at once") == 1
    assert any(line.startswith("a stopping ━") for line in lines)
    assert not any("failed" in line or "retried" in line for line in lines)
    assert lines[-1] == "interrupted; run the same command again to go on"
    (row,) = shell.lines("stats", "--json")
    assert row["by_annotator"].keys() == {"a", "b"}
    assert all(counts.keys() == {"completed"} for counts in row["by_annotator"].values())


def test_a_second_ctrl_c_stops_at_once(shell: Shell) -> None:
    shell.records(3)
    process = start(shell, 100, *shell.label_command("items.jsonl", labeler="stuck"))
    process.expect("labelling stuck")
    process.sendintr()
    process.expect("stopping within 10 s; Ctrl-C again stops at once")
    process.sendintr()
    assert finish(process, code=130)[-1] == "annotation-queue: interrupted"


@pytest.mark.slow
def test_an_interrupt_says_that_the_run_is_stopping(shell: Shell) -> None:
    shell.records(2_000)
    process = start(shell, 100, *shell.label_command("items.jsonl", labeler="slow"))
    process.expect("items/s")
    shown = process.before + process.after
    process.kill(signal.SIGINT)
    lines = finish(process, shown, code=130)
    assert "stopping within 10 s; Ctrl-C again stops at once" in lines
    assert lines[-1] == "interrupted; run the same command again to go on"


def test_several_annotators_without_a_terminal_are_told_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    with progress.shown_progress(Console(file=io.StringIO()), {"a": 10, "b": 10}) as tell:
        for now, annotator, report in (
            (106.0, "a", BatchReport(attempted=5, seconds=5.0)),
            (106.0, "b", BatchReport(attempted=1, seconds=5.0)),
            (107.0, "b", BatchReport(attempted=1, seconds=6.0, storage_error="labels.db is full")),
            (107.5, "b", BatchReport(attempted=1, seconds=6.0, storage_error="labels.db is full")),
            (108.0, "a", BatchReport(attempted=5, seconds=7.0, interrupted=True)),
            (108.0, "b", BatchReport(attempted=1, seconds=7.0, interrupted=True)),
        ):
            seconds[0] = now
            tell(annotator, report)
    assert capsys.readouterr().err.splitlines() == [
        "a: labelling: 5/10 50% 1.00 items/s, 0:05 left",
        "b: labelling: 1/10 10% 0.20 items/s, 0:45 left",
        "b: the storage fails, trying again: labels.db is full",
        "stopping within 10 s; Ctrl-C again stops at once",
        "a: stopping: 5/10 50%",
        "b: stopping: 1/10 10%",
    ]


@pytest.mark.slow
def test_a_long_addition_is_shown_and_the_bar_goes_when_it_is_done(shell: Shell) -> None:
    shell.records(3_000)
    lines = show(shell, 80, "add", "items.jsonl", "--db", "labels.db")
    assert any(line.startswith("adding ━") and "/3000" in line for line in lines)
    assert lines[-1].split() == ["items", "3,000", "3,000", "0", "0"]


@pytest.mark.parametrize(("total", "shown"), [(4_000, "adding: 3,000/4,000 75%"), (None, "adding: 3,000")])
def test_a_long_addition_without_a_terminal_is_told_in_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, total: int | None, shown: str
) -> None:
    seconds = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    with progress.shown_addition(Console(file=io.StringIO()), total) as tell:
        for now, count in ((101.0, 1_000), (104.9, 2_000), (105.0, 3_000), (106.0, 4_000)):
            seconds[0] = now
            tell(count)
    assert capsys.readouterr().err.splitlines() == [shown]
