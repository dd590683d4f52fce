"""Pages of queues in memory: arranged once, kept current, and read where they begin."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, Direction, MemoryRepository, QueueQuery, SortBy
from annotation_queue.repositories.memory import queue_listings
from annotation_queue.repositories.memory.queue import StoredQueue
from annotation_queue.sorting import Order

if TYPE_CHECKING:
    from annotation_queue import QueueStats


@pytest.fixture
def values_read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The queues of which it was read what they sort by."""
    read: list[object] = []
    values, arrange = Order.values, Order.arrange

    def see(order: Order, entity: object) -> object:
        read.append(entity)
        return values(order, entity)

    def see_all(order: Order, entities: object) -> object:
        given = list(entities)  # type: ignore[call-overload]  # as what it wraps
        read.extend(given)
        return arrange(order, given)

    monkeypatch.setattr(Order, "values", see)
    monkeypatch.setattr(Order, "arrange", see_all)
    return read


@pytest.mark.parametrize(("field", "direction"), [*product(["id", "name", "created_at", "updated_at"], Direction)])
def test_a_page_of_queues_looks_at_what_is_on_it(values_read: list[object], field: str, direction: Direction) -> None:
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, "project")
        for number in range(300):
            queues.create(f"queue {number % 3}", created_by="ann")
        sort_by = (SortBy(field, direction),)
        cursor = queues.query(QueueQuery(sort_by=sort_by, limit=150)).next_cursor
        values_read.clear()
        for query in (QueueQuery(sort_by=sort_by, limit=20), QueueQuery(sort_by=sort_by, limit=20, cursor=cursor)):
            assert len(queues.query(query).queues) == 20
        queues.update(queues.create("new", created_by="ann").id, name="newer")
        queues.query(QueueQuery(sort_by=sort_by, limit=20))
        assert len(values_read) < 10
        assert repository.check() == ()


def test_only_so_many_orders_of_a_project_are_kept() -> None:
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, "project")
        queues.create("queue", created_by="ann")
        for first, second, one, other in product(
            ["name", "created_at", "updated_at"], ["id", "name"], Direction, Direction
        ):
            if first != second:
                queues.query(QueueQuery(sort_by=[SortBy(first, one), SortBy(second, other)]))
        listings = repository._listings["project"]
        assert len(listings._orders) == queue_listings._MOST_ORDERS
        assert repository.check() == ()


def test_a_query_of_a_project_that_nobody_knows_keeps_nothing() -> None:
    with MemoryRepository() as repository:
        for number in range(10):
            assert AnnotationQueues(repository, f"project {number}").query().queues == ()
        assert repository._listings == {}


def test_what_is_listed_wrongly_is_named() -> None:
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.query()
        listings = repository._listings["project"]
        listings._search_texts[queue.id] = "another"
        assert any("names" in each for each in repository.check())
        listings._search_texts[queue.id] = "queue"
        ((_, keys),) = listings._orders.values()
        keys.remove(next(iter(keys)))
        assert any("order" in each for each in repository.check())
        listings._orders.clear()
        assert repository.check() == ()
        listings._queues.clear()
        assert any("live" in each for each in repository.check())


def test_a_queue_that_is_named_a_thousand_times_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[StoredQueue] = []
    stats = StoredQueue.stats

    def see(queue: StoredQueue) -> QueueStats:
        counted.append(queue)
        return stats(queue)

    monkeypatch.setattr(StoredQueue, "stats", see)
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, "project")
        one, other = (queues.create(name, created_by="ann").id for name in "ab")
        found = queues.stats([one, other] * 1_000)
        assert [each.queue_id for each in found] == [one, other] * 1_000
        assert len(counted) == 2
