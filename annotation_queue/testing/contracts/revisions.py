"""Revisions: labels that are corrected, drafts, schemas, and a history that loses none of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue.errors import ClaimLost, InvalidLabel, InvalidTransition
from annotation_queue.items import Claim, NewItem, QueueItem
from annotation_queue.states import REOPENABLE, STRICT, AnnotationState, Workflow, fold, fold_labels
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.json_values import JsonValue
    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState

WAYS = pytest.mark.parametrize("way", ["claim", "reference", "batch", "directly"])
BAD_LABELS: tuple[JsonValue, ...] = ("text", {"score": "high"}, None)
NO_DRAFTS = Workflow("no drafts", {("unstarted", "in_progress"), ("in_progress", "completed")})


def take(queues: AnnotationQueues, queue_id: str, annotator_id: str = "bob") -> Claim:
    """Claim an item that must be there."""
    claim = queues.claim(queue_id, annotator_id)
    assert isinstance(claim, Claim)
    return claim


def say(queues: AnnotationQueues, claim: Claim, label: JsonValue, way: str) -> object:
    """Complete, or correct, in one of the ways."""
    if way == "directly":
        return queues.update_progress(claim.item.id, claim.annotator_id, COMPLETED, annotation=label)
    if way == "batch":
        return queues.complete_batch([(claim, label)])[0]
    return queues.complete(claim.ref if way == "reference" else claim, label)


def everything(queues: AnnotationQueues, item: QueueItem) -> tuple[object, ...]:
    """Read all that is stored of an item and its queue's log."""
    stored = queues.get_item(item.id), queues.progress(item.id), queues.history(item.id)
    return (
        *stored,
        queues.stats([item.queue_id]),
        queues.labels(item.queue_id),
        queues.changes(item.queue_id).transitions,
    )


