"""W&B Weave's nine annotation-queue operations: their messages, what they do here, and what they answer when they refuse.

For a backend with routes of its own: `read` a message from parsed JSON, call the function of the operation with the
`AnnotationQueues` of the message's project, `write` what it returns; answer an error with what `refusal` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import attrs
from attrs import NOTHING

from annotation_queue.errors import (
    AnnotationQueueError,
    Conflict,
    InvalidTransition,
    InvalidValue,
    ItemNotFound,
    NotFound,
    OutcomeUnknown,
    QueueNotFound,
    StorageBusy,
    StorageFull,
    StorageUnreachable,
)
from annotation_queue.items import AnnotationQueue, NewItem, QueueItem
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.sorting import SortBy
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, AnnotationState
from annotation_queue.values import describe
from annotation_queue.wire.converter import BadMessage, Count, dump, load, misfit, read, refused, write
from annotation_queue.wire.weave_messages import (
    AddCallsBody,
    AddCallsRes,
    CreateBody,
    CreateRes,
    Item,
    ItemsFilter,
    ItemSortBy,
    ItemsQueryBody,
    ItemsQueryRes,
    ProgressBody,
    ProgressRes,
    ProjectQuery,
    Queue,
    QueueRes,
    QueueSortBy,
    QueuesQueryBody,
    QueueStats,
    StatsBody,
    StatsRes,
    UpdateBody,
)

__all__ = [
    "PAGE",
    "AddCallsBody",
    "AddCallsRes",
    "BadMessage",
    "CreateBody",
    "CreateRes",
    "Item",
    "ItemSortBy",
    "ItemsFilter",
    "ItemsQueryBody",
    "ItemsQueryRes",
    "ProgressBody",
    "ProgressRes",
    "ProjectQuery",
    "Queue",
    "QueueRes",
    "QueueSortBy",
    "QueueStats",
    "QueuesQueryBody",
    "Refused",
    "ResolveCalls",
    "StatsBody",
    "StatsRes",
    "UpdateBody",
    "add_calls",
    "create",
    "delete",
    "get",
    "load",
    "query",
    "query_items",
    "read",
    "refusal",
    "stats",
    "stream_items",
    "update",
    "update_progress",
    "write",
]

ResolveCalls: TypeAlias = Callable[[str, Sequence[str]], Iterable[NewItem]]
"""Takes a project and ids of calls; gives what to add for those that exist, at most one for each."""

PAGE: Final = 1_000
"""So many queues or items are read at a time, where nobody says otherwise."""
MAX_SHOWN_BYTES: Final = 64 << 20
"""What the display fields of one addition may take in all, as JSON, since they are stored with each of its calls."""
_TARGETS: Final = (IN_PROGRESS, COMPLETED, SKIPPED)


class Refused(AnnotationQueueError, ValueError):
    """A request that fits its message, and that Weave refuses all the same.

    Args:
        reason: Why.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def create(queues: AnnotationQueues, body: CreateBody, *, user_id: str) -> CreateRes:
    """Make a queue.

    Args:
        queues: The service for the project of the body, here and below.
        body: The request.
        user_id: Who makes it.

    Returns:
        The answer.
    """
    made = queues.create(body.name, created_by=user_id, description=body.description, scorer_refs=body.scorer_refs)
    return CreateRes(id=made.id)


def query(queues: AnnotationQueues, body: QueuesQueryBody, *, page: int = PAGE) -> Iterator[tuple[Queue, ...]]:
    """Read the queues of a project, page after page; on the wire each queue is a line of its own.

    The name is a part of the queue's name with ``%`` and ``_`` as ordinary characters, which Weave takes for wildcards.

    Args:
        queues: The service.
        body: The request.
        page: So many queues are read at once, at least 1.

    Yields:
        Queues in the order asked for; nothing is read before the first is asked for.
    """
    left: int | None = body.limit
    query = QueueQuery(name=body.name, sort_by=_sort_by(body.sort_by or ()), offset=body.offset or 0)
    while True:
        size = page if left is None else min(left, page)
        found = queues.query(attrs.evolve(query, limit=size))
        yield tuple(_queue(each) for each in found.queues)
        left = None if left is None else left - len(found.queues)
        if found.next_cursor is None or left == 0:
            return
        query = attrs.evolve(query, offset=0, cursor=found.next_cursor)


def get(queues: AnnotationQueues, queue_id: str) -> QueueRes:
    """Read a queue."""
    return QueueRes(queue=_queue(queues.get(queue_id)))


def update(queues: AnnotationQueues, queue_id: str, body: UpdateBody) -> QueueRes:
    """Change a queue; what is None stays, and so with nothing to change everything does."""
    changes: dict[str, Any] = {
        name: NOTHING if value is None else value
        for name, value in (
            ("name", body.name),
            ("description", body.description),
            ("scorer_refs", body.scorer_refs),
        )
    }
    return QueueRes(queue=_queue(queues.update(queue_id, **changes)))


