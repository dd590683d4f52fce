"""Memory: reach, closing and threads."""

from __future__ import annotations

import multiprocessing
import threading
from typing import TYPE_CHECKING

import pytest

from annotation_queue import (
    AnnotationQueues,
    ItemNotFound,
    NewItem,
    QueueNotFound,
    StorageError,
)
from annotation_queue.repositories.memory import MemoryRepository
from helpers.memory import PROJECT, started

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.clocks import Clock


def test_another_projects_and_deleted_things_are_not_found(
    repository: MemoryRepository, queues: AnnotationQueues, clock: Clock
) -> None:
    queue_id, empty_id = (queues.create(name, created_by="ann").id for name in ("queue", "empty"))
    first, second = queues.add_items(queue_id, [NewItem(call_id="1"), NewItem(call_id="2")], added_by="ann").added
    others = AnnotationQueues(repository, "another", clock=clock)
    with pytest.raises(ItemNotFound):
        others.get_item(first.id)
    with pytest.raises(QueueNotFound):
        others.get_item(first.id, queue_id=queue_id)
    with pytest.raises(ItemNotFound):
        queues.get_item(first.id, queue_id=empty_id)
    assert queues.remove_items(empty_id, [first.id]) == 0
    queues.remove_items(queue_id, [first.id])
    with pytest.raises(ItemNotFound):
        queues.history(first.id)
    queues.delete(queue_id)
    for item in (first, second):
        with pytest.raises(QueueNotFound):
            queues.history(item.id)


@pytest.mark.parametrize("others", ["proj", "a", "projects", "z", "Project"])
def test_nothing_is_found_under_a_name_that_sorts_before_or_behind_its_own(
    others: str, repository: MemoryRepository, queues: AnnotationQueues, clock: Clock
) -> None:
    ours, low, high = (queues.create(name, created_by="ann").id for name in ("m", "a", "z"))
    (item,) = queues.add_items(ours, [NewItem(call_id="1")], added_by="ann").added
    theirs = AnnotationQueues(repository, others, clock=clock)
    assert theirs.query().queues == ()
    for missing in (lambda: theirs.get(ours), lambda: theirs.stats([ours]), lambda: theirs.delete(ours)):
        with pytest.raises(QueueNotFound):
            missing()
    with pytest.raises(ItemNotFound):
        theirs.get_item(item.id)
    made = theirs.create("theirs", created_by="ann").id
    (added,) = theirs.add_items(made, [NewItem(call_id="1")], added_by="ann").added
    with pytest.raises(ItemNotFound):
        theirs.get_item(item.id, queue_id=made)
    # The ids of queues sort as they were made: one is less than that of the item's queue, the others are greater.
    for another in (low, high, made):
        by = theirs if another == made else queues
        assert by.remove_items(another, [item.id]) == 0
    (first,) = queues.add_items(high, [NewItem(call_id="1")], added_by="ann").added
    for another in (ours, low):
        with pytest.raises(ItemNotFound):
            queues.get_item(first.id, queue_id=another)
        assert queues.remove_items(another, [first.id]) == 0
    with pytest.raises(ItemNotFound):
        queues.get_item(item.id, queue_id=high)
    assert [queues.get_item(each.id) for each in (item, first)] == [item, first]
    assert theirs.get_item(added.id) == added


def test_a_closed_repository_refuses_everything() -> None:
    repository = MemoryRepository()
    queues = AnnotationQueues(repository, PROJECT)
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="call")], added_by="ann").added
    record, change = started(repository, item.id, "ann")
    repository.close()
    repository.close()
    calls: list[Callable[[], object]] = [
        lambda: repository.add_queue(queue),
        lambda: queues.get(queue.id),
        queues.query,
        lambda: queues.update(queue.id, name="renamed"),
        lambda: queues.add_items(queue.id, [], added_by="ann"),
        lambda: queues.get_item(item.id),
        lambda: repository.save([(record, change)]),
        lambda: repository.save([]),
        lambda: queues.query_items(queue.id),
        lambda: queues.remove_items(queue.id, []),
        lambda: queues.claim(queue.id, "ann"),
        lambda: queues.history(item.id),
        lambda: queues.stats([]),
        repository.check,
    ]
    for call in calls:
        with pytest.raises(StorageError, match="closed"):
            call()


def test_many_threads_complete_every_item_once(repository: MemoryRepository) -> None:
    queues = AnnotationQueues(repository, PROJECT)
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id=f"{n}") for n in range(1_000)], added_by="ann")
    done: list[str] = []

    def work(name: str) -> None:
        while claim := queues.claim(queue_id, name):
            queues.complete(claim)
            done.append(claim.item.id)

    threads = [threading.Thread(target=work, args=(f"worker-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == len(set(done)) == 1_000
    assert queues.stats([queue_id])[0].finished_items == 1_000


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_while_another_thread_is_at_work_does_not_wait_for_it() -> None:
    repository = MemoryRepository()
    inside, go_on = threading.Event(), threading.Event()

    def slow_id() -> str:
        inside.set()
        go_on.wait(0.3)
        return "id"

    queue_id = AnnotationQueues(repository, PROJECT).create("queue", created_by="ann").id
    slow = AnnotationQueues(repository, PROJECT, new_id=slow_id)
    adding = threading.Thread(
        target=slow.add_items, args=(queue_id, [NewItem(call_id="1")]), kwargs={"added_by": "ann"}
    )
    adding.start()
    assert inside.wait(10)
    child = multiprocessing.get_context("fork").Process(
        target=AnnotationQueues(repository, PROJECT).get_item, args=("id",), daemon=True
    )
    child.start()
    child.join(10)
    assert child.exitcode == 0
    adding.join()
