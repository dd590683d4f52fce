"""The check of histories: it finds nothing in what is whole, and each damage that is planted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, MemoryRepository, NewItem
from annotation_queue.repositories.history_check import history_problems
from annotation_queue.states import UNREAD, with_annotation
from annotation_queue.testing.clock import Clock

if TYPE_CHECKING:
    from annotation_queue import Progress, QueueItem, Transition

LATER: Final = datetime(2030, 1, 1, tzinfo=UTC)
COMPLETED, SKIPPED = AnnotationState.COMPLETED, AnnotationState.SKIPPED


def whole() -> tuple[QueueItem, tuple[Transition, ...], dict[str, Progress]]:
    """An item that Ann completed, Bob skipped, Cy holds and Dee gave back, with an override and a revision on it."""
    clock = Clock()
    queues = AnnotationQueues(MemoryRepository(), "project", clock=clock)
    queue = queues.create("queue", created_by="ann", annotations_per_item=4)
    (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    for who in ("ann", "bob", "cy", "dee"):
        clock.move(1)
        claim = queues.claim(queue.id, who)
        assert isinstance(claim, Claim)
        if who == "ann":
            queues.complete(claim, {"label": 1})
            queues.complete(claim, {"label": 2})
        elif who == "bob":
            queues.skip(claim, "why")
        elif who == "dee":
            queues.release(claim)
    queues.update_progress(item.id, "ann", COMPLETED, annotation={"label": 3}, actor_id="boss", override=True)
    clock.move(-100)
    queues.update_progress(item.id, "eve", SKIPPED, reason="late")
    progresses = {each.annotator_id: each for each in queues.progress(item.id)}
    return queues.get_item(item.id), queues.history(item.id), progresses


def problems(item: QueueItem, history: tuple[Transition, ...], progresses: dict[str, Progress]) -> list[str]:
    return list(
        history_problems(item.id, history, progresses.values(), created_at=item.created_at, updated_at=item.updated_at)
    )


def test_what_is_whole_has_no_problems_whether_labels_were_read_or_not() -> None:
    item, history, progresses = whole()
    assert problems(item, history, progresses) == []
    unread = {who: with_annotation(each, UNREAD) for who, each in progresses.items()}
    assert problems(item, history, unread) == []


@pytest.mark.parametrize(
    ("who", "change", "told"),
    [
        ("ann", {"state": SKIPPED}, "the state of 'ann'"),
        ("ann", {"annotation": {"label": 2}}, "the label of 'ann'"),
        ("ann", {"annotation": {"label": 3.0}}, "the label of 'ann'"),
        ("ann", {"annotation": None}, "the label of 'ann'"),
        ("ann", {"token": 0}, "the token of 'ann'"),
        ("ann", {"token": 9}, "the token of 'ann'"),
        ("ann", {"step": 1}, "the step of 'ann'"),
        ("ann", {"updated_at": LATER}, "the updated_at of 'ann'"),
        ("ann", {"created_at": LATER}, "the created_at of 'ann'"),
        ("ann", {"started_at": None}, "the started_at of 'ann'"),
        ("ann", {"lease_expires_at": LATER}, "the lease of 'ann'"),
        ("bob", {"reason": None}, "the reason of 'bob'"),
        ("bob", {"reason": "other"}, "the reason of 'bob'"),
        ("bob", {"state": AnnotationState.UNSTARTED}, "the state of 'bob'"),
        ("cy", {"lease_expires_at": None}, "the lease of 'cy'"),
        ("cy", {"token": 2}, "the token of 'cy'"),
        ("dee", {"state": COMPLETED}, "the state of 'dee'"),
        ("dee", {"started_at": LATER}, "the started_at of 'dee'"),
        ("eve", {"started_at": LATER}, "the started_at of 'eve'"),
        ("eve", {"token": 0}, "the token of 'eve'"),
    ],
)
def test_a_progress_that_differs_from_its_history_is_told(who: str, change: dict[str, Any], told: str) -> None:
    item, history, progresses = whole()
    found = problems(item, history, progresses | {who: attrs.evolve(progresses[who], **change)})
    assert any(told in each for each in found), found


@pytest.mark.parametrize("who", ["ann", "bob", "cy", "dee", "eve"])
def test_a_progress_that_is_missing_and_one_too_many_are_told(who: str) -> None:
    item, history, progresses = whole()
    without = {each: progresses[each] for each in progresses if each != who}
    assert f"the progress of '{who}' on item '{item.id}' is missing from the progresses" in problems(
        item, history, without
    )
    stranger = progresses | {"zoe": attrs.evolve(progresses[who], annotator_id="zoe")}
    assert f"the progress of 'zoe' on item '{item.id}' is missing from the history" in problems(item, history, stranger)


@pytest.mark.parametrize("at", range(10))
def test_a_transition_that_is_missing_from_a_history_is_told(at: int) -> None:
    item, history, progresses = whole()
    assert len(history) == 10
    assert problems(item, history[:at] + history[at + 1 :], progresses) != []


def test_transitions_that_were_exchanged_or_relabelled_are_told() -> None:
    item, history, progresses = whole()
    steps = {each.step - 1 for each in progresses.values()}
    for first in range(len(history) - 1):
        # Steps of two annotators of which neither was the last of theirs might as well have come the other way round.
        if not steps & {first, first + 1} and history[first].annotator_id != history[first + 1].annotator_id:
            continue
        exchanged = (*history[:first], history[first + 1], history[first], *history[first + 2 :])
        assert problems(item, exchanged, progresses) != []
    last = max(index for index, each in enumerate(history) if each.annotator_id == "ann")
    relabelled = (*history[:last], attrs.evolve(history[last], annotation="other"), *history[last + 1 :])
    assert problems(item, relabelled, progresses) == [
        f"the label of 'ann' on item '{item.id}' is not the one that its history tells"
    ]


@pytest.mark.parametrize(("seconds", "told"), [(-1, 1), (0, 0), (1, 0)])
def test_an_item_that_was_updated_before_it_last_changed_is_told(seconds: int, told: int) -> None:
    item, history, progresses = whole()
    moved = attrs.evolve(item, updated_at=item.updated_at + timedelta(seconds=seconds))
    assert len(problems(moved, history, progresses)) == told
