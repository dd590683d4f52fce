"""A queue as the memory repository keeps it: its live items, indexed and counted."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

import attrs

from annotation_queue.changes import ChangePage, change_cursor, place_of_cursor
from annotation_queue.counters import FINISHED, SETTLED, counts_of, stats_of
from annotation_queue.items import make_claim
from annotation_queue.labels import Label
from annotation_queue.query import ItemFilter
from annotation_queue.records import change_of, put_back, standing
from annotation_queue.repositories.history_check import history_problems
from annotation_queue.repositories.memory.claims import ClaimIndex
from annotation_queue.repositories.memory.filters import Matcher
from annotation_queue.repositories.memory.item import (
    StoredItem,
    deleted,
    record_of,
    size_of,
    unpacked,
    unpacked_transition,
)
from annotation_queue.repositories.memory.listings import Listings
from annotation_queue.repositories.memory.log import Log, Recent, ids_of, key_of
from annotation_queue.repositories.memory.sorted_keys import SortedKeys
from annotation_queue.states import IN_PROGRESS, SETTLING, UNSTARTED, AnnotationState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from annotation_queue.items import AnnotationQueue, Claim, QueueItem, QueueStats
    from annotation_queue.labels import LabelPage, LabelQuery
    from annotation_queue.moves import Reset
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.memory.sorted_keys import Key
    from annotation_queue.states import Progress, Transition


class StoredQueue:
    """A queue and the indexes over its live items.

    Args:
        queue: The queue.
        items: Every item of the repository by id, deleted ones too; this only reads it.
    """

    def __init__(self, queue: AnnotationQueue, items: Mapping[str, StoredItem]) -> None:
        self.queue = queue
        self.policy_revision = 0
        """How often its policies or its life changed."""
        self.items = items
        self.in_order = SortedKeys()
        """The live items in queue order."""
        self.calls: dict[str, str] = {}
        """Call id -> id of the live item."""
        self.claims = ClaimIndex(self.find)
        self.orders = Listings(self.in_order, items)
        self.log = Log()
        self.recent = Recent()
        """The keys of the progresses on live items, in the order in which they last changed."""
        self.recently_settled = Recent()
        """Those of them that are settled: else a page of labels would pass all that were released last."""
        self._removed: dict[str, int] = {}
        """The same of removed items, with the number under which each stood there."""
        self._held_by: dict[str, set[Key]] = {}
        """Annotator id -> the keys of the live items that they hold; they are few, and sorted when they are read."""
        self._in_state = dict.fromkeys(AnnotationState, 0)
        self._settled = 0
        self._finished = 0
        self._by_annotator: dict[str, dict[AnnotationState, int]] = {}
        """How many of their progresses on live items are in which state; what stands at unstarted means nothing."""

    def find(self, key: Key) -> StoredItem:
        """Give the item of a key of queue order."""
        return self.items[key[-1]]

    def live(self) -> Iterator[StoredItem]:
        """Iterate over the live items, in queue order."""
        return map(self.find, self.in_order)

    def revision(self, stored: StoredItem) -> tuple[int, int]:
        """Give what differs whenever the item, a progress on it, or the queue's policies or life changed."""
        return self.policy_revision, stored.revision

    def record(self, stored: StoredItem, *, with_item: bool, labels_of: Collection[str] | None) -> ItemRecord:
        """Make the record of an item to hand out; arguments are those of `Repository.get_records`."""
        return stored.record(self.queue, self.revision(stored), with_item=with_item, labels_of=labels_of)

    def add(self, added: Sequence[StoredItem]) -> None:
        """Take in new items, which nobody touched. O(log n) for each."""
        keys = [stored.key for stored in added]
        self.in_order.update(keys)
        self._in_state[UNSTARTED] += len(keys)
        self.claims.add(stored.key for stored in added if not stored.item.assignees)
        for stored in added:
            if stored.item.assignees:
                self.claims.move(stored, None, stored.standing.claimable_at, (), self.queue)
        self.calls.update((stored.item.call_id, stored.item.id) for stored in added)
        self.orders.add(added)

    def put(self, stored: StoredItem, item: QueueItem) -> None:
        """Put an item, in the aggregate view with its payload, in the place of a live one. O(log n)."""
        holders = [each.annotator_id for each in stored.progresses if each.state is IN_PROGRESS]
        self.in_order.remove(stored.key)
        self.orders.remove(stored)
        self.claims.move(stored, stored.standing.claimable_at, None, (), self.queue)
        for annotator_id in holders:
            self._held_by[annotator_id].discard(stored.key)
        stored.put(item)
        stored.revision += 1
        for annotator_id in holders:
            self._held_by[annotator_id].add(stored.key)
        self.claims.move(stored, None, stored.standing.claimable_at, stored.progresses, self.queue)
        self.orders.add([stored])
        self.in_order.add(stored.key)

    def chosen(self, which: Sequence[str] | ItemFilter) -> list[StoredItem]:
        """List the live items of some ids, each once, or those that a filter shows. O(n) for a filter."""
        if not isinstance(which, ItemFilter):
            found = map(self.items.get, dict.fromkeys(which))
            return [each for each in found if each is not None and self.holds_live(each)]
        if which.shows_none:
            return []
        return [*self.live()] if which.shows_all else [*filter(Matcher(which, None), self.live())]

    def holds_live(self, stored: StoredItem) -> bool:
        """Tell whether an item is a live one of this queue."""
        return stored.item.queue_id == self.queue.id and stored.item.deleted_at is None

    def remove(self, stored: StoredItem, at: datetime) -> None:
        """Delete a live item at a time, UTC. O(log n)."""
        self.in_order.remove(stored.key)
        self._in_state[stored.standing.state] -= 1
        self.claims.move(stored, stored.standing.claimable_at, None, (), self.queue)
        del self.calls[stored.item.call_id]
        self.orders.remove(stored)
        self._settled -= stored.standing.settled
        self._finished -= stored.standing.finished
        for progress in stored.progresses:
            self._follow(stored.key, progress.annotator_id, progress.state, UNSTARTED)
            key = key_of(stored.item.id, progress.annotator_id)
            self._removed[key] = self.recent.discard(key)
            self.recently_settled.discard(key)
        stored.item = deleted(stored.item, at)
        stored.revision += 1

    def restorable(self, item_ids: Iterable[str]) -> list[StoredItem]:
        """List those of some items that are removed ones of this queue whose calls no live item has, the first of each call."""
        found = [self.items[item_id] for item_id in item_ids if item_id in self.items]
        of_queue = (
            each for each in found if each.item.queue_id == self.queue.id and each.item.call_id not in self.calls
        )
        by_call: dict[str, StoredItem] = {}
        for stored in of_queue:
            by_call.setdefault(stored.item.call_id, stored)
        return [*by_call.values()]

    def restore(self, stored: StoredItem, at: datetime) -> None:
        """Bring a removed item back at a time, UTC. O(log n), and O(n) for each progress on it."""
        stored.item = attrs.evolve(stored.item, deleted_at=None, updated_at=max(stored.item.updated_at, at))
        # Policies may have changed meanwhile.
        stored.standing = after = standing(stored.progresses, self.queue)
        stored.revision += 1
        self.in_order.add(stored.key)
        self.calls[stored.item.call_id] = stored.item.id
        self._in_state[after.state] += 1
        self._settled += after.settled
        self._finished += after.finished
        for progress in stored.progresses:
            key = key_of(stored.item.id, progress.annotator_id)
            num = self._removed.pop(key)
            self.recent.put_back(key, num)
            if progress.state in SETTLING:
                self.recently_settled.put_back(key, num)
            self._follow(stored.key, progress.annotator_id, UNSTARTED, progress.state)
        self.claims.move(stored, None, after.claimable_at, stored.progresses, self.queue)
        self.orders.add([stored])

    def erase(self, gone: Sequence[StoredItem]) -> None:
        """Forget removed items, which the caller drops. O(the log)."""
        for stored in gone:
            for progress in stored.progresses:
                del self._removed[key_of(stored.item.id, progress.annotator_id)]
        self.log.erase({stored.item.id for stored in gone})

    def change(
        self,
        stored: StoredItem,
        change: Change,
        progresses: tuple[Progress, ...],
        transitions: tuple[Transition, ...],
    ) -> None:
        """Follow a change of a live item, given its progresses and transitions in the form that is kept. O(log n)."""
        before, after = stored.standing, change.standing
        moving = [(each, each.key(stored)) for each in self.orders.moving] if self.orders.moving else ()
        stored.apply(change, progresses, transitions)
        for transition in transitions:
            annotator_id, was, now = transition.annotator_id, transition.from_state, transition.to_state
            if was is not now:
                self._follow(stored.key, annotator_id, was, now)
            key, num = key_of(transition.item_id, annotator_id), self.log.append(transition)
            self.recent.note(key, num)
            if now in SETTLING:
                self.recently_settled.note(key, num)
            elif was in SETTLING:
                self.recently_settled.discard(key)
        for listing, place in moving:
            listing.move(stored, place)
        if before.state is not after.state:
            self._in_state[before.state] -= 1
            self._in_state[after.state] += 1
        if before.completed != after.completed or before.skipped != after.skipped:
            self._settled += after.settled - before.settled
            self._finished += after.finished - before.finished
        self.claims.move(stored, before.claimable_at, after.claimable_at, progresses, self.queue)

    def reset(self, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
        """Put progresses on live items back, and say how many. O(log n) for each, and O(n log n) for a filter."""
        meant = [stored for stored in self.chosen(which) if stored.progresses]
        if isinstance(which, ItemFilter):
            meant.sort(key=attrgetter("key"))
        # All is decided before anything is stored.
        records = ((stored, self.record(stored, with_item=False, labels_of=())) for stored in meant)
        changes = [(stored, change) for stored, record in records if (change := put_back(record, wanted)) is not None]
        for stored, change in changes:
            # There are no labels in it that a caller could change.
            self.change(stored, change, change.progresses, change.transitions)
        return sum(len(change.progresses) for _, change in changes)

    def grant(self, stored: StoredItem, progresses: tuple[Progress, ...], transitions: tuple[Transition, ...]) -> None:
        """Store what a grant changes."""
        # Nothing of this record is handed out, so its progresses may be in the form that is kept.
        item = stored.item
        record = record_of(stored, item.id, self.queue, item.updated_at, stored.progresses, None, None, 0)
        self.change(stored, change_of(record, progresses, transitions), progresses, transitions)

    def replace(self, after: AnnotationQueue) -> None:
        """Change the queue; where its policies change, every item's standing follows. O(n) then, else O(1)."""
        before, self.queue = self.queue, after
        if before.policies == after.policies:
            self.policy_revision += after.deleted_at is not None
            return
        self.policy_revision += 1
        claims = ClaimIndex(self.find)
        self._finished = 0
        for stored in self.live():
            if stored.progresses:
                stored.standing = standing(stored.progresses, after)
            self._finished += stored.standing.finished
            claims.move(stored, None, stored.standing.claimable_at, (), after)
        self.claims = claims
        self.orders.forget_what_is_finished()

    def _follow(self, key: Key, annotator_id: str, before: AnnotationState, after: AnnotationState) -> None:
        """Follow a progress from one state to another: in the annotator's counts, and in what they hold."""
        counts = self._by_annotator.get(annotator_id)
        if counts is None:
            counts = self._by_annotator[annotator_id] = dict.fromkeys(AnnotationState, 0)
            self._held_by[annotator_id] = set()
        counts[before] -= 1
        counts[after] += 1
        if after is IN_PROGRESS:
            self._held_by[annotator_id].add(key)
        elif before is IN_PROGRESS:
            self._held_by[annotator_id].discard(key)

    def holds(self, annotator_id: str) -> Iterator[Claim]:
        """Make the claims that an annotator holds, in queue order."""
        for key in sorted(self._held_by.get(annotator_id, ())):
            stored = self.find(key)
            own = stored.own(annotator_id)
            if own is not None and own.lease_expires_at is not None:
                item = stored.show(annotator_id)
                yield make_claim(item=item, annotator_id=annotator_id, token=own.token, expires_at=own.lease_expires_at)

    def labels(self, query: LabelQuery) -> LabelPage:
        """Read a page of labels. O(log n) and linear in what it passes over."""
        after = query.after(self.queue)
        found: list[Label] = []
        places: list[tuple[int]] = []
        room = query.max_bytes
        recent = self.recently_settled if query.states <= SETTLING else self.recent
        for num, key in recent.walk(None if after is None else after[0], newest_first=query.newest_first):
            item_id, annotator_id = ids_of(key)
            stored = self.items[item_id]
            own = stored.own(annotator_id)
            if (
                own is not None
                and own.state in query.states
                and query.annotator_id in {None, annotator_id}
                and query.filter.matches(stored.item, finished=stored.standing.finished)
            ):
                places.append((num,))
                if len(found) == query.limit or (room is not None and room <= 0):
                    break
                item = stored.show() if query.include_payload else stored.in_view(None)
                found.append(Label(item=item, progress=unpacked(own)))
                if room is not None:
                    room -= size_of(own.annotation) + (size_of(stored.payload) if query.include_payload else 0)
        return query.page(self.queue, found, places)

    def changes(self, after: str | None, limit: int) -> ChangePage:
        """Read the log from a cursor on. O(limit)."""
        start = 0 if after is None else place_of_cursor(self.queue, after)[0]
        transitions, end = self.log.page(start, limit)
        return ChangePage(
            transitions=tuple(map(unpacked_transition, transitions)), cursor=change_cursor(self.queue, (end,))
        )

    def stats(self) -> QueueStats:
        """Count what the queue holds. O(a log a) for a annotators."""
        return stats_of(self.queue.id, self._counts())

    def _counts(self) -> dict[tuple[str | None, str], int]:
        """Sum up what `counts_of` says of every live item, without zeros."""
        counts: dict[tuple[str | None, str], int] = {(None, SETTLED): self._settled, (None, FINISHED): self._finished}
        counts.update(((None, state), n) for state, n in self._in_state.items())
        for name, by_state in self._by_annotator.items():
            counts.update(((name, state), n) for state, n in by_state.items() if state is not UNSTARTED)
        return {key: n for key, n in counts.items() if n}

    @property
    def unfinished(self) -> int:
        """How many live items are not finished."""
        return len(self.in_order) - self._finished

    def check(self) -> tuple[str, ...]:
        """Verify every invariant. O(n log n).

        Returns:
            What is wrong, in words; nothing when it is whole.
        """
        queue_id = self.queue.id
        live = [s for s in self.items.values() if s.item.queue_id == queue_id and s.item.deleted_at is None]
        live.sort(key=lambda stored: stored.key)
        wrong = [f"queue order: {each}" for each in self.in_order.check()]
        if list(self.in_order) != [stored.key for stored in live]:
            wrong.append("queue order does not hold the live items")
        if self.calls != {stored.item.call_id: stored.item.id for stored in live} or len(self.calls) != len(live):
            wrong.append("the calls are not those of the live items, each once")
        wrong += self.claims.check(live, self.queue)
        wrong += self.orders.check(live)
        wrong += [each for stored in live for each in self._check_item(stored)]
        wrong += self._check_log(live)
        counts = Counter(key for stored in live for key in counts_of(stored.standing, stored.progresses))
        if counts != self._counts():
            wrong.append("the counts are not those of the live items")
        return tuple(f"queue {queue_id!r}: {each}" for each in wrong)

    def _check_log(self, live: Sequence[StoredItem]) -> Iterator[str]:
        told: dict[str, list[Transition]] = {}
        last: dict[str, int] = {}
        for num, transition in enumerate(self.log.transitions, 1):
            if transition is None:
                continue
            told.setdefault(transition.item_id, []).append(transition)
            last[key_of(transition.item_id, transition.annotator_id)] = num
        histories = {
            s.item.id: s.history for s in self.items.values() if s.item.queue_id == self.queue.id and s.history
        }
        if told != histories:
            yield "the log does not hold the histories of the items"
        keys = [key_of(stored.item.id, each.annotator_id) for stored in live for each in stored.progresses]
        if self.recent.items() != sorted((last.get(key, 0), key) for key in keys):
            yield "the progresses are not in the order in which they last changed"
        done = [
            key_of(stored.item.id, each.annotator_id)
            for stored in live
            for each in stored.progresses
            if each.state in SETTLING
        ]
        if self.recently_settled.items() != sorted((last.get(key, 0), key) for key in done):
            yield "the settled progresses are not in the order in which they last changed"
        removed = [s for s in self.items.values() if s.item.queue_id == self.queue.id and s.item.deleted_at is not None]
        gone = [key_of(stored.item.id, each.annotator_id) for stored in removed for each in stored.progresses]
        if self._removed != {key: last.get(key, 0) for key in gone}:
            yield "the removed progresses do not stand under the numbers that they had"
        for annotator_id in {*self._held_by, *(each.annotator_id for stored in live for each in stored.progresses)}:
            held = [
                stored.key
                for stored in live
                for each in stored.progresses
                if each.annotator_id == annotator_id and each.state is IN_PROGRESS
            ]
            if sorted(self._held_by.get(annotator_id, ())) != held:
                yield f"what {annotator_id!r} holds is not what their progresses say"

    def _check_item(self, stored: StoredItem) -> Iterator[str]:
        item, history = stored.item, stored.told()
        if stored.key != StoredItem(item).key:
            yield f"item {item.id!r}: its key is not that of its place in queue order"
        if item.project_id != self.queue.project_id:
            yield f"item {item.id!r} is one of project {item.project_id!r}, and its queue of another project"
        if not {each.item_id for each in stored.progresses} | {each.item_id for each in history} <= {item.id}:
            yield f"item {item.id!r} has what belongs to another item"
        names = [progress.annotator_id for progress in stored.progresses]
        if names != sorted(set(names)):
            yield f"item {item.id!r}: the progresses are not sorted by annotator, each once"
        if stored.standing != standing(stored.progresses, self.queue):
            yield f"item {item.id!r}: the standing is not that of its progresses"
        if (item.annotation_state, item.annotator_user_id) != (stored.standing.state, stored.standing.annotator_id):
            yield f"item {item.id!r}: the view is not that of its standing"
        yield from history_problems(
            item.id,
            history,
            map(unpacked, stored.progresses),
            created_at=item.created_at,
            updated_at=item.updated_at,
        )
