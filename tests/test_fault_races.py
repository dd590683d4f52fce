"""Races: of any two mutations at once on one item the outcome is that of the one after the other, in some order."""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest

from annotation_queue import AnnotationQueues, MemoryRepository, SQLiteRepository
from annotation_queue.testing import Tables
from helpers.clocks import Clock
from helpers.faults import NIGHTLY, OPERATIONS, BatchModel, all_of, counting, outcome, plain, service, set_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from annotation_queue import Repository

PAIRS = list(itertools.combinations_with_replacement(OPERATIONS, 2))
RACES = {"memory": 200 if NIGHTLY else 6, "sqlite": 200 if NIGHTLY else 4}
"""How often each pair races in each scene."""
LATEST = 300
"""How many empty steps one side may be later than the other: some microseconds."""
SCENES = {"two slots, a live claim": (2, 0), "one slot, an expired claim": (1, 61)}
"""How many annotators each item needs, and how many seconds after Bob's claim the race is."""


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let Python's threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(params=sorted(RACES))
def sides(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Repository, Repository]]:
    """Two ways to the same storage: one repository in memory, or two on one file."""
    with ExitStack() as opened:
        if request.param == "memory":
            memory = opened.enter_context(MemoryRepository())
            yield memory, memory
            assert memory.check() == ()
        else:
            path = tmp_path / "queues.db"
            one, other = (opened.enter_context(SQLiteRepository(path, synchronous="OFF")) for _ in range(2))
            yield one, other
            assert one.check() == ()


def yielding(repository: Repository) -> Repository:
    """Let the other thread go first before each call of a repository, if it wants to."""

    class Yielding:
        def __getattr__(self, name: str) -> object:
            time.sleep(0)
            return getattr(repository, name)

    return cast("Repository", Yielding())


def shown(answers: tuple[object, object], queues: AnnotationQueues, project: str) -> str:
    """Write down what two operations answered and what is stored afterwards, whatever the project is called."""
    return json.dumps(plain([*answers, all_of(queues)])).replace(project, "project")


def one_after_the_other(names: tuple[str, str], scene_name: str, first: int) -> str:
    """Say what the model answers to two operations, and stores, if one of them comes first."""
    needed, seconds = SCENES[scene_name]
    clock, tables = Clock(), Tables()

    def model(ids: str) -> AnnotationQueues:
        made = BatchModel(tables, "project", clock=clock, new_id=counting(f"project-{ids}"))
        return cast("AnnotationQueues", made)

    scene = set_up(model("scene"), needed)
    clock.move(seconds)
    queues = [model(f"side-{side}") for side in range(2)]
    answers = {side: outcome(OPERATIONS[names[side]], queues[side], scene) for side in (first, 1 - first)}
    return shown((answers[0], answers[1]), queues[0], "project")


@pytest.mark.slow
@pytest.mark.usefixtures("eager_switches")
@pytest.mark.parametrize("scene_name", SCENES)
def test_two_mutations_at_once_do_what_they_do_one_after_the_other(
    sides: tuple[Repository, Repository], scene_name: str
) -> None:
    needed, seconds = SCENES[scene_name]
    times = RACES["memory" if sides[0] is sides[1] else "sqlite"]
    numbers = itertools.count()
    won: Counter[int] = Counter()
    dice = random.Random(11)  # noqa: S311 - who starts first, not a secret

    here = [False, False]

    def run(side: int, act: Callable[[], object], late: int) -> object:
        here[side] = True
        # Whoever is first stays awake, or the other would be done before it is woken.
        while not here[1 - side]:
            time.sleep(0)
        for _ in range(late):
            pass
        return act()

    with ThreadPoolExecutor(2) as threads:
        for names in PAIRS:
            expected = [one_after_the_other(names, scene_name, first) for first in range(2)]
            for _ in range(times):
                clock, project = Clock(), f"race-{next(numbers):07}"
                scene = set_up(service(sides[0], clock, f"{project}-scene", project), needed)
                clock.move(seconds)
                queues = [service(yielding(sides[side]), clock, f"{project}-side-{side}", project) for side in range(2)]
                here[:] = False, False
                racing = {
                    side: threads.submit(
                        run,
                        side,
                        partial(outcome, OPERATIONS[names[side]], queues[side], scene),
                        dice.randrange(LATEST),
                    )
                    for side in dice.sample((0, 1), 2)
                }
                happened = shown((racing[0].result(60), racing[1].result(60)), queues[0], project)
                assert happened in expected, f"{names} gave\n{happened}\nwhich is neither of\n{expected}"
                won[expected.index(happened)] += expected[0] != expected[1]
    # The one and the other came first.
    assert min(won[0], won[1]) > 10
