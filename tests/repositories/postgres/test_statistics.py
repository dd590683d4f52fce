"""A queue of which the server's statistics know nothing yet: what is read stays linear in the queue, whatever is planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import ItemFilter, ItemPatch, ItemQuery, LabelQuery, NewItem
from annotation_queue.repositories.postgres.connections import Transaction
from annotation_queue.repositories.sql.chunks import CHUNK
from helpers.faults import OPERATIONS, service, set_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue import AnnotationQueues
    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.clocks import Clock
    from helpers.faults import Scene
    from helpers.postgres import Database

ITEMS = 1_500
"""Fewer than make the repository ask for new statistics by itself."""
MOST_READ = 20 * ITEMS
CALLS: dict[str, Callable[[AnnotationQueues, Scene], object]] = {
    **OPERATIONS,
    "remove many": lambda queues, it: queues.remove_items(
        it.queue_id, [item.id for item in queues.query_items(it.queue_id, ItemQuery(limit=500)).items]
    ),
    "claim many": lambda queues, it: queues.claim_batch(it.queue_id, "bob", 500),
    "complete many": lambda queues, it: queues.complete_batch(
        [(claim, 1) for claim in queues.claim_batch(it.queue_id, "eve", 500)]
    ),
    "change the policies beside many holds": lambda queues, it: (
        queues.claim_batch(it.queue_id, "bob", 400),
        queues.complete_batch([(claim, 1) for claim in queues.claim_batch(it.queue_id, "eve", 400)]),
        queues.update(it.queue_id, annotations_per_item=1),
    ),
    "labels": lambda queues, it: [
        queues.labels(it.queue_id, LabelQuery(limit=20, annotator_id=who, newest_first=newest))
        for who in (None, "hal")
        for newest in (False, True)
    ],
    "labels of an item": lambda queues, it: queues.labels(it.queue_id, LabelQuery(filter=ItemFilter(call_id="y"))),
    "changes": lambda queues, it: queues.changes(it.queue_id),
    "holds": lambda queues, it: queues.holds(it.queue_id, "bob"),
    "throughput": lambda queues, it: queues.throughput(it.queue_id),
    "walk": lambda queues, it: sum(1 for _ in queues.iter_items(it.queue_id)),
    "query": lambda queues, it: queues.query_items(
        it.queue_id, ItemQuery(limit=50, offset=700, annotator_id="bob", include_position=True, include_total=True)
    ),
    "find": lambda queues, it: queues.query_items(
        it.queue_id, ItemQuery(filter=ItemFilter(call_id="y"), include_position=True, include_total=True)
    ),
    "history": lambda queues, it: queues.history(it.item_ids[1]),
}
CHANGES: dict[str, Callable[[AnnotationQueues, str, Sequence[str]], int]] = {
    "rank": lambda queues, queue_id, ids: queues.reprioritise(queue_id, {each: at for at, each in enumerate(ids, 1)}),
    "update": lambda queues, queue_id, ids: queues.update_items(queue_id, ids, ItemPatch(display_fields=("input",))),
    "remove": lambda queues, queue_id, ids: queues.remove_items(queue_id, ids),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_no_call_reads_a_queue_for_each_of_its_items(
    make_repository: Callable[..., PostgresRepository], clock: Clock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    repository = make_repository()
    set_up(service(repository, clock, "known"), needed=2)
    with psycopg.connect(repository._connections._conninfo, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {repository._connections.schema}")
        connection.execute("VACUUM (ANALYZE) queues, item_ids, calls, items, work, progresses, log, counters")
    queues = service(repository, clock, "new")
    scene = set_up(queues, needed=2)
    for first in range(0, ITEMS, 500):
        news = [NewItem(call_id=f"call-{first + number}", priority=-9) for number in range(500)]
        queues.add_items(scene.queue_id, news, added_by="ann")
    clock.move(61)
    # What a process of the server has read is counted from its beginning on.
    fresh = service(make_repository(), clock, "fresh")
    read: list[int] = []
    end = Transaction.__exit__

    def count(self: Transaction, *error: object) -> None:
        if self._connection is not None and error[0] is None:
            counted = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
            ((rows,),) = self._connection.execute(counted).fetchall()
            read.append(int(rows))
        end(self, *error)  # type: ignore[arg-type]  # as they come

    monkeypatch.setattr(Transaction, "__exit__", count)
    CALLS[name](fresh, scene)
    assert read
    assert max(read) <= MOST_READ, read


def _analyses(repository: PostgresRepository) -> int:
    """Count how often the server was asked to look at a table."""
    with psycopg.connect(repository._connections._conninfo, autocommit=True) as connection:
        counted = "SELECT sum(analyze_count) FROM pg_stat_user_tables WHERE schemaname = %s"
        ((n,),) = connection.execute(counted, (repository._connections.schema,)).fetchall()
    return int(n)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_many_items_has_the_server_look_at_its_tables_if_it_believes_that_there_are_fewer(
    make_repository: Callable[..., PostgresRepository], database: Database, clock: Clock, name: str
) -> None:
    # Of the tables of others it knows something.
    repository = make_repository(schema=database.fresh())
    queues = service(repository, clock, "new")
    queue = queues.create("queue", created_by="ann")
    ids: list[str] = []
    for first in range(0, 2 * CHUNK, 500):
        news = [NewItem(call_id=str(first + number)) for number in range(500)]
        ids += [item.id for item in queues.add_items(queue.id, news, added_by="ann").added]
    CHANGES[name](queues, queue.id, ids[: CHUNK - 1])
    assert _analyses(repository) == 0, "a few items were worth it"
    CHANGES[name](queues, queue.id, ids)
    seen = _analyses(repository)
    assert seen, "the server still believes what it did"
    CHANGES[name](queues, queue.id, ids[::2])
    assert _analyses(repository) == seen, "it knew already"
    assert repository.check() == ()
