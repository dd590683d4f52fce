"""Random histories, short enough to read: every repository answers as the model does."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from annotation_queue import MemoryRepository, SkipPolicy, SQLiteRepository
from annotation_queue.testing import Calls, repository_state_machine
from annotation_queue.testing.strategies import REFUSED_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from annotation_queue import Repository

_KINDS: Final = ("memory", "sqlite")
_HISTORIES_PER_EXAMPLE: Final = 2
_STEPS: Final = 30


@pytest.fixture(params=_KINDS)
def make_repository(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Repository]:
    """Makes one empty repository after the other, all of one kind."""
    numbers = itertools.count()
    if request.param == "memory":
        return MemoryRepository
    return lambda: SQLiteRepository(tmp_path / f"{next(numbers)}.db", synchronous="OFF")


@pytest.mark.slow
def test_a_repository_answers_every_call_as_the_model_does(make_repository: Callable[[], Repository]) -> None:
    machine = repository_state_machine(make_repository)
    # Histories are many and short: a fault shows early in one of them, and then it is easy to read.
    profile = settings(max_examples=_HISTORIES_PER_EXAMPLE * settings().max_examples, stateful_step_count=_STEPS)
    run_state_machine_as_test(machine, settings=profile)


def test_what_must_be_refused_is_refused_and_changes_nothing(make_repository: Callable[[], Repository]) -> None:
    with make_repository() as repository:
        calls = Calls({"the repository": repository})
        calls.create("left", "x", 1, SkipPolicy.FINAL, timedelta(minutes=5), id_is_taken=False)
        calls.add_items(0, "right", first=0, count=2, shape=0, added_by="a", end="well")
        (queue_id,), item_id = calls.tables.queues, next(iter(calls.tables.items))

        for hostile in REFUSED_CALLS:
            calls.refuse(lambda service, call=hostile: call(service, queue_id, item_id), hostile.error)  # type: ignore[misc]  # a default binds it now
            calls.compare()
