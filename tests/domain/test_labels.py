"""Queries of labels and their pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import (
    AnnotationQueue,
    AnnotationQueues,
    AnnotationState,
    InvalidCursor,
    InvalidQuery,
    ItemFilter,
    Label,
    LabelQuery,
    MemoryRepository,
    NewItem,
    Progress,
    QueueItem,
)
from annotation_queue.cursors import encode_cursor
from annotation_queue.walks import WALK_PAGE, walk
from helpers.clocks import Clock
from helpers.memory import service

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState
QUEUE = AnnotationQueue(id="q", project_id="p", name="queue", created_at=NOON, created_by="ann", updated_at=NOON)
OTHER = AnnotationQueue(id="r", project_id="p", name="queue", created_at=NOON, created_by="ann", updated_at=NOON)


def labels(count: int) -> list[Label]:
    item = QueueItem(
        id="i",
        project_id="p",
        queue_id="q",
        call_id="c",
        call_started_at=NOON,
        created_at=NOON,
        created_by="ann",
        updated_at=NOON,
    )
    return [
        Label(
            item=item,
            progress=Progress(
                item_id="i",
                annotator_id=f"a{number}",
                state=COMPLETED,
                token=1,
                lease_expires_at=None,
                annotation=number,
                reason=None,
                created_at=NOON,
                updated_at=NOON,
            ),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"filter": None}, "filter"),
        ({"annotator_id": ""}, "annotator_id"),
        ({"annotator_id": 5}, "annotator_id"),
        ({"states": "completed"}, "states"),
        ({"states": None}, "states"),
        ({"states": ["done"]}, "states"),
        ({"states": [[]]}, "states"),
        ({"newest_first": 1}, "newest_first"),
        ({"limit": -1}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 2**63}, "limit"),
        ({"cursor": 5}, "cursor"),
    ],
)
def test_a_query_of_labels_refuses_what_its_fields_do_not_take(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        LabelQuery(**arguments)
    assert refused.value.field == field


def test_a_query_of_labels_asks_for_what_is_settled_oldest_first_unless_it_says_otherwise() -> None:
    query = LabelQuery()
    assert (query.filter, query.annotator_id) == (ItemFilter(), None)
    assert query.states == frozenset({COMPLETED, SKIPPED})
    assert (query.newest_first, query.limit, query.cursor) == (False, None, None)
    assert LabelQuery(states=iter(["completed"])).states == frozenset({COMPLETED})  # type: ignore[arg-type]  # converted


@given(st.integers(0, 5), st.none() | st.integers(0, 6), st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3))
def test_a_page_goes_on_behind_its_last_label_if_there_is_more(count: int, limit: int | None, place: list[int]) -> None:
    most = count if limit is None else min(count, limit + 1)
    found = labels(most)
    page = LabelQuery(limit=limit).page(QUEUE, found, [place] * most)
    assert page.labels == tuple(found if limit is None else found[:limit])
    if limit is None or most <= limit or not limit:
        assert page.next_cursor is None
        return
    assert page.next_cursor is not None
    assert LabelQuery(cursor=page.next_cursor).after(QUEUE) == tuple(place)
    for query, queue in (
        (LabelQuery(cursor=page.next_cursor), OTHER),
        (LabelQuery(cursor=page.next_cursor, newest_first=True), QUEUE),
        (LabelQuery(cursor=page.next_cursor, annotator_id="ann"), QUEUE),
        (LabelQuery(cursor=page.next_cursor, states={COMPLETED}), QUEUE),
    ):
        with pytest.raises(InvalidCursor):
            query.after(queue)


FORGED: list[Any] = [[], ["a"], [None], [True], [1.5], [-1], [2**63], [1, "a"], [1, -1], {"a": 1}, 5]


@pytest.mark.parametrize("values", FORGED)
def test_a_forged_place_of_a_label_is_no_cursor(values: Any) -> None:  # noqa: ANN401 - what must be refused
    binding = ("labels", "p", "q", None, sorted({COMPLETED, SKIPPED}), False)
    with pytest.raises(InvalidCursor, match="cursor: "):
        LabelQuery(cursor=encode_cursor(values, binding)).after(QUEUE)


@pytest.mark.parametrize("limit", [0, 1, WALK_PAGE - 1, WALK_PAGE, WALK_PAGE + 1, 1_100, None])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_walk_over_labels_shows_each_once_in_the_order_of_the_log(limit: int | None, *, newest_first: bool) -> None:
    clock = Clock()
    queues: AnnotationQueues = service(MemoryRepository(), clock)
    queue_id = queues.create("queue", created_by="ann").id
    items = queues.add_items(queue_id, [NewItem(call_id=str(n)) for n in range(1_050)], added_by="ann").added
    for claim, item in zip(queues.claim_batch(queue_id, "bob", 1_050), items, strict=True):
        clock.move(-1)
        assert claim.item.id == item.id
        queues.complete(claim, item.call_id)
    queues.update_progress(items[3].id, "bob", COMPLETED, annotation="corrected")
    order = ["corrected", *reversed([item.call_id for item in items if item is not items[3]])]
    expected = order if newest_first else order[::-1]
    walked = queues.iter_labels(queue_id, LabelQuery(limit=limit, newest_first=newest_first))
    assert [each.progress.annotation for each in walked] == expected[:limit]


def test_a_walk_reads_no_page_more_than_it_shows() -> None:
    read: list[int | None] = []

    def page(query: LabelQuery) -> tuple[list[int], str | None]:
        read.append(query.limit)
        return list(range(query.limit or 0)), "next"

    assert len(list(walk(page, LabelQuery(limit=1_001)))) == 1_001
    assert read == [WALK_PAGE, WALK_PAGE, 1]
