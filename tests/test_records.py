"""What changes of an item do to what is counted."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import AnnotationState, Progress, SkipPolicy
from annotation_queue.items import AnnotationQueue
from annotation_queue.records import ItemRecord, change_of, count_change, merge, standing, tally
from annotation_queue.states import IN_PROGRESS
from annotation_queue.values import from_micros, to_micros

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
ANNOTATORS: Final = ("ann", "bob", "cy")
# What each annotator did, None for nothing.
worlds = st.dictionaries(st.sampled_from(ANNOTATORS), st.sampled_from(AnnotationState))


def queue(needed: int, policy: SkipPolicy) -> AnnotationQueue:
    return AnnotationQueue(
        id="queue",
        project_id="project",
        name="Queue",
        annotations_per_item=needed,
        skip_policy=policy,
        lease=timedelta(minutes=5),
        created_at=START,
        created_by="ann",
        updated_at=START,
    )


def progresses(states: dict[str, AnnotationState]) -> tuple[Progress, ...]:
    return tuple(
        Progress(
            item_id="item",
            annotator_id=annotator_id,
            state=state,
            token=1,
            lease_expires_at=START if state is IN_PROGRESS else None,
            annotation=None,
            reason=None,
            created_at=START,
            updated_at=START,
        )
        for annotator_id, state in sorted(states.items())
    )


@given(worlds, worlds, st.integers(1, 3), st.sampled_from(SkipPolicy))
def test_a_change_moves_the_counters_by_what_it_adds_to_the_tally(
    before: dict[str, AnnotationState], changed: dict[str, AnnotationState], needed: int, policy: SkipPolicy
) -> None:
    owner = queue(needed, policy)
    record = ItemRecord("item", owner, START, progresses(before), None)
    change = change_of(record, progresses(changed), ())

    after = merge(record.progresses, change.progresses)
    expected = Counter(tally(standing(after, owner), after))
    expected.subtract(tally(standing(record.progresses, owner), record.progresses))

    assert count_change(record, change) == {key: n for key, n in expected.items() if n}


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_the_way_through_microseconds(moment: datetime) -> None:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)

    assert to_micros(moment) == (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    assert from_micros(to_micros(moment)) == moment
    assert from_micros(to_micros(moment)).tzinfo is UTC
