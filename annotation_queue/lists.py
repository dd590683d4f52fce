"""The part of the service that adds and changes many items at a time, and brings back or erases what was removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import attrs

from annotation_queue.arguments import chosen, ids, new_items, priorities_of
from annotation_queue.decisions import Decisions
from annotation_queue.items import AddedItems, AnnotationQueue, ItemPatch, NewItem, Purged, QueueItem, admit
from annotation_queue.query import ItemFilter
from annotation_queue.repository import Repository
from annotation_queue.values import check_id, check_time, is_a, refuse


class Lists:
    """What `AnnotationQueues` does with lists of items; its class says what holds for every method."""

    _repository: Repository
    _project_id: str
    _clock: Callable[[], datetime]
    _new_id: Callable[[], str]
    _decisions: Decisions

    def _now(self) -> datetime:
        return check_time("clock", self._clock())

    def add_items(self, queue_id: str, items: Iterable[NewItem], *, added_by: str) -> AddedItems:
        """Add items to a queue, each call once: all of them or, on any error, none.

        After `OutcomeUnknown` repeat it: what was added counts as a duplicate then. Read its ids back with
        `AnnotationQueues.query_items` and ``ItemFilter(call_id=...)``.

        Args:
            queue_id: The queue.
            items: What to add: any iterable, a one-shot generator too; nothing is stored before it has ended.
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

        return self._repository.add_items(self._project_id, check_id("queue_id", queue_id), new_items(items), make)

    def update_items(self, queue_id: str, which: Iterable[str] | ItemFilter, patch: ItemPatch) -> int:
        """Change items in one atomic step. It may be repeated, and then counts those only that were not changed yet.

        A changed priority moves an item in queue order, and a changed item moves its ``updated_at``. A walk by cursor that is
        under way shows every item that stays in place exactly once; one that moves may be shown again, or not at all.

        Args:
            queue_id: The queue.
            which: Ids of items, those of no live item of the queue are passed over; or a filter, in the aggregate view.
            patch: What changes.

        Returns:
            How many items changed; one that has already all that the patch says does not. The cost is linear in the items that
            are meant.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        if not is_a(patch, ItemPatch):
            raise refuse("patch", patch, "an ItemPatch")
        queue_id, wanted = check_id("queue_id", queue_id), chosen(which)
        return self._repository.update_items(self._project_id, queue_id, wanted, patch, self._now())

    def reprioritise(self, queue_id: str, priorities: Mapping[str, int]) -> int:
        """Give items new priorities, each its own, in one atomic step. It may be repeated, as `update_items`.

        Args:
            queue_id: The queue.
            priorities: Item id -> priority; ids of no live item of the queue are passed over.

        Returns:
            How many items changed.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        queue_id, wanted = check_id("queue_id", queue_id), priorities_of(priorities)
        return self._repository.reprioritise(self._project_id, queue_id, wanted, self._now())

    def remove_items(self, queue_id: str, which: Iterable[str] | ItemFilter) -> int:
        """Delete items softly. It may be repeated, and then counts those only that were still there.

        A storage may remove many items in several steps, each of them whole, and let others in between. What fails in between
        says in a note (`BaseException.add_note`) how many it removed before.

        Args:
            queue_id: The queue.
            which: Ids of items, those of no live item of the queue are passed over; or a filter, in the aggregate view.

        Returns:
            How many were deleted.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        queue_id, wanted = check_id("queue_id", queue_id), chosen(which)
        return self._repository.remove_items(self._project_id, queue_id, wanted, self._now())

    def restore_items(self, queue_id: str, item_ids: Iterable[str]) -> int:
        """Bring removed items back, in one atomic step. It may be repeated, and then counts those only that were still removed.

        They come back with their progresses, their histories and their places; their ``updated_at`` moves.

        Args:
            queue_id: The queue.
            item_ids: Any number of ids; those of no removed item of the queue are passed over, and so are items whose call a
                live item of the queue has by now.

        Returns:
            How many were brought back.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        queue_id, wanted = check_id("queue_id", queue_id), ids("item_ids", item_ids)
        return self._repository.restore_items(self._project_id, queue_id, wanted, self._now())

    def delete(self, queue_id: str) -> AnnotationQueue:
        """Delete a queue softly, with all that is in it.

        Repeated it is `QueueNotFound`, which after `OutcomeUnknown` means that the queue is deleted.

        Args:
            queue_id: Its id.

        Returns:
            The queue, with ``deleted_at``.

        Raises:
            QueueNotFound: There is no such live queue in the project; it may have been deleted before.
        """
        at = self._now()
        return self._decisions.replace_queue(
            check_id("queue_id", queue_id), lambda before: attrs.evolve(before, deleted_at=at, updated_at=at)
        )

    def restore(self, queue_id: str) -> AnnotationQueue:
        """Bring a deleted queue back, with all that was in it. It may be repeated: a live queue stays as it is.

        Args:
            queue_id: Its id.

        Returns:
            The queue.

        Raises:
            QueueNotFound: There is no such queue in the project, live or deleted.
        """
        return self._repository.restore_queue(self._project_id, check_id("queue_id", queue_id), self._now())

    def purge(self, *, removed_before: datetime) -> Purged:
        """Erase for good what was removed, with its labels and its log, and deleted queues with all that is in them.

        It may be repeated. Nothing of it can be restored. User ids, and names of operations and of display fields, may stay.

        Args:
            removed_before: UTC; what was removed or deleted before this time is erased.

        Returns:
            How many items of queues that stay, and how many queues. The cost is linear in what the project has removed.
        """
        return self._repository.purge(self._project_id, check_time("removed_before", removed_before))
