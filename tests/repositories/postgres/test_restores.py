"""A schema that is replaced, or put back to an earlier time, under an open repository: nothing is mixed up."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import (
    AnnotationQueues,
    Claim,
    Conflict,
    NewItem,
    QueueNotFound,
    SchemaVersionUnknown,
    SkipPolicy,
    StorageBusy,
    StorageError,
)
from annotation_queue.moves import advance
from annotation_queue.records import change_of
from annotation_queue.states import COMPLETED, unstarted
from helpers.clocks import Clock
from helpers.faults import OPERATIONS, service, set_up
from helpers.postgres_faults import Contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.postgres import Database


class Backup:
    """A copy of a schema, to be put back under the open repositories on it, numbers that are given out included."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._contents = Contents(dsn, schema)
        self._contents.keep()
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._connection.execute(f"SET search_path TO {schema}")
        self._next = {
            name: self._connection.execute(f"SELECT last_value, is_called FROM {name}").fetchall()[0]  # noqa: S608
            for name in ("queues_num_seq", "item_nums")
        }

    def put_back(self) -> None:
        """Put it back."""
        self._contents.put_back()
        for name, values in self._next.items():
            self._connection.execute("SELECT setval(%s::regclass, %s, %s)", (name, *values))

    def close(self) -> None:
        """Forget it."""
        self._contents.close()
        self._connection.close()


@pytest.fixture
def backup(database: Database, repository: PostgresRepository) -> Iterator[Callable[[], Backup]]:
    """Make copies of the repository's schema."""
    made: list[Backup] = []

    def make() -> Backup:
        made.append(Backup(database.dsn, repository._connections.schema))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_whoever_writes_looks_whether_the_schema_still_has_its_version(
    database: Database, repository: PostgresRepository, name: str
) -> None:
    clock = Clock()
    queues = service(repository, clock, "scene")
    scene = set_up(queues, needed=2)
    clock.move(61)
    with closing(psycopg.connect(database.dsn, autocommit=True)) as admin:
        admin.execute(f"SET search_path TO {repository._connections.schema}")
        before = admin.execute("SELECT * FROM work ORDER BY num").fetchall(), admin.execute("TABLE log").fetchall()
        for version, kind in ((99, SchemaVersionUnknown), (1, StorageError)):
            admin.execute("UPDATE annotation_queue_schema SET version = %s", (version,))
            with pytest.raises(kind):
                OPERATIONS[name](queues, scene)
        assert (
            admin.execute("SELECT * FROM work ORDER BY num").fetchall(),
            admin.execute("TABLE log").fetchall(),
        ) == before
        admin.execute("UPDATE annotation_queue_schema SET version = 2")
    OPERATIONS[name](queues, scene)


def test_numbers_that_are_given_again_belong_to_whom_they_were_given_last(
    make_repository: Callable[..., PostgresRepository],
    repository: PostgresRepository,
    backup: Callable[[], Backup],
) -> None:
    clock = Clock()
    empty = backup()
    ours = service(repository, clock, "ours", "ours")
    queue = ours.create("ours", created_by="ann", annotations_per_item=2)
    ours.add_items(queue.id, [NewItem(call_id="a", payload={"of": "ours"})], added_by="ann")
    claim = ours.claim(queue.id, "alice")
    assert isinstance(claim, Claim)
    empty.put_back()
    # Another process gives the numbers again, to another project.
    with make_repository() as another:
        theirs = service(another, clock, "theirs", "theirs")
        their_queue = theirs.create("theirs", created_by="eve", skip_policy=SkipPolicy.REQUEUE)
        theirs.add_items(their_queue.id, [NewItem(call_id="b", payload={"of": "theirs"})], added_by="eve")
        their_claim = theirs.claim(their_queue.id, "mallory")
        assert isinstance(their_claim, Claim)
        for call in (
            lambda: ours.get(queue.id),
            lambda: ours.claim(queue.id, "bob"),
            lambda: ours.add_items(queue.id, [NewItem(call_id="c")], added_by="ann"),
            lambda: ours.remove_items(queue.id, [claim.item.id]),
            lambda: ours.update(queue.id, name="renamed"),
            lambda: ours.stats([queue.id]),
            lambda: ours.complete(claim, "alice's"),
            lambda: ours.query_items(queue.id),
        ):
            with pytest.raises(QueueNotFound):
                call()
        seen = service(repository, clock, "unused", "theirs")
        assert seen.get(their_queue.id) == their_queue
        assert seen.complete(their_claim, "mallory's").payload == {"of": "theirs"}
        assert [each.annotation for each in theirs.progress(their_claim.item.id)] == ["mallory's"]
        # The queue comes back under another number.
        again = service(another, clock, "ours", "ours").create("ours", created_by="ann", annotations_per_item=2)
        assert again.id == queue.id
        assert len(ours.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added) == 1
        assert isinstance(ours.claim(queue.id, "alice"), Claim)
        assert ours.update(queue.id, annotations_per_item=1).annotations_per_item == 1


