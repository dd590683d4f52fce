"""The dictionary tables of a file: texts by number and numbers by text, inside one transaction."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from annotation_queue.repositories.sql.rows import Remembered, Texts, reads_rows
from annotation_queue.repositories.sqlite.cache import LONGEST_KEPT, OVERHEAD, Cache, Epoch
from annotation_queue.repositories.sqlite.statements import SQL

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator


_Value = TypeVar("_Value")


class Interned:
    """What repeats from item to item and is stored once: user ids, lists of display fields, names of operations."""

    execute: Callable[..., sqlite3.Cursor]
    _cache: Cache
    """What is known already. What the transaction learns joins it after the commit, since that may yet be rolled back."""

    @cached_property
    def _learned(self) -> Cache:
        # Most transactions learn nothing.
        return Cache(self._cache.epoch)

    @property
    def _has_learned(self) -> bool:
        return "_learned" in self.__dict__

    def begin_epoch(self) -> None:
        """Tell this file from every copy of an earlier time, since what is written now gives numbers; once in a transaction."""
        if not self._has_begun_epoch:
            self._has_begun_epoch = True
            self._learned.epoch = Epoch(*self.execute(SQL["new_epoch"]).fetchone())

    _has_begun_epoch = False

    def text(self, num: int) -> str:
        """Read a text of the dictionary."""
        found = self._cache.texts.get(num)
        return self._learn(self._learned.texts, "text_by_num", num, str) if found is None else found

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
                self._learned.size += len(text) + OVERHEAD
        return found

    def texts_of_many(self) -> Texts:
        """Give how the texts of the items of one page are read."""
        users, fields = Remembered(self.text).__getitem__, Remembered(self.fields).__getitem__
        return Texts(str, Remembered(self.op_name).__getitem__, users, fields, fields)

    def find_text(self, text: str) -> int | None:
        """Find the number of a text; None if nothing stored has it."""
        num = self._cache.nums.get(text) or self._learned.nums.get(text)
        if num is None:
            row = self.execute(SQL["text_num"], (text,)).fetchone()
            if row is None:
                return None
            (found,) = row
            num = self._learn_num(text, found)
        return num

    def text_num(self, text: str) -> int:
        """Find the number of a text, or give it one; only inside a write transaction."""
        num = self._cache.nums.get(text) or self.find_text(text)
        if num is not None:
            return num
        self.begin_epoch()
        (num,) = self.execute(SQL["add_text"], (text,)).fetchone()
        return self._learn_num(text, num)

    def _learn_num(self, text: str, num: int) -> int:
        if len(text) <= LONGEST_KEPT and text not in self._cache.nums:
            self._learned.nums[text] = num
            self._learned.size += len(text) + OVERHEAD
        return num

    def find_op_name(self, queue: int, name: str) -> int | None:
        """Find the number of a queue's operation; None if no item of it had the name."""
        (num,) = self.execute(SQL["op_name_num"], (queue, name)).fetchone() or (None,)
        return num

    def op_num(self, queue: int, name: str) -> int:
        """Find the number of a queue's operation, or give it one; only inside a write transaction."""
        num = self.find_op_name(queue, name)
        if num is None:
            self.begin_epoch()
            (num,) = self.execute(SQL["add_op_name"], (queue, name)).fetchone()
        return num

    def ops(self, queue: int, first: str | None, *, up: bool) -> Iterator[tuple[int, str, int]]:
        """Read a queue's operations in the order of their names, from a name on: number, name and number of live items."""
        if up:
            return self.execute(SQL["ops_up"], (queue, first or ""))
        return self.execute(SQL["ops_down"], (queue, first, first))


def _tuple_of(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
