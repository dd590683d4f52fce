"""Replaying an item's history beside its progresses, for the checks of repositories that keep both."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from annotation_queue.states import IN_PROGRESS, UNSTARTED, fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from annotation_queue.states import Progress, Transition

_Facts: TypeAlias = tuple[str, int, bool, str | None, str, str]


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
        progresses: Every progress on it.
        created_at: When the item was added, UTC.
        updated_at: When it last changed, UTC, as it says itself.

    Yields:
        A sentence for each thing that differs. The cost is linear in the history.
    """
    try:
        fold(history)
    except ValueError as error:
        yield str(error)
    moved_at = history[-1].at if history else created_at
    if updated_at != moved_at:
        yield f"item {item_id!r} was updated at {updated_at}, and its last change was at {moved_at}"
    expected = _told(history)
    found = {each.annotator_id: _facts_of(each) for each in progresses}
    for annotator_id in sorted(expected.keys() | found.keys()):
        told, kept = expected.get(annotator_id), found.get(annotator_id)
        if told != kept:
            yield f"the progress of {annotator_id!r} on item {item_id!r} is {kept}, and its history tells {told}"


def _facts_of(progress: Progress) -> _Facts:
    """List what the history tells of a progress: all but the label and when the lease ends."""
    times = (str(progress.created_at), str(progress.updated_at))
    return progress.state, progress.token, progress.lease_expires_at is not None, progress.reason, *times


def _told(history: Iterable[Transition]) -> dict[str, _Facts]:
    told: dict[str, _Facts] = {}
    for each in history:
        _, token, _, _, created_at, _ = told.get(each.annotator_id, (UNSTARTED, 0, False, None, str(each.at), ""))
        starts = each.to_state is IN_PROGRESS
        told[each.annotator_id] = each.to_state, token + starts, starts, each.reason, created_at, str(each.at)
    return told
