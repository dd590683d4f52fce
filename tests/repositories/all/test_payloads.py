"""Payloads cost nothing if nobody looks at them, and a walk holds few of them at a time."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, ItemFilter, ItemQuery, LabelQuery, NewItem, SortBy
from annotation_queue.agreement import agreement_of
from annotation_queue.cli.endings import count_failed
from annotation_queue.exports import label_texts
from annotation_queue.query import until_full
from annotation_queue.repositories.memory import item as memory_item
from annotation_queue.repositories.sql.rows import value_or_none
from helpers.labelled import labelled_queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import Repository

MEBIBYTE = 1 << 20
LARGE, SMALL = 40, 600
LOOKS: dict[str, Callable[[AnnotationQueues, str], object]] = {
    "a page": lambda queues, queue_id: queues.query_items(queue_id, ItemQuery(include_payload=False)),
    "a page in order": lambda queues, queue_id: queues.query_items(
        queue_id, ItemQuery(sort_by=[SortBy("call_ended_at")], include_payload=False, include_position=True, limit=3)
    ),
    "a page of one annotator": lambda queues, queue_id: queues.query_items(
        queue_id, ItemQuery(annotator_id="bob", include_payload=False)
    ),
    "a walk": lambda queues, queue_id: list(queues.iter_items(queue_id, ItemQuery(include_payload=False))),
    "a count": lambda queues, queue_id: queues.query_items(queue_id, ItemQuery(limit=0, include_total=True)),
    "statistics": lambda queues, queue_id: queues.stats([queue_id]),
    "what a filter does not show": lambda queues, queue_id: queues.query_items(
        queue_id, ItemQuery(filter=ItemFilter(call_id="none"), include_total=True)
    ),
    "labels": lambda queues, queue_id: queues.labels(queue_id, LabelQuery(include_payload=False)),
    "labels of one call": lambda queues, queue_id: queues.labels(
        queue_id, LabelQuery(filter=ItemFilter(call_id="3"), include_payload=False, max_bytes=1)
    ),
    "a walk over labels": lambda queues, queue_id: list(
        queues.iter_labels(queue_id, LabelQuery(include_payload=False, newest_first=True))
    ),
    "an export": lambda queues, queue_id: list(label_texts(queues, queue_id)),
    "the agreement": agreement_of,
    "a count of what failed": lambda queues, queue_id: count_failed(queues, queue_id, "bob"),
}


@pytest.fixture
def payloads_read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What of payloads was turned into values."""
    read: list[object] = []

    def counted(decode: Callable[..., object]) -> Callable[..., object]:
        def run(packed: object) -> object:
            value = decode(packed)
            # Here payloads are objects, and labels numbers.
            if isinstance(value, dict):
                read.append(value)
            return value

        return run

    monkeypatch.setattr(memory_item, "unpack", counted(memory_item.unpack))
    monkeypatch.setattr("annotation_queue.repositories.sql.rows.value_or_none", counted(value_or_none))
    return read


@pytest.mark.parametrize("look", LOOKS)
def test_what_shows_no_payload_reads_none(queues: AnnotationQueues, payloads_read: list[object], look: str) -> None:
    queue = queues.create("queue", created_by="ann", annotations_per_item=2)
    news = [NewItem(call_id=f"{n}", payload={"n": n}) for n in range(9)]
    for number, item in enumerate(queues.add_items(queue.id, news, added_by="ann").added):
        for annotator_id in ("bob", "eve"):
            state = (AnnotationState.COMPLETED, AnnotationState.SKIPPED)[number % 2]
            queues.update_progress(item.id, annotator_id, state, annotation=None if number % 2 else number)
    payloads_read.clear()
    LOOKS[look](queues, queue.id)
    assert payloads_read == []
    queues.query_items(queue.id, ItemQuery(limit=3))
    assert len(payloads_read) == 3
    queues.labels(queue.id, LabelQuery(limit=4))
    assert len(payloads_read) == 7


def test_the_item_with_its_position_is_read_once(queues: AnnotationQueues, payloads_read: list[object]) -> None:
    queue = queues.create("queue", created_by="ann")
    news = [NewItem(call_id=f"{n}", payload={"n": n}) for n in range(9)]
    item = queues.add_items(queue.id, news, added_by="ann").added[4]
    payloads_read.clear()
    found = queues.get_item(item.id, include_position=True)
    assert (found.position_in_queue, found.payload) == (5, {"n": 4})
    assert len(payloads_read) == 1


