"""ClaimIndex from memory, beside a scan over all items."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    Claim,
    InvalidValue,
    ItemPatch,
    MemoryRepository,
    NewItem,
    Unavailable,
)
from annotation_queue.repositories.memory.sorted_keys import SortedKeys
from annotation_queue.states import COMPLETED, IN_PROGRESS, UNSTARTED
from helpers.clocks import PATIENCE
from helpers.memory import PROJECT, History, scan
from helpers.ranking import CLAIMERS, claim_while_others_rank

if TYPE_CHECKING:
    from types import FrameType

    from annotation_queue.repositories.memory.sorted_keys import Key
    from helpers.clocks import Clock


@pytest.mark.parametrize("seed", range(12))
def test_claims_find_what_a_scan_finds_in_any_history(seed: int, repository: MemoryRepository, clock: Clock) -> None:
    history = History(seed, repository, clock)
    history.add()
    for _ in range(120):
        history.step()
        assert repository.check() == ()


def test_an_annotator_who_saw_most_items_is_given_the_first_other_one(
    repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=3).id
    added = queues.add_items(queue_id, [NewItem(call_id=f"{n:03}") for n in range(100)], added_by="ann").added
    unseen = {7, 8, 40, 97}
    for number, item in enumerate(added):
        if number not in unseen:
            queues.update_progress(item.id, "bob", COMPLETED)
    assert repository.check() == ()
    # The guess where the search starts is once too early, once too late and once right.
    first, second = (queues.claim(queue_id, "bob") for _ in range(2))
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    queues.release(first)
    again, third, fourth = (queues.claim(queue_id, "bob") for _ in range(3))
    assert [claim.item.call_id for claim in (first, second, again, third, fourth) if isinstance(claim, Claim)] == [
        "007",
        "008",
        "007",
        "040",
        "097",
    ]
    assert not queues.claim(queue_id, "bob")


def test_the_first_open_item_is_found_in_few_looks(
    queues: AnnotationQueues, repository: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=3).id
    added = queues.add_items(queue_id, [NewItem(call_id=str(n)) for n in range(1_024)], added_by="ann").added
    looks = 0
    look = SortedKeys.__getitem__

    def count(keys: SortedKeys, rank: int) -> Key:
        nonlocal looks
        looks += 1
        return look(keys, rank)

    monkeypatch.setattr(SortedKeys, "__getitem__", count)
    for free in (1_023, 700, 512, 1, 0):
        for number, item in enumerate(added):
            if number != free and repository._items[item.id].own(f"but for {free}") is None:
                queues.update_progress(item.id, f"but for {free}", IN_PROGRESS)
        looks = 0
        claim = queues.claim(queue_id, f"but for {free}")
        assert isinstance(claim, Claim)
        assert claim.item.id == added[free].id
        # Two in each of ten halvings, and two in each of some steps from the guess.
        assert looks < 40
        for item in added:
            queues.update_progress(item.id, f"but for {free}", UNSTARTED)


def test_the_time_to_retry_passes_over_holds_on_items_that_the_annotator_has_done(
    repository: MemoryRepository, queues: AnnotationQueues, clock: Clock
) -> None:
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id
    done, full, later = queues.add_items(queue_id, [NewItem(call_id=each) for each in "123"], added_by="ann").added
    queues.update_progress(done.id, "bob", COMPLETED)
    # Ann's hold keeps the first item from others for 10 s; bob has done it. Two holds keep each of the other two.
    for annotator_id, limit, seconds in (("ann", 1, 10), ("ann", 2, 30), ("cy", 1, 20), ("cy", 1, 25)):
        assert len(queues.claim_batch(queue_id, annotator_id, limit, lease=timedelta(seconds=seconds))) == limit
    assert [item_id for _, item_id in scan(queues, queue_id, "bob")] == [full.id, later.id]
    nothing = queues.claim(queue_id, "bob")
    assert isinstance(nothing, Unavailable)
    assert nothing.retry_at == clock.now + timedelta(seconds=20)
    assert repository.check() == ()


@pytest.mark.parametrize(("own", "theirs"), [(10, 20), (20, 10), (15, 15), (10, 11), (11, 10)])
def test_the_time_to_retry_is_the_end_of_ones_own_hold_or_of_others_whichever_is_first(
    queues: AnnotationQueues, clock: Clock, own: int, theirs: int
) -> None:
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id
    queues.add_items(queue_id, [NewItem(call_id=each) for each in "12"], added_by="ann")
    assert queues.claim(queue_id, "bob", lease=timedelta(seconds=own))
    # The others keep the second item from Bob, and leave a slot of the first, which he holds.
    for annotator_id in ("ann", "cy"):
        first, _ = queues.claim_batch(queue_id, annotator_id, 2, lease=timedelta(seconds=theirs))
        queues.release(first)
    nothing = queues.claim(queue_id, "bob")
    assert isinstance(nothing, Unavailable)
    assert nothing.retry_at == clock.now + timedelta(seconds=min(own, theirs))
    clock.move(min(own, theirs))
    assert queues.claim(queue_id, "bob")


def test_a_lease_beyond_the_calendar_grants_nothing(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id="call")], added_by="ann")
    late = datetime(9999, 12, 31, tzinfo=UTC)
    with pytest.raises(InvalidValue):
        repository.claim(PROJECT, queue_id, "ann", limit=2, at=late, lease=timedelta(days=1))
    assert queues.stats([queue_id])[0].by_state[UNSTARTED] == 1


class Metered(MemoryRepository):
    """Lets some more claims through with each other call, or they would be done with the queue before it is ranked again."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = threading.Semaphore(0)

    def claim(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the repository
        assert self.permits.acquire(timeout=PATIENCE)
        return super().claim(*args, **kwargs)

    def stats(self, *args: Any) -> Any:  # noqa: ANN401 - as above
        self.permits.release(40)
        return super().stats(*args)

    def reprioritise(self, *args: Any) -> int:  # noqa: ANN401 - as above
        self.permits.release(40)
        return super().reprioritise(*args)

    def replace_queue(self, *args: Any) -> None:  # noqa: ANN401 - as above
        super().replace_queue(*args)
        self.permits.release(CLAIMERS)


@pytest.mark.slow
def test_while_8_threads_claim_another_ranks_all_items_anew_and_each_claim_is_that_of_some_moment() -> None:
    with Metered() as repository, ThreadPoolExecutor(CLAIMERS) as pool:
        claim_while_others_rank(repository, pool, one_by_one=True)


def test_a_claim_takes_hardly_more_calls_beside_items_that_are_reserved_or_of_one_that_is(
    queues: AnnotationQueues,
) -> None:
    def calls(*reserved: tuple[slice, str]) -> int:
        """Count the function calls of a claim where some items are reserved, each slice for somebody."""
        queue_id = queues.create("queue", created_by="ann").id
        added = queues.add_items(queue_id, [NewItem(call_id=f"{n:04}") for n in range(2_000)], added_by="ann").added
        for place, assignee in reserved:
            ids = [item.id for item in added[place]]
            assert queues.update_items(queue_id, ids, ItemPatch(assignees=[assignee])) == len(ids)
        # What a first claim finds out is left out of account.
        first = queues.claim(queue_id, "bob")
        assert first
        queues.release(first)
        made = 0

        def count(_: FrameType, event: str, __: object) -> None:
            nonlocal made
            made += event in {"call", "c_call"}

        before = sys.getprofile()
        sys.setprofile(count)
        claim = queues.claim(queue_id, "bob")
        sys.setprofile(before)
        assert claim
        assert claim.item.assignees == (("bob",) if any(assignee == "bob" for _, assignee in reserved) else ())
        return made

    plain = calls()
    assert calls((slice(1_000), "others")) <= plain
    assert calls((slice(1_000), "others"), (slice(1_000, 2_000, 10), "bob")) <= 1.15 * plain
