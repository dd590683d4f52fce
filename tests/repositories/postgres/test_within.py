"""Calls that join a transaction of the caller's: together with the caller's own rows, or not at all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from psycopg.types.string import StrDumper, TextLoader
from psycopg_pool import ConnectionPool
from sqlalchemy.orm import Session

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    Conflict,
    InvalidValue,
    ItemFilter,
    ItemPatch,
    ItemQuery,
    NewItem,
    StorageBusy,
    StorageError,
)
from annotation_queue.repositories.postgres import cache
from helpers.clocks import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.repositories.postgres import PostgresRepository
    from annotation_queue.repositories.postgres.joined import Joined
    from helpers.postgres import Database

COMPLETED = AnnotationState.COMPLETED
SETTINGS = (
    "search_path",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "jit",
    "array_nulls",
    "plan_cache_mode",
    "enable_seqscan",
    "enable_sort",
    "enable_bitmapscan",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "client_encoding",
)


@pytest.fixture
def queue_id(queues: AnnotationQueues) -> str:
    """A queue of ten items."""
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(10)], added_by="ann")
    return queue.id


@pytest.fixture
def own(database: Database) -> Iterator[str]:
    """A table of the caller's."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS public.own; CREATE TABLE public.own (word text)")
        yield "public.own"
        connection.execute("DROP TABLE public.own")


def labelled(queues: AnnotationQueues, queue_id: str) -> int:
    return queues.stats([queue_id])[0].by_state[COMPLETED]


def words(database: Database) -> list[str]:
    with psycopg.connect(database.dsn) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM public.own ORDER BY word")]


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_label_and_a_row_of_the_callers_are_stored_together_or_not_at_all(
    database: Database,
    repository: PostgresRepository,
    queues: AnnotationQueues,
    queue_id: str,
    own: str,
    *,
    ends: str,
    autocommit: bool,
) -> None:
    with psycopg.connect(database.dsn, autocommit=autocommit) as connection:
        if autocommit:
            connection.execute("BEGIN")
        with repository.within(connection) as joined:
            inside = queues.using(joined)
            claim = inside.claim(queue_id, "bob")
            assert isinstance(claim, Claim)
            inside.complete(claim, {"stars": 5})
            assert labelled(inside, queue_id) == 1
            assert labelled(queues, queue_id) == 0
        connection.execute(f"INSERT INTO {own} VALUES ('mine')")  # noqa: S608 - our own name
        connection.execute(ends)
    done = ends == "commit"
    assert words(database) == ["mine"] * done
    assert labelled(queues, queue_id) == done
    assert len(queues.history(claim.item.id)) == 2 * done


def test_a_call_that_fails_leaves_the_transaction_usable_and_what_was_done_before_in_place(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, queue_id: str, own: str
) -> None:
    first, second = queues.claim_batch(queue_id, "bob", 2)
    queues.release(second)
    with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
        inside = queues.using(joined)
        inside.complete(first, 1)
        with pytest.raises(ClaimLost):
            inside.complete(second, 2)
        with pytest.raises(Conflict):
            inside.create("again", created_by="ann", queue_id=queue_id)
        with pytest.raises(StorageError), joined._writing() as session:
            session.composed("SELECT no_such_function()", ())
        connection.execute(f"INSERT INTO {own} VALUES ('mine')")  # noqa: S608 - our own name
    assert words(database) == ["mine"]
    assert labelled(queues, queue_id) == 1


def test_several_calls_of_one_transaction_have_one_order_in_the_log(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, queue_id: str
) -> None:
    with psycopg.connect(database.dsn) as connection:
        for _ in range(2):
            with repository.within(connection) as joined:
                inside = queues.using(joined)
                for who in ("bob", "eve"):
                    claim = inside.claim(queue_id, who)
                    assert isinstance(claim, Claim)
                    inside.save_draft(claim, "draft")
                    inside.complete(claim, who)
                    inside.complete(claim, f"{who} again")
        assert queues.changes(queue_id).transitions == ()
    found = [(step.annotator_id, step.annotation) for step in queues.changes(queue_id).transitions]
    bob, eve = ([(who, None), (who, who), (who, f"{who} again")] for who in ("bob", "eve"))
    assert found == [*bob, *eve] * 2