def delete(queues: AnnotationQueues, queue_id: str) -> QueueRes:
    """Delete a queue softly; a second time it is not found."""
    return QueueRes(queue=_queue(queues.delete(queue_id)))


def add_calls(
    queues: AnnotationQueues,
    queue_id: str,
    body: AddCallsBody,
    *,
    user_id: str,
    resolve_calls: ResolveCalls | None = None,
) -> AddCallsRes:
    """Add calls to a queue.

    Args:
        queues: The service.
        queue_id: The queue.
        body: The request.
        user_id: Who adds them.
        resolve_calls: Looks the calls up; those that it does not give are left out silently, and the display fields of the
            request replace those that it gives. None adds each as it is named.

    Returns:
        The answer.

    Raises:
        BadMessage: The display fields, stored with each of the calls, would take more than 64 MiB.
    """
    shown = body.display_fields
    if len(body.call_ids) * len(dump(shown)) > MAX_SHOWN_BYTES:
        raise misfit(
            ("body", "display_fields"), f"expected fewer, to be stored with each of {len(body.call_ids):,} calls"
        )
    queues.get(queue_id)  # no call is looked up for a queue that is not there
    known: Iterable[NewItem] = (NewItem(call_id=call_id) for call_id in body.call_ids)
    if resolve_calls is not None:
        # Looked up before the storage is locked for the addition: it may take its time.
        known = list(resolve_calls(queues.project_id, body.call_ids))
    added = queues.add_items(queue_id, (attrs.evolve(new, display_fields=shown) for new in known), added_by=user_id)
    return AddCallsRes(added_count=Count(len(added.added)), duplicates=Count(added.duplicates))


def query_items(
    queues: AnnotationQueues, queue_id: str, body: ItemsQueryBody, *, max_limit: int | None = None
) -> ItemsQueryRes:
    """Read items of a queue, in the aggregate view, into one answer; `stream_items` holds a page at a time.

    Args:
        queues: The service.
        queue_id: The queue.
        body: The request.
        max_limit: A greater limit is refused; None takes any. Without a limit all items are answered, whatever this says.

    Returns:
        The answer. A position is that in the whole queue, as it is published; Weave's own starts again at 1 below a filter
        by anything but the state.

    Raises:
        BadMessage: The limit is too great.
    """
    pages = stream_items(queues, queue_id, body, max_limit=max_limit)
    return ItemsQueryRes(items=tuple(item for page in pages for item in page))


def stream_items(
    queues: AnnotationQueues,
    queue_id: str,
    body: ItemsQueryBody,
    *,
    max_limit: int | None = None,
    page: int = PAGE,
) -> Iterator[tuple[Item, ...]]:
    """Read what `query_items` answers, page after page, as `AnnotationQueues.iter_items` walks.

    Args:
        queues: The service.
        queue_id: The queue.
        body: The request.
        max_limit: As for `query_items`.
        page: So many items are read at once, at least 1.

    Yields:
        Items in the order asked for; nothing is read before the first is asked for.

    Raises:
        BadMessage: The limit is too great.
    """
    if body.limit is not None and max_limit is not None and body.limit > max_limit:
        raise misfit(("body", "limit"), f"expected an integer from 0 to {max_limit}, got int {body.limit}")
    left: int | None = body.limit
    query = _items_query(body)
    while True:
        size = page if left is None else min(left, page)
        found = queues.query_items(queue_id, attrs.evolve(query, limit=size))
        yield tuple(_item(each) for each in found.items)
        left = None if left is None else left - len(found.items)
        if found.next_cursor is None or left == 0:
            return
        query = attrs.evolve(query, offset=0, cursor=found.next_cursor)


def _items_query(body: ItemsQueryBody) -> ItemQuery:
    wanted = body.filter or ItemsFilter()
    return ItemQuery(
        filter=ItemFilter(
            id=wanted.id,
            call_id=wanted.call_id,
            call_op_name=wanted.call_op_name,
            call_trace_id=wanted.call_trace_id,
            added_by=wanted.added_by,
            # Weave: no states filter nothing. Ours: an empty set matches nothing.
            annotation_states=frozenset(wanted.annotation_states) if wanted.annotation_states else None,
        ),
        # Weave: the oldest first. Ours: by priority, then the oldest.
        sort_by=_sort_by(body.sort_by or ()) or (SortBy("created_at"),),
        offset=body.offset or 0,
        include_position=body.include_position,
        include_payload=False,
    )


