"""Answers for a storage that reads a whole queue for each of them: pure functions over lists.

They suit a storage that has no indexes of its own, and show what an answer is to one that has. Each costs at most O(n log n) in
what it is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from annotation_queue.changes import ChangePage, Settlement, change_cursor, is_settlement, place_of_cursor
from annotation_queue.counters import counts_of, stats_of
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    Claim,
    NewItem,
    QueueItem,
    QueueStats,
    Unavailable,
    explain_unavailable,
)
from annotation_queue.labels import Label, LabelPage, LabelQuery
from annotation_queue.moves import Reset, grant
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery, search_text
from annotation_queue.records import Change, ItemRecord, change_of, item_of, merge, put_back, standing, view
from annotation_queue.sorting import item_order
from annotation_queue.states import (
    IN_PROGRESS,
    UNREAD,
    Progress,
    Transition,
    aggregate,
    claimable_at,
    is_for,
    with_annotation,
)
from annotation_queue.values import lease_end


def scan_queues(project_id: str, query: QueueQuery, queues: Iterable[AnnotationQueue]) -> QueuePage:
    """Answer `Repository.query_queues`.

    Args:
        project_id: The project.
        query: What was asked for.
        queues: Its live queues, in any order.

    Returns:
        The page.

    Raises:
        InvalidCursor: The cursor is not one of this project and sort.
    """
    wanted, after = search_text(query.name or ""), query.after(project_id)
    found = [queue for queue in queues if wanted in search_text(queue.name)]
    return query.page(project_id, _from(_sorted(found, query), query, after))


def scan_additions(
    queue: AnnotationQueue,
    given: Iterable[NewItem],
    records: Iterable[ItemRecord],
    make: Callable[[NewItem, AnnotationQueue], QueueItem],
) -> AddedItems:
    """Decide `Repository.add_items`: each call once.

    Args:
        queue: The queue.
        given: What to add.
        records: Its live items in any order, each with its item.
        make: Turns one of them into an item.

    Returns:
        The items to store, in order, and how many were left out. Whether their ids are taken, the storage looks.
    """
    calls = {item_of(record).call_id for record in records}
    added: list[QueueItem] = []
    duplicates = 0
    for new in given:
        if new.call_id in calls:
            duplicates += 1
        else:
            calls.add(new.call_id)
            added.append(make(new, queue))
    return AddedItems(added=tuple(added), duplicates=duplicates)


def scan_items(queue: AnnotationQueue, query: ItemQuery, records: Iterable[ItemRecord]) -> ItemPage:
    """Answer `Repository.query_items`.

    Args:
        queue: The queue.
        query: What was asked for.
        records: Its live items in any order, each with its item.

    Returns:
        The page.

    Raises:
        InvalidCursor: The cursor is not one of this queue, sort and perspective.
    """
    after, live = query.after(queue), list(records)
    finished = {record.item_id: standing(record.progresses, queue).finished for record in live}
    everything = _sorted([seen_by(record, query.annotator_id) for record in live], query)
    if query.include_position:
        everything = [attrs.evolve(item, position_in_queue=place) for place, item in enumerate(everything, 1)]
    found = [item for item in everything if query.filter.matches(item, finished=finished[item.id])]
    if not query.include_payload:
        found = [attrs.evolve(item, payload=None) for item in found]
    return query.page(queue, _from(found, query, after), len(found) if query.include_total else None)


def scan_selection(which: Sequence[str] | ItemFilter, records: Iterable[ItemRecord]) -> tuple[ItemRecord, ...]:
    """Decide which items `Repository.update_items` changes, or `Repository.remove_items` deletes.

    Args:
        which: Ids in any order, repeated ones once; or a filter, which means the aggregate view.
        records: The live items of the queue in any order, each with its item.

    Returns:
        The records of those that are meant, as the records came. Ids of none of them are passed over.
    """
    if isinstance(which, ItemFilter):
        return tuple(record for record in records if _is_shown(record, which))
    wanted = set(which)
    return tuple(record for record in records if record.item_id in wanted)


def scan_resets(
    which: Sequence[str] | ItemFilter, wanted: Reset, records: Iterable[ItemRecord]
) -> tuple[tuple[ItemRecord, Change], ...]:
    """Decide `Repository.reset`: what is put back.

    Args:
        which: Ids in any order, repeated ones once; or a filter, which means the aggregate view.
        wanted: Whose progresses, and by whom.
        records: The live items of the queue in any order, each with its item.

    Returns:
        The records of the items that change, in the order in which the log has them, each with the change to store.
    """
    chosen = {record.item_id: record for record in scan_selection(which, records)}
    order = [each.item_id for each in in_queue_order(chosen.values())] if isinstance(which, ItemFilter) else which
    meant = [chosen[item_id] for item_id in dict.fromkeys(order) if item_id in chosen]
    return tuple((record, change) for record in meant if (change := put_back(record, wanted)) is not None)


def scan_restorations(item_ids: Iterable[str], records: Iterable[ItemRecord]) -> tuple[ItemRecord, ...]:
    """Decide which items `Repository.restore_items` brings back: each call once.

    Args:
        item_ids: What was asked for.
        records: The items of the queue, live and removed, in any order, each with its item.

    Returns:
        The records of those that come back, in the order of their ids.
    """
    found = {record.item_id: record for record in records}
    # A live item holds its own call, so that it is passed over as well.
    calls = {item_of(record).call_id for record in found.values() if item_of(record).deleted_at is None}
    restored = []
    for record in [found[item_id] for item_id in dict.fromkeys(item_ids) if item_id in found]:
        if item_of(record).call_id not in calls:
            calls.add(item_of(record).call_id)
            restored.append(record)
    return tuple(restored)


def _is_shown(record: ItemRecord, wanted: ItemFilter) -> bool:
    return wanted.matches(seen_by(record, None), finished=standing(record.progresses, record.queue).finished)


def seen_by(record: ItemRecord, annotator_id: str | None) -> QueueItem:
    """Show the item of a record in an annotator's perspective, or with None in the aggregate view."""
    return view(
        item_of(record), aggregate(each for each in record.progresses if annotator_id in {None, each.annotator_id})
    )


