"""The command line, end to end in real processes on SQLite files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import annotation_queue
from annotation_queue import AnnotationQueues, SQLiteRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PATIENCE = 30.0
SAMPLE = Path(annotation_queue.__file__).parent / "samples" / "reviews.jsonl"

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


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A fresh folder to run commands in."""
    return Shell(tmp_path)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_sample_is_labelled_and_exported(shell: Shell) -> None:
    out, err = shell.run(
        *("label", str(SAMPLE), "--labeler", "annotation_queue.samples.labelers:sentiment", "--annotator", "rules-v1"),
        *("--db", "labels.db", "--export", "out.jsonl"),
    )
    lines = shell.read("out.jsonl")
    records = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    assert [line["call_id"] for line in lines] == [record["id"] for record in records]
    assert {line["annotator_id"] for line in lines} == {"rules-v1"}
    first = lines[0]
    assert list(first) == ["item_id", "call_id", "annotator_id", "state", "annotation", "reason", "updated_at"]
    assert first["annotation"] == {"label": "positive", "positive_words": 3, "negative_words": 0}
    assert first["updated_at"].endswith("Z")
    datetime.fromisoformat(first["updated_at"])
    skipped = [(line["call_id"], line["reason"], line["annotation"]) for line in lines if line["state"] == "skipped"]
    assert skipped == [("review-053", "no text", None), ("review-058", "no text", None)]
    assert "reviews" in out
    assert "60 records, 60 added" in err
    assert "58 labelled, 2 skipped" in err


@pytest.mark.parametrize("labeler", ["size", "size_async"])
def test_nothing_but_results_is_on_standard_output(shell: Shell, labeler: str) -> None:
    shell.records(5)
    out, err = shell.label("items.jsonl", "--export", "-", "--workers", "3", labeler=labeler)
    assert [json.loads(line)["annotation"] for line in out.splitlines()] == [{"size": n} for n in range(5)]
    assert "imported" in err
    assert "labelling 4" in err
    assert "finished" in err


def test_a_job_killed_half_way_is_completed_by_running_it_again(shell: Shell) -> None:
    shell.records(400)
    command = ("items.jsonl", "--lease", "2", "--workers", "2")
    process = shell.start(*shell.label_command(*command, labeler="slow"))
    wait_until(lambda: shell.exists("progress") and len((shell.folder / "progress").read_text().splitlines()) > 150)
    process.kill()
    process.communicate(timeout=PATIENCE)
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        queue = queues.query().queues[0]
        stored = {
            item.call_id: queues.progress(item.id)[0] for item in queues.iter_items(queue.id) if item.annotator_user_id
        }
    done = {call_id for call_id, progress in stored.items() if progress.state == "completed"}
    assert 0 < len(done) < 400
    assert any(progress.state == "in_progress" for progress in stored.values())
    (shell.folder / "progress").unlink()

    _, err = shell.label(*command, "--export", "out.jsonl", labeler="slow")

    assert "0 added" in err
    assert "waiting until" in err
    lines = shell.read("out.jsonl")
    assert [line["call_id"] for line in lines] == [str(n) for n in range(400)]
    assert [line["annotation"] for line in lines] == [{"size": n % 7} for n in range(400)]
    assert {line["state"] for line in lines} == {"completed"}
    assert not done & set((shell.folder / "progress").read_text().splitlines())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_releases_its_items_and_says_so(shell: Shell, number: signal.Signals) -> None:
    shell.records(1_000)
    process = shell.start(*shell.label_command("items.jsonl", "--export", "out.jsonl", labeler="slow"))
    wait_until(lambda: shell.exists("progress"))
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "run the same command again" in err
    assert not shell.exists("out.jsonl")
    (row,) = [json.loads(line) for line in shell.run("stats", "--db", "labels.db", "--json")[0].splitlines()]
    assert row["by_state"]["in_progress"] == 0
    assert row["by_state"]["completed"] > 0
    assert row["by_state"]["unstarted"] > 0


def test_a_second_interrupt_stops_at_once(shell: Shell) -> None:
    shell.records(3)
    process = shell.start(*shell.label_command("items.jsonl", labeler="stuck"))
    assert process.stderr is not None
    wait_until(lambda: shell.exists("stuck"))
    process.send_signal(signal.SIGINT)
    while "stopping" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "annotation-queue: interrupted"


def test_failures_are_counted_and_end_in_exit_code_1(shell: Shell) -> None:
    shell.records(6)
    _, err = shell.label("items.jsonl", "--max-attempts", "1", "--export", "out.jsonl", labeler="picky", code=1)
    assert "last failure: 3: ValueError: three is no good" in err
    found = {line["call_id"]: (line["state"], line["annotation"], line["reason"]) for line in shell.read("out.jsonl")}
    assert found["3"] == ("skipped", None, "ValueError: three is\nno good")
    assert found["4"] == ("skipped", None, "four is fine")
    assert found["5"] == ("completed", "5", None)


