"""Adding to memory and saving in it: all or nothing, and nothing shared with the caller."""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from annotation_queue import (
    AnnotationQueue,
    AnnotationQueues,
    Claim,
    Conflict,
    JsonValue,
    NewItem,
    QueueItem,
    QueueNotFound,
    SkipPolicy,
)
from annotation_queue.states import COMPLETED
from helpers.memory import PROJECT, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.repositories.memory import MemoryRepository
    from helpers.clocks import Clock


def _make(new: NewItem, queue: AnnotationQueue) -> QueueItem:
    raise AssertionError(new, queue)


def _spoil(value: Any) -> None:  # noqa: ANN401 - whatever JSON was handed out
    value["deep"].append("changed")


def test_items_may_be_read_from_the_repository_that_they_are_added_to(queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    read: list[int] = []

    def generate() -> Iterator[NewItem]:
        for number in range(3):
            # Another thread gets through too: the lock is not held while items are generated.
            other = threading.Thread(target=lambda: read.append(queues.stats([queue_id])[0].total_items))
            other.start()
            other.join(10)
            yield NewItem(call_id=f"{number % 2}")

    outcome = queues.add_items(queue_id, generate(), added_by="ann")
    assert ([item.call_id for item in outcome.added], outcome.duplicates, read) == (["0", "1"], 1, [0, 0, 0])


def test_a_queue_that_is_deleted_while_its_items_are_generated_gets_none(queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id

    def generate() -> Iterator[NewItem]:
        yield NewItem(call_id="call")
        queues.delete(queue_id)

    with pytest.raises(QueueNotFound):
        queues.add_items(queue_id, generate(), added_by="ann")


def test_nothing_is_read_for_a_queue_that_does_not_exist(repository: MemoryRepository) -> None:
    unread = iter([NewItem(call_id="call")])
    with pytest.raises(QueueNotFound):
        repository.add_items(PROJECT, "none", unread, _make)
    assert next(unread).call_id == "call"


@pytest.mark.parametrize("ids", [["x", "x"], ["x", "id-taken"]])
def test_an_id_that_is_taken_is_a_conflict_and_nothing_is_added(
    ids: list[str], repository: MemoryRepository, queues: AnnotationQueues, clock: Clock
) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    taken = AnnotationQueues(repository, PROJECT, clock=clock, new_id=lambda: "id-taken")
    taken.add_items(queue_id, [NewItem(call_id="old")], added_by="ann")
    taken.remove_items(queue_id, ["id-taken"])
    given = iter(ids)
    clashing = AnnotationQueues(repository, PROJECT, clock=clock, new_id=lambda: next(given))
    with pytest.raises(Conflict):
        clashing.add_items(queue_id, [NewItem(call_id="1"), NewItem(call_id="2")], added_by="ann")
    assert queues.query_items(queue_id).items == ()
    with pytest.raises(Conflict):
        repository.add_queue(queues.get(queue_id))


def test_an_error_while_items_are_made_adds_nothing(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id="old")], added_by="ann")
    seen: list[str] = []

    def make(new: NewItem, _queue: AnnotationQueue) -> QueueItem:
        seen.append(new.call_id)
        if new.call_id == "bad":
            raise RuntimeError
        return attrs.evolve(queues.query_items(queue_id).items[0], id=new.call_id, call_id=new.call_id)

    with pytest.raises(RuntimeError):
        repository.add_items(PROJECT, queue_id, [NewItem(call_id=each) for each in ("a", "old", "a", "bad", "b")], make)
    assert seen == ["a", "bad"]
    assert queues.stats([queue_id])[0].total_items == 1


