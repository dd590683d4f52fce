"""What follows for an item and for what is counted from the progresses on it, beside the rules in plain words."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import AnnotationQueue, AnnotationState, ItemFilter, NewItem, Progress, SkipPolicy, Transition
from annotation_queue.counters import changes, counts_of, live_and_unfinished
from annotation_queue.errors import InvalidQuery
from annotation_queue.items import admit
from annotation_queue.moves import grant
from annotation_queue.records import NEW, Change, ItemRecord, Standing, change_of, merge, one_finishes, standing
from annotation_queue.states import ALWAYS, UNSTARTED
from annotation_queue.values import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable

_, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState
START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(minutes=5)
ANNOTATORS = ("ann", "bob", "cy")


def queue(needed: int = 1, policy: SkipPolicy = SkipPolicy.FINAL) -> AnnotationQueue:
    return AnnotationQueue(
        id="queue",
        project_id="project",
        name="queue",
        annotations_per_item=needed,
        skip_policy=policy,
        created_at=START,
        created_by="ann",
        updated_at=START,
    )


def progress(annotator_id: str, state: AnnotationState) -> Progress:
    return Progress(
        item_id="item",
        annotator_id=annotator_id,
        state=state,
        token=1,
        lease_expires_at=LATER if state is IN_PROGRESS else None,
        annotation=None,
        reason=None,
        created_at=START,
        updated_at=START,
    )


def record(of: AnnotationQueue, progresses: Iterable[Progress]) -> ItemRecord:
    return ItemRecord(item_id="item", queue=of, updated_at=START, progresses=tuple(progresses), revision=0)


def moved(of: AnnotationQueue, before: dict[str, AnnotationState], after: dict[str, AnnotationState]) -> Change:
    """The change by which annotators come to other states."""
    transitions = [
        Transition(item_id="item", annotator_id=who, from_state=before.get(who, UNSTARTED), to_state=state, at=START)
        for who, state in after.items()
    ]
    return change_of(
        record(of, itertools.starmap(progress, sorted(before.items()))),
        tuple(itertools.starmap(progress, after.items())),
        tuple(transitions),
    )


states_of_all = st.dictionaries(st.sampled_from(ANNOTATORS), st.sampled_from(AnnotationState))


@pytest.mark.parametrize(("completed", "skipped"), list(itertools.product(range(4), repeat=2)))
def test_an_item_is_settled_by_anybody_who_completed_or_skipped_it(completed: int, skipped: int) -> None:
    told = Standing(UNSTARTED, None, completed, skipped, finished=False, claimable_at=ALWAYS)
    assert told.settled is (completed > 0 or skipped > 0)


def test_an_item_that_nobody_touched_stands_where_one_does_that_everybody_released() -> None:
    released = standing([progress("ann", UNSTARTED)], queue(needed=3))
    assert standing([], queue(needed=3)) == released == NEW
    assert (NEW.settled, NEW.finished) == (False, False)


def test_items_that_one_annotator_holds_wait_for_the_end_of_a_lease_of_their_own() -> None:
    for policies, free_at in ((queue(1), None), (queue(2), ALWAYS)):
        for seconds in (1, 2, 1):
            end = START + timedelta(seconds=seconds)
            held = attrs.evolve(progress("ann", IN_PROGRESS), lease_expires_at=end)
            told = Standing(IN_PROGRESS, "ann", 0, 0, finished=False, claimable_at=free_at or end)
            assert standing([held], policies) == told


@pytest.mark.parametrize(
    ("needed", "before", "after", "opens"),
    [
        (1, {"bob": IN_PROGRESS}, {"bob": UNSTARTED}, True),
        (1, {"bob": IN_PROGRESS}, {"bob": COMPLETED}, False),
        (1, {"bob": IN_PROGRESS}, {"bob": SKIPPED}, False),
        (1, {"bob": IN_PROGRESS}, {"bob": UNSTARTED, "ann": IN_PROGRESS}, False),
        (1, {}, {"bob": IN_PROGRESS}, False),
        (1, {}, {"bob": COMPLETED}, False),
        (3, {}, {"bob": IN_PROGRESS}, False),
        (3, {"bob": IN_PROGRESS}, {"bob": COMPLETED}, False),
        (3, {"ann": IN_PROGRESS, "bob": IN_PROGRESS}, {"cy": COMPLETED}, False),
        (2, {"ann": IN_PROGRESS, "bob": IN_PROGRESS}, {"bob": UNSTARTED}, True),
        (1, {"ann": IN_PROGRESS, "bob": IN_PROGRESS}, {"bob": UNSTARTED}, False),
        # What was finished is not any more, once a lease ends.
        (1, {"ann": IN_PROGRESS, "bob": COMPLETED}, {"bob": UNSTARTED}, True),
        (1, {"bob": COMPLETED}, {"bob": SKIPPED}, False),
        # Whoever was done with it may be served it again.
        (1, {"bob": COMPLETED}, {"bob": IN_PROGRESS}, True),
        (1, {"bob": COMPLETED}, {"bob": UNSTARTED}, True),
        (3, {"bob": SKIPPED}, {"bob": IN_PROGRESS}, True),
        (1, {"ann": COMPLETED, "bob": IN_PROGRESS}, {"bob": UNSTARTED}, False),
    ],
)
def test_a_change_opens_an_item_where_somebody_may_claim_it_who_could_not(
    needed: int, before: dict[str, AnnotationState], after: dict[str, AnnotationState], *, opens: bool
) -> None:
    change = moved(queue(needed), before, after)
    assert change.opens is opens
    # It is the times that are compared, however they came here.
    copied = attrs.evolve(change, before=_copy(change.before), standing=_copy(change.standing))
    assert copied.opens is opens


def _copy(value: Any) -> Any:  # noqa: ANN401 - anything
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


@pytest.mark.parametrize("others", [{}, {"ann": IN_PROGRESS}])
def test_a_skip_that_does_not_count_opens_what_a_completion_had_finished(others: dict[str, AnnotationState]) -> None:
    of = queue(1, SkipPolicy.REQUEUE)
    assert moved(of, {**others, "bob": COMPLETED}, {"bob": SKIPPED}).opens
    assert not moved(of, {**others, "bob": SKIPPED}, {"bob": COMPLETED}).opens


def test_an_item_never_goes_back_in_time_where_a_clock_does() -> None:
    early = Transition(
        item_id="item", annotator_id="ann", from_state=UNSTARTED, to_state=SKIPPED, at=START - timedelta(days=1)
    )
    assert change_of(record(queue(), []), (progress("ann", SKIPPED),), (early,)).updated_at == START


def test_a_change_without_a_transition_opens_nothing() -> None:
    held = progress("bob", IN_PROGRESS)
    before = record(queue(), [held])
    prolonged = attrs.evolve(held, lease_expires_at=LATER + timedelta(minutes=1))
    change = change_of(before, (prolonged,), ())
    assert not change.opens
    assert change.updated_at == before.updated_at


def test_an_item_was_updated_by_the_last_of_its_transitions() -> None:
    first, second = (
        Transition(item_id="item", annotator_id=who, from_state=UNSTARTED, to_state=SKIPPED, at=at)
        for who, at in (("ann", START + timedelta(seconds=1)), ("bob", START + timedelta(seconds=2)))
    )
    after = (progress("ann", SKIPPED), progress("bob", SKIPPED))
    assert change_of(record(queue(), []), after, (first, second)).updated_at == second.at


@given(states_of_all, states_of_all)
def test_progresses_are_merged_by_annotator_whoever_is_new(
    before: dict[str, AnnotationState], changed: dict[str, AnnotationState]
) -> None:
    stored = tuple(itertools.starmap(progress, sorted(before.items())))
    for order in itertools.permutations(itertools.starmap(progress, changed.items())):
        merged = merge(stored, order)
        assert isinstance(merged, tuple)
        assert [(each.annotator_id, each.state) for each in merged] == sorted({**before, **changed}.items())


@given(states_of_all, st.integers(1, 3), st.sampled_from(SkipPolicy))
def test_an_item_counts_once_for_itself_and_once_for_everybody_who_touched_it(
    states: dict[str, AnnotationState], needed: int, policy: SkipPolicy
) -> None:
    of = queue(needed, policy)
    progresses = tuple(itertools.starmap(progress, sorted(states.items())))
    told = standing(progresses, of)
    done = [state for state in states.values() if state is COMPLETED or (state is SKIPPED and policy == "final")]
    expected: set[tuple[str | None, str]] = {(None, told.state)}
    expected |= {(who, state) for who, state in states.items() if state is not UNSTARTED}
    expected |= {(None, "settled")} if {COMPLETED, SKIPPED} & set(states.values()) else set()
    expected |= {(None, "finished")} if len(done) >= needed else set()
    assert counts_of(told, progresses) == dict.fromkeys(expected, 1)


@pytest.mark.parametrize("who", ["ann", "bob", "cy", "dee"])
def test_a_grant_finds_the_annotators_own_progress_by_what_their_id_says(who: str) -> None:
    stored = tuple(progress(each, UNSTARTED) for each in ("ann", "bob", "cy"))
    changed, transitions = grant(stored, "item", _copy(who), at=START, expires_at=LATER, steps=0)
    assert [(each.annotator_id, each.token, each.state) for each in changed] == [
        (who, 1 if who == "dee" else 2, IN_PROGRESS)
    ]
    assert [each.annotator_id for each in transitions] == [who]


@pytest.mark.parametrize("name", ["id", "call_id", "call_op_name", "call_trace_id", "added_by"])
def test_a_filter_shows_what_is_equal_and_neither_what_is_less_nor_what_is_more(name: str) -> None:
    new = NewItem(call_id="mmm", call_op_name="mmm", call_trace_id="mmm")
    item = admit(new, item_id="mmm", queue=queue(), added_by="mmm", at=START)
    shown = {
        text: ItemFilter(**dict[str, Any]({name: text})).matches(item, finished=False)
        for text in ("mm", "aaa", "mm" + "m"[:], "mmmm", "zzz")
    }
    assert shown == {"mm": False, "aaa": False, "mmm": True, "mmmm": False, "zzz": False}
    assert ItemFilter(**dict[str, Any]({name: _copy("mmm")})).matches(item, finished=False)
    assert ItemFilter(**dict[str, Any]({name: "mmm"}), annotation_states={UNSTARTED}).matches(item, finished=False)
    assert not ItemFilter(**dict[str, Any]({name: "mmm"}), annotation_states={COMPLETED}).matches(item, finished=False)
    assert not ItemFilter(annotation_states=()).matches(item, finished=False)


def test_a_filter_takes_one_value_or_several_and_what_is_finished_or_changed_in_time() -> None:
    item = admit(NewItem(call_id="mmm"), item_id="mmm", queue=queue(), added_by="mmm", at=START)
    later = START + timedelta(microseconds=1)
    met = (
        ItemFilter(call_id=["mmm", "x"]),
        ItemFilter(call_id={"mmm"}, added_by="mmm"),
        ItemFilter(finished=False),
        ItemFilter(updated_from=START, updated_until=later),
    )
    missed = (
        ItemFilter(call_id=()),
        ItemFilter(call_id={"x"}),
        ItemFilter(finished=True),
        ItemFilter(updated_from=later),
        ItemFilter(updated_until=START),
    )
    assert [each.matches(item, finished=False) for each in (*met, *missed)] == [True] * len(met) + [False] * len(missed)
    assert [each.shows_none for each in missed] == [True, False, False, False, False]
    assert ItemFilter().shows_all
    assert not any(each.shows_all for each in met)


@pytest.mark.parametrize(
    "wanted",
    [
        {"call_id": 1},
        {"call_id": [1]},
        {"id": b"x"},
        {"added_by": ["\0"]},
        {"finished": 1},
        {"updated_from": "today"},
        {"updated_until": START.replace(tzinfo=None)},
    ],
)
def test_what_is_no_condition_is_refused_with_its_field(wanted: dict[str, Any]) -> None:
    with pytest.raises(InvalidQuery) as caught:
        ItemFilter(**wanted)
    assert caught.value.field.startswith(next(iter(wanted)))


@given(states_of_all, states_of_all, st.integers(1, 3), st.sampled_from(SkipPolicy))
def test_a_change_moves_the_counters_by_what_it_adds_to_the_tally(
    before: dict[str, AnnotationState], changed: dict[str, AnnotationState], needed: int, policy: SkipPolicy
) -> None:
    of = queue(needed, policy)
    stored = record(of, itertools.starmap(progress, sorted(before.items())))
    change = change_of(stored, tuple(itertools.starmap(progress, sorted(changed.items()))), ())

    after = merge(stored.progresses, change.progresses)
    expected = Counter(counts_of(standing(after, of), after))
    expected.subtract(counts_of(standing(stored.progresses, of), stored.progresses))

    assert changes(stored, change) == {key: n for key, n in expected.items() if n}


@given(st.integers(1, 3), st.sampled_from(SkipPolicy))
def test_one_annotator_finishes_an_item_where_either_way_to_settle_it_does(needed: int, policy: SkipPolicy) -> None:
    of = queue(needed, policy)
    ways = [standing([progress("ann", state)], of).finished for state in (COMPLETED, SKIPPED)]
    assert one_finishes(of) is all(ways)


@given(st.dictionaries(st.integers(0, 40).map(str), states_of_all), st.integers(1, 3), st.sampled_from(SkipPolicy))
def test_the_counters_tell_how_many_items_live_and_are_unfinished(
    items: dict[str, dict[str, AnnotationState]], needed: int, policy: SkipPolicy
) -> None:
    of = queue(needed, policy)
    stored = [tuple(itertools.starmap(progress, sorted(states.items()))) for states in items.values()]
    counts = Counter(key for each in stored for key in counts_of(standing(each, of), each))
    unfinished = [each for each in stored if not standing(each, of).finished]
    assert live_and_unfinished(counts) == (len(stored), len(unfinished))


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_the_way_through_microseconds(moment: datetime) -> None:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)

    assert to_micros(moment) == (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    assert from_micros(to_micros(moment)) == moment
    assert from_micros(to_micros(moment)).tzinfo is UTC
