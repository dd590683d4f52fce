"""Progress set directly: moves by every workflow, what is stored with them, and the state shown for the item."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import InvalidTransition, InvalidValue
from annotation_queue.items import NewItem, QueueItem
from annotation_queue.states import REOPENABLE, STANDARD, STRICT, AnnotationState, SkipPolicy, Workflow
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.json_values import JsonValue
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState

BACKWARDS = Workflow("backwards", {("unstarted", "skipped"), ("skipped", "completed"), ("completed", "unstarted")})

# How each state is reached from nothing, by the moves of each workflow.
WAYS: dict[Workflow, dict[AnnotationState, list[AnnotationState]]] = {
    STANDARD: {UNSTARTED: [], IN_PROGRESS: [IN_PROGRESS], COMPLETED: [COMPLETED], SKIPPED: [SKIPPED]},
    REOPENABLE: {UNSTARTED: [], IN_PROGRESS: [IN_PROGRESS], COMPLETED: [COMPLETED], SKIPPED: [SKIPPED]},
    STRICT: {
        UNSTARTED: [],
        IN_PROGRESS: [IN_PROGRESS],
        COMPLETED: [IN_PROGRESS, COMPLETED],
        SKIPPED: [IN_PROGRESS, SKIPPED],
    },
    BACKWARDS: {UNSTARTED: [], SKIPPED: [SKIPPED], COMPLETED: [SKIPPED, COMPLETED]},
}

ALLOWED = {
    STANDARD: {
        "unstarted": "in_progress completed skipped",
        "in_progress": "unstarted in_progress completed skipped",
        "completed": "completed",
        "skipped": "skipped",
    },
    STRICT: {"unstarted": "in_progress", "in_progress": "unstarted in_progress completed skipped"},
    REOPENABLE: {
        "unstarted": "in_progress completed skipped",
        "in_progress": "unstarted in_progress completed skipped",
        "completed": "completed in_progress",
        "skipped": "skipped in_progress",
    },
    BACKWARDS: {"unstarted": "skipped", "skipped": "completed", "completed": "unstarted"},
}


class ProgressContract(Contract):
    """Progress set directly: moves by every workflow, what is stored with them, and the state shown for the item."""

    @pytest.mark.parametrize(
        ("workflow", "before", "after"),
        [(workflow, *pair) for workflow, ways in WAYS.items() for pair in itertools.product(ways, AnnotationState)],
        ids=lambda value: value.name if isinstance(value, Workflow) else str(value),
    )
    def test_a_move_is_made_or_refused_as_the_workflow_says(
        self,
        make_queues: Callable[..., AnnotationQueues],
        clock: Clock,
        workflow: Workflow,
        before: AnnotationState,
        after: AnnotationState,
    ) -> None:
        queues = make_queues(workflow=workflow)
        queue = queues.create("queue", created_by="ann")
        item = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added[0]
        for state in WAYS[workflow][before]:
            clock.move(1)
            queues.update_progress(item.id, "bob", state)
        unmoved = (queues.get_item(item.id), queues.progress(item.id), queues.history(item.id))
        at = clock.move(1)
        if before is after:
            seen = queues.update_progress(item.id, "bob", after)
            assert seen == queues.get_item(item.id, annotator_id="bob")
            assert (queues.get_item(item.id), queues.progress(item.id), queues.history(item.id)) == unmoved
        elif after in ALLOWED[workflow].get(before, "").split():
            seen = queues.update_progress(item.id, "bob", after)
            assert (seen.annotation_state, seen.updated_at) == (after, at)
            assert seen == queues.get_item(item.id, annotator_id="bob")
            assert [each.state for each in queues.progress(item.id)] == [after]
            assert len(queues.history(item.id)) == len(unmoved[2]) + 1
        else:
            with pytest.raises(InvalidTransition) as refused:
                queues.update_progress(item.id, "bob", after)
            assert (refused.value.from_state, refused.value.to_state) == (before, after)
            assert refused.value.workflow == workflow.name
            assert (queues.get_item(item.id), queues.progress(item.id), queues.history(item.id)) == unmoved

    def test_the_value_of_a_state_stands_for_the_state(self, queues: AnnotationQueues, shared_item: QueueItem) -> None:
        seen = queues.update_progress(shared_item.id, "bob", "completed")  # type: ignore[arg-type]  # what a backend gets as text
        assert seen.annotation_state is COMPLETED
        with pytest.raises(InvalidValue, match="state: expected one of unstarted, in_progress, completed, skipped"):
            queues.update_progress(shared_item.id, "bob", "pending")  # type: ignore[arg-type]  # what must be refused

    def test_releasing_what_was_never_started_stores_nothing(
        self, queues: AnnotationQueues, shared_item: QueueItem
    ) -> None:
        assert queues.update_progress(shared_item.id, "bob", UNSTARTED) == shared_item
        assert queues.progress(shared_item.id) == ()
        assert queues.history(shared_item.id) == ()

    def test_a_progress_records_what_was_done(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        started = clock.move(1)
        queues.update_progress(shared_item.id, "bob", IN_PROGRESS, annotation={"draft": 1}, reason="curious")
        (progress,) = queues.progress(shared_item.id)
        assert (progress.item_id, progress.annotator_id, progress.state, progress.token) == (
            shared_item.id,
            "bob",
            IN_PROGRESS,
            1,
        )
        assert (progress.annotation, progress.reason) == ({"draft": 1}, "curious")
        assert (progress.created_at, progress.updated_at) == (started, started)
        assert progress.lease_expires_at == started + timedelta(minutes=5)
        finished = clock.move(1)
        queues.update_progress(shared_item.id, "bob", COMPLETED)
        (progress,) = queues.progress(shared_item.id)
        assert (progress.state, progress.token, progress.lease_expires_at) == (COMPLETED, 1, None)
        assert (progress.annotation, progress.reason) == ({"draft": 1}, None)
        assert (progress.created_at, progress.updated_at) == (started, finished)

    @pytest.mark.parametrize(
        "label", [{"a": [1, {"b": None}]}, [], {}, "", "text é 😀", 0, False, 1.5, -(2**63), [None], {"": ""}], ids=repr
    )
    def test_a_label_is_any_json_value(
        self, queues: AnnotationQueues, shared_item: QueueItem, label: JsonValue
    ) -> None:
        queues.update_progress(shared_item.id, "bob", COMPLETED, annotation=label)
        (progress,) = queues.progress(shared_item.id)
        assert progress.annotation == label
        assert type(progress.annotation) is type(label)

    def test_a_later_label_replaces_the_draft_and_none_keeps_it(
        self, queues: AnnotationQueues, shared_item: QueueItem
    ) -> None:
        queues.update_progress(shared_item.id, "bob", IN_PROGRESS, annotation="draft")
        queues.update_progress(shared_item.id, "bob", UNSTARTED)
        assert queues.progress(shared_item.id)[0].annotation == "draft"
        queues.update_progress(shared_item.id, "bob", COMPLETED, annotation="label")
        assert queues.progress(shared_item.id)[0].annotation == "label"

    def test_the_token_counts_how_often_work_was_started_or_finished_without_a_start(
        self, make_queues: Callable[..., AnnotationQueues], clock: Clock
    ) -> None:
        queues = make_queues(workflow=REOPENABLE)
        queue = queues.create("queue", created_by="ann")
        item = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added[0]
        tokens = []
        for state in (COMPLETED, IN_PROGRESS, UNSTARTED, IN_PROGRESS, SKIPPED, IN_PROGRESS):
            clock.move(1)
            queues.update_progress(item.id, "bob", state)
            tokens.append(queues.progress(item.id)[0].token)
        assert tokens == [1, 2, 2, 3, 3, 4]

    def test_progresses_are_listed_by_annotator_id_in_code_points_released_ones_too(
        self, queues: AnnotationQueues, shared_item: QueueItem
    ) -> None:
        annotators = ["é", "10", "9", "ß", "B", "a", "_", "😀", "\uffff", "É", "%"]
        for annotator_id in annotators:
            queues.update_progress(shared_item.id, annotator_id, IN_PROGRESS)
        queues.update_progress(shared_item.id, "10", UNSTARTED)
        listed = queues.progress(shared_item.id)
        assert [each.annotator_id for each in listed] == sorted(annotators)
        assert listed[1].annotator_id == "10"
        assert listed[1].state is UNSTARTED

    def test_the_item_shows_the_state_that_changed_last(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        shown = []
        for annotator_id, state in (
            ("bob", IN_PROGRESS),
            ("ann", SKIPPED),
            ("bob", COMPLETED),
            ("eve", IN_PROGRESS),
            ("eve", UNSTARTED),
        ):
            at = clock.move(1)
            queues.update_progress(shared_item.id, annotator_id, state)
            seen = queues.get_item(shared_item.id)
            assert seen.updated_at == at
            shown.append((seen.annotation_state, seen.annotator_user_id))
        assert shown == [
            (IN_PROGRESS, "bob"),
            (SKIPPED, "ann"),
            (COMPLETED, "bob"),
            (IN_PROGRESS, "eve"),
            (COMPLETED, "bob"),
        ]

    @pytest.mark.parametrize("seconds", [0, -1, -100_000])
    @pytest.mark.parametrize("order", list(itertools.permutations(["B", "a", "é"])), ids="".join)
    def test_the_item_shows_what_was_stored_last_whatever_the_clocks_say(
        self,
        queues: AnnotationQueues,
        shared_item: QueueItem,
        clock: Clock,
        order: tuple[str, ...],
        seconds: float,
    ) -> None:
        latest = clock.now
        for annotator_id in order:
            queues.update_progress(shared_item.id, annotator_id, COMPLETED)
            seen = queues.get_item(shared_item.id)
            assert (seen.annotation_state, seen.annotator_user_id) == (COMPLETED, annotator_id)
            assert seen.updated_at == latest
            assert seen == queues.query_items(shared_item.queue_id).items[0]
            clock.move(seconds)
        assert [each.step for each in queues.progress(shared_item.id)] == [order.index(each) + 1 for each in "Baé"]

    def test_a_step_counts_every_change_of_the_item_whoever_made_it(
        self, queues: AnnotationQueues, shared_item: QueueItem
    ) -> None:
        steps: dict[str, int] = {}
        for number, (annotator_id, state, label) in enumerate(
            (
                ("bob", IN_PROGRESS, None),
                ("bob", COMPLETED, None),
                ("ann", IN_PROGRESS, None),
                ("bob", COMPLETED, "corrected"),
                ("eve", SKIPPED, None),
                ("ann", UNSTARTED, None),
            ),
            start=1,
        ):
            queues.update_progress(shared_item.id, annotator_id, state, annotation=label)
            queues.update_progress(shared_item.id, annotator_id, state)
            steps[annotator_id] = number
            assert {each.annotator_id: each.step for each in queues.progress(shared_item.id)} == steps
            assert len(queues.history(shared_item.id)) == number

    def test_when_everybody_let_go_the_item_is_unstarted_again(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        for annotator_id in ("ann", "bob"):
            queues.update_progress(shared_item.id, annotator_id, IN_PROGRESS)
        for annotator_id in ("bob", "ann"):
            at = clock.move(1)
            queues.update_progress(shared_item.id, annotator_id, UNSTARTED)
        seen = queues.get_item(shared_item.id)
        assert (seen.annotation_state, seen.annotator_user_id, seen.updated_at) == (UNSTARTED, None, at)

    def test_an_update_gives_the_item_in_the_perspective_of_its_annotator(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        queues.update_progress(shared_item.id, "ann", COMPLETED)
        clock.move(1)
        seen = queues.update_progress(shared_item.id, "bob", IN_PROGRESS)
        assert (seen.annotation_state, seen.annotator_user_id) == (IN_PROGRESS, "bob")
        clock.move(1)
        seen = queues.update_progress(shared_item.id, "bob", UNSTARTED)
        assert (seen.annotation_state, seen.annotator_user_id) == (UNSTARTED, None)
        assert queues.get_item(shared_item.id).annotator_user_id == "ann"

    def test_direct_updates_are_not_refused_for_lack_of_slots(self, queues: AnnotationQueues, clock: Clock) -> None:
        queue = queues.create("one each", created_by="ann")
        item = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added[0]
        assert queues.claim(queue.id, "holder")
        for annotator_id in ("ann", "bob", "eve"):
            clock.move(1)
            queues.update_progress(item.id, annotator_id, IN_PROGRESS)
            queues.update_progress(item.id, annotator_id, COMPLETED)
        assert [each.state for each in queues.progress(item.id)] == [COMPLETED, COMPLETED, COMPLETED, IN_PROGRESS]

    def test_work_started_directly_holds_a_slot_until_the_queues_lease_ends(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        queue = queues.create("queue", created_by="ann", lease=timedelta(seconds=60))
        item = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added[0]
        queues.update_progress(item.id, "bob", IN_PROGRESS)
        clock.move(59.999999)
        assert not queues.claim(queue.id, "eve")
        clock.move(0.000001)
        claim = queues.claim(queue.id, "eve")
        assert claim
        assert [(each.annotator_id, each.state) for each in queues.progress(item.id)] == [
            ("bob", UNSTARTED),
            ("eve", IN_PROGRESS),
        ]

    def test_starting_again_what_is_in_progress_does_not_prolong_the_lease(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        queues.update_progress(shared_item.id, "bob", IN_PROGRESS)
        ends = queues.progress(shared_item.id)[0].lease_expires_at
        clock.move(10)
        queues.update_progress(shared_item.id, "bob", IN_PROGRESS)
        assert queues.progress(shared_item.id)[0].lease_expires_at == ends

    @pytest.mark.parametrize(
        ("policy", "needed", "states", "finished"),
        [
            (SkipPolicy.FINAL, 1, [COMPLETED], True),
            (SkipPolicy.FINAL, 1, [SKIPPED], True),
            (SkipPolicy.FINAL, 1, [IN_PROGRESS], False),
            (SkipPolicy.FINAL, 2, [COMPLETED], False),
            (SkipPolicy.FINAL, 2, [COMPLETED, SKIPPED], True),
            (SkipPolicy.FINAL, 3, [SKIPPED, SKIPPED], False),
            (SkipPolicy.FINAL, 1, [COMPLETED, COMPLETED, SKIPPED], True),
            (SkipPolicy.REQUEUE, 1, [SKIPPED], False),
            (SkipPolicy.REQUEUE, 1, [SKIPPED, SKIPPED, SKIPPED], False),
            (SkipPolicy.REQUEUE, 1, [SKIPPED, COMPLETED], True),
            (SkipPolicy.REQUEUE, 2, [COMPLETED, SKIPPED], False),
            (SkipPolicy.REQUEUE, 2, [COMPLETED, SKIPPED, COMPLETED], True),
        ],
    )
    def test_an_item_is_finished_by_completions_and_by_skips_where_they_are_final(
        self,
        queues: AnnotationQueues,
        policy: SkipPolicy,
        needed: int,
        states: list[AnnotationState],
        *,
        finished: bool,
    ) -> None:
        queue = queues.create("queue", created_by="ann", annotations_per_item=needed, skip_policy=policy)
        item = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added[0]
        for number, state in enumerate(states):
            queues.update_progress(item.id, f"ann-{number}", state)
        assert queues.stats([queue.id])[0].finished_items == finished
