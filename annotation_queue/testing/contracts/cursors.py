"""Cursors: walks over lists that change meanwhile, and what is refused."""

from __future__ import annotations

import itertools
import string
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs
import pytest

from annotation_queue.cursors import encode_cursor, seal
from annotation_queue.errors import InvalidCursor
from annotation_queue.items import AnnotationQueue, NewItem
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.sorting import Direction, SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

QUEUE = AnnotationQueue(id="q", project_id="p", name="Triage", created_at=NOON, created_by="ann", updated_at=NOON)

BINDING = ("items", "p", "q", None, [["priority", "desc"], ["created_at", "asc"], ["id", "asc"]])

CURSOR = encode_cursor([0, 1_767_268_800_000_000, "id-000001"], BINDING)

FORGED = {
    "5,000 digits": b"[" + b"9" * 5_000 + b',0,"id"]',
    "more digits than are read": b"9" * 100_000,
    "no JSON": b"[0,0",
    "nothing": b"",
    "no UTF-8": b'[0,0,"\xff"]',
    "an encoded surrogate": b'[0,0,"\xed\xa0\x80"]',
    "an escaped surrogate": b'[0,0,"\\ud800"]',
    "NUL": b'[0,0,"\\u0000"]',
    "deep nesting": b"[" * 100_000 + b"]" * 100_000,
    "deep nesting without an end": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 50_000 + b"0" + b"}" * 50_000,
    "a mebibyte of text and more": b'[0,0,"' + b"x" * (2**20 + 1) + b'"]',
    "nested values": b"[[0],0,{}]",
    "an object": b"{}",
    "text": b'"text"',
    "null": b"null",
    "nan": b'[NaN,0,"id"]',
    "infinity": b'[0,-Infinity,"id"]',
    "a float": b'[0.0,0,"id"]',
    "a bool": b'[true,0,"id"]',
    "beyond 64 bits": b'[9223372036854775808,0,"id"]',
    "a time beyond the year 9999": b'[0,9223372036854775807,"id"]',
    "too many values": b'[0,0,"id",0]',
    "too few values": b"[0,0]",
}
"""What cursors carry that were made by somebody who knows how: no secret is needed."""

LETTERS = string.ascii_letters + string.digits + "-_"


def add(queues: AnnotationQueues, queue: AnnotationQueue, *calls: str) -> None:
    """Add an item for each call; its name repeats, its priority too."""
    news = (NewItem(call_id=call, call_op_name=call[:1], priority=len(call) + ord(call[-1]) % 3) for call in calls)
    queues.add_items(queue.id, news, added_by="ann")


