"""The usage of the conformance suite, as the README and its docstring tell it, works for a stranger's repository."""

from __future__ import annotations

import ast
import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from annotation_queue import testing
from helpers.faults import NIGHTLY
from testing import dictionary
from testing.broken_dictionaries import ForgetsReleasesInHistories

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]

QUIETLY = ("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-m", "")
"""How pytest runs inside a test: any test, without the plugin that takes longer to import than all else."""

README = Path(__file__).parents[2] / "README.md"
STORAGE = Path(dictionary.__file__)
MOST_LINES = 480


def told_by_the_docstring() -> str:
    assert testing.__doc__ is not None
    (block,) = re.findall(r"::\n\n((?:    .*\n|\n)+)", testing.__doc__)
    return textwrap.dedent(block).strip() + "\n"


def told_by_the_readme() -> str:
    section = README.read_text(encoding="utf-8").split("### Bring your own storage\n")[1].split("\n### ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(block)


def test_the_readme_and_the_docstring_tell_the_same() -> None:
    assert told_by_the_readme() == told_by_the_docstring()


@pytest.fixture
def _few_examples() -> Iterator[None]:
    """Try the fast run's number of examples: what is told here is how to begin, and others search for faults."""
    loaded = os.environ.get("HYPOTHESIS_PROFILE", "default")
    settings.load_profile(loaded if NIGHTLY else "default")
    yield
    settings.load_profile(loaded)


@pytest.mark.slow(seconds=25)
@pytest.mark.usefixtures("_few_examples")
def test_a_strangers_repository_passes_the_whole_suite_by_the_text_that_is_told(pytester: pytest.Pytester) -> None:
    assert len(STORAGE.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    pytester.makepyfile(my_storage=STORAGE.read_text(encoding="utf-8"), test_my_repository=told_by_the_docstring())

    outcome = pytester.inline_run(*QUIETLY)

    passed, skipped, failed = outcome.listoutcomes()
    # What the stranger's does not offer is left out, and nothing else.
    assert {each.nodeid.rpartition("::")[2].partition("[")[0] for each in skipped} == {
        "test_what_would_be_restored_or_purged_is_counted_and_stays_as_it_is",
        "test_labels_as_texts_are_those_that_are_read_as_entities",
        "test_what_has_no_labels_has_no_texts_of_them",
    }
    assert failed == []
    contract = {name for name in dir(testing.RepositoryContract) if name.startswith("test_")}
    tried = {report.nodeid.split("::")[-1].split("[")[0] for report in (*passed, *skipped)}
    assert tried == contract | {"test_an_item_is_read_as_it_was_added", "test_every_answer_is_that_of_the_model"}


def test_a_history_that_disagrees_says_where_the_first_difference_is() -> None:
    history = [testing.Call("take_over", {"annotator": "eve", "lease": None})]
    assert repr(history[0]) == "take_over(annotator='eve', lease=None)"
    with pytest.raises(testing.Disagreement, match=r"^the answer\[1\]\.annotator_id is 'eve' and should be 'Bob'"):
        testing.play(history, ForgetsReleasesInHistories())


def test_a_history_that_agrees_counts_its_answers() -> None:
    history = [
        testing.Call("claim", {"queue": 0, "aim": "right", "annotator": "ann", "lease": None}),
        testing.Call("look", {"what": "queue", "queue": 0, "item": 0, "aim": "unknown"}),
    ]
    answers = testing.play(history, dictionary.MyRepository()).answers
    assert answers["Claim"] >= 4
    assert answers["QueueNotFound"] == 1


def test_the_suite_rests_on_public_names_only() -> None:
    for path in Path(testing.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module is not None
                assert "repositories" not in node.module.split("."), f"{path}:{node.lineno}"
                assert not [each.name for each in node.names if each.name.startswith("_")], f"{path}:{node.lineno}"
