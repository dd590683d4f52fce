"""Changing many items from a shell: by ids and by filters, with what was removed, and pauses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from helpers.shells import Shell

DB = ("--db", "labels.db")


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A queue of five items."""
    shell.records(5)
    shell.run("add", "items.jsonl", *DB)
    return shell


def items(shell: Shell) -> list[dict[str, Any]]:
    """List the items in queue order."""
    return shell.lines("items", "--json")


def test_items_are_changed_by_ids_and_by_filters(filled: Shell) -> None:
    first, second, *_ = items(filled)
    assert filled.run("update", first["id"], second["id"], "missing", "--priority", "-1", *DB)[0] == "2\n"
    assert filled.run("update", "--call-id", "2", "--assign", "bob", "--assign", "ann", *DB)[0] == "1\n"
    assert filled.run("update", "--assignee", "bob", "--payload", '{"a": 1}', "--display-field", "a", *DB)[0] == "1\n"
    listed = items(filled)
    assert [item["call_id"] for item in listed] == ["2", "3", "4", "0", "1"]
    assert (listed[0]["assignees"], listed[0]["payload"], listed[0]["display_fields"]) == (
        ["ann", "bob"],
        {"a": 1},
        ["a"],
    )
    assert filled.run("update", "--all", "--unassign", *DB)[0] == "1\n"
    assert filled.run("update", "--unfinished", "--priority", "0", "--dry-run", *DB)[0] == "5\n"
    assert filled.run("update", "--updated-until", "2000-01-01", "--priority", "7", *DB)[0] == "0\n"


def test_what_is_not_clear_changes_nothing(filled: Shell) -> None:
    for arguments, told in (
        (("update", "--priority", "1"), "say which items"),
        (("update", "--all"), "say what to change"),
        (("update", "x", "--state", "completed", "--priority", "1"), "not both"),
        (("update", "--all", "--assign", "a", "--unassign"), "not both"),
        (("update", "--all", "--payload", "[1]"), "payload: expected a JSON object"),
        (("update", "--all", "--payload", "{"), "--payload"),
        (("update", "--updated-from", "soon", "--priority", "1"), "is no time such as"),
        (("reset", "--all"), "--actor"),
        (("restore",), "say what to bring back"),
        (("claim", "--annotator", "bob", "--item", "x", "--limit", "2"), "give --item or --limit, not both"),
        (("claim", "--annotator", "bob", "--item", "x", "--queue", "nowhere"), "nowhere"),
        (("restore", "--deleted-queue", "x", "--dry-run"), "it counts items"),
    ):
        _, err = filled.run(*arguments, *DB, code=2)
        assert told in err
    assert all(item["priority"] == 0 for item in items(filled))


