"""One connection at work inside one transaction: reads records, stores changes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self, cast

import attrs

from annotation_queue.counters import changes
from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound
from annotation_queue.items import make_item
from annotation_queue.records import ItemRecord, make_record
from annotation_queue.repositories.sql.rows import (
    ALWAYS_MICROS,
    KIND_NAMES,
    RANKS,
    STATES,
    StoredQueue,
    micros_or_none,
    progress_row,
    progresses_of,
    queue_of,
    time_or_none,
    value_or_none,
)
from annotation_queue.repositories.sqlite.cache import FIRST_PLACE, LONGEST_KEPT, NEVER_MICROS
from annotation_queue.repositories.sqlite.indexes import IN_ORDER
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.repositories.sqlite.texts import Interned
from annotation_queue.states import UNREAD, with_annotation
from annotation_queue.values import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.records import Change
    from annotation_queue.repositories.sqlite.cache import Cache, QueueKey, Revision
    from annotation_queue.repositories.sqlite.connections import Transaction
    from annotation_queue.states import Progress

KINDS: Final = {name: column for column, name in enumerate(KIND_NAMES, 2)}
"""Where each stands in a row of ``count``, after queue and annotator."""

_MOVES: Final = {
    (before, after): None if before is after else tuple((state is after) - (state is before) for state in STATES)
    for before in STATES
    for after in STATES
}
"""What a change of an item's state adds to the counts of each state."""


