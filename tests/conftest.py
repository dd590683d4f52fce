"""What tests share: repositories to run on, a clock to set, ids to count, hypothesis profiles."""

from __future__ import annotations

import asyncio
import collections
import gc
import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from annotation_queue import AnnotationQueues, MemoryRepository, Workflow
from annotation_queue.backoff import Backoff
from annotation_queue.states import STANDARD
from helpers.clocks import Clock
from helpers.shells import Shell
from helpers.sqlite_files import empty_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from annotation_queue import QueueItem, Repository
    from annotation_queue.batch.labelers import Labeler

_SLOW_MACHINE = (HealthCheck.too_slow, HealthCheck.data_too_large)
# The fast run tries a quarter of the examples that every change is tried with before it lands. Neither fails by chance: who
# looks for what nobody has seen yet takes the nightly profile.
settings.register_profile(
    "default", deadline=None, suppress_health_check=_SLOW_MACHINE, max_examples=10, derandomize=True
)
settings.register_profile(
    "ci", deadline=None, suppress_health_check=_SLOW_MACHINE, max_examples=40, derandomize=True, print_blob=True
)
settings.register_profile("nightly", deadline=None, suppress_health_check=_SLOW_MACHINE, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

LONGEST_OF_A_CONTRACT = {"test_random_histories_have_the_answers_of_the_model"}
"""Tests that take longest of all in a contract, which cannot say so itself: others run it too."""

REPOSITORIES: dict[str, Callable[[Path], Repository]] = {
    "memory": lambda _folder: MemoryRepository(),
    "sqlite": lambda folder: empty_repository(folder / "queues.db"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say whether the tests on PostgreSQL may be left out where there is no server."""
    parser.addoption("--require-postgres", action="store_true", help="fail where no PostgreSQL server can be found")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Take a process more than there are cores: tests wait for servers, disks and programs for a third of their time."""
    count = yield
    return count if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else count + 1


def pytest_sessionstart() -> None:
    """Collect no garbage while tests are collected, which all stay: to look for it is two fifths of that time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage from here on, and never again look at what there is by now."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure no coverage in a test that is marked so, nor in the processes that it starts."""
    if "coverage" not in sys.modules or item.get_closest_marker("unmeasured") is None:
        return (yield)
    measuring = sys.modules["coverage"].Coverage.current()
    if measuring is None:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            patch.delenv(name, raising=False)
        measuring.stop()
        try:
            return (yield)
        finally:
            measuring.start()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Thin what is marked so, and spread the slow tests evenly, the longest first: processes that share them end together."""
    left_out = _left_out(items) if os.environ.get("HYPOTHESIS_PROFILE") == "ci" else []
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    items[:] = [item for item in items if item not in gone]
    slow = sorted((item for item in items if _seconds(item)), key=_seconds, reverse=True)
    items[:] = [item for item in items if not _seconds(item)]
    step = len(items) // max(len(slow), 1)
    for number, item in enumerate(slow):
        items.insert(number * (step + 1), item)


def _left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    """Give the cases of thinned tests but for every third, the first of each test among them."""
    cases: collections.Counter[str] = collections.Counter()
    left_out = []
    for item in items:
        if item.get_closest_marker("thinned") is not None:
            test = item.nodeid.partition("[")[0]
            if cases[test] % 3:
                left_out.append(item)
            cases[test] += 1
    return left_out


def _seconds(item: pytest.Item) -> float:
    if item.name in LONGEST_OF_A_CONTRACT:
        return 10.0
    marker = item.get_closest_marker("slow")
    return float(marker.kwargs.get("seconds", 1)) if marker else 0.0


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture(params=sorted(REPOSITORIES))
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    """A fresh repository, one after the other of each kind; whole when the test is over."""
    with REPOSITORIES[request.param](tmp_path) as made:
        yield made
        assert made.check() == ()


@pytest.fixture
def make_queues(repository: Repository, clock: Clock) -> Callable[..., AnnotationQueues]:
    """Make services over the same repository, clock and ids; ids count up, so that they sort as they were made."""
    counter = itertools.count(1)

    def make(project_id: str = "project", workflow: Workflow = STANDARD) -> AnnotationQueues:
        return AnnotationQueues(
            repository, project_id, workflow=workflow, clock=clock, new_id=lambda: f"id-{next(counter):06}"
        )

    return make


@pytest.fixture
def queues(make_queues: Callable[..., AnnotationQueues]) -> AnnotationQueues:
    """The service for one project, with the standard workflow."""
    return make_queues()


@pytest.fixture(params=["function", "coroutine function"])
def shape(request: pytest.FixtureRequest) -> Callable[[Labeler], Labeler]:
    """Give a labeler as a function, or as a coroutine function."""
    if request.param == "function":
        return lambda labeler: labeler

    def as_coroutine_function(labeler: Labeler) -> Labeler:
        async def label(item: QueueItem) -> object:
            await asyncio.sleep(0)
            return labeler(item)

        return label

    return as_coroutine_function


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once, whatever waits between tries."""
    monkeypatch.setattr(Backoff, "wait", lambda _backoff, _failures: 0.0)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A fresh folder to run commands in."""
    return Shell(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """Take Ctrl-C, here and in the processes started here, even where a shell's background job ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