def shown_record(record: ItemRecord, *, with_item: bool, labels_of: Collection[str] | None) -> ItemRecord:
    """Leave out of a whole record what `Repository.get_records` was not asked for."""
    progresses = tuple(
        each if labels_of is None or each.annotator_id in labels_of else with_annotation(each, UNREAD)
        for each in record.progresses
    )
    return attrs.evolve(record, progresses=progresses, item=record.item if with_item else None)


def _sorted(entities: Iterable[Any], query: ItemQuery | QueueQuery) -> list[Any]:
    order = query.order()
    return sorted(entities, key=lambda each: order.key(order.values(each)))


def _from(found: Sequence[Any], query: ItemQuery | QueueQuery, after: tuple[Any, ...] | None) -> Sequence[Any]:
    """Leave out what comes before the page."""
    order = query.order()
    if after is not None:
        found = [each for each in found if order.key(order.values(each)) > order.key(after)]
    return found[query.offset :]


def in_queue_order(records: Iterable[ItemRecord]) -> list[ItemRecord]:
    """Sort records with their items as claims are granted."""
    order = item_order(())
    return sorted(records, key=lambda record: order.key(order.values(item_of(record))))


def scan_claims(
    queue: AnnotationQueue,
    annotator_id: str,
    records: Iterable[ItemRecord],
    *,
    limit: int,
    at: datetime,
    lease: timedelta | None,
) -> tuple[tuple[tuple[ItemRecord, Change], ...], Unavailable | None]:
    """Decide `Repository.claim`: what is granted, and else why nothing is.

    Args:
        queue: The queue.
        annotator_id: Who wants to work.
        records: Its live items in any order, each with its item.
        limit: At most so many, at least 1.
        at: Now, UTC.
        lease: How long the claims last; None for the queue's own lease.

    Returns:
        The records of the items that are granted, in queue order, each with the change to store: `after_change` says what
        is stored then, and `claim_of` makes the claim of that. If there are none, the reason.

    Raises:
        InvalidValue: The lease would end beyond the year 9999.
    """
    expires_at = lease_end(at, lease or queue.lease)
    live = in_queue_order(records)
    changes: list[tuple[ItemRecord, Change]] = []
    waits: list[datetime] = []
    is_assigned = False
    for record in live:
        free_at = claimable_at(record.progresses, annotator_id, queue.annotations_per_item, queue.skip_policy)
        if free_at is None:
            continue
        if not is_for(item_of(record).assignees, annotator_id):
            is_assigned = True
        elif queue.is_paused or free_at > at or len(changes) == limit:
            waits.append(free_at)
        else:
            moved = grant(
                record.progresses, record.item_id, annotator_id, at=at, expires_at=expires_at, steps=record.steps
            )
            changes.append((record, change_of(record, *moved)))
    if changes:
        return tuple(changes), None
    return (), explain_unavailable(
        live=len(live),
        unfinished=sum(not standing(record.progresses, queue).finished for record in live),
        retry_at=min(waits, default=None),
        is_paused=queue.is_paused,
        is_assigned=is_assigned,
    )


def scan_holds(annotator_id: str, records: Iterable[ItemRecord]) -> tuple[Claim, ...]:
    """Answer `Repository.holds`.

    Args:
        annotator_id: The annotator.
        records: The live items of the queue as they are stored now, in any order, each with its item.

    Returns:
        A claim for each hold of the annotator, in queue order.
    """
    return tuple(
        claim_of(record, own)
        for record in in_queue_order(records)
        for own in record.progresses
        if own.annotator_id == annotator_id and own.state is IN_PROGRESS
    )


