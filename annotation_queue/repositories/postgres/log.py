"""Reading the log of a queue: what is new in it, what was settled, and labels by what changed last."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from annotation_queue.changes import ChangePage, Settlement, change_cursor, place_of_cursor
from annotation_queue.errors import InvalidCursor
from annotation_queue.labels import Label
from annotation_queue.query import WALK_BYTES, ItemQuery, until_full
from annotation_queue.repositories.postgres.queries import Selection
from annotation_queue.repositories.postgres.rows import LABEL_KEYS, LabelKey, integers, split
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.chunks import in_chunks
from annotation_queue.repositories.sql.rows import (
    RANKS,
    ProgressRow,
    TransitionRow,
    progress_of,
    time_or_none,
    transition_of,
)
from annotation_queue.states import SETTLING
from annotation_queue.values import MAX_INTEGER, to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from annotation_queue.labels import LabelPage, LabelQuery
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sql.rows import StoredQueue
    from annotation_queue.states import Transition

_PROGRESS: Final = "SELECT * FROM progresses AS o WHERE o.queue = {0}.queue AND o.item = {0}.{1}"
_WALK: Final = f"""
log AS l
    JOIN LATERAL ({_PROGRESS.format("l", "item")} AND o.annotator = l.annotator AND o.step = l.step OFFSET 0) AS p ON TRUE
    JOIN LATERAL (SELECT * FROM work AS o WHERE o.queue = l.queue AND o.num = l.item OFFSET 0) AS w ON TRUE
    JOIN LATERAL (SELECT * FROM items AS o WHERE o.queue = l.queue AND o.num = l.item OFFSET 0) AS i ON TRUE
"""
"""The entries of the log that changed a progress last, each with its progress and its live item."""
_BY_ITEM: Final = f"""
(SELECT w.queue, w.num, w.state FROM work AS w JOIN items AS i ON i.queue = w.queue AND i.num = w.num WHERE {{}} OFFSET 0) AS w
    JOIN LATERAL ({_PROGRESS.format("w", "num")} OFFSET 0) AS p ON TRUE
    JOIN LATERAL (SELECT * FROM log AS o WHERE o.queue = p.queue AND o.item = p.item AND o.step = p.step OFFSET 0) AS l ON TRUE
"""
"""The same, from the items on."""
_SIZE: Final = """
coalesce(octet_length(coalesce(l.annotation, p.annotation)), 0)
    + coalesce((SELECT octet_length(o.payload) FROM items AS o WHERE o.queue = l.queue AND o.num = l.item), 0)
"""
"""How many bytes a label and its item's payload have. The server knows the size of a text without reading it."""
_FEW: Final = ("id", "call_id", "call_trace_id")
"""What a filter names that few items have."""


class Place(NamedTuple):
    """Where an entry stands in the log of its queue."""

    tx: int
    seq: int


_START: Final = Place(0, 0)
"""In front of every entry: those of a transaction count from 1 on, and so do those of earlier versions, in transaction 0."""


def changes(session: Session, queue: StoredQueue, after: str | None, limit: int) -> ChangePage:
    """Read the log from a cursor on; result and errors are those of `Repository.changes`."""
    place = _START if after is None else _place("after", place_of_cursor(queue.queue, after))
    wanted = {"queue": queue.num, "limit": limit, "max_bytes": WALK_BYTES, **place._asdict()}
    rows = session.rows("changes", wanted)
    transitions: list[Transition] = []
    for row in rows:
        place, (item,), entry = split(row, Place, _ItemId, TransitionRow)
        transitions.append(_transition(session, queue, item, entry))
    return ChangePage(transitions=tuple(transitions), cursor=change_cursor(queue.queue, place))


def settled_since(session: Session, queue: StoredQueue, since: datetime) -> tuple[Settlement, ...]:
    """Read what was settled after a time; result is that of `Repository.settled_since`."""
    rows = session.rows("settled_since", {"queue": queue.num, "since": to_micros(since)})
    found = (split(row, _ItemId, _StartedAt, TransitionRow) for row in rows)
    return tuple(
        Settlement(_transition(session, queue, item, entry), time_or_none(started))
        for (item,), (started,), entry in found
    )


