"""Texts that no index of PostgreSQL can hold are found, sorted and told apart all the same."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationQueues, Claim, ItemFilter, ItemQuery, MemoryRepository, NewItem, SortBy
from annotation_queue.repositories.postgres.texts import KEY_LENGTH, key_of

if TYPE_CHECKING:
    from annotation_queue import Repository
    from annotation_queue.repositories.postgres import PostgresRepository

COMMON = "é" * 300
TEXTS = ["a", COMMON, COMMON + "a", COMMON + "b", COMMON[:200], COMMON[:254], COMMON[:255], "z" * (1 << 20)]
FIELDS = ["call_id", "call_op_name", "call_trace_id"]


def _filled(repository: Repository) -> tuple[AnnotationQueues, str]:
    numbers = iter(range(1_000))
    queues = AnnotationQueues(repository, "project", new_id=lambda: f"id-{next(numbers):04}")
    queue = queues.create("queue", created_by="ann", annotations_per_item=2)
    news = [NewItem(call_id=text, call_op_name=text, call_trace_id=text) for text in reversed(TEXTS)]
    added = queues.add_items(queue.id, [*news, *news], added_by=COMMON)
    assert (len(added.added), added.duplicates) == (len(TEXTS), len(TEXTS))
    return queues, queue.id


@pytest.mark.parametrize(("field", "direction"), list(product(FIELDS, ["asc", "desc"])))
def test_long_texts_sort_as_they_do_in_memory(repository: PostgresRepository, field: str, direction: str) -> None:
    queues, queue_id = _filled(repository)
    memory, memory_id = _filled(MemoryRepository())
    query = ItemQuery(sort_by=[SortBy(field, direction)], include_position=True)
    found = [item.call_id for item in queues.query_items(queue_id, query).items]
    assert found == [item.call_id for item in memory.query_items(memory_id, query).items]
    walked: list[str] = []
    page = queues.query_items(queue_id, ItemQuery(sort_by=query.sort_by, limit=3))
    while page.items:
        walked += [item.call_id for item in page.items]
        if page.next_cursor is None:
            break
        page = queues.query_items(queue_id, ItemQuery(sort_by=query.sort_by, limit=3, cursor=page.next_cursor))
    assert walked == found


@pytest.mark.parametrize("field", FIELDS)
def test_long_texts_are_found_by_equality(repository: PostgresRepository, field: str) -> None:
    queues, queue_id = _filled(repository)
    for text in TEXTS:
        wanted: dict[str, Any] = {field: text}
        query = ItemQuery(filter=ItemFilter(**wanted), include_total=True)
        page = queues.query_items(queue_id, query)
        assert [item.call_id for item in page.items] == [text]
        assert page.total == 1
    for text in (key_of(COMMON), COMMON + "c"):
        wanted = {field: text}
        assert queues.query_items(queue_id, ItemQuery(filter=ItemFilter(**wanted))).items == ()


def test_an_annotator_of_any_length_can_work(repository: PostgresRepository) -> None:
    queues, queue_id = _filled(repository)
    for annotator in (COMMON + "a", COMMON + "b"):
        claim = queues.claim(queue_id, annotator)
        assert isinstance(claim, Claim)
        item = queues.complete(claim, 1)
        assert item.annotator_user_id == annotator
        assert queues.history(item.id)[-1].annotator_id == annotator
    (stats,) = queues.stats([queue_id])
    assert set(stats.by_annotator) == {COMMON + "a", COMMON + "b"}
    assert [each.annotator_id for each in queues.progress(item.id)] == [COMMON + "a", COMMON + "b"]


def test_a_key_is_never_equal_to_a_text_that_is_its_own_key() -> None:
    assert {len(key_of(text)) == KEY_LENGTH for text in TEXTS if len(text) >= KEY_LENGTH} == {True}
    assert {key_of(text) for text in TEXTS if len(text) < KEY_LENGTH} == {t for t in TEXTS if len(t) < KEY_LENGTH}
    assert len({key_of(text) for text in TEXTS}) == len(TEXTS)
