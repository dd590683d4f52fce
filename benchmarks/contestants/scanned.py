"""Pages out of what a process holds in memory: a list of objects, and a data frame."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from benchmarks.contestants.rows import (
    ITEM_COLUMNS,
    RANKS,
    STATE_COLUMNS,
    conditions_of,
    full_row,
    item_row,
    order_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from annotation_queue import ItemQuery, QueueItem


class PlainList:
    """A list that is filtered and sorted for each page. Plain enough to be the oracle of the others."""

    name: ClassVar[str] = "plain Python list"

    def __init__(self, _folder: Path, items: Sequence[QueueItem]) -> None:
        names = (*ITEM_COLUMNS, *STATE_COLUMNS)
        self._rows = [dict(zip(names, full_row(item), strict=True)) for item in items]
        self._ranks = [RANKS[item.annotation_state] for item in items]

    def page(self, query: ItemQuery) -> Sequence[Any]:
        """Sort, number, filter, cut."""
        conditions = conditions_of(query)
        rows = self._rows
        if not query.include_position:
            rows = [row for row in rows if all(row[column] in values for column, values in conditions)]
        # Sorting is stable: the least significant column first. Absent values come last in both directions.
        for column, descends in reversed(order_of(query)):
            present = [row for row in rows if row[column] is not None]
            absent = [row for row in rows if row[column] is None]
            present.sort(key=itemgetter(column), reverse=descends)
            rows = present + absent
        if not query.include_position:
            stop = None if query.limit is None else query.offset + query.limit
            return [(row, None) for row in rows[query.offset : stop]]
        numbered = (
            (row, position)
            for position, row in enumerate(rows, 1)
            if all(row[column] in values for column, values in conditions)
        )
        stop = None if query.limit is None else query.offset + query.limit
        return list(islice(numbered, query.offset, stop))

    def answer(self, rows: Sequence[Any]) -> list[tuple[str, int | None]]:
        """Read ids and positions."""
        return [(row["id"], position) for row, position in rows]

    def count(self) -> dict[int, int]:
        """Count by state, with a scan."""
        return dict(Counter(self._ranks))

    def close(self) -> None:
        """Free its memory."""
        self._rows = []


class Pandas:
    """A data frame that is sorted and filtered for each page; the state is joined beforehand, which is in its favour."""

    name: ClassVar[str] = "pandas"

    def __init__(self, _folder: Path, items: Sequence[QueueItem]) -> None:
        self._frame = pd.DataFrame(map(item_row, items), columns=list(ITEM_COLUMNS))
        self._frame["annotation_state"] = [RANKS[item.annotation_state] for item in items]
        self._frame["annotator_user_id"] = [item.annotator_user_id for item in items]

    def page(self, query: ItemQuery) -> Sequence[Any]:
        """Sort, number, filter, cut."""
        frame = self._frame
        if not query.include_position:
            frame = self._filtered(frame, query)
        order = order_of(query)
        columns, ascending = [column for column, _ in order], [not descends for _, descends in order]
        frame = frame.sort_values(columns, ascending=ascending, na_position="last", kind="stable")
        if query.include_position:
            frame = self._filtered(frame.assign(position=range(1, len(frame) + 1)), query)
        stop = None if query.limit is None else query.offset + query.limit
        rows: Sequence[Any] = frame.iloc[query.offset : stop].to_dict("records")
        return rows

    def _filtered(self, frame: pd.DataFrame, query: ItemQuery) -> pd.DataFrame:
        for column, values in conditions_of(query):
            frame = frame[frame[column].isin(values)]
        return frame

    def answer(self, rows: Sequence[Any]) -> list[tuple[str, int | None]]:
        """Read ids and positions."""
        return [(row["id"], row.get("position")) for row in rows]

    def count(self) -> dict[int, int]:
        """Count by state, with a scan."""
        counts = self._frame["annotation_state"].value_counts()
        return dict(zip(counts.index.tolist(), counts.tolist(), strict=True))

    def close(self) -> None:
        """Free its memory."""
        self._frame = self._frame.iloc[:0]
