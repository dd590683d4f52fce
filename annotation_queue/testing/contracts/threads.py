"""Threads: many of them on one repository, and nothing is done twice or lost."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import ClaimLost
from annotation_queue.items import AddedItems, AnnotationQueue, Claim, ItemPatch, NewItem, UnavailableReason
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import AnnotationState, fold
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue.repository import Repository
    from annotation_queue.states import Transition

THREADS = 8
RESETS = 12

IN_PROGRESS, COMPLETED = AnnotationState.IN_PROGRESS, AnnotationState.COMPLETED


def at_once(works: Sequence[Callable[[], object]]) -> list[object]:
    """Run functions in a thread each, which all start together; an error in one of them comes through."""
    barrier = threading.Barrier(len(works), timeout=30)

    def start(work: Callable[[], object]) -> object:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(start, works))


def calls(count: int) -> list[NewItem]:
    """Make new items, named by numbers."""
    return [NewItem(call_id=str(number)) for number in range(count)]


class ThreadsContract(Contract):
    """Threads: many of them on one repository, and nothing is done twice or lost."""

    many = 200
    """How many items the threads share; more find more, where the repository is fast enough."""

    @pytest.fixture
    def real_queues(self, repository: Repository) -> AnnotationQueues:
        """The service with the real clock and real ids, as threads use it."""
        return AnnotationQueues(repository, "project")

    def test_8_threads_claim_and_complete_many_items_none_twice_and_none_lost(
        self, real_queues: AnnotationQueues
    ) -> None:
        queue = real_queues.create("queue", created_by="ann")
        real_queues.add_items(queue.id, calls(self.many), added_by="ann")
        granted: list[list[str]] = [[] for _ in range(THREADS)]

        def work(number: int) -> UnavailableReason:
            while True:
                claim = real_queues.claim(queue.id, f"ann-{number}")
                if not isinstance(claim, Claim):
                    return claim.reason
                granted[number].append(claim.item.id)
                real_queues.complete(claim, {"by": number})

        ended = at_once([lambda number=number: work(number) for number in range(THREADS)])  # type: ignore[misc]  # a default binds the loop's value
        everybody = [item_id for ids in granted for item_id in ids]
        assert len(everybody) == len(set(everybody)) == self.many
        # Whoever finds nothing while others still hold the last items is told that they are leased.
        assert set(ended) <= {UnavailableReason.FINISHED, UnavailableReason.LEASED}
        assert UnavailableReason.FINISHED in ended
        (stats,) = real_queues.stats([queue.id])
        assert (stats.total_items, stats.settled_items, stats.finished_items) == (self.many,) * 3
        assert stats.by_annotator == {
            f"ann-{number}": {COMPLETED: len(ids)} for number, ids in enumerate(granted) if ids
        }
        for number, ids in enumerate(granted):
            for item_id in ids[:5]:
                assert [(each.annotator_id, each.annotation) for each in real_queues.progress(item_id)] == [
                    (f"ann-{number}", {"by": number})
                ]

    def test_several_annotations_for_each_item_come_from_different_threads_and_are_never_too_many(
        self,
        real_queues: AnnotationQueues,
    ) -> None:
        queue = real_queues.create("queue", created_by="ann", annotations_per_item=3)
        added = real_queues.add_items(queue.id, calls(150), added_by="ann").added
        most: list[int] = []

        def work(number: int) -> None:
            while claims := real_queues.claim_batch(queue.id, f"ann-{number}", 4):
                busy = [
                    each
                    for each in real_queues.progress(claims[0].item.id)
                    if each.state is not AnnotationState.UNSTARTED
                ]
                most.append(len(busy))
                for claim in claims:
                    real_queues.complete(claim)

        at_once([lambda number=number: work(number) for number in range(THREADS)])  # type: ignore[misc]  # a default binds the loop's value
        assert max(most) <= 3
        for item in added:
            assert [each.state for each in real_queues.progress(item.id)] == [COMPLETED] * 3
        assert real_queues.stats([queue.id])[0].finished_items == 150

    def test_updates_of_the_same_item_by_many_annotators_at_once_all_land(self, real_queues: AnnotationQueues) -> None:
        queue = real_queues.create("queue", created_by="ann", annotations_per_item=100)
        item = real_queues.add_items(queue.id, calls(1), added_by="ann").added[0]

        def work(number: int) -> None:
            for step in range(10):
                who = f"ann-{number}-{step}"
                real_queues.update_progress(item.id, who, IN_PROGRESS)
                real_queues.update_progress(item.id, who, COMPLETED, annotation=[number, step])

        at_once([lambda number=number: work(number) for number in range(THREADS)])  # type: ignore[misc]  # a default binds the loop's value
        progresses = real_queues.progress(item.id)
        assert {tuple(map(int, each.annotator_id.split("-")[1:])) for each in progresses} == {
            (number, step) for number in range(THREADS) for step in range(10)
        }
        assert all(each.state is COMPLETED and each.token == 1 for each in progresses)
        history = real_queues.history(item.id)
        assert len(history) == 160
        assert fold(history) == {each.annotator_id: COMPLETED for each in progresses}

    def test_of_several_threads_with_the_same_claim_one_outcome_is_stored(self, real_queues: AnnotationQueues) -> None:
        queue = real_queues.create("queue", created_by="ann")
        real_queues.add_items(queue.id, calls(40), added_by="ann")

        def attempt(act: Callable[[Claim], object], claim: Claim) -> bool:
            try:
                act(claim)
            except ClaimLost:
                return False
            return True

        for _ in range(40):
            claim = real_queues.claim(queue.id, "bob")
            assert isinstance(claim, Claim)
            outcomes = at_once(
                [lambda act=act, claim=claim: attempt(act, claim) for act in (real_queues.complete, real_queues.skip)]  # type: ignore[misc]  # a default binds the loop's value
            )
            assert sorted(map(bool, outcomes)) == [False, True]
            assert len(real_queues.history(claim.item.id)) == 2

    def test_an_expired_item_is_taken_over_by_one_of_many(self, real_queues: AnnotationQueues) -> None:
        queue = real_queues.create("queue", created_by="ann", lease=timedelta(microseconds=1))
        real_queues.add_items(queue.id, calls(30), added_by="ann")
        assert len(real_queues.claim_batch(queue.id, "gone", 30)) == 30
        real_queues.update(queue.id, lease=timedelta(hours=1))

        def work(number: int) -> list[str]:
            taken = []
            while claim := real_queues.claim(queue.id, f"ann-{number}"):
                assert isinstance(claim, Claim)
                taken.append(claim.item.id)
            return taken

        ended = at_once([lambda number=number: work(number) for number in range(THREADS)])  # type: ignore[misc]  # a default binds the loop's value
        taken = Counter(item_id for ids in ended if isinstance(ids, list) for item_id in ids)
        assert len(taken) == 30
        assert set(taken.values()) == {1}

    def test_the_same_calls_added_by_many_threads_are_added_once(self, real_queues: AnnotationQueues) -> None:
        queue = real_queues.create("queue", created_by="ann")
        results: list[AddedItems] = []
        at_once([lambda: results.append(real_queues.add_items(queue.id, calls(200), added_by="ann"))] * THREADS)
        assert sum(len(each.added) for each in results) == 200
        assert sum(each.duplicates for each in results) == 200 * (THREADS - 1)
        assert real_queues.stats([queue.id])[0].total_items == 200

    def test_a_queue_that_many_threads_get_or_create_is_made_once(self, repository: Repository) -> None:
        for name in ("é", "another", "'"):
            services = [AnnotationQueues(repository, "project") for _ in range(THREADS)]
            made = at_once([partial(each.get_or_create, name, created_by="ann") for each in services])
            assert len({each.id for each in made if isinstance(each, AnnotationQueue)}) == 1
            assert services[0].query(QueueQuery(name=name)).queues == (made[0],)

    def test_who_follows_a_queue_while_many_threads_write_misses_nothing_and_sees_nothing_twice(
        self, real_queues: AnnotationQueues
    ) -> None:
        queue = real_queues.create("queue", created_by="ann")
        real_queues.add_items(queue.id, calls(self.many // 4), added_by="ann")
        ended: list[int] = []
        followers: list[list[Transition]] = [[] for _ in range(2)]

        def write(number: int) -> None:
            try:
                while claim := real_queues.claim(queue.id, f"ann-{number}"):
                    assert isinstance(claim, Claim)
                    real_queues.complete(claim, number)
                    real_queues.complete(claim, [number])
            finally:
                ended.append(number)

        def follow(seen: list[Transition]) -> None:
            cursor = None
            while True:
                is_last = len(ended) == THREADS // 2
                page = real_queues.changes(queue.id, after=cursor, limit=7)
                seen += page.transitions
                cursor = page.cursor
                if is_last and not page.transitions:
                    return

        at_once(
            [
                *(partial(write, number) for number in range(THREADS // 2)),
                *(partial(follow, seen) for seen in followers),
            ]
        )
        log = real_queues.changes(queue.id, limit=100_000).transitions
        assert len(log) == 3 * (self.many // 4)
        assert [tuple(seen) for seen in followers] == [log] * 2
        for item in real_queues.iter_items(queue.id):
            history = tuple(each for each in log if each.item_id == item.id)
            assert history == real_queues.history(item.id)
            assert [each.to_state for each in history] == [IN_PROGRESS, COMPLETED, COMPLETED]

    def test_a_reset_by_a_filter_means_what_is_in_it_at_one_instant(self, real_queues: AnnotationQueues) -> None:
        queue = real_queues.create("queue", created_by="ann")
        items = [item.id for item in real_queues.add_items(queue.id, calls(2), added_by="ann").added]
        nobodys, bobs = ItemPatch(assignees=()), ItemPatch(assignees=("bob",))
        real_queues.update_items(queue.id, items[:1], bobs)
        counts: list[int] = []
        done = threading.Event()

        def take_turns() -> None:
            # At each instant one of the two is Bob's, or both are.
            while not done.is_set():
                for first, second in (items, items[::-1]):
                    real_queues.update_items(queue.id, [second], bobs)
                    real_queues.update_items(queue.id, [first], nobodys)

        def put_back() -> None:
            try:
                for _ in range(RESETS):
                    for item_id in items:
                        real_queues.update_progress(item_id, "eve", COMPLETED)
                    which = ItemFilter(assignee="bob")
                    counts.append(real_queues.reset(queue.id, which, actor_id="chief", annotator_id="eve"))
            finally:
                done.set()

        at_once([take_turns, put_back])
        assert set(counts) <= {1, 2}
        told = [each for each in real_queues.changes(queue.id, limit=1_000).transitions if each.actor_id == "chief"]
        assert len(told) == sum(counts)

    def test_reads_while_others_write_see_whole_changes(self, real_queues: AnnotationQueues) -> None:
        queue = real_queues.create("queue", created_by="ann")
        real_queues.add_items(queue.id, calls(100), added_by="ann")
        done = threading.Event()

        def write() -> None:
            try:
                while claim := real_queues.claim(queue.id, "bob"):
                    assert isinstance(claim, Claim)
                    real_queues.complete(claim, "label")
                for number in range(20):
                    real_queues.add_items(
                        queue.id, [NewItem(call_id=f"{number}-{part}") for part in range(5)], added_by="ann"
                    )
            finally:
                done.set()

        def read() -> None:
            while not done.is_set():
                (stats,) = real_queues.stats([queue.id])
                assert sum(stats.by_state.values()) == stats.total_items
                assert stats.total_items % 5 == 0
                assert stats.finished_items == stats.by_state[COMPLETED]
                page = real_queues.query_items(queue.id, ItemQuery(include_total=True, include_position=True, limit=10))
                assert [item.position_in_queue for item in page.items] == list(range(1, 11))
                first = page.items[0]
                states = [each.state for each in real_queues.progress(first.id)]
                assert fold(real_queues.history(first.id)).keys() >= ({"bob"} if states else set())

        at_once([write, read, read])
        assert real_queues.stats([queue.id])[0].total_items == 200
