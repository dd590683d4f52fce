"""Claims of reserved items pass none that is held, however many are."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from annotation_queue import AnnotationQueues, Claim, NewItem, SQLiteRepository
from annotation_queue.testing.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

ITEMS: Final = 3_000
LEASE: Final = timedelta(hours=1)


def steps_of_a_claim(repository: SQLiteRepository, queues: AnnotationQueues, queue_id: str, annotator: str) -> int:
    """Claim, and count the steps of SQLite's machine that it took."""
    (connection,) = repository._connections._idle
    taken = itertools.count()
    connection.set_progress_handler(lambda: 0 * next(taken), 1)
    assert isinstance(queues.claim(queue_id, annotator), Claim)
    connection.set_progress_handler(None, 1)
    return next(taken)


@pytest.mark.parametrize("annotations_per_item", [1, 2])
@pytest.mark.parametrize("has_expired", [False, True])
def test_a_claim_of_a_reserved_item_costs_the_same_however_many_others_hold(
    tmp_path: Path, annotations_per_item: int, *, has_expired: bool
) -> None:
    clock = Clock()
    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project", clock=clock)
        queue = queues.create("Triage", created_by="ann", annotations_per_item=annotations_per_item, lease=LEASE)
        holders = ["eve", "dan"][:annotations_per_item]
        news = (NewItem(call_id=f"call-{n:04}", assignees=["bob", *holders]) for n in range(ITEMS))
        queues.add_items(queue.id, news, added_by="ann")
        for each in ("bob", *holders):
            queues.claim(queue.id, each)
        clock.move(LEASE.total_seconds() / 2)
        few = steps_of_a_claim(repository, queues, queue.id, "bob")
        for each in holders:
            assert len(queues.claim_batch(queue.id, each, ITEMS // 2)) == ITEMS // 2
        if has_expired:
            # Those of the beginning come first in queue order. A first claim then looks for what anybody could have.
            clock.move(LEASE.total_seconds() / 2 + 1)
            assert queues.claim(queue.id, "bob")
        many = steps_of_a_claim(repository, queues, queue.id, "bob")
        assert many < 1.5 * few, (few, many)
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        assert repository.check() == ()
