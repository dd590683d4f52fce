"""An item as the memory repository keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from annotation_queue.records import NEW, Change, ItemRecord, view
from annotation_queue.states import aggregate, make_progress
from annotation_queue.values import load_json, to_micros, write_json

if TYPE_CHECKING:
    from datetime import datetime

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.records import Standing
    from annotation_queue.repositories.sorted_keys import Key
    from annotation_queue.states import AnnotationState, Progress, Transition


class StoredItem:
    """An item with all that is known of it. Labels and the payload are kept as JSON text, so that nobody shares them.

    Args:
        item: The item as it was added, unstarted.
    """

    __slots__ = ("history", "item", "key", "payload", "progresses", "revision", "standing")

    def __init__(self, item: QueueItem) -> None:
        self.payload: str | None = None
        """JSON text."""
        if item.payload is not None:
            self.payload = write_json(item.payload)
            item = attrs.evolve(item, payload=None)
        self.item = item
        """The aggregate view, without payload and position: nothing in it can change, so it may be handed out."""
        self.key: Key = (-item.priority, to_micros(item.created_at), item.id)
        """The key of queue order."""
        self.progresses: tuple[Progress, ...] = ()
        """By annotator id, in the form that is kept."""
        self.history: list[Transition] | None = None
        self.revision = 0
        self.standing: Standing = NEW

    def own(self, annotator_id: str) -> Progress | None:
        """Find the progress of an annotator."""
        for progress in self.progresses:
            if progress.annotator_id == annotator_id:
                return progress
        return None

    def seen_by(self, annotator_id: str) -> tuple[AnnotationState, str | None]:
        """Tell state and annotator in an annotator's perspective."""
        own = self.own(annotator_id)
        return aggregate(() if own is None else (own,))

    def in_view(self, annotator_id: str | None) -> QueueItem:
        """Give the item in a view, without payload and position."""
        item = self.item
        if annotator_id is None:
            return item
        seen = self.seen_by(annotator_id)
        return item if seen == (item.annotation_state, item.annotator_user_id) else view(item, seen)

    def show(self, annotator_id: str | None = None, position: int | None = None) -> QueueItem:
        """Make the item to hand out.

        Args:
            annotator_id: Whose perspective; None for the aggregate view.
            position: Its position, 1-based; None where it was not asked for.

        Returns:
            The item; it shares nothing with what is stored that could be changed.
        """
        item = self.in_view(annotator_id)
        if self.payload is None and position is None:
            return item
        payload = None if self.payload is None else load_json(self.payload)
        return view(item, (item.annotation_state, item.annotator_user_id), position=position, payload=payload)

    def record(self, queue: AnnotationQueue, revision: object) -> ItemRecord:
        """Make the record to hand out."""
        return ItemRecord(self.item.id, queue, self.item.updated_at, tuple(map(_shown, self.progresses)), revision)

    def apply(self, change: Change) -> None:
        """Take over a change in the form that is kept."""
        merged = {each.annotator_id: each for each in self.progresses}
        for progress in change.progresses:
            merged[progress.annotator_id] = progress
        self.progresses = tuple(merged[annotator_id] for annotator_id in sorted(merged))
        if change.transitions:
            if self.history is None:
                self.history = []
            self.history += change.transitions
        self.standing = change.standing
        self.item = view(self.item, (change.standing.state, change.standing.annotator_id), updated_at=change.updated_at)
        self.revision += 1


class _JsonText(str):
    """A list or an object as it is kept: as JSON text. Scalars cannot change and are kept as they are."""

    __slots__ = ()


def kept(change: Change) -> Change:
    """Turn a change into the form that is kept, which shares nothing with the caller that could be changed."""
    if not any(isinstance(each.annotation, dict | list) for each in change.progresses):
        return change
    progresses = tuple(map(_kept, change.progresses))
    return Change(progresses, change.transitions, change.before, change.standing, change.updated_at)


def _kept(progress: Progress) -> Progress:
    if isinstance(progress.annotation, dict | list):
        return _annotated(progress, _JsonText(write_json(progress.annotation)))
    return progress


def _shown(progress: Progress) -> Progress:
    """Turn a kept progress into one to hand out."""
    if isinstance(progress.annotation, _JsonText):
        return _annotated(progress, load_json(progress.annotation))
    return progress


def _annotated(progress: Progress, annotation: object) -> Progress:
    return make_progress(
        progress.item_id,
        progress.annotator_id,
        progress.state,
        progress.token,
        progress.lease_expires_at,
        annotation,
        progress.reason,
        progress.created_at,
        progress.updated_at,
    )


def deleted(item: QueueItem, at: datetime) -> QueueItem:
    """Show an item as deleted at a time, UTC."""
    return attrs.evolve(item, deleted_at=at, updated_at=at)
