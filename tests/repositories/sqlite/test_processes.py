"""Processes: several of them on one SQLite file, and nothing is done twice or lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    MemoryRepository,
    NewItem,
    SQLiteRepository,
    StorageError,
)
from annotation_queue.ids import uuid7
from annotation_queue.repositories.sqlite import connections as sqlite_connections
from helpers.purging import KEPT, MARK, purge_marked
from helpers.ranking import CLAIMERS, claim_while_others_rank
from helpers.workers import work_on_both_sides_of_a_fork

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event

PROCESSES = 8
COMPLETED = AnnotationState.COMPLETED
OPEN_FILES = Path("/proc/self/fd")
WORKER = """
import json, sys
from annotation_queue import AnnotationQueues, SQLiteRepository

path, queue_id, who = sys.argv[1:]
with SQLiteRepository(path, synchronous="OFF") as repository:
    queues = AnnotationQueues(repository, "project")
    print("ready", flush=True)
    sys.stdin.readline()
    done = []
    while claim := queues.claim(queue_id, who):
        queues.complete(claim, {"by": who})
        done.append(claim.item.id)
print(json.dumps(done))
"""

STRANGER = """
import sys
from annotation_queue import AnnotationQueues, NewItem, SQLiteRepository

path, queue_id, number = sys.argv[1:]
with SQLiteRepository(path, synchronous="OFF") as repository:
    queues = AnnotationQueues(repository, "project")
    queues.add_items(queue_id, [NewItem(call_id=f"stranger-{number}")], added_by="ann")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a repository; its name needs care in URLs and in SQL."""
    return tmp_path / "qu%eue's #1 é.db"


@pytest.mark.slow
@pytest.mark.parametrize(("needed", "count"), [(1, 1_500), (2, 300)])
def test_8_processes_claim_and_complete_every_item_none_twice_and_none_lost(
    path: Path, needed: int, count: int
) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann", annotations_per_item=needed)
        queues.add_items(queue.id, (NewItem(call_id=str(number)) for number in range(count)), added_by="ann")
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(path), queue.id, f"ann-{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n"
            outputs = []
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            for worker in workers:
                outputs.append(worker.communicate(timeout=60)[0])
                assert worker.returncode == 0
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
        done = {f"ann-{number}": json.loads(output) for number, output in enumerate(outputs)}
        assert all(len(ids) == len(set(ids)) for ids in done.values())
        assert sum(map(len, done.values())) == needed * count
        (stats,) = queues.stats([queue.id])
        assert (stats.total_items, stats.finished_items) == (count, count)
        assert stats.by_annotator == {who: {COMPLETED: len(ids)} for who, ids in done.items() if ids}
        assert repository.check() == ()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_repository_made_before_a_fork_works_on_both_sides(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        work_on_both_sides_of_a_fork(repository, children=3, each=25)
        assert repository.check() == ()


def _files_open_on(path: Path) -> int:
    return sum(each.resolve() == path for each in OPEN_FILES.iterdir())


def _read_after_fork(repository: SQLiteRepository, path: Path, queue_id: str) -> None:
    assert _files_open_on(path) == 0
    assert AnnotationQueues(repository, "project").get(queue_id).id == queue_id
    assert _files_open_on(path) == 1


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="only there can a process see which files it has open")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_inherits_no_open_file_and_opens_it_anew(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")
        child = multiprocessing.get_context("fork").Process(target=_read_after_fork, args=(repository, path, queue.id))
        child.start()
        child.join(60)
        assert child.exitcode == 0


def _add_after_fork(repository: SQLiteRepository, queue_id: str, go_on: Event, path: Path) -> None:
    assert go_on.wait(30)
    queues = AnnotationQueues(repository, "project")
    for number in range(60):
        queues.add_items(queue_id, [NewItem(call_id=f"child-{number}")], added_by="ann")
        if number % 20 == 10:
            # A process that knows nothing of the two others opens the file, writes and closes it.
            subprocess.run([sys.executable, "-c", STRANGER, str(path), queue_id, str(number)], check=True, timeout=30)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_what_a_forked_child_writes_is_kept_when_its_parent_closes_the_file_before(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    go_on = context.Event()
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")
        child = context.Process(target=_add_after_fork, args=(repository, queue.id, go_on, path))
        child.start()
    go_on.set()
    child.join(60)
    assert child.exitcode == 0
    with SQLiteRepository(path) as repository:
        (stats,) = AnnotationQueues(repository, "project").stats([queue.id])
        assert stats.total_items == 60 + 3
        assert repository.check() == ()


def _count_after_fork(repository: SQLiteRepository, queue_id: str) -> None:
    AnnotationQueues(repository, "project").stats([queue_id])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_the_transactions_of_other_threads(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        done = threading.Event()

        def write() -> None:
            while not done.is_set():
                queues.update(queue.id, description=str(uuid7()))

        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write) for _ in range(4)]
            children = [context.Process(target=_count_after_fork, args=(repository, queue.id)) for _ in range(20)]
            for child in children:
                child.start()
            for child in children:
                child.join(60)
            done.set()
            assert [writer.exception() for writer in writers] == [None] * 4
        assert [child.exitcode for child in children] == [0] * 20


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_inside_a_transaction_is_refused_and_its_parent_goes_on(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    refusals = context.SimpleQueue()

    def be_refused() -> None:
        try:
            AnnotationQueues(repository, "project").get(queue.id)
        except StorageError as error:
            refusals.put(str(error))
        try:
            SQLiteRepository(path)
        except StorageError as error:
            refusals.put(str(error))

    def new_id() -> str:
        # Ids are made inside the transaction.
        child = context.Process(target=be_refused)
        child.start()
        child.join(60)
        return "id"

    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        adding = AnnotationQueues(repository, "project", new_id=new_id)
        assert len(adding.add_items(queue.id, [NewItem(call_id="call")], added_by="ann").added) == 1
        assert queues.stats([queue.id])[0].total_items == 1
    assert "forked" in refusals.get()
    assert "forked" in refusals.get()


def _write_after_fork(repository: SQLiteRepository, queue_id: str, name: str) -> None:
    queues = AnnotationQueues(repository, "project")
    for number in range(5):
        queues.add_items(queue_id, [NewItem(call_id=f"{name}-{number}")], added_by="ann")


def _fork_bare(work: Callable[[], None]) -> int:
    """Fork without multiprocessing; give the child's exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_and_children_that_are_forked_beside_them_all_write(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")
        done = threading.Event()

        def write(number: int) -> int:
            written = 0
            while not done.is_set():
                _write_after_fork(repository, queue.id, f"thread-{number}-{written}")
                written += 5
            return written

        def fork(number: int) -> list[int]:
            names = [f"child-{number}-{turn}" for turn in range(4)]
            return [_fork_bare(partial(_write_after_fork, repository, queue.id, name)) for name in names]

        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, number) for number in range(2)]
            # Forks out of two threads at once, neither of which is the main one.
            forks = [pool.submit(fork, number) for number in range(2)]
            codes = [each.exception() or each.result() for each in forks]
            done.set()
            assert codes == [[0] * 4] * 2
            written = sum(each.result(60) for each in writers)
        assert AnnotationQueues(repository, "project").stats([queue.id])[0].total_items == written + 2 * 4 * 5
        assert repository.check() == ()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_bare_fork_and_a_fork_of_the_fork_write_beside_their_parents(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queue = AnnotationQueues(repository, "project").create("queue", created_by="ann")

        def child() -> None:
            _write_after_fork(repository, queue.id, "child")
            assert _fork_bare(lambda: _write_after_fork(repository, queue.id, "grandchild")) == 0
            _write_after_fork(repository, queue.id, "child again")
            repository.close()

        _write_after_fork(repository, queue.id, "parent")
        assert _fork_bare(child) == 0
        # The child closed what it had, not what is ours.
        _write_after_fork(repository, queue.id, "parent again")
        assert AnnotationQueues(repository, "project").stats([queue.id])[0].total_items == 5 * 5
        assert repository.check() == ()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_that_waits_too_long_for_another_threads_transaction_leaves_a_child_that_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connections, "_FORK_SECONDS", 0.05)
    inside, go_on = threading.Event(), threading.Event()

    def new_id() -> str:
        # Ids are made inside the transaction.
        inside.set()
        assert go_on.wait(30)
        return "id"

    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")

        def be_refused() -> None:
            for use in (lambda: queues.get(queue.id), lambda: SQLiteRepository(path)):
                with pytest.raises(StorageError, match="forked"):
                    use()
            # Another file is none of that.
            with SQLiteRepository(path.with_name("other.db"), synchronous="OFF") as other:
                AnnotationQueues(other, "project").create("theirs", created_by="ann")

        with ThreadPoolExecutor(1) as pool:
            slow = AnnotationQueues(repository, "project", new_id=new_id)
            adding = pool.submit(lambda: slow.add_items(queue.id, [NewItem(call_id="call")], added_by="ann"))
            assert inside.wait(30)
            assert _fork_bare(be_refused) == 0
            go_on.set()
            assert len(adding.result(60).added) == 1
        assert queues.stats([queue.id])[0].total_items == 1
        assert repository.check() == ()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_memory_repository_is_copied_by_a_fork_also_while_other_threads_use_it() -> None:
    with MemoryRepository() as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        done = threading.Event()

        def write() -> None:
            number = 0
            while not done.is_set():
                queues.add_items(queue.id, [NewItem(call_id=str(number))], added_by="ann")
                number += 1

        def child() -> None:
            # No thread of the parent is here any more, and none left a lock or half a change behind.
            before = queues.stats([queue.id])[0].total_items
            queues.add_items(queue.id, [NewItem(call_id="child")], added_by="ann")
            assert queues.stats([queue.id])[0].total_items == before + 1
            assert repository.check() == ()

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            codes = [_fork_bare(child) for _ in range(10)]
            done.set()
            writer.result(60)
        assert codes == [0] * 10
        assert repository.check() == ()
        assert "child" not in {item.call_id for item in queues.iter_items(queue.id)}


