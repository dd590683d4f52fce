"""Adding and removing items, and what follows for them when a queue's policies change, inside one write transaction."""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.counters import FINISHED, SETTLED, counts_of
from annotation_queue.errors import Conflict
from annotation_queue.records import NEW
from annotation_queue.repositories.sql.chunks import in_chunks, make_new
from annotation_queue.repositories.sql.rows import (
    ALWAYS_MICROS,
    STATES,
    StoredQueue,
    json_or_none,
    micros_or_none,
    refreshed,
)
from annotation_queue.repositories.sqlite.blocks import (
    NEW_KIND,
    Move,
    Places,
    count_added,
    count_removed,
    kind_of,
    moved_blocks,
)
from annotation_queue.repositories.sqlite.session import lists
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.repositories.sqlite.stretches import count_labels, count_untold
from annotation_queue.states import open_slots, slot_free_at, unstarted, with_lease
from annotation_queue.values import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from annotation_queue.items import AnnotationQueue, NewItem, QueueItem
    from annotation_queue.repositories.sqlite.session import Session


def add_items(
    session: Session, queue: StoredQueue, new: Sequence[NewItem], make: Callable[[NewItem, AnnotationQueue], QueueItem]
) -> list[QueueItem]:
    """Add items of which no two have the same call, if their calls are not taken.

    Returns:
        What was added, in order.
    """
    (first,) = session.execute(SQL["next_item"]).fetchone()
    added: list[QueueItem] = []
    numbers: dict[tuple[str, str], int] = {}
    for chunk in in_chunks(new):
        taken: set[str] = set()
        for wanted in lists([each.call_id for each in chunk]):
            taken.update(call_id for (call_id,) in session.execute(SQL["taken_calls"], (wanted, queue.num)).fetchall())
        made = make_new(chunk, taken, make, queue.queue)
        _insert(session, queue.num, first + len(added), made, numbers)
        added += made
    session.count(queue.num, {key: n * len(added) for key, n in counts_of(NEW, ()).items()})
    if added:
        session.reopened(queue.num)
    return added


def _insert(
    session: Session, queue: int, first: int, items: Sequence[QueueItem], numbers: dict[tuple[str, str], int]
) -> None:
    ids = [item.id for item in items]
    for wanted in lists(ids):
        taken = session.execute(SQL["taken_ids"], (wanted,)).fetchone()
        if taken is not None:
            raise Conflict(f"the item id {taken[0]!r} is taken")
    if len(set(ids)) < len(ids):
        raise Conflict("an item's id is taken")

    def text(value: str) -> int:
        key = ("text", value)
        if key not in numbers:
            numbers[key] = session.text_num(value)
        return numbers[key]

    def op(name: str) -> int:
        key = ("op", name)
        if key not in numbers:
            numbers[key] = session.op_num(queue, name)
        return numbers[key]

    session.executemany(
        SQL["add_item"],
        (
            {
                "num": num,
                "queue": queue,
                "id": item.id,
                "call_id": item.call_id,
                "call_started_at": to_micros(item.call_started_at),
                "call_ended_at": micros_or_none(item.call_ended_at),
                "call_trace_id": item.call_trace_id,
                "display_fields": text(json.dumps(item.display_fields, ensure_ascii=False)),
                "payload": json_or_none(item.payload),
            }
            for num, item in enumerate(items, first)
        ),
    )
    places = Places(
        priority_down=[~item.priority for item in items],
        created_at=[to_micros(item.created_at) for item in items],
        id=ids,
        call_started_at=[to_micros(item.call_started_at) for item in items],
        op=[op(item.call_op_name) for item in items],
    )
    session.executemany(
        SQL["add_work"],
        (
            {
                **dict(zip(Places._fields, place, strict=True)),
                "num": num,
                "queue": queue,
                "added_by": text(item.added_by or item.created_by),
                "updated_at": to_micros(item.updated_at),
                "assignees": assigned(session, item.assignees) if item.assignees else None,
            }
            for num, (item, place) in enumerate(zip(items, zip(*places, strict=True), strict=True), first)
        ),
    )
    reserved = [num for num, item in enumerate(items, first) if item.assignees]
    if reserved:
        session.execute(SQL["reserve"], {"nums": json.dumps(reserved)})
    session.executemany(SQL["count_op"], ((n, num) for num, n in Counter(places.op).items()))
    count_added(session, queue, places, [NEW_KIND] * len(items))


def assigned(session: Session, assignees: Sequence[str]) -> int | None:
    """Give the number of the text that lists assignees, who all get numbers; None for nobody."""
    for annotator_id in assignees:
        session.text_num(annotator_id)
    return session.text_num(json.dumps(assignees, ensure_ascii=False)) if assignees else None


_LONGEST_LISTED: Final = 1_000
"""How many characters an id has at most that SQLite writes into a list with thousands of others."""


class _Live(NamedTuple):
    """The columns of ``live_places``: JSON lists, and what tells whether there is anything else of the items."""

    priority_down: str
    created_at: str
    id: str
    call_started_at: str
    op: str
    num: str
    most_steps: int | None
    reserved: int


class _Touched(NamedTuple):
    """The columns of ``touched_places``: JSON lists, and numbers of items."""

    num: str
    state: str
    waits: str
    settled: int
    finished: int


