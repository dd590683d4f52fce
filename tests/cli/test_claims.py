"""``annotation-queue claim`` and what takes its claims: work from shell scripts, in one process after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationQueues, SQLiteRepository
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from helpers.shells import Shell

DB = ("--db", "labels.db")


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A queue of three items."""
    shell.records(3)
    shell.run("add", "items.jsonl", *DB)
    return shell


def claim(shell: Shell, *arguments: str, annotator: str = "bob") -> dict[str, Any]:
    (line,) = shell.lines("claim", "--annotator", annotator, *arguments)
    return line


def states(shell: Shell) -> list[str]:
    return [item["annotation_state"] for item in shell.lines("items", "--json")]


def test_a_claim_is_a_line_that_another_process_completes(filled: Shell) -> None:
    out, err = filled.run_apart("claim", "--annotator", "bob", *DB)
    assert err == ""
    line = json.loads(out)
    (item,) = filled.lines("items", "--json", "--limit", "1")
    assert line == {
        "project_id": "default",
        "queue_id": item["queue_id"],
        "item_id": item["id"],
        "call_id": "0",
        "annotator_id": "bob",
        "token": 1,
        "expires_at": line["expires_at"],
        "call_op_name": "",
        "call_trace_id": "",
        "display_fields": [],
        "priority": 0,
        "payload": {"id": 0, "text": ""},
    }
    done, _ = filled.run_apart("complete", '{"label": ["good", null]}', "--claim", out, *DB)
    assert json.loads(done)["state"] == "completed"
    again, _ = filled.run("complete", '{"label": ["good", null]}', "--claim", out, *DB)
    assert again == done
    (exported,) = filled.lines("export")
    assert exported["annotation"] == {"label": ["good", None]}
    # Another label for the same claim is a correction, and both stay in the log.
    filled.run("complete", "3", "--claim", out, *DB)
    assert [line["annotation"] for line in filled.lines("export")] == [3]
    revisions = filled.lines("export", "--revisions")
    assert [(line["annotation"], line["actor_id"]) for line in revisions] == [
        (exported["annotation"], "bob"),
        (3, "bob"),
    ]


def test_many_claims_go_through_a_pipe_with_labels_of_their_own(filled: Shell) -> None:
    out, _ = filled.run("claim", "--annotator", "bob", "--limit", "9", *DB)
    claims = [json.loads(line) for line in out.splitlines()]
    assert [line["call_id"] for line in claims] == ["0", "1", "2"]
    labelled = "\n\n".join(json.dumps(line | {"annotation": {"n": line["call_id"]}}) for line in claims)
    done = filled.lines("complete", stdin=labelled)
    assert [line["call_id"] for line in done] == ["0", "1", "2"]
    assert [line["annotation"] for line in filled.lines("export")] == [{"n": "0"}, {"n": "1"}, {"n": "2"}]


def test_a_label_may_be_plain_text_and_null_is_one_too(filled: Shell) -> None:
    for label in (("--text", 'say "good"'), ('"good"',), ("null",)):
        filled.run("complete", *label, *DB, stdin=json.dumps(claim(filled)))
    assert [line["annotation"] for line in filled.lines("export")] == ['say "good"', "good", None]


def test_a_skip_and_a_release_say_why(filled: Shell) -> None:
    first, second = claim(filled), claim(filled)
    filled.run("skip", "--reason", "too short", "--claim", json.dumps(first), *DB)
    filled.run("release", *DB, stdin=json.dumps(second | {"reason": "lunch"}))
    assert states(filled) == ["skipped", "unstarted", "unstarted"]
    for line, reason in ((first, "too short"), (second, "lunch")):
        assert filled.lines("history", line["item_id"], "--json")[-1]["reason"] == reason
    assert claim(filled)["item_id"] == second["item_id"]


def test_a_stale_claim_writes_nothing_and_is_exit_code_1(filled: Shell) -> None:
    old = json.dumps(claim(filled, "--lease", "0.001"))
    new = claim(filled, annotator="carol")
    assert new["item_id"] == json.loads(old)["item_id"]
    for command in (("complete", "1"), ("skip",), ("release",), ("heartbeat",)):
        out, err = filled.run(*command, "--claim", old, *DB, code=1)
        assert out == ""
        assert err.startswith("--claim: claim 1 of 'bob' on item ")
        assert "is lost" in err
    assert states(filled)[0] == "in_progress"
    filled.run("complete", "2", "--claim", json.dumps(new), *DB)
    assert [(line["annotator_id"], line["annotation"]) for line in filled.lines("export")] == [("carol", 2)]


def test_a_token_of_before_is_stale_although_the_same_annotator_holds_the_item_again(filled: Shell) -> None:
    old = claim(filled)
    filled.run("release", "--claim", json.dumps(old), *DB)
    new = claim(filled)
    assert (new["item_id"], new["token"]) == (old["item_id"], 2)
    filled.run("complete", "1", "--claim", json.dumps(old), *DB, code=1)
    filled.run("complete", "1", "--claim", json.dumps(new), *DB)


def test_one_lost_claim_keeps_no_other_from_being_stored(filled: Shell) -> None:
    claims = [claim(filled) for _ in range(3)]
    filled.run("release", "--claim", json.dumps(claims[0]), *DB)
    filled.run("remove", claims[1]["item_id"], *DB)
    lines = "\n".join(json.dumps(line) for line in claims)
    out, err = filled.run("complete", "true", *DB, stdin=lines, code=1)
    assert [json.loads(line)["call_id"] for line in out.splitlines()] == ["2"]
    assert {line.partition(": ")[0] for line in err.splitlines()} == {"standard input:1", "standard input:2"}
    assert states(filled) == ["unstarted", "completed"]


