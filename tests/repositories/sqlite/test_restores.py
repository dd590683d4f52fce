"""A file that changes under an open repository: restored to an earlier time, or migrated by a newer version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    Conflict,
    LabelQuery,
    NewItem,
    SchemaVersionUnknown,
    SQLiteRepository,
    StorageError,
)
from annotation_queue.repositories.sqlite.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.clocks import Clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


def copied(source: Path, target: Path) -> Path:
    """Copy a file by SQLite's backup, into the target as it is open elsewhere."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
    return target


def claimed(queues: AnnotationQueues, queue_id: str, annotator_id: str) -> Claim:
    """Claim an item, which is there."""
    claim = queues.claim(queue_id, annotator_id)
    assert claim
    return claim


def test_numbers_that_are_given_again_after_a_restore_are_mixed_up_with_nothing(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        ours = AnnotationQueues(repository, "ours")
        before = ours.create("before", created_by="ann")
        backup = copied(path, path.with_name("backup.db"))
        queue = ours.create("secret", created_by="alice")
        ours.add_items(queue.id, [NewItem(call_id="call", call_op_name="op", display_fields=["f"])], added_by="alice")
        claim = ours.claim(queue.id, "alice")
        assert claim
        copied(backup, path)
        # Another process goes on with the restored file, and gives the same numbers to others.
        with SQLiteRepository(path, synchronous="OFF") as other:
            theirs = AnnotationQueues(other, "theirs")
            foreign = theirs.create("foreign", created_by="mallory")
            theirs.add_items(
                foreign.id, [NewItem(call_id="call 2", call_op_name="po", display_fields=["g"])], added_by="mallory"
            )
            theirs.complete(claimed(theirs, foreign.id, "mallory"), "theirs")
            told = theirs.query_items(foreign.id).items, theirs.labels(foreign.id).labels, theirs.stats([foreign.id])
        seen = AnnotationQueues(repository, "theirs")
        assert (seen.query_items(foreign.id).items, seen.labels(foreign.id).labels, seen.stats([foreign.id])) == told
        assert [each.id for each in ours.query().queues] == [before.id]
        item_id = told[0][0].id
        seen.update_progress(item_id, "alice", AnnotationState.COMPLETED, annotation="alice's")
        labels = seen.labels(foreign.id, LabelQuery(annotator_id="alice")).labels
        assert [label.progress.annotation for label in labels] == ["alice's"]
        with SQLiteRepository(path, synchronous="OFF") as other:
            again = AnnotationQueues(other, "theirs").progress(item_id)
            assert [(each.annotator_id, each.annotation) for each in again] == [
                ("alice", "alice's"),
                ("mallory", "theirs"),
            ]
        assert repository.check() == ()


def test_what_was_read_before_a_restore_is_not_written_over_what_stands_at_its_numbers(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        backup = copied(path, path.with_name("backup.db"))
        (item,) = queues.add_items(queue.id, [NewItem(call_id="one")], added_by="ann").added
        read = repository.get_records("project", [item.id], with_items=False)[item.id]
        copied(backup, path)
        (other,) = queues.add_items(queue.id, [NewItem(call_id="other")], added_by="ann").added
        current = repository.get_records("project", [other.id], with_items=False)[other.id]
        # The very numbers that the other item has now.
        assert read.revision == current.revision or read.revision[2] == current.revision[2]  # type: ignore[index]
        saved: list[Any] = []
        save = repository.save

        def spy(writes: Any) -> None:  # noqa: ANN401 - whatever the service saves
            saved.extend(writes)
            save(writes)

        repository.save = spy  # type: ignore[method-assign]
        queues.update_progress(other.id, "ann", AnnotationState.COMPLETED, annotation="label")
        ((_, change),) = saved
        with pytest.raises(Conflict):
            save([(read, change)])
        assert repository.check() == ()


def test_a_claim_after_a_restore_serves_what_was_settled_only_in_the_lost_future(path: Path) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann", annotations_per_item=2)
        items = queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(6)], added_by="ann").added
        for _ in range(2):
            queues.complete(claimed(queues, queue.id, "ann"), "kept")
        backup = copied(path, path.with_name("backup.db"))
        for _ in range(3):
            queues.complete(claimed(queues, queue.id, "ann"), "lost")
        queues.claim(queue.id, "ann")
        copied(backup, path)
        claim = queues.claim(queue.id, "ann")
        assert claim
        assert claim.item.id == items[2].id


WRITES: dict[str, Callable[[AnnotationQueues, str, str], object]] = {
    "create": lambda queues, queue_id, item_id: queues.create("another", created_by="ann"),  # noqa: ARG005
    "add": lambda queues, queue_id, item_id: queues.add_items(  # noqa: ARG005
        queue_id, [NewItem(call_id="new")], added_by="ann"
    ),
    "claim": lambda queues, queue_id, item_id: queues.claim(queue_id, "ann"),  # noqa: ARG005
    "progress": lambda queues, queue_id, item_id: queues.update_progress(item_id, "ann", AnnotationState.COMPLETED),  # noqa: ARG005
    "remove": lambda queues, queue_id, item_id: queues.remove_items(queue_id, [item_id]),
    "delete": lambda queues, queue_id, item_id: queues.delete(queue_id),  # noqa: ARG005
    "update": lambda queues, queue_id, item_id: queues.update(queue_id, annotations_per_item=2),  # noqa: ARG005
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_nothing_is_written_to_a_file_whose_schema_another_version_changed_meanwhile(
    path: Path, version: int, name: str
) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        (item,) = queues.add_items(queue.id, [NewItem(call_id="call")], added_by="ann").added
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
            before = list(connection.iterdump())
        with pytest.raises(SchemaVersionUnknown if version > SCHEMA_VERSION else StorageError):
            WRITES[name](queues, queue.id, item.id)
        with closing(sqlite3.connect(path)) as connection:
            assert list(connection.iterdump()) == before
            # Nor is anything locked.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        WRITES[name](queues, queue.id, item.id)


def test_what_a_claim_left_is_not_believed_of_a_file_that_went_back_in_time_though_the_clock_stood_still(
    path: Path, clock: Clock
) -> None:
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "p", clock=clock)
        queue = queues.create("q", created_by="alice")
        queues.add_items(queue.id, [NewItem(call_id="call"), NewItem(call_id="other")], added_by="mallory")
        queues.complete(claimed(queues, queue.id, "alice"), "hers")
        backup = copied(path, path.with_name("backup.db"))
        claim = claimed(queues, queue.id, "alice")
        copied(backup, path)
        with SQLiteRepository(path, synchronous="OFF") as other:
            theirs = claimed(AnnotationQueues(other, "p", clock=clock), queue.id, "mallory")
        assert (theirs.item.id, theirs.token) == (claim.item.id, claim.token)
        with pytest.raises(ClaimLost):
            queues.complete(claim, "alice's, of what is mallory's now")
        queues.complete(theirs, "theirs")
        assert [(each.annotator_id, each.annotation) for each in queues.progress(claim.item.id)] == [
            ("mallory", "theirs")
        ]
        assert repository.check() == ()
