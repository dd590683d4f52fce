"""Records that changed since they were added, ids of two kinds, and what a run says of failures before it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, SQLiteRepository
from annotation_queue.batch.work import FAILED_PREFIX
from annotation_queue.cli import label

if TYPE_CHECKING:
    from helpers.shells import Shell

DB = ("--db", "labels.db")


def texts(shell: Shell) -> dict[str, str]:
    return {item["call_id"]: item["payload"]["text"] for item in shell.lines("items", "--json")}


def test_a_changed_record_is_counted_and_named_and_the_queue_keeps_its_own(shell: Shell) -> None:
    shell.write("items.jsonl", [{"id": n, "text": "old"} for n in range(4)])
    shell.run("add", "items.jsonl", *DB)
    shell.write("items.jsonl", [{"text": "new" if n in (1, 3) else "old", "id": n} for n in range(5)])
    out, err = shell.run("add", "items.jsonl", *DB, "--json")
    assert json.loads(out) == {
        "queue": "items",
        "records": 5,
        "added": 1,
        "already_there": 4,
        "differing": 2,
        "bad_lines": 0,
    }
    assert "2 records differ from the queue's: lines 2 and 4; the queue keeps its own (see --on-change)" in err
    assert texts(shell) == {str(n): "old" for n in range(5)}


@pytest.mark.parametrize("command", ["add", "label"])
@pytest.mark.parametrize("source", ["items.jsonl", "-"])
def test_on_change_stop_adds_nothing(shell: Shell, command: str, source: str) -> None:
    shell.write("items.jsonl", [{"id": 1, "text": "old"}])
    shell.run("add", "items.jsonl", *DB)
    shell.write("items.jsonl", [*({"id": n, "text": "old"} for n in range(2, 1_500)), {"id": 1, "text": "new"}])
    arguments = (source, "--queue", "items", "--on-change", "stop", "--on-bad-line", "skip")
    given = ("add", *arguments, *DB) if command == "add" else shell.label_command(*arguments)
    _, err = shell.run(*given, code=2, stdin=(shell.folder / "items.jsonl").read_text())
    assert "1 record differs from the queue's: line 1,499, so nothing was added; see --on-change" in err
    assert texts(shell) == {"1": "old"}


def test_many_changed_records_are_named_in_part(shell: Shell) -> None:
    shell.records(30)
    shell.run("add", "items.jsonl", *DB)
    shell.write("items.jsonl", [{"id": n, "text": "new"} for n in range(30)])
    _, err = shell.run("add", "items.jsonl", *DB)
    assert "30 records differ from the queue's: lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 20 more" in err


@pytest.mark.parametrize("pair", [(1, "1"), ("1", 1), (-7, "-7")])
def test_an_integer_id_and_the_same_digits_as_text_are_an_error(shell: Shell, pair: tuple[object, object]) -> None:
    shell.write("items.jsonl", [{"id": pair[0], "text": ""}, {"id": 5}, {"id": pair[1], "text": ""}])
    _, err = shell.run("add", "items.jsonl", *DB, code=2)
    one, other = map(json.dumps, pair)
    assert f"items.jsonl:3: its id is {other} and that of line 1 is {one}" in err
    assert not shell.exists("labels.db")


def test_ids_of_two_kinds_that_do_not_meet_are_fine(shell: Shell) -> None:
    shell.write("items.jsonl", [{"id": 1}, {"id": "2"}, {"id": "01"}, {"id": "x"}])
    shell.run("add", "items.jsonl", *DB)
    assert [item["call_id"] for item in shell.lines("items", "--json")] == ["1", "2", "01", "x"]


@pytest.mark.parametrize(("on_bad_line", "code"), [("stop", 2), ("skip", 1)])
def test_an_id_of_the_other_kind_than_the_queues_is_an_error(shell: Shell, on_bad_line: str, code: int) -> None:
    shell.write("items.jsonl", [{"id": 1}])
    shell.run("add", "items.jsonl", *DB)
    shell.write("items.jsonl", [{"id": "1"}, {"id": "2"}])
    _, err = shell.run("add", "items.jsonl", *DB, "--on-bad-line", on_bad_line, code=code)
    assert """items.jsonl:1: its id is "1" and that of the queue's record is 1""" in err


