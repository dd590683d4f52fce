"""Texts that no index of PostgreSQL can hold are found, sorted and told apart all the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    ItemFilter,
    ItemQuery,
    MemoryRepository,
    NewItem,
    SortBy,
)
from annotation_queue.repositories.postgres.session import Session
from annotation_queue.repositories.postgres.texts import KEY_LENGTH, key_of
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import Repository
    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

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


def _long_texts(repository: PostgresRepository) -> set[str]:
    with repository._reading() as session:
        return {text for (text,) in session.composed("SELECT text FROM long_texts", ())}


def _texts_of(item: str) -> dict[str, str]:
    """Give an item long texts of its own."""
    return {name: f"{COMMON}{name} of {item}" for name in ("call_id", "call_op_name", "call_trace_id")}


def test_long_texts_are_erased_with_the_last_that_has_them(repository: PostgresRepository) -> None:
    numbers = iter(range(9))
    queues = AnnotationQueues(repository, "project", new_id=lambda: f"{COMMON}id {next(numbers)}")
    queue = queues.create("queue", created_by="ann", queue_id="queue", annotations_per_item=9)
    assigned = [COMMON + "assignee"]
    news = [NewItem(**_texts_of(call), assignees=assigned) for call in "abc"]  # type: ignore[arg-type]  # texts all
    gone, removed, live = queues.add_items(queue.id, news, added_by=COMMON + "adder").added
    queues.update_progress(gone.id, COMMON + "eve", AnnotationState.COMPLETED)
    # Whatever an item is called by, another thing may be called by too.
    queues.update_progress(live.id, gone.call_id, AnnotationState.SKIPPED, actor_id=gone.call_trace_id, override=True)
    before = _long_texts(repository)
    queues.remove_items(queue.id, [gone.id])
    queues.purge(removed_before=queues.get(queue.id).created_at + timedelta(days=1))
    erased = {gone.id, gone.call_op_name}
    # Whom a queue has counted, it goes on to name.
    assert before - _long_texts(repository) == erased
    queues.remove_items(queue.id, [removed.id])
    again = queues.add_items(queue.id, [NewItem(**_texts_of("b"))], added_by="ann").added[0]  # type: ignore[arg-type]
    queues.purge(removed_before=queues.get(queue.id).created_at + timedelta(days=1))
    assert before - _long_texts(repository) == {*erased, removed.id}
    assert queues.get_item(again.id).call_op_name == removed.call_op_name
    queues.remove_items(queue.id, [live.id, again.id])
    queues.purge(removed_before=queues.get(queue.id).created_at + timedelta(days=1))
    assert _long_texts(repository) == {COMMON + "eve", gone.call_id}
    assert repository.check() == ()


WAITS = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def test_a_long_text_that_somebody_has_begun_to_use_is_not_erased(
    repository: PostgresRepository, database: Database
) -> None:
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id=COMMON)], added_by="ann").added
    queues.remove_items(queue.id, [item.id])
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database.dsn, autocommit=True) as admin:
        with psycopg.connect(database.dsn) as mine, repository.within(mine) as inside:
            (again,) = queues.using(inside).add_items(queue.id, [NewItem(call_id=COMMON)], added_by="ann").added
            purging = threads.submit(queues.purge, removed_before=item.created_at + timedelta(days=1))
            wait_until(lambda: bool(admin.execute(WAITS).fetchall()))
            mine.commit()
        assert purging.result(20).items == 1
    assert queues.get_item(again.id).call_id == COMMON
    assert _long_texts(repository) == {COMMON}


def test_who_uses_a_long_text_while_it_is_erased_waits_and_stores_it_anew(
    repository: PostgresRepository, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id=COMMON)], added_by="ann").added
    queues.remove_items(queue.id, [item.id])
    rows = Session.rows
    adding = []
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database.dsn, autocommit=True) as admin:

        def be_overtaken(session: Session, statement: str, values: Any) -> Any:  # noqa: ANN401 - as the method
            if statement == "erase_long_texts":
                adding.append(threads.submit(queues.add_items, queue.id, [NewItem(call_id=COMMON)], added_by="ann"))
                wait_until(lambda: bool(admin.execute(WAITS).fetchall()))
            return rows(session, statement, values)

        monkeypatch.setattr(Session, "rows", be_overtaken)
        assert queues.purge(removed_before=item.created_at + timedelta(days=1)).items == 1
        (again,) = adding[0].result(20).added
    assert queues.get_item(again.id).call_id == COMMON
    assert _long_texts(repository) == {COMMON}
    assert repository.check() == ()


def test_what_long_texts_cost_a_purge_grows_with_what_is_in_the_queue_and_no_faster(
    queues: AnnotationQueues, reads: Callable[[Callable[[], object]], int]
) -> None:
    costs = []
    for many in (100, 400):
        queue = queues.create("queue", created_by="ann")
        news = [NewItem(**_texts_of(str(number))) for number in range(many)]  # type: ignore[arg-type]  # texts all
        added = queues.add_items(queue.id, news, added_by="ann").added
        queues.remove_items(queue.id, [item.id for item in added[::2]])
        costs.append(reads(partial(queues.purge, removed_before=added[0].created_at + timedelta(days=1))))
    assert costs[1] < 5 * costs[0]