def claim_of(record: ItemRecord, own: Progress) -> Claim:
    """Make the claim of an annotator whose progress on an item is in progress.

    Args:
        record: The item as it is stored now, with its item.
        own: The annotator's progress.

    Returns:
        The claim.
    """
    ends = own.lease_expires_at
    if ends is None:
        raise ValueError(f"{own.annotator_id!r} holds no claim on item {record.item_id!r}")
    item = seen_by(record, own.annotator_id)
    return Claim(item=item, annotator_id=own.annotator_id, token=own.token, expires_at=ends)


def after_change(record: ItemRecord, change: Change) -> ItemRecord:
    """Say what a record is when a change was made: what a storage that keeps records whole has to store.

    Args:
        record: The item as it is stored now, with all labels.
        change: The change. A label in it that is `states.UNREAD` stays as it is stored.

    Returns:
        The record, without a standing.
    """
    labels = {each.annotator_id: each.annotation for each in record.progresses}
    moved = tuple(
        each if each.annotation is not UNREAD else with_annotation(each, labels.get(each.annotator_id))
        for each in change.progresses
    )
    return attrs.evolve(
        record,
        progresses=merge(record.progresses, moved),
        steps=record.steps + len(change.transitions),
        updated_at=change.updated_at,
        item=None if record.item is None else attrs.evolve(record.item, updated_at=change.updated_at),
        standing=None,
    )


def scan_labels(
    queue: AnnotationQueue, query: LabelQuery, records: Iterable[ItemRecord], log: Sequence[Transition | None]
) -> LabelPage:
    """Answer `Repository.labels`.

    Args:
        queue: The queue.
        query: What was asked for.
        records: Its live items in any order, each with its item.
        log: Its whole log, oldest first, with None where something was erased. The place of a progress is that of its last
            transition, counted from 1.

    Returns:
        The page.

    Raises:
        InvalidCursor: The cursor is not one of this queue and query.
    """
    after = query.after(queue)
    places = {(each.item_id, each.annotator_id): place for place, each in enumerate(log, 1) if each is not None}
    found = [
        (places[record.item_id, own.annotator_id], Label(item=seen_by(record, None), progress=own))
        for record in records
        if _is_shown(record, query.filter)
        for own in record.progresses
        if query.annotator_id in {None, own.annotator_id} and own.state in query.states
    ]
    found.sort(key=lambda each: each[0], reverse=query.newest_first)
    if after is not None:
        found = [each for each in found if (each[0] < after[0] if query.newest_first else each[0] > after[0])]
    labels = [label for _, label in found]
    if not query.include_payload:
        labels = [attrs.evolve(each, item=attrs.evolve(each.item, payload=None)) for each in labels]
    return query.page(queue, labels, [(place,) for place, _ in found])


def scan_changes(queue: AnnotationQueue, log: Iterable[Transition | None], after: str | None, limit: int) -> ChangePage:
    """Answer `Repository.changes` for a storage that shows no transition before all that are stored in front of it.

    Args:
        queue: The queue.
        log: Its whole log, oldest first, with None where something was erased, so that what is behind it keeps its place.
        after: A cursor of this queue's changes; None for the start.
        limit: Most transitions, at least 1.

    Returns:
        The page.

    Raises:
        InvalidCursor: ``after`` is no cursor of this queue's changes.
    """
    start = 0 if after is None else place_of_cursor(queue, after)[0]
    found = [(place, each) for place, each in enumerate(log, 1) if each is not None and place > start][:limit]
    end, _ = found[-1] if found else (start, None)
    return ChangePage(transitions=tuple(each for _, each in found), cursor=change_cursor(queue, (end,)))


def scan_settlements(log: Iterable[Transition | None], since: datetime) -> tuple[Settlement, ...]:
    """Answer `Repository.settled_since`.

    Args:
        log: The queue's whole log, oldest first, with None where something was erased.
        since: UTC; a step counts if its ``at`` is later.

    Returns:
        The steps, in the order of the log.
    """
    started: dict[tuple[str, str], datetime] = {}
    found = []
    for each in log:
        if each is None:
            continue
        key = each.item_id, each.annotator_id
        if each.to_state is IN_PROGRESS:
            started[key] = each.at
        if is_settlement(each) and each.at > since:
            found.append(Settlement(each, started.get(key)))
    return tuple(found)


def scan_stats(queue: AnnotationQueue, work: Iterable[Sequence[Progress]]) -> QueueStats:
    """Answer `Repository.stats` for one queue.

    Args:
        queue: The queue.
        work: The progresses on each of its live items.

    Returns:
        The statistics.
    """
    counts: Counter[tuple[str | None, str]] = Counter()
    for progresses in work:
        counts.update(counts_of(standing(progresses, queue), progresses))
    given: Mapping[tuple[str | None, str], int] = counts
    return stats_of(queue.id, given)
