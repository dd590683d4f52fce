"""The unfinished items that are reserved for annotators, in memory: apart from those that anybody may claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annotation_queue.repositories.memory.sorted_keys import SortedKeys
from annotation_queue.repositories.memory.timed_keys import TimedKeys
from annotation_queue.states import SETTLING, claimable_at, claimable_with, is_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from annotation_queue.items import AnnotationQueue
    from annotation_queue.repositories.memory.item import StoredItem
    from annotation_queue.repositories.memory.sorted_keys import Key


class Reservations:
    """Which unfinished items are reserved for whom, and from when on each of them may claim one.

    Args:
        find: Gives the stored item of a key.
    """

    __slots__ = ("_find", "_times", "_unfinished")

    def __init__(self, find: Callable[[Key], StoredItem]) -> None:
        self._find = find
        self._unfinished = SortedKeys()
        self._times: dict[str, TimedKeys] = {}
        """By annotator, those that they may claim at some time."""

    def move(self, stored: StoredItem, before: datetime | None, after: datetime | None) -> None:
        """Follow a change of a reserved item. O(log n) for each of its assignees.

        Args:
            stored: The item as it is now.
            before: From when on somebody without progress on it could claim it; None if it was finished or not there.
            after: From when on now.
        """
        key = stored.key
        # A claim of one changes nothing here, and to look for it among all of them would cost as much as the claim.
        if before is not None and after is None:
            self._unfinished.remove(key)
        elif after is not None and before is None:
            self._unfinished.add(key)
        for annotator_id in stored.item.assignees:
            time = claimable_with(stored.own(annotator_id), after)
            times = self._times.get(annotator_id)
            if time is not None:
                if times is None:
                    times = self._times[annotator_id] = TimedKeys()
                times.set(key, time)
            elif times is not None and times.discard(key) and not len(times):
                del self._times[annotator_id]

    def first(self, annotator_id: str, at: datetime) -> Key | None:
        """Find the first item in queue order that is reserved for an annotator, who may claim it now. O(log n) amortised."""
        times = self._times.get(annotator_id)
        return None if times is None else times.first(at)

    def earliest(self, annotator_id: str) -> datetime | None:
        """Find the earliest time at which an annotator may claim an item that is reserved for them, UTC; None for never."""
        times = self._times.get(annotator_id)
        return None if times is None else times.earliest()

    def keep_from(self, annotator_id: str) -> bool:
        """Tell whether an unfinished item that an annotator has not settled is reserved for others. O(n) at worst."""
        return any(_is_kept(self._find(key), annotator_id) for key in self._unfinished)

    def check(self, live: Iterable[StoredItem], queue: AnnotationQueue) -> tuple[str, ...]:
        """Verify every invariant. O(n).

        Args:
            live: The live items of the queue, in queue order.
            queue: The queue, for its policies.

        Returns:
            What is wrong, in words; nothing when it is whole.
        """
        reserved = [stored for stored in live if stored.item.assignees and not stored.standing.finished]
        wrong = [f"reserved items: {each}" for each in self._unfinished.check()]
        if list(self._unfinished) != [stored.key for stored in reserved]:
            wrong.append("the reserved items are not those that are unfinished and have assignees")
        expected: dict[str, list[tuple[Key, datetime]]] = {}
        for stored in reserved:
            for annotator_id in stored.item.assignees:
                time = claimable_at(stored.progresses, annotator_id, *queue.policies)
                if time is not None:
                    expected.setdefault(annotator_id, []).append((stored.key, time))
        wrong += [f"reserved for {name!r}: {each}" for name, times in self._times.items() for each in times.check()]
        if {name: list(times.items()) for name, times in self._times.items()} != expected:
            wrong.append("what is reserved for annotators is not what the items say")
        return tuple(wrong)


def _is_kept(stored: StoredItem, annotator_id: str) -> bool:
    own = stored.own(annotator_id)
    return not is_for(stored.item.assignees, annotator_id) and (own is None or own.state not in SETTLING)
