"""Races on PostgreSQL: of any two mutations at once the outcome is that of the one after the other, in some order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.faults import NIGHTLY
from helpers.races import SCENES, race

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.repositories.postgres import PostgresRepository

RACES = 200 if NIGHTLY else 1
"""How often each pair races in each scene."""
LATEST = 50_000
"""How many empty steps one side may be later than the other: as long as some statements take."""


@pytest.mark.slow
@pytest.mark.parametrize("scene_name", SCENES)
def test_two_mutations_at_once_do_what_they_do_one_after_the_other(
    make_repository: Callable[..., PostgresRepository], scene_name: str
) -> None:
    sides = make_repository(max_connections=2), make_repository(max_connections=2)
    # Nobody waits for anybody else's claim: so an item that is being changed may be passed over.
    race(sides, scene_name, times=RACES, latest=LATEST, skips_locked=True)
    assert sides[0].check() == ()
