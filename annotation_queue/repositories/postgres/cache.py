"""What a repository keeps in memory of a PostgreSQL schema: only what can never be stale."""

from __future__ import annotations

import random
from collections import ChainMap
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.repositories.sql.claimed import Claimed
from annotation_queue.repositories.sql.rows import StoredQueue

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from annotation_queue.items import AnnotationQueue


class QueueKey(NamedTuple):
    """What sorts in queue order: ``priority_down``, ``created_at`` and the key of ``id``."""

    priority_down: int
    created_at: int
    id: str


class Version(NamedTuple):
    """A queue as it was once: the columns of ``queue_version``."""

    num: int
    revision: int


class Revision(NamedTuple):
    """What `ItemRecord.revision` is here: number and revision of the queue, number and revision of the item.

    A record that is kept says in which transaction the item changed last, too: in a schema that was restored to an earlier time
    the other numbers may come again.
    """

    queue: int
    queue_revision: int
    num: int
    revision: int
    last_tx: int | None = None


class Entry(NamedTuple):
    """What an entry of a queue's log is known by."""

    tx: int
    seq: int
    at: int


class Mark(NamedTuple):
    """A place before which an annotator has settled every open item of a queue.

    Args:
        openings: What the queue's openings were when it was found; it is good as long as they are the same.
        newest: The newest entry of what the annotator had settled by then, None if there was none; it is good as long as the
            log has that entry.
        place: The place.
        uses: How many claims may begin there before one looks for the next such place.
    """

    openings: str
    newest: Entry | None
    place: QueueKey
    uses: int = 0


class WhoseMark(NamedTuple):
    """Whose mark in which queue."""

    project_id: str
    queue_id: str
    annotator: str


FOLD_AFTER: Final = 512
"""How many rows of counters a process adds to a queue before it replaces them by their sums."""
_FULL_FOLD_AFTER: Final = 64
"""How often it looks only at those that were added since the last time, before it looks at all: others add, too."""
_MOST_TOUCHED: Final = 10_000
"""Of how many annotators in queues it is remembered what they were given last."""
_MOST_FOLDED: Final = 10_000
"""Of how many queues it is remembered how far they were folded."""
_CLAIMS_OF_MARK: Final = 64
"""How many claims that join a transaction begin at a mark, before one looks for the next such place."""
FIRST_PLACE: Final = QueueKey(-(1 << 63), -(1 << 63), "")
_MOST_BYTES: Final = 16 << 20
_MOST_OF_ONE: Final = _MOST_BYTES >> 8
"""A queue with more than this is read again each time."""
_OVERHEAD: Final = 512
"""What anything that is kept takes beside its texts."""


class Due:
    """What is to be done for a schema outside of the transactions of callers, at the next opportunity."""

    def __init__(self) -> None:
        self.folds: set[int] = set()
        """Numbers of queues whose counters are to be folded."""
        self.marks: set[WhoseMark] = set()
        """Whose marks are to be found."""
        self._claims: dict[WhoseMark, int] = {}

    def claimed(self, mark: WhoseMark) -> None:
        """Take note of a claim that could have begun at a mark: the first of somebody's, and each that ends a row of many."""
        if len(self._claims) > _MOST_TOUCHED:
            self._claims.clear()
        claims = self._claims.get(mark, 0)
        if not claims:
            self.marks.add(mark)
        self._claims[mark] = (claims + 1) % _CLAIMS_OF_MARK