def test_everything_that_a_service_does_can_be_done_within_a_transaction(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues
) -> None:
    with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
        inside = queues.using(joined)
        queue = inside.get_or_create("queue", created_by="ann")
        items = inside.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(2_100)], added_by="ann").added
        assert inside.update_items(queue.id, ItemFilter(call_id={"1", "2"}), ItemPatch(assignees=["carol"])) == 2
        assert inside.reprioritise(queue.id, {items[9].id: 7}) == 1
        claim = inside.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        assert claim.item.id == items[9].id
        inside.complete(claim, 1)
        assert inside.reset(queue.id, [items[9].id], actor_id="boss") == 1
        assert inside.remove_items(queue.id, [items[3].id]) == 1
        assert inside.restore_items(queue.id, [items[3].id]) == 1
        inside.update(queue.id, name="renamed", annotations_per_item=2)
        page = inside.query_items(queue.id, ItemQuery(limit=3, include_position=True, include_total=True))
        assert (page.total, [item.position_in_queue for item in page.items]) == (2_100, [1, 2, 3])
        assert len(inside.history(items[9].id)) == 3
        assert [claim.item.call_id for claim in inside.claim_batch(queue.id, "carol", 2)] == ["9", "0"]
        inside.delete(queue.id)
        assert inside.restore(queue.id).name == "renamed"
        assert joined.check() == ()
    assert queues.stats([queue.id])[0].total_items == 2_100


def test_what_the_connection_was_set_to_is_as_it_was(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, queue_id: str
) -> None:
    class Odd(StrDumper):
        def dump(self, obj: str) -> bytes:
            return obj[::-1].encode()

    class OddText(TextLoader):
        def load(self, data: Any) -> str:  # noqa: ANN401 - as the class
            return str(super().load(data))[::-1]

    kwargs: dict[str, Any] = {"row_factory": dict_row, "client_encoding": "latin1"}
    with psycopg.connect(database.dsn, **kwargs) as connection:
        connection.adapters.register_dumper(str, Odd)
        connection.adapters.register_loader("text", OddText)
        connection.execute("SET search_path TO 'é', public; SET statement_timeout = 12345; SET array_nulls = off")
        connection.execute("SET LOCAL jit = off; SET LOCAL enable_sort = off; SET LOCAL lock_timeout = 77")
        connection.execute("SET default_transaction_isolation = 'serializable'; SET default_transaction_read_only = on")
        read = f"SELECT ARRAY[{', '.join(f'current_setting({name!r})' for name in SETTINGS)}]::varchar[] AS found"
        before = connection.execute(read).fetchone()
        with repository.within(connection) as joined:
            inside = queues.using(joined)
            claim = inside.claim(queue_id, "böb \N{SNOWMAN}")
            assert isinstance(claim, Claim)
            inside.complete(claim, "\N{SNOWMAN}")
            with pytest.raises(ClaimLost):
                inside.release(claim)
            assert connection.execute(read).fetchone() == before
        assert connection.execute(read).fetchone() == before
        assert (connection.row_factory, connection.autocommit) == (dict_row, False)
        assert connection.execute("SELECT %s::text AS word, 'abc'::varchar AS own", ("abc",)).fetchone() == {
            "word": "abc",
            "own": "abc",
        }
        assert connection.execute("SELECT 'abc'::text AS word").fetchone() == {"word": "cba"}
    assert [step.annotator_id for step in queues.history(claim.item.id)] == ["böb \N{SNOWMAN}"] * 2


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_who_comes_too_late_is_told_at_once_and_may_go_on(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, queue_id: str, isolation: str
) -> None:
    with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        inside = queues.using(joined)
        assert isinstance(inside.claim(queue_id, "bob"), Claim)
        others = queues.claim_batch(queue_id, "eve", 9)
        assert isinstance(others, tuple)
        # An entry of this transaction would stand before those of the younger ones in the log.
        with pytest.raises(StorageBusy):
            inside.update_progress(others[0].item.id, "carol", COMPLETED, annotation=1)
        queues.release(others[1])
        with pytest.raises(StorageBusy):
            inside.claim(queue_id, "carol")
        assert len(inside.holds(queue_id, "bob")) == 1
    assert len(queues.holds(queue_id, "bob")) == 1


