"""``annotation-queue add``: what is read, what is refused, and what a second run adds."""

from __future__ import annotations

import gzip
import json
import os
import threading
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from helpers.shells import Shell

DB = ("--db", "labels.db")


def jsonl(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def payloads(shell: Shell) -> dict[str, object]:
    return {item["call_id"]: item["payload"] for item in shell.lines("items", "--json")}


def test_a_second_run_adds_only_what_is_new(shell: Shell) -> None:
    shell.records(3)
    out, err = shell.run("add", "items.jsonl", *DB)
    assert out.split() == [
        *("queue", "records", "added", "already", "there", "bad", "lines"),
        *("─" * 50, "items", "3", "3", "0", "0"),
    ]
    assert err == "items.jsonl: 3 records, 3 added to queue 'items'\n"
    shell.records(5)
    out, _ = shell.run("add", "items.jsonl", *DB, "--json")
    assert json.loads(out) == {
        "queue": "items",
        "records": 5,
        "added": 2,
        "already_there": 3,
        "differing": 0,
        "bad_lines": 0,
    }
    assert list(payloads(shell)) == ["0", "1", "2", "3", "4"]


def test_what_was_added_is_labelled_by_label_without_adding_it_again(shell: Shell) -> None:
    shell.records(3)
    shell.run("add", "items.jsonl", *DB, "--added-by", "ann")
    _, err = shell.label("items.jsonl")
    assert "3 records, 0 added to queue 'items', 3 there already" in err
    assert {item["added_by"] for item in shell.lines("items", "--json")} == {"ann"}
    assert [line["state"] for line in shell.lines("export")] == ["completed"] * 3


@pytest.mark.parametrize("name", ["traces.jsonl.gz", "traces.jsonl"])
def test_gzip_is_known_by_its_content_whatever_the_name(shell: Shell, name: str) -> None:
    # Two members, as from two compressions joined together.
    content = gzip.compress(jsonl({"id": 1}, {"id": 2})) + gzip.compress(jsonl({"id": 3}))
    (shell.folder / name).write_bytes(content)
    assert shell.lines("add", name, "--json")[0]["added"] == 3
    assert payloads(shell) == {"1": {"id": 1}, "2": {"id": 2}, "3": {"id": 3}}
    assert shell.lines("stats", "--json")[0]["queue"] == "traces"


@pytest.mark.parametrize("on_bad_line", ["stop", "skip"])
def test_standard_input_may_be_gzipped_too(shell: Shell, on_bad_line: str) -> None:
    content = gzip.compress(jsonl({"id": 1}, {"id": 2}))
    arguments = ("add", "-", "--queue", "q", "--json", "--on-bad-line", on_bad_line)
    assert shell.lines(*arguments, stdin=content)[0]["added"] == 2


@pytest.mark.parametrize("on_bad_line", ["stop", "skip"])
@pytest.mark.parametrize("first", [1, 2, 3, 1_000])
def test_a_pipe_is_read_as_it_comes_gzipped_or_not(shell: Shell, on_bad_line: str, first: int) -> None:
    for number, content in enumerate((jsonl({"id": 1}, {"id": 2}), gzip.compress(jsonl({"id": 3})), b"", b"\n")):
        pipe = shell.folder / f"pipe-{number}"
        os.mkfifo(pipe)

        def write(content: bytes = content, path: str = str(pipe)) -> None:
            with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - a pipe
                file.writelines((content[:first], content[first:]))

        writer = threading.Thread(target=write)
        writer.start()
        shell.run("add", pipe.name, *DB, "--queue", "q", "--on-bad-line", on_bad_line)
        writer.join(PATIENCE)
    assert sorted(payloads(shell)) == ["1", "2", "3"]


@pytest.mark.parametrize("on_bad_line", ["stop", "skip"])
@pytest.mark.parametrize("damage", ["cut off", "garbled", "followed by something else"])
def test_damaged_gzip_is_named(shell: Shell, on_bad_line: str, damage: str) -> None:
    content = gzip.compress(jsonl(*({"id": n, "text": str(n) * 50} for n in range(100))))
    broken = {
        "cut off": content[:-20],
        "garbled": content[:100] + b"\xff" * 50 + content[150:],
        "followed by something else": content + b"something else",
    }[damage]
    (shell.folder / "items.jsonl").write_bytes(broken)
    _, err = shell.run("add", "items.jsonl", *DB, "--on-bad-line", on_bad_line, code=2)
    assert "annotation-queue: items.jsonl: the gzip data is cut off or damaged: " in err.splitlines()[-1]


def test_bad_lines_may_be_skipped_and_each_is_named_with_its_number(shell: Shell) -> None:
    bad = {2: "{", 3: "[1]", 5: '{"text": "no id"}', 1_204: '{"id": null}'}
    good = iter(range(5_000))
    shell.write("items.jsonl", [bad.get(number) or {"id": next(good)} for number in range(1, 2_001)])
    out, err = shell.run("add", "items.jsonl", *DB, "--on-bad-line", "skip", "--json", code=1)
    assert json.loads(out) == {
        "queue": "items",
        "records": 1_996,
        "added": 1_996,
        "already_there": 0,
        "differing": 0,
        "bad_lines": 4,
    }
    assert err.splitlines() == [
        "items.jsonl:2: not JSON: Expecting property name enclosed in double quotes at column 2",
        "items.jsonl:3: not a JSON object but an array",
        "items.jsonl:5: no field 'id'",
        "items.jsonl:1204: field 'id' is neither text nor an integer but null",
        "items.jsonl: 1,996 records, 1,996 added to queue 'items'; 4 bad lines left out",
    ]


def test_label_skips_bad_lines_too_and_says_so_by_its_exit_code(shell: Shell) -> None:
    shell.write("items.jsonl", [{"id": 1, "text": ""}, "bad", {"id": 2, "text": ""}])
    _, err = shell.label("items.jsonl", "--on-bad-line", "skip", code=1)
    assert "1 bad lines left out" in err
    assert len(shell.lines("export")) == 2


def test_the_payload_may_be_some_fields_of_the_record(shell: Shell) -> None:
    shell.write("items.jsonl", [{"id": 1, "a": {"b": 2}, "c": None, "d": "x" * 99}, {"id": 2, "a": 3, "c": 4}])
    shell.run("add", "items.jsonl", *DB, "--payload", "a", "--payload", "c")
    assert payloads(shell) == {"1": {"a": {"b": 2}, "c": None}, "2": {"a": 3, "c": 4}}
    _, err = shell.run("add", "items.jsonl", *DB, "--payload", "d", code=2)
    assert "items.jsonl:2: no field 'd'" in err


def test_policies_make_a_new_queue_and_change_one_that_is_there(shell: Shell) -> None:
    shell.records(2)

    def policies(*arguments: str) -> tuple[object, object]:
        shell.run("add", "items.jsonl", *DB, *arguments)
        (row,) = shell.lines("stats", "--json")
        return row["annotations_per_item"], row["skip_policy"]

    assert policies() == (1, "final")
    assert policies("--annotations-per-item", "3", "--skip-policy", "requeue", "--lease", "20") == (3, "requeue")
    assert policies() == (3, "requeue")
    claim = shell.lines("claim", "--annotator", "bob")[0]
    (move,) = shell.lines("history", claim["item_id"], "--json")
    assert seconds_between(move["at"], claim["expires_at"]) == 20


def seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def test_standard_input_needs_a_queue(shell: Shell) -> None:
    _, err = shell.run("add", "-", *DB, code=2)
    assert "give the queue a name with --queue" in err


def test_the_database_project_and_queue_may_be_set_in_the_environment(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.records(1)
    monkeypatch.setenv("ANNOTATION_QUEUE_DB", "labels.db")
    monkeypatch.setenv("ANNOTATION_QUEUE_PROJECT", "acme")
    monkeypatch.setenv("ANNOTATION_QUEUE_QUEUE", "q")
    shell.run("add", "items.jsonl")
    out, _ = shell.run("items", "--json")
    assert json.loads(out)["project_id"] == "acme"
    assert shell.run("stats", "--project", "default", "--json")[0] == ""


def test_a_user_without_a_name_says_who_adds(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def getuser() -> str:
        message = "No username set in the environment"
        raise OSError(message)

    monkeypatch.setattr("getpass.getuser", getuser)
    shell.records(1)
    _, err = shell.run("add", "items.jsonl", *DB, code=2)
    assert "say in whose name with --added-by" in err
    shell.run("add", "items.jsonl", *DB, "--added-by", "ann")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["add", "label"])
def test_first_runs_that_name_the_same_new_queue_at_once_find_or_make_one_queue(shell: Shell, command: str) -> None:
    shell.records(20)
    for number in range(2):
        db = ("--db", f"{number}.db")
        runs = [
            shell.start("add", "items.jsonl", "--queue", "new", *db)
            if command == "add"
            else shell.start(
                *("label", "items.jsonl", "--queue", "new", "--labeler", "own_labelers:plain_size"),
                *("--annotator", f"model {run}", "--annotations-per-item", "8", *db),
            )
            for run in range(8)
        ]
        ended = [(run.communicate(timeout=PATIENCE), run.returncode) for run in runs]
        assert [code for _, code in ended] == [0] * 8, ended
        stats = [json.loads(line) for line in shell.run("stats", "--json", *db)[0].splitlines()]
        assert [(each["queue"], each["total_items"]) for each in stats] == [("new", 20)]
        if command == "label":
            assert stats[0]["finished_items"] == 20