def labels(session: Session, queue: StoredQueue, query: LabelQuery) -> LabelPage:
    """Read a page of labels; result and errors are those of `Repository.labels`."""
    after = query.after(queue.queue)
    start = None if after is None else _place("cursor", after)
    if not query.states or query.filter.shows_none or query.limit == 0:
        return query.page(queue.queue, (), ())
    rows = _chosen(session, queue, query, start)
    found: list[Label] = []
    shown = [*until_full(((key, size) for key, _, (size,) in rows[: query.limit]), query.max_bytes)]
    for chunk in in_chunks(shown):
        keys = [LabelKey(queue.num, key.item, key.annotator) for key in chunk]
        items = session.live_rows(queue, {key.item for key in keys})
        read = session.rows("progresses_by_key", {"all_labels": True, "labels_of": [], **LABEL_KEYS.values(keys)})
        progresses = {(item, annotator): ProgressRow(annotator, *rest) for item, annotator, *rest in read}
        for key in keys:
            item = session.item_of(items[key.item], queue)
            progress = progress_of(item.id, session.text(queue.num, key.annotator), progresses[key.item, key.annotator])
            found.append(Label(item=item, progress=progress))
    return query.page(queue.queue, found, [place for _, place, _ in rows])


def _chosen(
    session: Session, queue: StoredQueue, query: LabelQuery, start: Place | None
) -> list[tuple[_ProgressKey, Place, _Size]]:
    """Find the progresses of a page, and one more, with the places where they changed last and the bytes to show of each."""
    ranks = sorted(RANKS[state] for state in query.states)
    conditions = Selection(session, queue, ItemQuery(filter=query.filter)).conditions("w")
    wanted: list[Fragment] = [("l.queue = ?", (queue.num,)), ("l.to_state = ANY(?::bigint[])", (integers(ranks),))]
    if query.states <= SETTLING:
        # In the words of the index.
        wanted.append(("l.to_state >= 2", ()))
    if query.annotator_id is not None:
        wanted.append(("l.annotator = ?", (key_of(query.annotator_id),)))
    if start is not None:
        wanted.append((f"(l.tx, l.seq) {'<' if query.newest_first else '>'} (?, ?)", start))
    if any(getattr(query.filter, field) is not None for field in _FEW):
        live: list[Fragment] = [("w.queue = ?", (queue.num,)), ("i.deleted_at IS NULL", ()), *conditions]
        source = _BY_ITEM.format(" AND ".join(text for text, _ in live))
        conditions = wanted
    else:
        source, conditions, live = _WALK, [*wanted, *conditions], []
    values = [value for _, some in (*live, *conditions) for value in some]
    where = " AND ".join(text for text, _ in conditions)
    order = "l.tx DESC, l.seq DESC" if query.newest_first else "l.tx, l.seq"
    most = None if query.limit is None else min(query.limit + 1, MAX_INTEGER)
    size = "0" if query.max_bytes is None else _SIZE
    text = (
        f"SELECT l.item, l.annotator, l.tx, l.seq, {size} FROM {source} WHERE {where} ORDER BY {order} LIMIT ?::bigint"
    )
    return [
        tuple(split(row, _ProgressKey, Place, _Size))
        for row in session.composed(" ".join(text.split()), [*values, most])
    ]


class _ItemId(NamedTuple):
    id: str


class _StartedAt(NamedTuple):
    at: int | None


class _Size(NamedTuple):
    size: int


class _ProgressKey(NamedTuple):
    item: int
    annotator: str


def _transition(session: Session, queue: StoredQueue, item: str, entry: TransitionRow) -> Transition:
    text = partial(session.text, queue.num)
    return transition_of(text(item), entry, text)


def _place(name: str, values: Sequence[int]) -> Place:
    """Read a place from the values of a cursor.

    Raises:
        InvalidCursor: They are no place.
    """
    if len(values) != len(_START):
        raise InvalidCursor(name, "one of another kind", "a cursor of this storage")
    return Place(*values)
