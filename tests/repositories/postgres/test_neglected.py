"""Tables that nobody looks after: the server never analyzed them, or may not vacuum what was changed in them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import AnnotationQueues, Claim, NewItem, Unavailable, UnavailableReason
from annotation_queue.repositories.postgres.cache import FOLD_AFTER
from helpers.clocks import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database

FEW = 1_000
"""How many rows and entries of indexes a call may read whose cost is that of what it gives."""
MANY = 4_000
AT_ONCE = 500


@pytest.fixture
def neglected(database: Database) -> Iterator[PostgresRepository]:
    """A repository whose tables are neither analyzed nor vacuumed, as they are once a schema was restored from a dump."""
    schema = database.fresh()
    with (
        psycopg.connect(database.dsn, autocommit=True) as admin,
        database.repository(schema, max_connections=2) as repository,
    ):
        found = admin.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'", (schema,)
        )
        for (table,) in found.fetchall():
            admin.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = off)".encode())
        yield repository
        assert repository.check() == ()
        analyzed = (
            "SELECT FROM pg_stat_user_tables WHERE schemaname = %s AND (last_analyze, last_autoanalyze) IS NOT NULL"
        )
        assert admin.execute(analyzed, (schema,)).fetchall() == []
        admin.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def fill(queues: AnnotationQueues, queue_id: str, n: int) -> None:
    """Add items, too few at a time for the tables to be looked at."""
    for first in range(0, n, AT_ONCE):
        news = [NewItem(call_id=str(number), priority=number % 3) for number in range(first, first + AT_ONCE)]
        queues.add_items(queue_id, news, added_by="ann")


def work_off(queues: AnnotationQueues, queue_id: str, n: int) -> None:
    """Complete items, many at a time."""
    for _ in range(0, n, AT_ONCE):
        claims = queues.claim_batch(queue_id, "bob", AT_ONCE)
        queues.complete_batch([(claim, 1) for claim in claims])


@pytest.mark.slow
@pytest.mark.parametrize("needed", [1, 2])
def test_nothing_to_claim_is_linear_in_what_is_held_on_tables_that_were_never_analyzed(
    reads: Callable[[Callable[[], object]], int], neglected: PostgresRepository, needed: int
) -> None:
    queues = AnnotationQueues(neglected, "project")
    queue = queues.create("queue", created_by="ann", annotations_per_item=needed)
    fill(queues, queue.id, MANY)
    work_off(queues, queue.id, MANY - 2 * AT_ONCE)
    held = queues.claim_batch(queue.id, "bob", 2 * AT_ONCE)
    assert len(held) == 2 * AT_ONCE
    found: list[Unavailable | Claim] = []
    # Entries of what was claimed are in the server's way until it has seen once that they are dead.
    assert not queues.claim(queue.id, "zoe" if needed == 1 else "bob")
    for who in ("bob", "eve") if needed == 1 else ("bob",):
        # Each thing that is held, or was, is looked at some times, but never for each of the others.
        assert reads(lambda who=who: found.append(queues.claim(queue.id, who))) < 20 * len(held) + FEW  # type: ignore[misc]
        assert isinstance(found[-1], Unavailable)
        assert found[-1].reason is UnavailableReason.LEASED
        assert found[-1].retry_at == min(claim.expires_at for claim in held)
    assert reads(lambda: queues.holds(queue.id, "bob")) < 20 * len(held) + FEW
    assert reads(lambda: queues.stats([queue.id])) < FEW


@pytest.mark.slow
@pytest.mark.parametrize("live", [0, AT_ONCE])
def test_a_claim_beside_very_many_leases_that_ended_costs_what_it_gives(
    reads: Callable[[Callable[[], object]], int], neglected: PostgresRepository, live: int
) -> None:
    clock = Clock()
    queues = AnnotationQueues(neglected, "project", clock=clock)
    queue = queues.create("queue", created_by="ann")
    fill(queues, queue.id, MANY)
    still = queues.claim_batch(queue.id, "zoe", live, lease=timedelta(hours=1)) if live else ()
    items = [claim.item for _ in range(4) for claim in queues.claim_batch(queue.id, "gone", AT_ONCE)]
    clock.move(600)
    found: list[Claim | Unavailable] = [queues.claim(queue.id, "eve")]
    for _ in range(2):
        # What is live stands in front of it and is passed, whatever the lease.
        assert reads(lambda: found.append(queues.claim(queue.id, "eve"))) < FEW + 4 * len(still)
    assert [claim.item.id for claim in found if isinstance(claim, Claim)] == [item.id for item in items[:3]]
    clock.move(3_600)
    first = queues.claim(queue.id, "eve")
    assert isinstance(first, Claim)
    assert first.item.id == (still[0].item.id if still else items[0].id)


@pytest.mark.slow
def test_claiming_and_completing_pass_nothing_that_an_old_transaction_keeps_from_being_vacuumed(
    reads: Callable[[Callable[[], object]], int], neglected: PostgresRepository, database: Database
) -> None:
    queues = AnnotationQueues(neglected, "project")
    queue = queues.create("queue", created_by="ann")
    fill(queues, queue.id, MANY)

    def pair() -> None:
        claim = queues.claim(queue.id, "eve")
        assert isinstance(claim, Claim)
        queues.complete(claim, "label")

    with psycopg.connect(database.dsn) as old:
        old.execute("SELECT pg_current_xact_id()")
        pair()
        before = reads(pair)
        for _ in range(3):
            work_off(queues, queue.id, MANY // 4)
            # Where the first open item is now has to be seen once.
            pair()
            assert reads(pair) <= 2 * before
        for _ in range(FOLD_AFTER):
            pair()
        ((rows,),) = old.execute(f"SELECT count(*) FROM {neglected._connections.schema}.counters".encode()).fetchall()  # noqa: S608 - ours
        assert rows < 2 * FOLD_AFTER
        assert reads(pair) <= 2 * before
