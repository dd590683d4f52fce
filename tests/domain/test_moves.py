"""Moves under every workflow: what a step changes, and what a history tells of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import REOPENABLE, STANDARD, STRICT, AnnotationState, InvalidTransition, InvalidValue, Workflow
from annotation_queue.json_values import same_json
from annotation_queue.moves import Reset, advance, reset
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, UNSTARTED, aggregate, fold, fold_labels, unstarted
from annotation_queue.testing.strategies import json_values

if TYPE_CHECKING:
    from annotation_queue import Progress, Transition

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
MOVES: Final = [(before, after) for before in AnnotationState for after in AnnotationState]

states = st.sampled_from(AnnotationState)
workflows = st.sampled_from((STANDARD, STRICT, REOPENABLE)) | st.sets(st.sampled_from(MOVES)).map(
    lambda moves: Workflow("random", moves)
)
labels = st.sampled_from((None, 1, True, 1.0, {"a": 1, "b": 2}, {"b": 2, "a": 1})) | json_values()
reasons = st.sampled_from((None, "why", "because"))
clocks = st.integers(-5, 5).map(lambda seconds: START + timedelta(seconds=seconds))


@given(workflows, st.lists(st.tuples(st.sampled_from(("ann", "bob")), states, labels, reasons, st.booleans(), clocks)))
def test_every_sequence_of_moves_is_told_by_its_history(
    workflow: Workflow,
    wishes: list[tuple[str, AnnotationState, object, str | None, bool, datetime]],
) -> None:
    progresses: dict[str, Progress] = {}
    history: list[Transition] = []
    ever: list[object] = []
    for who, to_state, annotation, reason, override, at in wishes:
        before = progresses.get(who) or unstarted("item", who, at)
        label = annotation if to_state is not UNSTARTED else None
        try:
            after, transition = advance(
                before,
                to_state,
                at=at,
                workflow=workflow,
                annotation=label,  # type: ignore[arg-type]  # it is JSON
                reason=reason,
                actor_id="boss",
                override=override,
                step=len(history) + 1,
            )
        except InvalidTransition:
            assert not override
            assert (before.state, to_state) not in workflow.moves
            continue
        if after is before:
            assert transition is None
            assert before.state is to_state
            continue
        assert override or (before.state, to_state) in workflow.moves
        assert after.state is to_state
        assert label is None or same_json(after.annotation, label)
        progresses[who] = after
        if transition is None:
            # A draft moves nothing but itself.
            assert after == attrs.evolve(before, annotation=after.annotation, reason=after.reason)
            assert to_state is IN_PROGRESS
            continue
        history.append(transition)
        assert after.step == len(history)
        assert after.token - before.token in {0, 1}
        if to_state is IN_PROGRESS or (to_state in {COMPLETED, SKIPPED} and (override or before.state is UNSTARTED)):
            assert after.token == before.token + 1
        if to_state is COMPLETED:
            ever.append(after.annotation)
        again = advance(after, to_state, at=at, workflow=workflow, annotation=label, reason=reason, override=override)  # type: ignore[arg-type]
        assert again == (after, None)
    assert fold(history) == {who: each.state for who, each in progresses.items()}
    told = fold_labels(history)
    assert told.keys() == {who for who, each in progresses.items() if each.state is COMPLETED}
    assert all(same_json(label, progresses[who].annotation) for who, label in told.items())
    stored = [each.annotation for each in history if each.to_state is COMPLETED]
    assert len(stored) == len(ever)
    assert all(map(same_json, stored, ever))
    last = next((each for each in reversed(history) if progresses[each.annotator_id].state is not UNSTARTED), None)
    if last is not None and progresses[last.annotator_id].step == 1 + max(
        index for index, each in enumerate(history) if each is last
    ):
        assert aggregate(progresses.values()) == (last.to_state, last.annotator_id)


@pytest.mark.parametrize("reason", [None, "why"])
def test_an_override_to_unstarted_of_what_is_unstarted_changes_nothing_so_that_it_may_be_repeated(
    reason: str | None,
) -> None:
    started, _ = advance(unstarted("item", "ann", START), IN_PROGRESS, at=START)
    first, transition = advance(started, UNSTARTED, at=START, reason=reason, actor_id="boss", override=True)
    assert transition is not None
    assert transition.reason == reason
    assert (first.annotation, first.reason) == (None, None)
    assert advance(first, UNSTARTED, at=START, reason=reason, actor_id="boss", override=True) == (first, None)


def test_an_override_to_unstarted_takes_no_label() -> None:
    with pytest.raises(InvalidValue, match="clears the label"):
        advance(unstarted("item", "ann", START), UNSTARTED, at=START, annotation=0, actor_id="boss", override=True)


@given(st.lists(states, max_size=4), st.none() | st.sampled_from(("a", "b", "c")))
def test_a_reset_puts_back_what_is_not_unstarted_and_counts_the_steps(
    stand: list[AnnotationState], annotator_id: str | None
) -> None:
    progresses = tuple(
        advance(unstarted("item", who, START), state, at=START, annotation="label", actor_id="x", override=True)[0]
        if state is not UNSTARTED
        else unstarted("item", who, START)
        for who, state in zip("abcd", stand, strict=False)
    )
    wanted = Reset(annotator_id=annotator_id, at=START, actor_id="boss", reason="redo")
    changed, transitions = reset(progresses, wanted, steps=10)
    expected = [
        each.annotator_id
        for each in progresses
        if each.state is not UNSTARTED and annotator_id in {None, each.annotator_id}
    ]
    assert [each.annotator_id for each in changed] == expected == [each.annotator_id for each in transitions]
    assert [each.step for each in changed] == list(range(11, 11 + len(expected)))
    assert {(each.state, each.annotation, each.lease_expires_at) for each in changed} <= {(UNSTARTED, None, None)}
    assert {(each.reason, each.actor_id, each.annotation) for each in transitions} <= {("redo", "boss", None)}


@pytest.mark.parametrize("to_state", [COMPLETED, SKIPPED])
def test_a_revision_keeps_what_is_not_said_again(to_state: AnnotationState) -> None:
    done, _ = advance(unstarted("item", "ann", START), to_state, at=START, annotation="label", reason="why")
    relabelled, first = advance(done, to_state, at=START, annotation="other")
    assert (relabelled.annotation, relabelled.reason, relabelled.token) == ("other", "why", done.token)
    assert first is not None
    assert (first.from_state, first.to_state, first.reason) == (to_state, to_state, "why")
    explained, second = advance(relabelled, to_state, at=START, reason="because")
    assert (explained.annotation, explained.reason) == ("other", "because")
    assert second is not None
    assert second.annotation == ("other" if to_state is COMPLETED else None)