@pytest.mark.parametrize("annotations_per_item", [1, 2])
def test_a_joined_claim_passes_over_items_that_changed_since_the_transaction_began(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, own: str, annotations_per_item: int
) -> None:
    queue = queues.create("queue", created_by="ann", annotations_per_item=annotations_per_item)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(4)], added_by="ann")
    with psycopg.connect(database.dsn) as connection:
        connection.execute(f"INSERT INTO {own} VALUES ('mine')")  # noqa: S608 - our own name
        for other in queues.claim_batch(queue.id, "eve", 2):
            if annotations_per_item == 1:
                queues.release(other)
        with repository.within(connection) as joined:
            inside = queues.using(joined)
            claim = inside.claim(queue.id, "bob")
            assert isinstance(claim, Claim)
            assert claim.item.call_id == "2"
            assert [each.item.call_id for each in inside.claim_batch(queue.id, "bob", 4)] == ["3"]
            with pytest.raises(StorageBusy, match="began after yours; roll yours back"):
                inside.claim(queue.id, "bob")
    assert len(queues.holds(queue.id, "bob")) == 2


def test_a_joined_change_waits_for_a_queue_alone_as_long_as_any_other(
    database: Database, make_repository: Callable[..., PostgresRepository]
) -> None:
    repository, patient = make_repository(timeout=0.3), make_repository(timeout=PATIENCE)
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann").added
    holding = patient._connections.writing([repository._num(queue.id)])
    holding.begin()
    tries: list[tuple[str, str]] = []
    try:
        with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
            with pytest.raises(StorageBusy):
                queues.using(joined).reprioritise(queue.id, {item.id: 7})
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with psycopg.connect(database.dsn) as connection, patient.within(connection) as joined:
            take = cast("Joined", joined._connections)._take

            def see(begins: tuple[str, str]) -> psycopg.Connection[Any]:
                tries.append(begins)
                if len(tries) == 3:
                    holding.end()
                return take(begins)

            cast("Any", joined._connections)._take = see
            queues.using(joined).reprioritise(queue.id, {item.id: 7})
    finally:
        holding.end()
    assert queues.get_item(item.id).priority == 7


def test_a_mark_that_rests_on_what_was_rolled_back_keeps_nobody_from_an_item(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues
) -> None:
    queue = queues.create("queue", created_by="ann", annotations_per_item=2)
    items = queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(3)], added_by="ann").added
    with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
        inside = queues.using(joined)
        inside.update_progress(items[0].id, "bob", COMPLETED, annotation=1)
        queues.update_progress(items[1].id, "bob", COMPLETED, annotation=1)
        assert isinstance(inside.claim(queue.id, "bob"), Claim)
        connection.rollback()
    assert isinstance(claim := queues.claim(queue.id, "bob"), Claim)
    assert claim.item.id == items[0].id