def test_failures_may_be_released_or_end_the_job(shell: Shell) -> None:
    shell.records(6)
    shell.label(
        "items.jsonl", "--max-attempts", "1", "--on-failure", "release", "--limit", "4", labeler="picky", code=1
    )
    items = [json.loads(line) for line in shell.run("items", "--db", "labels.db", "--json")[0].splitlines()]
    assert [item["annotation_state"] for item in items] == ["completed"] * 3 + ["unstarted"] * 3
    _, err = shell.label("items.jsonl", "--max-attempts", "1", "--on-failure", "raise", labeler="picky", code=1)
    assert err.splitlines()[-1].startswith("annotation-queue: ValueError: three is no good (while labelling item ")


def test_what_others_hold_is_left_with_exit_code_1(shell: Shell) -> None:
    shell.records(3)
    shell.label("items.jsonl", "--limit", "0")
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        assert queues.claim(queues.query().queues[0].id, "bob")
    _, err = shell.label("items.jsonl", code=1)
    assert "others hold what is left" in err


def test_records_may_come_from_standard_input_or_a_pipe(shell: Shell) -> None:
    lines = "".join(json.dumps({"name": f"n{n}", "text": ""}) + "\r\n\n" for n in range(3))
    _, err = shell.label("-", "--id-field", "name", stdin=lines, code=2)
    assert "--queue" in err
    _, err = shell.label("-", "--id-field", "name", "--queue", "piped", stdin="\ufeff" + lines)
    assert "standard input: 3 records, 3 added to queue 'piped'" in err
    pipe = shell.folder / "pipe.jsonl"
    os.mkfifo(pipe)
    process = shell.start(*shell.label_command("pipe.jsonl", "--id-field", "name"))
    pipe.write_text(lines)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "3 added to queue 'pipe'" in err


def test_repeated_ids_count_once_and_running_again_adds_what_is_new(shell: Shell) -> None:
    shell.write("items.jsonl", [{"id": 1, "text": "first"}, {"id": "1", "text": "again"}, {"id": 2, "text": ""}])
    _, err = shell.label("items.jsonl", "--export", "out.jsonl")
    assert "1 lines repeat the id of an earlier one" in err
    assert [line["annotation"] for line in shell.read("out.jsonl")] == [{"size": 5}, {"size": 0}]
    shell.records(4)
    _, err = shell.label("items.jsonl")
    assert "4 records, 2 added to queue 'items', 2 there already" in err


