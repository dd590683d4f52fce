"""How a long change is cut into transactions: small parts first, then as many as there is time for."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, NewItem, SQLiteRepository
from annotation_queue.repositories.sqlite.connections import Connections
from annotation_queue.repositories.sqlite.pace import FIRST, Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


class Stopwatch:
    """A clock that stands still unless something takes time."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def transactions(
    members: int, seconds: float, cost: Callable[[int], float], commits: Sequence[float] = (0.0,)
) -> Iterator[tuple[list[int], float]]:
    """Give the parts of each transaction, and how long it took, when members cost so many seconds by their number.

    Args:
        members: How many there are.
        seconds: How long a transaction may last.
        cost: What a member costs.
        commits: What the first commits cost, the last of these for all others too; nothing is for the first one but this.
    """
    clock = Stopwatch()
    pace = Pace(seconds, clock, commits[0])
    costs = chain(commits, repeat(commits[-1]))
    done = 0
    while done < members:
        pace.begin()
        began, parts = clock.now, []
        while done < members and (size := min(pace.part(), members - done)):
            clock.now += sum(cost(done + each) for each in range(size))
            pace.took(size)
            done += size
            parts.append(size)
        clock.now += next(costs)
        pace.committed()
        yield parts, clock.now - began


@pytest.mark.parametrize("each", [1e-6, 20e-6, 150e-6, 1e-3])
def test_every_transaction_ends_in_time_whatever_a_member_takes(each: float) -> None:
    made = [*transactions(40_000, 0.5, lambda _: each)]
    assert sum(sum(parts) for parts, _ in made) == 40_000
    assert max(took for _, took in made) <= max(0.5, FIRST * each) + 1e-9
    # All but the last one use most of their time.
    assert all(took > 0.4 for _, took in made[:-1])


def test_a_transaction_has_a_part_even_if_that_alone_takes_longer_than_it_may() -> None:
    made = [*transactions(2_000, 0.5, lambda _: 0.1)]
    assert [parts for parts, _ in made] == [[FIRST], *[[100]] * 10]


def test_a_change_that_grows_dear_midway_makes_one_transaction_longer_and_the_next_ones_shorter() -> None:
    made = [*transactions(30_000, 0.5, lambda done: 10e-6 if done < 13_000 else 100e-6)]
    lasted = [took for _, took in made]
    assert max(lasted[1:]) <= 0.5 + 1e-9
    assert lasted[0] < 1.2
    assert made[0][0][:3] == [1_000, 4_000, 8_000]


def test_a_transaction_leaves_as_much_time_for_its_commit_as_the_one_before_took() -> None:
    made = [*transactions(200_000, 0.8, lambda _: 20e-6, [0.2, 0.3, 0.1])]
    assert [round(took, 2) for _, took in made[:4]] == [0.8, 0.9, 0.6, 0.8]


def test_however_long_commits_take_most_of_the_time_is_for_what_is_committed() -> None:
    made = [*transactions(60_000, 0.8, lambda _: 20e-6, [2.0])]
    assert all(took == pytest.approx(2.5) for _, took in made[:-1])


def test_a_clock_that_does_not_move_stops_nothing() -> None:
    ((parts, _),) = transactions(30_000, 0.5, lambda _: 0.0)
    assert parts == [1_000, 4_000, 8_000, 8_000, 8_000, 1_000]


def test_between_two_transactions_of_a_removal_others_write_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No time is left after the first part: 1,000 items, then 100 at a time.
    monkeypatch.setattr(f"{SQLiteRepository.__module__}._LONGEST_REMOVAL", 0.0)
    path = tmp_path / "queues.db"
    with (
        SQLiteRepository(path, synchronous="OFF") as repository,
        SQLiteRepository(path, synchronous="OFF", busy_timeout=0) as impatient,
    ):
        queues = AnnotationQueues(repository, "project")
        long, other = (queues.create(name, created_by="ann").id for name in ("long", "other"))
        ids = [
            item.id
            for item in queues.add_items(long, [NewItem(call_id=f"{n}") for n in range(1_250)], added_by="ann").added
        ]
        queues.add_items(other, [NewItem(call_id=f"{n}") for n in range(9)], added_by="ann")
        left: list[int] = []

        def claim_meanwhile(_: Connections) -> None:
            assert queues.using(impatient).claim(other, "bob")
            left.append(queues.stats([long])[0].total_items)

        monkeypatch.setattr(Connections, "give_way", claim_meanwhile)
        assert queues.remove_items(long, ids) == 1_250
    assert left == [250, 150, 50]
