"""The statements of SQLite's repository, by name, and the rows that claims and completions write."""

from __future__ import annotations

import re
from itertools import compress, repeat
from operator import is_not
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from annotation_queue.construction import quick
from annotation_queue.repositories.sql.files import load_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """An entry of a queue's log."""

    queue: int
    num: int
    item: int
    step: int
    before: int | None
    annotator: int
    actor: int | None
    from_state: int
    to_state: int
    at: int
    latest: int
    started_at: int | None
    reason: str | None
    annotation: str | None


class StoredProgress(NamedTuple):
    """A progress as it shall be."""

    item: int
    annotator: int
    queue: int
    entry: int
    step: int
    state: int
    token: int
    lease_expires_at: int | None
    created_at: int
    updated_at: int
    started_at: int | None
    reason: str | None
    annotation: str | None


class CounterRow(NamedTuple):
    """What is added to a row of ``counters``; the last three are what a row says that is new."""

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
    next_expiry: int = 0
    entries: int = 0
    latest: int = 0


work_row: Final = quick(WorkRow)
entry_row: Final = quick(EntryRow)
stored_progress: Final = quick(StoredProgress)
counter_row: Final = quick(CounterRow)
_Row = TypeVar("_Row", WorkRow, EntryRow, StoredProgress, CounterRow)


class Write(Generic[_Row]):
    """A statement that is written with names and run by position, for one row or more.

    The driver looks up each name of each row anew, and lets go of the interpreter for every one of them: with the fifteen names
    of a wide row that takes longer than to write the row. Nor does it know None: it asks around for each what to make of it.

    Args:
        name: Its name. The fields of the row have the names of its parameters, in their order.
        row: What it takes.
    """

    __slots__ = ("_text", "_texts")

    def __init__(self, name: str, row: type[_Row]) -> None:
        names = (*_NAME.findall(SQL[name]),)
        if names != row._fields:
            raise ValueError(f"{name} takes {names}, and {row.__name__} has {row._fields}")
        self._text = _NAME.sub("?", SQL[name])
        self._texts: dict[tuple[bool, ...], str] = {}
        """By which values are given: the same with NULL in place of the others."""

    def run(self, session: Session, rows: Sequence[_Row]) -> int:
        """Run it for each row, and say how many rows it changed in all."""
        if not rows:
            return 0
        # The driver takes the values out of a plain tuple in no time, and asks any other one for each.
        if len(rows) > 1:
            return session.executemany(self._text, map(tuple, rows)).rowcount
        (row,) = rows
        is_given = tuple(map(is_not, row, repeat(None)))
        text = self._texts.get(is_given) or self._with_nulls(is_given)
        return session.execute(text, tuple(compress(row, is_given))).rowcount

    def _with_nulls(self, is_given: tuple[bool, ...]) -> str:
        given = iter(is_given)
        text = re.sub(r"\?", lambda _: "?" if next(given) else "NULL", self._text)
        # Of the combinations that there are claims and completions use but a few.
        if len(self._texts) < _MOST_TEXTS:
            self._texts[is_given] = text
        return text


CHANGE_WORK: Final = Write("change_work", WorkRow)
SETTLE_WORK: Final = Write("settle_work", WorkRow)
ADD_ENTRY: Final = Write("add_entry", EntryRow)
PUT_PROGRESS: Final = Write("put_progress", StoredProgress)
COUNT: Final = Write("count", CounterRow)
