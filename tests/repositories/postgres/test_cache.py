"""What a repository on PostgreSQL keeps in memory is bounded in bytes, whatever clients send."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from annotation_queue import AnnotationQueues, Claim, NewItem
from annotation_queue.repositories.postgres.cache import FIRST_PLACE, Cache, Mark, Version

if TYPE_CHECKING:
    from annotation_queue import AnnotationQueue
    from annotation_queue.repositories.postgres import PostgresRepository

MIB = 1 << 20


def bytes_kept(cache: Cache) -> int:
    """Add up what the texts of a cache take."""
    queues = sum(sys.getsizeof(each.name) + sys.getsizeof(each.description) for each in cache.queues.values())
    return (
        queues + sum(map(sys.getsizeof, cache.versions)) + sum(sys.getsizeof(who) for _, who in cache.low_water_marks)
    )


def test_a_renamed_queue_leaves_nothing_of_its_earlier_names(repository: PostgresRepository) -> None:
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("name", created_by="ann")
    for number in range(5):
        renamed = queues.update(queue.id, name=f"{number}" * (20_000 if number % 2 else MIB))
        assert queues.get(queue.id) == renamed
        assert len(repository._cache.queues) <= 1
        assert bytes_kept(repository._cache) < 100_000


def test_many_queues_with_long_texts_are_not_all_kept(repository: PostgresRepository) -> None:
    repository._cache.most_bytes = MIB
    queues = AnnotationQueues(repository, "project")
    made: list[AnnotationQueue] = [
        queues.create("name", created_by="ann", description="d" * 50_000, queue_id=f"{number}{'q' * 1_000}")
        for number in range(60)
    ]
    for queue in made:
        assert queues.get(queue.id) == queue
        assert bytes_kept(repository._cache) < 2 * MIB
    assert repository._cache.queues


def test_marks_of_many_annotators_are_not_all_kept(repository: PostgresRepository) -> None:
    repository._cache.most_bytes = 20_000
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann", annotations_per_item=50)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(2)], added_by="ann")
    for number in range(40):
        assert isinstance(queues.claim(queue.id, f"{number}{'x' * 200}"), Claim)
        assert len(repository._cache.low_water_marks) < 30


def test_a_mark_that_is_set_again_is_counted_once() -> None:
    cache = Cache(most_bytes=10_000)
    for number in range(1_000):
        cache.set_low_water_mark(1, "ann", Mark(f"{{{number}}}", None, FIRST_PLACE))
        cache.set_low_water_mark(2, "bob", Mark(f"{{{number}}}", None, FIRST_PLACE))
    assert len(cache.low_water_marks) == 2


def test_what_was_never_kept_can_be_forgotten() -> None:
    cache = Cache()
    cache.forget("queue")
    assert cache.newest("queue") is None
    assert Version(1, 2) not in cache.queues
