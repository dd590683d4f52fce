"""Annotators who work at random on the same queue in SQLite and in memory, so that what both tell can be compared."""

from __future__ import annotations

import random
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import count, product
from typing import TYPE_CHECKING, Final

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    ItemNotFound,
    ItemPatch,
    MemoryRepository,
    NewItem,
    SQLiteRepository,
)
from helpers.pairs import START

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATES: Final = (AnnotationState.COMPLETED, AnnotationState.SKIPPED, AnnotationState.UNSTARTED)
"""What a progress is corrected to."""


class Team:
    """Annotators who work on the same queue in two repositories, with a clock that sometimes stands still or goes back.

    Args:
        seed: What they do depends on it alone.
        both: The services on the two.
        moment: The time, which both services read.
    """

    def __init__(self, seed: int, both: list[AnnotationQueues], moment: list[datetime]) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - what is done, not a secret
        self._both = both
        self._moment = moment
        self._names = count()
        self._held: list[Claim] = []
        self._items: list[str] = []
        needed = self._chance.choice([1, 2])
        made = [queues.create("t", created_by="ann", queue_id="queue", annotations_per_item=needed) for queues in both]
        assert made[0] == made[1]

    def work(self, steps: int) -> None:
        """Do as many things, each in both repositories."""
        chance = self._chance
        for _ in range(steps):
            self._moment[0] += timedelta(seconds=chance.choice([0, 0, 0, 1, 1, 2, -1]))
            acts = [self._add, *2 * [self._claim], *3 * [self._end], self._change, self._correct, self._reset]
            chance.choice(acts)()

    def _add(self) -> None:
        news = [
            NewItem(call_id=f"{n}", call_op_name=f"op-{n % 3}")
            for n, _ in zip(self._names, range(self._chance.randint(1, 12)), strict=False)
        ]
        for queues in self._both:
            added = queues.add_items("queue", news, added_by="ann").added
        self._items += [item.id for item in added]

    def _claim(self) -> None:
        who, most = self._chance.choice("xyz"), self._chance.randint(1, 6)
        for queues in self._both:
            claims = queues.claim_batch("queue", who, most, lease=timedelta(days=1))
        self._held += claims or ()

    def _end(self) -> None:
        self._chance.shuffle(self._held)
        some, self._held = self._held[:3], self._held[3:]
        kind = self._chance.choice(["complete", "skip", "release"])
        for claim, queues in product(some, self._both):
            try:
                getattr(queues, kind)(claim)
            except ClaimLost:
                continue

    def _change(self) -> None:
        some = self._chance.sample(self._items, min(3, len(self._items)))
        kind, priority = (
            self._chance.choice(["patch", "remove", "remove", "restore", "purge"]),
            self._chance.randint(0, 3),
        )
        for queues in self._both:
            if kind == "patch":
                queues.update_items("queue", some, ItemPatch(priority=priority))
            elif kind == "remove":
                queues.remove_items("queue", some)
            elif kind == "restore":
                queues.restore_items("queue", self._items)
            else:
                queues.purge(removed_before=self._moment[0] - timedelta(seconds=9))

    def _correct(self) -> None:
        some = self._chance.sample(self._items, min(3, len(self._items)))
        who, states = self._chance.choice("xyz"), self._chance.choices(STATES, k=2)
        for item_id, state, queues in product(some, states, self._both):
            with suppress(ItemNotFound):
                queues.update_progress(item_id, who, state, actor_id="ann", override=True)

    def _reset(self) -> None:
        some = self._chance.sample(self._items, min(5, len(self._items)))
        whose = self._chance.choice([None, "x"])
        for queues in self._both:
            queues.reset("queue", some, actor_id="ann", annotator_id=whose)


@contextmanager
def at_work(path: Path, seed: int, *, steps: int) -> Iterator[list[AnnotationQueues]]:
    """Let a team do so many things; gives the service on a SQLite file, which is checked, and the one in memory."""
    moment = [START]
    with SQLiteRepository(path, synchronous="OFF") as stored, MemoryRepository() as remembered:
        both = []
        for repository in (stored, remembered):
            numbers = count()
            both.append(
                AnnotationQueues(
                    repository,
                    "project",
                    clock=lambda: moment[0],
                    new_id=lambda numbers=numbers: f"id-{next(numbers) * 7919 % 1000:03}",  # type: ignore[misc]
                )
            )
        Team(seed, both, moment).work(steps)
        assert stored.check() == ()
        yield both