class Cache:
    """Queues by their versions, the newest version seen of each, and low-water marks.

    A revision is drawn by lot, so that a version never means another queue, not even if the schema is restored to an earlier
    time; the number of a queue may be another one then, and whoever locks by it looks again. It is bounded in bytes:
    everything is dropped when there is too much. Safe to share between threads, without a lock that a fork could leave locked.

    Args:
        most_bytes: How much is kept of queues, and how much of marks.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.versions: dict[str, Version] = {}
        self.queues: dict[Version, AnnotationQueue] = {}
        self.low_water_marks: MutableMapping[tuple[int, str], Mark] = {}
        self._bytes_of_queues = self._bytes_of_marks = 0
        self.claimed = Claimed()
        self._touched: set[tuple[int, str]] = set()
        self._added: dict[int, int] = {}
        self._folded: dict[int, tuple[int, int]] = {}
        self._sizes: dict[str, int] = {}
        self.due = Due()

    def for_joined(self) -> Cache:
        """Give one for calls that join a transaction of the caller's.

        What they know may never have been, if that is rolled back, and is kept for them alone. Of what is kept here they have
        the marks, each of which is looked at before it is used.
        """
        made = Cache(self.most_bytes)
        made.low_water_marks = ChainMap({}, self.low_water_marks)
        made._added, made.due = self._added, self.due
        return made

    def keep(self, version: Version, queue: AnnotationQueue, *, size: int) -> None:
        """Keep a queue that is committed, in place of its earlier versions.

        Args:
            version: Its version.
            queue: The queue.
            size: How many characters its texts have.
        """
        self.forget(queue.id)
        if size > _MOST_OF_ONE:
            return
        if self._bytes_of_queues > self.most_bytes:
            self.versions.clear()
            self.queues.clear()
            self._sizes.clear()
            self._bytes_of_queues = 0
        self._sizes[queue.id] = _OVERHEAD + size
        self._bytes_of_queues += _OVERHEAD + size
        self.versions[queue.id] = version
        self.queues[version] = queue

    def forget(self, queue_id: str) -> None:
        """Keep nothing of a queue."""
        version = self.versions.pop(queue_id, None)
        if version is not None:
            self.queues.pop(version, None)
            self._bytes_of_queues -= self._sizes.pop(queue_id, 0)

    def newest(self, queue_id: str) -> StoredQueue | None:
        """Give a queue as it was when it was seen last; None if that is not kept."""
        version = self.versions.get(queue_id)
        queue = None if version is None else self.queues.get(version)
        return None if version is None or queue is None else StoredQueue(*version, queue)

    def set_low_water_mark(self, queue: int, annotator: str, mark: Mark) -> None:
        """Keep a mark of an annotator in a queue."""
        if self._bytes_of_marks > self.most_bytes:
            self.low_water_marks.clear()
            self._bytes_of_marks = 0
        if (queue, annotator) not in self.low_water_marks:
            self._bytes_of_marks += _OVERHEAD + len(annotator)
        self.low_water_marks[queue, annotator] = mark

    def set_touched(self, queue: int, annotator: str, *, is_touched: bool) -> None:
        """Take note whether somebody had been at what an annotator was given last: then most likely at the next one, too."""
        if len(self._touched) > _MOST_TOUCHED:
            self._touched.clear()
        (self._touched.add if is_touched else self._touched.discard)((queue, annotator))

    def is_touched(self, queue: int, annotator: str) -> bool:
        """Tell whether somebody had been at what an annotator was given last."""
        return (queue, annotator) in self._touched

    def counts_are_due(self, queue: int, rows: int) -> bool:
        """Take note of rows that were added to the counters of a queue; tell whether it is time to fold them.

        Where it begins to count is drawn by lot: so those fold, too, who never add that many.
        """
        if len(self._added) > _MOST_FOLDED:
            self._added.clear()
        before = self._added.get(queue)
        added = (random.randrange(FOLD_AFTER) if before is None else before) + rows  # noqa: S311 - a lot, not a secret
        self._added[queue] = 0 if added >= FOLD_AFTER else added
        return added >= FOLD_AFTER

    def fold_after(self, queue: int) -> int:
        """Say behind which of a queue's rows to fold: most of those before it were folded, and now and then all are."""
        times, seq = self._folded.get(queue, (0, 0))
        return seq if times % _FULL_FOLD_AFTER else 0

    def set_folded(self, queue: int, seq: int | None) -> None:
        """Take note that a queue was folded.

        Args:
            queue: The queue's number.
            seq: The last row that there is of the sums; None if nothing was folded.
        """
        if len(self._folded) > _MOST_FOLDED:
            self._folded.clear()
        times, before = self._folded.get(queue, (0, 0))
        self._folded[queue] = times + 1, before if seq is None else seq
