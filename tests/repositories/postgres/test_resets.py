"""Resets: what they lock, and how many items they hold at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, ItemFilter, NewItem
from annotation_queue.repositories.postgres.session import Session
from annotation_queue.repositories.sql.chunks import CHUNK
from helpers.clocks import wait_until

if TYPE_CHECKING:
    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

LONG = "x" * 300
MANY = CHUNK + 200
COMPLETED = AnnotationState.COMPLETED
WAITS = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.mark.slow
@pytest.mark.parametrize("by_filter", [True, False])
def test_however_many_items_are_reset_a_list_of_them_is_held_at_a_time(
    repository: PostgresRepository, queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch, *, by_filter: bool
) -> None:
    read: list[int] = []
    records = Session.records

    def count(session: Session, project_id: str, item_ids: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the method
        read.append(len(item_ids))
        return records(session, project_id, item_ids, *args, **options)

    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(MANY + 3)], added_by="ann")
    claims = queues.claim_batch(queue.id, "bob", MANY)
    queues.complete_batch([(claim, "label") for claim in claims])
    monkeypatch.setattr(Session, "records", count)
    which = ItemFilter() if by_filter else [claim.item.id for claim in claims]
    assert queues.reset(queue.id, which, actor_id="boss") == MANY
    # Items that nobody ever touched are not even read.
    assert read == [CHUNK, MANY - CHUNK]
    assert queues.reset(queue.id, which, actor_id="boss") == 0
    assert isinstance(queues.claim(queue.id, "bob"), Claim)
    assert queues.stats([queue.id])[0].by_state[COMPLETED] == 0
    assert repository.check() == ()


def test_a_reset_waits_for_who_stores_a_long_name_before_it_locks_an_item(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues
) -> None:
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    queues.update_progress(item.id, "bob", COMPLETED)
    with (
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(database.dsn, autocommit=True) as admin,
    ):
        with repository._writing() as session:
            session.long_keys([(session.num(queue.id), LONG)])
            resetting = threads.submit(queues.reset, queue.id, [item.id], actor_id=LONG)
            wait_until(lambda: bool(admin.execute(WAITS).fetchall()))
            session.composed("SELECT num FROM work FOR UPDATE NOWAIT", ())
        assert resetting.result(20) == 1


@pytest.mark.parametrize("by_filter", [True, False])
@pytest.mark.parametrize("change", [{"name": "renamed"}, {"annotations_per_item": 2}], ids=str)
def test_a_queue_changes_only_before_or_after_a_reset(
    database: Database,
    repository: PostgresRepository,
    queues: AnnotationQueues,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    *,
    by_filter: bool,
) -> None:
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    queues.update_progress(item.id, "bob", COMPLETED)
    store = Session.store
    with (
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(database.dsn, autocommit=True) as admin,
    ):
        changing = []

        def change_and_store(session: Session, writes: Any) -> None:  # noqa: ANN401 - as the method
            changing.append(threads.submit(queues.update, queue.id, **change))
            wait_until(lambda: bool(admin.execute(WAITS).fetchall()))
            store(session, writes)

        monkeypatch.setattr(Session, "store", change_and_store)
        which = ItemFilter() if by_filter else [item.id]
        assert queues.reset(queue.id, which, actor_id="boss") == 1
        monkeypatch.undo()
        assert attrs.asdict(changing[0].result(20)).items() >= change.items()
    assert repository.check() == ()


def test_items_with_long_ids_are_put_back_in_the_order_of_the_ids(repository: PostgresRepository) -> None:
    numbers = iter("ba")
    queues = AnnotationQueues(repository, "project", new_id=lambda: f"{LONG}{next(numbers)}")
    queue = queues.create("queue", created_by="ann", queue_id="queue")
    added = queues.add_items(queue.id, [NewItem(call_id=call) for call in "12"], added_by="ann").added
    for item in added:
        queues.update_progress(item.id, "bob", COMPLETED)
    assert queues.reset(queue.id, ItemFilter(), actor_id="boss") == 2
    told = queues.changes(queue.id).transitions[-2:]
    assert [each.item_id[-1] for each in told] == ["a", "b"]
