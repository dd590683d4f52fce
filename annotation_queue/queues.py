"""The annotation queues of one project: the service that decides, over a repository that stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import attrs
from attrs import NOTHING

from annotation_queue.annotating import Annotating
from annotation_queue.errors import Conflict, InvalidQuery, ItemNotFound
from annotation_queue.items import DEFAULT_LEASE, AnnotationQueue, NewItem, QueueItem, admit
from annotation_queue.json_values import check_texts
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.records import view
from annotation_queue.service import progress_of
from annotation_queue.states import SkipPolicy, aggregate
from annotation_queue.values import check_id, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import timedelta

    from annotation_queue.items import AddedItems, QueueStats
    from annotation_queue.query import ItemPage, QueuePage

_Query = TypeVar("_Query", ItemQuery, QueueQuery)
_Unchanged: TypeAlias = attrs.NothingType

_WALK_PAGE: Final = 500


class AnnotationQueues(Annotating):
    """The annotation queues of one project.

    Cheap to make, holds no state of its own, safe to share between threads. Besides the errors that its methods name, each
    raises `InvalidValue` for an argument it refuses, before anything is stored, and `StorageError` where the storage fails.
    A deleted queue, or one of another project, is `QueueNotFound` for every method; an item likewise `ItemNotFound`.

    Args:
        repository: Where everything is stored.
        project_id: The project: nothing of another one is ever seen or touched.
        workflow: Which moves an annotator may make.
        clock: Tells the time, timezone-aware; read once by every method that changes something.
        new_id: Makes ids, unique in the whole repository; called once for each new queue or item, in order.

    >>> from annotation_queue import AnnotationQueues, MemoryRepository, NewItem
    >>> queues = AnnotationQueues(MemoryRepository(), "acme/chatbot")
    >>> queue = queues.create("Triage", created_by="ann")
    >>> _ = queues.add_items(queue.id, [NewItem(call_id="call-1")], added_by="ann")
    >>> claim = queues.claim(queue.id, "bob")
    >>> queues.complete(claim, {"label": "good"}).annotation_state.value
    'completed'
    """

    # Queues

    def create(
        self,
        name: str,
        *,
        created_by: str,
        description: str = "",
        scorer_refs: Iterable[str] = (),
        annotations_per_item: int = 1,
        skip_policy: SkipPolicy = SkipPolicy.FINAL,
        lease: timedelta = DEFAULT_LEASE,
    ) -> AnnotationQueue:
        """Make a queue.

        Args:
            name: Any text; need not be unique.
            created_by: User id.
            description: Any text.
            scorer_refs: References to what the annotators shall fill in; opaque.
            annotations_per_item: How many annotators must complete an item, at least 1.
            skip_policy: What a skip means for the item.
            lease: How long a claim lasts without a heartbeat, at most 36,500 days.

        Returns:
            The new queue.

        Raises:
            Conflict: The id factory gave an id that is taken.
        """
        at = self._now()
        queue = AnnotationQueue(
            id=self._new_id(),
            project_id=self._project_id,
            name=name,
            description=description,
            scorer_refs=scorer_refs,
            annotations_per_item=annotations_per_item,
            skip_policy=skip_policy,
            lease=lease,
            created_at=at,
            created_by=created_by,
            updated_at=at,
        )
        self._repository.add_queue(queue)
        return queue

    def get(self, queue_id: str) -> AnnotationQueue:
        """Read a queue.

        Args:
            queue_id: Its id.

        Returns:
            The queue.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        return self._repository.get_queue(self._project_id, check_id("queue_id", queue_id))

    def query(self, query: QueueQuery = QueueQuery()) -> QueuePage:  # noqa: B008 - a frozen value
        """Read the project's queues, a page at a time.

        Args:
            query: Which queues, in which order; by default all, the newest first.

        Returns:
            The page; past the end it is empty.

        Raises:
            InvalidCursor: The cursor is not one of this project and sort.
        """
        return self._repository.query_queues(self._project_id, _check_query(query, QueueQuery))

    def update(
        self,
        queue_id: str,
        *,
        name: str | _Unchanged = NOTHING,
        description: str | _Unchanged = NOTHING,
        scorer_refs: Iterable[str] | _Unchanged = NOTHING,
        annotations_per_item: int | _Unchanged = NOTHING,
        skip_policy: SkipPolicy | _Unchanged = NOTHING,
        lease: timedelta | _Unchanged = NOTHING,
    ) -> AnnotationQueue:
        """Change a queue; what is not given stays. Arguments are those of `create`.

        A new ``annotations_per_item`` or ``skip_policy`` holds for the items that are there too: finished ones open again and
        open ones finish, at a cost linear in the items.

        Returns:
            The queue as it is now; where nothing differs it is unchanged, its ``updated_at`` too.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        given: dict[str, Any] = {
            "name": name,
            "description": description,
            "scorer_refs": scorer_refs if scorer_refs is NOTHING else check_texts("scorer_refs", scorer_refs),
            "annotations_per_item": annotations_per_item,
            "skip_policy": skip_policy,
            "lease": lease,
        }
        changes = {field: value for field, value in given.items() if value is not NOTHING}
        at = self._now()

        def change(before: AnnotationQueue) -> AnnotationQueue:
            after: AnnotationQueue = attrs.evolve(before, **changes)
            return after if after == before else attrs.evolve(after, updated_at=at)

        return self._replace(queue_id, change)

    def delete(self, queue_id: str) -> AnnotationQueue:
        """Delete a queue softly, with all that is in it.

        Args:
            queue_id: Its id.

        Returns:
            The queue, with ``deleted_at``.

        Raises:
            QueueNotFound: There is no such live queue in the project; it may have been deleted before.
        """
        at = self._now()
        return self._replace(queue_id, lambda before: attrs.evolve(before, deleted_at=at, updated_at=at))

    def stats(self, queue_ids: Iterable[str]) -> tuple[QueueStats, ...]:
        """Count what queues hold, all at one instant.

        Args:
            queue_ids: The queues.

        Returns:
            Their statistics, in the order asked for. The cost does not grow with the items.

        Raises:
            QueueNotFound: One of them is no live queue of the project.
        """
        return self._repository.stats(self._project_id, _ids("queue_ids", queue_ids))

    # Items

    def add_items(self, queue_id: str, items: Iterable[NewItem], *, added_by: str) -> AddedItems:
        """Add items to a queue, each call once: all of them or, on any error, none.

        Args:
            queue_id: The queue.
            items: What to add: any iterable, a one-shot generator too. It must not write to the same repository.
            added_by: User id.

        Returns:
            The new items in order, and how many were left out as duplicates.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            Conflict: The id factory gave an id that is taken.
        """
        added_by = check_id("added_by", added_by)
        at = self._now()

        def make(new: NewItem, queue: AnnotationQueue) -> QueueItem:
            return admit(new, item_id=check_id("id", self._new_id()), queue=queue, added_by=added_by, at=at)

        return self._repository.add_items(self._project_id, check_id("queue_id", queue_id), _new_items(items), make)

    def get_item(
        self,
        item_id: str,
        *,
        queue_id: str | None = None,
        annotator_id: str | None = None,
        include_position: bool = False,
    ) -> QueueItem:
        """Read an item.

        Args:
            item_id: Its id.
            queue_id: The queue it must be in; None for whichever it is in.
            annotator_id: Whose perspective; None for the aggregate view.
            include_position: Whether to number it, in queue order.

        Returns:
            The item in that view.

        Raises:
            QueueNotFound: ``queue_id`` is no live queue of the project, or without it the item's queue is deleted.
            ItemNotFound: There is no such live item in the project, or in the queue.
        """
        if annotator_id is not None:
            annotator_id = check_id("annotator_id", annotator_id)
        item = self._item(item_id, queue_id)
        if include_position:
            query = ItemQuery(filter=ItemFilter(id=item_id), include_position=True, annotator_id=annotator_id)
            found = self._repository.query_items(self._project_id, item.queue_id, query).items
            if not found:
                raise ItemNotFound(item_id)
            return found[0]
        if annotator_id is None:
            return item
        record = self._record(item_id, item.queue_id)
        own = progress_of(record, annotator_id)
        return view(item, aggregate(() if own is None else (own,)), updated_at=record.updated_at)

    def query_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> ItemPage:  # noqa: B008 - a frozen value
        """Read items of a queue, a page at a time.

        Args:
            queue_id: The queue.
            query: Which items, in which order and view; by default all, in queue order, in the aggregate view.

        Returns:
            The page; past the end it is empty.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidCursor: The cursor is not one of this queue, sort and perspective.
        """
        queue_id, query = check_id("queue_id", queue_id), _check_query(query, ItemQuery)
        return self._repository.query_items(self._project_id, queue_id, query)

    def iter_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> Iterator[QueueItem]:  # noqa: B008
        """Walk over items of a queue by cursor, in bounded memory.

        Every item that stays in place is shown exactly once, whatever is added, removed or annotated meanwhile.

        Args:
            queue_id: The queue.
            query: Which items, in which order and view; its limit bounds the whole walk.

        Yields:
            The items, in the query's order.

        Raises:
            QueueNotFound: There is no such live queue in the project, or it is deleted during the walk.
            InvalidCursor: The cursor is not one of this queue, sort and perspective.
        """
        left = _check_query(query, ItemQuery).limit
        while True:
            size = _WALK_PAGE if left is None else min(left, _WALK_PAGE)
            page = self.query_items(queue_id, attrs.evolve(query, limit=size, include_total=False))
            yield from page.items
            left = None if left is None else left - len(page.items)
            if page.next_cursor is None or left == 0:
                return
            query = attrs.evolve(query, offset=0, cursor=page.next_cursor)

    def remove_items(self, queue_id: str, item_ids: Iterable[str]) -> int:
        """Delete items softly.

        Args:
            queue_id: The queue.
            item_ids: Any number of ids; those of no live item of the queue are passed over.

        Returns:
            How many were deleted.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        wanted = _ids("item_ids", item_ids)
        return self._repository.remove_items(self._project_id, check_id("queue_id", queue_id), wanted, self._now())

    def _replace(self, queue_id: str, change: Callable[[AnnotationQueue], AnnotationQueue]) -> AnnotationQueue:
        while True:
            before = self.get(queue_id)
            after = change(before)
            if after == before:
                return before
            try:
                self._repository.replace_queue(before, after)
            except Conflict:
                continue
            return after


def _check_query(query: _Query, kind: type[_Query]) -> _Query:
    if not isinstance(query, kind):
        raise refuse("query", query, kind.__name__, InvalidQuery)
    return query


def _ids(name: str, ids: Iterable[str]) -> tuple[str, ...]:
    if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
        raise refuse(name, ids, "a sequence of ids")
    return tuple(check_id(f"{name}[{index}]", each) for index, each in enumerate(ids))


def _new_items(items: Iterable[NewItem]) -> Iterator[NewItem]:
    if not hasattr(items, "__iter__"):
        raise refuse("items", items, "an iterable of NewItem")
    for index, new in enumerate(items):
        if not isinstance(new, NewItem):
            raise refuse(f"items[{index}]", new, "a NewItem")
        yield new
