"""`SQLiteRepository`: one file, many threads and processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from annotation_queue.counters import stats_of
from annotation_queue.errors import Conflict
from annotation_queue.query import search_text
from annotation_queue.repositories.sql.chunks import add_each_call
from annotation_queue.repositories.sql.rows import StoredQueue, history_of, page_of, queue_of, queue_values
from annotation_queue.repositories.sqlite import claims as sqlite_claims
from annotation_queue.repositories.sqlite.cache import Cache
from annotation_queue.repositories.sqlite.check import problems
from annotation_queue.repositories.sqlite.connections import SYNCHRONOUS, Connections
from annotation_queue.repositories.sqlite.items import add_items, refresh, remove_items
from annotation_queue.repositories.sqlite.queries.selection import query_items
from annotation_queue.repositories.sqlite.schema import prepare
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.values import check_text, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType

    from annotation_queue.items import AddedItems, AnnotationQueue, Claim, NewItem, QueueItem, QueueStats, Unavailable
    from annotation_queue.query import ItemPage, ItemQuery, QueuePage, QueueQuery
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repositories.sqlite.cache import Revision
    from annotation_queue.states import Transition


class SQLiteRepository:
    """Stores everything in one SQLite file that any number of threads and processes of one machine share.

    The methods are those of `Repository`, and their contract is there. An acknowledged write survives the death of the
    process always, and the loss of power with ``FULL``; with ``NORMAL`` the newest commits may be missing after a power cut,
    and the file is whole all the same. Nothing but SQLite may open the file: copy it with SQLite's backup.
    A process may fork: the fork waits for the transactions of other threads, and both sides go on with connections of their
    own.

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
        self._cache = Cache()
        self._connections = Connections(str(Path(name).absolute()), synchronous, busy_timeout)
        try:
            prepare(self._connections)
        except BaseException:
            self._connections.close()
            raise

    def add_queue(self, queue: AnnotationQueue) -> None:
        """See `Repository.add_queue`. Cost: constant."""
        with self._writing() as session:
            if session.execute(SQL["add_queue"], queue_values(queue)).fetchone() is None:
                raise Conflict(f"the queue id {queue.id!r} is taken")

    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        """See `Repository.get_queue`. Cost: constant."""
        with self._reading() as session:
            return session.queue(project_id, queue_id)[2]

    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        """See `Repository.query_queues`. Cost: linear in the project's queues."""
        wanted = None if query.name is None else search_text(query.name)
        with self._reading() as session:
            rows = session.execute(SQL["queues_of_project"], (project_id, wanted, wanted)).fetchall()
            queues = [queue_of(row) for row in rows]
        return page_of(project_id, query, queues)

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        """See `Repository.replace_queue`. Cost: constant; linear in the items where a policy changes."""
        with self._writing() as session:
            num, revision, stored = session.queue(before.project_id, before.id)
            if stored != before:
                raise Conflict(f"queue {before.id!r} changed meanwhile")
            session.execute(SQL["replace_queue"], {**queue_values(after), "num": num})
            if before.policies != after.policies:
                refresh(session, StoredQueue(num, revision, before), after)

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
            return session.item(project_id, item_id, queue_id)

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

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """See `Repository.save`. Cost: linear in what changes, and one commit."""
        with self._writing() as session:
            for record, change in writes:
                session.store(record, change)

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        """See `Repository.query_items`.

        Cost: that of the page, and a sum over the blocks of its order, one for some 1,024 items, for a position or an offset.
        An offset below other filters than one operation or, in queue order, some states is linear in what it passes. By state
        or annotator a page of all items is read along the index of what comes next in the order, up to its last item with that
        value. Any other order that no index has needs one sort of what is wanted, and of the whole queue for positions.
        """
        with self._reading() as session:
            return query_items(session, session.queue(project_id, queue_id), query)

    def remove_items(self, project_id: str, queue_id: str, item_ids: Iterable[str], at: datetime) -> int:
        """See `Repository.remove_items`. Cost: linear in the ids."""
        wanted = list(item_ids)
        with self._writing() as session:
            return remove_items(session, session.queue(project_id, queue_id), wanted, at)

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

    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        """See `Repository.history`. Cost: linear in the history."""
        with self._reading() as session:
            record = session.record(project_id, item_id, None)
            rows = session.execute(SQL["transitions"], (cast("Revision", record.revision)[2],)).fetchall()
            return history_of(item_id, rows, session.text)

    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[QueueStats, ...]:
        """See `Repository.stats`. Cost: linear in the queues' annotators."""
        with self._reading() as session:
            found = [session.queue(project_id, queue_id) for queue_id in queue_ids]
            return tuple(stats_of(queue.id, session.counts(num)) for num, _, queue in found)

    def check(self) -> tuple[str, ...]:
        """Recount everything that is kept beside what it is derived from.

        Returns:
            What is wrong, a sentence each; nothing where all is well. Cost: linear in all that is stored.
        """
        with self._reading() as session:
            return tuple(problems(session))

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _reading(self) -> Session:
        return Session(self._connections.reading(), self._cache)

    def _writing(self) -> Session:
        return Session(self._connections.writing(), self._cache)
