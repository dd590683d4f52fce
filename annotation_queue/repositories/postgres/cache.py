"""What a repository keeps in memory of a PostgreSQL schema: only what can never be stale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from annotation_queue.items import AnnotationQueue


class QueueKey(NamedTuple):
    """What sorts in queue order: ``priority_down``, ``created_at`` and the key of ``id``."""

    priority_down: int
    created_at: int
    id: str


class Version(NamedTuple):
    """A queue as it was once: the columns of ``queue_version``; the time is in microseconds."""

    num: int
    revision: int
    updated_at: int


class Revision(NamedTuple):
    """What `ItemRecord.revision` is here: number and revision of the queue, number and revision of the item."""

    queue: int
    queue_revision: int
    num: int
    revision: int


FIRST_PLACE: Final = QueueKey(-(1 << 63), -(1 << 63), "")
_LONGEST_ID: Final = 1_024
_LONGEST_KEPT: Final = 16_384
_MOST_KEPT: Final = 4_096
_MOST_MARKS: Final = 65_536


class Cache:
    """Queues by their versions, the newest version seen of each, and low-water marks.

    A version never means another queue once it is committed, and the number in it never changes. A mark is a place before
    which an annotator has settled every open item of a queue; it is good as long as the count that stands beside it is what
    the transaction reads. It is bounded: long texts are not kept, and everything is dropped when there is too much. Safe to
    share between threads.
    """

    def __init__(self) -> None:
        self.versions: dict[str, Version] = {}
        self.queues: dict[Version, AnnotationQueue] = {}
        self.low_water_marks: dict[tuple[int, str], tuple[int, QueueKey]] = {}

    def keep(self, version: Version, queue: AnnotationQueue) -> None:
        """Keep a queue that is committed."""
        if len(self.versions) >= _MOST_KEPT:
            self.versions.clear()
            self.queues.clear()
        texts = (queue.id, queue.project_id, queue.name, queue.description, queue.created_by, *queue.scorer_refs)
        if len(queue.id) <= _LONGEST_ID:
            self.queues.pop(self.versions.get(queue.id, version), None)
            self.versions[queue.id] = version
            if sum(map(len, texts)) <= _LONGEST_KEPT:
                self.queues[version] = queue

    def newest(self, queue_id: str) -> AnnotationQueue | None:
        """Give a queue as it was when it was seen last; None if that is not kept."""
        version = self.versions.get(queue_id)
        return None if version is None else self.queues.get(version)

    def set_low_water_mark(self, queue: int, annotator: str, openings: int, place: QueueKey) -> None:
        """Keep a mark, and how often items of the queue had become open when it was found."""
        if len(self.low_water_marks) >= _MOST_MARKS:
            self.low_water_marks.clear()
        self.low_water_marks[queue, annotator] = openings, place
