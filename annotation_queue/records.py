"""What a decision about one item rests on, and what it changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import attrs

from annotation_queue.construction import altered, trusted
from annotation_queue.items import AnnotationQueue, QueueItem
from annotation_queue.json_values import JsonValue
from annotation_queue.moves import Reset, reset
from annotation_queue.states import (
    ALWAYS,
    SETTLING,
    UNSTARTED,
    AnnotationState,
    Progress,
    SkipPolicy,
    Transition,
    aggregate,
    count_settling,
    is_finished,
    open_slots,
    slot_free_at,
    unstarted,
    with_lease,
)


@attrs.frozen
class Standing:
    """What an item's progresses amount to: the facts a repository may keep beside the item, derived here and only here.

    Args:
        state: The aggregate state.
        annotator_id: Whose state that is.
        completed: How many annotators completed it.
        skipped: How many skipped it.
        finished: Whether it needs nothing more.
        claimable_at: From when on an annotator without progress on it may claim it, UTC; None when finished.
    """

    state: AnnotationState
    annotator_id: str | None
    completed: int
    skipped: int
    finished: bool
    claimable_at: datetime | None

    @property
    def settled(self) -> bool:
        """Whether at least one annotator completed or skipped the item."""
        return self.completed + self.skipped > 0


_make_standing = trusted(Standing)
# Most items stand where others do, unless they wait for a lease of their own; what they share, the garbage collector need not
# visit for each.
_share_standing = lru_cache(maxsize=4096)(_make_standing)
_waiting: Callable[..., Standing] = altered(Standing, ("claimable_at",))
_in_state: Callable[[Progress, AnnotationState], Progress] = altered(Progress, ("state",))
_ITS_END: Final = datetime.max.replace(tzinfo=UTC)
"""Stands for the end of a lease, whichever it is."""
NEW: Final = Standing(UNSTARTED, None, 0, 0, finished=False, claimable_at=ALWAYS)
"""The standing of an item that nobody touched."""


def standing(progresses: Collection[Progress], queue: AnnotationQueue) -> Standing:
    """Derive what an item's progresses amount to.

    Args:
        progresses: Every progress on the item, in any order.
        queue: The queue, for its policies.

    Returns:
        The standing.
    """
    if not progresses:
        return NEW
    if len(progresses) > 1:
        return _standing(progresses, queue.annotations_per_item, queue.skip_policy)
    (only,) = progresses
    end = only.lease_expires_at
    shared = _standing_of_one(
        only.state, only.annotator_id, end and _ITS_END, queue.annotations_per_item, queue.skip_policy
    )
    return shared if shared.claimable_at is not _ITS_END else _waiting(shared, end)


def _standing(progresses: Collection[Progress], annotations_per_item: int, skip_policy: SkipPolicy) -> Standing:
    state, annotator_id = aggregate(progresses)
    completed, skipped = count_settling(progresses)
    slots = open_slots(completed, skipped, annotations_per_item, skip_policy)
    free_at = slot_free_at(progresses, slots)
    make = _share_standing if free_at is None or free_at is ALWAYS else _make_standing
    return make(state, annotator_id, completed, skipped, slots <= 0, free_at)


# Nearly always only one annotator was ever there, and then the answer is one of few but for the end of their lease.
@lru_cache(maxsize=4096)
def _standing_of_one(
    state: AnnotationState,
    annotator_id: str,
    lease_expires_at: datetime | None,
    annotations_per_item: int,
    skip_policy: SkipPolicy,
) -> Standing:
    progress = with_lease(unstarted("", annotator_id, ALWAYS), lease_expires_at)
    return _standing((_in_state(progress, state),), annotations_per_item, skip_policy)


def one_finishes(queue: AnnotationQueue) -> bool:
    """Tell whether an item of a queue is finished as soon as one annotator completed or skipped it."""
    return _one_finishes(queue.annotations_per_item, queue.skip_policy)


@lru_cache(maxsize=256)
def _one_finishes(annotations_per_item: int, skip_policy: SkipPolicy) -> bool:
    return all(is_finished(*counts, annotations_per_item, skip_policy) for counts in ((1, 0), (0, 1)))


@attrs.frozen
class ItemRecord:
    """All that a decision about one live item rests on, read at one instant.

    Args:
        item_id: The item.
        queue: Its live queue.
        updated_at: The item's, UTC.
        progresses: Every progress on it, by annotator id.
        revision: Opaque; differs whenever the item, a progress on it, or the queue's policies or life have changed.
        standing: What the progresses amount to, if the repository keeps that; else None.
        item: The item in the aggregate view, without a position, if it was asked for; else None.
        steps: How many transitions the item's history has.
    """

    item_id: str
    queue: AnnotationQueue
    updated_at: datetime
    progresses: tuple[Progress, ...]
    revision: object
    standing: Standing | None = None
    item: QueueItem | None = None
    steps: int = 0


make_record = trusted(ItemRecord)


def item_of(record: ItemRecord) -> QueueItem:
    """Give the item of a record that was read with its item."""
    if record.item is None:
        raise ValueError(f"the record of item {record.item_id!r} was read without the item")
    return record.item


def own_progress(record: ItemRecord, annotator_id: str) -> Progress | None:
    """Find an annotator's progress in a record; None if there is none."""
    for progress in record.progresses:
        if progress.annotator_id == annotator_id:
            return progress
    return None


