"""The log of a queue, read on and on: pages of changes, and the pace that they tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from statistics import median
from typing import Final

import attrs

from annotation_queue.cursors import decode_place, encode_cursor
from annotation_queue.entities import Entity
from annotation_queue.items import AnnotationQueue
from annotation_queue.states import COMPLETED, SETTLING, Transition
from annotation_queue.tables import html_table

_HOUR: Final = timedelta(hours=1)


@attrs.frozen(kw_only=True)
class ChangePage(Entity):
    """A page of a queue's log.

    Args:
        transitions: In the order in which they were stored; those of one item in their order.
        cursor: Where the next page begins, to be handed in as ``after``. It is always there.
    """

    transitions: tuple[Transition, ...]
    cursor: str


def change_cursor(queue: AnnotationQueue, place: Sequence[int]) -> str:
    """Make the cursor that stands behind a place in a queue's log.

    Args:
        queue: The queue.
        place: The place as the storage counts it: integers.

    Returns:
        The cursor.
    """
    return encode_cursor(list(place), ("changes", queue.project_id, queue.id))


def place_of_cursor(queue: AnnotationQueue, cursor: str) -> tuple[int, ...]:
    """Read what `change_cursor` made.

    Raises:
        InvalidCursor: It is no cursor of this queue's log.
    """
    return decode_place(cursor, ("changes", queue.project_id, queue.id), name="after")


@attrs.frozen
class Settlement:
    """A step from another state to completed or skipped.

    Args:
        transition: The step.
        started_at: When the annotator had last entered in_progress on the item before it, UTC; None if they never had.
    """

    transition: Transition
    started_at: datetime | None


@attrs.frozen(kw_only=True)
class Throughput(Entity):
    """How fast a queue is being worked on.

    Args:
        settled: How many times somebody completed or skipped an item within the window; revisions are none.
        by_annotator: Annotator id -> how many of them were theirs; nobody with none.
        per_hour: ``settled`` for each hour of the window.
        median_seconds: The median of the seconds from start to completion; None if nothing that was started was completed.
        left: Live items that are not finished.
        eta: How long these take at this rate; None if nothing was settled.
    """

    settled: int
    by_annotator: Mapping[str, int] = attrs.field(hash=False)
    per_hour: float
    median_seconds: float | None
    left: int
    eta: timedelta | None

    def _repr_html_(self) -> str:
        """Show it in a notebook: the pace, then each annotator's part in it."""
        rows: list[tuple[object, ...]] = [
            ("settled", self.settled),
            ("an hour", self.per_hour),
            ("median seconds", self.median_seconds),
            ("left", self.left),
            ("time left", self.eta),
        ]
        rows += [(f"settled by {annotator_id}", count) for annotator_id, count in self.by_annotator.items()]
        return html_table("throughput", ["", ""], rows)


def throughput_of(
    settlements: Iterable[Settlement], *, window: timedelta, left: int, annotations_per_item: int
) -> Throughput:
    """Sum up what was settled within a window.

    Args:
        settlements: The settlements within it, in any order.
        window: How long it is, more than nothing.
        left: How many live items are not finished.
        annotations_per_item: How many annotators each of them needs.

    Returns:
        The throughput; annotators by id.
    """
    given = list(settlements)
    counts = Counter(each.transition.annotator_id for each in given)
    seconds = [
        (each.transition.at - each.started_at).total_seconds()
        for each in given
        if each.started_at is not None and each.transition.to_state is COMPLETED
    ]
    return Throughput(
        settled=len(given),
        by_annotator=dict(sorted(counts.items())),
        per_hour=len(given) / (window / _HOUR),
        median_seconds=median(seconds) if seconds else None,
        left=left,
        eta=_time_for(left * annotations_per_item, len(given), window),
    )


def _time_for(needed: int, settled: int, window: timedelta) -> timedelta | None:
    if not settled:
        return None
    with suppress(OverflowError):
        return window * needed / settled
    # Too much in between is not yet too much in the end.
    with suppress(OverflowError):
        return window * (needed / settled)
    return timedelta.max


def is_settlement(transition: Transition) -> bool:
    """Tell whether a transition is a step from another state to completed or skipped."""
    return transition.from_state is not transition.to_state and transition.to_state in SETTLING
