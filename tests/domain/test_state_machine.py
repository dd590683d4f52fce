"""Properties of the state machine's pure functions, against tables and rules written down again."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import InvalidTransition, InvalidValue, UnavailableReason
from annotation_queue.items import Unavailable, explain_unavailable
from annotation_queue.moves import advance, grant
from annotation_queue.states import (
    ALWAYS,
    COMPLETED,
    IN_PROGRESS,
    LEASE_EXPIRED,
    REOPENABLE,
    SKIPPED,
    STANDARD,
    STRICT,
    UNSTARTED,
    AnnotationState,
    Progress,
    SkipPolicy,
    Transition,
    Workflow,
    aggregate,
    claimable_at,
    count_settling,
    fold,
    is_finished,
    unstarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annotation_queue.json_values import JsonValue

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
ANNOTATORS: Final = ("Bob", "ann", "é", "\N{GRINNING FACE}")
ALLOWED: Final = {
    STANDARD: {
        "unstarted": {"in_progress", "completed", "skipped"},
        "in_progress": {"unstarted", "in_progress", "completed", "skipped"},
        "completed": {"completed"},
        "skipped": {"skipped"},
    },
    STRICT: {
        "unstarted": {"in_progress"},
        "in_progress": {"unstarted", "in_progress", "completed", "skipped"},
        "completed": set(),
        "skipped": set(),
    },
    REOPENABLE: {
        "unstarted": {"in_progress", "completed", "skipped"},
        "in_progress": {"unstarted", "in_progress", "completed", "skipped"},
        "completed": {"completed", "in_progress"},
        "skipped": {"skipped", "in_progress"},
    },
}
WORKFLOWS: Final = tuple(ALLOWED)

workflows = st.sampled_from(WORKFLOWS)
states = st.sampled_from(AnnotationState)
policies = st.sampled_from(SkipPolicy)
needs = st.integers(1, 3)
offsets = st.integers(-3, 3)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def progress(annotator_id: str, state: AnnotationState, changed: int = 0, ends: int = 0, step: int = 0) -> Progress:
    return Progress(
        item_id="item",
        annotator_id=annotator_id,
        state=state,
        token=1,
        lease_expires_at=at(ends) if state is IN_PROGRESS else None,
        annotation=None,
        reason=None,
        created_at=START,
        updated_at=at(changed),
        step=step,
    )


@st.composite
def items(draw: st.DrawFn) -> tuple[Progress, ...]:
    """The progresses on an item, by annotator id."""
    chosen = draw(st.lists(st.sampled_from(ANNOTATORS), unique=True))
    steps = draw(st.permutations(range(1, len(chosen) + 1)))
    return tuple(
        progress(each, draw(states), draw(offsets), draw(offsets), step)
        for each, step in zip(sorted(chosen), steps, strict=True)
    )


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_every_path_of_five_steps_goes_where_the_table_says(workflow: Workflow) -> None:
    for path in itertools.product(AnnotationState, repeat=5):
        current = unstarted("item", "ann", START)
        entered = 0
        for second, state in enumerate(path, 1):
            before = current
            if state == before.state:
                assert advance(before, state, at=at(second), workflow=workflow) == (before, None)
            elif state in ALLOWED[workflow][before.state]:
                current, transition = advance(before, state, at=at(second), workflow=workflow, reason="why")
                entered += state == "in_progress" or before.state == "unstarted"
                assert (current.state, current.token, current.updated_at) == (state, entered, at(second))
                assert current.step == before.step + 1
                assert transition == Transition(
                    item_id="item",
                    annotator_id="ann",
                    from_state=before.state,
                    to_state=state,
                    at=at(second),
                    reason="why",
                    actor_id="ann",
                )
            else:
                with pytest.raises(InvalidTransition) as refused:
                    advance(before, state, at=at(second), workflow=workflow)
                assert (refused.value.from_state, refused.value.to_state) == (before.state, state)
                assert refused.value.workflow == workflow.name


@given(workflows, states, st.sampled_from((None, {"a": 1, "b": [2]})), st.sampled_from((None, "first")), st.booleans())
def test_the_same_state_again_with_nothing_new_changes_nothing(
    workflow: Workflow, state: AnnotationState, annotation: JsonValue, reason: str | None, override: bool
) -> None:
    before = attrs.evolve(progress("ann", state), annotation={"b": [2], "a": 1}, reason="first")
    if override and state is UNSTARTED:
        annotation = None
    again = advance(
        before,
        state,
        at=at(9),
        workflow=workflow,
        lease_expires_at=at(10),
        annotation=annotation,
        reason=reason,
        actor_id="boss",
        override=override,
    )
    assert again[0] is before
    assert again[1] is None


@given(st.data(), workflows)
def test_folding_a_history_gives_the_states_of_the_progresses(data: st.DataObject, workflow: Workflow) -> None:
    current: dict[str, Progress] = {}
    history: list[Transition] = []
    for annotator_id, state in data.draw(st.lists(st.tuples(st.sampled_from(ANNOTATORS), states))):
        before = current.get(annotator_id, unstarted("item", annotator_id, START))
        if state == before.state or state in ALLOWED[workflow][before.state]:
            current[annotator_id], transition = advance(before, state, at=START, workflow=workflow)
            history += [] if transition is None else [transition]
    states_now = {annotator_id: each.state for annotator_id, each in current.items()}
    replayed = fold(history)
    assert {who: replayed.get(who, UNSTARTED) for who in states_now} == states_now
    assert replayed.keys() <= states_now.keys()


def test_folding_a_history_with_a_gap_raises() -> None:
    _, released = advance(progress("ann", IN_PROGRESS), UNSTARTED, at=START)
    assert released is not None
    with pytest.raises(ValueError, match="'item' breaks at"):
        fold([released])


@given(states.filter(lambda state: state is not IN_PROGRESS))
def test_a_move_keeps_a_draft_and_its_creation_and_drops_lease_and_reason(state: AnnotationState) -> None:
    before = attrs.evolve(progress("ann", IN_PROGRESS, ends=5), annotation={"draft": 1}, reason="old")
    after, _ = advance(before, state, at=at(3), lease_expires_at=at(9))
    assert after == attrs.evolve(
        before, state=state, lease_expires_at=None, reason=None, updated_at=at(3), step=before.step + 1
    )
    labelled, _ = advance(before, state, at=at(3), annotation=False)
    assert labelled.annotation is False


def brute_aggregate(progresses: Iterable[Progress]) -> tuple[AnnotationState, str | None]:
    touched = [each for each in progresses if each.state != "unstarted"]
    if not touched:
        return UNSTARTED, None
    newest = max(each.step for each in touched)
    last = max(each.annotator_id for each in touched if each.step == newest)
    (state,) = (each.state for each in touched if each.annotator_id == last)
    return state, last


@given(st.data(), items())
def test_the_aggregate_is_the_last_change_in_whatever_order_rows_are_read(
    data: st.DataObject, progresses: tuple[Progress, ...]
) -> None:
    shuffled = data.draw(st.permutations(progresses))
    started = [each for each in shuffled if each.state is not UNSTARTED]
    assert aggregate(shuffled) == aggregate(progresses) == aggregate(started) == brute_aggregate(progresses)


def test_progresses_that_no_history_tells_apart_show_the_greater_annotator() -> None:
    assert aggregate([progress("b", SKIPPED), progress("a", COMPLETED)]) == (SKIPPED, "b")


def brute_annotations(progresses: Iterable[Progress], policy: SkipPolicy) -> int:
    counting = {"final": ["completed", "skipped"], "requeue": ["completed"]}[policy.value]
    return len([each for each in progresses if each.state.value in counting])


@given(items(), needs, policies)
def test_an_item_is_finished_by_as_many_annotations_as_it_needs(
    progresses: tuple[Progress, ...], needed: int, policy: SkipPolicy
) -> None:
    completed, skipped = count_settling(progresses)
    assert is_finished(completed, skipped, needed, policy) is (brute_annotations(progresses, policy) >= needed)


def brute_claimable(
    progresses: tuple[Progress, ...], annotator_id: str, needed: int, policy: SkipPolicy, now: datetime
) -> bool:
    counted = brute_annotations(progresses, policy)
    live = [each for each in progresses if each.lease_expires_at is not None and now < each.lease_expires_at]
    own = [each for each in progresses if each.annotator_id == annotator_id]
    return (
        counted < needed
        and counted + len(live) < needed
        and not any(each in live or each.state.value in {"completed", "skipped"} for each in own)
    )


@given(items(), st.sampled_from((*ANNOTATORS, "nobody")), needs, policies)
def test_an_item_is_claimable_exactly_from_the_time_that_is_given(
    progresses: tuple[Progress, ...], annotator_id: str, needed: int, policy: SkipPolicy
) -> None:
    since = claimable_at(progresses, annotator_id, needed, policy)
    instants = [at(second) + timedelta(microseconds=micro) for second in range(-4, 5) for micro in (-1, 0, 1)]
    for instant in (ALWAYS, *instants):
        told = since is not None and since <= instant
        assert told is brute_claimable(progresses, annotator_id, needed, policy, instant)


@given(items(), needs, policies)
def test_nobody_in_particular_may_claim_what_a_new_annotator_may(
    progresses: tuple[Progress, ...], needed: int, policy: SkipPolicy
) -> None:
    somebody_new = claimable_at(progresses, "nobody", needed, policy)
    assert claimable_at(progresses, None, needed, policy) == somebody_new


@given(items(), st.sampled_from(ANNOTATORS))
def test_a_grant_releases_every_expired_hold_in_order_and_leaves_live_ones_alone(
    progresses: tuple[Progress, ...], annotator_id: str
) -> None:
    now, ends = at(0), at(60)
    progresses = tuple(
        each
        for each in progresses
        if each.annotator_id != annotator_id or each.state is UNSTARTED or (each.lease_expires_at or ends) <= now
    )
    own = next((each for each in progresses if each.annotator_id == annotator_id), None)
    expired = [each for each in progresses if each.state is IN_PROGRESS and each.lease_expires_at <= now]  # type: ignore[operator]  # in progress there is a lease

    changed, transitions = grant(progresses, "item", annotator_id, at=now, expires_at=ends, steps=7)

    moves = [(each.annotator_id, each.from_state, each.to_state, each.reason) for each in transitions]
    assert moves == [
        *((each.annotator_id, IN_PROGRESS, UNSTARTED, LEASE_EXPIRED) for each in expired),
        (annotator_id, UNSTARTED, IN_PROGRESS, None),
    ]
    assert {each.at for each in transitions} == {now}
    assert [each.actor_id for each in transitions] == [*(None for _ in expired), annotator_id]
    *released, holder = changed
    assert holder.step == 7 + len(transitions)
    assert {each.step for each in released} <= set(range(8, holder.step))
    assert holder.started_at == now
    assert [each.annotator_id for each in released] == [
        each.annotator_id for each in expired if each.annotator_id != annotator_id
    ]
    assert {(each.state, each.lease_expires_at, each.token) for each in released} <= {(UNSTARTED, None, 1)}
    assert (holder.annotator_id, holder.state, holder.lease_expires_at) == (annotator_id, IN_PROGRESS, ends)
    assert holder.token == (0 if own is None else own.token) + 1


@pytest.mark.parametrize(
    ("live", "unfinished", "retry_at", "expected"),
    [
        (0, 0, None, Unavailable(reason=UnavailableReason.EMPTY)),
        (2, 0, None, Unavailable(reason=UnavailableReason.FINISHED)),
        (2, 1, None, Unavailable(reason=UnavailableReason.SEEN)),
        (2, 1, START, Unavailable(reason=UnavailableReason.LEASED, retry_at=START)),
    ],
)
def test_an_unavailable_queue_says_why_and_is_falsy(
    live: int, unfinished: int, retry_at: datetime | None, expected: Unavailable
) -> None:
    told = explain_unavailable(live=live, unfinished=unfinished, retry_at=retry_at)
    assert told == expected
    assert not told


def test_a_backend_may_bring_its_own_table() -> None:
    review = Workflow("review", {("unstarted", "completed"), ("completed", "skipped")})
    completed, _ = advance(unstarted("item", "ann", START), COMPLETED, at=START, workflow=review)
    skipped, _ = advance(completed, SKIPPED, at=START, workflow=review)
    assert skipped.state is SKIPPED
    with pytest.raises(InvalidTransition, match="the review workflow has no move from unstarted to in_progress"):
        advance(unstarted("item", "ann", START), IN_PROGRESS, at=START, workflow=review)


def test_a_table_with_an_unknown_state_is_refused() -> None:
    with pytest.raises(InvalidValue, match="moves"):
        Workflow("wrong", {("unstarted", "done")})
