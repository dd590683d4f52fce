"""The statements of SQLite's repository, by name."""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annotation_queue.repositories.sql.files import load_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SQL: Final = load_statements("sql/queues", "sqlite/statements")
_NAME: Final = re.compile(r":(\w+)")


class Write(NamedTuple):
    """A statement that is written with names and run by position.

    The driver looks up each name of each row anew, and lets go of the interpreter for every one of them: with the fifteen names
    of a wide row that takes longer than to write the row.

    Args:
        text: The statement, with ``?`` for each name.
        values: Takes the values out of a row, in their order.
    """

    text: str
    values: Callable[[Mapping[str, Any]], tuple[Any, ...]]


def _by_position(text: str) -> Write:
    return Write(_NAME.sub("?", text), itemgetter(*_NAME.findall(text)))


WRITES: Final = {
    name: _by_position(SQL[name])
    for name in ("change_work", "settle_work", "add_entry", "put_progress", "count", "add_to_kinds", "add_to_kinds_at")
}
"""Those that claims and completions run."""
