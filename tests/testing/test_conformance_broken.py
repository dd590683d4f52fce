"""The conformance suite finds every fault that was put into a repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_queue import OutcomeUnknown, SQLiteRepository
from annotation_queue.repositories.sqlite.connections import Connections
from annotation_queue.testing import RepositoryContract
from helpers.sqlite_files import template
from testing.broken import BROKEN

if TYPE_CHECKING:
    from annotation_queue import AnnotationQueue

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.slow, pytest.mark.unmeasured]

QUIETLY = ("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-m", "")
"""How pytest runs inside a test: any test, without the plugin that takes longer to import than all else."""

TESTS = Path(__file__).parents[1]
PROJECT = TESTS.parent / "pyproject.toml"
FORKS = str(TESTS / "repositories" / "sqlite" / "test_processes.py")
FORKS += "::test_what_a_forked_child_writes_is_kept_when_its_parent_closes_the_file_before"
FAILING = str(TESTS / "repositories" / "all" / "test_fault_calls.py")
FAILING += "::test_when_the_kth_sql_call_of_a_mutation_fails_it_took_effect_whole_or_not_at_all"
SUITE = """
from testing.broken import BROKEN

class TestBroken(BROKEN[{name!r}].contract):
    many = 40

    def make_repository(self):
        from pathlib import Path
        return BROKEN[{name!r}].make(Path({folder!r}))
"""


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_turns_the_suite_red(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    broken = BROKEN[name]
    template()  # made whole
    broken.spoil(monkeypatch)
    path = pytester.makepyfile(SUITE.format(name=name, folder=str(tmp_path)))

    # Nobody reads the lines of the source that failed, and to find them takes long.
    outcome = pytester.inline_run(path, "-x", "--assert=plain", "--tb=native", *QUIETLY)

    failures = [report for report in outcome.getreports("pytest_runtest_logreport") if report.failed]
    assert broken.hits is None or broken.hits, "the repository has no such statement any more"
    assert failures, "nothing failed"
    assert not [report for report in failures if "syntax error" in report.longreprtext], "the fault is no SQL"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_repository_that_goes_on_with_its_parents_connections_loses_what_a_forked_child_writes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("hold", "let_go", "begin_in_child"):
        monkeypatch.setattr(Connections, name, lambda *_: None)

    outcome = pytester.inline_run(FORKS, *QUIETLY, "-c", str(PROJECT))

    _, _, failed = outcome.listoutcomes()
    assert len(failed) == 1


def test_a_repository_that_repeats_a_write_whose_commit_failed_is_found_by_the_test_of_failing_calls(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_queue = SQLiteRepository.add_queue

    def add_twice(repository: SQLiteRepository, queue: AnnotationQueue) -> None:
        try:
            add_queue(repository, queue)
        except OutcomeUnknown:
            add_queue(repository, queue)

    monkeypatch.setattr(SQLiteRepository, "add_queue", add_twice)

    outcome = pytester.inline_run(
        *[f"{FAILING}[create-{how}]" for how in ("before", "after")], *QUIETLY, "-c", str(PROJECT)
    )

    _, _, failed = outcome.listoutcomes()
    assert len(failed) == 2


def test_every_part_of_the_contract_belongs_to_the_whole() -> None:
    assert all(issubclass(RepositoryContract, broken.contract) for broken in BROKEN.values())
