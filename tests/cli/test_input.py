"""``annotation-queue label``: the records it reads, and the lines it refuses."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from helpers.shells import Shell


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
    shell.write("items.jsonl", [{"id": 1, "text": "first"}, {"id": 1, "text": "again"}, {"id": 2, "text": ""}])
    _, err = shell.label("items.jsonl", "--export", "out.jsonl")
    assert "3 records, 2 added to queue 'items', 1 there already" in err
    assert "1 record differs from the queue's: line 2; the queue keeps its own" in err
    found = {line["call_id"]: line["annotation"] for line in shell.read("out.jsonl")}
    assert found == {"1": {"size": 5}, "2": {"size": 0}}
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
    assert err.splitlines()[-1] == "annotation-queue: items.jsonl: 1 bad line; nothing was added; see --on-bad-line"
    assert not shell.exists("labels.db")


def test_bytes_that_are_no_text_and_endless_lines_are_bad_lines(shell: Shell) -> None:
    with (shell.folder / "items.jsonl").open("wb") as file:
        file.write(b'{"id": "\xff"}\n{"id": "' + b"x" * (17 << 20) + b'"}\n{"id": 1, "text": ""}\n')
    _, err = shell.label("items.jsonl", code=2)
    assert "items.jsonl:1: not UTF-8: byte 9 of the line" in err
    assert "items.jsonl:2: longer than 16,777,216 bytes" in err
    assert "2 bad lines; nothing was added" in err


def test_every_bad_line_is_named_until_nobody_can_want_more(shell: Shell) -> None:
    shell.write("items.jsonl", ["x"] * 999)
    _, err = shell.label("items.jsonl", code=2)
    assert [line.split(":")[1] for line in err.splitlines() if line.startswith("items.jsonl")] == [
        str(number) for number in range(1, 1_000)
    ]
    assert "999 bad lines; nothing was added" in err
    shell.write("items.jsonl", [{"id": 1}, *["x"] * 2_000])
    _, err = shell.label("items.jsonl", code=2)
    assert len([line for line in err.splitlines() if line.startswith("items.jsonl:")]) == 1_000
    assert "1,000 bad lines up to line 1,001, and nobody looked further; nothing was added" in err
    assert not shell.exists("labels.db")


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_no_error(shell: Shell, content: bytes) -> None:
    (shell.folder / "items.jsonl").write_bytes(content)
    _, err = shell.label("items.jsonl")
    assert "0 records" in err