class CursorsContract(Contract):
    """Cursors: walks over lists that change meanwhile, and what is refused."""

    @pytest.fixture
    def queue_of_30(self, queues: AnnotationQueues) -> AnnotationQueue:
        """A queue with 30 items, named by two letters."""
        queue_of_30 = queues.create("queue", created_by="ann", annotations_per_item=2)
        add(queues, queue_of_30, *(one + two for one in "bdfhj" for two in "acegik"))
        return queue_of_30

    @pytest.mark.parametrize("limit", [1, 4, 29])
    @pytest.mark.parametrize(
        "sort_by",
        [(), (SortBy("call_id"),), (SortBy("call_id", Direction.DESC),), (SortBy("call_op_name"), SortBy("priority"))],
        ids=lambda sort_by: "-".join(f"{by.field} {by.direction}" for by in sort_by) or "default",
    )
    def test_a_walk_shows_what_stays_exactly_once_while_items_come_go_and_are_annotated(
        self,
        queues: AnnotationQueues,
        queue_of_30: AnnotationQueue,
        clock: Clock,
        sort_by: tuple[SortBy, ...],
        limit: int,
    ) -> None:
        before = {item.id for item in queues.query_items(queue_of_30.id).items}
        removed: set[str] = set()
        seen: list[str] = []
        query = ItemQuery(sort_by=sort_by, limit=limit)
        for step in itertools.count():
            page = queues.query_items(queue_of_30.id, query)
            seen += [item.id for item in page.items]
            if page.next_cursor is None:
                break
            clock.move(1)
            # Before the walk, behind it and at the very place where it goes on; not for ever, or it would never end.
            if step < 20:
                add(queues, queue_of_30, f"a{step}", f"e{step}x", f"z{step}")
            gone = {page.items[-1].id, *itertools.islice(sorted(before - removed - set(seen)), 1)}
            removed |= gone
            queues.remove_items(queue_of_30.id, gone)
            for item in queues.query_items(queue_of_30.id, ItemQuery(limit=3, offset=step)).items:
                queues.update_progress(item.id, f"ann-{step % 3}", AnnotationState.COMPLETED)
            query = attrs.evolve(query, cursor=page.next_cursor)
        assert len(seen) == len(set(seen))
        assert before - removed <= set(seen)
        assert len(before - removed) >= 2 or limit == 1

    def test_a_walk_by_iter_items_goes_on_while_its_items_are_worked_on(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue
    ) -> None:
        # More than one page of the walk, so that it reads again after the changes.
        add(queues, queue_of_30, *(f"n{number}" for number in range(1_200)))
        seen = []
        for item in queues.iter_items(queue_of_30.id):
            seen.append(item.id)
            if len(seen) % 100 == 0:
                queues.update_progress(item.id, "bob", AnnotationState.COMPLETED)
                queues.remove_items(queue_of_30.id, seen[-3:-1])
        assert len(seen) == len(set(seen)) == 1_230

    def test_a_walk_by_iter_items_is_bounded_by_its_limit_over_several_pages(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue
    ) -> None:
        add(queues, queue_of_30, *(f"n{number}" for number in range(1_100)))
        everything = queues.query_items(queue_of_30.id).items
        for limit, offset in ((0, 0), (1, 3), (500, 0), (501, 10), (1_000, 0), (1_130, 0), (5_000, 900)):
            walked = tuple(queues.iter_items(queue_of_30.id, ItemQuery(limit=limit, offset=offset)))
            assert walked == everything[offset:][:limit]

    def test_a_walk_that_starts_at_a_cursor_goes_on_from_there(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue
    ) -> None:
        page = queues.query_items(queue_of_30.id, ItemQuery(limit=7))
        rest = queues.iter_items(queue_of_30.id, ItemQuery(cursor=page.next_cursor))
        assert (*page.items, *rest) == queues.query_items(queue_of_30.id).items

    def test_a_cursor_stays_good_when_its_item_is_gone_and_when_the_filter_changes(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue
    ) -> None:
        whole = queues.query_items(queue_of_30.id).items
        page = queues.query_items(queue_of_30.id, ItemQuery(limit=7))
        queues.remove_items(queue_of_30.id, [page.items[-1].id])
        only = ItemFilter(call_op_name="d")
        on = queues.query_items(queue_of_30.id, ItemQuery(cursor=page.next_cursor, filter=only)).items
        assert on == tuple(item for item in whole[7:] if item.call_op_name == "d")

    def test_a_walk_can_sort_by_absent_values(self, queues: AnnotationQueues, queue_of_30: AnnotationQueue) -> None:
        items = queues.query_items(queue_of_30.id, ItemQuery(sort_by=[SortBy("id")])).items
        for item in items[::2]:
            queues.update_progress(item.id, "bob", AnnotationState.SKIPPED)
        query = ItemQuery(sort_by=[SortBy("annotator_user_id")], limit=4)
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = queues.query_items(queue_of_30.id, attrs.evolve(query, cursor=cursor or None))
            seen += [item.id for item in page.items]
            cursor = page.next_cursor
        assert seen == [item.id for item in (*items[::2], *items[1::2])]

    @pytest.mark.parametrize("id_direction", Direction)
    @pytest.mark.parametrize("behind", ["updated_at", "annotation_state", "annotator_user_id"])
    def test_a_walk_sorted_by_the_id_shows_nothing_twice_whatever_changes_of_what_is_sorted_by_behind_it(
        self,
        queues: AnnotationQueues,
        queue_of_30: AnnotationQueue,
        clock: Clock,
        behind: str,
        id_direction: Direction,
    ) -> None:
        whole = queues.query_items(queue_of_30.id, ItemQuery(sort_by=[SortBy("id", id_direction)])).items
        query = ItemQuery(sort_by=[SortBy("id", id_direction), SortBy(behind)], limit=4)
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None and len(seen) <= len(whole):
            page = queues.query_items(queue_of_30.id, attrs.evolve(query, cursor=cursor or None))
            seen += [item.id for item in page.items]
            cursor = page.next_cursor
            clock.move(1)
            queues.update_progress(page.items[-1].id, "bob", AnnotationState.COMPLETED)
        assert seen == [item.id for item in whole]

    def test_nothing_behind_the_id_orders_so_the_cursor_of_one_such_sort_is_good_for_the_other(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue
    ) -> None:
        one, other = [SortBy("call_op_name"), SortBy("id", "desc")], [SortBy("call_op_name"), SortBy("id", "desc")]
        other += [SortBy("updated_at", "desc"), SortBy("annotation_state")]
        cursor = queues.query_items(queue_of_30.id, ItemQuery(sort_by=one, limit=7)).next_cursor
        assert cursor is not None
        on = queues.query_items(queue_of_30.id, ItemQuery(sort_by=other, cursor=cursor)).items
        assert on == queues.query_items(queue_of_30.id, ItemQuery(sort_by=one)).items[7:]
        # What does order still binds it.
        with pytest.raises(InvalidCursor):
            queues.query_items(queue_of_30.id, ItemQuery(sort_by=[*one[:1], SortBy("id")], cursor=cursor))

    @pytest.mark.parametrize("field", ["call_op_name", "call_trace_id", "call_id"])
    def test_a_walk_passes_items_whose_sorted_text_is_as_long_as_text_may_be(
        self, queues: AnnotationQueues, field: str
    ) -> None:
        queue = queues.create("queue", created_by="ann")
        for call in "abc":
            text = {"call_id": call, field: call + "😀" * (2**18 - 1)}
            queues.add_items(queue.id, [NewItem(**text)], added_by="ann")  # type: ignore[arg-type]  # three texts
        query = ItemQuery(sort_by=[SortBy(field)], limit=1)
        for call in "abc":
            page = queues.query_items(queue.id, query)
            assert [item.call_id[:1] for item in page.items] == [call]
            query = attrs.evolve(query, cursor=page.next_cursor)
        assert page.next_cursor is None

    def test_a_cursor_of_another_sort_view_queue_project_or_kind_is_refused(
        self, make_queues: Callable[..., AnnotationQueues], queue_of_30: AnnotationQueue
    ) -> None:
        queues, others = make_queues(), make_queues("other")
        second = queues.create("second", created_by="ann")
        foreign = others.create("foreign", created_by="ann")
        cursor = queues.query_items(queue_of_30.id, ItemQuery(limit=1)).next_cursor
        of_bob = queues.query_items(queue_of_30.id, ItemQuery(limit=1, annotator_id="bob")).next_cursor
        of_queues = queues.query(QueueQuery(limit=1)).next_cursor
        assert None not in {cursor, of_bob, of_queues}
        refused = [
            (queues, queue_of_30, ItemQuery(cursor=cursor, sort_by=[SortBy("priority")])),
            (
                queues,
                queue_of_30,
                ItemQuery(cursor=cursor, sort_by=[SortBy("priority"), SortBy("created_at"), SortBy("id")]),
            ),
            (queues, queue_of_30, ItemQuery(cursor=cursor, annotator_id="bob")),
            (queues, queue_of_30, ItemQuery(cursor=of_bob)),
            (queues, queue_of_30, ItemQuery(cursor=of_bob, annotator_id="eve")),
            (queues, queue_of_30, ItemQuery(cursor=of_queues)),
            (queues, second, ItemQuery(cursor=cursor)),
            (others, foreign, ItemQuery(cursor=cursor)),
        ]
        for asked, of, query in refused:
            with pytest.raises(InvalidCursor):
                asked.query_items(of.id, query)
        # The default sort and the same one in words are one.
        words = [SortBy("priority", Direction.DESC), SortBy("created_at")]
        assert queues.query_items(queue_of_30.id, ItemQuery(cursor=cursor, sort_by=words)).items

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "====", "!!!!", "é", "😀", "a" * 1_000_000, "AQ", "\ud800", "\0", " ", "None", "0", "null", "[]"],
    )
    def test_what_is_no_cursor_is_refused(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue, cursor: str
    ) -> None:
        with pytest.raises(InvalidCursor) as refused:
            queues.query_items(queue_of_30.id, ItemQuery(cursor=cursor))
        assert refused.value.field == "cursor"

    @pytest.mark.parametrize("body", FORGED.values(), ids=FORGED)
    def test_a_forged_cursor_is_refused_whatever_it_carries(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue, body: bytes
    ) -> None:
        of_items = [["priority", "desc"], ["created_at", "asc"], ["id", "asc"]]
        of_queues = [["created_at", "desc"], ["id", "asc"]]
        binding = ("items", queues.project_id, queue_of_30.id, None, of_items)
        assert queues.query_items(queue_of_30.id, ItemQuery(cursor=encode_cursor([2**63 - 1, 0, "id"], binding))).items
        with pytest.raises(InvalidCursor):
            queues.query_items(queue_of_30.id, ItemQuery(cursor=seal(body, binding)))
        with pytest.raises(InvalidCursor):
            queues.query(QueueQuery(cursor=seal(body, ("queues", queues.project_id, of_queues))))
        # Nothing is broken by it.
        assert len(queues.query_items(queue_of_30.id).items) == 30

    def test_a_cursor_with_one_character_changed_lost_or_doubled_is_refused(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue
    ) -> None:
        cursor = queues.query_items(queue_of_30.id, ItemQuery(limit=1)).next_cursor
        assert cursor is not None
        for place in range(len(cursor)):
            start, old, end = cursor[:place], cursor[place], cursor[place + 1 :]
            other = LETTERS[(LETTERS.index(old) + 1) % len(LETTERS)]
            for changed in (start + other + end, start + end, start + old + cursor[place:], start, cursor[place + 1 :]):
                if changed != cursor:
                    with pytest.raises(InvalidCursor):
                        queues.query_items(queue_of_30.id, ItemQuery(cursor=changed))

    def test_a_cursor_is_text_of_letters_digits_dashes_and_underscores(
        self, queues: AnnotationQueues, queue_of_30: AnnotationQueue
    ) -> None:
        for annotator_id in (None, "é 😀 '"):
            cursor = queues.query_items(queue_of_30.id, ItemQuery(limit=1, annotator_id=annotator_id)).next_cursor
            assert cursor is not None
            assert set(cursor) <= set(LETTERS)
