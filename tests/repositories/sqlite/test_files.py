"""Files that are not ours, not whole or not to be had: refused with a typed error, and left as they are."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_queue import (
    AnnotationQueues,
    NewItem,
    SchemaVersionUnknown,
    SQLiteRepository,
    StorageBusy,
    StorageCorrupt,
    StorageError,
)
from annotation_queue.repositories.sqlite.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPEN_FILES = Path("/proc/self/fd")
NOBODY = 65_534


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement).fetchall()
    finally:
        connection.close()


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A file of ours with some hundred kilobytes in it."""
    path = tmp_path / "ours.db"
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        items = [NewItem(call_id=str(number), payload={"text": "x" * 500}) for number in range(300)]
        queues.add_items(queue.id, items, added_by="ann")
    return path


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("not a database\n" * 500)


def garbage_after_the_header(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xa5" * (len(whole) - 100))


def truncated(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def of_another_application(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE theirs (x)")


def named_by_another_application(path: Path) -> None:
    path.unlink()
    execute(path, "PRAGMA application_id = 7")


def without_a_version(path: Path) -> None:
    execute(path, "PRAGMA user_version = 0")


def with_a_negative_version(path: Path) -> None:
    execute(path, "PRAGMA user_version = -1")


def newer(path: Path) -> None:
    execute(path, "PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (directory, StorageError),
        (text, StorageCorrupt),
        (garbage_after_the_header, StorageCorrupt),
        (truncated, StorageCorrupt),
        (of_another_application, StorageCorrupt),
        (named_by_another_application, StorageCorrupt),
        (without_a_version, StorageCorrupt),
        (with_a_negative_version, StorageCorrupt),
        (newer, SchemaVersionUnknown),
    ],
)
def test_a_bad_file_is_refused_and_left_as_it_is(
    ours: Path, spoil: Callable[[Path], None], expected: type[StorageError]
) -> None:
    spoil(ours)
    before = {path.name: path.is_file() and path.read_bytes() for path in ours.parent.iterdir()}
    with pytest.raises(expected) as refused:
        SQLiteRepository(ours)
    assert refused.type is expected
    assert {path.name: path.is_file() and path.read_bytes() for path in ours.parent.iterdir()} == before


def test_a_file_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        SQLiteRepository(tmp_path / "missing" / "queues.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [("PRAGMA user_version = 99", SchemaVersionUnknown), ("PRAGMA application_id = 7", StorageCorrupt)],
)
def test_a_refused_file_whose_writer_was_killed_keeps_its_log(
    ours: Path, tmp_path: Path, statement: str, expected: type[StorageError]
) -> None:
    left = tmp_path / "left.db"
    writer = sqlite3.connect(ours)
    writer.execute(statement)
    writer.commit()
    for ending in ("", "-wal"):
        shutil.copy(f"{ours}{ending}", f"{left}{ending}")
    writer.close()
    log = Path(f"{left}-wal")
    before = left.read_bytes(), log.read_bytes()
    with pytest.raises(expected):
        SQLiteRepository(left)
    assert (left.read_bytes(), log.read_bytes()) == before


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="only there can a process see which files it has open")
@pytest.mark.parametrize("spoil", [newer, of_another_application])
def test_a_refused_file_is_closed_at_once(ours: Path, spoil: Callable[[Path], None]) -> None:
    spoil(ours)
    with pytest.raises(StorageError) as refused:
        SQLiteRepository(ours)
    # The error lives, and with it every frame that it passed.
    assert refused.value.__traceback__ is not None
    assert [each for each in OPEN_FILES.iterdir() if str(each.resolve()).startswith(str(ours))] == []


def test_a_file_locked_past_the_deadline_is_busy_and_works_afterwards(ours: Path) -> None:
    with SQLiteRepository(ours, busy_timeout=0.05) as repository:
        queues = AnnotationQueues(repository, "project")
        holder = sqlite3.connect(ours, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy):
            queues.create("queue", created_by="ann")
        assert len(queues.query().queues) == 1
        holder.close()
        queues.create("queue", created_by="ann")
        assert len(queues.query().queues) == 2


@pytest.mark.parametrize("statements", [["BEGIN EXCLUSIVE"], ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE"]])
@pytest.mark.parametrize("empty", [False, True], ids=["ours", "empty"])
def test_a_file_that_somebody_keeps_for_themselves_is_busy_when_it_is_opened(
    ours: Path,
    statements: list[str],
    empty: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    if empty:
        ours.unlink()
        ours.touch()
    elif len(statements) == 1:
        # Readers pass a writer by where there is a log.
        execute(ours, "PRAGMA journal_mode = DELETE")
    before = ours.read_bytes()
    with closing(sqlite3.connect(ours, isolation_level=None)) as holder:
        for statement in statements:
            holder.execute(statement).fetchall()
        with pytest.raises(StorageBusy):
            SQLiteRepository(ours, busy_timeout=0.05)
    assert ours.read_bytes() == before
    with SQLiteRepository(ours) as repository:
        assert repository.check() == ()


@pytest.fixture
def as_nobody(ours: Path) -> Iterator[Callable[[int], Path]]:
    """Make a folder with some mode, and in it a file of ours that may only be read.

    Root, whom no mode keeps from anything, is somebody else until the test is over.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "ours.db"
        shutil.copy(ours, path)
        path.chmod(0o444)

        def become(mode: int) -> Path:
            folder.chmod(mode)
            if os.geteuid() == 0:
                os.seteuid(NOBODY)
            return path

        try:
            yield become
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            folder.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_a_read_only_file_in_a_read_only_folder_is_refused_and_left_as_it_is(
    as_nobody: Callable[[int], Path],
) -> None:
    path = as_nobody(0o555)
    before = path.read_bytes()
    with pytest.raises(StorageError):
        SQLiteRepository(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["ours.db"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_a_read_only_file_whose_log_can_be_made_can_be_read_and_not_written(as_nobody: Callable[[int], Path]) -> None:
    path = as_nobody(0o777)
    before = path.read_bytes()
    with SQLiteRepository(path) as repository:
        queues = AnnotationQueues(repository, "project")
        assert len(queues.query().queues) == 1
        with pytest.raises(StorageError):
            queues.create("queue", created_by="ann")
        assert len(queues.query().queues) == 1
    assert path.read_bytes() == before


def test_a_copy_made_by_backup_is_whole(ours: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    source, target = sqlite3.connect(ours), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    with SQLiteRepository(copy) as repository:
        assert repository.check() == ()
        assert len(AnnotationQueues(repository, "project").query().queues) == 1


@pytest.mark.slow
def test_ids_that_are_together_longer_than_sqlite_takes_are_no_trouble(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Connections.connect

    def narrow(connections: Connections) -> sqlite3.Connection:
        connection = connect(connections)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 32 << 20)
        return connection

    monkeypatch.setattr(Connections, "connect", narrow)
    with SQLiteRepository(ours, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("long", created_by="ann")
        long = [f"{number:02}".ljust(1 << 20, "x") for number in range(40)]
        assert queues.remove_items(queue.id, long) == 0
        added = queues.add_items(queue.id, [NewItem(call_id=each) for each in long + long], added_by="ann")
        assert (len(added.added), added.duplicates) == (40, 40)
        assert queues.remove_items(queue.id, [*long, *(item.id for item in added.added)]) == 40