def test_a_page_ends_behind_the_item_with_which_its_payloads_reach_the_limit(queues: AnnotationQueues) -> None:
    queue = queues.create("queue", created_by="ann")
    sizes = (10, 10, 1_000, 10, 10, 10)
    news = [NewItem(call_id=f"{n}", payload={"text": "x" * size}) for n, size in enumerate(sizes)]
    queues.add_items(queue.id, news, added_by="ann")
    shown = []
    for annotator_id in (None, "bob"):
        query = ItemQuery(max_bytes=500, annotator_id=annotator_id, include_position=True)
        page = queues.query_items(queue.id, query)
        on = queues.query_items(queue.id, ItemQuery(max_bytes=500, annotator_id=annotator_id, cursor=page.next_cursor))
        shown.append(([item.call_id for item in page.items], [item.call_id for item in on.items], on.next_cursor))
    assert shown == [(["0", "1", "2"], ["3", "4", "5"], None)] * 2


@pytest.mark.parametrize(("label", "payload"), [(100, 0), (0, 100)])
def test_a_page_of_labels_ends_behind_the_one_with_which_labels_and_payloads_reach_the_limit(
    queues: AnnotationQueues, label: int, payload: int
) -> None:
    queue = labelled_queue(queues, label=label, payload=payload)
    page = queues.labels(queue.id, LabelQuery(max_bytes=50_000))
    on = queues.labels(queue.id, LabelQuery(max_bytes=50_000, cursor=page.next_cursor))
    shown = [[found.item.call_id for found in each.labels] for each in (page, on)]
    assert (shown, on.next_cursor) == ([["0", "1", "2"], ["3", "4", "5"]], None)


def test_a_page_of_changes_ends_behind_the_one_with_which_its_labels_reach_2_mib(queues: AnnotationQueues) -> None:
    queue = labelled_queue(queues, label=900)
    sizes, after = [], None
    while True:
        page = queues.changes(queue.id, after=after)
        if not page.transitions:
            break
        sizes.append(len(page.transitions))
        after = page.cursor
    assert sizes == [6]
    large = labelled_queue(queues, label=900, sizes=(1_000,) * 5)
    assert len(queues.changes(large.id).transitions) == 3


@pytest.mark.parametrize(
    ("sizes", "max_bytes", "has_room"),
    [
        ([], 1, 0),
        ([5], 1, 1),
        ([5, 5], 1, 1),
        ([0, 0, 0], 1, 3),
        ([0, 1, 0], 1, 2),
        ([4, 5, 1], 10, 3),
        ([4, 6, 1], 10, 2),
        ([4, 6], None, 2),
    ],
)
def test_a_page_has_room_up_to_the_one_that_fills_it(sizes: list[int], max_bytes: int | None, has_room: int) -> None:
    assert list(until_full(zip("abc", sizes, strict=False), max_bytes)) == list("abc"[:has_room])


def test_a_page_that_is_full_reads_nothing_further() -> None:
    read = []

    def sized() -> object:
        for number in range(10):
            read.append(number)
            yield number, 3

    assert list(until_full(sized(), 5)) == [0, 1]  # type: ignore[arg-type]  # a generator of pairs
    assert read == [0, 1]


@pytest.mark.slow
def test_a_walk_holds_few_payloads_at_a_time_however_large_they_are(
    repository: Repository, queues: AnnotationQueues
) -> None:
    queue = queues.create("queue", created_by="ann")
    # The large ones come where a walk has seen only small ones.
    queues.add_items(queue.id, [NewItem(call_id=f"small {n}", payload={"n": n}) for n in range(SMALL)], added_by="ann")
    for number in range(LARGE):
        text = f"{number}" * (MEBIBYTE // len(f"{number}") - 100)
        queues.add_items(queue.id, [NewItem(call_id=f"large {number}", payload={"text": text})], added_by="ann")
        del text
    tracemalloc.start()
    try:
        held, _ = tracemalloc.get_traced_memory()
        walked = sum(1 for _ in queues.iter_items(queue.id))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert walked == SMALL + LARGE
    assert peak - held < 12 * MEBIBYTE, f"{type(repository).__name__} held {(peak - held) / MEBIBYTE:.1f} MiB"
