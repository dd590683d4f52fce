"""Random histories of calls on a memory repository, with every claim compared with a scan."""

from __future__ import annotations

import contextlib
import itertools
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from annotation_queue import (
    REOPENABLE,
    AnnotationQueues,
    AnnotationState,
    Change,
    Claim,
    ClaimLost,
    ItemRecord,
    NewItem,
    QueueItem,
    SkipPolicy,
    Unavailable,
    Workflow,
)
from annotation_queue.moves import advance
from annotation_queue.records import change_of
from annotation_queue.states import COMPLETED, STANDARD, UNSTARTED, claimable_at, unstarted

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.repositories.memory import MemoryRepository
    from helpers.clocks import Clock


PROJECT = "project"
ANNOTATORS = ("ann", "bob", "cy", "Ä")


def service(repository: MemoryRepository, clock: Clock, workflow: Workflow = STANDARD) -> AnnotationQueues:
    counter = itertools.count(1)
    return AnnotationQueues(
        repository, PROJECT, clock=clock, new_id=lambda: f"id-{next(counter):06}", workflow=workflow
    )


def scan(queues: AnnotationQueues, queue_id: str, annotator_id: str) -> list[tuple[datetime, str]]:
    """List when the annotator may claim each item that they ever may, in queue order, by the rule itself."""
    queue = queues.get(queue_id)
    times = [
        (
            claimable_at(queues.progress(item.id), annotator_id, queue.annotations_per_item, queue.skip_policy),
            item.id,
        )
        for item in queues.query_items(queue_id).items
    ]
    return [(time, item_id) for time, item_id in times if time is not None]


class History:
    """Random calls on one queue; each claim is compared with what a scan finds."""

    def __init__(self, seed: int, repository: MemoryRepository, clock: Clock) -> None:
        self.random = random.Random(seed)  # noqa: S311 - examples, no secrets
        self.clock = clock
        self.queues = service(repository, clock, workflow=REOPENABLE)
        self.queue_id = self.queues.create(
            "queue", created_by="ann", annotations_per_item=self.random.randint(1, 3), lease=timedelta(seconds=20)
        ).id
        self.claims: list[Claim] = []
        self.calls = itertools.count()

    def step(self) -> None:
        steps = [self.claim] * 5 + [self.finish] * 4 + [self.move] * 3
        steps += [self.add, self.remove, self.update, self.heartbeat, self.policy]
        self.random.choice(steps)()

    def annotator(self) -> str:
        return self.random.choice(ANNOTATORS)

    def claim(self) -> None:
        annotator_id, at = self.annotator(), self.clock.now
        expected = scan(self.queues, self.queue_id, annotator_id)
        first = next((item_id for time, item_id in expected if time <= at), None)
        got = self.queues.claim(self.queue_id, annotator_id)
        if isinstance(got, Unavailable):
            assert first is None
            assert got.retry_at == min((time for time, _ in expected), default=None)
        else:
            assert got.item.id == first
            self.claims.append(got)

    def finish(self) -> None:
        if self.claims:
            claim = self.claims.pop(self.random.randrange(len(self.claims)))
            finish: Callable[[Claim], QueueItem] = self.random.choice(
                [self.queues.complete, self.queues.complete, self.queues.skip, self.queues.release]
            )
            with contextlib.suppress(ClaimLost):
                finish(claim)

    def move(self) -> None:
        self.clock.now += timedelta(seconds=self.random.choice([-7, 0.5, 3, 10, 25]))

    def add(self) -> None:
        new = [
            NewItem(call_id=f"call-{next(self.calls)}", priority=self.random.randint(-1, 1))
            for _ in range(self.random.randint(0, 12))
        ]
        self.queues.add_items(self.queue_id, new, added_by="ann")

    def some_item(self) -> QueueItem | None:
        items = self.queues.query_items(self.queue_id).items
        return self.random.choice(items) if items else None

    def remove(self) -> None:
        if item := self.some_item():
            assert self.queues.remove_items(self.queue_id, [item.id, "nothing", item.id]) == 1

    def update(self) -> None:
        if item := self.some_item():
            state = self.random.choice([state for state in AnnotationState if state is not UNSTARTED])
            annotator_id = self.annotator()
            own = next((each for each in self.queues.progress(item.id) if each.annotator_id == annotator_id), None)
            if own is None or own.state is UNSTARTED:
                self.queues.update_progress(item.id, annotator_id, state, annotation=[{"a": 1}])

    def heartbeat(self) -> None:
        if self.claims:
            place = self.random.randrange(len(self.claims))
            try:
                self.claims[place] = self.queues.heartbeat(self.claims[place])
            except ClaimLost:
                del self.claims[place]

    def policy(self) -> None:
        self.queues.update(
            self.queue_id,
            annotations_per_item=self.random.randint(1, 3),
            skip_policy=self.random.choice(list(SkipPolicy)),
        )


def started(repository: MemoryRepository, item_id: str, annotator_id: str) -> tuple[ItemRecord, Change]:
    record = repository.get_records(PROJECT, [item_id], with_items=False, labels_of=None)[item_id]
    own = unstarted(item_id, annotator_id, record.updated_at)
    moved, transition = advance(own, COMPLETED, at=record.updated_at, step=record.steps + 1)
    assert transition is not None
    return record, change_of(record, (moved,), (transition,))
