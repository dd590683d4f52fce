"""The log of a queue: its changes from a cursor on, what was settled since a time, and the labels in its order."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from annotation_queue.changes import ChangePage, Settlement, change_cursor, place_of_cursor
from annotation_queue.labels import LabelText
from annotation_queue.query import WALK_BYTES, ItemQuery, until_full
from annotation_queue.repositories.sql.rows import (
    RANKS,
    STATES,
    ItemRow,
    ProgressRow,
    TransitionRow,
    label_texts_of,
    labels_of,
    time_or_none,
    transition_of,
)
from annotation_queue.repositories.sqlite import stretches
from annotation_queue.repositories.sqlite.queries.filters import Filter, among_nums
from annotation_queue.repositories.sqlite.queries.updates import first_later
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.states import SETTLING
from annotation_queue.values import MAX_INTEGER, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from annotation_queue.labels import LabelPage, LabelQuery, LabelTextPage
    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sql.rows import StoredQueue
    from annotation_queue.repositories.sqlite.session import Session

_Row: TypeAlias = tuple[Any, ...]
_Shown = TypeVar("_Shown")

_FIRST_OF_ITEM: Final = 1 + len(ProgressRow._fields)
_OF_PROGRESS: Final = slice(1, _FIRST_OF_ITEM)
_OF_ITEM: Final = slice(_FIRST_OF_ITEM, None)
_LABEL: Final = 1 + ProgressRow._fields.index("annotation")
_PAYLOAD: Final = _FIRST_OF_ITEM + ItemRow._fields.index("payload")
"""Where the rows of labels have what: first the number of the entry, then the progress, then the item."""
_OF_TEXT: Final = slice(1, None)
_LABEL_TEXT: Final = 1 + LabelText._fields.index("annotation")
"""The same of labels as texts: first the number of the entry, then the fields of the text."""
_AT_ONCE: Final = 1_000
"""Labels that are made of their rows at a time, so that a page holds few of them twice."""


def changes(session: Session, queue: StoredQueue, after: str | None, limit: int) -> ChangePage:
    """Read a queue's log from a cursor on; result and errors are those of `Repository.changes`."""
    num = 0 if after is None else place_of_cursor(queue.queue, after)[0]
    transitions = []
    read = session.execute(SQL["changes"], {"queue": queue.num, "after": num, "limit": min(limit, MAX_INTEGER)})
    rows = ((num, item_id, TransitionRow._make(row)) for num, item_id, *row in read)
    # Row by row, so that no label is read behind the last that has room.
    for num, item_id, row in until_full(((each, len(each[2].annotation or "")) for each in rows), WALK_BYTES):  # noqa: B007 - the last one is where the page ends
        transitions.append(transition_of(item_id, row, session.text))
    return ChangePage(transitions=tuple(transitions), cursor=change_cursor(queue.queue, (num,)))


def settled_since(session: Session, queue: StoredQueue, since: datetime) -> Iterator[Settlement]:
    """Find the settlements after a time; those of `Repository.settled_since`."""
    at = to_micros(since)
    place = {"queue": queue.num, "num": first_later(session, queue.num, at), "since": at}
    for item_id, started_at, *row in session.execute(SQL["settled_since"], place):
        transition = transition_of(item_id, TransitionRow._make(row), session.text)
        yield Settlement(transition, time_or_none(started_at))


class _Source(NamedTuple):
    """From where labels are read.

    Args:
        tables: The tables, joined.
        conditions: Which rows are those between the ends.
        order: What the labels are sorted by.
        columns: The columns of a progress.
        text_columns: The columns of a label as text.
    """

    tables: str
    conditions: Sequence[Fragment]
    order: Sequence[str] = ("p.entry",)
    columns: str = SQL["progress_columns_with_label"]
    text_columns: str = SQL["label_text_columns_with_label"]


class _Ends(NamedTuple):
    """Between which numbers the entries are of what is read.

    Args:
        low: A number before the least.
        high: One behind the greatest.
    """

    low: int = 0
    high: int = MAX_INTEGER


