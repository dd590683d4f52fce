"""Several annotators over one queue, what the statistics and the agreement show of them, and dry runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.shells import Shell

DB = ("--db", "labels.db")
JUDGES = """
def third(item): return {"label": {"kind": "abc"[item.payload["id"] % 3]}}
def half(item): return {"label": {"kind": "ab"[item.payload["id"] % 2]}}
def always(item): return {"label": {"kind": "a"}}
def text(item): return "abc"[item.payload["id"] % 3]
def unsure(item): return {"label": None if item.payload["id"] % 2 else {"kind": "a"}}
async def later(item): return third(item)
"""


@pytest.fixture(autouse=True)
def _judges(shell: Shell) -> None:
    with (shell.folder / "own_labelers.py").open("a") as file:
        file.write(JUDGES)


def label(shell: Shell, *judges: str, code: int = 0, more: tuple[str, ...] = ()) -> str:
    """Label by judges in their own names."""
    arguments = [part for judge in judges for part in ("--labeler", f"own_labelers:{judge}", "--annotator", judge)]
    return shell.label("items.jsonl", *arguments, *more, code=code)[1]


def test_each_annotator_labels_every_item_with_a_labeler_of_its_own(shell: Shell) -> None:
    shell.records(20)
    err = label(shell, "third", "half", "later", more=("--workers", "2"))
    lines = shell.lines("export")
    assert sorted((int(line["call_id"]), line["annotator_id"]) for line in lines) == [
        (n, annotator) for n in range(20) for annotator in ("half", "later", "third")
    ]
    for line in lines:
        n = int(line["call_id"])
        assert line["annotation"]["label"]["kind"] == ("ab"[n % 2] if line["annotator_id"] == "half" else "abc"[n % 3])
    assert [line for line in err.splitlines() if ": 20 labelled; " in line][1].startswith("half: 20 labelled; ")
    (row,) = shell.lines("stats", "--json")
    assert (row["annotations_per_item"], row["finished_items"], row["total_items"]) == (3, 20, 20)
    assert "0 labelled" in label(shell, "third", "half", "later")


def test_one_labeler_serves_all_annotators(shell: Shell) -> None:
    shell.records(4)
    shell.label("items.jsonl", "--annotator", "a", "--annotator", "b", "--annotator", "a")
    (row,) = shell.lines("stats", "--json")
    assert row["by_annotator"] == {"a": {"completed": 4}, "b": {"completed": 4}}
    assert row["annotations_per_item"] == 2


def test_fewer_annotations_than_annotators_share_the_work(shell: Shell) -> None:
    shell.records(30)
    err = label(shell, "third", "half", more=("--annotations-per-item", "1"))
    assert "queue 'items' takes 1 of the 2 annotators for each item; see --annotations-per-item" in err
    assert len(shell.lines("export")) == 30
    err = label(shell, "always", more=("--annotations-per-item", "2"))
    assert "30 labelled" in err
    assert shell.lines("stats", "--json")[0]["finished_items"] == 30


def test_limit_rate_and_limits_of_failures_hold_for_each_annotator(shell: Shell) -> None:
    shell.records(9)
    label(shell, "third", "half", more=("--limit", "4"))
    (row,) = shell.lines("stats", "--json")
    assert row["by_annotator"] == {"third": {"completed": 4}, "half": {"completed": 4}}


def test_a_labeler_that_raises_ends_the_others_too(shell: Shell) -> None:
    shell.records(9)
    err = label(shell, "slow", "picky", more=("--on-failure", "raise", "--max-attempts", "1"), code=1)
    assert err.splitlines()[-1].startswith("annotation-queue: ValueError: three is no good (while labelling item ")
    assert shell.lines("stats", "--json")[0]["by_state"]["in_progress"] == 0


def test_reports_as_json_lines(shell: Shell) -> None:
    shell.records(5)
    out, _ = shell.label("items.jsonl", "--annotator", "a", "--annotator", "b", "--json", labeler="picky", code=1)
    reports = {line["annotator"]: line for line in map(json.loads, out.splitlines())}
    assert list(reports) == ["a", "b"]
    for report in reports.values():
        assert (report["attempted"], report["completed"], report["skipped"], report["failed"]) == (5, 3, 2, 1)
        assert report["last_failure"] == "3: ValueError: three is\nno good"
        assert len(report["slowest"]) == 5
        assert report["slowest"][0]["call_id"] in "01234"
    _, err = shell.label("items.jsonl", "--json", "--export", "-", code=2)
    assert "--json and the labels cannot both go to standard output" in err


def test_the_slowest_items_are_named_where_they_are_slow(shell: Shell) -> None:
    shell.records(2)
    with (shell.folder / "own_labelers.py").open("a") as file:
        file.write("def nap(item): time.sleep(1.01 * item.payload['id'])\n")
    assert "slowest: 1 1.0 s, 0 0.0 s" in label(shell, "nap")


def test_a_time_limit_fails_the_attempt_of_a_function(shell: Shell) -> None:
    shell.records(2)
    with (shell.folder / "own_labelers.py").open("a") as file:
        file.write("def hang(item):\n    if item.call_id == '0': time.sleep(2)\n    return 1\n")
    err = label(shell, "hang", more=("--timeout", "0.2", "--max-attempts", "1"), code=1)
    assert "1 failed" in err
    assert {line["call_id"]: line["state"] for line in shell.lines("export")} == {"0": "skipped", "1": "completed"}


def test_a_dry_run_prints_what_would_be_exported_and_makes_no_file(shell: Shell) -> None:
    shell.records(5)
    out, err = shell.label("items.jsonl", "--dry-run", "--limit", "2", "--annotator", "a", "--annotator", "b")
    lines = [json.loads(line) for line in out.splitlines()]
    assert sorted((line["call_id"], line["annotator_id"], line["annotation"]) for line in lines) == [
        ("0", "a", {"size": 0}),
        ("0", "b", {"size": 0}),
        ("1", "a", {"size": 1}),
        ("1", "b", {"size": 1}),
    ]
    assert err.splitlines()[-1] == "dry run: nothing was stored"
    assert not shell.exists("labels.db")
    out, _ = shell.label("items.jsonl", "--dry-run", "--max-attempts", "1", labeler="picky", code=1)
    assert len(out.splitlines()) == 5
    shell.records(1_200)
    out, _ = shell.label("items.jsonl", "--dry-run")
    assert len(out.splitlines()) == 1_000


def test_the_statistics_show_how_far_each_annotator_is(shell: Shell) -> None:
    shell.records(8)
    label(shell, "third", "half", more=("--limit", "5"))
    label(shell, "third", more=("--limit", "2"))
    out, _ = shell.run("stats", *DB)
    assert [line.split()[1:] for line in out.splitlines() if "%" in line] == [
        ["half", "0", "5", "0", "62.5%"],
        ["third", "0", "7", "0", "87.5%"],
    ]


def test_agreement_of_two_lists_where_they_differ(shell: Shell) -> None:
    shell.records(12)
    label(shell, "third", "half")
    out, err = shell.run("agreement", "--field", "label.kind", *DB)
    # 0 and 1 of every six are the same: a, b; of the others c is never, and 4 (b, a) and 3 (a, b) are crossed.
    table = [line.split() for line in out.splitlines() if line]
    assert table[0] == ["annotators", "items", "agreed", "share", "kappa", "alpha"]
    # By hand: 16 of 24 pairs of labels differ; by chance 10 * 10 * 2 + 10 * 4 * 4 = 360 of 24 * 23 would: 1 - 23 * 16 / 360.
    assert table[2] == ["half,", "third", "12", "4", "33.3%", "0.000", "-0.022"]
    assert sorted((row for row in table[5:] if row), key=lambda row: int(row[0])) == [
        [str(n), f'"{"ab"[n % 2]}"', f'"{"abc"[n % 3]}"'] for n in range(12) if n % 6 > 1
    ]
    assert err == ""
    out, err = shell.run("agreement", "--field", "label.kind", "--limit", "1", *DB)
    assert err == "1 of 8 items on which they differ; see --limit\n"
    (found,) = shell.lines("agreement", "--field", "label.kind", "--json")
    assert (found["items"], found["agreed"], found["categories"]) == (12, 4, {'"a"': 10, '"b"': 10, '"c"': 4})
    differing = {int(each["call_id"]): each["labels"] for each in found["differing"]}
    assert differing[2] == {"half": "a", "third": "c"}
    assert sorted(differing) == [n for n in range(12) if n % 6 > 1]


def test_agreement_of_three_shows_fleiss_kappa_and_every_pair(shell: Shell) -> None:
    shell.records(12)
    label(shell, "third", "half", "later")
    out, _ = shell.run("agreement", "--field", "label.kind", "--limit", "0", *DB)
    rows = [line.split() for line in out.splitlines()[2:]]
    assert rows == [
        # By hand: the shares of a, b, c are 14, 14, 8 of 36; the mean agreement is (4 + 8 / 3) / 12 = 0.5556;
        # by chance it would be (14² + 14² + 8²) / 36² = 0.3519; kappa is (0.5556 - 0.3519) / (1 - 0.3519).
        # For alpha chance is without replacement: (14 * 13 * 2 + 8 * 7) / (36 * 35) = 0.3333.
        ["half,", "later,", "third", "12", "4", "33.3%", "0.314", "0.333"],
        ["half,", "later", "12", "4", "33.3%", "0.000"],
        ["half,", "third", "12", "4", "33.3%", "0.000"],
        ["later,", "third", "12", "12", "100.0%", "1.000"],
    ]
    out, _ = shell.run("agreement", "--field", "label.kind", "--annotator", "third", "--annotator", "later", *DB)
    assert out.splitlines()[2].split() == ["later,", "third", "12", "12", "100.0%", "1.000", "1.000"]


def test_agreement_over_whole_labels_and_without_values(shell: Shell) -> None:
    shell.records(4)
    label(shell, "text", "unsure")
    _, err = shell.run("agreement", *DB, code=2)
    assert "with an object, which has 'label': name the field to compare with --field" in err
    _, err = shell.run("agreement", "--field", "label", *DB, code=2)
    assert "which has 'kind'" in err
    out, err = shell.run("agreement", "--field", "label.kind", *DB)
    assert err == "6 labels without 'label.kind' are left out\n"
    assert out.splitlines()[2].split() == ["text,", "unsure", "0", "0"]
    shell.label("items.jsonl", "--annotations-per-item", "3", "--annotator", "texter", "--exec", TEXTER)
    out, _ = shell.run("agreement", "--annotator", "text", "--annotator", "texter", *DB)
    # Six times a, once b and once c: by chance 1 - 30 / 56 differ, and a half does.
    assert out.splitlines()[2].split() == ["text,", "texter", "4", "2", "50.0%", "0.000", "-0.077"]


TEXTER = "sed -u 's/.*/\"a\"/'"


def test_agreement_needs_two_annotators_who_did_something(shell: Shell) -> None:
    shell.records(2)
    label(shell, "third")
    _, err = shell.run("agreement", *DB, code=2)
    assert "queue 'items' has labels of 1 of the annotators: there is nothing to compare" in err
    _, err = shell.run("agreement", "--annotator", "third", "--annotator", "nobody", *DB, code=2)
    assert "annotator 'nobody' has done nothing in queue 'items'" in err


def test_agreement_without_its_extra_says_which_one(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.records(3)
    label(shell, "third", "half")
    monkeypatch.setitem(__import__("sys").modules, "statsmodels.stats", None)
    _, err = shell.run("agreement", "--field", "label.kind", *DB, code=2)
    assert 'kappa needs an extra: pip install "annotation-queue[agreement]"' in err
