"""An item as the memory repository keeps it."""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.construction import altered
from annotation_queue.json_values import UNSHARED, load_json, write_json
from annotation_queue.records import NEW, ItemRecord, in_view, merge, view
from annotation_queue.states import UNREAD, UNSTARTED, Transition, aggregate, with_annotation
from annotation_queue.values import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.records import Change, Standing
    from annotation_queue.repositories.memory.sorted_keys import Key
    from annotation_queue.states import AnnotationState, Progress


_NESTING: Final = (dict, list)
record_of: Callable[..., ItemRecord] = altered(
    ItemRecord, ("item_id", "queue", "updated_at", "progresses", "revision", "item", "steps")
)
"""Makes the record of a stored item, which has the standing."""


def pack(value: Any) -> bytes:  # noqa: ANN401 - as `load_json`
    """Pack a JSON value that was checked, so that nobody shares it: several times as fast as by JSON text."""
    try:
        return marshal.dumps(value, UNSHARED)
    except ValueError:
        # A member of an enumeration, or another subclass: JSON has what it stands for.
        return marshal.dumps(load_json(write_json(value)), UNSHARED)


def size_of(kept: object) -> int:
    """Say how many bytes a value has in the form that is kept; 0 where it is small, a number say."""
    return len(kept) if isinstance(kept, bytes | str) else 0


def unpack(packed: bytes) -> Any:  # noqa: ANN401 - as `load_json`
    """Give a fresh value."""
    return marshal.loads(packed)  # noqa: S302 - what this process packed itself


class StoredItem:
    """An item with all that is known of it. Labels and the payload are kept packed, so that nobody shares them.

    Args:
        item: The item as it was added, unstarted.
    """

    __slots__ = ("history", "item", "key", "payload", "progresses", "revision", "standing")

    def __init__(self, item: QueueItem) -> None:
        self.payload: bytes | None = None
        """Packed."""
        self.item = item
        """The aggregate view, without payload and position: nothing in it can change, so it may be handed out."""
        self.key: Key
        """The key of queue order."""
        self.put(item)
        self.progresses: tuple[Progress, ...] = ()
        """By annotator id, in the form that is kept."""
        self.history: list[Transition] | None = None
        self.revision = 0
        self.standing: Standing = NEW

    def put(self, item: QueueItem) -> None:
        """Take an item, in the aggregate view with its payload, in place of the one that is there."""
        self.payload = None if item.payload is None else pack(item.payload)
        self.item = item if item.payload is None else attrs.evolve(item, payload=None)
        self.key = (-item.priority, to_micros(item.created_at), item.id)

    def own(self, annotator_id: str) -> Progress | None:
        """Find the progress of an annotator."""
        for progress in self.progresses:
            if progress.annotator_id == annotator_id:
                return progress
        return None

    def seen_by(self, annotator_id: str) -> tuple[AnnotationState, str | None]:
        """Tell state and annotator in an annotator's perspective."""
        own = self.own(annotator_id)
        return (UNSTARTED, None) if own is None else aggregate((own,))

    def in_view(self, annotator_id: str | None) -> QueueItem:
        """Give the item in a view, without payload and position."""
        item = self.item
        # Where this annotator's state is the one shown for all, the views are the same.
        if annotator_id is None or item.annotator_user_id == annotator_id:
            return item
        return view(item, self.seen_by(annotator_id))

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
        payload = None if self.payload is None else unpack(self.payload)
        return view(item, (item.annotation_state, item.annotator_user_id), position=position, payload=payload)

    def told(self) -> tuple[Transition, ...]:
        """Make the history to hand out."""
        return tuple(map(unpacked_transition, self.history or ()))

    def progress(self, annotator_id: str) -> Progress | None:
        """Make an annotator's progress to hand out; None if there is none."""
        own = self.own(annotator_id)
        return None if own is None else unpacked(own)

    def record(
        self, queue: AnnotationQueue, revision: object, *, with_item: bool, labels_of: Collection[str] | None
    ) -> ItemRecord:
        """Make the record to hand out; arguments are those of `Repository.get_records`."""
        progresses = []
        for each in self.progresses:
            is_read = labels_of is None or each.annotator_id in labels_of
            progresses.append(unpacked(each) if is_read else with_annotation(each, UNREAD))
        item = self.show() if with_item else None
        return record_of(
            self, self.item.id, queue, self.item.updated_at, tuple(progresses), revision, item, len(self.history or ())
        )

    def apply(self, change: Change, progresses: tuple[Progress, ...], transitions: tuple[Transition, ...]) -> None:
        """Take over a change, with its progresses and transitions in the form that is kept."""
        for each in progresses:
            if each.annotation is UNREAD:
                progresses = tuple(map(self._as_stored, progresses))
                break
        self.progresses = merge(self.progresses, progresses)
        if self.history is None:
            self.history = [*transitions]
        else:
            self.history += transitions
        after = self.standing = change.standing
        self.item = in_view(self.item, after.state, after.annotator_id, change.updated_at, None, None)
        self.revision += 1

    def _as_stored(self, progress: Progress) -> Progress:
        if progress.annotation is not UNREAD:
            return progress
        own = self.own(progress.annotator_id)
        return with_annotation(progress, None if own is None else own.annotation)


def packed(change: Change) -> tuple[tuple[Progress, ...], tuple[Transition, ...]]:
    """Turn a change's progresses and transitions into the form that is kept: nothing that a caller could change.

    The label of a step to completed stands in both, and is packed once.
    """
    labels: dict[int, bytes] = {}
    progresses, transitions = [], []
    label: Any
    kept: Any
    for progress in change.progresses:
        label = progress.annotation
        # Scalars cannot change and are kept as they are.
        if isinstance(label, _NESTING):
            labels[id(label)] = kept = pack(label)
            progresses.append(with_annotation(progress, kept))
        else:
            progresses.append(progress)
    for transition in change.transitions:
        label = transition.annotation
        if isinstance(label, _NESTING):
            transitions.append(_with_label(transition, labels.get(id(label)) or pack(label)))
        else:
            transitions.append(transition)
    return tuple(progresses), tuple(transitions)


def unpacked_transition(transition: Transition) -> Transition:
    """Turn a kept transition into one to hand out."""
    if isinstance(transition.annotation, bytes):
        return _with_label(transition, unpack(transition.annotation))
    return transition


_with_label: Callable[[Transition, object], Transition] = altered(Transition, ("annotation",))


def unpacked(progress: Progress) -> Progress:
    """Turn a kept progress into one to hand out."""
    if isinstance(progress.annotation, bytes):
        return with_annotation(progress, unpack(progress.annotation))
    return progress


def deleted(item: QueueItem, at: datetime) -> QueueItem:
    """Show an item as deleted at a time, UTC."""
    return attrs.evolve(item, deleted_at=at, updated_at=max(item.updated_at, at))
