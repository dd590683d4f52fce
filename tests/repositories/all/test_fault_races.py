"""Races: of any two mutations at once on one item the outcome is that of the one after the other, in some order."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from annotation_queue import MemoryRepository, SQLiteRepository
from helpers.faults import NIGHTLY
from helpers.races import SCENES, race

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from annotation_queue import Repository

RACES = {"memory": 200 if NIGHTLY else 6, "sqlite": 200 if NIGHTLY else 4}
"""How often each pair races in each scene."""
LATEST = 300
"""How many empty steps one side may be later than the other: some microseconds."""


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


@pytest.mark.slow
@pytest.mark.parametrize("scene_name", SCENES)
def test_two_mutations_at_once_do_what_they_do_one_after_the_other(
    sides: tuple[Repository, Repository], scene_name: str
) -> None:
    race(sides, scene_name, times=RACES["memory" if sides[0] is sides[1] else "sqlite"], latest=LATEST)