def test_counters_that_joined_calls_add_to_are_folded_outside_of_the_callers_transaction(
    database: Database,
    repository: PostgresRepository,
    queues: AnnotationQueues,
    queue_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "FOLD_AFTER", 20)
    most = 0
    with psycopg.connect(database.dsn) as connection:
        for turn in range(40):
            with repository.within(connection) as joined:
                inside = queues.using(joined)
                claim = inside.claim(queue_id, "bob")
                assert isinstance(claim, Claim)
                inside.release(claim)
            # What is rolled back has folded nothing, and what was folded before stays.
            (connection.rollback if turn % 2 else connection.commit)()
            with repository._reading() as session:
                ((rows,),) = session.composed("SELECT count(*) FROM counters", ())
            most = max(most, rows)
    assert 10 <= most < 20
    assert repository.check() == ()


def test_no_joined_call_waits_for_a_connection_to_fold_over(
    database: Database, make_repository: Callable[..., PostgresRepository], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "FOLD_AFTER", 1)
    make_repository()
    with ConnectionPool(database.dsn, min_size=1, max_size=1, open=True) as pool:
        repository = make_repository(pool=pool, timeout=600)
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
        with pool.connection() as connection:
            for _ in range(3):
                with repository.within(connection) as joined:
                    inside = queues.using(joined)
                    claim = inside.claim(queue.id, "bob")
                    assert isinstance(claim, Claim)
                    inside.release(claim)


