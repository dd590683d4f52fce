"""What a query can ask for has the answer of the independent model on PostgreSQL too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from annotation_queue import ItemQuery, LabelQuery, NewItem
from annotation_queue.testing.products import ProductBench, chosen, product_size, thinned
from helpers.faults import NIGHTLY
from helpers.labelled import labelled_queue

if TYPE_CHECKING:
    from annotation_queue import AnnotationQueues
    from annotation_queue.repositories.postgres import PostgresRepository

THINNED = 1_000
STEP = 1 if NIGHTLY else 59
"""One in so many of the whole product. It has nothing in common with the number of values of any aspect."""


def test_a_selection_of_all_that_a_query_can_ask_for_has_the_answers_of_the_model(
    repository: PostgresRepository,
) -> None:
    bench = ProductBench({"postgres": repository})
    assert {0, 1, 4, 12} <= {bench.ask_product(thinned(number)) for number in range(0, THINNED, 3)}


@pytest.mark.slow(seconds=8)
def test_many_combinations_of_what_a_query_can_ask_for_have_the_answers_of_the_model(
    repository: PostgresRepository,
) -> None:
    bench = ProductBench({"postgres": repository})
    for number in range(0, product_size(), STEP):
        bench.ask_product(chosen(number))


def test_a_page_ends_behind_the_item_with_which_its_payloads_reach_the_limit(queues: AnnotationQueues) -> None:
    queue = queues.create("queue", created_by="ann")
    sizes = (10, 10, 100_000, 10, 10, 10)
    news = [NewItem(call_id=f"{n}", payload={"text": "x" * size}) for n, size in enumerate(sizes)]
    queues.add_items(queue.id, news, added_by="ann")
    page = queues.query_items(queue.id, ItemQuery(max_bytes=50_000))
    assert [item.call_id for item in page.items] == ["0", "1", "2"]
    on = queues.query_items(queue.id, ItemQuery(max_bytes=50_000, cursor=page.next_cursor))
    assert ([item.call_id for item in on.items], on.next_cursor) == (["3", "4", "5"], None)


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
    large = labelled_queue(queues, label=900, sizes=(1_000,) * 5)
    assert len(queues.changes(large.id).transitions) == 3
