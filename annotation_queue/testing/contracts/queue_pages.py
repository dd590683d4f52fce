"""Pages of queues: what is found by name, sorts, offsets and walks by cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from annotation_queue.errors import InvalidCursor
from annotation_queue.items import AnnotationQueue, NewItem
from annotation_queue.query import ItemQuery, QueueQuery
from annotation_queue.sorting import Direction, SortBy
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue.queues import AnnotationQueues
    from annotation_queue.testing.clock import Clock


def names(page_of: AnnotationQueues, query: QueueQuery) -> list[str]:
    """List the names of the queues that a query shows."""
    return [queue.name for queue in page_of.query(query).queues]


def walk(queues: AnnotationQueues, query: QueueQuery, most: int = 100) -> list[AnnotationQueue]:
    """Read page after page; every one but the last is full."""
    walked: list[AnnotationQueue] = []
    for _ in range(most):
        page = queues.query(query)
        walked += page.queues
        if page.next_cursor is None:
            return walked
        assert len(page.queues) == query.limit
        query = attrs.evolve(query, cursor=page.next_cursor)
    raise AssertionError(f"a walk over few queues has no end after {most} pages")


def varied(queues: AnnotationQueues, clock: Clock) -> list[AnnotationQueue]:
    """Make queues with equal names, equal times and later changes."""
    made = []
    for index, name in enumerate(["é", "É", "z", "10", "9", "é", "😀", "\uffff", "z", "_", ""]):
        if index % 3 == 0:
            clock.move(1)
        made.append(queues.create(name, created_by="ann"))
    for index in (1, 4, 6):
        clock.move(index % 2)
        made[index] = queues.update(made[index].id, description="changed")
    return made


class QueuePagesContract(Contract):
    """Pages of queues: what is found by name, sorts, offsets and walks by cursor."""

    def test_queues_are_listed_with_the_newest_first_and_ties_by_id(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        for index, seconds in enumerate((0, 0, 5, 5, -20)):
            clock.move(seconds)
            queues.create(str(index), created_by="ann")
        assert names(queues, QueueQuery()) == ["3", "2", "0", "1", "4"]

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("", ["Straße 10%", "ÉCOLE", "e\u0301cole", "a_b", "aXb", "100", "it's \\ 😀"]),
            ("STRASSE", ["Straße 10%"]),
            ("ß", ["Straße 10%"]),
            ("école", ["ÉCOLE", "e\u0301cole"]),
            ("E\u0301COLE", ["ÉCOLE", "e\u0301cole"]),
            ("%", ["Straße 10%"]),
            ("_", ["a_b"]),
            ("a_b", ["a_b"]),
            ("A", ["Straße 10%", "a_b", "aXb"]),
            ("10", ["Straße 10%", "100"]),
            ("\\", ["it's \\ 😀"]),
            ("'S", ["it's \\ 😀"]),
            ("😀", ["it's \\ 😀"]),
            ("0%", ["Straße 10%"]),
            ("ab", []),
            ("' OR 1=1 --", []),
            ("straße 10% ", []),
        ],
    )
    def test_a_name_is_searched_as_a_case_insensitive_part_without_wildcards(
        self, queues: AnnotationQueues, search: str, found: list[str]
    ) -> None:
        for name in ("Straße 10%", "ÉCOLE", "e\u0301cole", "a_b", "aXb", "100", "it's \\ 😀"):
            queues.create(name, created_by="ann")
        assert names(queues, QueueQuery(name=search, sort_by=[SortBy("id")])) == found

    def test_the_search_follows_a_changed_name(self, queues: AnnotationQueues) -> None:
        queue = queues.create("before", created_by="ann")
        queues.update(queue.id, name="AFTER")
        assert names(queues, QueueQuery(name="after")) == ["AFTER"]
        assert names(queues, QueueQuery(name="before")) == []

    @pytest.mark.parametrize("direction", Direction)
    @pytest.mark.parametrize("field", ["id", "name", "created_at", "updated_at"])
    def test_queues_sort_by_each_field_in_both_directions_with_ties_by_id(
        self, queues: AnnotationQueues, clock: Clock, field: str, direction: Direction
    ) -> None:
        expected = sorted(varied(queues, clock), key=lambda queue: queue.id)
        # A reversed sort is stable too, so that ties stay in the order of their ids.
        expected.sort(key=lambda queue: getattr(queue, field), reverse=direction is Direction.DESC)
        assert list(queues.query(QueueQuery(sort_by=[SortBy(field, direction)])).queues) == expected

    def test_queues_sort_by_several_fields(self, queues: AnnotationQueues, clock: Clock) -> None:
        made = varied(queues, clock)
        expected = sorted(sorted(made, key=lambda queue: queue.id, reverse=True), key=lambda queue: queue.name)
        sort_by = [SortBy("name"), SortBy("id", Direction.DESC)]
        assert list(queues.query(QueueQuery(sort_by=sort_by)).queues) == expected

    @pytest.mark.parametrize("id_direction", [None, *Direction])
    @pytest.mark.parametrize("direction", Direction)
    @pytest.mark.parametrize("field", ["id", "name", "created_at", "updated_at"])
    def test_every_page_of_queues_is_cut_out_of_all_of_them_in_their_order(
        self, queues: AnnotationQueues, clock: Clock, field: str, direction: Direction, id_direction: Direction | None
    ) -> None:
        made = varied(queues, clock)
        queues.delete(made.pop(2).id)
        sort_by = [SortBy(field, direction)]
        sort_by += [] if id_direction is None or field == "id" else [SortBy("id", id_direction)]
        made.sort(key=lambda queue: queue.id, reverse=id_direction is Direction.DESC)
        made.sort(key=lambda queue: getattr(queue, field), reverse=direction is Direction.DESC)
        for name in (None, "É", "z", "", "no such"):
            wanted = [queue for queue in made if name is None or name.casefold() in queue.name.casefold()]
            for limit in (1, 2, 4):
                assert walk(queues, QueueQuery(name=name, sort_by=sort_by, limit=limit)) == wanted
                for offset in (0, 1, 3, len(wanted)):
                    page = queues.query(QueueQuery(name=name, sort_by=sort_by, limit=limit, offset=offset))
                    assert list(page.queues) == wanted[offset:][:limit]
                    assert (page.next_cursor is None) == (offset + limit >= len(wanted))

    def test_a_page_of_queues_follows_every_change_and_every_addition(
        self, queues: AnnotationQueues, clock: Clock
    ) -> None:
        made = varied(queues, clock)
        orders = [
            [SortBy(field, direction)] for field in ("name", "created_at", "updated_at") for direction in Direction
        ]
        for step in range(6):
            clock.move(1)
            changed = made[step]
            made[step] = queues.update(changed.id, name=f"{changed.name}{step}")
            made.append(queues.create("z", created_by="ann"))
            queues.delete(made.pop(-2).id)
            for (by,) in orders:
                expected = sorted(made, key=lambda queue: queue.id)
                expected.sort(key=lambda queue: getattr(queue, by.field), reverse=by.direction is Direction.DESC)
                assert list(queues.query(QueueQuery(sort_by=[by])).queues) == expected
                assert list(queues.query(QueueQuery(sort_by=[by], limit=3, offset=2)).queues) == expected[2:5]

    def test_queues_whose_names_are_as_long_as_text_may_be_are_sorted_and_found(self, queues: AnnotationQueues) -> None:
        long = "x" * 2**19
        for name in (f"{long}b", "y", f"{long}a", "x", "😀" * 2**18, "x" * 200, "x" * 160):
            queues.create(name, created_by="ann")
        for direction in Direction:
            expected = sorted(names(queues, QueueQuery()), reverse=direction is Direction.DESC)
            walked = walk(queues, QueueQuery(sort_by=[SortBy("name", direction)], limit=2))
            assert [queue.name for queue in walked] == expected
        assert names(queues, QueueQuery(name="XA")) == [f"{long}a"]

    def test_queues_of_projects_whose_ids_begin_alike_are_apart(
        self, make_queues: Callable[..., AnnotationQueues]
    ) -> None:
        project_ids = ["p" * 160, "p" * 161, "p" * 2**20, "p" * (2**20 - 1) + "q"]
        for project_id in project_ids:
            make_queues(project_id).create(project_id[-3:], created_by="ann")
        for project_id in project_ids:
            (found,) = make_queues(project_id).query().queues
            assert found.project_id == project_id

    @pytest.mark.parametrize("sort_by", [(), (SortBy("name", Direction.DESC),), (SortBy("updated_at"), SortBy("name"))])
    @pytest.mark.parametrize("limit", [1, 3, 11, 50])
    def test_a_walk_by_cursor_shows_every_queue_once_and_in_order(
        self, queues: AnnotationQueues, clock: Clock, sort_by: tuple[SortBy, ...], limit: int
    ) -> None:
        varied(queues, clock)
        everything = queues.query(QueueQuery(sort_by=sort_by)).queues
        assert tuple(walk(queues, QueueQuery(sort_by=sort_by, limit=limit))) == everything

    def test_a_walk_goes_on_where_it_was_whatever_is_made_and_deleted_meanwhile(self, queues: AnnotationQueues) -> None:
        made = [queues.create(name, created_by="ann") for name in "acegi"]
        by_name = (SortBy("name"),)
        page = queues.query(QueueQuery(sort_by=by_name, limit=2))
        queues.delete(made[1].id)
        queues.delete(made[3].id)
        for name in "bdf":
            queues.create(name, created_by="ann")
        rest = queues.query(QueueQuery(sort_by=by_name, cursor=page.next_cursor))
        assert [queue.name for queue in rest.queues] == ["d", "e", "f", "i"]

    def test_a_cursor_of_another_sort_or_project_or_kind_of_list_is_refused(
        self,
        make_queues: Callable[..., AnnotationQueues],
    ) -> None:
        queues, others = make_queues(), make_queues("other")
        for each in (queues, others):
            for name in "ab":
                each.create(name, created_by="ann")
        cursor = queues.query(QueueQuery(limit=1)).next_cursor
        queue = queues.query().queues[0]
        queues.add_items(queue.id, [NewItem(call_id="a"), NewItem(call_id="b")], added_by="ann")
        of_items = queues.query_items(queue.id, ItemQuery(limit=1)).next_cursor
        for asked, query in (
            (queues, QueueQuery(sort_by=[SortBy("name")], cursor=cursor)),
            (others, QueueQuery(cursor=cursor)),
            (queues, QueueQuery(cursor=of_items)),
            (queues, QueueQuery(cursor="")),
            (queues, QueueQuery(cursor="nonsense")),
        ):
            with pytest.raises(InvalidCursor):
                asked.query(query)
        assert len(queues.query(QueueQuery(cursor=cursor)).queues) == 1

    def test_offset_and_limit_cut_a_page_and_past_the_end_it_is_empty(self, queues: AnnotationQueues) -> None:
        for name in "abcde":
            queues.create(name, created_by="ann")
        by_name = [SortBy("name")]
        assert names(queues, QueueQuery(sort_by=by_name, offset=1, limit=2)) == ["b", "c"]
        assert names(queues, QueueQuery(sort_by=by_name, offset=4)) == ["e"]
        for empty in (QueueQuery(offset=5), QueueQuery(offset=2**63 - 1), QueueQuery(limit=0), QueueQuery(name="x")):
            page = queues.query(empty)
            assert (page.queues, page.next_cursor) == ((), None)
        assert names(queues, QueueQuery(sort_by=by_name, limit=2**63 - 1, offset=3)) == ["d", "e"]