@pytest.mark.parametrize("by", ["calls of its own", "joined calls"])
@pytest.mark.parametrize("were_emptied", [False, True])
def test_a_joined_claim_costs_the_same_however_much_the_annotator_has_done(
    database: Database,
    make_repository: Callable[..., PostgresRepository],
    reads: Callable[[Callable[[], object]], int],
    monkeypatch: pytest.MonkeyPatch,
    *,
    by: str,
    were_emptied: bool,
) -> None:
    monkeypatch.setattr(cache, "_CLAIMS_OF_MARK", 4)
    # Nobody but this test deletes anything here, or has the server look at the tables.
    repository = make_repository(schema=(schema := database.fresh()))
    queues = AnnotationQueues(repository, "project")
    tables = ("work", "items", "item_ids", "calls", "progresses", "log", "blocks", "counters", "openings", "queues")
    with psycopg.connect(database.dsn, autocommit=True) as admin:
        admin.execute(f"SET search_path TO {schema}".encode())
        for table in tables:
            admin.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
        # A server that first looked at tables when they had just been emptied believes that reading an index costs nothing.
        if were_emptied:
            emptied = queues.create("emptied", created_by="ann")
            queues.add_items(emptied.id, [NewItem(call_id=str(number)) for number in range(200)], added_by="ann")
            for table in tables:
                admin.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - our own names
            admin.execute(f"ANALYZE {', '.join(tables)}".encode())
    queue = queues.create("queue", created_by="ann", annotations_per_item=2)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(200)], added_by="ann")

    def claim() -> None:
        with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
            inside = queues.using(joined)
            claim = inside.claim(queue.id, "bob")
            assert isinstance(claim, Claim)
            if by == "joined calls":
                inside.complete(claim, 1)
            else:
                connection.rollback()

    def costs_after(n: int) -> int:
        for _ in range(n // 20):
            if by == "joined calls":
                with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
                    inside = queues.using(joined)
                    inside.complete_batch([(each, 1) for each in inside.claim_batch(queue.id, "bob", 20)])
            else:
                queues.complete_batch([(each, 1) for each in queues.claim_batch(queue.id, "bob", 20)])
        # Now and then one looks how far the mark may move.
        for _ in range(4):
            claim()
        return reads(claim)

    few, many = costs_after(20), costs_after(100)
    assert few < 200
    assert many <= few + 50
    assert repository.check() == ()
    with psycopg.connect(database.dsn, autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def test_a_connection_that_cannot_be_joined_is_refused_and_stays_as_it_is(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, queue_id: str
) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection, repository.within(connection) as joined:
        inside = queues.using(joined)
        with pytest.raises(InvalidValue, match=r"begin one, with connection\.transaction"):
            inside.claim(queue_id, "bob")
        with connection.transaction():
            assert isinstance(inside.claim(queue_id, "bob"), Claim)
        with connection.pipeline(), connection.transaction(), pytest.raises(InvalidValue, match="pipeline"):
            inside.claim(queue_id, "bob")
        connection.execute("BEGIN")
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT no_such_function()")
        with pytest.raises(StorageError, match="failed before"):
            inside.claim(queue_id, "bob")
        connection.rollback()
        connection.close()
        with pytest.raises(StorageError, match="closed"):
            inside.claim(queue_id, "bob")
    with pytest.raises(StorageError, match="is over"):
        inside.claim(queue_id, "bob")
    with pytest.raises(InvalidValue, match="connection"), repository.within("host=here"):  # type: ignore[arg-type]
        pass
    assert len(queues.holds(queue_id, "bob")) == 1


def test_threads_that_share_a_joined_repository_wait_for_one_another(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, queue_id: str
) -> None:
    with psycopg.connect(database.dsn) as connection, repository.within(connection) as joined:
        inside = queues.using(joined)

        def work(who: str) -> None:
            while claim := inside.claim(queue_id, who):
                inside.complete(claim, who)

        threads = [threading.Thread(target=work, args=(f"ann-{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert labelled(queues, queue_id) == 10


def test_a_session_of_sqlalchemy_is_joined(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, queue_id: str, own: str
) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database.dsn))
    insert = sqlalchemy.text(f"INSERT INTO {own} VALUES (:word)")  # noqa: S608 - our own name

    def label(word: str, *, fail: bool) -> None:
        with Session(engine) as session, session.begin():
            driver: Any = session.connection().connection.driver_connection
            with repository.within(driver) as joined:
                inside = queues.using(joined)
                claim = inside.claim(queue_id, "bob")
                assert isinstance(claim, Claim)
                inside.complete(claim, word)
            session.execute(insert, {"word": word})
            if fail:
                raise ZeroDivisionError

    label("kept", fail=False)
    with pytest.raises(ZeroDivisionError):
        label("lost", fail=True)
    engine.dispose()
    assert words(database) == ["kept"]
    assert labelled(queues, queue_id) == 1


def test_a_transaction_of_django_is_joined(
    database: Database,
    repository: PostgresRepository,
    queues: AnnotationQueues,
    queue_id: str,
    own: str,
    *,
    make_django: Callable[[], Any],
) -> None:
    connection, transaction = make_django()

    def label(word: str, *, fail: bool) -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {own} VALUES (%s)", [word])  # noqa: S608 - our own name
            with repository.within(connection.connection) as joined:
                inside = queues.using(joined)
                claim = inside.claim(queue_id, "bob")
                assert isinstance(claim, Claim)
                inside.complete(claim, word)
            if fail:
                raise ZeroDivisionError

    label("kept", fail=False)
    with pytest.raises(ZeroDivisionError):
        label("lost", fail=True)
    with repository.within(connection.connection) as joined, pytest.raises(InvalidValue, match="in a transaction"):
        queues.using(joined).claim(queue_id, "bob")
    assert words(database) == ["kept"]
    assert labelled(queues, queue_id) == 1


@pytest.fixture
def make_django(database: Database) -> Iterator[Callable[[], Any]]:
    """Set Django up, once in a process, and give its connection and its transactions."""
    django = pytest.importorskip("django", reason="Django is not installed: pip install -e '.[dev]'")
    from django.conf import settings  # noqa: PLC0415 - an import that may be missing
    from django.db import connections, transaction  # noqa: PLC0415 - as above

    info = psycopg.conninfo.conninfo_to_dict(database.dsn)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    where = {key: str(info[name]) for key, name in names.items() if name in info}
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **where}}, USE_TZ=True)
        django.setup()
    connections["default"].settings_dict.update(where)
    yield lambda: (connections["default"], transaction)
    connections["default"].close()
