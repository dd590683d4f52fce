"""Pages as Weave's server asks for them: join the items to their annotators' progress, group, number the rows."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar, Final

import duckdb
import pandas as pd

from benchmarks.contestants.rows import ITEM_COLUMNS, STATE_COLUMNS, conditions_of, full_row, item_row, order_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from annotation_queue import ItemQuery, QueueItem

_ALL: Final = (*ITEM_COLUMNS, *STATE_COLUMNS)


def statement(query: ItemQuery, last_changed: str) -> tuple[str, list[Any]]:
    """Write the query.

    Args:
        query: What to show.
        last_changed: A subquery that gives each item's progress that changed last.

    Returns:
        The statement and its parameters.
    """
    order = ", ".join(f"{column} {'DESC' if descends else 'ASC'}" for column, descends in order_of(query))
    position = f", ROW_NUMBER() OVER (ORDER BY {order}) AS position" if query.include_position else ""
    where, parameters = "", []
    for column, values in conditions_of(query):
        where += f" {'AND' if where else 'WHERE'} {column} IN ({', '.join('?' * len(values))})"
        parameters += values
    items = ", ".join(f"i.{column}" for column in ITEM_COLUMNS)
    text = f"""
        SELECT * FROM (
            SELECT *{position} FROM (
                SELECT {items}, coalesce(p.state, 0) AS annotation_state, p.annotator_id AS annotator_user_id
                FROM queue_items AS i LEFT JOIN ({last_changed}) AS p ON p.item_id = i.id
                WHERE i.deleted_at IS NULL
            ) AS live
        ) AS numbered{where} ORDER BY {order} LIMIT ? OFFSET ?
    """
    return text, [*parameters, query.limit, query.offset]


_COUNT: Final = """
SELECT coalesce(p.state, 0) AS state, count(*) FROM queue_items AS i LEFT JOIN ({}) AS p ON p.item_id = i.id
WHERE i.deleted_at IS NULL GROUP BY 1
"""


def _answer(rows: Sequence[tuple[Any, ...]]) -> list[tuple[str, int | None]]:
    return [(row[0], row[len(_ALL)] if len(row) > len(_ALL) else None) for row in rows]


class JoinedSQLite:
    """Weave's shape on SQLite."""

    name: ClassVar[str] = "join + ROW_NUMBER, SQLite"
    _last_changed: ClassVar[str] = (
        # SQLite gives the other columns of the row that has the maximum.
        "SELECT item_id, annotator_id, state, max(updated_at) FROM progress WHERE state > 0 GROUP BY item_id"
    )

    def __init__(self, folder: Path, items: Sequence[QueueItem]) -> None:
        self._connection = sqlite3.connect(folder / "joined.db")
        self._connection.execute("PRAGMA synchronous = OFF")
        columns = ", ".join(f"{column} {'PRIMARY KEY' if column == 'id' else ''}" for column in ITEM_COLUMNS)
        self._connection.execute(f"CREATE TABLE queue_items ({columns})")
        self._connection.execute("CREATE TABLE progress (item_id, annotator_id, state, updated_at)")
        self._connection.executemany(
            f"INSERT INTO queue_items VALUES ({', '.join('?' * len(ITEM_COLUMNS))})", map(item_row, items)
        )
        rows = (full_row(item) for item in items if item.annotator_user_id is not None)
        updated_at = ITEM_COLUMNS.index("updated_at")
        self._connection.executemany(
            "INSERT INTO progress VALUES (?, ?, ?, ?)", ((row[0], row[-1], row[-2], row[updated_at]) for row in rows)
        )
        self._connection.execute("CREATE INDEX progress_of_item ON progress (item_id, updated_at)")
        self._connection.commit()
        self._connection.execute("ANALYZE")

    def page(self, query: ItemQuery) -> Sequence[Any]:
        """Ask SQLite."""
        return self._connection.execute(*statement(query, self._last_changed)).fetchall()

    def answer(self, rows: Sequence[Any]) -> list[tuple[str, int | None]]:
        """Read ids and positions."""
        return _answer(rows)

    def count(self) -> dict[int, int]:
        """Count by state, with a scan."""
        return dict(self._connection.execute(_COUNT.format(self._last_changed)).fetchall())

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class JoinedDuckDB:
    """The same shape on duckdb, in its own memory."""

    name: ClassVar[str] = "join + ROW_NUMBER, duckdb"
    _last_changed: ClassVar[str] = (
        "SELECT item_id, arg_max(annotator_id, updated_at) AS annotator_id, arg_max(state, updated_at) AS state"
        " FROM progress WHERE state > 0 GROUP BY item_id"
    )

    def __init__(self, _folder: Path, items: Sequence[QueueItem]) -> None:
        self._connection = duckdb.connect()
        frame = pd.DataFrame([full_row(item) for item in items], columns=list(_ALL))
        frame["deleted_at"] = frame["deleted_at"].astype("Int64")
        columns = ", ".join(ITEM_COLUMNS)
        self._connection.register("loaded", frame)
        self._connection.execute(f"CREATE TABLE queue_items AS SELECT {columns} FROM loaded")
        self._connection.execute(
            "CREATE TABLE progress AS SELECT id AS item_id, annotator_user_id AS annotator_id,"
            " annotation_state AS state, updated_at FROM loaded WHERE annotation_state > 0"
        )
        self._connection.unregister("loaded")

    def page(self, query: ItemQuery) -> Sequence[Any]:
        """Ask duckdb."""
        rows: Sequence[Any] = self._connection.execute(*statement(query, self._last_changed)).fetchall()
        return rows

    def answer(self, rows: Sequence[Any]) -> list[tuple[str, int | None]]:
        """Read ids and positions."""
        return _answer(rows)

    def count(self) -> dict[int, int]:
        """Count by state, with a scan."""
        return dict(self._connection.execute(_COUNT.format(self._last_changed)).fetchall())

    def close(self) -> None:
        """Free its memory."""
        self._connection.close()