def test_more_records_than_one_chunk_are_added_once(shell: Shell) -> None:
    shell.records(2_500)
    _, err = shell.label("items.jsonl", "--limit", "1", "--synchronous", "NORMAL")
    assert "2,500 added" in err
    (row,) = [json.loads(line) for line in shell.run("stats", "--db", "labels.db", "--json")[0].splitlines()]
    assert row["total_items"] == 2_500


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": 1,', "not JSON"),
        ('{"id": NaN}', "NaN is not JSON"),
        ("[1]", "not a JSON object but an array"),
        ("null", "not a JSON object but null"),
        ('{"text": "x"}', "no field 'id'"),
        ('{"id": true}', "field 'id' is neither text nor an integer but a boolean"),
        ('{"id": 1.5}', "but a number"),
        ('{"id": ""}', "field 'id': expected non-empty text"),
        ('{"id": 9, "x": "\\u0000"}', "payload.x: expected text without NUL"),
        ('{"id": 9, "x": "\\ud800"}', "a lone surrogate"),
        ('{"id": 9, "x": 9223372036854775808}', "payload.x: expected an integer"),
        ('{"id": 9, "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"id": 9, "x": ' + "[" * 64 + "]" * 64 + "}", "64 levels"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_added(shell: Shell, line: str, problem: str) -> None:
    shell.write("items.jsonl", [{"id": 1, "text": ""}, "", line, {"id": 2, "text": ""}])
    _, err = shell.label("items.jsonl", code=2)
    assert "items.jsonl:3: " in err
    assert problem in err
    assert err.splitlines()[-1] == "annotation-queue: items.jsonl: 1 bad lines; nothing was added"
    assert not shell.exists("labels.db")


def test_bytes_that_are_no_text_and_endless_lines_are_bad_lines(shell: Shell) -> None:
    with (shell.folder / "items.jsonl").open("wb") as file:
        file.write(b'{"id": "\xff"}\n{"id": "' + b"x" * (17 << 20) + b'"}\n{"id": 1, "text": ""}\n')
    _, err = shell.label("items.jsonl", code=2)
    assert "items.jsonl:1: not UTF-8: byte 9 of the line" in err
    assert "items.jsonl:2: longer than 16,777,216 bytes" in err
    assert "2 bad lines; nothing was added" in err


def test_many_bad_lines_are_counted_and_the_first_are_shown(shell: Shell) -> None:
    shell.write("items.jsonl", ["x"] * 50)
    _, err = shell.label("items.jsonl", code=2)
    assert "50 bad lines, of which 20 are shown" in err
    assert len(err.splitlines()) < 25


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_no_error(shell: Shell, content: bytes) -> None:
    (shell.folder / "items.jsonl").write_bytes(content)
    _, err = shell.label("items.jsonl")
    assert "0 records" in err


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


def test_items_are_filtered_sorted_and_numbered(shell: Shell) -> None:
    shell.records(9)
    shell.label("items.jsonl", "--limit", "4")
    db = ("--db", "labels.db")

    def call_ids(*arguments: str) -> list[str]:
        out, _ = shell.run("items", *db, "--json", *arguments)
        return [json.loads(line)["call_id"] for line in out.splitlines()]

    assert call_ids() == [str(n) for n in range(9)]
    assert call_ids("--state", "unstarted", "--limit", "2") == ["4", "5"]
    assert call_ids("--state", "unstarted", "--state", "completed", "--offset", "7") == ["7", "8"]
    assert call_ids("--sort", "annotation_state:desc", "--sort", "call_id:desc", "--limit", "5") == list("32108")
    assert call_ids("--annotator", "somebody", "--state", "unstarted") == [str(n) for n in range(9)]
    assert call_ids("--call-id", "7") == ["7"]
    assert call_ids("--added-by", "nobody") == []
    out, _ = shell.run("items", *db, "--json", "--position", "--sort", "call_id:desc", "--call-id", "7")
    item = json.loads(out)
    assert (item["position_in_queue"], item["payload"], item["added_by"]) == (2, {"id": 7, "text": ""}, "model")
    assert item["created_at"].endswith("Z")
    out, err = shell.run("items", *db, "--limit", "3", "--position")
    assert "in_progress" not in out
    assert out.count("completed") == 3
    assert err == "3 of 9 items; see --limit and --offset\n"
    _, err = shell.run("items", *db, "--sort", "payload", code=2)
    assert "sort_by" in err
    _, err = shell.run("items", *db, "--sort", "id:up", code=2)
    assert "one of asc, desc" in err


def test_stats_and_history_come_as_tables_and_as_json(shell: Shell) -> None:
    shell.records(4)
    shell.label("items.jsonl", "--max-attempts", "1", labeler="picky", code=1)
    shell.label("items.jsonl", "--queue", "other", "--limit", "1")
    rows = [json.loads(line) for line in shell.run("stats", "--db", "labels.db", "--json")[0].splitlines()]
    assert {row["queue"]: row["by_annotator"] for row in rows} == {
        "items": {"model": {"completed": 3, "skipped": 1}},
        "other": {"model": {"completed": 1}},
    }
    out, _ = shell.run("stats", "--db", "labels.db", "--queue", "items")
    assert "items" in out
    assert "other" not in out
    item = json.loads(shell.run("items", "--db", "labels.db", "--queue", "items", "--json", "--state", "skipped")[0])
    out, _ = shell.run("history", item["id"], "--db", "labels.db", "--json")
    moves = [json.loads(line) for line in out.splitlines()]
    assert [(move["from_state"], move["to_state"]) for move in moves] == [
        ("unstarted", "in_progress"),
        ("in_progress", "skipped"),
    ]
    assert moves[1]["reason"] == "ValueError: three is\nno good"
    out, _ = shell.run("history", item["id"], "--db", "labels.db")
    assert "three is?no good" in out
    _, err = shell.run("history", "no-such-item", "--db", "labels.db", code=2)
    assert "no item 'no-such-item'" in err


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


def test_an_export_replaces_a_file_only_when_it_is_whole(shell: Shell) -> None:
    shell.records(3)
    (shell.folder / "real.jsonl").write_text("old\n")
    (shell.folder / "out.jsonl").symlink_to("real.jsonl")
    shell.label("items.jsonl")
    _, err = shell.run("export", "out.jsonl", "--db", "labels.db")
    assert err == "exported 3 lines to out.jsonl\n"
    assert (shell.folder / "out.jsonl").is_symlink()
    assert len(shell.read("real.jsonl")) == 3
    shell.run("export", "/dev/null", "--db", "labels.db")
    assert {path.name for path in shell.folder.iterdir() if path.suffix == ".tmp"} == set()


def test_a_reader_that_goes_away_is_no_error_to_shout_about(shell: Shell) -> None:
    shell.records(3_000)
    shell.label("items.jsonl", "--synchronous", "NORMAL", "--limit", "0")
    with shell.start("items", "--db", "labels.db", "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 1


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
