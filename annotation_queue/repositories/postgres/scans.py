"""Scans: reading items along a path, in any directions, from any key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from annotation_queue.repositories.postgres.columns import plan_along
from annotation_queue.repositories.sql.paths import Found, along_path

if TYPE_CHECKING:
    from annotation_queue.repositories.postgres.columns import Plan
    from annotation_queue.repositories.postgres.session import Session
    from annotation_queue.repositories.sql.orders import Fragment
    from annotation_queue.repositories.sql.paths import Key, OrderPath


@attrs.frozen
class Scan:
    """Items of a queue, read in the order of a path.

    Args:
        session: The session.
        queue: The queue's number.
        annotator: The key of the annotator whose perspective is asked for.
        conditions: Which items are wanted, besides those that every item of the path fulfils.
        plan: The table whose columns are read, and how it is joined; None for the one that has the path's index.
    """

    session: Session
    queue: int
    annotator: str | None
    conditions: tuple[Fragment, ...]
    plan: Plan | None = None

    def found(self, path: OrderPath, start: Key | None, *, at: bool, limit: int) -> list[Found]:
        """Read items.

        Args:
            path: The path.
            start: The key to begin behind; None to begin at the first item.
            at: Whether the item at ``start`` is wanted too.
            limit: The greatest number of items to read.

        Returns:
            The items in order. The cost is that of the items passed, wanted or not, from the start on.
        """
        return along_path(path, start, at=at, limit=limit, read=self._read)

    def _read(self, path: OrderPath, start: Key | None, at: bool, limit: int) -> list[Found]:  # noqa: FBT001 - of a callback
        """Read along the index, in the direction of the first column that is not fixed."""
        plan = self.plan or plan_along(path.index)
        columns = [f"{plan.table}.{column}" for column in path.index.columns]
        fixed, wanted = columns[: len(path.fixed)], columns[len(path.fixed) :]
        up = path.left[0]
        conditions: list[Fragment] = [
            (f"{column} = ?", (value,)) for column, value in zip(fixed, path.fixed, strict=True)
        ]
        if start is not None:
            marks = ", ".join("?" for _ in start)
            sign = (">" if up else "<") + ("=" if at else "")
            conditions.append((f"({', '.join(wanted[: len(start)])}) {sign} ({marks})", start))
        what = f"{plan.table}.num, {', '.join(wanted)}"
        text, values = plan.select(what, self.queue, self.annotator, [*conditions, *self.conditions])
        order = ", ".join(f"{column} {'ASC' if up else 'DESC'}" for column in wanted)
        rows = self.session.composed(f"{text} ORDER BY {order} LIMIT ?", (*values, limit))
        return [Found(num, tuple(key)) for num, *key in rows]
