"""Memory: reach, closing, threads and its check of itself."""

from __future__ import annotations

import multiprocessing
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    ItemFilter,
    ItemNotFound,
    ItemQuery,
    NewItem,
    QueueNotFound,
    SortBy,
    StorageError,
)
from annotation_queue.repositories.memory import MemoryRepository
from annotation_queue.states import COMPLETED, UNSTARTED
from helpers.memory import PROJECT, service, started

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.clocks import Clock

BY_ID = ItemQuery(sort_by=[SortBy("id")]).order()
OPEN = ItemFilter(annotation_states={UNSTARTED})


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


@pytest.mark.parametrize(
    ("break_it", "what"),
    [
        (lambda queue: setattr(queue, "_settled", 5), "counts"),
        (lambda queue: setattr(queue, "_finished", 5), "counts"),
        (lambda queue: queue._by_annotator.clear(), "counts"),
        (lambda queue: queue.calls.clear(), "calls"),
        (lambda queue: queue.in_order.remove(queue.in_order[0]), "queue order"),
        (lambda queue: queue._in_state.update({COMPLETED: 7}), "counts"),
        (lambda queue: queue.claims._open.remove(queue.claims._open[0]), "open items"),
        (lambda queue: queue.claims._held.set(queue.in_order[0], datetime.now(UTC)), "held items"),
        (lambda queue: queue.claims._blocked.clear(), "blocked for"),
        (lambda queue: queue.orders.keys(BY_ID, None).remove(("id-000002",)), "order"),
        (lambda queue: queue.orders.select(BY_ID, None, OPEN, None).remove(("id-000003",)), "selection"),
        (lambda queue: queue.orders.with_value("added_by", "ann").clear(), "items by added_by"),
        (lambda queue: setattr(next(queue.live()), "history", []), "history"),
        (lambda queue: setattr(next(queue.live()), "progresses", ()), "standing"),
        (lambda queue: setattr(next(queue.live()), "progresses", next(queue.live()).progresses * 2), "each once"),
    ],
)
def test_the_check_names_what_is_wrong(break_it: Callable[[Any], object], what: str, clock: Clock) -> None:
    repository = MemoryRepository()
    queues = service(repository, clock)
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id
    added = queues.add_items(queue_id, [NewItem(call_id=f"{n}") for n in range(3)], added_by="ann").added
    queues.update_progress(added[0].id, "ann", COMPLETED)
    assert repository.check() == ()
    break_it(repository._queues[queue_id])
    wrong = repository.check()
    assert any(what in each and queue_id in each for each in wrong), wrong


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
