"""`SQLiteRepository`: one file, many threads and processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import attrs

from annotation_queue.changes import ChangePage, Settlement
from annotation_queue.counters import stats_of
from annotation_queue.errors import Conflict, StorageError
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
    copy_queue,
)
from annotation_queue.labels import LabelPage, LabelQuery, LabelTextPage
from annotation_queue.moves import Reset
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery
from annotation_queue.records import Change, ItemRecord
from annotation_queue.records import item_of as record_item
from annotation_queue.repositories.sql.chunks import add_each_call
from annotation_queue.repositories.sql.rows import history_of, queue_values
from annotation_queue.repositories.sqlite import bulk, log, removed
from annotation_queue.repositories.sqlite import claims as sqlite_claims
from annotation_queue.repositories.sqlite.cache import Caches, Revision
from annotation_queue.repositories.sqlite.changes import save
from annotation_queue.repositories.sqlite.check import problems
from annotation_queue.repositories.sqlite.connections import SYNCHRONOUS, Connections
from annotation_queue.repositories.sqlite.items import add_items, refresh, remove_items
from annotation_queue.repositories.sqlite.pace import Pace, told_after
from annotation_queue.repositories.sqlite.queries import query_items, query_queues
from annotation_queue.repositories.sqlite.resets import reset_items
from annotation_queue.repositories.sqlite.schema import prepare
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.repository import CountsRemoved, ReadsLabelTexts, RemembersClaims
from annotation_queue.states import Transition
from annotation_queue.values import check_text, refuse

_LONGEST_REMOVAL: Final = 0.8
"""How many seconds a transaction that removes items lasts with its commit, before it leaves the rest to another one.

