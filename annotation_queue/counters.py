"""What a queue's items add up to: counters, and the statistics made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from annotation_queue.items import QueueStats
from annotation_queue.records import Change, ItemRecord, Standing
from annotation_queue.states import (
    UNSTARTED,
    AnnotationState,
    Progress,
)

SETTLED: Final = "settled"
FINISHED: Final = "finished"


def counts_of(of: Standing, progresses: Iterable[Progress]) -> dict[tuple[str | None, str], int]:
    """Say what one live item adds to its queue's counters.

    Args:
        of: The item's standing.
        progresses: Every progress on it.

    Returns:
        (None, aggregate state), (None, `SETTLED`), (None, `FINISHED`) and (annotator id, state) -> 1, where it holds.
    """
    counts: dict[tuple[str | None, str], int] = {(None, of.state): 1}
    if of.settled:
        counts[None, SETTLED] = 1
    if of.finished:
        counts[None, FINISHED] = 1
    for progress in progresses:
        if progress.state is not UNSTARTED:
            counts[progress.annotator_id, progress.state] = 1
    return counts


def changes(record: ItemRecord, change: Change) -> dict[tuple[str | None, str], int]:
    """Say by how much a change moves the queue's counters.

    Args:
        record: The item before it.
        change: The change.

    Returns:
        The differences of `counts_of`, without zeros.
    """
    before, after = change.before, change.standing
    counts: dict[tuple[str | None, str], int] = {}
    if before.state is not after.state:
        counts[None, before.state], counts[None, after.state] = -1, 1
    settled, finished = after.settled - before.settled, after.finished - before.finished
    if settled:
        counts[None, SETTLED] = settled
    if finished:
        counts[None, FINISHED] = finished
    states = {progress.annotator_id: progress.state for progress in record.progresses}
    for progress in change.progresses:
        was, now = states.get(progress.annotator_id, UNSTARTED), progress.state
        if was is not now:
            if was is not UNSTARTED:
                counts[progress.annotator_id, was] = -1
            if now is not UNSTARTED:
                counts[progress.annotator_id, now] = 1
    return counts


def live_and_unfinished(counts: Mapping[tuple[str | None, str], int]) -> tuple[int, int]:
    """Say how many live items a queue has, and how many of them are not finished.

    Args:
        counts: The sums of `counts_of` over its live items.

    Returns:
        Both numbers.
    """
    live = sum(counts.get((None, state), 0) for state in AnnotationState)
    return live, live - counts.get((None, FINISHED), 0)


def stats_of(queue_id: str, counts: Mapping[tuple[str | None, str], int]) -> QueueStats:
    """Make a queue's statistics from its counters.

    Args:
        queue_id: The queue.
        counts: The sums of `counts_of` over its live items.

    Returns:
        The statistics; annotators by id, states in their order.
    """
    by_annotator: dict[str, dict[AnnotationState, int]] = {}
    for annotator_id in sorted({annotator_id for annotator_id, _ in counts if annotator_id is not None}):
        states = {state: counts.get((annotator_id, state), 0) for state in AnnotationState}
        shown = {state: n for state, n in states.items() if n}
        if shown:
            by_annotator[annotator_id] = shown
    by_state = {state: counts.get((None, state), 0) for state in AnnotationState}
    return QueueStats(
        queue_id=queue_id,
        total_items=sum(by_state.values()),
        by_state=by_state,
        settled_items=counts.get((None, SETTLED), 0),
        finished_items=counts.get((None, FINISHED), 0),
        by_annotator=by_annotator,
    )
