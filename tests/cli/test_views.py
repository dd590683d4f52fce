"""The commands that look and export: tables, JSON lines and files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pyarrow import parquet

from annotation_queue.batch.work import FAILED_PREFIX
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from helpers.shells import Shell


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
    assert call_ids("--call-id", "7", "--call-id", "8", "--added-by", "model") == ["7", "8"]
    assert call_ids("--added-by", "nobody") == []
    shell.run("update", "--call-id", "5", "--call-id", "2", "--assign", "bob", *db)
    assert call_ids("--assignee", "bob") == ["2", "5"]
    assert call_ids("--assignee", "bob", "--unfinished") == ["5"]
    assert call_ids("--finished", "--sort", "call_id:desc") == list("3210")
    assert call_ids("--updated-until", "2000-01-01") == []
    assert call_ids("--updated-from", "2000-01-01T00:00:00Z", "--trace-id", "no") == []
    ids = [item["id"] for item in shell.lines("items", "--json", "--offset", "7")]
    assert call_ids("--id", ids[0], "--id", ids[1], "--id", "missing") == ["7", "8"]
    out, _ = shell.run("items", *db, "--json", "--position", "--sort", "call_id:desc", "--call-id", "7")
    item = json.loads(out)
    assert (item["position_in_queue"], item["payload"], item["added_by"]) == (2, {"id": 7, "text": ""}, "model")
    assert item["created_at"].endswith("Z")
    assert "bob" in shell.run("items", *db, "--assignee", "bob")[0]
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
    assert moves[1]["reason"].removeprefix(FAILED_PREFIX) == "ValueError: three is\nno good"
    out, _ = shell.run("history", item["id"], "--db", "labels.db")
    assert "three is?no good" in out
    _, err = shell.run("history", "no-such-item", "--db", "labels.db", code=2)
    assert "no item 'no-such-item'" in err


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


def test_an_export_as_parquet_holds_what_the_one_as_json_lines_does(shell: Shell) -> None:
    shell.records(9)
    shell.label("items.jsonl")
    shell.run("export", "labels.jsonl", "--db", "labels.db")
    shell.run("export", "labels.parquet", "--db", "labels.db")
    lines = [json.loads(line) for line in (shell.folder / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = parquet.read_table(shell.folder / "labels.parquet").to_pylist()
    for row in rows:
        row["annotation"] = json.loads(row["annotation"])
        row["updated_at"] = row["updated_at"].isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert len(rows) == 9
    assert rows == lines
    shell.run("export", "history.bin", "--format", "parquet", "--history", "--db", "labels.db")
    (first, *_) = parquet.read_table(shell.folder / "history.bin").to_pylist()
    assert json.loads(first["history"])[-1]["to_state"] == "completed"
