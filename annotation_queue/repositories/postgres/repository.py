"""`PostgresRepository`: one schema of a PostgreSQL database, and any number of machines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, cast

import attrs
from psycopg import Connection
from psycopg_pool import ConnectionPool

from annotation_queue.changes import ChangePage, Settlement
from annotation_queue.counters import stats_of
from annotation_queue.docstrings import shown_whole
from annotation_queue.errors import Conflict, InvalidValue, QueueNotFound
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
from annotation_queue.repositories.postgres import bulk, log, removed
from annotation_queue.repositories.postgres import claims as postgres_claims
from annotation_queue.repositories.postgres.cache import Cache, Revision, WhoseMark
from annotation_queue.repositories.postgres.check import problems
from annotation_queue.repositories.postgres.connections import Connections
from annotation_queue.repositories.postgres.conninfo import (
    check_conninfo,
    check_schema,
    check_seconds,
    check_whole,
    time_to_connect,
)
from annotation_queue.repositories.postgres.items import add_items, make_and_store, refresh, remove_items, taken_calls
from annotation_queue.repositories.postgres.joined import Joined
from annotation_queue.repositories.postgres.knowledge import look_at_tables
from annotation_queue.repositories.postgres.queries import is_along_an_index, keeps_order, query_items
from annotation_queue.repositories.postgres.queue_queries import query_queues
from annotation_queue.repositories.postgres.resets import reset_items
from annotation_queue.repositories.postgres.schema import prepare
from annotation_queue.repositories.postgres.session import NotByItself, Renumbered, Session
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.postgres.upkeep import catch_up, fold
from annotation_queue.repositories.sql.chunks import add_each_call
from annotation_queue.repositories.sql.rows import StoredQueue, history_of, queue_of
from annotation_queue.repository import ReadsLabelTexts, RemembersClaims
from annotation_queue.states import Transition
from annotation_queue.values import refuse

_Answer = TypeVar("_Answer")
_Change: TypeAlias = Callable[[Session, StoredQueue], _Answer]


@shown_whole
class PostgresRepository(RemembersClaims, removed.RemovedCounts, ReadsLabelTexts):
    """Stores everything in one schema of a PostgreSQL database, version 14 or newer, encoded in UTF8.

    The methods are those of `Repository`, and their contract is there. An acknowledged write is as durable as the server's
    ``synchronous_commit`` and replication make it. Nothing outside the schema is touched. Nothing is set for longer than a
    transaction on a connection of the caller's pool, nor behind a pooler such as PgBouncer in transaction mode, which is
    noticed by the numbers that it gives to connections. On all others settings are made once, and what one statement does is
    a transaction by itself. A process may fork: both sides go on with connections of their own, unless the pool is the
    caller's. It may also spawn others: a repository is pickled as its conninfo (with the password, if there is one in it) and
    options, and opened anew where it is unpickled; one on a pool of the caller's refuses with `TypeError`.

    Args:
        conninfo: Where the server is, as libpq takes it: ``host=... dbname=...`` or ``postgresql://...``; empty for what the
            environment says.
        schema: The schema; made when missing, with all that is in it, unless ``create`` is False.
        pool: A pool that the caller already has, keeps and closes; the ``conninfo`` is not looked at then. None to make one.
        max_connections: How many connections to open at most; each call uses one for its length.
        timeout: How long to wait for a connection that is free, for a lock and for a statement, in seconds each.
        connect_timeout: How long to wait for a server that cannot be reached, in seconds, from 2 on; for each of its hosts if
            there are several. None for what the ``conninfo`` or ``PGCONNECT_TIMEOUT`` says, and 5 if neither does.
        prepare_threshold: How often a statement is executed before the server keeps it prepared, from 0 on; None for never,
            which PgBouncer in transaction mode needs unless it is version 1.22 or newer, its ``max_prepared_statements`` is
            above 0 and libpq is version 17 or newer. A pool of the caller's has its own.
        create: Whether to make the schema where it is missing.

    Raises:
        StorageCorrupt: The schema holds another application's tables; it is left as it is.
        SchemaVersionUnknown: It was written by a newer version of this library; it is left as it is.
        StorageUnreachable: The server is down, or out of reach. It answers connections that it refuses with a text only: one in
            another language than English (``lc_messages``) does not tell whether it is this, `StorageBusy` or `StorageError`.
        StorageDenied: The role lacks rights that are needed, or a schema is to be made or migrated on a read-only replica.
        StorageBusy: No connection was to be had in time.
        StorageError: The server refused what is needed, or the schema is missing and not to be made. No password is in any
            error.
    """

    def __init__(
        self,
        conninfo: str = "",
        *,
        schema: str = "annotation_queue",
        pool: ConnectionPool[Any] | None = None,
        max_connections: int = 10,
        timeout: float = 30.0,
        connect_timeout: float | None = None,
        prepare_threshold: int | None = 5,
        create: bool = True,
    ) -> None:
        check_conninfo(conninfo)
        check_schema(schema)
        check_whole("max_connections", max_connections, least=1)
        check_whole("prepare_threshold", prepare_threshold, least=0, or_none=True)
        check_seconds("timeout", timeout, above=0)
        connect_timeout = time_to_connect(conninfo) if connect_timeout is None else connect_timeout
        check_seconds("connect_timeout", connect_timeout, above=1)
        if pool is not None and not isinstance(pool, ConnectionPool):
            raise refuse("pool", pool, "a psycopg_pool.ConnectionPool or None")
        self._conninfo = None if pool is not None else conninfo
        self._options: dict[str, Any] = {
            "schema": schema,
            "max_connections": max_connections,
            "timeout": timeout,
            "connect_timeout": connect_timeout,
            "prepare_threshold": prepare_threshold,
            "create": create,
        }
        options = {key: value for key, value in self._options.items() if key not in {"schema", "create"}}
        self._connections = Connections(conninfo, schema, pool, **options)
        self._cache = Cache()
        try:
            prepare(self._connections, create=create)
        except BaseException:
            self._connections.close()
            raise

    @contextmanager
    def within(self, connection: Connection[Any]) -> Iterator[PostgresRepository]:
        """Give a repository whose calls join the transaction of a connection that the caller has.

        What it writes is committed or rolled back with the caller's own rows, by the caller. Each call stands between two
        savepoints: one that fails leaves the transaction as it was before it, and usable. The connection's settings (search
        path, time limits, encoding, row factory, adapters) are afterwards as they were. No call is tried again: what is in the
        way may be what the transaction itself has done. It sees what the transaction has written; if that is READ COMMITTED, a
        call that takes several statements may see in each what others commit in between. `changes` shows what the transaction
        wrote only once it is committed, and its locks are held until then: keep it short. What such calls count is folded, and
        where their annotators stand is found, over a connection of the repository's own as a later one of these begins, if
        that need not wait for one.

        Args:
            connection: A connection of psycopg 3 to the same database, in a transaction or without autocommit, not in pipeline
                mode: ``connection.connection`` of Django inside ``transaction.atomic()``,
                ``connection.connection.driver_connection`` of SQLAlchemy.

        Yields:
            The repository; `AnnotationQueues.using` takes it. It is of no use after the with block. Its calls raise, besides
            the errors of every other one, `InvalidValue` where the connection is in no transaction, and `StorageBusy` where
            a transaction that began later has changed an item: roll back, and do all of it again.
        """
        catch_up(self._connections, self._cache)
        made = type(self).__new__(type(self))
        made._conninfo, made._options = None, self._options  # noqa: SLF001 - of our own class
        made._connections, made._cache = Joined(self._connections, connection), self._cache.for_joined()  # noqa: SLF001 - as above
        with made:
            yield made

    def ping(self) -> None:
        """Ask the server for an answer, for a health check; it takes at most a little longer than ``connect_timeout``.

        Raises:
            StorageUnreachable: The server is down, or out of reach.
            StorageBusy: All connections were in use past the timeout.
            StorageError: The server answers, and does not let this repository work.
        """
        with Session(self._connections.reading(patience=self._connections.connect_timeout), self._cache) as session:
            session.ping()

    def add_queue(self, queue: AnnotationQueue) -> None:
        """See `Repository.add_queue`. Cost: constant."""
        with self._writing() as session:
            session.add_queue(queue)

    def get_or_create_queue(self, queue: AnnotationQueue) -> AnnotationQueue:
        """See `Repository.get_or_create_queue`. Cost: constant. Who wants a queue of the same name waits."""
        with self._writing(naming=f"{queue.project_id} {queue.name}") as session:
            found = session.row("oldest_of_name", {"project_id": queue.project_id, "name": queue.name})
            if found is not None:
                return queue_of(found)
            session.add_queue(queue)
        return copy_queue(queue)

    def get_queue(self, project_id: str, queue_id: str) -> AnnotationQueue:
        """See `Repository.get_queue`. Cost: constant."""
        with self._reading() as session:
            return copy_queue(session.queue(project_id, queue_id).queue)

    def query_queues(self, project_id: str, query: QueueQuery) -> QueuePage:
        """See `Repository.query_queues`.

        Cost: that of the page, for sorts by one field; linear in the offset, and in what a name that is searched for passes
        over. Sorts by several fields are linear in the project's queues, and so are all if one of its sorted texts is longer
        than 160 characters.
        """
        with self._reading(custom=True) as session:
            return query_queues(session, project_id, query)

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        """See `Repository.replace_queue`. Cost: constant; linear in the queue's items if a policy changes.

        If who may claim changes, or the queue is deleted, it waits for the changes of the queue's items that are under way;
        others may have to wait for it meanwhile, for a tenth of a second at a time. Another name waits for nobody.
        """
        matters = _what_claims_rest_on(before) != _what_claims_rest_on(after)

        def replace(num: int) -> None:
            locks: dict[str, Any] = {"alone": num} if matters else {"shared": [num]}
            with self._writing(**locks, custom=True) as session:
                session.rows("lock_queue", (num,))
                stored = session.locked_queue(num, before.project_id, before.id)
                if stored.queue != before:
                    raise Conflict(f"queue {before.id!r} changed meanwhile")
                revision = session.change_queue(num, after)
                if before.policies != after.policies:
                    refresh(session, stored, StoredQueue(num, revision, after))

        self._with_num(before.id, replace)

    def add_items(
        self,
        project_id: str,
        queue_id: str,
        items: Iterable[NewItem],
        make: Callable[[NewItem, AnnotationQueue], QueueItem],
    ) -> AddedItems:
        """See `Repository.add_items`. Cost: linear in what is added.

        The iterable is read, and items are made, before the queue is locked. Who adds to the same queue meanwhile waits; claims
        do not. Items may be made and not added: all are made anew if somebody else adds or removes one of the calls meanwhile.
        """
        queue = self.get_queue(project_id, queue_id)

        def taken(call_ids: Sequence[str], num: int) -> set[str]:
            with self._one_statement() as session:
                return taken_calls(session, num, call_ids)

        def store(made: Sequence[QueueItem], left_out: Sequence[str], num: int) -> None:
            with self._writing([num], adding=num) as session:
                add_items(session, session.locked_queue(num, project_id, queue_id), made, left_out)
            fold(self._connections, self._cache, session)

        def add(new: Sequence[NewItem]) -> Sequence[QueueItem]:
            return make_and_store(
                new,
                lambda each: make(each, queue),
                taken=lambda call_ids: self._with_num(queue_id, partial(taken, call_ids)),
                store=lambda made, left_out: self._with_num(queue_id, partial(store, made, left_out)),
            )

        added = add_each_call(items, add)
        look_at_tables(self._connections, self._cache, added.added)
        return added

    def get_item(self, project_id: str, item_id: str, queue_id: str | None = None) -> QueueItem:
        """See `Repository.get_item`. Cost: that of the payload."""
        return self._by_itself(lambda session: session.item(project_id, item_id, queue_id))

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
        return self._by_itself(
            lambda session: session.records(project_id, item_ids, queue_id, with_items=with_items, labels_of=labels_of)
        )

    def record_of_claim(self, project_id: str, item_id: str, annotator_id: str) -> ItemRecord | None:
        """See `RemembersClaims.record_of_claim`. Cost: constant, without a word to the server."""
        return self._cache.claimed.take(project_id, item_id, annotator_id)

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """See `Repository.save`. Cost: linear in what changes, and one commit.

        All of it is one statement, which has to end within the timeout: at its default that is some 100,000 items. Only
        labels of more than 64 MiB take several, each with a few MiB.
        """
        if not writes:
            return None
        self._cache.claimed.forget(writes)
        queues = {cast("Revision", record.revision).queue for record, _ in writes}
        pieces = bulk.pieces_of(writes)
        if len(queues) == len(pieces) == 1 and not self._connections.is_joined:
            # A conflict may be one with who works on the queue alone, which is waited for.
            with suppress(NotByItself, Conflict):
                with self._one_statement(writes=True) as session:
                    session.store(writes)
                return fold(self._connections, self._cache, session)
        with self._writing([*queues]) as session:
            bulk.store_in_pieces(session, pieces)
        return fold(self._connections, self._cache, session)

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        """See `Repository.query_items`. Cost: that of the page, and of items that a filter leaves out before it is full.

        Positions and offsets in the orders that have an index of what annotating does not change, of all items or of one
        operation's, are found by counts of blocks: one for some 1,000 items. An offset among other filtered items, those of one
        state too, and positions in the order of the last change, are linear in what stands before. Orders by state or annotator
        are read along the index of the rest of the order, sorted if there is an offset, and their positions behind a cursor are
        counted. Orders without an index, those by priority and something else but the creation among them, and queues that hold
        texts of 255 characters or more in a sorted field, are sorted. So is what a filter leaves in queue order as long as the
        server has not looked at the tables, as it does once many items are added, or change and are news to it.
        """
        with self._reading(custom=not is_along_an_index(query), ordered=keeps_order(query)) as session:
            return query_items(session, session.queue(project_id, queue_id), query)

    def update_items(
        self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, patch: ItemPatch, at: datetime
    ) -> int:
        """See `Repository.update_items`. Cost: linear in the items that are meant.

        It waits for the changes of the queue's items that are under way, and these then wait for it.
        """
        look_at_tables(self._connections, self._cache, which, queue_id)

        def update(session: Session, queue: StoredQueue) -> int:
            return bulk.update_items(session, queue, bulk.find_items(session, queue, which), patch, at)

        return self._changing(project_id, queue_id, update, alone=True)

    def reprioritise(self, project_id: str, queue_id: str, priorities: Mapping[str, int], at: datetime) -> int:
        """See `Repository.reprioritise`. Cost: linear in the ids; who waits is as for `update_items`."""
        look_at_tables(self._connections, self._cache, priorities, queue_id)
        reprioritise = partial(bulk.reprioritise, priorities=priorities, at=at)
        return self._changing(project_id, queue_id, reprioritise, alone=True)

    def reset(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, wanted: Reset) -> int:
        """See `Repository.reset`. Cost: linear in the items that are meant, all in one transaction, a list at a time.

        The items are locked until all are stored, and the queue's name. With a filter nobody else changes the queue's items
        meanwhile, as for `update_items`.
        """
        reset = partial(reset_items, which=which, wanted=wanted)
        return self._changing(project_id, queue_id, reset, alone=isinstance(which, ItemFilter))

    def remove_items(self, project_id: str, queue_id: str, which: Sequence[str] | ItemFilter, at: datetime) -> int:
        """See `Repository.remove_items`. Cost: linear in the ids, or in what the filter has to look at.

        Who adds to the queue or removes from it meanwhile waits; claims do not. With a filter nobody else changes the queue's
        items meanwhile.
        """
        look_at_tables(self._connections, self._cache, which, queue_id)

        def remove(session: Session, queue: StoredQueue) -> int:
            return remove_items(session, queue, bulk.find_items(session, queue, which), at)

        by_filter = isinstance(which, ItemFilter)
        return self._changing(project_id, queue_id, remove, alone=by_filter, adding=not by_filter)

    def restore_items(self, project_id: str, queue_id: str, item_ids: Sequence[str], at: datetime) -> int:
        """See `Repository.restore_items`. Cost: linear in the ids. Who adds to the same queue meanwhile waits.

        What version 1 removed cannot be brought back and is passed over.
        """
        restore = partial(removed.restore_items, item_ids=item_ids, at=at)
        return self._changing(project_id, queue_id, restore, adding=True)

    def restore_queue(self, project_id: str, queue_id: str, at: datetime) -> AnnotationQueue:
        """See `Repository.restore_queue`. Cost: constant."""

        def restore(num: int) -> AnnotationQueue:
            with self._writing(alone=num) as session:
                stored = session.deleted_queue(project_id, queue_id)
                if stored.num != num:
                    raise Renumbered(queue_id)
                if stored.queue.deleted_at is None:
                    return copy_queue(stored.queue)
                after = attrs.evolve(stored.queue, deleted_at=None, updated_at=at)
                session.change_queue(num, after)
                return copy_queue(after)

        return self._with_num(queue_id, restore)

    def purge(self, project_id: str, removed_before: datetime) -> Purged:
        """See `Repository.purge`. Cost: linear in what is erased, all in one transaction.

        If that had texts of 255 characters or more, all that the queue holds is read once, to see which of them are still used.

        The server overwrites what a table lost when it vacuums and writes there again. Its write-ahead log, its replicas and
        its backups keep what they have.
        """
        with self._writing(custom=True) as session:
            items, queues = removed.purge(session, project_id, removed_before)
        return Purged(items=items, queues=queues)

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

        Nobody waits for anybody else: an item that somebody else is changing at this moment is passed over for the next one in
        queue order. Only if nothing but such items is left, it looks again until they are claimed or free. How many
        there can be at once is limited as for `save`. Otherwise as for `SQLiteRepository.claim`.
        """
        known = self._cache.newest(queue_id)
        if self._connections.is_joined:
            self._cache.due.claimed(WhoseMark(project_id, queue_id, key_of(annotator_id)))
        # A transaction of the caller's numbers its entries in the log by itself.
        tries = known is not None and not self._cache.is_touched(known.num, key_of(annotator_id))
        if known is not None and tries and known.queue.project_id == project_id and not self._connections.is_joined:
            untouched: tuple[Claim, ...] | None = None
            with suppress(InvalidValue):
                while untouched is None:
                    with self._one_statement(writes=True) as session:
                        untouched = postgres_claims.claim_untouched(
                            session, known, annotator_id, limit=limit, at=at, lease=lease
                        )
                if untouched:
                    fold(self._connections, self._cache, session)
                    return untouched

        def grant(num: int) -> tuple[Claim, ...]:
            with self._writing([num]) as session:
                # Before any item is locked, as whoever changes items does.
                session.long_keys([(num, annotator_id)])
                claims = postgres_claims.claim(
                    session, num, project_id, queue_id, annotator_id, limit=limit, at=at, lease=lease
                )
            fold(self._connections, self._cache, session)
            return claims

        def explain() -> Unavailable | None:
            with self._reading(custom=True) as session:
                return postgres_claims.explain(session, session.queue(project_id, queue_id), annotator_id, at)

        timeout = None if self._connections.is_joined else self._connections.timeout
        return postgres_claims.claim_or_explain(
            queue_id, lambda: self._with_num(queue_id, grant), explain, timeout=timeout
        )

    def history(self, project_id: str, item_id: str) -> tuple[Transition, ...]:
        """See `Repository.history`. Cost: linear in the history."""
        with self._reading() as session:
            found = cast("Revision", session.record(project_id, item_id, None).revision)
            rows = session.rows("history", (found.queue, found.num))
            return history_of(item_id, rows, partial(session.text, found.queue))

    def holds(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[Claim, ...]:
        """See `Repository.holds`. Cost: linear in the holds."""
        with self._reading(custom=True) as session:
            return postgres_claims.holds(session, session.queue(project_id, queue_id), annotator_id)

    def labels(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelPage:
        """See `Repository.labels`. Cost: that of the page, plus what is passed over in the log before it is full.

        What is passed over are entries of progresses that changed again, or that the query does not want; a page of one
        annotator's completed and skipped progresses passes over those of nobody else. If the filter names an item, a call or a
        trace, it is linear in the progresses on these items instead.
        """
        with self._reading(custom=True, ordered=True) as session:
            return log.labels(session, session.queue(project_id, queue_id), query)

    def label_texts(self, project_id: str, queue_id: str, query: LabelQuery) -> LabelTextPage:
        """See `ReadsLabelTexts.label_texts`. Cost: as that of `labels`."""
        with self._reading(custom=True, ordered=True) as session:
            return log.label_texts(session, session.queue(project_id, queue_id), query)

    def changes(self, project_id: str, queue_id: str, after: str | None, limit: int) -> ChangePage:
        """See `Repository.changes`. Cost: that of the page.

        Nothing is shown that is younger than the oldest transaction under way on the server, in any of its databases.
        """
        with self._reading(custom=True, ordered=True) as session:
            return log.changes(session, session.queue(project_id, queue_id), after, limit)

    def settled_since(self, project_id: str, queue_id: str, since: datetime) -> tuple[Settlement, ...]:
        """See `Repository.settled_since`. Cost: linear in what is found."""
        with self._reading(custom=True) as session:
            return log.settled_since(session, session.queue(project_id, queue_id), since)

    def stats(self, project_id: str, queue_ids: Sequence[str]) -> tuple[QueueStats, ...]:
        """See `Repository.stats`. Cost: linear in the queues' annotators."""
        with self._reading() as session:
            found = {queue_id: session.queue(project_id, queue_id) for queue_id in dict.fromkeys(queue_ids)}
            counts = session.counts(queue.num for queue in found.values())
            stats = {queue_id: stats_of(queue_id, counts.get(queue.num, {})) for queue_id, queue in found.items()}
            return tuple(stats[queue_id] for queue_id in queue_ids)

    def check(self) -> tuple[str, ...]:
        """Recount everything that is kept beside what it is derived from.

        Returns:
            What is wrong, a sentence each; nothing if all is well. Cost: linear in all that is stored.
        """
        with self._reading(custom=True) as session:
            return tuple(problems(session))

    def close(self) -> None:
        """Close the connections, except a pool of the caller's; a second time does nothing."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._conninfo is None:
            raise TypeError(
                f"a repository on a pool or a connection of the caller's ({self._connections.name}) cannot be pickled: "
                "give PostgresRepository a conninfo instead, or make a repository in the other process"
            )
        return partial(type(self), **self._options), (self._conninfo,)

    def _reading(self, *, custom: bool = False, ordered: bool = False) -> Session:
        return Session(self._connections.reading(custom=custom, ordered=ordered), self._cache)

    def _writing(
        self,
        shared: Sequence[int] = (),
        *,
        alone: int | None = None,
        adding: int | None = None,
        naming: str | None = None,
        custom: bool = False,
    ) -> Session:
        begun = self._connections.writing(shared, alone=alone, adding=adding, naming=naming, custom=custom)
        return Session(begun, self._cache)

    def _changing(
        self, project_id: str, queue_id: str, change: _Change[_Answer], *, alone: bool = False, adding: bool = False
    ) -> _Answer:
        """Change items of a live queue, with nobody else who changes items of it, or with nobody else who adds to it."""

        def call(num: int) -> _Answer:
            locks: dict[str, Any] = {"alone": num} if alone else {"shared": [num], "adding": num if adding else None}
            with self._writing(**locks, custom=True) as session:
                return change(session, session.locked_queue(num, project_id, queue_id))

        return self._with_num(queue_id, call)

    def _one_statement(self, *, writes: bool = False) -> Session:
        return Session(self._connections.one_statement(writes=writes), self._cache, is_alone=True)

    def _by_itself(self, read: Callable[[Session], _Answer]) -> _Answer:
        """Read something by one statement; if that does not do, then by several that see the same instant."""
        try:
            with self._one_statement() as session:
                return read(session)
        except NotByItself:
            with self._reading() as session:
                return read(session)

    def _with_num(self, queue_id: str, call: Callable[[int], _Answer]) -> _Answer:
        """Call something with the number of a queue; again if the number that is remembered is not the queue's any more.

        Raises:
            QueueNotFound: There is no such queue.
        """
        try:
            return call(self._num(queue_id))
        except Renumbered:
            self._cache.forget(queue_id)
        try:
            return call(self._num(queue_id))
        except Renumbered:
            raise QueueNotFound(queue_id) from None

    def _num(self, queue_id: str) -> int:
        """Find the number of a queue of any project, which is what it is locked by.

        Raises:
            QueueNotFound: There is no such queue. Whether it is live, and of which project, is looked at when it is locked.
        """
        newest = self._cache.versions.get(queue_id)
        if newest is not None:
            return newest.num
        with self._reading() as session:
            return session.num(queue_id)


def _what_claims_rest_on(queue: AnnotationQueue) -> tuple[object, ...]:
    return queue.policies, queue.is_paused, queue.deleted_at