def test_a_decision_is_not_stored_on_an_item_that_has_the_number_of_another_one(
    repository: PostgresRepository, backup: Callable[[], Backup]
) -> None:
    clock = Clock()
    queues = service(repository, clock, "id")
    queue = queues.create("queue", created_by="ann")
    before = backup()
    (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    (record,) = repository.get_records("project", [item.id], with_items=False).values()
    before.put_back()
    (other,) = queues.add_items(queue.id, [NewItem(call_id="b")], added_by="ann").added
    progress, transition = advance(
        unstarted(item.id, "alice", clock()), COMPLETED, at=clock(), annotation="of a", step=1
    )
    assert transition is not None
    with pytest.raises(Conflict):
        repository.save([(record, change_of(record, (progress,), (transition,)))])
    assert queues.progress(other.id) == ()


def test_an_annotator_whose_labels_were_undone_is_served_the_items_again(
    repository: PostgresRepository, backup: Callable[[], Backup]
) -> None:
    queues = service(repository, Clock(), "id")
    queue = queues.create("queue", created_by="ann", annotations_per_item=3)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(5)], added_by="ann")
    before = backup()

    def settle(annotator_id: str, n: int) -> list[str]:
        claims = [queues.claim(queue.id, annotator_id) for _ in range(n)]
        assert all(isinstance(claim, Claim) for claim in claims)
        queues.complete_batch([(claim, 1) for claim in claims if isinstance(claim, Claim)])
        return [claim.item.call_id for claim in claims if isinstance(claim, Claim)]

    assert settle("alice", 3) == ["0", "1", "2"]
    assert settle("alice", 1) == ["3"]
    before.put_back()
    assert settle("alice", 1) == ["0"]
    before.put_back()
    # As many items were opened since as before, and others.
    queues.add_items(queue.id, [NewItem(call_id="first", priority=1)], added_by="ann")
    assert settle("alice", 2) == ["first", "0"]
    before.put_back()
    queues.add_items(queue.id, [NewItem(call_id="second", priority=1)], added_by="ann")
    assert settle("alice", 2) == ["second", "0"]


def test_as_many_openings_as_before_are_not_taken_for_the_same_ones(
    repository: PostgresRepository, backup: Callable[[], Backup]
) -> None:
    queues = service(repository, Clock(), "id")
    queue = queues.create("queue", created_by="ann", annotations_per_item=3)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(3)], added_by="ann")
    for claim in queues.claim_batch(queue.id, "alice", 2):
        queues.complete(claim, 1)
    before = backup()
    queues.add_items(queue.id, [NewItem(call_id="last", priority=-1)], added_by="ann")
    assert [claim.item.call_id for claim in queues.claim_batch(queue.id, "alice", 1)] == ["2"]
    before.put_back()
    queues.add_items(queue.id, [NewItem(call_id="first", priority=1)], added_by="ann")
    assert [claim.item.call_id for claim in queues.claim_batch(queue.id, "alice", 1)] == ["first"]


def test_a_queue_is_locked_by_the_number_that_it_has_by_now(
    make_repository: Callable[..., PostgresRepository],
    repository: PostgresRepository,
    backup: Callable[[], Backup],
) -> None:
    empty = backup()
    hasty = make_repository(timeout=0.3)
    queues, others = service(hasty, Clock(), "id"), service(repository, Clock(), "id")
    queue = queues.create("queue", created_by="ann")
    assert queues.get(queue.id) == queue
    remembered = hasty._cache.versions[queue.id]
    empty.put_back()
    service(repository, Clock(), "another").create("another", created_by="ann")
    assert others.create("queue", created_by="ann").id == queue.id
    with repository._reading() as session:
        num = session.queue("project", queue.id).num
    assert num != remembered.num
    with repository._writing(alone=num):
        for call in (
            lambda: queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann"),
            lambda: queues.remove_items(queue.id, ["a"]),
            lambda: queues.update(queue.id, annotations_per_item=2),
            lambda: queues.claim(queue.id, "bob"),
        ):
            hasty._cache.versions[queue.id] = remembered
            with pytest.raises(StorageBusy):
                call()
    assert len(queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added) == 1


def test_a_version_of_a_queue_is_not_mistaken_for_another_one_of_the_same_time(
    make_repository: Callable[..., PostgresRepository],
    repository: PostgresRepository,
    backup: Callable[[], Backup],
) -> None:
    clock = Clock()
    queues = service(repository, clock, "id")
    queue = queues.create("queue", created_by="ann")
    before = backup()
    assert queues.update(queue.id, name="one name").name == queues.get(queue.id).name == "one name"
    before.put_back()
    with make_repository() as another:
        service(another, clock, "id").update(queue.id, name="another name")
    assert queues.get(queue.id).name == "another name"


def test_a_schema_that_is_gone_is_an_error(database: Database) -> None:
    with closing(psycopg.connect(database.dsn, autocommit=True)) as admin, database.repository("gone") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        admin.execute("DROP SCHEMA gone CASCADE")
        with pytest.raises(StorageError):
            queues.get(queue.id)
        with pytest.raises(StorageError):
            queues.create("another", created_by="ann")
