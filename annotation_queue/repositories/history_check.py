"""Replaying an item's history beside its progresses, for the checks of repositories that keep both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from annotation_queue.json_values import same_json
from annotation_queue.states import (
    COMPLETED,
    IN_PROGRESS,
    SETTLING,
    UNREAD,
    UNSTARTED,
    AnnotationState,
    fold,
    fold_labels,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from annotation_queue.states import Progress, Transition


def history_problems(
    item_id: str,
    history: Sequence[Transition],
    progresses: Iterable[Progress],
    *,
    created_at: datetime,
    updated_at: datetime,
) -> Iterator[str]:
    """Find where an item's progresses are not what its history tells.

    Args:
        item_id: The item.
        history: Its transitions, oldest first.
        progresses: Every progress on it; labels that are `states.UNREAD` are not compared.
        created_at: When the item was added, UTC.
        updated_at: When it last changed, UTC, as it says itself.

    Yields:
        A sentence for each thing that differs. The cost is linear in the history.
    """
    try:
        fold(history)
    except ValueError as error:
        yield str(error)
    moved_at = max([created_at, *(each.at for each in history)])
    # Updating, removing and restoring an item moves its time too.
    if updated_at < moved_at:
        yield f"item {item_id!r} was updated at {updated_at}, and changed at {moved_at} after that"
    told, found = _told(history), {each.annotator_id: each for each in progresses}
    labels = fold_labels(history)
    for annotator_id in sorted(told.keys() | found.keys()):
        if annotator_id not in told or annotator_id not in found:
            where = "the history" if annotator_id in found else "the progresses"
            yield f"the progress of {annotator_id!r} on item {item_id!r} is missing from {where}"
            continue
        progress, expected = found[annotator_id], told[annotator_id]
        for what, kept, wanted in expected.differences(progress):
            yield f"the {what} of {annotator_id!r} on item {item_id!r} is {kept}, and its history tells {wanted}"
        is_read = progress.annotation is not UNREAD
        if progress.state is COMPLETED and is_read and not same_json(progress.annotation, labels.get(annotator_id)):
            yield f"the label of {annotator_id!r} on item {item_id!r} is not the one that its history tells"


@attrs.define
class _Told:
    """What a history tells of a progress."""

    created_at: datetime
    state: AnnotationState = UNSTARTED
    least_token: int = 0
    overrides: int = 0
    """How many steps may have raised the token besides: only an override does, which the history does not tell."""
    reason: str | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    step: int = 0

    def follow(self, transition: Transition, step: int) -> None:
        starts = transition.to_state is IN_PROGRESS
        if starts or (transition.from_state is UNSTARTED and transition.to_state in SETTLING):
            self.least_token += 1
        elif transition.to_state in SETTLING:
            self.overrides += 1
        self.state, self.reason, self.updated_at, self.step = (
            transition.to_state,
            transition.reason,
            transition.at,
            step,
        )
        self.started_at = transition.at if starts else self.started_at

    def differences(self, progress: Progress) -> Iterator[tuple[str, object, object]]:
        for what in ("state", "created_at", "updated_at", "started_at", "step"):
            if getattr(progress, what) != getattr(self, what):
                yield what, getattr(progress, what), getattr(self, what)
        if not self.least_token <= progress.token <= self.least_token + self.overrides:
            yield "token", progress.token, self.least_token
        if (progress.lease_expires_at is not None) is not (self.state is IN_PROGRESS):
            yield "lease", progress.lease_expires_at, self.state
        # A draft may come with another reason, and an override to unstarted clears it; neither is in the history.
        if self.state in SETTLING and progress.reason != self.reason:
            yield "reason", progress.reason, self.reason


def _told(history: Iterable[Transition]) -> dict[str, _Told]:
    told: dict[str, _Told] = {}
    for step, each in enumerate(history, 1):
        told.setdefault(each.annotator_id, _Told(each.at)).follow(each, step)
    return told
