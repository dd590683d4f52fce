"""Making a queue again: under an id that is given, or by its name; there is one all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue.errors import Conflict
from annotation_queue.queues import AnnotationQueues
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.repository import Repository
    from annotation_queue.testing.clock import Clock


class RepeatingContract(Contract):
    """Making a queue again: under an id that is given, or by its name; there is one all the same."""

    def test_an_id_that_is_given_makes_the_queue_once_and_a_repetition_returns_it(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        fields: dict[str, Any] = {"created_by": "ann", "annotations_per_item": 2, "label_schema": {"type": "string"}}
        made = queues.create("Triage", queue_id="é 😀/1", **fields)
        assert (made.id, made.created_at) == ("é 😀/1", clock.now)
        clock.move(1)
        assert queues.create("Triage", queue_id=made.id, **fields) == made
        assert queues.query().queues == (made,)
        for other in ({"created_by": "eve"}, {"annotations_per_item": 3}, {"label_schema": None}, {"description": "x"}):
            with pytest.raises(Conflict):
                queues.create("Triage", queue_id=made.id, **{**fields, **other})
        with pytest.raises(Conflict):
            queues.create("triage", queue_id=made.id, **fields)
        assert queues.get(made.id) == made

    def test_an_id_that_is_given_is_taken_by_a_deleted_queue_and_by_one_of_another_project(
        self, make_queues: Callable[..., AnnotationQueues]
    ) -> None:
        queues, others = make_queues(), make_queues("another")
        made = queues.create("Triage", created_by="ann", queue_id="given")
        with pytest.raises(Conflict):
            others.create("Triage", created_by="ann", queue_id=made.id)
        queues.delete(made.id)
        with pytest.raises(Conflict):
            queues.create("Triage", created_by="ann", queue_id=made.id)
        assert others.query().queues == queues.query().queues == ()

    def test_get_or_create_gives_the_oldest_live_queue_of_exactly_that_name_or_makes_it(
        self, make_queues: Callable[..., AnnotationQueues], clock: Clock
    ) -> None:
        queues, others = make_queues(), make_queues("another")
        made = queues.get_or_create("é", created_by="ann", annotations_per_item=2, description="the first")
        assert (made.name, made.annotations_per_item, made.description) == ("é", 2, "the first")
        assert queues.get(made.id) == made
        clock.move(1)
        queues.create("é", created_by="ann")
        assert queues.get_or_create("é", created_by="eve", annotations_per_item=3) == made
        # What is as good as the name for a search is another name.
        unlike = ["É", "é", "é ", "_", "%", ""]
        made_for = [queues.get_or_create(name, created_by="ann").id for name in unlike]
        assert len({made.id, *made_for}) == 1 + len(unlike)
        assert others.get_or_create("é", created_by="ann").id != made.id
        clock.move(-10)
        older = queues.create("é", created_by="ann")
        assert queues.get_or_create("é", created_by="ann") == older
        queues.update(older.id, name="e")
        assert queues.get_or_create("é", created_by="ann") == made
        queues.delete(made.id)
        assert queues.get_or_create("é", created_by="ann").id not in {made.id, older.id}

    def test_of_queues_of_one_name_and_time_the_one_of_the_least_id_is_the_oldest(self, repository: Repository) -> None:
        ids = iter(["b", "B", "a", "unused"])
        queues = AnnotationQueues(
            repository, "project", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC), new_id=lambda: next(ids)
        )
        made = {queue.id: queue for queue in (queues.create("x", created_by="ann") for _ in range(3))}
        assert queues.get_or_create("x", created_by="ann") == made["B"]
        assert len(queues.query().queues) == 3
