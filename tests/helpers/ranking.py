"""Many claim and complete items while the whole list is ranked anew, again and again; and what their claims may have been."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue import AnnotationQueues, AnnotationState, NewItem, UnavailableReason
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from annotation_queue import Repository

ITEMS: Final = 10_000
CLAIMERS: Final = 8
RANKINGS: Final = 5
CLAIMS: Final = 120
"""How many items at least are done under each ranking."""


class Granted(NamedTuple):
    """A claim: on which item, and the priority that this item had when it was granted."""

    item_id: str
    priority: int

    @property
    def ranking(self) -> int:
        """Which ranking it was granted under."""
        return self.priority // ITEMS


def ranked(place: int, ranking: int) -> int:
    """Say which priority a ranking gives to the item at a place: another order each time, and every priority once."""
    return ranking * ITEMS + place * (7_919 + 20 * ranking) % ITEMS


def claim_while_others_rank(repository: Repository, executor: Executor, *, one_by_one: bool) -> None:
    """Rank a queue again and again while others claim from it; assert that each claim was that of some moment.

    Args:
        repository: The repository, with nothing in it.
        executor: Where at least `CLAIMERS` may work: threads or processes.
        one_by_one: Whether claims wait for one another. Else one may pass over an item that another claim has locked, and their
            order within a ranking is not told.
    """
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    news = (NewItem(call_id=str(place), priority=ranked(place, 0)) for place in range(ITEMS))
    ids = [item.id for item in queues.add_items(queue.id, news, added_by="ann").added]
    claimers = [executor.submit(_claim, queues, queue.id, f"ann-{number}") for number in range(CLAIMERS)]
    for ranking in range(RANKINGS):
        if ranking:
            priorities = {item_id: ranked(place, ranking) for place, item_id in enumerate(ids)}
            assert queues.reprioritise(queue.id, priorities) == ITEMS
        before = _done(queues, queue.id)
        wait_until(lambda before=before: _done(queues, queue.id) >= before + CLAIMS)  # type: ignore[misc]  # a default binds the loop's value
    queues.update(queue.id, is_paused=True)
    granted = {f"ann-{number}": claimer.result(60) for number, claimer in enumerate(claimers)}

    # None twice, and none lost.
    by_id = {each.item_id: each for each in itertools.chain.from_iterable(granted.values())}
    assert len(by_id) == sum(map(len, granted.values()))
    (stats,) = queues.stats([queue.id])
    assert stats.by_annotator == {
        who: {AnnotationState.COMPLETED: len(claims)} for who, claims in granted.items() if claims
    }
    assert (stats.total_items, stats.finished_items) == (ITEMS, len(by_id))
    assert repository.check() == ()

    # In the order in which they are stored, all claims of a ranking come before those of the next one.
    changes = queues.changes(queue.id, limit=2 * ITEMS).transitions
    in_order = [by_id[each.item_id] for each in changes if each.to_state is AnnotationState.IN_PROGRESS]
    assert len(in_order) == len(by_id)
    assert [each.ranking for each in in_order] == sorted(each.ranking for each in in_order)
    left = dict(enumerate(ids))
    for ranking in range(RANKINGS):
        claims = [each for each in in_order if each.ranking == ranking]
        assert len(claims) >= CLAIMS - CLAIMERS
        # Each took the first of what was left, so that together they took what this ranking has at its top.
        best = sorted(left, key=lambda place: -ranked(place, ranking))[: len(claims)]
        expected = [Granted(left.pop(place), ranked(place, ranking)) for place in best]
        assert (claims if one_by_one else sorted(claims, key=lambda each: -each.priority)) == expected


def _done(queues: AnnotationQueues, queue_id: str) -> int:
    return queues.stats([queue_id])[0].finished_items


def _claim(queues: AnnotationQueues, queue_id: str, annotator_id: str) -> list[Granted]:
    """Claim and complete until the queue is paused."""
    granted = []
    while claim := queues.claim(queue_id, annotator_id):
        granted.append(Granted(claim.item.id, claim.item.priority))
        queues.complete(claim, annotator_id)
    assert claim.reason is UnavailableReason.PAUSED
    return granted