@pytest.mark.slow
def test_while_8_processes_claim_another_ranks_all_items_anew_and_each_claim_is_that_of_some_moment(path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with (
        SQLiteRepository(path, synchronous="OFF", busy_timeout=60) as repository,
        ProcessPoolExecutor(CLAIMERS, mp_context=spawn) as pool,
    ):
        claim_while_others_rank(repository, pool, one_by_one=True)


def test_what_is_purged_is_in_no_byte_of_the_file(path: Path) -> None:
    with SQLiteRepository(path) as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        news = [NewItem(call_id=f"call-{number}", payload={"text": f"secret-{number}" * 400}) for number in range(40)]
        added = queues.add_items(queue.id, news, added_by="ann").added
        for item in added:
            queues.update_progress(item.id, "bob", AnnotationState.COMPLETED, annotation=f"label-{item.call_id}")
        queues.remove_items(queue.id, [item.id for item in added[:39]])
        purged = queues.purge(removed_before=queues.get_item(added[39].id).updated_at + timedelta(days=1))
        assert purged.items == 39
        assert repository.check() == ()
        everything = b"".join(each.read_bytes() for each in path.parent.iterdir() if each.suffix != ".db-shm")
        assert b"secret-39" in everything
        for number in (0, 7, 38):
            assert f"secret-{number}secret".encode() not in everything
            assert f"label-call-{number}".encode() not in everything


def test_what_is_purged_is_in_no_table(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        purge_marked(AnnotationQueues(repository, "project"), longest=3_000)
        assert repository.check() == ()
    with closing(sqlite3.connect(path)) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: file.execute(f"SELECT * FROM {name}").fetchall() for name in tables}  # noqa: S608 - the file's own
    assert any(KEPT in repr(found) for found in rows.values())
    assert [name for name, found in rows.items() if MARK in repr(found)] == []
