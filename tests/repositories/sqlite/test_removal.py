"""Removing many items takes several transactions: what others do in between is neither lost nor mistaken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from annotation_queue import AnnotationQueues, ItemFilter, NewItem, QueueNotFound, SQLiteRepository, StorageBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOREVER = datetime.max.replace(tzinfo=UTC)
PART = 10


class OnePart:
    """In the place of `Pace`: each transaction has one part."""

    def __init__(self, _seconds: float, **_: float) -> None:
        self._has_part = False

    def begin(self) -> None:
        self._has_part = False

    def part(self) -> int:
        return 0 if self._has_part else PART

    def took(self, _members: int) -> None:
        self._has_part = True

    def committed(self) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteRepository]:
    monkeypatch.setattr(f"{SQLiteRepository.__module__}.Pace", OnePart)
    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as repository:
        yield repository


def filled(repository: SQLiteRepository) -> tuple[AnnotationQueues, str, list[str]]:
    """Make a queue of three parts."""
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("Triage", created_by="ann")
    news = [NewItem(call_id=f"call-{n}") for n in range(3 * PART)]
    return queues, queue.id, [item.id for item in queues.add_items(queue.id, news, added_by="ann").added]


def once(repository: SQLiteRepository, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Let others do something after the first part."""
    todo = [do]
    monkeypatch.setattr(repository._connections, "give_way", lambda: todo and todo.pop()())


def test_items_that_got_the_numbers_of_purged_ones_in_between_are_not_removed(
    repository: SQLiteRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues, queue_id, ids = filled(repository)

    def purge_and_add() -> None:
        assert queues.remove_items(queue_id, ids[-PART:]) == PART
        assert queues.purge(removed_before=FOREVER).items == 2 * PART
        queues.add_items(queue_id, [NewItem(call_id=f"new-{n}") for n in range(PART)], added_by="eve")

    once(repository, monkeypatch, purge_and_add)
    assert queues.remove_items(queue_id, ids) == 2 * PART
    assert [item.call_id for item in queues.iter_items(queue_id)] == [f"new-{n}" for n in range(PART)]
    assert repository.check() == ()


@pytest.mark.parametrize("by_filter", [False, True])
def test_an_error_in_between_tells_what_was_removed_before(
    repository: SQLiteRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, by_filter: bool
) -> None:
    queues, queue_id, ids = filled(repository)
    which = ItemFilter() if by_filter else ids
    holding = SQLiteRepository(tmp_path / "queues.db")._connections.writing()
    once(repository, monkeypatch, holding.__enter__)
    monkeypatch.setattr(repository._connections, "_busy_timeout", 0)
    with pytest.raises(StorageBusy) as caught:
        queues.remove_items(queue_id, which)
    holding.end()
    assert caught.value.__notes__ == ["10 items were removed before that, and stay so; call again for the rest"]
    assert queues.stats([queue_id])[0].total_items == 2 * PART
    assert queues.remove_items(queue_id, which) == 2 * PART
    assert repository.check() == ()


def test_an_error_before_anything_was_removed_tells_nothing_more(repository: SQLiteRepository) -> None:
    queues, queue_id, ids = filled(repository)
    queues.delete(queue_id)
    with pytest.raises(QueueNotFound) as caught:
        queues.remove_items(queue_id, ids)
    assert not hasattr(caught.value, "__notes__")


def test_whoever_has_the_file_open_forgets_what_was_purged_in_it(repository: SQLiteRepository, tmp_path: Path) -> None:
    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as another:
        purging, looking = AnnotationQueues(repository, "project"), AnnotationQueues(another, "project")
        gone = purging.create("gone", created_by="ann", annotations_per_item=2, queue_id="queue")
        purging.add_items(gone.id, [NewItem(call_id="x", call_op_name="old")], added_by="ann")
        for queues in (purging, looking):
            assert queues.get(gone.id) == gone
            assert queues.query_items(gone.id).items[0].call_op_name == "old"
        purging.delete(gone.id)
        assert purging.purge(removed_before=FOREVER).queues == 1
        made = purging.create("made", created_by="eve", queue_id="queue")
        purging.add_items(made.id, [NewItem(call_id="y", call_op_name="new")], added_by="eve")
        for queues in (looking, purging):
            assert queues.get(made.id) == made
            assert queues.query_items(made.id).items[0].call_op_name == "new"
        assert looking.claim(made.id, "bob")
        assert not purging.claim(made.id, "dan")
        assert another.check() == ()
