"""A weekend of labelling: many records, several annotators, kills, interrupts and a full disk; nothing twice, nothing lost.

``ANNOTATION_QUEUE_WEEKEND=50000 pytest -s tests/cli/test_weekend.py`` rehearses it at full size and prints the numbers.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, SQLiteRepository
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from helpers.shells import Shell

RECORDS = int(os.environ.get("ANNOTATION_QUEUE_WEEKEND", "300"))
REHEARSAL = RECORDS > 10_000
ANNOTATORS = ("gpt-a", "gpt-b", "gpt-c")
JUDGES = """
def judge(size):
    def label(item):
        time.sleep(PAUSE)
        return {"label": "abcdefg"[item.payload["id"] % size], "n": item.payload["id"]}
    return label
a, b, c = judge(2), judge(3), judge(5)
"""
WATCHED = """
import sys
from annotation_queue.cli import run
code = run(sys.argv[1:])
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
sys.stderr.write(f"peak {peak.split()[1]} kB\\n")
sys.exit(code)
"""


def count_labels(shell: Shell) -> int:
    """Count the labels that are stored, while others write."""
    if not shell.exists("labels.db"):
        return 0
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        return sum(
            sum(counts.values()) - counts.get("in_progress", 0)  # type: ignore[call-overload]
            for stats in queues.stats([queue.id for queue in queues.query().queues])
            for counts in stats.by_annotator.values()
        )


@pytest.mark.slow
def test_a_weekend_with_two_kills_and_an_interrupt_labels_everything_once(shell: Shell) -> None:
    judges = JUDGES.replace("PAUSE", "0" if REHEARSAL else "0.002")
    with (shell.folder / "own_labelers.py").open("a") as file:
        file.write(judges)
    shell.records(RECORDS)
    labelers = [
        part
        for name, judge in zip(ANNOTATORS, "abc", strict=True)
        for part in ("--annotator", name, "--labeler", f"own_labelers:{judge}")
    ]
    command = shell.label_command("items.jsonl", *labelers, "--lease", "2", "--workers", "2", "--export", "out.jsonl")
    started = time.monotonic()
    seen = []
    for part, number in ((0.25, signal.SIGKILL), (0.5, signal.SIGKILL), (0.75, signal.SIGINT), (1.0, None)):
        at = time.monotonic()
        with (shell.folder / "err").open("w+") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", WATCHED, *command], cwd=shell.folder, stdout=subprocess.DEVNULL, stderr=err
            )
            if number is not None:
                while count_labels(shell) < part * RECORDS * len(ANNOTATORS):
                    assert process.poll() is None, "it ended before it was stopped"
                    time.sleep(0.02)
                process.send_signal(number)
            code = process.wait(PATIENCE + RECORDS / 100)
            err.seek(0)
            said = err.read()
        assert code == {signal.SIGKILL: -9, signal.SIGINT: 130, None: 0}[number], said
        assert "Traceback" not in said
        seen.append((number, time.monotonic() - at, count_labels(shell), said))

    check_export(shell.folder / "out.jsonl")
    assert shell.run("check", "--db", "labels.db")[0] == ""
    (row,) = shell.lines("stats", "--json")
    assert row["finished_items"] == row["total_items"] == RECORDS
    if REHEARSAL:
        size = sum(path.stat().st_size for path in shell.folder.glob("labels.db*"))
        for number, seconds, labels, said in seen:
            print(f"\n{number!r}: {seconds:.1f} s, then {labels:,} labels\n{said}")  # noqa: T201 - what it is for
        print(f"{time.monotonic() - started:.1f} s in all, {size / 1e6:.0f} MB on disk")  # noqa: T201 - as above


def check_export(path: Path) -> None:
    """Read an export by itself: every record labelled exactly once by each annotator, each with the right label."""
    found: Counter[tuple[str, str]] = Counter()
    with path.open() as file:
        for line in map(json.loads, file):
            found[line["call_id"], line["annotator_id"]] += 1
            n = int(line["call_id"])
            size = {"gpt-a": 2, "gpt-b": 3, "gpt-c": 5}[line["annotator_id"]]
            assert line["annotation"] == {"label": "abcdefg"[n % size], "n": n}
            assert line["state"] == "completed"
    assert found == Counter((str(n), name) for n in range(RECORDS) for name in ANNOTATORS)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read there")
@pytest.mark.slow(seconds=35)
def test_a_hundred_thousand_items_take_less_than_200_megabytes(shell: Shell) -> None:
    # All are added and claimed from; that labels leave no memory behind shows before the last of them, too.
    labelled = 100_000 if REHEARSAL else 20_000
    shell.write("items.jsonl", ({"id": n, "text": f"{n:0300}"} for n in range(100_000)))
    (shell.folder / "own_labelers.py").write_text("def label(item): return item.payload['id'] % 3")
    labeler = ("--labeler", "own_labelers:label", "--limit", str(labelled))
    arguments = ("items.jsonl", *labeler, "--synchronous", "NORMAL", "--export", "out.jsonl")
    # What measures the tests would take most of the time, and memory of its own.
    bare = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *shell.label_command(*arguments)],
        cwd=shell.folder,
        env=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stderr.splitlines()[-1].split()[1])
    print(f"\n{peak / 1024:.0f} MiB, {time.monotonic() - started:.1f} s\n{done.stderr}")  # noqa: T201 - with -s
    assert "100,000 records, 100,000 added" in done.stderr
    assert peak < 200 * 1024
    with (shell.folder / "out.jsonl").open() as file:
        assert sum(1 for _ in file) == labelled


def limited(shell: Shell, kilobytes: int, *arguments: str) -> subprocess.Popen[str]:
    """Start a command that can make no file greater than so much, as on a full disk, until the limit is lifted."""
    code = (
        "import os, resource, sys; limits = resource.getrlimit(resource.RLIMIT_FSIZE); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes * 1024}, limits[1])); "
        "os.execv(sys.executable, [sys.executable, '-m', 'annotation_queue', *sys.argv[1:]])"
    )
    # What measures the tests makes files too.
    bare = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=shell.folder, env=bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_records_without_room_are_exit_code_3_and_running_again_adds_them(shell: Shell) -> None:
    shell.write("items.jsonl", ({"id": n, "text": "x" * 200} for n in range(500)))
    with limited(shell, 200, *shell.label_command("items.jsonl", "--export", "out.jsonl")) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert err.splitlines()[-1].startswith("annotation-queue: ")
    assert "Traceback" not in err
    assert not shell.exists("out.jsonl")
    assert count_items(shell) == 0
    shell.label("items.jsonl", "--export", "out.jsonl")
    check_sizes(shell)


@pytest.mark.slow
def test_labels_without_room_wait_until_there_is_some(shell: Shell) -> None:
    shell.write("items.jsonl", ({"id": n, "text": "x" * 200} for n in range(500)))
    shell.run("add", "items.jsonl", "--db", "labels.db")
    enough_for_some = (shell.folder / "labels.db").stat().st_size // 1024 + 200
    command = shell.label_command("items.jsonl", "--export", "out.jsonl", labeler="plain_size")
    with limited(shell, enough_for_some, *command) as process:
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("the storage fails, trying again: "):
            assert line
        assert "no room left" in line
        assert 0 < count_labels(shell) < 500
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE))
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    check_sizes(shell)


def check_sizes(shell: Shell) -> None:
    """Check that each of the 500 records was labelled once, and that the file is whole."""
    lines = shell.read("out.jsonl")
    assert Counter(line["call_id"] for line in lines) == Counter(map(str, range(500)))
    assert all((line["state"], line["annotation"]) == ("completed", {"size": 200}) for line in lines)
    assert shell.run("check", "--db", "labels.db")[0] == ""


def test_an_export_without_room_leaves_the_file_of_before(shell: Shell) -> None:
    shell.records(300)
    shell.label("items.jsonl")
    (shell.folder / "out.jsonl").write_text("of before\n")
    with limited(shell, 40, "export", "out.jsonl", "--db", "labels.db") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (3, "")
    assert "File too large" in err
    assert (shell.folder / "out.jsonl").read_text() == "of before\n"
    assert {path.name for path in shell.folder.iterdir() if path.suffix == ".tmp"} == set()


@pytest.mark.slow
def test_an_addition_killed_half_way_is_completed_by_running_it_again(shell: Shell) -> None:
    shell.records(3_000)
    pipe = shell.folder / "pipe.jsonl"
    os.mkfifo(pipe)
    lines = (shell.folder / "items.jsonl").read_bytes().splitlines(keepends=True)
    command = ("add", "pipe.jsonl", "--on-bad-line", "skip", "--queue", "q", "--db", "labels.db")
    with shell.start(*command) as process, pipe.open("wb") as file:
        # It waits for the rest of a chunk when it is killed.
        file.writelines(lines[:1_500])
        file.flush()
        while not shell.exists("labels.db") or count_items(shell) < 1_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert count_items(shell) == 1_000
    (done,) = shell.lines("add", "items.jsonl", "--queue", "q", "--json")
    assert (done["added"], done["already_there"]) == (2_000, 1_000)
    assert [item["call_id"] for item in shell.lines("items", "--json")] == [str(n) for n in range(3_000)]


def count_items(shell: Shell) -> int:
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        return sum(stats.total_items for stats in queues.stats([queue.id for queue in queues.query().queues]))
