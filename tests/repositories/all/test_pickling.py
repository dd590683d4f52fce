"""Repositories with an address travel to other processes; the others say that they cannot."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, Claim, MemoryRepository, NewItem, SQLiteRepository, StorageError
from helpers.workers import work_in_started_processes

if TYPE_CHECKING:
    from pathlib import Path


def test_a_pickled_sqlite_repository_opens_the_same_file_with_the_same_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with SQLiteRepository("labels.db", synchronous="OFF", busy_timeout=0.25) as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        travelled = pickle.dumps(queues)
        monkeypatch.chdir("/")
        there: AnnotationQueues = pickle.loads(travelled)  # noqa: S301 - our own
        with there._repository as opened:
            assert isinstance(opened, SQLiteRepository)
            assert opened is not repository
            assert opened._options == repository._options == {"synchronous": "OFF", "busy_timeout": 0.25}
            there.add_items(queue.id, [NewItem(call_id="call")], added_by="ann")
            assert isinstance(queues.claim(queue.id, "ann"), Claim)


def test_a_pickled_sqlite_repository_makes_no_new_file_on_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    with SQLiteRepository(path) as repository:
        travelled = pickle.dumps(repository)
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StorageError, match=r"labels\.db is not there, and the repository was pickled where it is"):
        pickle.loads(travelled)  # noqa: S301 - our own
    assert not path.exists()


def test_a_repository_in_memory_says_that_it_cannot_be_pickled() -> None:
    with MemoryRepository() as repository, pytest.raises(TypeError, match="processes share a SQLiteRepository"):
        pickle.dumps(AnnotationQueues(repository, "project"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_inherit_nothing_share_a_file(tmp_path: Path, method: str) -> None:
    with SQLiteRepository(tmp_path / "labels.db", synchronous="OFF") as repository:
        work_in_started_processes(method, repository, workers=2, each=25)
        assert repository.check() == ()
