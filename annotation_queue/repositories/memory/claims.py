"""Which items of a queue can be claimed, by whom and from when on, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annotation_queue.repositories.memory.reservations import Reservations
from annotation_queue.repositories.memory.sorted_keys import SortedKeys
from annotation_queue.repositories.memory.timed_keys import TimedKeys
from annotation_queue.states import ALWAYS, claimable_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.repositories.memory.item import StoredItem
    from annotation_queue.repositories.memory.sorted_keys import Key
    from annotation_queue.states import Progress

_HOPS: Final = 4
"""How many ranks a search looks at one by one before it halves."""


class _Blocked:
    """The open items that one annotator may not take now, though others may."""

    __slots__ = ("hint", "keys", "waiting")

    def __init__(self) -> None:
        self.keys = SortedKeys()
        self.waiting = TimedKeys()
        """Those that the annotator may take later: the ends of their own holds."""
        self.hint: Key | None = None
        """Where the last search ended; a guess, which the next one verifies."""

    def set(self, key: Key, time: datetime | None) -> None:
        """Note from when on the annotator may take the open item; None for never."""
        if time == ALWAYS:
            self.discard(key)
            return
        if key not in self.keys:
            self.keys.add(key)
        if time is None:
            self.waiting.discard(key)
        else:
            self.waiting.set(key, time)

    def discard(self, key: Key) -> None:
        """Forget the item."""
        if self.keys.discard(key):
            self.waiting.discard(key)


class ClaimIndex:
    """The unfinished live items of a queue, arranged for claims.

    An item is open where an annotator without progress on it may claim it at any time, and held where only from a time
    on: its standing says which. On an open item there are slots to spare, so that an annotator's own progress alone can
    keep it from them; such items are kept for each annotator, as blocked ones.

    Args:
        find: Gives the stored item of a key.
    """

    __slots__ = ("_blocked", "_find", "_held", "_open", "reserved")

    def __init__(self, find: Callable[[Key], StoredItem]) -> None:
        self._find = find
        self._open = SortedKeys()
        self._held = TimedKeys()
        self._blocked: dict[str, _Blocked] = {}
        self.reserved = Reservations(find)
        """Those that have assignees; the others are here."""

    def add(self, keys: Iterable[Key]) -> None:
        """Add new items, which nobody touched and which are reserved for nobody. O(log n) for each."""
        self._open.update(keys)

    def move(
        self,
        stored: StoredItem,
        before: datetime | None,
        after: datetime | None,
        changed: Iterable[Progress],
        queue: AnnotationQueue,
    ) -> None:
        """Follow a change of an item. O(log n); where it becomes or ceases to be open also O(its progresses).

        Args:
            stored: The item as it is now.
            before: From when on it was claimable.
            after: From when on it is now; None where it is gone.
            changed: The progresses that changed.
            queue: The queue, for its policies.
        """
        if stored.item.assignees:
            self.reserved.move(stored, before, after)
            return
        key = stored.key
        was_open, is_open = before == ALWAYS, after == ALWAYS
        if was_open and not is_open:
            self._open.remove(key)
            for progress in stored.progresses:
                blocked = self._blocked.get(progress.annotator_id)
                if blocked is not None:
                    blocked.discard(key)
        if after is not None and not is_open:
            self._held.set(key, after)
        elif before is not None and not was_open:
            self._held.discard(key)
        if is_open:
            if not was_open:
                self._open.add(key)
                changed = stored.progresses
            for progress in changed:
                self._block(key, progress, queue)

    def first(self, annotator_id: str, at: datetime, queue: AnnotationQueue) -> StoredItem | None:
        """Find the first item in queue order that an annotator may claim now.

        O(log n), apart from items whose holds ran out and which this annotator may not take: those at the front are
        passed one by one.

        Args:
            annotator_id: Who wants it.
            at: Now, UTC.
            queue: The queue, for its policies.

        Returns:
            The item, or None.
        """
        blocked = self._blocked.get(annotator_id)
        if blocked is None:
            best = self._open.first()
        else:
            best = self._first_open(blocked)
            expired = blocked.waiting.first(at)
            if expired is not None and (best is None or expired < best):
                best = expired
        own = self.reserved.first(annotator_id, at)
        if own is not None and (best is None or own < best):
            best = own
        key = self._held.first(at)
        while key is not None and (best is None or key < best):
            time = self._time(self._find(key), annotator_id, queue)
            if time is not None and time <= at:
                best = key
                break
            key = self._held.first(at, key)
        return None if best is None else self._find(best)

    def retry_at(self, annotator_id: str, queue: AnnotationQueue) -> datetime | None:
        """Find the earliest time at which an annotator who can claim nothing now could claim an item.

        O(log n) amortised where the hold that ends first keeps an item that the annotator may take; else O(held items).

        Args:
            annotator_id: Who wants one.
            queue: The queue, for its policies.

        Returns:
            The time, UTC; None where they may take none of the unfinished items.
        """
        blocked = self._blocked.get(annotator_id)
        ends = (None if blocked is None else blocked.waiting.earliest(), self.reserved.earliest(annotator_id))
        best = min((time for time in ends if time is not None), default=None)
        earliest = self._held.earliest()
        if earliest is None or (best is not None and best <= earliest):
            return best
        key = self._held.first(earliest)
        if key is not None and self._time(self._find(key), annotator_id, queue) == earliest:
            return earliest
        for key, time in self._held.items():
            if best is None or time < best:
                own = self._time(self._find(key), annotator_id, queue)
                if own is not None and (best is None or own < best):
                    best = own
        return best

    def check(self, items: Iterable[StoredItem], queue: AnnotationQueue) -> tuple[str, ...]:
        """Verify every invariant. O(n).

        Args:
            items: The live items of the queue.
            queue: The queue, for its policies.

        Returns:
            What is wrong, in words; nothing when it is whole.
        """
        every = sorted(items, key=lambda stored: stored.key)
        live = [stored for stored in every if not stored.item.assignees]
        times = {stored.key: stored.standing.claimable_at for stored in live}
        wrong = [f"open items: {each}" for each in self._open.check()]
        wrong += [f"held items: {each}" for each in self._held.check()]
        wrong += self.reserved.check(every, queue)
        if list(self._open) != [key for key, time in times.items() if time == ALWAYS]:
            wrong.append("the open items are not those that are claimable at any time")
        if list(self._held.items()) != [(key, time) for key, time in times.items() if time not in {None, ALWAYS}]:
            wrong.append("the held items are not those that are claimable later")
        expected: dict[str, list[tuple[Key, datetime | None]]] = {name: [] for name in self._blocked}
        for stored in live:
            for progress in stored.progresses if times[stored.key] == ALWAYS else ():
                time = self._time(stored, progress.annotator_id, queue)
                if time != ALWAYS:
                    expected.setdefault(progress.annotator_id, []).append((stored.key, time))
        for name, pairs in expected.items():
            blocked = self._blocked.get(name, _Blocked())
            wrong += [f"blocked for {name!r}: {each}" for each in (*blocked.keys.check(), *blocked.waiting.check())]
            if list(blocked.keys) != [key for key, _ in pairs]:
                wrong.append(f"the items blocked for {name!r} are not those open to others only")
            if list(blocked.waiting.items()) != [pair for pair in pairs if pair[1] is not None]:
                wrong.append(f"the items that {name!r} holds besides open slots are not those")
        return tuple(wrong)

    def _block(self, key: Key, progress: Progress, queue: AnnotationQueue) -> None:
        annotator_id = progress.annotator_id
        time = claimable_at((progress,), annotator_id, *queue.policies)
        blocked = self._blocked.get(annotator_id)
        if blocked is None:
            if time == ALWAYS:
                return
            blocked = self._blocked[annotator_id] = _Blocked()
        blocked.set(key, time)

    def _first_open(self, blocked: _Blocked) -> Key | None:
        """Find the first open item that is not blocked.

        Both lists are sorted and the second is a part of the first, so they are equal up to some rank and differ at
        every later one: the search needs ranks only. It starts where the last one ended, as little has changed mostly.
        """
        every, without = self._open, blocked.keys
        low, high = 0, len(without)
        if not high:
            return every.first()
        if blocked.hint is not None:
            rank = every.bisect_left(blocked.hint)
            if rank == without.bisect_left(blocked.hint):
                low = rank
            else:
                high = min(high, rank)
        hops = _HOPS
        while low < high:
            middle = low if hops else (low + high) // 2
            hops -= hops > 0
            if every[middle] == without[middle]:
                low = middle + 1
            else:
                high = middle
        if low == len(every):
            return None
        blocked.hint = every[low]
        return blocked.hint

    @staticmethod
    def _time(stored: StoredItem, annotator_id: str, queue: AnnotationQueue) -> datetime | None:
        return claimable_at(stored.progresses, annotator_id, *queue.policies)
