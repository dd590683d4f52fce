"""Labels in bulk: which progresses a reader wants, and the pages that they come in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

import attrs
from attrs import field

from annotation_queue.construction import Check, optional, quick, run_checks, trusted
from annotation_queue.cursors import decode_place, encode_cursor
from annotation_queue.entities import Entity
from annotation_queue.errors import InvalidQuery
from annotation_queue.items import AnnotationQueue, QueueItem
from annotation_queue.json_values import spaced_json
from annotation_queue.query import WALK_BYTES, ItemFilter, check_cursor, check_filter, check_query_flag
from annotation_queue.states import SETTLING, AnnotationState, Progress
from annotation_queue.values import check_id, check_integer, check_member, is_iterable, refuse, timestamp

_Shown = TypeVar("_Shown")


def _states(values: Iterable[AnnotationState]) -> frozenset[AnnotationState]:
    if not is_iterable(values):
        raise refuse("states", values, "a set of states", InvalidQuery)
    return frozenset(check_member("states", each, members=AnnotationState, error=InvalidQuery) for each in values)


@attrs.frozen(kw_only=True)
class LabelQuery(Entity):
    """Which labels of a queue to read, and in which direction.

    They come in the order in which their progresses last changed, as it was stored, whatever the clocks said.

    Args:
        filter: Which items, as they are in the aggregate view.
        annotator_id: Whose labels; None for everybody's.
        states: The states that a progress may be in; an empty set matches nothing.
        newest_first: Whether to read in the reverse order.
        limit: Most labels of the page, at least 0; None for all.
        cursor: Where the page begins: the ``next_cursor`` of the page before it, or None for the start.
        include_payload: Whether the items carry their payload. Without it ``payload`` is None, and storages do not even
            read it: an export costs the same, however large the payloads are.
        max_bytes: The page may end behind the label with which its labels, and the payloads it carries, reach this number of
            bytes, as the storage counts them. It has at least one label all the same, and a cursor that goes on. None for no
            such end.

    Raises:
        InvalidQuery: A value is none of these.
    """

    filter: ItemFilter = field(factory=ItemFilter)
    annotator_id: str | None = None
    states: frozenset[AnnotationState] = field(default=SETTLING, converter=_states)
    newest_first: bool = False
    limit: int | None = None
    cursor: str | None = None
    include_payload: bool = True
    max_bytes: int | None = None

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _LABEL_QUERY_CHECKS)

    def part(self, limit: int, cursor: str | None) -> LabelQuery:
        """Give the query of one page of a walk, which goes on behind a cursor if there is one."""
        most = WALK_BYTES if self.max_bytes is None else min(self.max_bytes, WALK_BYTES)
        return attrs.evolve(self, limit=limit, cursor=cursor or self.cursor, max_bytes=most)

    def after(self, queue: AnnotationQueue) -> tuple[int, ...] | None:
        """Read where the page begins.

        Args:
            queue: The queue.

        Returns:
            The place that `page` was given for the last label of the page before it; None at the start.

        Raises:
            InvalidCursor: The cursor is not one of this queue, annotator, states and direction.
        """
        if self.cursor is None:
            return None
        return decode_place(self.cursor, self._binding(queue))

    def page(self, queue: AnnotationQueue, found: Sequence[Label], places: Sequence[Sequence[int]]) -> LabelPage:
        """Make the page.

        Args:
            queue: The queue.
            found: What was found from where the page begins, in order: what is beyond the limit is left out.
            places: For each of them, and for at least one more if there is more, the place where its progress last changed:
                integers, for the cursor.

        Returns:
            The page.
        """
        shown, next_cursor = self._cut(queue, found, places)
        return LabelPage(labels=shown, next_cursor=next_cursor)

    def page_of_texts(
        self, queue: AnnotationQueue, found: Sequence[LabelText], places: Sequence[Sequence[int]]
    ) -> LabelTextPage:
        """Make the page of the same labels as texts; arguments are those of `page`."""
        return LabelTextPage(*self._cut(queue, found, places))

    def _cut(
        self, queue: AnnotationQueue, found: Sequence[_Shown], places: Sequence[Sequence[int]]
    ) -> tuple[tuple[_Shown, ...], str | None]:
        shown = tuple(found if self.limit is None else found[: self.limit])
        if not shown or len(shown) == len(places):
            return shown, None
        return shown, encode_cursor(list(places[len(shown) - 1]), self._binding(queue))

    def _binding(self, queue: AnnotationQueue) -> tuple[object, ...]:
        return ("labels", queue.project_id, queue.id, self.annotator_id, sorted(self.states), self.newest_first)


_LABEL_QUERY_CHECKS: Final[dict[str, Check]] = {
    "filter": check_filter,
    "annotator_id": optional(partial(check_id, error=InvalidQuery)),
    "newest_first": check_query_flag,
    "limit": optional(partial(check_integer, minimum=0, error=InvalidQuery)),
    "cursor": optional(check_cursor),
    "include_payload": check_query_flag,
    "max_bytes": optional(partial(check_integer, minimum=1, error=InvalidQuery)),
}


@attrs.frozen(kw_only=True)
class Label(Entity):
    """What one annotator said of one item.

    Args:
        item: The item, in the aggregate view and without a position.
        progress: The annotator's progress, with the label.
    """

    item: QueueItem
    progress: Progress


make_label = trusted(Label)


@attrs.frozen(kw_only=True)
class LabelPage(Entity):
    """A page of labels.

    Args:
        labels: In the order that was asked for.
        next_cursor: The cursor of the next page; None if this is the last one, or the limit was 0.
    """

    labels: tuple[Label, ...]
    next_cursor: str | None


class LabelText(NamedTuple):
    """A label as an export tells it: every value is text already, so that nothing has to be made of it and taken apart again.

    Args:
        item_id: The item.
        call_id: Its call.
        annotator_id: The annotator.
        state: The value of the progress's state.
        annotation: The label or draft, as `json_values.spaced_json` writes it.
        reason: Why it came to this state, if that was said.
        updated_at: When the progress last changed, as `values.timestamp` writes it.
    """

    item_id: str
    call_id: str
    annotator_id: str
    state: str
    annotation: str
    reason: str | None
    updated_at: str


make_label_text = quick(LabelText)


class LabelTextPage(NamedTuple):
    """A page of labels as texts.

    Args:
        labels: In the order that was asked for.
        next_cursor: As that of a `LabelPage`.
    """

    labels: tuple[LabelText, ...]
    next_cursor: str | None


def text_of(label: Label) -> LabelText:
    """Write a label as texts."""
    progress = label.progress
    return make_label_text(
        item_id=label.item.id,
        call_id=label.item.call_id,
        annotator_id=progress.annotator_id,
        state=progress.state.value,
        annotation=spaced_json(progress.annotation),
        reason=progress.reason,
        updated_at=timestamp(progress.updated_at),
    )
