"""The dictionary tables of a file: texts by number and numbers by text, inside one transaction."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from annotation_queue.repositories.sql.rows import reads_rows
from annotation_queue.repositories.sqlite.cache import LONGEST_KEPT, Cache
from annotation_queue.repositories.sqlite.statements import SQL

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator


_Value = TypeVar("_Value")


class Interned:
    """What repeats from item to item and is stored once: user ids, lists of display fields, names of operations.

    Args:
        cache: What is known already; what the transaction learns joins it after the commit, since what it wrote itself may
            yet be rolled back.
    """

    execute: Callable[..., sqlite3.Cursor]

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    @cached_property
    def _learned(self) -> Cache:
        # Most transactions learn nothing.
        return Cache()

    def _keep_learned(self) -> None:
        """Let others know what was learned, now that it is committed."""
        if "_learned" in self.__dict__:
            self._cache.keep(self._learned)

    def text(self, num: int) -> str:
        """Read a text of the dictionary."""
        found = self._cache.texts.get(num)
        return self._learn(self._learned.texts, "text_by_num", num, str) if found is None else found

    def text_or_none(self, num: int | None) -> str | None:
        """Read a text of the dictionary; None for NULL."""
        return None if num is None else self.text(num)

    def fields(self, num: int) -> tuple[str, ...]:
        """Read a list of texts of the dictionary."""
        found = self._cache.fields.get(num)
        return self._learn(self._learned.fields, "text_by_num", num, _tuple_of) if found is None else found

    def op_name(self, num: int) -> str:
        """Read the name of an operation."""
        found = self._cache.op_names.get(num)
        return self._learn(self._learned.op_names, "op_name_by_num", num, str) if found is None else found

    @reads_rows
    def _learn(self, learned: dict[int, _Value], statement: str, num: int, parse: Callable[[str], _Value]) -> _Value:
        found = learned.get(num)
        if found is None:
            (text,) = self.execute(SQL[statement], (num,)).fetchone()
            found = parse(text)
            if len(text) <= LONGEST_KEPT:
                learned[num] = found
        return found

    def find_text(self, text: str) -> int | None:
        """Find the number of a text; None where nothing stored has it."""
        num = self._cache.nums.get(text) or self._learned.nums.get(text)
        if num is None:
            row = self.execute(SQL["text_num"], (text,)).fetchone()
            if row is None:
                return None
            num = self._learn_num(text, row[0])
        return num

    def text_num(self, text: str) -> int:
        """Find the number of a text, or give it one; only inside a write transaction."""
        num = self.find_text(text)
        return self._learn_num(text, self.execute(SQL["add_text"], (text,)).fetchone()[0]) if num is None else num

    def _learn_num(self, text: str, num: int) -> int:
        if len(text) <= LONGEST_KEPT and text not in self._cache.nums:
            self._learned.nums[text] = num
        return num

    def find_op_name(self, queue: int, name: str) -> int | None:
        """Find the number of a queue's operation; None where no item of it had the name."""
        row = self.execute(SQL["op_name_num"], (queue, name)).fetchone()
        return None if row is None else row[0]

    def op_num(self, queue: int, name: str) -> int:
        """Find the number of a queue's operation, or give it one; only inside a write transaction."""
        num = self.find_op_name(queue, name)
        return self.execute(SQL["add_op_name"], (queue, name)).fetchone()[0] if num is None else num

    def ops(self, queue: int, first: str | None, *, up: bool) -> Iterator[tuple[int, str, int]]:
        """Read a queue's operations in the order of their names, from a name on: number, name and how many live items."""
        if up:
            return self.execute(SQL["ops_up"], (queue, first or ""))
        return self.execute(SQL["ops_down"], (queue, first, first))


def _tuple_of(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
