"""Answering item queries inside one read snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any, Final

from annotation_queue.items import AnnotationQueue, QueueItem
from annotation_queue.query import ItemPage, ItemQuery, until_full
from annotation_queue.records import view
from annotation_queue.repositories.sql.orders import AGGREGATE, OWN, PERSPECTIVE, terms_of, values_of
from annotation_queue.repositories.sql.paths import OrderPath
from annotation_queue.repositories.sql.rows import STATES, ItemRow
from annotation_queue.repositories.sqlite.indexes import IN_ORDER, key_of, path_of
from annotation_queue.repositories.sqlite.queries.by_update import nums_along
from annotation_queue.repositories.sqlite.queries.filters import Filter, among_nums
from annotation_queue.repositories.sqlite.queries.groups import Groups
from annotation_queue.repositories.sqlite.queries.ranks import BlockCounts, Ranks
from annotation_queue.repositories.sqlite.queries.scans import Scan
from annotation_queue.repositories.sqlite.queries.sorts import Sort
from annotation_queue.repositories.sqlite.queries.unfinished import unfinished_nums
from annotation_queue.repositories.sqlite.session import Session
from annotation_queue.repositories.sqlite.statements import SQL
from annotation_queue.sorting import SortValue
from annotation_queue.states import UNSTARTED
from annotation_queue.values import MAX_INTEGER

PAYLOAD: Final = ItemRow._fields.index("payload")
"""Where the payload stands in a row of ``live_item_columns``."""


class Selection:
    """The items of one queue as one query looks at them.

    Args:
        session: The session, inside a read snapshot.
        queue: Number, revision and entity of the queue.
        query: The query.
    """

    def __init__(self, session: Session, queue: tuple[int, int, AnnotationQueue], query: ItemQuery) -> None:
        self._session = session
        self._queue_num, _, self._queue = queue
        self._query = query
        self._order = query.order()
        annotator_id = query.annotator_id
        annotator = 0 if annotator_id is None else session.find_text(annotator_id) or 0
        self._filter = Filter(session, self._queue_num, query, annotator)
        self._terms = terms_of(self._order, AGGREGATE if annotator_id is None else PERSPECTIVE)
        self._sort = Sort(session, self._queue_num, annotator, self._terms)

    def page(self) -> ItemPage:
        """Read the page."""
        query = self._query
        after = query.after(self._queue)
        if self._filter.matches_nothing:
            return query.page(self._queue, (), 0 if query.include_total else None)
        nums = self._nums(after, MAX_INTEGER if query.limit is None else min(query.limit + 1, MAX_INTEGER))
        items = self._items(nums if query.limit is None else nums[: query.limit])
        has_more = len(nums) > len(items)
        if query.include_position:
            positions = self._positions(nums[: len(items)], items, from_cursor=after is not None)
            items = [
                view(item, (item.annotation_state, item.annotator_user_id), position=position)
                for item, position in zip(items, positions, strict=True)
            ]
        return query.page(self._queue, items, self._total() if query.include_total else None, has_more=has_more)

    def _nums(self, after: Sequence[SortValue] | None, most: int) -> list[int]:
        """Read the numbers of the page's items in order: along an index, group by group, or by sorting what is wanted."""
        if self._query.limit == 0:
            return []
        path = path_of(self._order.sort_by, self._filter.fixed)
        rare = self._filter.rare_index(path)
        few = None if rare else self._filter.rare_nums(path)
        if path is not None and not rare and few is None:
            return self._along(path, after, most)
        if self._query.annotator_id is None and not self._query.offset and not self._filter.conditions():
            found = Groups(self._session, self._queue_num, self._order, self._terms).nums(after, most)
            if found is not None:
                return found
        values = None if after is None else values_of(self._order, self._terms, after)
        conditions = self._filter.conditions() if few is None else (*self._filter.conditions(), among_nums(few))
        return self._sort.nums(conditions, rare, values, limit=most, offset=self._query.offset)

    def _along(self, path: OrderPath, after: Sequence[SortValue] | None, most: int) -> list[int]:
        """Read the numbers along an index."""
        session, queue, offset = self._session, self._queue_num, self._query.offset
        conditions = self._filter.conditions(path)
        start = None if after is None else key_of(path, self._order, after)
        if offset and path.index.num and not conditions:
            start, offset = Ranks(session, queue, path).find(offset), 0
            if start is None:
                return []
        elif offset and (counts := self._filter.in_blocks(path)):
            found = BlockCounts(session, queue, IN_ORDER).seek(offset, counts)
            if found is None:
                return []
            start, offset = found
        if path.index is IN_ORDER and all(path.ups) and self._filter.only_unfinished(conditions):
            return unfinished_nums(session, queue, conditions, start, at=after is None, limit=most, offset=offset)
        join = (OWN, (self._filter.annotator,)) if any("p." in text for text, _ in conditions) else ("", ())
        scan = Scan(session, queue, join, conditions, self._filter.counted(path))
        wanted = self._filter.wanted(path)
        return nums_along(scan, path, start, wanted, at=after is None, limit=most, offset=offset)

    def _items(self, nums: Sequence[int]) -> list[QueueItem]:
        """Read the items of a page, as many of the first ones as it has room for."""
        session, query = self._session, self._query
        statement = SQL["live_items_by_num" if query.include_payload else "live_items_by_num_without_payload"]
        # Row by row, so that no payload is read behind the last that has room.
        read: Iterable[Sequence[Any]] = session.execute(statement, (json.dumps(nums),))
        if query.max_bytes is not None:
            read = until_full(((row, len(row[PAYLOAD] or "")) for row in read), query.max_bytes)
        rows = {row[0]: row for row in read}
        shown = list(takewhile(rows.__contains__, nums))
        items = [session.item_of(ItemRow._make(rows[num]), self._queue) for num in shown]
        annotator_id = query.annotator_id
        if annotator_id is None:
            return items
        own = dict(session.execute(SQL["own_states"], (json.dumps(shown), self._filter.annotator)).fetchall())
        seen = [STATES[own.get(num, 0)] for num in shown]
        return [
            view(item, (state, None if state is UNSTARTED else annotator_id))
            for item, state in zip(items, seen, strict=True)
        ]

    def _total(self) -> int:
        counted = self._filter.total()
        return self._sort.count(self._filter.conditions()) if counted is None else counted

    def _positions(self, nums: Sequence[int], items: Sequence[QueueItem], *, from_cursor: bool) -> Iterable[int]:
        """Number the items of a page among all items of the queue, from 1 on."""
        all_wanted = not self._filter.conditions()
        if all_wanted and not from_cursor:
            first = self._query.offset + 1
            return range(first, first + len(nums))
        path = path_of(self._order.sort_by, {})
        if path is None:
            return [rank + 1 for rank in self._sort.ranks(nums)]
        keys = [key_of(path, self._order, self._order.values(item)) for item in items]
        ranks = Ranks(self._session, self._queue_num, path).of(keys[:1] if all_wanted else keys)
        return range(ranks[0] + 1, ranks[0] + 1 + len(nums)) if all_wanted and ranks else [rank + 1 for rank in ranks]


def query_items(session: Session, queue: tuple[int, int, AnnotationQueue], query: ItemQuery) -> ItemPage:
    """Answer a query; result and errors are those of `Repository.query_items`."""
    return Selection(session, queue, query).page()
