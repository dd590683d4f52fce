"""Bad inputs: the same error on every repository, which names the field, and nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from annotation_queue.errors import InvalidQuery, InvalidValue
from annotation_queue.items import Claim, NewItem
from annotation_queue.query import ItemQuery, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.sorting import SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.bad_arguments import ARGUMENTS, ID, MEBIBYTE, TIME, World, nested
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.repository import Repository

COMPLETED = AnnotationState.COMPLETED


class HostileInputContract(Contract):
    """Bad inputs: the same error on every repository, which names the field, and nothing is written."""

    @pytest.fixture
    def world(self, queues: AnnotationQueues) -> World:
        """Something that bad input could spoil."""
        queue = queues.create("queue", created_by="ann")
        items = queues.add_items(queue.id, [NewItem(call_id=call) for call in "ab"], added_by="ann").added
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        return World(queues, queue, items, claim)

    @pytest.mark.parametrize(
        ("field", "values", "call"),
        [row[1:] for row in ARGUMENTS],
        ids=[f"{method}-{field}" for method, field, _, _ in ARGUMENTS],
    )
    def test_a_bad_argument_is_refused_by_name_and_nothing_is_written(
        self, world: World, field: str, values: list[Any], call: Callable[[World, Any], object]
    ) -> None:
        before = world.everything()
        for bad in values:
            with pytest.raises(InvalidValue) as refused:
                call(world, bad)
            named = refused.value.field.removeprefix("a key of ")
            assert named == field or named.startswith((f"{field}.", f"{field}[")), refused.value
            assert len(str(refused.value)) < 1_000
        assert world.everything() == before
        assert len(world.queues.query().queues) == 1

    def test_text_of_100_mib_is_refused(self, world: World) -> None:
        huge = "a" * (100 * MEBIBYTE)
        before = world.everything()
        for refused in (
            lambda: world.queues.create(huge, created_by="ann"),
            lambda: world.queues.get_item(huge),
            lambda: world.queues.claim(world.queue.id, huge),
            lambda: world.queues.complete(world.claim, {"a": huge}),
            lambda: NewItem(call_id="new", payload={huge: 1}),
            lambda: QueueQuery(name=huge),
        ):
            with pytest.raises(InvalidValue) as error:
                refused()
            assert len(str(error.value)) < 1_000
        assert world.everything() == before

    @pytest.mark.parametrize("project_id", [*ID, None], ids=lambda bad: ascii(bad)[:20])
    def test_a_project_is_named_by_an_id(self, repository: Repository, project_id: Any) -> None:  # noqa: ANN401
        with pytest.raises(InvalidValue, match="project_id"):
            AnnotationQueues(repository, project_id)

    @pytest.mark.parametrize("now", [*TIME, None], ids=repr)
    def test_a_clock_without_a_time_zone_is_refused_and_nothing_is_written(
        self,
        repository: Repository,
        world: World,
        now: Any,  # noqa: ANN401 - what must be refused
    ) -> None:
        queues = AnnotationQueues(repository, "project", clock=lambda: now)
        before = world.everything()
        operations: list[Callable[[], object]] = [
            lambda: queues.create("new", created_by="ann"),
            lambda: queues.update(world.queue.id, name="new"),
            lambda: queues.delete(world.queue.id),
            lambda: queues.add_items(world.queue.id, [NewItem(call_id="new")], added_by="ann"),
            lambda: queues.remove_items(world.queue.id, [world.items[0].id]),
            lambda: queues.update_progress(world.items[0].id, "eve", COMPLETED),
            lambda: queues.claim(world.queue.id, "eve"),
            lambda: queues.complete(world.claim),
            lambda: queues.heartbeat(world.claim),
        ]
        for refused in operations:
            with pytest.raises(InvalidValue, match="clock: expected a timezone-aware datetime"):
                refused()
        assert world.everything() == before

    @pytest.mark.parametrize("made", ["", "a\0", 5, None])
    def test_an_id_factory_that_makes_no_ids_is_refused_and_nothing_is_written(
        self,
        repository: Repository,
        world: World,
        made: Any,  # noqa: ANN401 - what must be refused
    ) -> None:
        queues = AnnotationQueues(repository, "project", new_id=lambda: made)
        before = world.everything()
        with pytest.raises(InvalidValue, match="id: expected"):
            queues.create("new", created_by="ann")
        with pytest.raises(InvalidValue, match="id: expected"):
            queues.add_items(world.queue.id, [NewItem(call_id="new")], added_by="ann")
        assert world.everything() == before

    @pytest.mark.parametrize(
        "field", ["id; DROP TABLE items", '"x"', "'x'", "", "ID", "rowid", "1", "x\0", 5, None], ids=repr
    )
    def test_an_unknown_sort_field_is_refused(self, world: World, field: Any) -> None:  # noqa: ANN401 - what must be refused
        for refused in (
            lambda: world.queues.query_items(world.queue.id, ItemQuery(sort_by=[SortBy(field)])),
            lambda: world.queues.query(QueueQuery(sort_by=[SortBy(field)])),
        ):
            with pytest.raises(InvalidQuery):
                refused()
        assert len(world.everything()) == 2

    def test_the_longest_text_and_the_deepest_and_longest_json_are_stored(self, queues: AnnotationQueues) -> None:
        text = "😀" * (MEBIBYTE // 4)
        longest: dict[str, Any] = {"a": "x" * (MEBIBYTE - len('{"a":""}'))}
        queue = queues.create(text, created_by=text, description=text, scorer_refs=["é" * 500_000])
        news = [
            NewItem(call_id=text, call_op_name=text, call_trace_id=text, payload=longest),
            NewItem(call_id="deep", payload=nested(64)),
        ]
        added = queues.add_items(queue.id, news, added_by=text).added
        assert queues.get(queue.id) == queue
        assert queues.query(QueueQuery(name=text)).queues == (queue,)
        assert queues.query_items(queue.id).items == added
        queues.update_progress(added[0].id, text, COMPLETED, annotation=nested(64), reason=text)
        (progress,) = queues.progress(added[0].id)
        assert (progress.annotator_id, progress.reason, progress.annotation) == (text, text, nested(64))

    @pytest.mark.parametrize("year", [1, 9999])
    def test_the_first_and_the_last_year_are_stored_and_sorted(self, repository: Repository, year: int) -> None:
        at = datetime(year, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
        queues = AnnotationQueues(repository, "project", clock=lambda: at)
        queue = queues.create("queue", created_by="ann")
        news = [NewItem(call_id="a", call_ended_at=at), NewItem(call_id="b", call_ended_at=at.replace(microsecond=0))]
        added = queues.add_items(queue.id, news, added_by="ann").added
        by_end = ItemQuery(sort_by=[SortBy("call_ended_at")], limit=1)
        page = queues.query_items(queue.id, by_end)
        assert page.items == (added[1],)
        assert queues.query_items(queue.id, attrs.evolve(by_end, cursor=page.next_cursor)).items == (added[0],)
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        assert claim.expires_at == at + timedelta(minutes=5)
