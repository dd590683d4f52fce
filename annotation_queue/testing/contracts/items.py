"""Items: added once each and all together, read in a view, removed."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue.errors import Conflict, InvalidValue, ItemNotFound, QueueNotFound
from annotation_queue.items import AnnotationQueue, NewItem, QueueItem
from annotation_queue.query import ItemQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.sorting import SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from annotation_queue.repository import Repository
    from annotation_queue.testing.clock import Clock

COMPLETED = AnnotationState.COMPLETED


def add(queues: AnnotationQueues, queue: AnnotationQueue, *calls: str) -> tuple[QueueItem, ...]:
    """Add a bare item for each call."""
    return queues.add_items(queue.id, [NewItem(call_id=call) for call in calls], added_by="ann").added


def calls(items: Iterable[QueueItem]) -> list[str]:
    """List the calls of items."""
    return [item.call_id for item in items]


def stored(queues: AnnotationQueues, queue: AnnotationQueue) -> list[str]:
    """List the calls that a queue holds, in queue order."""
    return calls(queues.query_items(queue.id).items)


class ItemsContract(Contract):
    """Items: added once each and all together, read in a view, removed."""

    def test_an_added_item_is_unstarted_and_has_its_defaults(
        self, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        at = clock.move(10)
        (item,) = add(queues, queue, "a")
        assert item == QueueItem(
            id="id-000002",
            project_id="project",
            queue_id=queue.id,
            call_id="a",
            call_started_at=at,
            added_by="ann",
            created_at=at,
            created_by="ann",
            updated_at=at,
        )
        assert queues.get_item(item.id) == item

    def test_every_field_of_an_item_is_stored(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        text = "é É ß _ 10 9 😀 % \\ '"
        new = NewItem(
            call_id=text,
            call_started_at=datetime(1, 1, 1, tzinfo=UTC),
            call_ended_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            call_op_name=text + "op",
            call_trace_id=text + "trace",
            display_fields=["b", "a", text],
            priority=-(2**63),
            payload={"b": [1, 1.5, None, True, -0.0, 1e300, 2**63 - 1], "a": {text: text}, "": {}},
        )
        (item,) = queues.add_items(queue.id, [new], added_by=text).added
        again = queues.get_item(item.id)
        assert again == item
        for name in (
            "call_id",
            "call_started_at",
            "call_ended_at",
            "call_op_name",
            "call_trace_id",
            "priority",
            "payload",
        ):
            assert getattr(again, name) == getattr(new, name)
        assert (again.display_fields, again.added_by, again.created_by) == (("b", "a", text), text, text)
        assert again.payload is not None
        assert list(again.payload) == ["b", "a", ""]
        assert queues.query_items(queue.id).items == (item,)

    def test_items_added_together_get_ids_in_their_order(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        added = add(queues, queue, "c", "a", "b")
        assert [item.id for item in added] == ["id-000002", "id-000003", "id-000004"]
        assert stored(queues, queue) == ["c", "a", "b"]

    def test_our_own_ids_keep_the_order_in_which_items_were_added(self, repository: Repository) -> None:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        added = queues.add_items(queue.id, (NewItem(call_id=str(n)) for n in range(5_000)), added_by="ann").added
        ids = [item.id for item in added]
        assert ids == sorted(set(ids))
        assert calls(added) == [str(n) for n in range(5_000)]
        assert stored(queues, queue) == calls(added)
        assert len({item.created_at for item in added}) == 1

    def test_the_same_call_twice_in_one_addition_is_added_once(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        news = [NewItem(call_id="a", priority=1), NewItem(call_id="b"), NewItem(call_id="a", priority=2)]
        result = queues.add_items(queue.id, news, added_by="ann")
        assert (calls(result.added), result.duplicates) == (["a", "b"], 1)
        assert result.added[0].priority == 1
        assert [item.id for item in result.added] == ["id-000002", "id-000003"]

    def test_a_call_that_the_live_queue_holds_is_a_duplicate(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        (first,) = add(queues, queue, "a")
        result = queues.add_items(queue.id, [NewItem(call_id=call) for call in "aba"], added_by="bob")
        assert (calls(result.added), result.duplicates) == (["b"], 2)
        assert queues.get_item(first.id) == first

    def test_another_queue_may_hold_the_same_call(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        add(queues, queue, "a")
        other = queues.create("other", created_by="ann")
        assert calls(add(queues, other, "a")) == ["a"]

    def test_calls_that_differ_by_case_or_by_normal_form_are_different(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        assert len(add(queues, queue, "é", "e\u0301", "É", "a", "A", "a ", "ß", "ss")) == 8

    def test_a_removed_call_can_be_added_again_and_starts_afresh(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        (first,) = add(queues, queue, "a")
        queues.update_progress(first.id, "bob", COMPLETED)
        assert queues.remove_items(queue.id, [first.id]) == 1
        (second,) = add(queues, queue, "a")
        assert second.id != first.id
        assert second.annotation_state is AnnotationState.UNSTARTED
        assert queues.progress(second.id) == ()
        assert stored(queues, queue) == ["a"]
        assert queues.remove_items(queue.id, [first.id]) == 0

    def test_adding_nothing_changes_nothing(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        result = queues.add_items(queue.id, iter(()), added_by="ann")
        assert (result.added, result.duplicates) == ((), 0)
        assert queues.get(queue.id) == queue

    def test_a_one_shot_generator_is_read_once(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        read: list[str] = []

        def news() -> Iterator[NewItem]:
            for call in "abc":
                read.append(call)
                yield NewItem(call_id=call)

        assert calls(queues.add_items(queue.id, news(), added_by="ann").added) == ["a", "b", "c"]
        assert read == ["a", "b", "c"]

    def test_when_the_generator_raises_nothing_is_added_and_its_error_comes_through(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        add(queues, queue, "kept")

        def news() -> Iterator[NewItem]:
            for number in range(2_500):
                yield NewItem(call_id=str(number))
            message = "the source broke"
            raise RuntimeError(message)

        with pytest.raises(RuntimeError, match="the source broke"):
            queues.add_items(queue.id, news(), added_by="ann")
        assert stored(queues, queue) == ["kept"]
        assert queues.stats([queue.id])[0].total_items == 1
        assert calls(add(queues, queue, "0")) == ["0"]

    @pytest.mark.parametrize("bad", [None, "a", {"call_id": "a"}, 5])
    def test_when_one_element_is_no_new_item_nothing_is_added(
        self,
        queues: AnnotationQueues,
        queue: AnnotationQueue,
        bad: Any,  # noqa: ANN401 - what must be refused
    ) -> None:
        with pytest.raises(InvalidValue) as refused:
            queues.add_items(queue.id, [NewItem(call_id="a"), NewItem(call_id="b"), bad], added_by="ann")
        assert refused.value.field == "items[2]"
        assert stored(queues, queue) == []

    def test_when_one_payload_was_spoilt_after_it_was_made_nothing_is_added(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        good, spoilt = NewItem(call_id="a"), NewItem(call_id="b", payload={})
        assert spoilt.payload is not None
        spoilt.payload["x"] = float("nan")
        with pytest.raises(InvalidValue) as refused:
            queues.add_items(queue.id, [good, spoilt], added_by="ann")
        assert refused.value.field == "payload.x"
        assert stored(queues, queue) == []

    def test_when_one_id_is_taken_nothing_is_added(self, repository: Repository, clock: Clock) -> None:
        ids = itertools.cycle(["one", "two", "three"])
        queues = AnnotationQueues(repository, "project", clock=clock, new_id=lambda: next(ids))
        queue = queues.create("queue", created_by="ann")
        with pytest.raises(Conflict):
            add(queues, queue, *"abcde")
        assert stored(queues, queue) == []

    def test_the_id_of_a_removed_item_or_of_another_projects_stays_taken(
        self, repository: Repository, clock: Clock
    ) -> None:
        queues = AnnotationQueues(repository, "project", clock=clock, new_id=lambda: "same")
        others = AnnotationQueues(repository, "other", clock=clock, new_id=lambda: "same")
        queue = queues.create("queue", created_by="ann")
        ids = iter(["other queue"])
        other = AnnotationQueues(repository, "other", clock=clock, new_id=lambda: next(ids)).create(
            "q", created_by="ann"
        )
        (item,) = add(queues, queue, "a")
        with pytest.raises(Conflict):
            add(others, other, "b")
        queues.remove_items(queue.id, [item.id])
        with pytest.raises(Conflict):
            add(queues, queue, "a")
        assert stored(others, other) == stored(queues, queue) == []

    def test_a_generator_may_read_the_repository_it_is_added_to(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        source = queues.create("source", created_by="ann")
        add(queues, source, *"abc")
        seen: list[int] = []

        def news() -> Iterator[NewItem]:
            for item in queues.iter_items(source.id):
                seen.append(queues.stats([queue.id])[0].total_items)
                yield NewItem(call_id=item.call_id, payload={"copied": queues.get_item(item.id).id})

        assert calls(queues.add_items(queue.id, news(), added_by="ann").added) == ["a", "b", "c"]
        assert seen == [0, 0, 0]

    def test_adding_to_no_queue_reads_nothing_of_the_generator(self, queues: AnnotationQueues) -> None:
        untouched = iter([NewItem(call_id="a")])
        with pytest.raises(QueueNotFound):
            queues.add_items("nothing", untouched, added_by="ann")
        assert next(untouched).call_id == "a"

    def test_an_item_is_read_in_the_aggregate_view_or_an_annotators(
        self, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        (item,) = add(queues, queue, "a")
        at = clock.move(1)
        queues.update_progress(item.id, "bob", COMPLETED)
        for annotator_id, state, who in (
            (None, COMPLETED, "bob"),
            ("bob", COMPLETED, "bob"),
            ("eve", "unstarted", None),
        ):
            seen = queues.get_item(item.id, annotator_id=annotator_id)
            assert (seen.annotation_state, seen.annotator_user_id, seen.updated_at) == (state, who, at)
            assert seen == queues.query_items(queue.id, ItemQuery(annotator_id=annotator_id)).items[0]

    def test_an_item_is_found_in_its_own_queue_only(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        (item,) = add(queues, queue, "a")
        other = queues.create("other", created_by="ann")
        assert queues.get_item(item.id, queue_id=queue.id) == item
        operations: list[Callable[[], object]] = [
            lambda: queues.get_item(item.id, queue_id=other.id),
            lambda: queues.update_progress(item.id, "ann", COMPLETED, queue_id=other.id),
        ]
        for operation in operations:
            with pytest.raises(ItemNotFound) as missing:
                operation()
            assert missing.value.item_id == item.id
        with pytest.raises(QueueNotFound):
            queues.get_item(item.id, queue_id="nothing")
        assert queues.remove_items(other.id, [item.id]) == 0
        assert queues.progress(item.id) == ()

    def test_a_removed_item_is_gone_from_every_view(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        first, second = add(queues, queue, "a", "b")
        queues.update_progress(first.id, "bob", COMPLETED)
        assert queues.remove_items(queue.id, [first.id]) == 1
        assert stored(queues, queue) == ["b"]
        assert queues.query_items(queue.id, ItemQuery(include_position=True)).items[0].position_in_queue == 1
        assert queues.query_items(queue.id, ItemQuery(annotator_id="bob", sort_by=[SortBy("id")])).items == (second,)
        operations: list[Callable[[], object]] = [
            lambda: queues.get_item(first.id),
            lambda: queues.get_item(first.id, include_position=True),
            lambda: queues.get_item(first.id, queue_id=queue.id),
            lambda: queues.progress(first.id),
            lambda: queues.history(first.id),
            lambda: queues.update_progress(first.id, "bob", COMPLETED),
            lambda: queues.update_progress(first.id, "eve", AnnotationState.SKIPPED),
        ]
        for operation in operations:
            with pytest.raises(ItemNotFound) as missing:
                operation()
            assert missing.value.item_id == first.id

    def test_removal_counts_each_live_item_once_and_passes_over_the_rest(
        self, queues: AnnotationQueues, queue: AnnotationQueue
    ) -> None:
        first, second, third = add(queues, queue, "a", "b", "c")
        assert queues.remove_items(queue.id, (each for each in [first.id, "nothing", first.id, third.id])) == 2
        assert queues.remove_items(queue.id, [first.id, queue.id]) == 0
        assert queues.remove_items(queue.id, []) == 0
        assert queues.query_items(queue.id).items == (second,)

    def test_70_000_ids_can_be_given_at_once(self, queues: AnnotationQueues, queue: AnnotationQueue) -> None:
        added = add(queues, queue, "a", "b", "c")
        ids = [f"nothing-{number}" for number in range(70_000)]
        assert queues.remove_items(queue.id, [*ids, added[1].id]) == 1
        assert stored(queues, queue) == ["a", "c"]
        assert len(queues.stats([queue.id] * 1_000)) == 1_000

    def test_the_time_at_which_a_call_started_defaults_to_that_of_adding(
        self, queues: AnnotationQueues, queue: AnnotationQueue, clock: Clock
    ) -> None:
        started = clock.now - timedelta(hours=1)
        news = [NewItem(call_id="a"), NewItem(call_id="b", call_started_at=started)]
        added = queues.add_items(queue.id, news, added_by="ann").added
        assert [item.call_started_at for item in added] == [clock.now, started]