def remove_items(session: Session, queue: int, chosen: Sequence[int], at: datetime) -> int:
    """Delete items softly.

    Args:
        session: The session.
        queue: The queue's number.
        chosen: The numbers of live items of the queue, each once. In ascending order they cost least.
        at: Now, UTC.

    Returns:
        How many were deleted.
    """
    # Nothing is done item by item but by functions that need no interpreter for it.
    wanted = {"nums": json.dumps(chosen), "queue": queue, "longest": _LONGEST_LISTED}
    live = _Live._make(session.execute(SQL["live_places"], wanted).fetchone())
    nums: list[int] = json.loads(live.num)
    if not nums:
        return 0
    ids: list[str] = json.loads(live.id)
    if len(ids) < len(nums):
        ids = [item_id for (item_id,) in session.execute(SQL["live_ids"], wanted).fetchall()]
    places = Places(
        priority_down=json.loads(live.priority_down),
        created_at=json.loads(live.created_at),
        id=ids,
        call_started_at=json.loads(live.call_started_at),
        op=json.loads(live.op),
    )
    kinds = dict.fromkeys(nums, NEW_KIND)
    counts: Counter[tuple[str | None, str]] = Counter()
    if live.most_steps:
        touched = _Touched._make(session.execute(SQL["touched_places"], wanted).fetchone())
        kinds.update(
            zip(
                json.loads(touched.num), map(kind_of, json.loads(touched.state), json.loads(touched.waits)), strict=True
            )
        )
        counts[None, SETTLED] -= touched.settled
        counts[None, FINISHED] -= touched.finished
        for annotator, state, n in session.execute(SQL["progresses_by_state"], (touched.num,)).fetchall():
            counts[session.text(annotator), STATES[state]] -= n
        count_untold(session, queue, touched.num)
        count_labels(session, queue, touched.num, n=-1, entries=session.log_end(queue).entries)
    for kind, n in Counter(kinds.values()).items():
        counts[None, STATES[kind.rank]] -= n
    session.count(queue, counts)
    session.executemany(SQL["count_op"], ((-n, op) for op, n in Counter(places.op).items()))
    count_removed(session, queue, places, [*kinds.values()])
    removed = {"nums": live.num, "deleted_at": to_micros(at)}
    for statement in ("delete_items", "keep_removed", *(["unreserve"] if live.reserved else ()), "delete_work"):
        session.execute(SQL[statement], removed)
    return len(nums)


def refresh(session: Session, before: StoredQueue, after: AnnotationQueue) -> None:
    """Derive the standing of every touched item of a queue again, because its policies changed.

    Items that nobody holds and that as many annotators completed and skipped are alike, and change together. Of the others only
    the leases are read.

    Args:
        session: The session.
        before: The queue as it is stored.
        after: The queue as it will be.
    """
    num = before.num
    finished = 0
    for completed, skipped, n in session.execute(SQL["kinds_without_hold"], {"queue": num}).fetchall():
        change = refreshed(completed, skipped, before.queue, after)
        if change is not None:
            kind = {"queue": num, "completed": completed, "skipped": skipped}
            session.execute(SQL["refresh_kind"], {**kind, "claimable_at": change.claimable_at})
            finished += n * change.finished
    changed: dict[int, int | None] = {}
    moves: list[Move] = []
    earliest = session.next_expiry(num)
    rows = map(_Held._make, session.execute(SQL["held_items"], {"queue": num}).fetchall())
    for item, group in groupby(rows, key=attrgetter("num")):
        holds = [*group]
        claimable_at = _free_at(holds, after)
        was = holds[0].claimable_at
        if claimable_at != was:
            changed[item] = claimable_at
            moves.append(_move(holds[0], claimable_at))
            finished += (claimable_at is None) - (was is None)
            if claimable_at is not None and claimable_at > ALWAYS_MICROS:
                earliest = min(earliest, claimable_at)
    session.execute(SQL["refresh_items"], {"standings": json.dumps(changed)})
    if earliest < session.next_expiry(num):
        session.set_next_expiry(num, earliest)
    session.count(num, {(None, FINISHED): finished}, blocks=moved_blocks(session, num, moves))
    session.reopened(num)


class _Held(NamedTuple):
    """The columns of ``held_items``: a row for each hold."""

    num: int
    priority_down: int
    created_at: int
    id: str
    state: int
    completed: int
    skipped: int
    claimable_at: int | None
    lease_expires_at: int


def _move(hold: _Held, claimable_at: int | None) -> Move:
    """Say what becomes of an item that is claimable from another time on."""
    before, after = (
        kind_of(hold.state, at is not None and at > ALWAYS_MICROS) for at in (hold.claimable_at, claimable_at)
    )
    return Move((hold.priority_down, hold.created_at, hold.id), before, after)


def _free_at(holds: Sequence[_Held], queue: AnnotationQueue) -> int | None:
    """Say from when on an item that is held may be claimed, in microseconds; None if it is finished."""
    slots = open_slots(holds[0].completed, holds[0].skipped, *queue.policies)
    somebody = unstarted("item", "annotator", queue.created_at)
    ends = [with_lease(somebody, from_micros(hold.lease_expires_at)) for hold in holds]
    return micros_or_none(slot_free_at(ends, slots))
