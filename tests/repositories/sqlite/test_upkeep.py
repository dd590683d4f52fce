"""The file and its write-ahead log over time: bounded, put right, noticed when it is gone, and made small."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationQueues, ItemFilter, NewItem, Purged, SQLiteRepository, StorageError, walks
from annotation_queue.repositories.sqlite import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEBI = 1 << 20


def log_size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


@pytest.fixture
def queues(path: Path) -> Iterator[AnnotationQueues]:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        yield AnnotationQueues(repository, "project")


def fill(queues: AnnotationQueues, count: int, size: int = 100) -> str:
    queue = queues.create("Triage", created_by="ann")
    news = (NewItem(call_id=f"call-{n}", payload={"text": "x" * size}) for n in range(count))
    queues.add_items(queue.id, news, added_by="ann")
    return queue.id


def test_readers_that_overlap_without_a_pause_do_not_make_the_log_grow_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LARGE_LOG", MEBI)
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue_id = fill(queues, 400)
        stop = threading.Event()
        # Each reader leaves only once the next one has come.
        turns = [threading.Semaphore(0) for _ in range(4)]

        def read(own: threading.Semaphore, following: threading.Semaphore) -> None:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                while own.acquire() and not stop.is_set():
                    connection.execute("BEGIN")
                    connection.execute("SELECT count(*) FROM work").fetchone()
                    following.release()
                    connection.execute("SELECT count(*) FROM items").fetchone()
                    connection.execute("COMMIT")
                following.release()

        readers = [
            threading.Thread(target=read, args=(turns[n], turns[(n + 1) % 4]), name=f"reader {n}") for n in range(4)
        ]
        for reader in readers:
            reader.start()
        turns[0].release()
        largest = written = 0
        try:
            while written < 8 * MEBI:
                for claim in queues.claim_batch(queue_id, "bob", 8):
                    queues.save_draft(claim, {"draft": "x" * 50_000})
                    written += 50_000
                    largest = max(largest, log_size(path))
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        assert largest < 3 * MEBI


def test_a_log_that_grew_is_cut_once_nobody_needs_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LARGE_LOG", MEBI)
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        fill(queues, 2_000, 2_000)
        assert path.stat().st_size > 4 * MEBI
        assert log_size(path) < MEBI


def test_a_read_that_goes_on_for_long_keeps_nobody_from_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LARGE_LOG", MEBI // 4)
    monkeypatch.setattr(connections, "_LOG_KEPT", MEBI // 4)
    monkeypatch.setattr(connections, "_PAGES_LOGGED", MEBI // 4 // 4_096)
    monkeypatch.setattr(connections, "_EMPTYING_MILLISECONDS", 10)
    with SQLiteRepository(path, synchronous="OFF") as repository, closing(sqlite3.connect(path)) as reader:
        queues = AnnotationQueues(repository, "project")
        queue_id = fill(queues, 10)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM items").fetchone() == (10,)
        fill(queues, 1_000, 2_000)
        assert log_size(path) > MEBI
        reader.rollback()
        claim = queues.claim(queue_id, "bob")
        assert claim
        for n in range(20):
            queues.save_draft(claim, {"draft": f"{n}" + "x" * 50_000})
        assert log_size(path) < MEBI


@pytest.mark.parametrize("turn_back", ["copy", "pragma"])
def test_a_file_without_a_write_ahead_log_gets_one_when_it_is_opened(
    path: Path, tmp_path: Path, turn_back: str
) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queue_id = fill(AnnotationQueues(repository, "project"), 3)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if turn_back == "copy":
            connection.execute("VACUUM INTO ?", (str(other),))
        else:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            shutil.copy(path, other)
    with SQLiteRepository(other, synchronous="OFF", busy_timeout=0.05) as repository:
        queues = AnnotationQueues(repository, "project")
        with closing(sqlite3.connect(other, isolation_level=None)) as reader:
            assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM items").fetchone()
            # Without one the reader would be waited for, past the deadline.
            claim = queues.claim(queue_id, "bob")
            assert claim
            queues.complete(claim, "good")
        assert repository.check() == ()


def delete(path: Path) -> None:
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        each.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("new.db"))
    os.replace(path.with_name("new.db"), path)  # noqa: PTH105 - as a tool would


@pytest.mark.skipif(os.name == "nt", reason="there an open file can be neither deleted nor replaced")
@pytest.mark.parametrize("spoil", [delete, replace])
def test_the_next_write_notices_that_the_file_is_gone(
    path: Path, queues: AnnotationQueues, spoil: Callable[[Path], None]
) -> None:
    queue_id = fill(queues, 3)
    claim = queues.claim(queue_id, "bob")
    assert claim
    spoil(path)
    there = path.read_bytes() if path.exists() else None
    for write in (
        lambda: queues.complete(claim, "good"),
        lambda: queues.claim(queue_id, "carol"),
        lambda: queues.create("another", created_by="ann"),
    ):
        with pytest.raises(StorageError, match="deleted or replaced"):
            write()
    assert (path.read_bytes() if path.exists() else None) == there


def test_no_walk_holds_a_snapshot_between_its_pages(
    path: Path, queues: AnnotationQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "WALK_PAGE", 7)
    queue_id = fill(queues, 60)
    queues.complete_batch([(claim, "good") for claim in queues.claim_batch(queue_id, "bob", 30)])
    walked = (
        (queues.iter_items(queue_id), 60),
        (queues.iter_labels(queue_id), 30),
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for walk, count in walked:
            seen = 0
            for _ in walk:
                seen += 1
                queues.create(f"written meanwhile {seen}", created_by="ann")
                # Whoever still read would keep the log from being emptied.
                assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
            assert seen == count


def test_a_vacuumed_file_is_small_and_has_all_that_it_had(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        kept = fill(queues, 20)
        claim = queues.claim(kept, "bob")
        assert claim
        gone = fill(queues, 1_000, 1_000)
        queues.remove_items(gone, [item.id for item in queues.iter_items(gone)])
        queues.purge(removed_before=datetime.max.replace(tzinfo=UTC))
        before = path.stat().st_size
        repository.vacuum()
        assert path.stat().st_size < before / 4
        assert log_size(path) == 0
        assert repository.check() == ()
        queues.complete(claim, "good")
        assert queues.stats([kept])[0].finished_items == 1


def test_every_connection_overwrites_what_it_deletes_however_sqlite_was_built(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def as_sqlite_is_by_default(*args: Any, **kwargs: Any) -> sqlite3.Connection:  # noqa: ANN401 - those of `connect`
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    monkeypatch.setattr(sqlite3, "connect", as_sqlite_is_by_default)
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        for name in "AB":
            queue = queues.create(name, created_by="ann")
            # In random order, so that pages are split, and half of what is in them moves.
            news = [NewItem(call_id=f"SECRET-{name}-{n * 7_919 % 600}", priority=n * 7_919 % 600) for n in range(600)]
            queues.add_items(queue.id, news, added_by="ann")
        queues.remove_items(queue.id, ItemFilter())
        queues.purge(removed_before=datetime.max.replace(tzinfo=UTC))
    everything = path.read_bytes()
    assert b"SECRET-A" in everything
    assert b"SECRET-B" not in everything


def test_a_program_that_writes_once_and_ends_empties_a_large_log_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository, closing(sqlite3.connect(path)) as other:
        fill(AnnotationQueues(repository, "project"), 400)
        # The last one that has the file open would empty its log.
        other.execute("SELECT 1 FROM queues").fetchall()
        before = log_size(path)
        monkeypatch.setattr(connections, "LARGE_LOG", before)
        with SQLiteRepository(path, synchronous="OFF") as once:
            AnnotationQueues(once, "project").create("one more", created_by="ann")
        assert before > 0
        assert log_size(path) == 0


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_is_gone_is_not_made_small(path: Path, is_replaced: bool) -> None:  # noqa: FBT001
    with SQLiteRepository(path, synchronous="OFF") as repository:
        path.unlink()
        if is_replaced:
            path.write_bytes(b"")
        with pytest.raises(StorageError, match="was deleted or replaced"):
            repository.vacuum()


def test_what_an_earlier_connection_had_written_keeps_none_with_its_number_from_looking_at_the_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LARGE_LOG", MEBI)
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        (connection,) = repository._connections._idle
        repository._connections._looked_after[id(connection)] = 10**9
        fill(queues, 400, size=10_000)
        assert log_size(path) == 0


def test_reservations_go_with_items_that_are_removed_and_with_queues_that_are_purged(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        news = [NewItem(call_id=f"call-{n}", assignees=["bob", "eve"] if n % 2 else ()) for n in range(20)]
        removed, deleted = (queues.create(name, created_by="ann").id for name in ("removed", "deleted"))
        ids = [[item.id for item in queues.add_items(each, news, added_by="ann").added] for each in (removed, deleted)]

        def reservations() -> int:
            with repository._reading() as session:
                (n,) = session.execute("SELECT count(*) FROM reservations").fetchone()
            return int(n)

        assert reservations() == 40
        queues.remove_items(removed, ids[0][:10])
        assert reservations() == 30
        assert queues.restore_items(removed, ids[0][:4]) == 4
        assert reservations() == 34
        queues.delete(deleted)
        assert queues.purge(removed_before=datetime.max.replace(tzinfo=UTC)) == Purged(items=6, queues=1)
        assert reservations() == 14
        assert repository.check() == ()
