"""Ids of any length: items are claimed, held and listed in the order of their ids, however late these differ."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.items import AnnotationQueue, Claim, NewItem
from annotation_queue.query import ItemQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import SkipPolicy
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from annotation_queue.repository import Repository
    from annotation_queue.testing.clock import Clock

COMMON = "é" * 300
IDS = [
    "a",
    COMMON[:150],
    COMMON[:191],
    COMMON[:192],
    COMMON[:254],
    COMMON[:255],
    COMMON[:256] + "z",
    COMMON,
    *(COMMON + end for end in "abcdefgh"),
    COMMON[:191] + "😀" * 63,
    COMMON[:191] + "\U0010ffff" * 200,
    "ê",
    "ê" * 1_000,
]
"""In order: by code point, and the shorter one first if the other goes on."""


class LongIdsContract(Contract):
    """Ids of any length: items are claimed, held and listed in the order of their ids, however late these differ."""

    @pytest.fixture
    def long_queues(self, repository: Repository, clock: Clock) -> AnnotationQueues:
        """A service that gives these ids, the last one first, after that of the queue."""
        ids = iter(["queue", *reversed(IDS)])
        return AnnotationQueues(repository, "project", clock=clock, new_id=lambda: next(ids))

    @staticmethod
    def fill(queues: AnnotationQueues, annotations_per_item: int = 1, *assignees: str) -> AnnotationQueue:
        """Make a queue of items that differ in their ids only, and in their calls."""
        assert sorted(IDS) == IDS
        queue = queues.create(
            "queue",
            created_by="ann",
            annotations_per_item=annotations_per_item,
            skip_policy=SkipPolicy.REQUEUE,
            lease=timedelta(minutes=1),
        )
        news = [NewItem(call_id=str(number), assignees=assignees) for number in range(len(IDS))]
        queues.add_items(queue.id, news, added_by="ann")
        return queue

    def test_items_are_listed_in_the_order_of_their_ids(self, long_queues: AnnotationQueues) -> None:
        queue = self.fill(long_queues)
        assert [item.id for item in long_queues.query_items(queue.id).items] == IDS
        walked: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = long_queues.query_items(queue.id, ItemQuery(limit=3, cursor=cursor or None))
            walked += [item.id for item in page.items]
            cursor = page.next_cursor
        assert walked == IDS
        for place, item_id in enumerate(IDS, 1):
            assert long_queues.get_item(item_id, include_position=True).position_in_queue == place

    @pytest.mark.parametrize("annotations_per_item", [1, 2])
    @pytest.mark.parametrize("at_once", [1, 2, 5, 100])
    def test_items_are_claimed_in_the_order_of_their_ids(
        self, long_queues: AnnotationQueues, annotations_per_item: int, at_once: int
    ) -> None:
        queue = self.fill(long_queues, annotations_per_item)
        for annotator in ("bob", "eve")[:annotations_per_item]:
            claimed: list[str] = []
            while claims := long_queues.claim_batch(queue.id, annotator, at_once):
                claimed += [claim.item.id for claim in claims]
                long_queues.complete_batch([(claim, 1) for claim in claims])
            assert claimed == IDS

    def test_items_whose_leases_ended_or_that_are_reserved_are_claimed_in_the_order_of_their_ids(
        self, long_queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue = self.fill(long_queues, 1, "bob", "eve")
        assert len(long_queues.claim_batch(queue.id, "eve", 100)) == len(IDS)
        clock.move(600)
        claimed: list[str] = []
        while claim := long_queues.claim(queue.id, "bob"):
            assert isinstance(claim, Claim)
            claimed.append(claim.item.id)
        assert claimed == IDS
        assert [claim.item.id for claim in long_queues.holds(queue.id, "bob")] == IDS
