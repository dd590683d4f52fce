"""Reading the log of a queue: what is new in it, what was settled, and labels by what changed last."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from annotation_queue.changes import ChangePage, Settlement, change_cursor, place_of_cursor
from annotation_queue.errors import InvalidCursor
from annotation_queue.labels import LabelText
from annotation_queue.query import WALK_BYTES, ItemQuery
from annotation_queue.repositories.postgres.queries import Selection
from annotation_queue.repositories.postgres.rows import integers, split
from annotation_queue.repositories.postgres.statements import SQL
from annotation_queue.repositories.postgres.texts import key_of
from annotation_queue.repositories.sql.rows import (
    RANKS,
    ItemRow,
    ProgressRow,
    TransitionRow,
    label_texts_of,
    labels_of,
    time_or_none,
    transition_of,
)
from annotation_queue.states import SETTLING
from annotation_queue.values import MAX_INTEGER, to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from annotation_queue.labels import LabelPage, LabelQuery, LabelTextPage
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sql.rows import StoredQueue
    from annotation_queue.states import Transition

_Row: TypeAlias = tuple[Any, ...]

_PROGRESS: Final = "SELECT * FROM progresses AS o WHERE o.queue = {0}.queue AND o.item = {0}.{1}"
_WALK: Final = f"""
log AS l
    JOIN LATERAL ({_PROGRESS.format("l", "item")} AND o.annotator = l.annotator AND o.step = l.step OFFSET 0) AS p ON TRUE
    JOIN LATERAL (SELECT * FROM work AS o WHERE o.queue = l.queue AND o.num = l.item OFFSET 0) AS w ON TRUE
    JOIN LATERAL (SELECT * FROM items AS o WHERE o.queue = l.queue AND o.num = l.item OFFSET 0) AS i ON TRUE
"""
"""The entries of the log that changed a progress last, each with its progress and its live item."""
_BY_ITEM: Final = f"""
(SELECT w.* FROM work AS w JOIN items AS i ON i.queue = w.queue AND i.num = w.num WHERE {{}} OFFSET 0) AS w
    JOIN LATERAL ({_PROGRESS.format("w", "num")} OFFSET 0) AS p ON TRUE
    JOIN LATERAL (SELECT * FROM log AS o WHERE o.queue = p.queue AND o.item = p.item AND o.step = p.step OFFSET 0) AS l ON TRUE
    {SQL["its_item"]}
"""
"""The same, from the items on."""
_SIZE: Final = "coalesce(octet_length(coalesce(l.annotation, p.annotation)), 0)"
"""How many bytes a label has. The server knows the size of a text without reading it."""


class _Columns(NamedTuple):
    """What of labels is read.

    Args:
        columns: The columns.
        names: What they are called.
        size: How many bytes of labels and payloads they have.
    """

    columns: str
    names: str
    size: str = _SIZE


_OF_ENTRY: Final = SQL["progress_columns_of_entry"]
_NAMES: Final = ", ".join([*(f"p_{name}" for name in ProgressRow._fields), *(f"i_{name}" for name in ItemRow._fields)])
_WITHOUT_PAYLOAD: Final = _Columns(f"{_OF_ENTRY}, {SQL['live_item_columns_bare']}", _NAMES)
_WITH_PAYLOAD: Final = _Columns(
    f"{_OF_ENTRY}, {SQL['live_item_columns']}", _NAMES, f"{_SIZE} + coalesce(octet_length(i.payload), 0)"
)
_TEXT: Final = _Columns(SQL["label_text_columns_of_entry"], ", ".join(f"t_{name}" for name in LabelText._fields))
_PAGE: Final = """
SELECT c.tx, c.seq, c.found, {names}
FROM (
    SELECT c.*, count(*) OVER () AS found,
        sum(c.size) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - c.size AS bytes_before
    FROM (
        SELECT l.tx, l.seq, {size}, {columns}
        FROM {source} WHERE {where} ORDER BY l.tx {way}, l.seq {way} LIMIT ?::bigint
    ) AS c (tx, seq, size, {names})
) AS c
WHERE c.bytes_before < ?::bigint
ORDER BY {order}
"""
"""A page and one label more, each with how many these are. Of what the page has no room for, nothing is read but the size.

A frame that leaves the row itself out would be summed up anew for every row."""
_FIRST_SHOWN: Final = 3
_FIRST_OF_ITEM: Final = _FIRST_SHOWN + len(ProgressRow._fields)
_OF_PLACE: Final = slice(0, 2)
_FOUND: Final = 2
_OF_PROGRESS: Final = slice(_FIRST_SHOWN, _FIRST_OF_ITEM)
_OF_ITEM: Final = slice(_FIRST_OF_ITEM, None)
_OF_TEXT: Final = slice(_FIRST_SHOWN, None)
"""Where the rows of a page have what."""
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
    rows, places = _rows(session, queue, query, _WITH_PAYLOAD if query.include_payload else _WITHOUT_PAYLOAD)
    found = ((row[_OF_PROGRESS], row[_OF_ITEM]) for row in rows)
    return query.page(queue.queue, labels_of(found, queue.queue, session.texts_of_many(queue)), places)


def label_texts(session: Session, queue: StoredQueue, query: LabelQuery) -> LabelTextPage:
    """Read a page of labels as texts; result and errors are those of `repository.ReadsLabelTexts.label_texts`."""
    rows, places = _rows(session, queue, query, _TEXT)
    found = label_texts_of((row[_OF_TEXT] for row in rows), session.texts_of_many(queue))
    return query.page_of_texts(queue.queue, found, places)


def _rows(session: Session, queue: StoredQueue, query: LabelQuery, shown: _Columns) -> tuple[list[_Row], list[Place]]:
    """Read the rows of a page, with the places of them and of one more if there is more."""
    after = query.after(queue.queue)
    start = None if after is None else _place("cursor", after)
    if not query.states or query.filter.shows_none or query.limit == 0:
        return [], []
    rows = _found(session, queue, query, shown, start)[: query.limit]
    places = [Place._make(row[_OF_PLACE]) for row in rows]
    if rows and rows[0][_FOUND] > len(rows):
        # What comes next begins somewhere behind the last of these.
        places.append(places[-1])
    return rows, places


def _found(session: Session, queue: StoredQueue, query: LabelQuery, shown: _Columns, start: Place | None) -> list[_Row]:
    """Read the rows of a page, and of one label more if there is one and there is room for it."""
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
    way = "DESC" if query.newest_first else "ASC"
    text = _PAGE.format(
        columns=shown.columns,
        names=shown.names,
        size="0" if query.max_bytes is None else shown.size,
        source=source,
        where=" AND ".join(text for text, _ in conditions),
        way=way,
        order=f"c.tx {way}, c.seq {way}",
    )
    limits = (None if query.limit is None else min(query.limit + 1, MAX_INTEGER), query.max_bytes or MAX_INTEGER)
    return session.composed(" ".join(text.split()), [*values, *limits])


class _ItemId(NamedTuple):
    id: str


class _StartedAt(NamedTuple):
    at: int | None


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