def test_a_write_is_a_conflict_after_any_change_it_did_not_see(
    repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    def later(change: Callable[[str, str], object]) -> None:
        queue_id = queues.create("queue", created_by="ann").id
        item, other = queues.add_items(queue_id, [NewItem(call_id="1"), NewItem(call_id="2")], added_by="ann").added
        writes = [started(repository, other.id, "bob"), started(repository, item.id, "bob")]
        change(queue_id, item.id)
        repository.save(writes)

    changes: list[Callable[[str, str], object]] = [
        lambda _, item_id: queues.update_progress(item_id, "ann", COMPLETED),
        lambda queue_id, item_id: queues.remove_items(queue_id, [item_id]),
        lambda queue_id, _: queues.update(queue_id, annotations_per_item=2),
        lambda queue_id, _: queues.update(queue_id, skip_policy=SkipPolicy.REQUEUE),
        lambda queue_id, _: queues.delete(queue_id),
    ]
    for change in changes:
        with pytest.raises(Conflict):
            later(change)
    stored = [queue.id for queue in queues.query().queues]
    assert sum(each.settled_items for each in queues.stats(stored)) == 1
    later(lambda queue_id, _: queues.update(queue_id, name="renamed"))


def test_a_queue_is_replaced_only_as_it_was_read(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    before = queues.create("queue", created_by="ann")
    after = queues.update(before.id, name="renamed")
    with pytest.raises(Conflict):
        repository.replace_queue(before, attrs.evolve(before, name="lost"))
    queues.delete(before.id)
    with pytest.raises(QueueNotFound):
        repository.replace_queue(after, attrs.evolve(after, name="lost"))


class Grade(StrEnum):
    GOOD = "good"


def test_what_stands_twice_in_a_label_comes_back_as_two(queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    (item,) = queues.add_items(queue_id, [NewItem(call_id="call")], added_by="ann").added
    spans: list[JsonValue] = [1, 2]
    queues.update_progress(item.id, "ann", COMPLETED, annotation={"first": spans, "second": spans})
    label: Any = queues.progress(item.id)[0].annotation
    assert label == {"first": [1, 2], "second": [1, 2]}
    assert label["first"] is not label["second"]


def test_what_an_enumeration_stands_for_is_kept_as_what_it_is_in_json(queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    (item,) = queues.add_items(queue_id, [NewItem(call_id="call")], added_by="ann").added
    queues.update_progress(item.id, "ann", COMPLETED, annotation={Grade.GOOD: [Grade.GOOD]})
    label: Any = queues.progress(item.id)[0].annotation
    ((key, (value,)),) = label.items()
    assert (key, value) == ("good", "good")
    assert type(key) is type(value) is str


def test_nothing_handed_in_or_out_is_shared(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    payload: dict[str, Any] = {"deep": [{"n": 1}]}
    label: dict[str, Any] = {"deep": [1]}
    new = NewItem(call_id="call", payload=payload)
    (added,) = queues.add_items(queue_id, [new], added_by="ann").added
    claim = queues.claim(queue_id, "ann")
    assert isinstance(claim, Claim)
    record, change = started(repository, added.id, "bob")
    labelled = attrs.evolve(change.progresses[0], annotation=label)
    given = labelled.annotation
    told = attrs.evolve(change.transitions[0], annotation=label)
    repository.save([(record, attrs.evolve(change, progresses=(labelled,), transitions=(told,)))])
    handed_out = [
        new.payload,
        added.payload,
        claim.item.payload,
        repository.get_item(PROJECT, added.id).payload,
        queues.get_item(added.id).payload,
        queues.query_items(queue_id).items[0].payload,
    ]
    for each in handed_out:
        assert each == {"deep": [{"n": 1}]}
        _spoil(each)
    _spoil(given)
    _spoil(told.annotation)
    for _ in range(2):
        for shown in (
            queues.progress(added.id)[1].annotation,
            queues.history(added.id)[1].annotation,
            queues.changes(queue_id).transitions[1].annotation,
            queues.labels(queue_id).labels[0].progress.annotation,
        ):
            assert shown == {"deep": [1]}
            _spoil(shown)
        assert queues.get_item(added.id).payload == {"deep": [{"n": 1}]}


@pytest.mark.parametrize("label", ["text", '{"a":1}', "null", 7, 0.5, False, [], {}, [None]])
def test_a_label_comes_back_as_it_was_given(label: JsonValue, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    (item,) = queues.add_items(queue_id, [NewItem(call_id="call")], added_by="ann").added
    queues.update_progress(item.id, "ann", COMPLETED, annotation=label)
    shown = queues.progress(item.id)[0].annotation
    assert (shown, type(shown)) == (label, type(label))