def update_progress(
    queues: AnnotationQueues, queue_id: str, item_id: str, body: ProgressBody, *, annotator_id: str
) -> ProgressRes:
    """Move an annotator's state on an item.

    Args:
        queues: The service.
        queue_id: The queue.
        item_id: The item.
        body: The request.
        annotator_id: Whose state: the user that the credentials name, never the request.

    Returns:
        The item in that annotator's perspective.

    Raises:
        Refused: Nobody can ask for this state, it was started before, or there is no such item in the queue, which is no
            other answer to Weave.
        InvalidTransition: The workflow has no such move.
    """
    if body.annotation_state not in _TARGETS:
        raise Refused(f"annotation_state: expected one of {', '.join(_TARGETS)}, got {describe(body.annotation_state)}")
    target = AnnotationState(body.annotation_state)
    try:
        if target is IN_PROGRESS:
            _check_start(queues, queue_id, item_id, annotator_id)
        item = queues.update_progress(item_id, annotator_id, target, queue_id=queue_id)
    except NotFound as error:
        raise Refused(str(error)) from None
    return ProgressRes(item=_item(item))


def _check_start(queues: AnnotationQueues, queue_id: str, item_id: str, annotator_id: str) -> None:
    # Weave: nobody starts what they finished. Ours: a Workflow may reopen it. What was released or ran out is in Weave's
    # words a record that is not there, since none of its records is unstarted; so it may be started again.
    if not queues.query_items(queue_id, ItemQuery(filter=ItemFilter(id=item_id), include_payload=False)).items:
        raise ItemNotFound(item_id)
    own = [each.state for each in queues.progress(item_id) if each.annotator_id == annotator_id]
    if own and own[0] in {COMPLETED, SKIPPED}:
        raise Refused(f"this annotator's state on the item is {own[0]}, and a second start is refused")


def stats(queues: AnnotationQueues, body: StatsBody, *, max_limit: int | None = None) -> StatsRes:
    """Count what queues hold.

    Args:
        queues: The service.
        body: The request.
        max_limit: At most so many queues are counted; None for any number.

    Returns:
        The answer, with zeros for a queue that is not there. All are counted at one instant, if all are there.

    Raises:
        BadMessage: There are too many queues.
    """
    if max_limit is not None and len(body.queue_ids) > max_limit:
        raise misfit(("body", "queue_ids"), f"expected at most {max_limit} ids, got {len(body.queue_ids)}")
    counted = _counted(queues, tuple(dict.fromkeys(body.queue_ids)))
    return StatsRes(stats=tuple(counted.get(queue_id) or _stats(queue_id) for queue_id in body.queue_ids))


def _counted(queues: AnnotationQueues, queue_ids: tuple[str, ...]) -> dict[str, QueueStats]:
    try:
        found = queues.stats(queue_ids)
    except QueueNotFound:
        # Which ones are there is found by halves: a few that are not cost a few further looks, however many are.
        half = len(queue_ids) // 2
        return _counted(queues, queue_ids[:half]) | _counted(queues, queue_ids[half:]) if half else {}
    return {each.queue_id: _stats(each.queue_id, each.total_items, each.settled_items) for each in found}


def _stats(queue_id: str, total: int = 0, settled: int = 0) -> QueueStats:
    return QueueStats(queue_id=queue_id, total_items=Count(total), completed_items=Count(settled))


def refusal(error: AnnotationQueueError) -> tuple[int, dict[str, Any]]:
    """Say how Weave answers an error: its status number and the body, which tells nothing of the storage behind it.

    >>> from annotation_queue import QueueNotFound
    >>> refusal(QueueNotFound("q"))
    (404, {'reason': "no queue 'q' in this project"})
    """
    if isinstance(error, InvalidValue):
        error = refused(error)
    if isinstance(error, BadMessage):
        return 422, {"detail": error.faults}
    if isinstance(error, NotFound):
        return 404, {"reason": str(error)}
    if isinstance(error, InvalidTransition | Refused):
        return 400, {"reason": str(error)}
    if isinstance(error, Conflict | OutcomeUnknown | StorageBusy | StorageUnreachable):
        return 503, {"reason": "the storage is busy; the same request may be sent again"}
    if isinstance(error, StorageFull):
        return 503, {"reason": "the storage is full"}
    return 500, {"reason": "the storage failed"}


def _sort_by(wanted: Sequence[QueueSortBy | ItemSortBy]) -> tuple[SortBy, ...]:
    # Weave: a field that is named again is sorted by again, which changes nothing. Ours: it is refused.
    first: dict[str, SortBy] = {}
    for by in wanted:
        first.setdefault(by.field, SortBy(by.field, by.direction))
    return tuple(first.values())


def _queue(queue: AnnotationQueue) -> Queue:
    return Queue(**{each.name: getattr(queue, each.name) for each in _QUEUE_FIELDS})


def _item(item: QueueItem) -> Item:
    return Item(**{each.name: getattr(item, each.name) for each in _ITEM_FIELDS})


_QUEUE_FIELDS: Final = attrs.fields(Queue)
_ITEM_FIELDS: Final = attrs.fields(Item)