class RevisionsContract(Contract):
    """Revisions: labels that are corrected, drafts, schemas, and a history that loses none of it."""

    # Corrections

    @WAYS
    def test_another_label_is_a_revision_that_is_in_the_history_and_moves_the_time(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock, way: str
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        say(queues, claim, {"good": 1}, way)
        (done,) = queues.progress(shared_item.id)
        at = clock.move(1)
        answer = say(queues, claim, {"good": 2}, way)
        assert answer == queues.get_item(shared_item.id, annotator_id="bob")
        (revised,) = queues.progress(shared_item.id)
        assert (revised.annotation, revised.updated_at, revised.step) == ({"good": 2}, at, 3)
        assert (revised.state, revised.token, revised.created_at) == (COMPLETED, done.token, done.created_at)
        assert revised.started_at == done.started_at
        assert queues.get_item(shared_item.id).updated_at == at
        last = queues.history(shared_item.id)[-1]
        assert (last.from_state, last.to_state, last.at, last.actor_id) == (COMPLETED, COMPLETED, at, "bob")
        assert [each.annotation for each in queues.history(shared_item.id)] == [None, {"good": 1}, {"good": 2}]
        assert queues.stats([shared_item.queue_id])[0].by_annotator == {"bob": {COMPLETED: 1}}

    @WAYS
    @pytest.mark.parametrize("label", [{"b": [1], "a": None}, "text", 0, False, []], ids=repr)
    def test_an_equal_label_or_none_at_all_changes_nothing(
        self,
        queues: AnnotationQueues,
        shared_item: QueueItem,
        clock: Clock,
        label: JsonValue,
        way: str,
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        say(queues, claim, label, way)
        before = everything(queues, shared_item)
        clock.move(1)
        again = dict(reversed(label.items())) if isinstance(label, dict) else label
        for said in (again, None):
            assert say(queues, claim, said, way) == queues.get_item(shared_item.id, annotator_id="bob")
            assert everything(queues, shared_item) == before

    @pytest.mark.parametrize(
        ("first", "second"), [(1, 1.0), (1, True), (0, False), ([0], [False]), (0.0, -0.0)], ids=repr
    )
    def test_labels_that_differ_as_json_are_revisions_of_each_other(
        self, queues: AnnotationQueues, shared_item: QueueItem, first: JsonValue, second: JsonValue
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        queues.complete(claim, first)
        queues.complete(claim, second)
        assert [repr(each.annotation) for each in queues.history(shared_item.id)[1:]] == [repr(first), repr(second)]
        assert repr(queues.progress(shared_item.id)[0].annotation) == repr(second)

    def test_another_reason_of_a_skip_is_a_revision_and_the_label_stays(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        queues.save_draft(claim, "draft")
        queues.skip(claim, "too hard")
        at = clock.move(1)
        queues.skip(claim, "no picture")
        queues.skip(claim)
        (progress,) = queues.progress(shared_item.id)
        assert (progress.reason, progress.annotation, progress.updated_at) == ("no picture", "draft", at)
        assert [each.reason for each in queues.history(shared_item.id)] == [None, "too hard", "no picture"]

    @pytest.mark.parametrize("workflow", [STRICT, NO_DRAFTS], ids=lambda each: each.name)
    def test_a_workflow_without_revisions_refuses_another_label_and_writes_nothing(
        self,
        make_queues: Callable[..., AnnotationQueues],
        queues: AnnotationQueues,
        shared_item: QueueItem,
        workflow: Workflow,
    ) -> None:
        strict = make_queues(workflow=workflow)
        claim = take(queues, shared_item.queue_id)
        strict.complete(claim, "good")
        before = everything(queues, shared_item)
        for way in ("claim", "reference", "batch", "directly"):
            with pytest.raises(InvalidTransition) as refused:
                say(strict, claim, "bad", way)
            assert (refused.value.from_state, refused.value.to_state) == (COMPLETED, COMPLETED)
            say(strict, claim, "good", way)
            assert everything(queues, shared_item) == before

    def test_a_label_or_a_reason_for_what_is_unstarted_is_refused(
        self, queues: AnnotationQueues, shared_item: QueueItem
    ) -> None:
        for annotation, reason in (("label", None), (None, "why")):
            with pytest.raises(InvalidTransition):
                queues.update_progress(shared_item.id, "bob", UNSTARTED, annotation=annotation, reason=reason)
        assert (queues.progress(shared_item.id), queues.history(shared_item.id)) == ((), ())

    def test_no_label_that_was_completed_is_lost_when_the_work_is_taken_up_again(
        self, make_queues: Callable[..., AnnotationQueues], shared_item: QueueItem, clock: Clock
    ) -> None:
        queues = make_queues(workflow=REOPENABLE)
        for label in ("first", "second"):
            clock.move(1)
            queues.update_progress(shared_item.id, "bob", IN_PROGRESS)
            started = clock.now
            clock.move(1)
            queues.update_progress(shared_item.id, "bob", COMPLETED, annotation=label)
        history, (progress,) = queues.history(shared_item.id), queues.progress(shared_item.id)
        assert [each.annotation for each in history] == [None, "first", None, "second"]
        assert (progress.started_at, progress.token, progress.step) == (started, 2, 4)
        assert (fold(history), fold_labels(history)) == ({"bob": COMPLETED}, {"bob": "second"})

    # Drafts

    @pytest.mark.parametrize("way", ["claim", "reference", "directly"])
    def test_a_draft_is_stored_and_moves_neither_time_nor_history(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock, way: str
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        (held,), item, history = (
            queues.progress(shared_item.id),
            queues.get_item(shared_item.id),
            queues.history(shared_item.id),
        )
        labels = queues.labels(shared_item.queue_id)
        clock.move(1)
        if way == "directly":
            queues.update_progress(shared_item.id, "bob", IN_PROGRESS, annotation={"draft": [1]})
        else:
            queues.save_draft(claim.ref if way == "reference" else claim, {"draft": [1]})
        (drafted,) = queues.progress(shared_item.id)
        assert drafted.annotation == {"draft": [1]}
        assert (drafted.state, drafted.token, drafted.updated_at, drafted.step) == (IN_PROGRESS, 1, held.updated_at, 1)
        assert (queues.get_item(shared_item.id), queues.history(shared_item.id)) == (item, history)
        assert queues.labels(shared_item.queue_id) == labels
        # What nobody says again stays.
        clock.move(1)
        queues.complete(claim)
        assert queues.progress(shared_item.id)[0].annotation == {"draft": [1]}
        assert queues.history(shared_item.id)[-1].annotation == {"draft": [1]}

    def test_saving_a_draft_prolongs_the_claim_and_repeating_it_is_fine(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        at = clock.move(1_000)
        prolonged = queues.save_draft(claim, "draft")
        assert (prolonged.token, prolonged.expires_at) == (claim.token, at + timedelta(minutes=5))
        assert prolonged.item == claim.item
        at = clock.move(1)
        for draft in ("draft", None):
            again = queues.save_draft(prolonged, draft, lease=timedelta(seconds=7))
            assert again.expires_at == queues.progress(shared_item.id)[0].lease_expires_at == at + timedelta(seconds=7)
            assert queues.progress(shared_item.id)[0].annotation == "draft"

    def test_a_workflow_without_drafts_refuses_them_and_prolongs_nothing(
        self, make_queues: Callable[..., AnnotationQueues], shared_item: QueueItem, clock: Clock
    ) -> None:
        queues = make_queues(workflow=NO_DRAFTS)
        claim = take(queues, shared_item.queue_id)
        before = everything(queues, shared_item)
        clock.move(1)
        with pytest.raises(InvalidTransition):
            queues.save_draft(claim, "draft")
        assert everything(queues, shared_item) == before

    def test_a_draft_outlives_its_lease_and_the_next_grant_to_the_same_annotator(
        self, queues: AnnotationQueues, shared_item: QueueItem, clock: Clock
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        queues.save_draft(claim, ["half"])
        clock.move(1_000)
        again = take(queues, shared_item.queue_id)
        (progress,) = queues.progress(shared_item.id)
        assert (progress.annotation, progress.token, again.token) == (["half"], 2, 2)
        with pytest.raises(ClaimLost):
            queues.save_draft(claim, "late")
        released, started = queues.history(shared_item.id)[1:]
        assert (released.actor_id, released.reason, started.actor_id) == (None, "lease expired", "bob")

    @pytest.mark.parametrize("draft", [["half"], ["whole"], None])
    def test_who_released_a_draft_goes_on_with_it_when_they_claim_its_item_again(
        self, queues: AnnotationQueues, shared_item: QueueItem, draft: list[str] | None
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        queues.save_draft(claim, ["half"])
        queues.release(claim)
        queues.save_draft(take(queues, shared_item.queue_id), draft)
        (progress,) = queues.progress(shared_item.id)
        assert progress.annotation == (draft or ["half"])

    def test_a_draft_that_was_released_is_the_label_of_who_claims_again_and_completes_without_another(
        self, queues: AnnotationQueues, shared_item: QueueItem
    ) -> None:
        claim = take(queues, shared_item.queue_id)
        queues.save_draft(claim, ["half"])
        queues.release(claim)
        queues.complete(take(queues, shared_item.queue_id))
        (progress,) = queues.progress(shared_item.id)
        assert progress.annotation == queues.history(shared_item.id)[-1].annotation == ["half"]

    # Who did it

    def test_the_history_says_who_did_it(self, queues: AnnotationQueues, shared_item: QueueItem) -> None:
        queues.update_progress(shared_item.id, "bob", IN_PROGRESS, actor_id="a robot")
        queues.update_progress(shared_item.id, "bob", COMPLETED, annotation=1)
        queues.update_progress(shared_item.id, "bob", COMPLETED, annotation=2, actor_id="é 😀")
        queues.update_progress(shared_item.id, "bob", UNSTARTED, actor_id="chief", override=True)
        actors = [each.actor_id for each in queues.history(shared_item.id)]
        assert actors == ["a robot", "bob", "é 😀", "chief"]
        assert [each.actor_id for each in queues.changes(shared_item.queue_id).transitions] == actors

    # What a label has to be

    def test_a_label_has_to_satisfy_the_schema_of_its_queue_when_it_is_completed_or_corrected(
        self, queues: AnnotationQueues
    ) -> None:
        schema: dict[str, JsonValue] = {"type": "object", "properties": {"score": {"type": "integer"}}}
        queue = queues.create("queue", created_by="ann", label_schema=schema)
        (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
        claim = take(queues, queue.id)
        queues.save_draft(claim, {"score": "not yet"})
        before = everything(queues, item)
        for way in ("claim", "reference", "batch", "directly"):
            for bad in BAD_LABELS:
                with pytest.raises(InvalidLabel, match="annotation"):
                    say(queues, claim, bad, way)
                assert everything(queues, item) == before
        queues.complete(claim, {"score": 1})
        before = everything(queues, item)
        with pytest.raises(InvalidLabel, match=r"annotation\.score"):
            queues.complete(claim, {"score": "high"})
        assert everything(queues, item) == before
        queues.update(queue.id, label_schema=None)
        queues.complete(claim, "anything")
        assert queues.progress(item.id)[0].annotation == "anything"
