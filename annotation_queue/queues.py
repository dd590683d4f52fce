"""The annotation queues of one project: the service that decides, over a repository that stores."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import attrs
from attrs import NOTHING

from annotation_queue import decisions
from annotation_queue.decisions import Decision, Decisions
from annotation_queue.errors import ClaimLost, Conflict, InvalidQuery, ItemNotFound
from annotation_queue.ids import uuid7
from annotation_queue.items import (
    DEFAULT_LEASE,
    AnnotationQueue,
    Claim,
    NewItem,
    QueueItem,
    Unavailable,
    admit,
    copy_payload,
)
from annotation_queue.json_values import check_json, check_texts
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.records import item_of, own_progress, view
from annotation_queue.states import (
    COMPLETED,
    IN_PROGRESS,
    SKIPPED,
    STANDARD,
    UNSTARTED,
    SkipPolicy,
    Workflow,
    aggregate,
    check_move,
    check_state,
)
from annotation_queue.values import (
    check_id,
    check_integer,
    check_lease,
    check_text,
    check_time,
    refuse,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from annotation_queue.decisions import Decide
    from annotation_queue.items import AddedItems, QueueStats
    from annotation_queue.json_values import JsonValue
    from annotation_queue.query import ItemPage, QueuePage
    from annotation_queue.repository import Repository
    from annotation_queue.states import AnnotationState, Progress, Transition

_Query = TypeVar("_Query", ItemQuery, QueueQuery)
_Unchanged: TypeAlias = attrs.NothingType

_WALK_PAGE: Final = 500
_WALK_BYTES: Final = 2 << 20
"""How many items, and how many bytes of their payloads, a walk holds at a time."""


class AnnotationQueues:
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

    def __init__(
        self,
        repository: Repository,
        project_id: str,
        *,
        workflow: Workflow = STANDARD,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._repository = repository
        self._project_id = check_id("project_id", project_id)
        self._workflow = workflow
        self._clock = clock
        self._new_id = new_id
        self._decisions = Decisions(repository, self._project_id)

    @property
    def project_id(self) -> str:
        """The project whose queues these are."""
        return self._project_id

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
        item_id, queue_id = check_id("item_id", item_id), _optional_id("queue_id", queue_id)
        annotator_id = _optional_id("annotator_id", annotator_id)
        if include_position:
            queue_id = queue_id or self._queue_id_of(item_id)
            query = ItemQuery(filter=ItemFilter(id=item_id), include_position=True, annotator_id=annotator_id)
            found = self._repository.query_items(self._project_id, queue_id, query).items
            if not found:
                raise ItemNotFound(item_id)
            return found[0]
        if annotator_id is None:
            return self._repository.get_item(self._project_id, item_id, queue_id)
        records = self._repository.get_records(self._project_id, (item_id,), queue_id, with_items=True)
        if item_id not in records:
            raise ItemNotFound(item_id)
        own = own_progress(records[item_id], annotator_id)
        return view(item_of(records[item_id]), aggregate(() if own is None else (own,)))

    def _queue_id_of(self, item_id: str) -> str:
        records = self._repository.get_records(self._project_id, (item_id,), with_items=False)
        if item_id not in records:
            raise ItemNotFound(item_id)
        return records[item_id].queue.id

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

        Every item that stays in place is shown exactly once, whatever is added, removed or annotated meanwhile. At most 500
        items are held at a time, and no more than fill 2 MiB with their payloads, or one.

        Args:
            queue_id: The queue.
            query: Which items, in which order and view; its limit bounds the whole walk. Leave out the payloads if nobody
                looks at them.

        Yields:
            The items, in the query's order.

        Raises:
            QueueNotFound: There is no such live queue in the project, or it is deleted during the walk.
            InvalidCursor: The cursor is not one of this queue, sort and perspective.
        """
        left = _check_query(query, ItemQuery).limit
        room = _WALK_BYTES if query.max_bytes is None else min(query.max_bytes, _WALK_BYTES)
        query = attrs.evolve(query, include_total=False, max_bytes=room)
        while True:
            size = _WALK_PAGE if left is None else min(left, _WALK_PAGE)
            page = self.query_items(queue_id, attrs.evolve(query, limit=size))
            yield from page.items
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor
            if cursor is None or left == 0:
                return
            # The next page is read when this one is let go of.
            del page
            query = attrs.evolve(query, offset=0, cursor=cursor)

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

    # Annotating

    def claim(self, queue_id: str, annotator_id: str, *, lease: timedelta | None = None) -> Claim | Unavailable:
        """Hand out the first item in queue order that this annotator may work on.

        Args:
            queue_id: The queue.
            annotator_id: Who wants to work.
            lease: How long the claim lasts without a heartbeat; None for the queue's lease.

        Returns:
            The claim, or a falsy `Unavailable` that says why there is none.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidTransition: The workflow has no move from unstarted to in_progress.
        """
        granted = self._claim(queue_id, annotator_id, 1, lease)
        return granted if isinstance(granted, Unavailable) else granted[0]

    def claim_batch(
        self, queue_id: str, annotator_id: str, limit: int, *, lease: timedelta | None = None
    ) -> tuple[Claim, ...]:
        """Hand out several items in one atomic step.

        Args:
            queue_id: The queue.
            annotator_id: Who wants to work.
            limit: At most so many, at least 0.
            lease: How long the claims last without a heartbeat; None for the queue's lease.

        Returns:
            The claims, in queue order; none where `claim` would give an `Unavailable`.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidTransition: The workflow has no move from unstarted to in_progress.
        """
        if check_integer("limit", limit, minimum=0) == 0:
            self._repository.get_queue(self._project_id, check_id("queue_id", queue_id))
            return ()
        granted = self._claim(queue_id, annotator_id, limit, lease)
        return () if isinstance(granted, Unavailable) else granted

    def heartbeat(self, claim: Claim, *, lease: timedelta | None = None) -> Claim:
        """Prolong a claim, also one whose lease ran out as long as nobody was granted the item.

        Args:
            claim: The claim.
            lease: How long it lasts from now; None for the queue's lease.

        Returns:
            The claim with its new end. Nothing else moves, no ``updated_at`` and no history.

        Raises:
            ClaimLost: The claim no longer holds its item, or the item was removed.
            QueueNotFound: The queue was deleted.
        """
        claim, lease = _check_claim(claim), _optional_lease(lease)
        decision = self._decide_claim(claim, partial(decisions.prolong, claim=claim, at=self._now(), lease=lease))
        return Claim(
            item=_claimed_item(claim, decision),
            annotator_id=claim.annotator_id,
            token=claim.token,
            expires_at=decision.progress.lease_expires_at or claim.expires_at,
        )

    def complete(self, claim: Claim, annotation: JsonValue = None) -> QueueItem:
        """Finish a claim with a label.

        Args:
            claim: The claim.
            annotation: The label, any JSON value; None keeps a draft that is there.

        Returns:
            The item in the annotator's perspective. Repeated under the same token it changes nothing and succeeds.

        Raises:
            ClaimLost: The claim no longer holds its item, or the item was removed; nothing was written.
            QueueNotFound: The queue was deleted.
            InvalidTransition: The workflow has no such move.
        """
        check_json("annotation", annotation)
        return self._finish(claim, COMPLETED, annotation, None)

    def complete_batch(self, results: Iterable[tuple[Claim, JsonValue]]) -> tuple[QueueItem | ClaimLost, ...]:
        """Finish several claims with one commit instead of one for each.

        Args:
            results: The claims with their labels. Those on different items are stored in one atomic step; a further one on
                the same item in a step of its own, after it.

        Returns:
            For each in order what `complete` would return, or the `ClaimLost` that it would raise; one lost claim keeps
            none of the others from being stored.

        Raises:
            InvalidValue: A label is no JSON; nothing was written.
            QueueNotFound: A queue was deleted; nothing of the step was written.
            InvalidTransition: The workflow has no such move; nothing of the step was written.
        """
        at = self._now()
        waiting: list[tuple[int, Claim, JsonValue]] = []
        for index, (claim, annotation) in enumerate(results):
            check_json(f"results[{index}].annotation", annotation)
            waiting.append((index, _check_claim(claim), annotation))
        outcomes: dict[int, QueueItem | ClaimLost] = {}
        while waiting:
            step: dict[str, tuple[int, Claim, JsonValue]] = {}
            for result in waiting:
                step.setdefault(result[1].item.id, result)
            outcomes.update(self._complete_step(list(step.values()), at))
            waiting = [result for result in waiting if result[0] not in outcomes]
        return tuple(outcomes[index] for index in sorted(outcomes))

    def skip(self, claim: Claim, reason: str | None = None) -> QueueItem:
        """Finish a claim without a label. Returns and raises as `complete`.

        Args:
            claim: The claim.
            reason: Why.
        """
        return self._finish(claim, SKIPPED, None, _optional_reason(reason))

    def release(self, claim: Claim, reason: str | None = None) -> QueueItem:
        """Give a claim back; the item can be claimed again at once. Raises as `complete`; repeated it is `ClaimLost`.

        Args:
            claim: The claim.
            reason: Why.

        Returns:
            The item in the annotator's perspective.
        """
        return self._finish(claim, UNSTARTED, None, _optional_reason(reason))

    def update_progress(
        self,
        item_id: str,
        annotator_id: str,
        state: AnnotationState,
        *,
        queue_id: str | None = None,
        annotation: JsonValue = None,
        reason: str | None = None,
    ) -> QueueItem:
        """Move an annotator's progress directly, without a claim: no token is needed and slots do not matter.

        Args:
            item_id: The item.
            annotator_id: The annotator.
            state: Where it shall go. In_progress gets the queue's lease.
            queue_id: The queue the item must be in; None for whichever it is in.
            annotation: The label, any JSON value; None keeps the one that is there.
            reason: Why.

        Returns:
            The item in the annotator's perspective. In that state already, nothing changes: no label, no lease, no history.

        Raises:
            QueueNotFound: ``queue_id`` is no live queue of the project, or without it the item's queue is deleted.
            ItemNotFound: There is no such live item in the project, or in the queue.
            InvalidTransition: The workflow has no such move.
        """
        item_id, annotator_id = check_id("item_id", item_id), check_id("annotator_id", annotator_id)
        queue_id, to_state = _optional_id("queue_id", queue_id), check_state("state", state)
        check_json("annotation", annotation)
        decide = partial(
            decisions.move,
            item_id=item_id,
            annotator_id=annotator_id,
            to_state=to_state,
            at=self._now(),
            workflow=self._workflow,
            annotation=annotation,
            reason=_optional_reason(reason),
        )
        made = self._decisions.carry_out_one(item_id, decide, queue_id, with_items=True, labels_of=(annotator_id,))
        return _seen_by_annotator(item_of(made.record), made)

    def progress(self, item_id: str) -> tuple[Progress, ...]:
        """Read what every annotator did with an item.

        Args:
            item_id: The item.

        Returns:
            Their progresses, by annotator id, released ones included.

        Raises:
            QueueNotFound: The item's queue is deleted.
            ItemNotFound: There is no such live item in the project.
        """
        item_id = check_id("item_id", item_id)
        records = self._repository.get_records(self._project_id, (item_id,), with_items=False, labels_of=None)
        if item_id not in records:
            raise ItemNotFound(item_id)
        return records[item_id].progresses

    def history(self, item_id: str) -> tuple[Transition, ...]:
        """Read every change of every progress on an item.

        Args:
            item_id: The item.

        Returns:
            The transitions, oldest first; `states.fold` of them gives the states of `progress`.

        Raises:
            QueueNotFound: The item's queue is deleted.
            ItemNotFound: There is no such live item in the project.
        """
        return self._repository.history(self._project_id, check_id("item_id", item_id))

    def _now(self) -> datetime:
        return check_time("clock", self._clock())

    def _claim(
        self, queue_id: str, annotator_id: str, limit: int, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        queue_id, annotator_id = check_id("queue_id", queue_id), check_id("annotator_id", annotator_id)
        check_move(self._workflow, UNSTARTED, IN_PROGRESS)
        lease, at = _optional_lease(lease), self._now()
        return self._repository.claim(self._project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease)

    def _decide_claim(self, claim: Claim, decide: Decide, *, labels_of: Collection[str] = ()) -> Decision:
        return self._decisions.carry_out_one(claim.item.id, decide, claim.item.queue_id, labels_of=labels_of)

    def _finish(self, claim: Claim, to_state: AnnotationState, annotation: JsonValue, reason: str | None) -> QueueItem:
        claim = _check_claim(claim)
        decide = partial(
            decisions.finish,
            claim=claim,
            to_state=to_state,
            at=self._now(),
            workflow=self._workflow,
            annotation=annotation,
            reason=reason,
        )
        return _claimed_item(claim, self._decide_claim(claim, decide, labels_of=(claim.annotator_id,)))

    def _complete_step(
        self, results: Sequence[tuple[int, Claim, JsonValue]], at: datetime
    ) -> Iterator[tuple[int, QueueItem | ClaimLost]]:
        """Complete claims on different items in one atomic step."""
        finish = partial(decisions.finish, to_state=COMPLETED, at=at, workflow=self._workflow)
        decides: dict[str | None, dict[str, Decide]] = {}
        for _, claim, annotation in results:
            of_queue = decides.setdefault(claim.item.queue_id, {})
            of_queue[claim.item.id] = partial(finish, claim=claim, annotation=annotation)
        made = self._decisions.carry_out(decides, labels_of={claim.annotator_id for _, claim, _ in results})
        for index, claim, _ in results:
            decision = made[claim.item.id]
            yield index, decision if isinstance(decision, ClaimLost) else _claimed_item(claim, decision)

    def _replace(self, queue_id: str, change: Callable[[AnnotationQueue], AnnotationQueue]) -> AnnotationQueue:
        for _ in range(decisions.MOST_ATTEMPTS):
            before = self.get(queue_id)
            after = change(before)
            if after == before:
                return before
            try:
                self._repository.replace_queue(before, after)
            except Conflict:
                continue
            return after
        raise Conflict(f"queue {queue_id!r} kept changing")


def _seen_by_annotator(item: QueueItem, decision: Decision, payload: dict[str, JsonValue] | None = None) -> QueueItem:
    return view(item, aggregate((decision.progress,)), updated_at=decision.updated_at, payload=payload)


def _claimed_item(claim: Claim, decision: Decision) -> QueueItem:
    """Show the item that a claim carries, with a payload that nobody else holds."""
    return _seen_by_annotator(claim.item, decision, copy_payload(claim.item.payload))


def _check_claim(claim: object) -> Claim:
    if not isinstance(claim, Claim):
        raise refuse("claim", claim, "a Claim")
    return claim


def _optional_id(name: str, value: str | None) -> str | None:
    return None if value is None else check_id(name, value)


def _optional_lease(lease: timedelta | None) -> timedelta | None:
    return None if lease is None else check_lease("lease", lease)


def _optional_reason(reason: str | None) -> str | None:
    return None if reason is None else check_text("reason", reason)


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