@pytest.mark.parametrize(
    "time", ["now", "", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-31T12:00:00+99:00"]
)
@pytest.mark.parametrize(
    "command",
    [("purge", "--removed-before"), ("remove", "--updated-from"), ("update", "--priority", "3", "--updated-until")],
)
def test_what_is_no_time_in_the_years_1_to_9999_is_refused(filled: Shell, command: tuple[str, ...], time: str) -> None:
    _, err = filled.run(*command, time, "--yes", *DB, code=2)
    assert f"{time!r} is no time such as 2026-01-31T12:00:00Z, in the years 1 to 9999" in err


def test_a_file_ranks_items_anew(filled: Shell) -> None:
    ranks = [
        {"call_id": "4", "priority": 9},
        {"id": items(filled)[3]["id"], "priority": 8},
        {"call_id": "no", "priority": 1},
    ]
    # A byte order mark, as editors on Windows write it, is no part of the first line.
    text = "\ufeff" + "\n".join(map(json.dumps, ranks)) + "\n\n"
    assert filled.run("reprioritise", "-", "--dry-run", *DB, stdin=text)[0] == "2\n"
    assert [item["call_id"] for item in items(filled)] == ["0", "1", "2", "3", "4"]
    assert filled.run("reprioritise", "-", *DB, stdin=text)[0] == "2\n"
    assert [item["call_id"] for item in items(filled)] == ["4", "3", "0", "1", "2"]
    for line, told in (
        ('{"priority": 1}', "give id or call_id"),
        ('{"id": "x", "priority": 1.5}', "priority: expected an integer"),
        ("[]", "expected a JSON object"),
        ("nonsense", ":1:"),
        (b'\n{"id": "\xe7", "priority": 1}', ":2: not UTF-8: byte 9 of the line"),
        (b'{"id": "' + b"x" * (16 << 20), ":1: longer than 16,777,216 bytes"),
    ):
        assert told in filled.run("reprioritise", "-", *DB, stdin=line, code=2)[1]


def test_labels_are_put_back(filled: Shell) -> None:
    filled.label("items.jsonl", labeler="picky", code=1)
    done = len(filled.lines("export"))
    assert filled.run("reset", "--state", "completed", "--actor", "boss", "--dry-run", *DB)[0] == "3\n"
    assert filled.run("reset", "--state", "completed", "--actor", "boss", "--reason", "again", *DB)[0] == "3\n"
    assert len(filled.lines("export")) == done - 3
    assert filled.run("reset", "--all", "--annotator", "nobody", "--actor", "boss", *DB)[0] == "0\n"


def test_removed_items_and_queues_come_back_until_they_are_purged(filled: Shell) -> None:
    ids = [item["id"] for item in items(filled)]
    assert filled.run("remove", "--unfinished", "--call-id", "1", "--call-id", "2", "--yes", *DB)[0] == "2\n"
    assert filled.run("restore", ids[1], ids[0], "--dry-run", *DB, code=1)[0] == "1\n"
    assert filled.run("restore", ids[1], *DB)[0] == "1\n"
    assert filled.run("restore", ids[1], "missing", *DB, code=1) == (
        "0\n",
        "2 of them are not removed from queue 'items', or there again\n",
    )
    assert filled.run("purge", "--removed-before", "2000-01-01", "--dry-run", *DB) == (
        '{"items": 0, "queues": 0}\n',
        "",
    )
    for _ in range(2):
        assert filled.run("purge", "--removed-before", "2100-01-01", "--dry-run", *DB) == (
            '{"items": 1, "queues": 0}\n',
            "",
        )
    assert (
        filled.run("purge", "--removed-before", "2000-01-01T00:00:00Z", "--yes", *DB)[0]
        == '{"items": 0, "queues": 0}\n'
    )
    assert (
        filled.run("purge", "--removed-before", "2100-01-01T00:00:00Z", "--yes", *DB)[0]
        == '{"items": 1, "queues": 0}\n'
    )
    assert filled.run("restore", ids[2], *DB, code=1)[0] == "0\n"
    assert len(items(filled)) == 4
    assert filled.run("check", *DB)[1].endswith("all is well\n")
    queue_id = items(filled)[0]["queue_id"]
    assert filled.run("restore", "--deleted-queue", queue_id, *DB)[0] == f"{queue_id}\n"


def test_a_purge_that_is_not_confirmed_erases_nothing(filled: Shell) -> None:
    ids = [item["id"] for item in items(filled)]
    filled.run("remove", ids[0], *DB)
    _, err = filled.run("purge", "--removed-before", "2100-01-01T00:00:00Z", *DB, stdin="y\n", code=2)
    assert "give --yes, or answer on a terminal" in err
    assert filled.run("restore", ids[0], *DB)[0] == "1\n"


def test_a_paused_queue_hands_out_nothing_and_a_very_item_may_be_claimed(filled: Shell) -> None:
    assert filled.run("pause", *DB)[1] == "queue 'items' is paused\n"
    assert "the queue is paused" in filled.run("claim", "--annotator", "bob", *DB, code=1)[1]
    filled.run("resume", *DB)
    wanted = items(filled)[3]["id"]
    claim = json.loads(filled.run("claim", "--annotator", "bob", "--item", wanted, *DB)[0])
    assert claim["item_id"] == wanted
    assert "others hold" in filled.run("claim", "--annotator", "eve", "--item", wanted, *DB, code=4)[1]
    filled.run("update", "--all", "--assign", "bob", *DB)
    assert "reserved for others" in filled.run("claim", "--annotator", "eve", *DB, code=1)[1]
    filled.run("add", "items.jsonl", "--queue", "other", *DB)
    assert wanted in filled.run("claim", "--annotator", "bob", "--item", wanted, "--queue", "other", *DB, code=2)[1]


def test_a_record_that_differs_may_take_the_place_of_the_queues(filled: Shell) -> None:
    lines = [json.dumps({"id": number, "text": "new" if number == 1 else f"text {number}"}) for number in (1, 9)]
    (filled.folder / "more.jsonl").write_text("\n".join(lines))
    _, err = filled.run("add", "more.jsonl", "--queue", "items", "--on-change", "update", *DB)
    assert "1 record differs" in err
    assert "the queue has theirs now" in err
    assert {item["call_id"]: item["payload"] for item in items(filled)}["1"] == {"id": 1, "text": "new"}


def test_a_record_that_differs_is_labelled_as_the_file_has_it(filled: Shell) -> None:
    (filled.folder / "more.jsonl").write_text(json.dumps({"id": 1, "text": "a new text"}))
    filled.run(
        *("label", "more.jsonl", "--queue", "items", "--on-change", "update", "--labeler", "own_labelers:plain_size"),
        *("--annotator", "model", "--export", "labels.jsonl", *DB),
    )
    labels = {line["call_id"]: line["annotation"] for line in filled.read("labels.jsonl")}
    assert labels["1"] == {"size": len("a new text")}