class Session(Interned):
    """A connection for the length of one transaction.

    Args:
        transaction: The transaction, which the session enters and leaves.
        cache: As for `Interned`.
    """

    def __init__(self, transaction: Transaction, cache: Cache) -> None:
        super().__init__(cache)
        self._transaction = transaction
        self._next_expiry: dict[int, int] = {}
        self._openings: dict[int, int] = {}

    def __enter__(self) -> Self:
        connection = self._transaction.__enter__()
        self.execute = connection.execute
        self.executemany = connection.executemany
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transaction.__exit__(kind, error, traceback)
        if error is None:
            self._keep_learned()

    # Records

    def queue(self, project_id: str, queue_id: str) -> StoredQueue:
        """Read a live queue of a project, with its number and revision.

        Raises:
            QueueNotFound: There is none.
        """
        key = self.execute(SQL["queue_key"], (queue_id,)).fetchone()
        if key is None:
            raise QueueNotFound(queue_id)
        return self._queue_of_key(project_id, queue_id, key)

    def _queue_of_key(self, project_id: str, queue_id: str, key: tuple[int, int]) -> StoredQueue:
        """Check and complete a queue of which number and revision were read; errors are those of `queue`."""
        queue = self._cache.queues.get(key) or self._learned.queues.get(key)
        if queue is None:
            queue = queue_of(self.execute(SQL["queue_by_num"], (key[0],)).fetchone())
            if len(queue.description) + sum(map(len, queue.scorer_refs)) <= LONGEST_KEPT:
                self._learned.queues[key] = queue
        if queue.project_id != project_id or queue.deleted_at is not None:
            raise QueueNotFound(queue_id)
        return StoredQueue(*key, queue)

    def records(
        self,
        project_id: str,
        item_ids: Iterable[str],
        queue_id: str | None,
        *,
        with_items: bool,
        labels_of: Collection[str] | None,
    ) -> dict[str, ItemRecord]:
        """Read what decisions rest on; arguments, result and errors are those of `Repository.get_records`."""
        if queue_id is not None:
            self.queue(project_id, queue_id)
        records: dict[str, ItemRecord] = {}
        for item_id in item_ids:
            with suppress(ItemNotFound):
                record = self.record(project_id, item_id, queue_id)
                item = self.item(project_id, item_id, queue_id) if with_items else None
                shown = (
                    each if labels_of is None or each.annotator_id in labels_of else with_annotation(each, UNREAD)
                    for each in record.progresses
                )
                records[item_id] = attrs.evolve(record, item=item, progresses=tuple(shown))
        return records

    def record(self, project_id: str, item_id: str, queue_id: str | None) -> ItemRecord:
        """Read what a decision rests on; arguments, result and errors are those of `Repository.get_item`."""
        queue_id = queue_id or self._queue_of(project_id, item_id)
        rows = self.execute(SQL["live_record"], (item_id, queue_id)).fetchall()
        if not rows:
            raise self._missing(project_id, item_id, queue_id)
        *of_item, updated_at, queue_num, queue_revision = rows[0][:7]
        queue = self._queue_of_key(project_id, queue_id, (queue_num, queue_revision))
        progresses = self._progresses(item_id, [row[7:] for row in rows if row[7] is not None])
        return make_record(item_id, queue[2], from_micros(updated_at), progresses, (*queue[:2], *of_item), None)

    def item(self, project_id: str, item_id: str, queue_id: str | None) -> QueueItem:
        """Read an item; arguments, result and errors are those of `Repository.get_item`."""
        queue_id = queue_id or self._queue_of(project_id, item_id)
        row = self.execute(SQL["live_item"], (item_id, queue_id)).fetchone()
        if row is None:
            raise self._missing(project_id, item_id, queue_id)
        return self.item_of(row, self._queue_of_key(project_id, queue_id, row[-2:])[2])

    def _queue_of(self, project_id: str, item_id: str) -> str:
        owner = self.execute(SQL["item_and_queue"], (item_id,)).fetchone()
        if owner is None or owner[1] != project_id:
            raise ItemNotFound(item_id)
        return cast("str", owner[0])

    def _missing(self, project_id: str, item_id: str, queue_id: str) -> ItemNotFound:
        self.queue(project_id, queue_id)
        return ItemNotFound(item_id)

    def record_by_num(self, item: int, queue: StoredQueue) -> ItemRecord:
        """Read what a decision about a live item rests on, by its number."""
        *of_item, item_id, updated_at = self.execute(SQL["live_record_by_num"], (item,)).fetchone()
        return self._record((item, *of_item), item_id, updated_at, queue)

    def record_of(self, row: Sequence[Any], queue: StoredQueue) -> ItemRecord:
        """Build the record of an item from the columns of ``live_item``."""
        return self._record((row[0], row[1], row[14], row[12]), row[2], row[13], queue)

    def _record(
        self, of_item: tuple[int, int, int, int], item_id: str, updated_at: int, queue: StoredQueue
    ) -> ItemRecord:
        # An item of revision 0 was never touched.
        progresses = self.progresses(of_item[0], item_id) if of_item[1] else ()
        return make_record(item_id, queue[2], from_micros(updated_at), progresses, (*queue[:2], *of_item), None)

    def item_of(self, row: Sequence[Any], queue: AnnotationQueue) -> QueueItem:
        """Build an item in the aggregate view from the columns of ``live_item``."""
        (
            _,
            _,
            item_id,
            call_id,
            started,
            ended,
            op,
            trace,
            fields,
            added_by,
            state,
            annotator,
            created,
            updated,
            priority_down,
            payload,
            *_,
        ) = row
        by = self.text(added_by)
        return make_item(
            id=item_id,
            project_id=queue.project_id,
            queue_id=queue.id,
            call_id=call_id,
            call_started_at=from_micros(started),
            call_ended_at=time_or_none(ended),
            call_op_name=self.op_name(op),
            call_trace_id=trace,
            display_fields=self.fields(fields),
            added_by=by,
            annotation_state=STATES[state],
            annotator_user_id=self.text_or_none(annotator),
            created_at=from_micros(created),
            created_by=by,
            updated_at=from_micros(updated),
            priority=~priority_down,
            payload=value_or_none(payload),
        )

    def progresses(self, item: int, item_id: str) -> tuple[Progress, ...]:
        """Read every progress on an item, by annotator id."""
        return self._progresses(item_id, self.execute(SQL["progresses"], (item,)).fetchall())

    def _progresses(self, item_id: str, rows: Iterable[Sequence[Any]]) -> tuple[Progress, ...]:
        return progresses_of(item_id, rows, self.text)

    # Changes

    def store(self, record: ItemRecord, change: Change) -> None:
        """Store what a decision changes, if nothing that it rests on has changed.

        Raises:
            Conflict: Something has.
        """
        queue, queue_revision, item, revision, *place = cast("Revision", record.revision)
        after = change.standing
        annotators = {each.annotator_id: self.text_num(each.annotator_id) for each in change.progresses}
        claimable_at = micros_or_none(after.claimable_at)
        shown = None if after.annotator_id is None else annotators.get(after.annotator_id)
        if after.annotator_id is not None and shown is None:
            shown = self.text_num(after.annotator_id)
        changed = self.execute(
            SQL["change_work"],
            (
                RANKS[after.state],
                shown,
                after.completed,
                after.skipped,
                claimable_at,
                to_micros(change.updated_at),
                item,
                revision,
                queue,
                queue_revision,
            ),
        )
        if not changed.rowcount:
            raise Conflict(f"item {record.item_id!r} changed meanwhile")
        for progress in change.progresses:
            self.execute(SQL["put_progress"], (item, annotators[progress.annotator_id], *progress_row(progress, 0)[1:]))
        for step, each in enumerate(change.transitions):
            self.execute(
                SQL["add_transition"],
                (
                    item,
                    revision + 1,
                    step,
                    annotators[each.annotator_id],
                    RANKS[each.from_state],
                    RANKS[each.to_state],
                    to_micros(each.at),
                    each.reason,
                ),
            )
        move = _MOVES[change.before.state, after.state]
        if move is not None:
            # Two statements: in one, SQLite would pass every block before it.
            lane = (queue, IN_ORDER.num)
            block = self.execute(SQL["block_of"], (*lane, *place, record.item_id)).fetchone()
            self.execute(SQL["count_states"], (*move, *lane, *block))
        if claimable_at is not None and ALWAYS_MICROS < claimable_at < self.next_expiry(queue):
            self.set_next_expiry(queue, claimable_at)
        if change.opens:
            self.opened(queue)
        self.count(queue, changes(record, change), annotators)

    def count(
        self, queue: int, counts: Mapping[tuple[str | None, str], int], annotators: Mapping[str, int] | None = None
    ) -> None:
        """Add to the counters of a queue.

        Args:
            queue: Its number.
            counts: As `counters.counts_of` keys them.
            annotators: The numbers of annotators, as far as they are known.
        """
        nums = annotators or {}
        rows: dict[str | None, list[int]] = {}
        for (annotator_id, kind), n in counts.items():
            row = rows.get(annotator_id)
            if row is None:
                annotator = 0 if annotator_id is None else nums.get(annotator_id) or self.text_num(annotator_id)
                row = rows[annotator_id] = [queue, annotator, 0, 0, 0, 0, 0, 0]
            row[KINDS[kind]] += n
        self.executemany(SQL["count"], rows.values())

    def claim_context(self, project_id: str, queue_id: str, annotator_id: str) -> tuple[StoredQueue, int]:
        """Read a live queue, as `queue` does, and the number of an annotator, 0 for one who never did anything."""
        row = self.execute(SQL["claim_context"], (annotator_id, queue_id)).fetchone()
        if row is None:
            raise QueueNotFound(queue_id)
        num, revision, annotator, next_expiry, openings = row
        # Without a row nothing was ever added.
        self._next_expiry[num] = NEVER_MICROS if next_expiry is None else next_expiry
        self._openings[num] = openings or 0
        if annotator:
            self._learn_num(annotator_id, annotator)
        return self._queue_of_key(project_id, queue_id, (num, revision)), annotator

    def mark(self, queue: int, annotator: int) -> QueueKey:
        """Give a place before which the annotator has settled every open item; only after `claim_context`."""
        openings, place = self._cache.low_water_marks.get((queue, annotator), (-1, FIRST_PLACE))
        return place if openings == self._openings[queue] else FIRST_PLACE

    def set_low_water_mark(self, queue: int, annotator: int, place: QueueKey) -> None:
        """Remember that place for later transactions; only after `claim_context`."""
        self._learned.low_water_marks[queue, annotator] = self._openings[queue], place

    def opened(self, queue: int) -> None:
        """Note that items became open or work was reopened, so that no mark is good any more."""
        self.execute(SQL["opened"], (queue,))
        if queue in self._openings:
            self._openings[queue] += 1

    def next_expiry(self, queue: int) -> int:
        """Read a time before which no lease in ``work_waiting`` ends, in microseconds."""
        if queue not in self._next_expiry:
            row = self.execute(SQL["next_expiry"], (queue,)).fetchone()
            self._next_expiry[queue] = NEVER_MICROS if row is None else row[0]
        return self._next_expiry[queue]

    def set_next_expiry(self, queue: int, micros: int) -> None:
        """Write that time; only inside a write transaction."""
        self.execute(SQL["set_next_expiry"], (queue, micros))
        self._next_expiry[queue] = micros

    def live(self, queue: int) -> int:
        """Count the live items of a queue."""
        (n,) = self.execute(SQL["live"], (queue,)).fetchone()
        return int(n)

    def counts(self, queue: int) -> dict[tuple[str | None, str], int]:
        """Read the counters of a queue, keyed as `counters.counts_of` does."""
        return {
            (self.text(annotator) if annotator else None, name): n
            for annotator, *row in self.execute(SQL["counters"], (queue,)).fetchall()
            for name, n in zip(KIND_NAMES, row, strict=True)
        }
