"""The command line in a terminal: the bar, what it says while it waits or stops, and tables where there is little room."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Console

from annotation_queue import AnnotationQueues, BatchReport, SQLiteRepository, Unavailable, UnavailableReason
from annotation_queue.cli import bar
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from helpers.shells import Shell

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def show(shell: Shell, columns: int, *arguments: str, watch: Callable[[str, int], object] | None = None) -> list[str]:
    """Run a command in a terminal of so many columns; give every line that it ever showed, without colours.

    ``watch`` is called with all that was shown so far, without colours, and with the id of the process, whenever there is more.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR"}}
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-m", "annotation_queue", *arguments],
        cwd=shell.folder,
        env={**environment, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        last_resort = threading.Timer(PATIENCE, process.kill)
        last_resort.start()
        while True:
            try:
                more = os.read(ours, 65_536)
            except OSError:  # Linux: the last process that had the terminal open is gone
                break
            if not more:
                break
            shown += more
            if watch is not None:
                watch(ESCAPES.sub("", shown.decode(errors="replace")), process.pid)
        process.wait(PATIENCE)
        last_resort.cancel()
    os.close(ours)
    return [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", shown.decode())) if line]


def test_the_bar_shows_pace_share_and_failures_and_leaves_room_for_ctrl_c(shell: Shell) -> None:
    shell.records(40)
    lines = show(shell, 100, *shell.label_command("items.jsonl", "--max-attempts", "1", labeler="picky"))
    bars = [line for line in lines if line.startswith("labelling ")]
    assert bars
    assert "40/40" in bars[-1]
    assert "100%" in bars[-1]
    assert bars[-1].rstrip().endswith("items/s, 1 failed")
    assert max(len(line) for line in bars) == 98
    assert any(line.startswith("38 labelled, 2 skipped") for line in lines)


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


def test_a_wait_for_another_run_says_until_when_and_ends_as_soon_as_it_can(shell: Shell) -> None:
    shell.records(3)
    shell.label("items.jsonl", "--limit", "0")
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        held = [queues.claim(queues.query().queues[0].id, "model", lease=timedelta(hours=1))]

        def let_go(shown: str, _process: int) -> None:
            if "waiting ━" in shown and held and (claim := held.pop()):
                queues.release(claim)

        lines = show(shell, 100, *shell.label_command("items.jsonl"), watch=let_go)
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
    with bar.shown_progress(Console(file=io.StringIO()), 8_000) as show:
        for now, report in (
            (101.0, BatchReport(attempted=50, seconds=1.0)),  # too early for a line
            (110.0, BatchReport(attempted=1_000, failed=2, seconds=10.0)),
            (4_110.0, BatchReport(attempted=2_000, retries=1, lost=3, seconds=4_010.0)),
            (4_150.0, BatchReport(attempted=2_002, seconds=4_050.0)),
            (4_150.0, BatchReport(attempted=2_002, seconds=4_010.0, waiting_for=1_200, unavailable=held)),
            (4_151.0, BatchReport(attempted=2_002, seconds=4_011.0, interrupted=True)),
        ):
            seconds[0] = now
            show(report)
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


def test_an_interrupt_says_that_the_run_is_stopping(shell: Shell) -> None:
    shell.records(2_000)
    sent: list[int] = []

    def interrupt(shown: str, process: int) -> None:
        if shell.exists("progress") and "/2000" in shown and not sent:
            sent.append(process)
            os.kill(process, signal.SIGINT)

    lines = show(shell, 100, *shell.label_command("items.jsonl", labeler="slow"), watch=interrupt)
    assert sent
    assert "stopping within 10 s; Ctrl-C again stops at once" in lines
    assert lines[-1] == "interrupted; run the same command again to go on"