The longer they are, the fewer: each writes most pages of the indexes in which the items are strewn.
"""
_FIRST_COMMIT: Final = 0.3
"""How many of these seconds are for the first commit: what it takes is not known before."""


class SQLiteRepository(RemembersClaims, CountsRemoved, ReadsLabelTexts):
    """Stores everything in one SQLite file that any number of threads and processes of one machine share.

    The methods are those of `Repository`, and their contract is there. An acknowledged write survives the death of the
    process always, and the loss of power with ``FULL``; with ``NORMAL`` the newest commits may be missing after a power cut,
    and the file is whole all the same. Nothing but SQLite may open the file: copy it with SQLite's backup.
    A process may fork: the fork waits for the transactions of other threads, and both sides go on with connections of their
    own. It may also spawn others: a repository is pickled as its path and options, and opened anew where it is unpickled,
    which raises `StorageError` if the file is not there.

    Args:
        path: The file; made when missing. Its folder must exist, and it must not lie on a network file system.
        synchronous: ``FULL``, ``NORMAL`` or ``OFF`` (for tests: the file may be corrupt after a power cut).
        busy_timeout: How long a write waits for another process's, in seconds.

    Raises:
        StorageCorrupt: The file is no database, or another application's; it is left as it is.
        SchemaVersionUnknown: It was written by a newer version of this library; it is left as it is.
        StorageError: It cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, synchronous: str = "FULL", busy_timeout: float = 10.0) -> None:
        name = check_text("path", os.fspath(path), empty=False)
        if name == ":memory:":
            raise refuse("path", name, "a file; MemoryRepository keeps everything in memory")
        if synchronous not in SYNCHRONOUS:
            raise refuse("synchronous", synchronous, f"one of {', '.join(SYNCHRONOUS)}")
        if isinstance(busy_timeout, bool) or not isinstance(busy_timeout, int | float) or not busy_timeout >= 0:
            raise refuse("busy_timeout", busy_timeout, "a number of seconds, at least 0")
        self._options: dict[str, Any] = {"synchronous": synchronous, "busy_timeout": busy_timeout}
        self._caches = Caches()
        self._connections = Connections(str(Path(name).absolute()), synchronous, busy_timeout)
        try:
            prepare(self._connections)
        except BaseException:
            self._connections.close()
            raise

    def add_queue(self, queue: AnnotationQueue) -> None:
        """See `Repository.add_queue`. Cost: constant."""
        with self._writing() as session:
            session.add_queue(queue)

    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        """See `Repository.get_or_create_queue`. Cost: constant; nothing is locked if the queue is there."""
        with self._reading() as session:
            found = session.find_queue(queue.project_id, queue.name)
        if found is None:
            with self._writing() as session:
                # Somebody else may have been faster while nothing was locked.
                found = session.find_queue(queue.project_id, queue.name)
                if found is None:
                    session.add_queue(queue)
        return copy_queue(queue if found is None else found)

    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        """See `Repository.get_queue`. Cost: constant."""
        with self._reading() as session:
            return copy_queue(session.queue(project_id, queue_id).queue)

    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        """See `Repository.query_queues`.

        Cost: that of the page, for sorts by one field; linear in the offset, and in what a name that is searched for passes
        over. Sorts by several fields are linear in the project's queues.
        """
        with self._reading() as session:
            return query_queues(session, project_id, query)

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        """See `Repository.replace_queue`. Cost: constant; linear in the items if a policy changes."""
        changes_items = before.policies != after.policies
        with self._writing_much() if changes_items else self._writing() as session:
            stored = session.queue(before.project_id, before.id)
            if stored.queue != before:
                raise Conflict(f"queue {before.id!r} changed meanwhile")
            # While it is as it was, since a deleted queue's items are not read.
            if changes_items:
                refresh(session, stored, after)
            session.begin_epoch()
            session.execute(SQL["replace_queue"], {**queue_values(after), "num": stored.num})

    def add_items(
        self,
        project_id: str,
        queue_id: str,
        items: Iterable[NewItem],
        make: Callable[[NewItem, AnnotationQueue], QueueItem],
    ) -> AddedItems:
        """See `Repository.add_items`. Cost: linear in what is added.

        The iterable is read before the file is locked.
        """
        self.get_queue(project_id, queue_id)

        def add(new: Sequence[NewItem]) -> list[QueueItem]:
            with self._writing() as session:
                return add_items(session, session.queue(project_id, queue_id), new, make)

        return add_each_call(items, add)

    def get_item(self, project_id: str, item_id: str, queue_id: str | None = None) -> QueueItem:
        """See `Repository.get_item`. Cost: that of the payload."""
        with self._reading() as session:
            return record_item(session.record(project_id, item_id, queue_id, with_item=True))

    def get_records(
        self,
        project_id: str,
        item_ids: Sequence[str],
        queue_id: str | None = None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None = (),
    ) -> dict[str, ItemRecord]:
        """See `Repository.get_records`. Cost: linear in the items' annotators."""
        with self._reading() as session:
            return session.records(project_id, item_ids, queue_id, with_items=with_items, labels_of=labels_of)

    def record_of_claim(self, project_id: str, item_id: str, annotator_id: str) -> ItemRecord | None:
        """See `RemembersClaims.record_of_claim`. Cost: constant; the file is not read."""
        return self._caches.current.claimed.take(project_id, item_id, annotator_id)

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """See `Repository.save`. Cost: linear in what changes, and one commit."""
        with self._writing() as session:
            save(session, writes)
        self._caches.current.claimed.forget(writes)

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        """See `Repository.query_items`.

        Cost: that of the page, and a sum over the blocks of its order, one for some 1,024 items, for a position or an offset.
        An offset below other filters than one operation or, in queue order, some states is linear in what it passes. Items in
        some states are found past the blocks that have none. By time of update a page also costs the changes that are not the
        last ones of their items any more, and a position what changed before. By state
        or annotator a page of all items is read along the index of what comes next in the order, up to its last item with that
        value. Any other order that no index has needs one sort of what is wanted, and of the whole queue for positions.
        """
        with self._reading() as session:
            return query_items(session, session.queue(project_id, queue_id), query)

    def update_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, patch: ItemPatch, at: datetime
    ) -> int:
        """See `Repository.update_items`. Cost: linear in the items that are meant, all in one transaction."""
        with self._writing_much() as session:
            queue = session.queue(project_id, queue_id)
            return bulk.update_items(session, queue.num, bulk.find_items(session, queue.num, which), patch, at)

    def reprioritise(self, project_id: str, queue_id: str, priorities: Mapping[str, int], at: datetime) -> int:
        """See `Repository.reprioritise`. Cost: linear in the ids, all in one transaction."""
        with self._writing_much() as session:
            return bulk.reprioritise(session, session.queue(project_id, queue_id).num, priorities, at)

    def reset(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
        """See `Repository.reset`. Cost: linear in the items that are meant, all in one transaction, a list at a time."""
        with self._writing() as session:
            return reset_items(session, session.queue(project_id, queue_id), which, wanted)

    def remove_items(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, at: datetime) -> int:
        """See `Repository.remove_items`. Cost: linear in the ids, or in what the filter has to look at.

        Many are removed in several transactions of less than a second, so that others get their turn in between: each removes
        a part whole, and what fails between two of them leaves the parts before it removed. Calling again removes the rest. A
        filter chooses among the items that are there at the beginning, or when somebody purged meanwhile, and is asked again
        about each part.
        """
        with self._reading() as session:
            epoch = session.newest_epoch()
            nums = sorted(bulk.find_items(session, session.queue(project_id, queue_id).num, which))
        pace = Pace(_LONGEST_REMOVAL, commit=_FIRST_COMMIT)
        is_filter = isinstance(which, ItemFilter)
        count = start = 0
        while start < len(nums):
            removed_in_part = 0
            with told_after(count, "items were removed"), self._writing_much() as session:
                queue = session.queue(project_id, queue_id).num
                if session.is_past(epoch):
                    # Others may have the numbers by now that a purge freed.
                    epoch, start = session.newest_epoch(), 0
                    nums = sorted(bulk.find_items(session, queue, which))
                pace.begin()
                while start < len(nums) and (size := pace.part()):
                    part = nums[start : start + size]
                    start += len(part)
                    chosen = sorted(bulk.find_items(session, queue, which, part)) if is_filter else part
                    removed_in_part += remove_items(session, queue, chosen, at)
                    pace.took(len(part))
            pace.committed()
            count += removed_in_part
            if start < len(nums):
                self._connections.give_way()
        return count

    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        """See `Repository.restore_items`. Cost: linear in the ids, all in one transaction.

        What version 1 removed cannot be brought back and is passed over: it did not keep where an item stood.
        """
        with self._writing_much() as session:
            return removed.restore_items(session, session.queue(project_id, queue_id), item_ids, at)

    def count_restorable(self, project_id: str, queue_id: str, item_ids: Sequence[str]) -> int:
        """See `CountsRemoved`. Cost: linear in the ids."""
        with self._reading() as session:
            return removed.count_restorable(session, session.queue(project_id, queue_id).num, item_ids)

    def restore_queue(self, project_id: str, queue_id: str, at: datetime) -> AnnotationQueue:
        """See `Repository.restore_queue`. Cost: constant."""
        with self._writing() as session:
            stored = session.queue(project_id, queue_id, deleted=True)
            if stored.queue.deleted_at is None:
                return copy_queue(stored.queue)
            after = attrs.evolve(stored.queue, deleted_at=None, updated_at=at)
            session.begin_epoch()
            session.execute(SQL["replace_queue"], {**queue_values(after), "num": stored.num})
            return copy_queue(after)

    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        """See `Repository.purge`. Cost: linear in what is erased and in the logs of its queues, all in one transaction.

        What is erased is overwritten in the file, and the write-ahead log is emptied, unless somebody reads it at that moment;
        then it is emptied by a later purge, or when the last connection is closed. Of what an earlier version of this library
        wrote, or another program, copies may stay in free space until `vacuum`. Backups keep what they have.
        """
        with self._writing() as session:
            items, queues = removed.purge(session, project_id, removed_before)
        self._connections.empty_log()
        return Purged(items=items, queues=queues)

    def count_purgeable(self, project_id: str, removed_before: datetime) -> Purged:
        """See `CountsRemoved`. Cost: linear in what is counted."""
        with self._reading() as session:
            return removed.count_purgeable(session, project_id, removed_before)

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
        """See `Repository.claim`. Cost: constant for each claim, which needs one commit for all.

        Where settled items stay open for others, the first claim of an annotator after items were added or became open, or
        in a new process, also passes the open items that this annotator settled. Where nothing can be claimed, and leases
        keep items, it is linear in those.
        """
        with self._writing() as session:
            return sqlite_claims.claim(session, project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease)

    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        """See `Repository.holds`. Cost: linear in what the annotator holds."""
        with self._reading() as session:
            return tuple(sqlite_claims.holds(session, session.queue(project_id, queue_id), annotator_id))

    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        """See `Repository.labels`. Cost: that of the page, however many labels there are.

        Completed and skipped labels are counted for each 1,024 entries of the log, by annotator and state: where none of the
        wanted ones is left, these are passed over at once, elsewhere one by one. What a filter leaves out is passed over too,
        unless it finds few items; and so is, with other states, whatever else is in the log.
        """
        with self._reading() as session:
            return log.labels(session, session.queue(project_id, queue_id), query)

    def label_texts(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelTextPage:
        """See `ReadsLabelTexts.label_texts`. Cost: as that of `labels`, but for a third of the work for each label."""
        with self._reading() as session:
            return log.label_texts(session, session.queue(project_id, queue_id), query)

    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> ChangePage:
        """See `Repository.changes`. Cost: that of the page."""
        with self._reading() as session:
            return log.changes(session, session.queue(project_id, queue_id), after, limit)

    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[Settlement, ...]:
        """See `Repository.settled_since`. Cost: linear in what the log got since, and logarithmic in all of it."""
        with self._reading() as session:
            return tuple(log.settled_since(session, session.queue(project_id, queue_id), since))

    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        """See `Repository.history`. Cost: linear in the history."""
        with self._reading() as session:
            record = session.record(project_id, item_id, with_item=False)
            key = cast("Revision", record.revision)
            chain = {"queue": key.queue, "last_entry": key.last_entry}
            return history_of(item_id, session.execute(SQL["history"], chain), session.text)

    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[QueueStats, ...]:
        """See `Repository.stats`. Cost: linear in the queues' annotators."""
        with self._reading() as session:
            found = {queue_id: session.queue(project_id, queue_id) for queue_id in dict.fromkeys(queue_ids)}
            stats = {queue_id: stats_of(queue_id, session.counts(queue.num)) for queue_id, queue in found.items()}
            return tuple(stats[queue_id] for queue_id in queue_ids)

    def check(self) -> tuple[str, ...]:
        """Recount everything that is kept beside what it is derived from.

        It reads every row of every project and has SQLite look at every page: some two minutes for a million items. All of that
        is one read snapshot: others read and write meanwhile, but until it ends the write-ahead log only grows.

        Returns:
            What is wrong, a sentence each; nothing if all is well. Cost: linear in all that is stored.
        """
        with self._reading() as session:
            return tuple(problems(session))

    def vacuum(self) -> None:
        """Give the room back to the file system that `purge` and removals left free in the file.

        The file is written anew, beside itself: for a while that takes as much room again as the file will have, and nobody
        writes; reading goes on. What was deleted or overwritten before is not in it any more.

        Raises:
            StorageBusy: Others wrote past the deadline.
            StorageFull: There is not that much room. The file stays as it was.
        """
        self._connections.vacuum()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(_reopen, type(self), **self._options), (self._connections.path,)

    def _reading(self) -> Session:
        return Session(self._connections.reading(), self._caches)

    def _writing(self) -> Session:
        return Session(self._connections.writing(), self._caches)

    def _writing_much(self) -> Session:
        return Session(self._connections.writing_much(), self._caches)


def _reopen(kind: type[SQLiteRepository], path: str, **options: Any) -> SQLiteRepository:  # noqa: ANN401 - those of the class
    """Open a file that was open where this was pickled."""
    # On another machine a new and empty file would answer that nothing exists, instead of saying why.
    if not Path(path).exists():
        raise StorageError(
            f"{path} is not there, and the repository was pickled where it is; unpickle it on that machine"
        )
    return kind(path, **options)
