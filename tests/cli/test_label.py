"""``annotation-queue label``: labels, failures and what others hold."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import annotation_queue
from annotation_queue import AnnotationQueues, SQLiteRepository
from annotation_queue.batch.work import FAILED_PREFIX

if TYPE_CHECKING:
    from helpers.shells import Shell

SAMPLE = Path(annotation_queue.__file__).parent / "samples" / "reviews.jsonl"


def test_the_sample_is_labelled_and_exported(shell: Shell) -> None:
    out, err = shell.run_apart(
        *("label", str(SAMPLE), "--labeler", "annotation_queue.samples.labelers:sentiment", "--annotator", "rules-v1"),
        *("--db", "labels.db", "--export", "out.jsonl"),
    )
    lines = shell.read("out.jsonl")
    records = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    # Several workers labelled them, so that nothing is known about the order but that no time goes back.
    assert sorted(line["call_id"] for line in lines) == sorted(record["id"] for record in records)
    assert [line["updated_at"] for line in lines] == sorted(line["updated_at"] for line in lines)
    lines.sort(key=lambda line: line["call_id"])
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
    lines = sorted(map(json.loads, out.splitlines()), key=lambda line: str(line["call_id"]))
    assert [line["annotation"] for line in lines] == [{"size": n} for n in range(5)]
    assert "imported" in err
    assert "labelling 4" in err
    assert "finished" in err


def test_failures_are_counted_and_end_in_exit_code_1(shell: Shell) -> None:
    shell.records(6)
    _, err = shell.label("items.jsonl", "--max-attempts", "1", "--export", "out.jsonl", labeler="picky", code=1)
    assert "last failure: 3: ValueError: three is no good" in err
    found = {line["call_id"]: (line["state"], line["annotation"], line["reason"]) for line in shell.read("out.jsonl")}
    assert found["3"][:2] == ("skipped", None)
    assert found["3"][2].removeprefix(FAILED_PREFIX) == "ValueError: three is\nno good"
    assert found["4"] == ("skipped", None, "four is fine")
    assert found["5"] == ("completed", "5", None)


def test_what_a_labeler_says_cannot_move_the_cursor(shell: Shell) -> None:
    shell.records(1)
    (shell.folder / "own_labelers.py").write_text("def boo(item): raise ValueError('\\x1b[2Jboo\\x07')")
    _, err = shell.label("items.jsonl", "--max-attempts", "1", labeler="boo", code=1)
    assert "last failure: 0: ValueError: ?[2Jboo?" in err.splitlines()
    shell.records(2)
    _, err = shell.label("items.jsonl", "--max-attempts", "1", "--on-failure", "raise", labeler="boo", code=1)
    assert err.splitlines()[-1].startswith("annotation-queue: ValueError: ?[2Jboo? (while labelling item ")


def test_failures_may_be_released_or_end_the_job(shell: Shell) -> None:
    shell.records(6)
    shell.label(
        "items.jsonl", "--max-attempts", "1", "--on-failure", "release", "--limit", "4", labeler="picky", code=1
    )
    items = [json.loads(line) for line in shell.run("items", "--db", "labels.db", "--json")[0].splitlines()]
    assert [item["annotation_state"] for item in items] == ["completed"] * 3 + ["unstarted"] * 3
    _, err = shell.label("items.jsonl", "--max-attempts", "1", "--on-failure", "raise", labeler="picky", code=1)
    assert err.splitlines()[-1].startswith("annotation-queue: ValueError: three is no good (while labelling item ")


def test_what_others_hold_is_left_with_exit_code_4(shell: Shell) -> None:
    shell.records(3)
    shell.label("items.jsonl", "--limit", "0")
    with SQLiteRepository(shell.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        assert queues.claim(queues.query().queues[0].id, "bob")
    _, err = shell.label("items.jsonl", code=4)
    assert "others hold what is left" in err
