"""The storage behind the service: one protocol, whose docstrings are the contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from annotation_queue.changes import ChangePage, Settlement
from annotation_queue.errors import ClaimLost
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    Claim,
    ItemPatch,
    NewItem,
    Purged,
    QueueItem,
    QueueStats,
    Unavailable,
)
from annotation_queue.labels import LabelPage, LabelQuery, LabelTextPage
from annotation_queue.moves import Reset
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.records import Change, ItemRecord
from annotation_queue.states import Transition


class Repository(Protocol):
    """Stores queues, items, progresses and histories, and decides nothing but who is granted a claim.

    What every implementation guarantees:

    - **Atomic.** Each method takes effect whole or not at all, whatever it raises, and no other call sees half of it. Only
      `remove_items` may take several such steps.
    - **Durable as its storage is.** When a method returned, what it wrote is there for every later call, in any thread,
      process or machine that shares the storage.
    - **Same answers.** The same history of calls gives the same answers on every implementation. Text compares by code
      point, times by microsecond, states in the order of their members; absent values come last in both directions.
    - **No rules of its own.** What a state, a view, an aggregate, a finished item or a claimable item is, is decided by the
      functions of `states` and `records`. An implementation may keep what they gave (a `Standing`) beside the item, in the
      same atomic step, and must keep it current.
    - **No aliases.** What was handed in or out may be changed by the caller afterwards; what is stored does not change.
    - **Thread-safe.** Any method may be called from any thread at any time.
    - **Projects are apart.** A queue or an item of another project is not found, whatever ids are given.
    - **Live only.** A deleted queue is `QueueNotFound`, and then nothing in it is looked at; a deleted item is
      `ItemNotFound`, is in no page, has no position and counts for nothing.

    What is promised of an item's place in queue order (`priority DESC, created_at ASC, id ASC`): ``id``, ``created_at`` and the
    queue of an item never change. Its ``priority`` is changed by `update_items` and `reprioritise` only; whoever keeps what
    rests on the order (a position, a mark up to which an annotator settled everything) must follow it there.

    Where items are chosen by a filter, it means their aggregate view, at the instant of the step that changes them.

    Arguments were checked by the service: texts and JSON are valid, times are UTC, numbers are in range. Storage trouble is
    raised as `StorageError` or one of its kinds, from the driver's own exception; every method of a closed repository
    raises it too.
    """

    def add_queue(self, queue: AnnotationQueue) -> None:
        """Store a new queue.

        Args:
            queue: The queue. Its id is new.

        Raises:
            Conflict: The id is taken by a queue of any project, deleted ones included.
        """
        ...

    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        """Find the oldest live queue of a name, or store one, in one atomic step: however many callers there are, one is made.

        Args:
            queue: The queue to store if its project has no live queue of exactly its name. Its id is new.

        Returns:
            The oldest live queue of the project whose name equals it by code points (by ``created_at``, then ``id``), or the
            new one.

        Raises:
            Conflict: There is none of that name, and the id is taken by a queue of any project, deleted ones included.
        """
        ...

    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        """Read a live queue.

        Args:
            project_id: The project it must belong to.
            queue_id: Its id.

        Returns:
            The queue.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        ...

    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        """Read live queues of a project.

        Args:
            project_id: The project.
            query: Which of them, in which order. The name matches by `query.search_text`.

        Returns:
            The page, made by `QueueQuery.page`; past the end it is empty.

        Raises:
            InvalidCursor: The cursor is not one of this project and sort.
        """
        ...

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        """Change or delete a queue by compare-and-swap.

        Where a policy changes (annotations per item, skip policy), whatever is kept of its items' standings follows in the
        same step; items' ``updated_at`` does not move. Where ``after.deleted_at`` is set, the queue is deleted.

        Args:
            before: The queue as it was read.
            after: The queue as it shall be; id, project and creation are those of ``before``.

        Raises:
            Conflict: The stored queue is not equal to ``before``.
            QueueNotFound: It was deleted meanwhile.
        """
        ...

    def add_items(
        self,
        project_id: str,
        queue_id: str,
        items: Iterable[NewItem],
        make: Callable[[NewItem, AnnotationQueue], QueueItem],
    ) -> AddedItems:
        """Add items to a queue, each call once.

        The iterable is read once, from front to back, and may be a generator. An error it raises propagates and nothing is
        added. It is best read to its end before anything is locked: it may take its time, and a repository that reads it under
        its lock has to let it write to the same repository, from the same thread.

        Args:
            project_id: The project.
            queue_id: The queue.
            items: What to add.
            make: Turns one of them into an item; called once for each that is not a duplicate, in order. Where it is called
                before anything is locked, others may add the same call meanwhile, and the item is left out after all.

        Returns:
            The new items in order, and how many were left out because a live item of the queue, or an earlier one of this
            call, has the same ``call_id``.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            Conflict: An item's id is taken by any item, deleted ones included.
        """
        ...

    def get_item(self, project_id: str, item_id: str, queue_id: str | None = None) -> QueueItem:
        """Read a live item.

        Args:
            project_id: The project.
            item_id: The item.
            queue_id: The queue it must be in; None for whichever it is in.

        Returns:
            The item in the aggregate view, without a position.

        Raises:
            QueueNotFound: ``queue_id`` is no live queue of the project, or without it the item's queue is deleted.
            ItemNotFound: There is no such live item in the project, or in the queue.
        """
        ...

    def get_records(
        self,
        project_id: str,
        item_ids: Sequence[str],
        queue_id: str | None = None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None = (),
    ) -> dict[str, ItemRecord]:
        """Read all that decisions about items rest on, at one instant.

        Args:
            project_id: The project.
            item_ids: The items, each once.
            queue_id: The queue they must be in; None for whichever they are in.
            with_items: Whether the records carry the items, in the aggregate view and without positions.
            labels_of: The annotators whose labels are read; None for everybody's. The progresses of all others carry
                `states.UNREAD` in place of their label, at no cost for what the label holds.

        Returns:
            Item id -> record: the item's live queue, its progresses by annotator id, and a revision for `save`. What is no live
            item of the project, or of the queue, is left out.

        Raises:
            QueueNotFound: ``queue_id`` is no live queue of the project, or without it the queue of one of the items is deleted.
        """
        ...

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """Store changes of items by compare-and-swap: all of them or none.

        For each the progresses that changed replace or join those stored, the transitions are appended to the item's
        history in their order, and the item's ``updated_at`` is set. A label that is `states.UNREAD` stays as it is stored.

        Args:
            writes: Records as they were read, each with what changes; at most one for each item.

        Raises:
            Conflict: One of the items, a progress on it, or its queue's policies or life changed since its record was read;
                an implementation may refuse after any other change of the queue too.
        """
        ...

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        """Read items of a queue.

        Args:
            project_id: The project.
            queue_id: The queue.
            query: Which of them, in which order and view. With ``include_position`` each carries its 1-based rank among all
                live items of the queue under the query's order and perspective, whatever filter and page. Without
                ``include_payload`` no payload is read. Whether a page ends early by ``max_bytes`` is the implementation's
                choice: one that reads everything anyway may leave it out.

        Returns:
            The page, made by `ItemQuery.page`; past the end it is empty.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidCursor: The cursor is not one of this queue, sort and perspective.
        """
        ...

    def update_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, patch: ItemPatch, at: datetime
    ) -> int:
        """Change items as `items.patched` does, with all that rests on their order and on whom they are reserved for.

        Args:
            project_id: The project.
            queue_id: The queue.
            which: Any number of ids, those of no live item of the queue are passed over, as are repetitions; or a filter.
            patch: What changes.
            at: Now, UTC: the ``updated_at`` of the items that change, unless theirs is later.

        Returns:
            How many changed.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        ...

    def reprioritise(self, project_id: str, queue_id: str, priorities: Mapping[str, int], at: datetime) -> int:
        """Change the priorities of items, each to its own; else as `update_items`.

        Args:
            project_id: The project.
            queue_id: The queue.
            priorities: Item id -> priority; ids of no live item of the queue are passed over.
            at: Now, UTC.

        Returns:
            How many changed.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        ...

    def reset(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
        """Put progresses on items back to unstarted, all of them in one atomic step.

        Which items are meant is looked at in this step too: nothing enters a filter, or leaves it, between the look and the
        change. What changes on each item is decided by `records.put_back`, and stored as by `save`. The log has it in the order
        of the ids, each at its first place, or in queue order for a filter. However many items there are, an implementation
        that can holds the records of some thousands at a time.

        Args:
            project_id: The project.
            queue_id: The queue.
            which: Any number of ids, those of no live item of the queue are passed over, as are repetitions; or a filter.
            wanted: Whose progresses, and by whom.

        Returns:
            How many progresses were put back.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        ...

    def remove_items(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, at: datetime) -> int:
        """Delete items softly: their progresses and histories stay stored and are not reachable.

        Many items may be removed in several steps, each of them whole, so that others are let in between. What fails in between
        leaves the earlier steps done, and a note on the error says how many items they removed; calling again removes the rest.

        Args:
            project_id: The project.
            queue_id: The queue.
            which: Any number of ids, those of no live item of the queue are passed over, as are repetitions; or a filter.
            at: Now, UTC: the items' ``deleted_at``, and their ``updated_at`` unless theirs is later.

        Returns:
            How many were deleted.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        ...

    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        """Bring removed items back, with their progresses, their histories and their places.

        Args:
            project_id: The project.
            queue_id: The queue.
            item_ids: Any number of ids; those of no removed item of the queue are passed over, as are repetitions, and items
                whose call a live item of the queue has by then: of two with the same call, the first one comes back.
            at: Now, UTC: their ``updated_at``, unless it is later.

        Returns:
            How many were brought back.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        ...

    def restore_queue(self, project_id: str, queue_id: str, at: datetime) -> AnnotationQueue:
        """Bring a deleted queue back, with all that was in it.

        Args:
            project_id: The project.
            queue_id: The queue.
            at: Now, UTC: its ``updated_at``.

        Returns:
            The queue; if it is not deleted, as it is.

        Raises:
            QueueNotFound: There is no such queue in the project, live or deleted.
        """
        ...

    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        """Erase removed items for good, with their progresses and log entries, and deleted queues with all that is in them.

        What is erased is in no table any more, and the storage overwrites it where it can. What others refer to by a number may
        stay: user ids, names of operations and of display fields. A cursor of changes stays good; what was erased is
        not shown behind it.

        Args:
            project_id: The project.
            removed_before: UTC; what was removed or deleted before this time is erased.

        Returns:
            How many items of queues that stay, and how many queues.
        """
        ...

    def claim(
        self,
        project_id: str,
        queue_id: str,
        annotator_id: str,
        *,
        limit: int,
        at: datetime,
        lease: timedelta | None,
    ) -> tuple[Claim, ...] | Unavailable:
        """Grant an annotator the first claimable items in queue order.

        An item is claimable if `states.claimable_at` for this annotator is not None and not after ``at``, and `states.is_for`
        says that it is not reserved for others. In a paused queue none is. In one atomic step, for each item granted:

        1. it is chosen as the first claimable in queue order, given what was granted before it;
        2. `moves.grant` says what changes, and that is stored as by `save`.

        However many callers claim at once, none is granted what another one holds; a claimable item is never passed over,
        except where a claim in flight has it locked.

        Args:
            project_id: The project.
            queue_id: The queue.
            annotator_id: Who wants to work.
            limit: At most so many, at least 1.
            at: Now, UTC.
            lease: How long the claims last; None for the queue's own lease.

        Returns:
            At least one claim, in queue order; or, where nothing is claimable, what `items.explain_unavailable` says.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidValue: The lease would end beyond the year 9999; nothing was granted.
        """
        ...

    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        """Read what an annotator holds: their progresses on live items that are in progress, expired ones too.

        Args:
            project_id: The project.
            queue_id: The queue.
            annotator_id: The annotator.

        Returns:
            A claim for each, in queue order, with the item in the annotator's perspective.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        ...

    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        """Read labels of a queue's live items.

        Args:
            project_id: The project.
            queue_id: The queue.
            query: Which of them, and in which direction.

        Returns:
            The page, made by `LabelQuery.page`, in the order in which the progresses last changed as it was stored (a heartbeat
            or a draft is no change), or the reverse. Without ``include_payload`` no payload is read. Whether the page ends
            early by ``max_bytes`` is the implementation's choice. A walk by cursor shows every progress that does not change
            meanwhile exactly once.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidCursor: The cursor is not one of this queue and query.
        """
        ...

    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> ChangePage:
        """Read a queue's log from a cursor on, the transitions of removed items too.

        Nothing in a log ever changes, and nothing ever appears in front of a cursor that was handed out: a transition whose
        commit may still come before it is waited for by showing nothing behind it yet. So whoever follows the cursors sees
        every transition exactly once, and those of one item in their order.

        Args:
            project_id: The project.
            queue_id: The queue.
            after: A cursor of this queue's changes; None for the start.
            limit: Most transitions, at least 1.

        Returns:
            The page, with the cursor made by `changes.change_cursor`; if nothing is new, it is ``after`` or one of the start.
            It may end before the limit where its labels are large, but not before its first transition.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidCursor: ``after`` is no cursor of this queue's changes.
        """
        ...

    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[Settlement, ...]:
        """Read which steps from another state to completed or skipped a queue's log has after a time.

        Args:
            project_id: The project.
            queue_id: The queue.
            since: UTC; a step counts if its ``at`` is later.

        Returns:
            The steps, in the order in which they were stored, removed items' too.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        ...

    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        """Read an item's history.

        Args:
            project_id: The project.
            item_id: The item.

        Returns:
            Its transitions, oldest first, in the order in which they were stored; `Progress.step` counts them.

        Raises:
            QueueNotFound: The item's queue is deleted.
            ItemNotFound: There is no such live item in the project.
        """
        ...

    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[QueueStats, ...]:
        """Count what queues hold, at one instant.

        Args:
            project_id: The project.
            queue_ids: The queues, in any order, repeated ones repeatedly.

        Returns:
            Their statistics, in the order asked for.

        Raises:
            QueueNotFound: One of them is no live queue of the project.
        """
        ...

    def check(self) -> tuple[str, ...]:
        """Recount everything that is kept beside what it is derived from.

        An implementation that keeps nothing derived returns nothing.

        Returns:
            What is wrong, a sentence each; nothing if all is well. Cost: linear in all that is stored.
        """
        ...

    def close(self) -> None:
        """Let go of what the repository holds; a second time does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class HearsOfLostClaims(ABC):
    """What a repository may be besides a `Repository`, by inheriting: it is told of claims that the service found lost."""

    @abstractmethod
    def claims_lost(self, project_id: str, lost: Sequence[ClaimLost]) -> None:
        """Take note. It changes nothing, and must raise nothing.

        Args:
            project_id: The project.
            lost: What each of their callers gets.
        """


class RemembersClaims(ABC):
    """What a repository may be besides a `Repository`, by inheriting: it remembers the records that claims left."""

    @abstractmethod
    def record_of_claim(self, project_id: str, item_id: str, annotator_id: str) -> ItemRecord | None:
        """Give the record that a claim left, without labels and without the item, which may be outdated by now.

        What is decided from it holds only if `Repository.save` takes the change. Whatever else it comes to, whoever asked reads
        the record and decides again.

        Args:
            project_id: The project.
            item_id: The item that was claimed.
            annotator_id: By whom.

        Returns:
            The record; None if it is not remembered.
        """


class CountsRemoved(ABC):
    """What a repository may be besides a `Repository`, by inheriting: it counts what was removed, and changes nothing."""

    @abstractmethod
    def count_purgeable(self, project_id: str, removed_before: datetime) -> Purged:
        """Count what `Repository.purge` would erase; arguments and result are its own."""

    @abstractmethod
    def count_restorable(self, project_id: str, queue_id: str, item_ids: Sequence[str]) -> int:
        """Count what `Repository.restore_items` would bring back; arguments, result and errors are its own."""


class ReadsLabelTexts(ABC):
    """What a repository may be besides a `Repository`, by inheriting: it reads labels as texts, for exports."""

    @abstractmethod
    def label_texts(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelTextPage:
        """Read labels of a queue's live items as texts.

        Args:
            project_id: The project.
            queue_id: The queue.
            query: Which of them, and in which direction. ``include_payload`` has no meaning here: no payload is read.

        Returns:
            The page, made by `LabelQuery.page_of_texts`: what `labels.text_of` makes of the labels of `Repository.labels`, in
            their order and with the same promises. Cursors of either go on in both.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidCursor: The cursor is not one of this queue and query.
        """
