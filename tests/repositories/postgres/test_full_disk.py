"""The server's disk is full for real: nothing is half written, and work goes on when there is room again."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue import AnnotationQueues, Claim, NewItem, StorageError, StorageFull
from annotation_queue.repositories.postgres import PostgresRepository
from helpers.clocks import wait_until
from helpers.faults import OPERATIONS, all_of, plain, service, set_up
from helpers.postgres import Server, unprivileged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.clocks import Clock


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """Mount a disk of a few MiB that belongs to the server's user."""
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "annotation-queue-tests", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounted, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk can only be mounted by root, and not in every container")
    try:
        user = unprivileged()
        assert user is not None
        shutil.chown(folder, user)
        yield folder
    finally:
        # Whoever still has a file open there keeps it from being unmounted at once.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 - wherever it is


def fill(disk: Path) -> Path:
    """Fill a disk up to its last byte with one file."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4_096)
    assert shutil.disk_usage(disk).free == 0
    return filler


def items(first: int, count: int, length: int = 100) -> list[NewItem]:
    # What can be compressed would fit after all.
    return [
        NewItem(call_id=f"call-{first + number}", payload={"text": os.urandom(length).hex()}) for number in range(count)
    ]


def add_until_refused(
    queues: AnnotationQueues, queue_id: str, added: int, count: int, length: int = 100
) -> tuple[int, StorageError]:
    """Add so many items at a time, until the storage refuses them.

    Returns:
        How many items were added by now, and the error.
    """
    for _ in range(10_000):
        try:
            added += len(queues.add_items(queue_id, items(added, count, length), added_by="ann").added)
        except StorageError as error:
            return added, error
    pytest.fail("there is room without end")


def is_back(server: Server) -> bool:
    """Tell whether a server answers again; one that ended is started."""
    with suppress(subprocess.CalledProcessError):
        if not server.answers():
            server.start()
    return server.answers()


@pytest.fixture
def small(programs: Path) -> Iterator[tuple[str, Path]]:
    """A database whose tables are on a small disk, and that disk."""
    server = Server(programs)
    try:
        with small_disk(server.folder / "small", 40) as disk:
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
                connection.execute("CREATE DATABASE small TABLESPACE small")
            yield psycopg.conninfo.make_conninfo(server.dsn, dbname="small"), disk
            server.stop()
    finally:
        server.remove()


@pytest.mark.slow
def test_without_room_adding_is_refused_whole_and_goes_on_when_there_is_room(small: tuple[str, Path]) -> None:
    dsn, disk = small
    with PostgresRepository(dsn, timeout=20) as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, items(0, 50), added_by="ann")
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        filler = fill(disk)
        added, error = add_until_refused(queues, queue.id, 50, 20)
        assert isinstance(error, StorageFull)
        assert "make room" in str(error)
        assert queues.stats([queue.id])[0].total_items == added
        assert repository.check() == ()
        # What needs no new room is still done; if it is refused, it is refused whole.
        with suppress(StorageFull):
            queues.complete(claim, "done")
        assert repository.check() == ()
        filler.unlink()
        queues.complete(claim, "done")
        assert len(queues.add_items(queue.id, items(added, 20), added_by="ann").added) == 20
        assert queues.stats([queue.id])[0].total_items == added + 20
        assert repository.check() == ()


@pytest.mark.slow
def test_without_room_every_mutation_takes_effect_whole_or_not_at_all(small: tuple[str, Path], clock: Clock) -> None:
    dsn, disk = small
    with PostgresRepository(dsn, timeout=20) as repository:
        scenes = {name: set_up(service(repository, clock, f"{name} scene", name), needed=2) for name in OPERATIONS}
        clock.move(61)
        filler = fill(disk)
        # What room the tables themselves have is used up too.
        others = AnnotationQueues(repository, "others")
        queue = others.create("queue", created_by="ann")
        added = 0
        for count in (100, 10, 1):
            added, error = add_until_refused(others, queue.id, added, count)
            assert isinstance(error, StorageFull)
        refused = []
        for name, operation in OPERATIONS.items():
            before = plain(all_of(service(repository, clock, "probe", name)))
            try:
                operation(service(repository, clock, f"{name} new", name), scenes[name])
            except StorageFull:
                refused.append(name)
                assert plain(all_of(service(repository, clock, "probe", name))) == before
            else:
                assert plain(all_of(service(repository, clock, "probe", name))) != before
        assert repository.check() == ()
        assert refused
        filler.unlink()
        for name in refused:
            before = plain(all_of(service(repository, clock, "probe", name)))
            OPERATIONS[name](service(repository, clock, f"{name} new", name), scenes[name])
            assert plain(all_of(service(repository, clock, "probe", name))) != before
        assert repository.check() == ()


@pytest.mark.slow
def test_a_server_without_room_for_its_log_loses_nothing_acknowledged(server: Server) -> None:
    with small_disk(server.folder / "small", 96) as disk:
        # As it is done by hand: the log moves to a disk of its own.
        server.stop("fast")
        log = server.data / "pg_wal"
        subprocess.run(["cp", "-a", str(log), str(disk)], check=True)  # noqa: S607 - wherever it is
        shutil.rmtree(log)
        log.symlink_to(disk / "pg_wal")
        server.start()
        with PostgresRepository(server.dsn, timeout=5) as repository:
            queues = AnnotationQueues(repository, "project")
            queue = queues.create("queue", created_by="ann")
            filler = fill(disk)
            acknowledged, _ = add_until_refused(queues, queue.id, 0, 20, 4_000)
            # Without room for its log a server crashes, and comes back by itself or not.
            wait_until(lambda: not server.answers())
            filler.unlink()
            wait_until(lambda: is_back(server))
            assert acknowledged <= queues.stats([queue.id])[0].total_items <= acknowledged + 20
            assert repository.check() == ()
            assert queues.add_items(queue.id, items(1_000_000, 20), added_by="ann").duplicates == 0
        server.stop("fast")
