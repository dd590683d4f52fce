"""Exports as CSV and with history, removals, checks, and completion in shells."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import BashComplete
from pyarrow import parquet

from annotation_queue import AnnotationState, NewItem
from annotation_queue.batch.work import FAILED_PREFIX
from annotation_queue.cli import run
from annotation_queue.cli.app import app
from annotation_queue.cli.exports import Content, write_labels
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from annotation_queue import AnnotationQueues, Transition
    from helpers.shells import Shell

DB = ("--db", "labels.db")
COLUMNS = ["item_id", "call_id", "annotator_id", "state", "annotation", "reason", "updated_at"]


@pytest.fixture
def labelled(shell: Shell) -> Shell:
    """A queue of five items: three with a label, two skipped, one of them after it failed."""
    shell.records(5)
    shell.label("items.jsonl", "--max-attempts", "1", labeler="picky", code=1)
    return shell


def test_csv_holds_what_the_json_lines_hold(labelled: Shell) -> None:
    _, err = labelled.run("export", "out.csv", *DB)
    assert err == "exported 5 lines to out.csv\n"
    with (labelled.folder / "out.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == COLUMNS
    lines = labelled.lines("export")
    assert rows == [
        [
            *(line[name] for name in COLUMNS[:4]),
            json.dumps(line["annotation"]),
            line["reason"] or "",
            line["updated_at"],
        ]
        for line in lines
    ]
    assert rows[3][5].removeprefix(FAILED_PREFIX) == "ValueError: three is\nno good"
    assert list(csv.reader(io.StringIO(labelled.run("export", "--format", "csv", *DB)[0]))) == [header, *rows]


def test_csv_has_nothing_that_a_spreadsheet_runs(shell: Shell) -> None:
    records = [{"id": "=1+1"}, {"id": "-2"}]
    (shell.folder / "items.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in records))
    shell.label("items.jsonl", "--annotator", "@model", labeler="steady")
    rows = list(csv.reader(io.StringIO(shell.run("export", "--format", "csv", *DB)[0])))
    assert [row[1:3] for row in rows[1:]] == [["'=1+1", "'@model"], ["-2", "'@model"]]
    assert [line["call_id"] for line in shell.lines("export")] == ["=1+1", "-2"]


def test_a_form_may_be_asked_for_whatever_the_name(labelled: Shell) -> None:
    labelled.run("export", "out.csv", "--format", "jsonl", *DB)
    assert labelled.read("out.csv") == labelled.lines("export")
    labelled.label("items.jsonl", "--export", "OUT.CSV", code=1)  # an item failed before
    assert (labelled.folder / "OUT.CSV").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_an_export_may_carry_the_history_of_each_label(labelled: Shell) -> None:
    labelled.run("add", "items.jsonl", "--annotations-per-item", "2", *DB)
    labelled.label("items.jsonl", "--annotator", "other")
    lines = labelled.lines("export", "--history")
    assert len(lines) == 10
    for line in lines:
        moves = [
            move
            for move in labelled.lines("history", line["item_id"], "--json")
            if move["annotator_id"] == line["annotator_id"]
        ]
        assert line["history"] == [
            {name: move[name] for name in ("from_state", "to_state", "at", "reason", "annotation", "actor_id")}
            for move in moves
        ]
        assert [move["to_state"] for move in line["history"]] == ["in_progress", line["state"]]
    out, _ = labelled.run("export", "--history", "--format", "csv", *DB)
    header, first, *_ = csv.reader(io.StringIO(out))
    assert header == [*COLUMNS, "history"]
    assert json.loads(first[7]) == lines[0]["history"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_item_that_is_removed_meanwhile_is_exported_without_its_history(
    form: str, tmp_path: Path, queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="call")], added_by="ann").added
    queues.update_progress(item.id, "bob", AnnotationState.COMPLETED, annotation="good")
    history = queues.history

    def too_late(item_id: str) -> Sequence[Transition]:
        queues.remove_items(queue.id, [item_id])
        return history(item_id)

    monkeypatch.setattr(queues, "history", too_late)
    exported = tmp_path / "labels"
    assert write_labels(queues, queue.id, str(exported), form=form, content=Content.HISTORY) == 1
    if form == "parquet":
        (line,) = parquet.read_table(exported).to_pylist()
    else:
        with exported.open(newline="") as file:
            (line,) = csv.DictReader(file) if form == "csv" else map(json.loads, file)
    assert (line["call_id"], line["history"]) == ("call", [] if form == "jsonl" else "[]")


def test_removed_items_are_out_of_everything_and_may_come_again(labelled: Shell) -> None:
    ids = {item["call_id"]: item["id"] for item in labelled.lines("items", "--json")}
    out, err = labelled.run("remove", ids["0"], ids["0"], "--call-id", "1", "--call-id", "1", *DB)
    assert (out, err) == ("2\n", "")
    assert [line["call_id"] for line in labelled.lines("export")] == ["2", "3", "4"]
    out, err = labelled.run("remove", ids["0"], ids["2"], "nonsense", "--call-id", "1", *DB, code=1)
    assert (out, err) == ("1\n", "3 of them are not in queue 'items'\n")
    out, _ = labelled.run("remove", "-", *DB, stdin=f"{ids['3']}\n\n{ids['4']}\n")
    assert out == "2\n"
    _, err = labelled.run("remove", *DB, code=2)
    assert "say which items" in err
    (done,) = labelled.lines("add", "items.jsonl", "--json")
    assert done["added"] == 5
    assert not set(ids.values()) & {item["id"] for item in labelled.lines("items", "--json")}


def test_a_whole_file_has_nothing_to_report(labelled: Shell) -> None:
    out, err = labelled.run("check", *DB)
    assert (out, err) == ("", "labels.db: all is well\n")


def test_a_file_whose_items_were_purged_is_made_small(labelled: Shell) -> None:
    path = labelled.folder / "labels.db"
    (labelled.folder / "many.jsonl").write_text(
        "".join(f'{{"id": "m{n}", "text": "{"x" * 500}"}}\n' for n in range(500))
    )
    labelled.run("add", "many.jsonl", *DB)
    labelled.run("remove", "--all", "--yes", "--queue", "many", *DB)
    labelled.run("purge", "--removed-before", "2100-01-01T00:00:00Z", "--yes", *DB)
    before = path.stat().st_size
    out, err = labelled.run("vacuum", *DB)
    assert (int(out), err) == (path.stat().st_size, "")
    assert path.stat().st_size < before / 2
    assert labelled.run("check", *DB)[1].endswith("all is well\n")
    assert len(labelled.lines("items", "--json", "--queue", "items")) == 5


def test_a_file_that_is_being_read_becomes_small_later_and_that_is_said(labelled: Shell) -> None:
    path = labelled.folder / "labels.db"
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM items").fetchall()
        _, err = labelled.run("vacuum", *DB)
    assert (
        err == "labels.db is being read, so that it becomes small when the last one closes it, or with another vacuum\n"
    )


def test_what_is_wrong_with_a_file_is_named_with_exit_code_1(labelled: Shell) -> None:
    with sqlite3.connect(labelled.folder / "labels.db") as connection:
        connection.execute("DELETE FROM log")
    connection.close()
    out, err = labelled.run("check", *DB, code=1)
    assert all(any(item["id"] in line for line in out.splitlines()) for item in labelled.lines("items", "--json"))
    assert err == f"labels.db: {len(out.splitlines())} problem{'s' if len(out.splitlines()) > 1 else ''}\n"


def test_a_file_that_cannot_be_read_is_exit_code_3(shell: Shell) -> None:
    (shell.folder / "labels.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    _, err = shell.run("check", *DB, code=3)
    assert err.startswith("annotation-queue: ")
    (shell.folder / "labels.db").unlink()
    _, err = shell.run("check", *DB, code=2)
    assert "there is no file 'labels.db'" in err
    assert not shell.exists("labels.db")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_the_shell_takes(
    capsys: pytest.CaptureFixture[str], shell: Shell, name: str
) -> None:
    assert run(["completion", name]) == 0
    script = capsys.readouterr().out
    assert "_ANNOTATION_QUEUE_COMPLETE" in script
    if shutil.which(name) is not None:
        (shell.folder / "script").write_text(script)
        subprocess.run([name, "-n", "script"], cwd=shell.folder, check=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("annotation-queue ag", ["agreement"]),
        ("annotation-queue export --for", ["--format"]),
        ("annotation-queue export --format ", ["jsonl", "csv", "parquet"]),
        ("annotation-queue label --on-", ["--on-bad-line", "--on-change", "--on-failure"]),
    ],
)
def test_a_shell_is_told_what_could_come_next(words: str, offered: list[str]) -> None:
    *given, last = words.split(" ")[1:]
    completions = BashComplete(app, {}, "annotation-queue", "_ANNOTATION_QUEUE_COMPLETE").get_completions(given, last)
    assert [each.value for each in completions] == offered


def test_the_program_answers_a_shell_that_asks(shell: Shell) -> None:
    environment = {
        "_ANNOTATION_QUEUE_COMPLETE": "bash_complete",
        "COMP_WORDS": "annotation-queue ag",
        "COMP_CWORD": "1",
    }
    command = [sys.executable, "-m", "annotation_queue"]
    done = subprocess.run(
        command, cwd=shell.folder, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("plain,agreement\n", "")
