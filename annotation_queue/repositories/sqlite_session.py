"""One connection at work inside one transaction: reads records, stores changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar, cast

from annotation_queue.errors import Conflict, ItemNotFound, QueueNotFound
from annotation_queue.items import make_item
from annotation_queue.records import FINISHED, SETTLED, ItemRecord, count_change
from annotation_queue.repositories.sql_files import load_statements
from annotation_queue.repositories.sql_rows import (
    ALWAYS_MICROS,
    RANKS,
    STATES,
    micros_or_none,
    progress_of,
    progress_row,
    queue_of,
    time_or_none,
    value_or_none,
)
from annotation_queue.repositories.sqlite_known import FIRST_PLACE, LONGEST_KEPT, NEVER_MICROS, Known
from annotation_queue.values import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from annotation_queue.items import AnnotationQueue, QueueItem
    from annotation_queue.records import Change
    from annotation_queue.repositories.sqlite_connections import Transaction
    from annotation_queue.repositories.sqlite_known import Place
    from annotation_queue.states import Progress

SQL: Final = load_statements("sqlite")

KIND_NAMES: Final = (*STATES, SETTLED, FINISHED)
"""What each kind of counter counts."""
KINDS: Final = {name: kind for kind, name in enumerate(KIND_NAMES)}

Revision: TypeAlias = tuple[int, int, int, int]
"""What `ItemRecord.revision` is here: number and revision of the queue, number and revision of the item."""

_Value = TypeVar("_Value")


class Session:
    """A connection for the length of one transaction.

    Args:
        transaction: The transaction, which the session enters and leaves.
        known: What is known already; what the transaction learns joins it after the commit, since what it wrote itself may
            yet be rolled back.
    """

    def __init__(self, transaction: Transaction, known: Known) -> None:
        self._transaction = transaction
        self._known = known
        self._learned = Known()
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
            self._known.keep(self._learned)

    # Dictionaries

    def text(self, num: int) -> str:
        """Read a text of the dictionary."""
        found = self._known.texts.get(num)
        return self._learn(self._learned.texts, "text_by_num", num, str) if found is None else found

    def text_or_none(self, num: int | None) -> str | None:
        """Read a text of the dictionary; None for NULL."""
        return None if num is None else self.text(num)

    def fields(self, num: int) -> tuple[str, ...]:
        """Read a list of texts of the dictionary."""
        found = self._known.fields.get(num)
        return self._learn(self._learned.fields, "text_by_num", num, _tuple_of) if found is None else found

    def op_name(self, num: int) -> str:
        """Read the name of an operation."""
        found = self._known.op_names.get(num)
        return self._learn(self._learned.op_names, "op_name_by_num", num, str) if found is None else found

    def _learn(self, learned: dict[int, _Value], statement: str, num: int, parse: Callable[[str], _Value]) -> _Value:
        found = learned.get(num)
        if found is None:
            (text,) = self.execute(SQL[statement], (num,)).fetchone()
            found = parse(text)
            if len(text) <= LONGEST_KEPT:
                learned[num] = found
        return found

    def find_text(self, text: str) -> int | None:
        """Find the number of a text; None where nothing stored has it."""
        num = self._known.nums.get(text) or self._learned.nums.get(text)
        if num is None:
            row = self.execute(SQL["text_num"], (text,)).fetchone()
            if row is None:
                return None
            num = self._learn_num(text, row[0])
        return num

    def text_num(self, text: str) -> int:
        """Find the number of a text, or give it one; only inside a write transaction."""
        num = self.find_text(text)
        return self._learn_num(text, self.execute(SQL["add_text"], (text,)).fetchone()[0]) if num is None else num

    def _learn_num(self, text: str, num: int) -> int:
        if len(text) <= LONGEST_KEPT:
            self._learned.nums[text] = num
        return num

    def find_op_name(self, queue: int, name: str) -> int | None:
        """Find the number of a queue's operation; None where no item of it had the name."""
        row = self.execute(SQL["op_name_num"], (queue, name)).fetchone()
        return None if row is None else row[0]

    def op_num(self, queue: int, name: str) -> int:
        """Find the number of a queue's operation, or give it one; only inside a write transaction."""
        num = self.find_op_name(queue, name)
        return self.execute(SQL["add_op_name"], (queue, name)).fetchone()[0] if num is None else num

    # Records

    def queue(self, project_id: str, queue_id: str) -> tuple[int, int, AnnotationQueue]:
        """Read a live queue of a project, with its number and revision.

        Raises:
            QueueNotFound: There is none.
        """
        key = self.execute(SQL["queue_key"], (queue_id,)).fetchone()
        if key is None:
            raise QueueNotFound(queue_id)
        return self._queue_of_key(project_id, queue_id, key)

    def _queue_of_key(self, project_id: str, queue_id: str, key: tuple[int, int]) -> tuple[int, int, AnnotationQueue]:
        """Check and complete a queue of which number and revision were read; errors are those of `queue`."""
        queue = self._known.queues.get(key) or self._learned.queues.get(key)
        if queue is None:
            queue = queue_of(self.execute(SQL["queue_by_num"], (key[0],)).fetchone())
            if len(queue.description) + sum(map(len, queue.scorer_refs)) <= LONGEST_KEPT:
                self._learned.queues[key] = queue
        if queue.project_id != project_id or queue.deleted_at is not None:
            raise QueueNotFound(queue_id)
        return *key, queue

    def record(self, project_id: str, item_id: str, queue_id: str | None) -> ItemRecord:
        """Read what a decision rests on; arguments, result and errors are those of `Repository.get_record`."""
        queue_id = queue_id or self._queue_of(project_id, item_id)
        row = self.execute(SQL["live_record"], (item_id, queue_id)).fetchone()
        if row is None:
            raise self._missing(project_id, item_id, queue_id)
        item, revision, updated_at, *key = row
        return self._record(item, revision, item_id, updated_at, self._queue_of_key(project_id, queue_id, (*key,)))

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

    def record_by_num(self, item: int, queue: tuple[int, int, AnnotationQueue]) -> ItemRecord:
        """Read what a decision about a live item rests on, by its number."""
        revision, item_id, updated_at = self.execute(SQL["live_record_by_num"], (item,)).fetchone()
        return self._record(item, revision, item_id, updated_at, queue)

    def record_of(self, row: Sequence[Any], queue: tuple[int, int, AnnotationQueue]) -> ItemRecord:
        """Build the record of an item from the columns of ``live_item``."""
        return self._record(row[0], row[1], row[2], row[13], queue)

    def _record(
        self, item: int, revision: int, item_id: str, updated_at: int, queue: tuple[int, int, AnnotationQueue]
    ) -> ItemRecord:
        # An item of revision 0 was never touched.
        progresses = self.progresses(item, item_id) if revision else ()
        return ItemRecord(item_id, queue[2], from_micros(updated_at), progresses, (queue[0], queue[1], item, revision))

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
            item_id,
            queue.project_id,
            queue.id,
            call_id,
            from_micros(started),
            time_or_none(ended),
            self.op_name(op),
            trace,
            self.fields(fields),
            by,
            STATES[state],
            self.text_or_none(annotator),
            from_micros(created),
            by,
            from_micros(updated),
            None,
            None,
            ~priority_down,
            value_or_none(payload),
        )

    def progresses(self, item: int, item_id: str) -> tuple[Progress, ...]:
        """Read every progress on an item, by annotator id."""
        rows = self.execute(SQL["progresses"], (item,)).fetchall()
        found = [progress_of(item_id, self.text(annotator), row) for annotator, *row in rows]
        return tuple(sorted(found, key=lambda progress: progress.annotator_id))

    # Changes

    def store(self, record: ItemRecord, change: Change) -> None:
        """Store what a decision changes, if nothing that it rests on has changed.

        Raises:
            Conflict: Something has.
        """
        queue, queue_revision, item, revision = cast("Revision", record.revision)
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
        if changed.rowcount != 1:
            raise Conflict(f"item {record.item_id!r} changed meanwhile")
        for progress in change.progresses:
            self.execute(SQL["put_progress"], (item, annotators[progress.annotator_id], *progress_row(progress)))
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
        if claimable_at is not None and ALWAYS_MICROS < claimable_at < self.next_expiry(queue):
            self.set_next_expiry(queue, claimable_at)
        if change.opens:
            self.opened(queue)
        self.count(queue, count_change(record, change), annotators)

    def count(
        self, queue: int, counts: Mapping[tuple[str | None, str], int], annotators: Mapping[str, int] | None = None
    ) -> None:
        """Add to the counters of a queue.

        Args:
            queue: Its number.
            counts: As `records.tally` keys them.
            annotators: The numbers of annotators, as far as they are known.
        """
        known = annotators or {}
        rows = []
        for (annotator_id, kind), n in counts.items():
            annotator = 0 if annotator_id is None else known.get(annotator_id) or self.text_num(annotator_id)
            rows.append((queue, annotator, KINDS[kind], n))
        self.executemany(SQL["count"], rows)

    def claim_context(
        self, project_id: str, queue_id: str, annotator_id: str
    ) -> tuple[tuple[int, int, AnnotationQueue], int]:
        """Read a live queue, as `queue` does, and the number of an annotator, 0 for one who never did anything."""
        row = self.execute(SQL["claim_context"], (annotator_id, queue_id)).fetchone()
        if row is None:
            raise QueueNotFound(queue_id)
        num, revision, annotator, self._next_expiry[num], self._openings[num] = row
        if annotator:
            self._learn_num(annotator_id, annotator)
        return self._queue_of_key(project_id, queue_id, (num, revision)), annotator

    def mark(self, queue: int, annotator: int) -> Place:
        """Give a place before which the annotator has settled every open item; only after `claim_context`."""
        openings, place = self._known.marks.get((queue, annotator), (-1, FIRST_PLACE))
        return place if openings == self._openings[queue] else FIRST_PLACE

    def set_mark(self, queue: int, annotator: int, place: Place) -> None:
        """Remember that place for later transactions; only after `claim_context`."""
        self._learned.marks[queue, annotator] = self._openings[queue], place

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

    def counts(self, queue: int) -> dict[tuple[str | None, str], int]:
        """Read the counters of a queue, keyed as `records.tally` does."""
        rows = self.execute(SQL["counters"], (queue,)).fetchall()
        return {(self.text(annotator) if annotator else None, KIND_NAMES[kind]): n for annotator, kind, n in rows}


def _tuple_of(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
