"""Any two mutations at once on one item, from two sides, and what the model answers to the one after the other."""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from annotation_queue.testing import Model, Tables
from helpers.clocks import Clock
from helpers.faults import OPERATIONS, all_of, counting, outcome, plain, service, set_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annotation_queue import AnnotationQueues, Repository

PAIRS: Final = tuple(itertools.combinations_with_replacement(OPERATIONS, 2))
_MADE_ID: Final = re.compile(r"side-\d+-\d+")
SCENES: Final = {"two slots, a live claim": (2, 0), "one slot, an expired claim": (1, 61)}
"""How many annotators each item needs, and how many seconds after Bob's claim the race is."""


def _yielding(repository: Repository) -> Repository:
    """Let the other thread go first before each call of a repository, if it wants to."""

    class Yielding:
        def __getattr__(self, name: str) -> object:
            time.sleep(0)
            return getattr(repository, name)

    return cast("Repository", Yielding())


def _shown(answers: tuple[object, object], queues: AnnotationQueues, project: str) -> str:
    """Write down what two operations answered and what is stored afterwards, whatever the project is called.

    Ids count as their order: one may have been made for an item that was then not added.
    """
    shown = json.dumps(plain([*answers, all_of(queues)])).replace(project, "project")
    ranks = {made: f"side-{rank}" for rank, made in enumerate(sorted(set(_MADE_ID.findall(shown))))}
    return _MADE_ID.sub(lambda found: ranks[found[0]], shown)


def _one_after_the_other(
    names: tuple[str, str], scene_name: str, first: int, passing: int | None = None, passed: Sequence[int] = ()
) -> str:
    """Say what the model answers to two operations, and stores.

    Args:
        names: The operations.
        scene_name: A key of `SCENES`.
        first: Which one comes first, 0 or 1.
        passing: Which one does not see some items; None for neither.
        passed: The items, by their places in the scene.
    """
    needed, seconds = SCENES[scene_name]
    clock, tables = Clock(), Tables()

    def model(ids: str) -> AnnotationQueues:
        made = Model(tables, "project", clock=clock, new_id=counting(f"project-{ids}"))
        return cast("AnnotationQueues", made)

    scene = set_up(model("scene"), needed)
    clock.move(seconds)
    queues = [model(f"side-{side}") for side in range(2)]
    answers = {}
    for side in (first, 1 - first):
        whole = dict(tables.items)
        for place in passed if side == passing else ():
            tables.items.pop(scene.item_ids[place], None)
        answers[side] = outcome(OPERATIONS[names[side]], queues[side], scene)
        if side == passing:
            # A claim neither adds items nor removes any.
            tables.items.clear()
            tables.items.update(whole)
    return _shown((answers[0], answers[1]), queues[0], "project")


def _passing_over(names: tuple[str, str], scene_name: str) -> Iterator[str]:
    """Say what the model answers where a claim passes over items that the other operation has locked."""
    claims = [side for side in range(2) if names[side].startswith("claim")]
    for side, first, count in itertools.product(claims, range(2), (1, 2)):
        for passed in itertools.combinations(range(3), count):
            yield _one_after_the_other(names, scene_name, first, side, passed)


def race(
    sides: tuple[Repository, Repository],
    scene_name: str,
    *,
    times: int,
    latest: int,
    skips_locked: bool = False,
) -> None:
    """Let pairs of mutations race, and compare what happens with both orders of the model.

    Args:
        sides: Two ways to the same storage.
        scene_name: A key of `SCENES`.
        times: How often each pair races.
        latest: How many empty steps one side may be later than the other.
        skips_locked: Whether a claim may pass over an item that is being changed at that moment.

    Raises:
        AssertionError: The outcome was that of neither order, or nearly always that of the same one.
    """
    needed, seconds = SCENES[scene_name]
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

    interval = sys.getswitchinterval()
    # Let Python's threads take turns as often as they can.
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as threads:
            for names in PAIRS:
                expected = [_one_after_the_other(names, scene_name, first) for first in range(2)]
                for _ in range(times):
                    clock, number = Clock(), next(numbers)
                    project = f"race-{number:07}"
                    # Who set the scene up may know more of it, and so be faster.
                    scene = set_up(service(sides[number % 2], clock, f"{project}-scene", project), needed)
                    clock.move(seconds)
                    queues = [
                        service(_yielding(sides[side]), clock, f"{project}-side-{side}", project) for side in range(2)
                    ]
                    here[:] = False, False
                    racing = {
                        side: threads.submit(
                            run,
                            side,
                            partial(outcome, OPERATIONS[names[side]], queues[side], scene),
                            dice.randrange(latest),
                        )
                        for side in dice.sample((0, 1), 2)
                    }
                    happened = _shown((racing[0].result(60), racing[1].result(60)), queues[0], project)
                    if skips_locked and happened not in expected and happened in _passing_over(names, scene_name):
                        continue
                    assert happened in expected, f"{names} gave\n{happened}\nwhich is neither of\n{expected}"
                    won[expected.index(happened)] += expected[0] != expected[1]
    finally:
        sys.setswitchinterval(interval)
    # The one and the other came first.
    assert min(won[0], won[1]) > 10, won