def test_a_heartbeat_prolongs_and_either_line_is_good(filled: Shell) -> None:
    first = claim(filled, "--lease", "10")
    (longer,) = filled.lines("heartbeat", "--lease", "1000", stdin=json.dumps(first))
    assert longer["expires_at"] > first["expires_at"]
    assert {key: value for key, value in longer.items() if key != "expires_at"} == {
        key: value for key, value in first.items() if key != "expires_at"
    }
    filled.run("complete", "1", "--claim", json.dumps(first), *DB)


def test_nothing_to_claim_says_why_with_exit_codes_of_its_own(filled: Shell) -> None:
    def nothing(annotator: str, code: int) -> str:
        out, err = filled.run("claim", "--annotator", annotator, *DB, code=code)
        assert out == ""
        return err

    claims = [claim(filled) for _ in range(3)]
    assert nothing("carol", 4).startswith("nothing to claim now: others hold what is left, the first until 2")
    for line in claims:
        filled.run("complete", "1", "--claim", json.dumps(line), *DB)
    assert nothing("carol", 1) == "nothing to claim: every item is finished\n"
    filled.run("add", "items.jsonl", "--annotations-per-item", "2", *DB)
    assert nothing("bob", 1).startswith("nothing to claim: this annotator has labelled or skipped what is left")
    filled.run("remove", "--call-id", "0", "--call-id", "1", "--call-id", "2", *DB)
    assert nothing("carol", 1) == "nothing to claim: the queue is empty\n"


def wait_for(process: subprocess.Popen[str]) -> None:
    """Wait until a claim waits."""
    assert process.stderr is not None
    assert process.stderr.readline().startswith("waiting: others hold what is left, the first until 2")


@pytest.mark.slow
def test_a_claim_may_wait_for_what_others_hold(filled: Shell) -> None:
    with SQLiteRepository(filled.folder / "labels.db") as repository:
        queues = AnnotationQueues(repository, "default")
        queue_id = queues.query().queues[0].id
        held = queues.claim_batch(queue_id, "carol", 3, lease=timedelta(hours=1))
        with filled.start("claim", "--annotator", "bob", "--wait", *DB) as process:
            wait_for(process)
            queues.release(held[1])
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["call_id"] == "1"


def test_a_wait_may_be_interrupted(filled: Shell) -> None:
    for _ in range(3):
        claim(filled, annotator="carol")
    with filled.start("claim", "--annotator", "bob", "--wait", *DB) as process:
        wait_for(process)
        process.send_signal(2)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err.split("\n")) == (130, ["", "annotation-queue: interrupted", ""])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "--claim: not JSON"),
        ("[1]", "--claim: a claim is a JSON object, not an array"),
        ("{}", "--claim: no claim as claim prints it: no field 'project_id'"),
        ({"token": None}, "--claim: no claim as claim prints it: no field 'token'"),
        ({"token": True}, "--claim: token: expected an integer"),
        ({"token": 0}, "--claim: token: expected an integer"),
        ({"token": "1"}, "--claim: token: expected an integer"),
        ({"item_id": ""}, "--claim: item_id: expected non-empty text"),
        ({"annotator_id": 3}, "--claim: annotator_id: expected"),
        ({"project_id": "elsewhere"}, "--claim: the claim is of project 'elsewhere'; give it as --project"),
        ({"queue_id": "elsewhere"}, "no queue 'elsewhere' in this project"),
        ({"reason": 3}, "--claim: reason: expected"),
    ],
)
def test_what_is_no_claim_is_exit_code_2(filled: Shell, given: Any, problem: str) -> None:  # noqa: ANN401 - as given
    if isinstance(given, dict):
        given = {key: value for key, value in (claim(filled) | given).items() if value is not None}
        given = json.dumps(given)
    for command in (("complete", "1"), ("skip",)):
        _, err = filled.run(*command, "--claim", given, *DB, code=2)
        assert problem in err


def test_a_completion_without_a_label_is_refused(filled: Shell) -> None:
    line = json.dumps(claim(filled))
    for arguments, problem in (
        ((), "--claim: there is no label: give LABEL, or a field 'annotation' in the line"),
        (("good",), "LABEL is not JSON: Expecting value at column 1; give plain text with --text"),
        (("--text",), "--text goes with LABEL"),
    ):
        _, err = filled.run("complete", *arguments, "--claim", line, *DB, code=2)
        assert problem in err
    _, err = filled.run("complete", "1", *DB, stdin=" \n", code=2)
    assert "standard input: there is no claim" in err
    assert states(filled)[0] == "in_progress"


def test_another_annotators_token_is_of_no_use(filled: Shell) -> None:
    line = claim(filled) | {"annotator_id": "mallory"}
    filled.run("complete", "1", "--claim", json.dumps(line), *DB, code=1)
    assert filled.lines("export") == []


@pytest.mark.slow
def test_a_shell_loop_labels_everything_once(filled: Shell) -> None:
    # As the help of claim says, by two loops at the same time.
    script = f"""
    aq() {{ '{sys.executable}' -m annotation_queue "$@"; }}
    while claim=$(aq claim --annotator "$1"); do
      label=$(printf %s "$claim" | sed 's/.*"call_id": "\\([^"]*\\)".*/\\1/') &&
        aq complete --text "$label" --claim "$claim" > /dev/null
    done
    """
    loops = [
        subprocess.Popen(
            ["/bin/bash", "-c", script, "loop", name],
            cwd=filled.folder,
            env={**os.environ, "ANNOTATION_QUEUE_DB": "labels.db"},
        )
        for name in ("bob", "carol")
    ]
    for loop in loops:
        loop.wait(PATIENCE)
    assert states(filled) == ["completed"] * 3
    assert sorted(line["annotation"] for line in filled.lines("export")) == ["0", "1", "2"]
