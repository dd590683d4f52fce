"""Labels in bulk: queries that are refused, and walks that show every label once, in the order of the log."""

from __future__ import annotations

import random
from typing import Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    InvalidCursor,
    InvalidQuery,
    LabelQuery,
    MemoryRepository,
    NewItem,
)
from annotation_queue.cursors import encode_cursor
from annotation_queue.testing.clock import Clock

COMPLETED, SKIPPED = AnnotationState.COMPLETED, AnnotationState.SKIPPED


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"filter": None}, "filter"),
        ({"annotator_id": ""}, "annotator_id"),
        ({"states": "completed"}, "states"),
        ({"states": None}, "states"),
        ({"states": {"done"}}, "states"),
        ({"newest_first": 1}, "newest_first"),
        ({"limit": -1}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"cursor": 5}, "cursor"),
    ],
)
def test_a_query_of_labels_refuses_what_its_fields_do_not_take(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        LabelQuery(**arguments)
    assert refused.value.field == field


def labelled() -> tuple[AnnotationQueues, str, list[tuple[str, str]]]:
    """A queue in which labels came, were corrected and were put back by clocks that disagree; and their order."""
    chance, clock = random.Random(3), Clock()  # noqa: S311 - examples, no secrets
    queues = AnnotationQueues(MemoryRepository(), "project", clock=clock)
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=3).id
    added = queues.add_items(queue_id, [NewItem(call_id=str(n)) for n in range(9)], added_by="ann").added
    for number in range(60):
        clock.move(chance.randint(-50, 50))
        state = chance.choice((COMPLETED, COMPLETED, SKIPPED, AnnotationState.UNSTARTED))
        label = None if state is AnnotationState.UNSTARTED else number
        item, who = chance.choice(added), chance.choice(("ann", "bob"))
        queues.update_progress(item.id, who, state, annotation=label, actor_id="boss", override=True)
    steps = [(each.item_id, each.annotator_id) for each in queues.changes(queue_id).transitions]
    last = sorted({key: place for place, key in enumerate(steps)}.items(), key=lambda pair: pair[1])
    done = {(i.id, p.annotator_id) for i in added for p in queues.progress(i.id) if p.state in {COMPLETED, SKIPPED}}
    return queues, queue_id, [key for key, _ in last if key in done]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 5, 100, None])
def test_a_walk_shows_every_label_once_in_the_order_of_the_log(*, limit: int | None, newest_first: bool) -> None:
    queues, queue_id, expected = labelled()
    query, shown = LabelQuery(limit=limit, newest_first=newest_first), []
    while True:
        page = queues.labels(queue_id, query)
        shown += [(each.item.id, each.progress.annotator_id) for each in page.labels]
        if page.next_cursor is None:
            break
        query = LabelQuery(limit=limit, newest_first=newest_first, cursor=page.next_cursor)
    assert shown == (expected[::-1] if newest_first else expected)
    assert len(shown) > 5


def test_a_cursor_of_labels_is_good_for_its_own_query_only_and_forged_places_are_refused() -> None:
    queues, queue_id, _ = labelled()
    cursor = queues.labels(queue_id, LabelQuery(limit=1)).next_cursor
    assert cursor is not None
    others = ({"annotator_id": "ann"}, {"states": {COMPLETED}}, {"newest_first": True})
    for other in others:
        with pytest.raises(InvalidCursor):
            queues.labels(queue_id, LabelQuery(cursor=cursor, **other))
    binding = ("labels", "project", queue_id, None, ["completed", "skipped"], False)
    for forged in ([-1], [2**63], ["a"], [], [None], [True]):
        with pytest.raises(InvalidCursor):
            queues.labels(queue_id, LabelQuery(cursor=encode_cursor(forged, binding)))


def test_labels_of_limit_0_are_an_empty_last_page() -> None:
    queues, queue_id, _ = labelled()
    page = queues.labels(queue_id, LabelQuery(limit=0))
    assert (page.labels, page.next_cursor) == ((), None)
    assert queues.labels(queue_id, LabelQuery(states=())).labels == ()