class _Labels:
    """The labels of one queue as one query looks at them.

    Args:
        session: The session, inside a read snapshot.
        queue: The queue.
        query: The query.
    """

    def __init__(self, session: Session, queue: StoredQueue, query: LabelQuery) -> None:
        self._session = session
        self._queue = queue
        self._query = query
        self._filter = Filter(session, queue.num, ItemQuery(filter=query.filter), 0)
        self._ranks = tuple(sorted(RANKS[state] for state in query.states))
        # 0 stands for everybody, None for one who never did anything.
        self._annotator = 0 if query.annotator_id is None else session.find_text(query.annotator_id)

    def page(self) -> LabelPage:
        """Read the page."""
        item = SQL["live_item_columns" if self._query.include_payload else "live_item_columns_bare"]
        queue, texts = self._queue.queue, self._session.texts_of_many()
        read = self._read(
            lambda source: f"{source.columns}, {item}",
            lambda row: len(row[_LABEL] or "") + len(row[_PAYLOAD] or ""),
            lambda rows: labels_of(((row[_OF_PROGRESS], row[_OF_ITEM]) for row in rows), queue, texts),
        )
        return self._query.page(queue, *read)

    def page_of_texts(self) -> LabelTextPage:
        """Read the page as texts."""
        texts = self._session.texts_of_many()
        read = self._read(
            lambda source: source.text_columns,
            lambda row: len(row[_LABEL_TEXT] or ""),
            lambda rows: label_texts_of((row[_OF_TEXT] for row in rows), texts),
        )
        return self._query.page_of_texts(self._queue.queue, *read)

    def _read(
        self,
        columns: Callable[[_Source], str],
        size: Callable[[_Row], int],
        make: Callable[[Iterable[_Row]], list[_Shown]],
    ) -> tuple[list[_Shown], list[_Row]]:
        """Read what is shown, with the places of it and of one more if there is more.

        Args:
            columns: Gives the columns behind the number of the entry.
            size: Gives how many bytes of labels and payloads a row has.
            make: Makes what is shown out of rows.
        """
        query = self._query
        after = query.after(self._queue.queue)
        place = None if after is None else after[0]
        if not query.states or self._annotator is None or self._filter.matches_nothing:
            return [], []
        # Row by row, so that neither a label nor a payload is read behind the last that has room.
        read = self._rows(columns, place, MAX_INTEGER if query.limit is None else query.limit + 1)
        shown = until_full(((row, size(row)) for row in islice(read, query.limit)), query.max_bytes)
        found: list[_Shown] = []
        places: list[_Row] = []
        while rows := list(islice(shown, _AT_ONCE)):
            found += make(rows)
            places += [row[:1] for row in rows]
        places += [row[:1] for row in islice(read, 1)]
        return found, places

    def _rows(self, columns: Callable[[_Source], str], after: int | None, limit: int) -> Iterator[_Row]:
        """Read the rows of what comes behind a place."""
        query, session = self._query, self._session
        ends = _Ends()
        if after is not None:
            ends = _Ends(high=after) if query.newest_first else _Ends(low=after)
        fragments = [*self._filter.conditions(), ("w.queue = ?", (self._queue.num,))]
        fragments.append((f"p.state IN ({_marks(self._ranks)})", self._ranks))
        if self._annotator:
            fragments.append(("p.annotator = ?", (self._annotator,)))

        def read(source: _Source) -> Iterator[_Row]:
            chosen = [*fragments, *source.conditions]
            order = ", ".join(f"{column} {'DESC' if query.newest_first else 'ASC'}" for column in source.order)
            text = (
                f"SELECT p.entry, {columns(source)} FROM {source.tables} "
                f"WHERE {' AND '.join(text for text, _ in chosen)} ORDER BY {order} LIMIT ?"
            )
            values = [value for _, some in chosen for value in some]
            return session.execute(text, (*values, min(limit, MAX_INTEGER)))

        return chain.from_iterable(map(read, self._sources(ends)))

    def _sources(self, ends: _Ends) -> Sequence[_Source]:
        """Choose from where to read: from items that are few, or in the order of the log."""
        rare = self._filter.rare_index(None)
        items = " CROSS JOIN items AS i ON i.num = w.num"
        of_items: list[Fragment] = [("p.queue = ?", (self._queue.num,)), ("p.entry > ? AND p.entry < ?", ends)]
        if rare.startswith("live_"):
            tables = f"items AS i INDEXED BY {rare} CROSS JOIN work AS w ON w.num = i.num"
            return [_Source(f"{tables} CROSS JOIN progresses AS p ON p.item = w.num", of_items)]
        if rare:
            tables = f"work AS w INDEXED BY {rare} CROSS JOIN progresses AS p ON p.item = w.num"
            return [_Source(tables + items, of_items)]
        few = self._filter.rare_nums(None)
        if few is not None:
            tables = "work AS w NOT INDEXED CROSS JOIN progresses AS p ON p.item = w.num"
            return [_Source(tables + items, [*of_items, among_nums(few)])]
        return self._parts_of_log(ends)

    def _parts_of_log(self, ends: _Ends) -> Sequence[_Source]:
        """Choose the parts of the log to read, in order: the stretches in which labels are counted, and the newest one."""
        query, queue, size = self._query, self._queue.num, stretches.SIZE
        current = "p.item = l.item AND p.annotator = l.annotator AND p.entry = l.num"
        tables = f"log AS l CROSS JOIN progresses AS p ON {current} CROSS JOIN work AS w ON w.num = p.item "
        tables += "CROSS JOIN items AS i ON i.num = w.num"
        of_entry = SQL["progress_columns_of_entry"], SQL["label_text_columns_of_entry"]
        # Entries that are not the last one about their progress are passed over; where the step tells, unread.
        told: list[Fragment] = [("l.queue = ?", (queue,)), (f"l.to_state IN ({_marks(self._ranks)})", self._ranks)]
        if self._annotator:
            told.append(("l.annotator = ?", (self._annotator,)))

        def part(ends: _Ends) -> _Source:
            return _Source(tables, [*told, ("l.num > ? AND l.num < ?", ends)], ("l.num",), *of_entry)

        if not query.states <= SETTLING:
            return [part(ends)]
        counted = stretches.whole_stretches(self._session.log_end(queue).entries) * size
        parts = [part(ends._replace(low=max(ends.low, counted - 1)))] if ends.high > counted else []
        if ends.low < counted:
            of_stretches: list[Fragment] = [
                ("s.queue = ? AND s.kind = 4 AND s.num = ?", (queue, self._annotator)),
                (f"{' + '.join(f's.{STATES[rank]}' for rank in self._ranks)} > 0", ()),
                ("s.item >= ? AND s.item <= ?", (ends.low // size, min(ends.high, counted) // size)),
                # One end on each side, or SQLite goes by the other one.
                ("l.num > max(s.item * ? - 1, ?)", (size, ends.low)),
                ("l.num < min(s.item * ? + ?, ?)", (size, size, ends.high)),
            ]
            order = ("s.item", "l.num")
            parts.append(_Source(f"counters AS s CROSS JOIN {tables}", [*told, *of_stretches], order, *of_entry))
        return parts if query.newest_first else parts[::-1]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" for _ in values)


def labels(session: Session, queue: StoredQueue, query: LabelQuery) -> LabelPage:
    """Read a page of labels; result and errors are those of `Repository.labels`."""
    return _Labels(session, queue, query).page()


def label_texts(session: Session, queue: StoredQueue, query: LabelQuery) -> LabelTextPage:
    """Read a page of labels as texts; result and errors are those of `repository.ReadsLabelTexts.label_texts`."""
    return _Labels(session, queue, query).page_of_texts()
