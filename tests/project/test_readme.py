"""Every Python block of the README runs, in its order; the one on PostgreSQL beside the tests on PostgreSQL."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from testing import dictionary

README = Path(__file__).parents[2] / "README.md"


def test_every_python_block_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "my_storage", dictionary)
    examples = [
        example
        for example in Sybil(parsers=[PythonCodeBlockParser()]).parse(README)
        # That needs a server: tests/postgres has one and runs it.
        if "PostgresRepository" not in example.parsed
    ]
    for example in examples:
        example.evaluate()
    assert len(examples) >= 6
    examples[0].document.namespace["repository"].close()


def test_every_link_and_picture_of_the_readme_works_elsewhere_too() -> None:
    # On PyPI a path within the repository leads nowhere.
    targets = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert targets
    assert [each for each in targets if not each.startswith(("https://", "#"))] == []


def test_the_readme_is_read_in_five_minutes() -> None:
    words = [word for word in README.read_text(encoding="utf-8").split() if any(map(str.isalpha, word))]
    assert len(words) < 1_500


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_the_readme_has_one_command_line_below(heading: str) -> None:
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = section.split("```")[1::2]
    assert len(blocks) == 1
    assert len(blocks[0].strip().splitlines()) == 2, "the kind of block, and one command line"
