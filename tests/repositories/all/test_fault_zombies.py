"""Zombies: a holder acts on its claim after something else happened to it; nothing stale is ever written."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from annotation_queue import MemoryRepository, SQLiteRepository
from helpers.sqlite_files import empty_repository
from helpers.zombies import ACTS, FATES, World, check_zombie, world_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unmeasured


@pytest.fixture(
    params=[
        "memory",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("sqlite", "sqlite, one repository each")),
    ]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Bob's claim, and its holder."""
    with ExitStack() as opened:

        def repository() -> MemoryRepository | SQLiteRepository:
            if request.param == "memory":
                return opened.enter_context(MemoryRepository())
            path = tmp_path / "queues.db"
            is_there = path.exists()
            return opened.enter_context(
                SQLiteRepository(path, synchronous="OFF") if is_there else empty_repository(path)
            )

        ours = repository()
        theirs = repository() if "each" in request.param else ours
        yield world_of(ours, theirs)
        assert ours.check() == theirs.check() == ()


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("fate", FATES)
def test_a_holder_that_wakes_up_late_writes_nothing_stale(world: World, fate: str, act: str) -> None:
    check_zombie(world, fate, act)
