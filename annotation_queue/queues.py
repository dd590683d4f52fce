"""The annotation queues of one project: the service that decides, over a repository that stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import attrs
from attrs import NOTHING

from annotation_queue import decisions
from annotation_queue.answers import claimed_item, granted, in_perspective, prolonged
from annotation_queue.arguments import (
    actor_of,
    check_query,
    chosen,
    ids,
    optional_id,
    optional_lease,
    optional_reason,
)
from annotation_queue.changes import ChangePage, Throughput, throughput_of
from annotation_queue.decisions import Decide, Decisions
from annotation_queue.docstrings import shown_whole
from annotation_queue.errors import ClaimLost, InvalidQuery, ItemNotFound
from annotation_queue.ids import uuid7
from annotation_queue.items import (
    DEFAULT_LEASE,
    AnnotationQueue,
    Claim,
    ClaimRef,
    QueueItem,
    QueueStats,
    Unavailable,
    check_claim,
    same_queue,
)
from annotation_queue.json_values import JsonInput, JsonValue, check_texts, plain_json
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.lists import Lists
from annotation_queue.moves import Reset, check_move, make_wish
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery, check_cursor
from annotation_queue.records import item_of, own_progress, view
from annotation_queue.repository import Repository
from annotation_queue.states import (
    COMPLETED,
    IN_PROGRESS,
    SKIPPED,
    STANDARD,
    UNSTARTED,
    AnnotationState,
    Progress,
    SkipPolicy,
    Transition,
    Workflow,
    aggregate,
    check_state,
)
from annotation_queue.values import (
    check_flag,
    check_id,
    check_integer,
    check_lease,
    earlier,
    utc_now,
)
from annotation_queue.walks import walk

_Unchanged: TypeAlias = attrs.NothingType


@shown_whole
class AnnotationQueues(Lists):
    """The annotation queues of one project.

    Cheap to make, holds no state of its own, safe to share between threads. Besides the errors that its methods name, each
    raises `InvalidValue` for an argument it refuses, before anything is stored, and `StorageError` if the storage fails.
    A deleted queue, or one of another project, is `QueueNotFound` for every method; an item likewise `ItemNotFound`.

    `OutcomeUnknown` is a `StorageError` that leaves open whether the call took effect. What only reads may be repeated; for
    what writes, the docstring of the method says what to do. "It may be repeated" means: if the first call took effect, the
    same call again changes nothing and succeeds.

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

    @property
    def repository(self) -> Repository:
        """Where everything is stored, with whatever that can do besides the contract."""
        return self._repository

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
        label_schema: Mapping[str, JsonInput] | None = None,
        is_paused: bool = False,
        queue_id: str | None = None,
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
            label_schema: A JSON Schema, draft 2020-12, that every label has to satisfy; None for any label.
            is_paused: Whether nobody can claim for now.
            queue_id: Its id; None for one of the id factory's. With an id of yours the call may be repeated, after
                `OutcomeUnknown` too: it returns the queue that is there. Without one a repetition makes another queue, so
                look for the first one by its name with `query`.

        Returns:
            The new queue, or with ``queue_id`` the one that an equal call made.

        Raises:
            Conflict: The id is taken by a queue that differs in one of the arguments, is deleted or belongs to another project.
        """
        queue = self._new_queue(
            name,
            created_by=created_by,
            queue_id=queue_id,
            description=description,
            scorer_refs=scorer_refs,
            annotations_per_item=annotations_per_item,
            skip_policy=skip_policy,
            lease=lease,
            label_schema=label_schema,
            is_paused=is_paused,
        )
        return self._decisions.add_queue(queue, repeats=queue_id is not None)

    def get_or_create(
        self,
        name: str,
        *,
        created_by: str,
        description: str = "",
        scorer_refs: Iterable[str] = (),
        annotations_per_item: int = 1,
        skip_policy: SkipPolicy = SkipPolicy.FINAL,
        lease: timedelta = DEFAULT_LEASE,
        label_schema: Mapping[str, JsonInput] | None = None,
        is_paused: bool = False,
    ) -> AnnotationQueue:
        """Find the oldest live queue of exactly that name, or make it, in one atomic step. It may be repeated at any time.

        Arguments are those of `create`; if the queue is there, all but the name are passed over.

        Returns:
            The queue. However many processes ask at once, they get the same one.
        """
        queue = self._new_queue(
            name,
            created_by=created_by,
            description=description,
            scorer_refs=scorer_refs,
            annotations_per_item=annotations_per_item,
            skip_policy=skip_policy,
            lease=lease,
            label_schema=label_schema,
            is_paused=is_paused,
        )
        return self._repository.get_or_create_queue(queue)

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
        return self._repository.query_queues(self._project_id, check_query(query, QueueQuery))

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
        label_schema: Mapping[str, JsonInput] | _Unchanged | None = NOTHING,
        is_paused: bool | _Unchanged = NOTHING,
    ) -> AnnotationQueue:
        """Change a queue; what is not given stays. Arguments are those of `create`. It may be repeated.

        A new ``annotations_per_item`` or ``skip_policy`` holds for the items that are there too: finished ones open again and
        open ones finish, at a cost linear in the items.

        Returns:
            The queue as it is now; if nothing differs it is unchanged, its ``updated_at`` too.

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
            "label_schema": label_schema,
            "is_paused": is_paused,
        }
        changes = {field: value for field, value in given.items() if value is not NOTHING}
        at = self._now()

        def change(before: AnnotationQueue) -> AnnotationQueue:
            after: AnnotationQueue = attrs.evolve(before, **changes)
            return after if same_queue(after, before) else attrs.evolve(after, updated_at=at)

        return self._decisions.replace_queue(check_id("queue_id", queue_id), change)

    def stats(self, queue_ids: Iterable[str]) -> tuple[QueueStats, ...]:
        """Count what queues hold, all at one instant.

        Args:
            queue_ids: The queues.

        Returns:
            Their statistics, in the order asked for. The cost does not grow with the items.

        Raises:
            QueueNotFound: One of them is no live queue of the project.
        """
        return self._repository.stats(self._project_id, ids("queue_ids", queue_ids))

    # Items

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
        item_id, queue_id = check_id("item_id", item_id), optional_id("queue_id", queue_id)
        annotator_id = optional_id("annotator_id", annotator_id)
        if include_position:
            queue_id = queue_id or self._decisions.record(item_id).queue.id
            query = ItemQuery(filter=ItemFilter(id=item_id), include_position=True, annotator_id=annotator_id)
            found = self._repository.query_items(self._project_id, queue_id, query).items
            if not found:
                raise ItemNotFound(item_id)
            return found[0]
        if annotator_id is None:
            return self._repository.get_item(self._project_id, item_id, queue_id)
        record = self._decisions.record(item_id, queue_id, with_items=True)
        own = own_progress(record, annotator_id)
        return view(item_of(record), aggregate(() if own is None else (own,)))

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
        queue_id, query = check_id("queue_id", queue_id), check_query(query, ItemQuery)
        return self._repository.query_items(self._project_id, queue_id, query)

    def iter_items(self, queue_id: str, query: ItemQuery = ItemQuery()) -> Iterator[QueueItem]:  # noqa: B008
        """Walk over items of a queue by cursor, in bounded memory.

        Every item that stays in place is shown exactly once, whatever is added, removed, annotated or moved meanwhile; one that
        moves may be shown again, or not at all. At most 500 items are held at a time, and no more than fill 2 MiB with their
        payloads, or one.

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

        def read(part: ItemQuery) -> tuple[Sequence[QueueItem], str | None]:
            page = self.query_items(queue_id, part)
            return page.items, page.next_cursor

        return walk(read, check_query(query, ItemQuery))

    # Annotating

    def claim(
        self, queue_id: str, annotator_id: str, *, lease: timedelta | None = None, resume: bool = False
    ) -> Claim | Unavailable:
        """Hand out the first item in queue order that this annotator may work on.

        After `OutcomeUnknown` repeat it with ``resume=True``: what was granted is handed out again. Without it the item of the
        lost answer stays held until its lease ends.

        Args:
            queue_id: The queue.
            annotator_id: Who wants to work.
            lease: How long the claim lasts without a heartbeat; None for the queue's lease.
            resume: Whether to hand out first what this annotator holds already, with its lease prolonged and the same token.

        Returns:
            The claim, or a falsy `Unavailable` that says why there is none.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidTransition: The workflow has no move from unstarted to in_progress.
        """
        if check_flag("resume", resume):
            for held in self.holds(queue_id, annotator_id):
                with suppress(ClaimLost):
                    return self.heartbeat(held, lease=lease)
        claims = self._claim(queue_id, annotator_id, 1, lease)
        return claims if isinstance(claims, Unavailable) else claims[0]

    def claim_item(self, item_id: str, annotator_id: str, *, lease: timedelta | None = None) -> Claim | Unavailable:
        """Claim a very item, by the same rules as `claim` but for the order.

        After `OutcomeUnknown` ask `holds`: if the item was granted, its claim is there.

        Args:
            item_id: The item.
            annotator_id: Who wants to work on it.
            lease: How long the claim lasts without a heartbeat; None for the queue's lease.

        Returns:
            The claim, or an `Unavailable` that says why there is none, as if the item were the only one of its queue.

        Raises:
            QueueNotFound: The item's queue is deleted.
            ItemNotFound: There is no such live item in the project.
            InvalidTransition: The workflow has no move from unstarted to in_progress.
        """
        item_id, annotator_id = check_id("item_id", item_id), check_id("annotator_id", annotator_id)
        check_move(self._workflow, UNSTARTED, IN_PROGRESS)
        decide = partial(decisions.take, item_id, annotator_id, self._now(), optional_lease(lease))
        made = self._decisions.carry_out_one(item_id, decide, with_item=True)
        return granted(made) if made.change is not None else decisions.explain_item(made.record, annotator_id)

    def holds(self, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        """Read what an annotator holds, also the claims whose lease ran out as long as nobody was granted the item.

        Args:
            queue_id: The queue.
            annotator_id: The annotator.

        Returns:
            The claims, in queue order.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        queue_id, annotator_id = check_id("queue_id", queue_id), check_id("annotator_id", annotator_id)
        return self._repository.holds(self._project_id, queue_id, annotator_id)

    def claim_batch(
        self, queue_id: str, annotator_id: str, limit: int, *, lease: timedelta | None = None
    ) -> tuple[Claim, ...]:
        """Hand out several items in one atomic step.

        After `OutcomeUnknown` ask `holds` first: what was granted is among them. Repeated without that, it hands out others.

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
        claims = self._claim(queue_id, annotator_id, limit, lease)
        return () if isinstance(claims, Unavailable) else claims

    def heartbeat(self, claim: Claim | ClaimRef, *, lease: timedelta | None = None) -> Claim:
        """Prolong a claim, also one whose lease ran out as long as nobody was granted the item. It may be repeated.

        Args:
            claim: The claim, or its reference.
            lease: How long it lasts from now; None for the queue's lease.

        Returns:
            The claim with its new end. Nothing else moves, no ``updated_at`` and no history. Its item is the one that the claim
            carries: what `update_items` changed since then is not looked at, as for all that takes a claim.

        Raises:
            ClaimLost: The claim no longer holds its item, or the item was removed.
            QueueNotFound: The queue was deleted.
        """
        decide = partial(decisions.prolong, check_claim(claim), self._now(), optional_lease(lease), None)
        return prolonged(claim, self._decisions.carry_out_claim(claim, decide))

    def heartbeat_batch(
        self, claims: Iterable[Claim | ClaimRef], *, lease: timedelta | None = None
    ) -> tuple[Claim | ClaimLost, ...]:
        """Prolong several claims with one commit instead of one for each. It may be repeated.

        Args:
            claims: The claims, or their references; those on the same item take a commit of their own each.
            lease: How long they last from now; None for their queue's lease.

        Returns:
            For each in order what `heartbeat` would return, or the `ClaimLost` that it would raise.

        Raises:
            QueueNotFound: A queue was deleted; nothing of the step was written.
        """
        at, lease = self._now(), optional_lease(lease)
        wanted = [(claim, partial(decisions.prolong, check_claim(claim), at, lease, None)) for claim in claims]
        return tuple(
            decision if isinstance(decision, ClaimLost) else prolonged(claim, decision)
            for claim, decision in self._decisions.carry_out_claims(wanted)
        )

    def save_draft(self, claim: Claim | ClaimRef, annotation: JsonInput, *, lease: timedelta | None = None) -> Claim:
        """Store a draft under a claim, and prolong the claim. It may be repeated.

        Args:
            claim: The claim, or its reference.
            annotation: The draft, any JSON value; None keeps the one that is there. A queue's schema does not bind it.
            lease: How long the claim lasts from now; None for the queue's lease.

        Returns:
            The claim with its new end. Neither ``updated_at`` nor the history moves.

        Raises:
            ClaimLost: The claim no longer holds its item, or the item was removed; nothing was written.
            QueueNotFound: The queue was deleted.
            InvalidTransition: The workflow has no drafts: no move from in_progress to itself.
        """
        label = plain_json("annotation", annotation)
        at = self._now()
        draft = make_wish(to_state=IN_PROGRESS, at=at, workflow=self._workflow, annotation=label)
        decide = partial(decisions.prolong, check_claim(claim), at, optional_lease(lease), draft)
        return prolonged(claim, self._decisions.carry_out_claim(claim, decide, with_label=True))

    def complete(self, claim: Claim | ClaimRef, annotation: JsonInput = None) -> QueueItem:
        """Finish a claim with a label, or correct the label that it was finished with. It may be repeated.

        Args:
            claim: The claim, or its reference.
            annotation: The label, any JSON value; None keeps the draft or the label that is there.

        Returns:
            The item in the annotator's perspective. Repeated under the same token with an equal label it changes nothing and
            succeeds; another label is a revision.

        Raises:
            ClaimLost: The claim no longer holds its item, or the item was removed; nothing was written.
            QueueNotFound: The queue was deleted.
            InvalidTransition: The workflow has no such move, or no revision.
            InvalidLabel: The label does not satisfy the queue's schema.
        """
        return self._finish(claim, COMPLETED, plain_json("annotation", annotation), None)

    def complete_batch(
        self, results: Iterable[tuple[Claim | ClaimRef, JsonInput]]
    ) -> tuple[QueueItem | ClaimLost, ...]:
        """Finish several claims with one commit instead of one for each. It may be repeated.

        Args:
            results: The claims, or their references, with their labels. Those on different items are stored in one atomic step;
                a further one on the same item in a step of its own, after it.

        Returns:
            For each in order what `complete` would return, or the `ClaimLost` that it would raise; one lost claim keeps
            none of the others from being stored.

        Raises:
            InvalidValue: A label is no JSON; nothing was written.
            InvalidLabel: A label does not satisfy its queue's schema; nothing of the step was written.
            QueueNotFound: A queue was deleted; nothing of the step was written.
            InvalidTransition: The workflow has no such move; nothing of the step was written.
        """
        at = self._now()
        wanted: list[tuple[Claim | ClaimRef, Decide]] = []
        for index, (claim, annotation) in enumerate(results):
            label = plain_json(f"results[{index}].annotation", annotation)
            done = make_wish(to_state=COMPLETED, at=at, workflow=self._workflow, annotation=label)
            wanted.append((claim, partial(decisions.finish, check_claim(claim), done)))
        annotators = {claim.annotator_id for claim, _ in wanted}
        return tuple(
            decision if isinstance(decision, ClaimLost) else claimed_item(claim, decision)
            for claim, decision in self._decisions.carry_out_claims(wanted, labels_of=annotators)
        )

    def skip(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        """Finish a claim without a label. It may be repeated. Returns and raises as `complete`; another reason is a revision.

        Args:
            claim: The claim, or its reference.
            reason: Why.
        """
        return self._finish(claim, SKIPPED, None, optional_reason(reason))

    def release(self, claim: Claim | ClaimRef, reason: str | None = None) -> QueueItem:
        """Give a claim back; the item can be claimed again at once. Raises as `complete`.

        Repeated it is `ClaimLost`, which after `OutcomeUnknown` means that the first call took effect or the claim was lost: in
        both cases the annotator does not hold the item any more.

        Args:
            claim: The claim, or its reference.
            reason: Why.

        Returns:
            The item in the annotator's perspective.
        """
        return self._finish(claim, UNSTARTED, None, optional_reason(reason))

    def update_progress(
        self,
        item_id: str,
        annotator_id: str,
        state: AnnotationState,
        *,
        queue_id: str | None = None,
        annotation: JsonInput = None,
        reason: str | None = None,
        actor_id: str | None = None,
        override: bool = False,
    ) -> QueueItem:
        """Move or revise an annotator's progress directly, without a claim. It may be repeated.

        No token is needed and slots do not matter.

        Args:
            item_id: The item.
            annotator_id: The annotator.
            state: Where it shall go. In_progress gets the queue's lease.
            queue_id: The queue the item must be in; None for whichever it is in.
            annotation: The label, any JSON value; None keeps the one that is there.
            reason: Why.
            actor_id: Who does it; None for the annotator.
            override: Whether this is done whatever the workflow, as supervisors and repairs do; it needs an ``actor_id``. An
                override to unstarted clears the label and the reason, which stay in the history, and ends the hold; it takes
                no label, and changes nothing if the progress is unstarted already.

        Returns:
            The item in the annotator's perspective. In that state already, without a label or with an equal one and likewise
            the reason, nothing changes: no label, no lease, no history. Another label or reason is a revision. In
            in_progress it is a draft, which moves neither the history nor ``updated_at``.

        Raises:
            QueueNotFound: ``queue_id`` is no live queue of the project, or without it the item's queue is deleted.
            ItemNotFound: There is no such live item in the project, or in the queue.
            InvalidTransition: The workflow has no such move.
            InvalidLabel: The label does not satisfy the queue's schema.
        """
        item_id, annotator_id = check_id("item_id", item_id), check_id("annotator_id", annotator_id)
        queue_id, to_state = optional_id("queue_id", queue_id), check_state("state", state)
        label = plain_json("annotation", annotation)
        wish = make_wish(
            to_state=to_state,
            at=self._now(),
            workflow=self._workflow,
            annotation=label,
            reason=optional_reason(reason),
            actor_id=actor_of(actor_id, override=override),
            override=override,
        )
        decide = partial(decisions.move, item_id, annotator_id, wish)
        decision = self._decisions.carry_out_one(item_id, decide, queue_id, with_item=True, labels_of=(annotator_id,))
        return in_perspective(item_of(decision.record), decision)

    def reset(
        self,
        queue_id: str,
        which: Iterable[str] | ItemFilter,
        *,
        actor_id: str,
        annotator_id: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Put progresses back to unstarted, whatever the workflow, in one atomic step. It may be repeated.

        Their labels, drafts and reasons are cleared; completed labels and the reasons of moves stay in the history. Holds end
        with their tokens. Repeated, it counts those only that were not put back yet.

        Args:
            queue_id: The queue.
            which: Ids of items, those of no live item of the queue are passed over; or a filter, in the aggregate view.
            actor_id: Who does it.
            annotator_id: Whose progresses; None for everybody's.
            reason: Why; it stands in the history.

        Returns:
            How many progresses were put back; those that are unstarted already do not count. The cost is linear in the items.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        queue_id = check_id("queue_id", queue_id)
        wanted = Reset(
            annotator_id=optional_id("annotator_id", annotator_id),
            at=self._now(),
            actor_id=check_id("actor_id", actor_id),
            reason=optional_reason(reason),
        )
        return self._repository.reset(self._project_id, queue_id, chosen(which), wanted)

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
        return self._decisions.record(check_id("item_id", item_id), labels_of=None).progresses

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

    def labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> LabelPage:  # noqa: B008 - a frozen value
        """Read labels of a queue, a page at a time.

        Args:
            queue_id: The queue.
            query: Which labels, in which direction; by default everything completed or skipped, what changed last at the end.

        Returns:
            The page; past the end it is empty. It costs the same among a thousand labels and among a million.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidCursor: The cursor is not one of this queue and query.
        """
        queue_id, query = check_id("queue_id", queue_id), check_query(query, LabelQuery)
        return self._repository.labels(self._project_id, queue_id, query)

    def iter_labels(self, queue_id: str, query: LabelQuery = LabelQuery()) -> Iterator[Label]:  # noqa: B008
        """Walk over labels of a queue by cursor, in bounded memory.

        Every progress that does not change meanwhile is shown exactly once.

        Args:
            queue_id: The queue.
            query: Which labels, in which direction; its limit bounds the whole walk.

        Yields:
            The labels, in the query's order.

        Raises:
            QueueNotFound: There is no such live queue in the project, or it is deleted during the walk.
            InvalidCursor: The cursor is not one of this queue and query.
        """

        def read(part: LabelQuery) -> tuple[Sequence[Label], str | None]:
            page = self.labels(queue_id, part)
            return page.labels, page.next_cursor

        return walk(read, check_query(query, LabelQuery))

    def changes(self, queue_id: str, *, after: str | None = None, limit: int = 1_000) -> ChangePage:
        """Follow a queue: read its log from a cursor on, what happened on removed items too.

        Args:
            queue_id: The queue.
            after: The ``cursor`` of the page before; None for the start.
            limit: Most transitions of the page, at least 1.

        Returns:
            The page, with the cursor to go on with; it may end before the limit, where its labels reach 2 MiB. Whoever
            follows the cursors sees every transition exactly once and those of one item in their order, however many writers
            commit at once.

        Raises:
            QueueNotFound: There is no such live queue in the project.
            InvalidCursor: ``after`` is no cursor of this queue's changes.
        """
        queue_id, after = check_id("queue_id", queue_id), None if after is None else check_cursor("after", after)
        limit = check_integer("limit", limit, minimum=1, error=InvalidQuery)
        return self._repository.changes(self._project_id, queue_id, after, limit)

    def throughput(self, queue_id: str, *, window: timedelta = timedelta(hours=1)) -> Throughput:
        """Tell how fast a queue is being worked on, from its log.

        Args:
            queue_id: The queue.
            window: How far to look back, more than nothing.

        Returns:
            What was settled after now minus the window, and how long what is left takes at that rate. The cost is linear in
            what the log got within the window.

        Raises:
            QueueNotFound: There is no such live queue in the project.
        """
        window, at = check_lease("window", window), self._now()
        queue = self.get(queue_id)
        (stats,) = self.stats([queue_id])
        return throughput_of(
            self._repository.settled_since(self._project_id, queue.id, earlier(at, window)),
            window=window,
            left=stats.total_items - stats.finished_items,
            annotations_per_item=queue.annotations_per_item,
        )

    def using(self, repository: Repository) -> AnnotationQueues:
        """Give the same queues over another repository: same project, workflow, clock and ids. It costs nothing.

        Args:
            repository: The repository, for example one that joins a transaction of yours.

        Returns:
            The queues.
        """
        return AnnotationQueues(
            repository, self._project_id, workflow=self._workflow, clock=self._clock, new_id=self._new_id
        )

    def _claim(
        self, queue_id: str, annotator_id: str, limit: int, lease: timedelta | None
    ) -> tuple[Claim, ...] | Unavailable:
        queue_id, annotator_id = check_id("queue_id", queue_id), check_id("annotator_id", annotator_id)
        check_move(self._workflow, UNSTARTED, IN_PROGRESS)
        lease, at = optional_lease(lease), self._now()
        return self._repository.claim(self._project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease)

    def _finish(
        self, claim: Claim | ClaimRef, to_state: AnnotationState, label: JsonValue, reason: str | None
    ) -> QueueItem:
        wish = make_wish(to_state=to_state, at=self._now(), workflow=self._workflow, annotation=label, reason=reason)
        decide = partial(decisions.finish, check_claim(claim), wish)
        return claimed_item(claim, self._decisions.carry_out_claim(claim, decide, with_label=True))

    def _new_queue(self, name: str, *, queue_id: str | None = None, **settings: Any) -> AnnotationQueue:  # noqa: ANN401 - checked there
        at = self._now()
        return AnnotationQueue(
            id=self._new_id() if queue_id is None else check_id("queue_id", queue_id),
            project_id=self._project_id,
            name=name,
            created_at=at,
            updated_at=at,
            **settings,
        )
