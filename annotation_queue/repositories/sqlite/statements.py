"""The statements of SQLite's repository, by name, and the rows that claims and completions write."""

from __future__ import annotations

import re
from itertools import repeat
from operator import is_, itemgetter
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, get_args, get_type_hints

from annotation_queue.construction import quick
from annotation_queue.repositories.sql.files import load_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from annotation_queue.repositories.sqlite.session import Session

SQL: Final = load_statements("sql/queues", "sqlite/statements")
_NAME: Final = re.compile(r":(\w+)")
_MOST_TEXTS: Final = 16
"""Of how many combinations of values that are NULL the text of a statement is kept."""


class WorkRow(NamedTuple):
    """What a change makes of an item's row, and what that row has to be like."""

    state: int
    annotator: int | None
    completed: int
    skipped: int
    claimable_at: int | None
    updated_at: int
    is_told: int | None
    new_steps: int
    new_last_entry: int | None
    settled_as: int
    item: int
    item_id: str
    revision: int
    last_entry: int | None
    was_updated_at: int
    was_annotator: int | None
    queue: int
    queue_id: str
    queue_revision: int


class EntryRow(NamedTuple):
    """An entry of a queue's log; from the annotator on what is stored of a transition."""

    queue: int
    num: int
    item: int
    step: int
    before: int | None
    latest: int
    started_at: int | None
    annotator: int
    from_state: int
    to_state: int
    at: int
    reason: str | None
    annotation: str | None
    actor: int | None


class StoredProgress(NamedTuple):
    """A progress as it shall be; from the annotator on what is stored of one anywhere."""

    item: int
    queue: int
    entry: int
    annotator: int
    state: int
    token: int
    lease_expires_at: int | None
    annotation: str | None
    reason: str | None
    created_at: int
    updated_at: int
    started_at: int | None
    step: int


class CounterRow(NamedTuple):
    """What is added to a row of ``counters``; the last two are what it says at least."""

    queue: int
    kind: int
    num: int
    unstarted: int = 0
    in_progress: int = 0
    completed: int = 0
    skipped: int = 0
    waiting: int = 0
    settled: int = 0
    finished: int = 0
    entries: int = 0
    latest: int = 0


work_row: Final = quick(WorkRow)
counter_row: Final = quick(CounterRow)
_Row = TypeVar("_Row", WorkRow, EntryRow, StoredProgress, CounterRow)
_Positional: TypeAlias = "tuple[str, Callable[[_Row], tuple[Any, ...]]]"
"""A statement with its parameters by position, and what gives them out of a row."""


class Write(Generic[_Row]):
    """A statement that is written with names and run by position, for one row or more.

    The driver looks up each name of each row anew, and lets go of the interpreter for every one of them: with the fifteen names
    of a wide row that takes longer than to write the row. Nor does it know None: it asks around for each what to make of it.

    Args:
        name: Its name. Its parameters have the names of fields of the row.
        row: What it takes.
    """

    __slots__ = ("_fields", "_nullable", "_pick", "_text", "_with_nulls")

    def __init__(self, name: str, row: type[_Row]) -> None:
        self._text = SQL[name]
        self._fields: tuple[str, ...] = row._fields
        optional = [field for field, kind in get_type_hints(row).items() if NoneType in get_args(kind)]
        self._nullable = _picks(self._fields, optional) if optional else None
        self._pick: _Positional[_Row] = self._of(())
        self._with_nulls: dict[tuple[bool, ...], _Positional[_Row]] = {}
        """By which of the values that may be NULL are: the same with NULL in place of these."""

    def run(self, session: Session, rows: Sequence[_Row]) -> int:
        """Run it for each row, and say how many rows it changed in all."""
        if not rows:
            return 0
        if len(rows) > 1 or self._nullable is None:
            text, pick = self._pick
            return session.executemany(text, map(pick, rows)).rowcount
        (row,) = rows
        is_null = tuple(map(is_, self._nullable(row), repeat(None)))
        text, pick = self._with_nulls.get(is_null) or self._remember(is_null, row)
        return session.execute(text, pick(row)).rowcount

    def _remember(self, is_null: tuple[bool, ...], row: _Row) -> _Positional[_Row]:
        made = self._of([field for field, value in zip(self._fields, row, strict=True) if value is None])
        # Of the combinations that there are claims and completions use but a few.
        if len(self._with_nulls) < _MOST_TEXTS:
            self._with_nulls[is_null] = made
        return made

    def _of(self, nulls: Collection[str]) -> _Positional[_Row]:
        names = [name for name in _NAME.findall(self._text) if name not in nulls]
        text = _NAME.sub(lambda found: "NULL" if found[1] in nulls else "?", self._text)
        return text, _picks(self._fields, names)


def _picks(fields: Sequence[str], names: Iterable[str]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Make what gives some fields of a row as a plain tuple, which the driver reads fastest; there are several."""
    return itemgetter(*map(fields.index, names))


CHANGE_WORK: Final = Write("change_work", WorkRow)
SETTLE_WORK: Final = Write("settle_work", WorkRow)
ADD_ENTRY: Final = Write("add_entry", EntryRow)
PUT_PROGRESS: Final = Write("put_progress", StoredProgress)
COUNT: Final = Write("count", CounterRow)
BEGIN_COUNT: Final = Write("begin_count", CounterRow)


def add_counts(session: Session, rows: Sequence[CounterRow]) -> None:
    """Add to rows of ``counters``, whether they are there already or not."""
    # Nearly always all are there, and to find that out costs half of what an insertion does that turns out to be a change.
    if COUNT.run(session, rows) < len(rows):
        BEGIN_COUNT.run(session, rows)