@pytest.fixture
def failed(shell: Shell) -> Shell:
    """A queue in which one item failed and one was skipped."""
    shell.records(3)
    shell.run("add", "items.jsonl", *DB)
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        first, second, third = queues.claim_batch(queues.query().queues[0].id, "model", 3)
        queues.skip(first, f"{FAILED_PREFIX}ValueError: no score")
        queues.skip(second, "too short")
        queues.complete(third, 1)
    return shell


def test_failures_of_earlier_runs_are_told_and_are_exit_code_1(failed: Shell) -> None:
    _, err = failed.label("items.jsonl", code=1)
    assert "0 labelled" in err
    assert "model: 1 item failed and has no label, counting earlier runs; to try again, add --retry-failed" in err


def test_retry_failed_is_handed_to_the_run(failed: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def run_batches(*_arguments: object, **options: object) -> dict[str, object]:
        asked.append("retry_failed" in options)
        return {}

    monkeypatch.setattr(label, "run_batches", run_batches)
    failed.label("items.jsonl", "--retry-failed")
    failed.label("items.jsonl")
    assert asked == [True, False]


def test_an_annotator_who_finds_a_queue_finished_by_others_is_told_what_to_do(shell: Shell) -> None:
    shell.records(2)
    shell.label("items.jsonl")
    _, err = shell.label("items.jsonl", "--annotator", "late")
    assert "late: nothing was left to label; every item of queue 'items' has its annotation. " in err
    assert "add --annotations-per-item 2" in err
    _, err = shell.label("items.jsonl")
    assert "model: nothing was left to label; this annotator has done every item" in err


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e308", "1e999", "9" * 5_000, "-1", "0"])
@pytest.mark.parametrize("option", ["--rate", "--timeout", "--lease", "--workers"])
def test_numbers_that_mean_nothing_are_exit_code_2(shell: Shell, option: str, number: str) -> None:
    shell.records(1)
    _, err = shell.label("items.jsonl", option, number, code=2)
    assert f"Invalid value for '{option}'" in err
    assert not shell.exists("labels.db")


@pytest.mark.parametrize("option", ["--limit", "--max-attempts", "--max-failures", "--annotations-per-item"])
def test_integers_beyond_64_bits_are_exit_code_2(shell: Shell, option: str) -> None:
    shell.records(1)
    shell.label("items.jsonl", option, "1" + "0" * 30, code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("claim", "--annotator", "a", "--lease", "nan"),
        ("claim", "--annotator", "a", "--limit", "1" + "0" * 30),
        ("heartbeat", "--lease", "1e308", "--claim", "{}"),
        ("items", "--offset", "1" + "0" * 30),
        ("items", "--limit", "1" + "0" * 30),
        ("complete", "[" * 100_000, "--claim", "{}"),
        ("complete", "[" * 100 + "]" * 100, "--claim", "CLAIM"),
        ("complete", "1e999", "--claim", "CLAIM"),
        ("complete", "NaN", "--claim", "CLAIM"),
        ("skip", "--claim", '{"a": ' * 50_000),
        ("add", "items.jsonl", "--lease", "nan"),
    ],
)
def test_values_beyond_every_limit_are_exit_code_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.records(2)
    shell.run("add", "items.jsonl", *DB)
    given = shell.run("claim", "--annotator", "bob", *DB)[0].strip() if "CLAIM" in arguments else ""
    shell.run(*(given if word == "CLAIM" else word for word in arguments), *DB, code=2)


@pytest.mark.parametrize(
    "content", ["a = " + "[" * 100_000, "[[tokens]]\ntoken = nan\nuser = 'a'\nprojects = []", "\x00"]
)
def test_a_token_file_that_means_nothing_is_exit_code_2(shell: Shell, content: str) -> None:
    (shell.folder / "tokens.toml").write_text(content)
    shell.run("serve", "--token-file", "tokens.toml", *DB, code=2)
