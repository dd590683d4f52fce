"""Orders that begin with what annotating changes: the same pages as in memory, read without a sort of everything."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    ItemQuery,
    SortBy,
)
from annotation_queue.repositories.sqlite.queries import filters as sqlite_filters
from annotation_queue.repositories.sqlite.queries.scans import Scan
from helpers.annotated import ALIKE, MIXED, ORDERS, annotated
from helpers.pairs import stored_and_remembered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[AnnotationQueues, AnnotationQueues]]:
    with stored_and_remembered(tmp_path / "queues.db") as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("few", [0, 5_000], ids=["walked", "sorted where they are few"])
@pytest.mark.parametrize("states", [MIXED, ALIKE], ids=["mixed", "alike"])
@pytest.mark.parametrize("limit", [1, 5, 18, None])
def test_walks_by_cursor_give_the_same_items_as_memory(
    pair: tuple[AnnotationQueues, AnnotationQueues],
    monkeypatch: pytest.MonkeyPatch,
    few: int,
    states: list[AnnotationState],
    limit: int | None,
) -> None:
    monkeypatch.setattr(sqlite_filters, "FEW", few)
    queue_ids = [annotated(queues, 40, states)[0] for queues in pair]
    for sort_by in ORDERS:
        walks: list[list[tuple[str, int | None]]] = []
        for queues, queue_id in zip(pair, queue_ids, strict=True):
            query = ItemQuery(sort_by=sort_by, limit=limit, include_position=True)
            walks.append([])
            while True:
                page = queues.query_items(queue_id, query)
                walks[-1] += [(item.id, item.position_in_queue) for item in page.items]
                if page.next_cursor is None:
                    break
                query = ItemQuery(sort_by=sort_by, limit=limit, include_position=True, cursor=page.next_cursor)
        assert walks[0] == walks[1], sort_by
        assert [position for _, position in walks[0]] == list(range(1, 41))


@pytest.mark.parametrize("first", ["annotation_state", "annotator_user_id"])
def test_a_cursor_stays_good_when_its_group_has_been_emptied(
    pair: tuple[AnnotationQueues, AnnotationQueues], first: str
) -> None:
    shown = []
    for queues in pair:
        queue_id, ids = annotated(queues, 20, [AnnotationState.IN_PROGRESS])
        query = ItemQuery(sort_by=(SortBy(first),), limit=6)
        page = queues.query_items(queue_id, query)
        for item_id in ids:
            for progress in queues.progress(item_id):
                if progress.annotator_id in {"Zoë", "ann", "bob"}:
                    queues.update_progress(item_id, progress.annotator_id, AnnotationState.UNSTARTED)
        again = ItemQuery(sort_by=(SortBy(first),), limit=50, cursor=page.next_cursor)
        shown.append([item.id for item in queues.query_items(queue_id, again).items])
    assert shown[0] == shown[1] != []


def test_a_page_of_few_groups_is_walked_and_one_of_many_is_sorted(
    pair: tuple[AnnotationQueues, AnnotationQueues], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_filters, "FEW", 0)
    queues = pair[0]
    queue_id, _ = annotated(queues, 40, ALIKE)
    walked: list[int] = []
    nums = Scan.nums

    def counted(*arguments: object, **more: object) -> list[int]:
        found: list[int] = nums(*arguments, **more)  # type: ignore[arg-type]
        walked.append(len(found))
        return found

    monkeypatch.setattr(Scan, "nums", counted)
    walks = []
    for limit in (4, 12, 30):
        walked.clear()
        queues.query_items(queue_id, ItemQuery(sort_by=(SortBy("annotator_user_id"),), limit=limit))
        walks.append(list(walked))
    # Each of the five annotators has eight items; one more than the page is read, for the cursor.
    assert walks == [[5], [8, 5], []]


@pytest.mark.parametrize("limit", [3, 8, 12])
def test_groups_that_are_smaller_than_their_counters_say_still_fill_the_page(
    pair: tuple[AnnotationQueues, AnnotationQueues], limit: int
) -> None:
    shown = []
    for queues in pair:
        queue_id, ids = annotated(queues, 20, ALIKE)
        # Whoever comes last is shown: the others keep their progresses, and hardly any item shows them.
        for item_id in ids[:-5]:
            queues.update_progress(item_id, "erin", AnnotationState.COMPLETED)
        page = queues.query_items(queue_id, ItemQuery(sort_by=(SortBy("annotator_user_id"),), limit=limit))
        shown.append([(item.annotator_user_id, item.id) for item in page.items])
    assert shown[0] == shown[1]
    assert len(shown[0]) == limit
    assert all(before <= after for before, after in pairwise(shown[0]))