@attrs.frozen
class Change:
    """What one decision changes on one item.

    Args:
        progresses: The progresses that changed, as they are after it.
        transitions: What is appended to the item's history, in order; empty for a heartbeat.
        before: The item's standing before it.
        standing: The item's standing after it.
        updated_at: The item's new ``updated_at``, UTC.
    """

    progresses: tuple[Progress, ...]
    transitions: tuple[Transition, ...]
    before: Standing
    standing: Standing
    updated_at: datetime

    @property
    def opens(self) -> bool:
        """Whether somebody may claim the item who could not: a slot was freed, or what was settled or finished opened again."""
        now, before = self.standing.claimable_at, self.before.claimable_at
        if now is not None and (before is None or now == ALWAYS != before):
            return True
        for each in self.transitions:  # noqa: SIM110 - a generator costs several times as much, for one transition
            if each.from_state in SETTLING and each.to_state not in SETTLING:
                return True
        return False


_make_change = trusted(Change)


def merge(progresses: Sequence[Progress], changed: tuple[Progress, ...]) -> tuple[Progress, ...]:
    """Give the progresses on an item after some of them changed.

    Args:
        progresses: Those before, by annotator id.
        changed: Those that changed or are new, in any order.

    Returns:
        All of them, by annotator id.
    """
    # Nearly always only one annotator was ever here.
    if len(changed) == 1 and (
        not progresses or (len(progresses) == 1 and progresses[0].annotator_id == changed[0].annotator_id)
    ):
        return changed
    after = {progress.annotator_id: progress for progress in progresses}
    for progress in changed:
        after[progress.annotator_id] = progress
    if len(after) == len(progresses):
        return tuple(after.values())
    return tuple(after[annotator_id] for annotator_id in sorted(after))


def change_of(record: ItemRecord, progresses: tuple[Progress, ...], transitions: tuple[Transition, ...]) -> Change:
    """Derive what follows for the item when some of its progresses change.

    Args:
        record: The item as it is.
        progresses: The progresses that change, as they will be.
        transitions: Their transitions, in order.

    Returns:
        The change to store.
    """
    queue = record.queue
    # The clocks of different machines may disagree; an item's time never goes back.
    moved_at = max(record.updated_at, transitions[-1].at) if transitions else record.updated_at
    before = record.standing or standing(record.progresses, queue)
    after = standing(merge(record.progresses, progresses), queue)
    return _make_change(progresses, transitions, before, after, moved_at)


def put_back(record: ItemRecord, wanted: Reset) -> Change | None:
    """Decide what a reset changes on an item, whatever the workflow.

    Args:
        record: The item as it is; labels need not be read.
        wanted: Whose progresses are put back to unstarted, and by whom.

    Returns:
        The change to store; None if there is nothing to put back.
    """
    progresses, transitions = reset(record.progresses, wanted, steps=record.steps)
    return change_of(record, progresses, transitions) if progresses else None


in_view: Callable[..., QueueItem] = altered(
    QueueItem, ("annotation_state", "annotator_user_id", "updated_at", "position_in_queue", "payload")
)
"""Shows an item with all of these as given."""


def view(
    item: QueueItem,
    seen: tuple[AnnotationState, str | None],
    *,
    updated_at: datetime | None = None,
    position: int | None = None,
    payload: dict[str, JsonValue] | None = None,
) -> QueueItem:
    """Show an item in another view.

    Args:
        item: The item in any view.
        seen: State and annotator to show: what `aggregate` gives for all its progresses, or for one annotator's.
        updated_at: The item's ``updated_at`` to show, UTC; None keeps it.
        position: Its 1-based position to show, or None.
        payload: Its payload to show; None keeps it.

    Returns:
        The item in that view.
    """
    state, annotator_id = seen
    return in_view(
        item,
        state,
        annotator_id,
        item.updated_at if updated_at is None else updated_at,
        position,
        item.payload if payload is None else payload,
    )
