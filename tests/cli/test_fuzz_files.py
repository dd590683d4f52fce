"""Random files and standard inputs: every command takes them or says in a line what is wrong, and changes no input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.faults import NIGHTLY
from helpers.lines import lines
from helpers.shells import Shell

if TYPE_CHECKING:
    from collections.abc import Sequence

FILES = 8_000 if NIGHTLY else 150
DB = ("--db", "labels.db")
COMMANDS = {
    "add": ("add", "input", "--added-by", "ann"),
    "add what is good": ("add", "input", "--added-by", "ann", "--on-bad-line", "skip", "--on-change", "update"),
    "label": ("label", "input", "--labeler", "own_labelers:size", "--annotator", "model", "--on-bad-line", "skip"),
    "label nothing": ("label", "input", "--labeler", "own_labelers:size", "--annotator", "model", "--dry-run"),
    "reprioritise": ("reprioritise", "input", "--yes"),
    "reprioritise from standard input": ("reprioritise", "-"),
    "complete": ("complete",),
    "skip": ("skip", "--reason", "odd"),
    "release": ("release",),
    "heartbeat": ("heartbeat",),
    "update": ("update", "-", "--priority", "3"),
    "reset": ("reset", "-", "--actor", "boss"),
    "remove": ("remove", "-"),
    "restore": ("restore", "-"),
}
VALUES = (
    st.integers(-2, 9) | st.none() | st.text(max_size=3) | st.sampled_from([2**63, 1.5, True, "2026-01-01T00:00:00Z"])
)
RANKS = st.fixed_dictionaries({}, optional={"id": VALUES, "call_id": VALUES, "priority": VALUES})
CLAIMS = st.fixed_dictionaries(
    dict.fromkeys(("item_id", "annotator_id", "token", "expires_at"), VALUES),
    optional=dict.fromkeys(("project_id", "queue_id", "call_id", "annotation", "payload"), VALUES),
)
LINES = lines() | (RANKS | CLAIMS).map(lambda record: json.dumps(record).encode())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with a queue of five items."""
    shell = Shell(tmp_path_factory.mktemp("fuzz"))
    shell.records(5, "input")
    shell.run("add", "input", *DB, "--queue", "items", "--added-by", "ann")
    return shell


@pytest.mark.slow
@settings(max_examples=FILES)
@given(command=st.sampled_from(sorted(COMMANDS)), given_lines=st.lists(LINES, max_size=4))
@example(command="reprioritise", given_lines=[b'{"id": "\xe7", "priority": 1}'])
@example(command="reprioritise", given_lines=[b"[" * 100_000])
@example(command="reprioritise", given_lines=[b'{"id": "1", "priority": ' + b"9" * 5_000 + b"}"])
@example(command="complete", given_lines=[b"\xff"])
@example(command="remove", given_lines=[b"\xff", b"x" * 100_000])
def test_whatever_a_file_holds_a_command_takes_it_or_says_in_a_line_what_is_wrong(
    filled: Shell, command: str, given_lines: Sequence[bytes]
) -> None:
    content = b"\n".join(given_lines)
    (filled.folder / "input").write_bytes(content)
    code, _, err = filled.end(*COMMANDS[command], *DB, "--queue", "items", stdin=content)
    assert code in {0, 1, 2}, err
    if code == 2:
        assert err.splitlines()[-1].startswith("annotation-queue: "), err
    assert (filled.folder / "input").read_bytes() == content
