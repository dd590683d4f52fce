"""What the runner logs: failed attempts, a failing storage, lost leases; never what an item or a label holds."""

from __future__ import annotations

import io
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from annotation_queue import (
    AnnotationQueues,
    MemoryRepository,
    NewItem,
    QueueItem,
    RetryLater,
    SkipItem,
    StorageBusy,
    run_batch,
)
from annotation_queue.batch.limits import Limits
from helpers.batches import AT_ONCE, fill, run_within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from annotation_queue import Change, ItemRecord

MARK = "sk-5ecret"
PROMPT = Limits(retries=AT_ONCE, storage_retries=AT_ONCE)


class Troubled(MemoryRepository):
    """Fails to save as often as it is told to."""

    failures = 0

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageBusy("the storage is busy")
        super().save(writes)


@pytest.fixture
def repository() -> Iterator[Troubled]:
    """A repository in memory that fails on demand."""
    with Troubled() as made:
        yield made


@pytest.fixture
def queues(repository: Troubled) -> AnnotationQueues:
    """A project in it."""
    return AnnotationQueues(repository, "project")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.name}: {record.getMessage()}" for record in caplog.records]


def test_failed_attempts_and_what_becomes_of_their_items_are_logged(
    queues: AnnotationQueues, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "annotation_queue")
    queue_id = fill(queues, 2)
    calls = 0

    def label(item: QueueItem) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RetryLater(0)
        if item.call_id == "call-000":
            raise ValueError(MARK)
        return MARK

    run_within(PROMPT, queues, queue_id, label, max_attempts=2)
    first = next(queues.iter_items(queue_id)).id
    counts = "1 completed, 1 skipped, 1 failed, 0 released, 0 lost"
    assert said(caplog) == [
        f"INFO annotation_queue.batch: a run of 'model' over queue {queue_id!r} begins",
        f"INFO annotation_queue.batch: item {first!r} (call 'call-000'): attempt 1 raised RetryLater, again in 0 s",
        f"INFO annotation_queue.batch: item {first!r} (call 'call-000'): attempt 2 raised ValueError, again in 0 s",
        f"WARNING annotation_queue.batch: item {first!r} (call 'call-000') failed after 3 attempts: ValueError",
        f"INFO annotation_queue.batch: the run of 'model' over queue {queue_id!r} ended: done: {counts}",
    ]


def test_a_storage_that_fails_and_works_again_is_logged_once(
    queues: AnnotationQueues, repository: Troubled, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "annotation_queue")
    queue_id = fill(queues, 1)

    def label(_item: QueueItem) -> object:
        repository.failures = 3
        return "fine"

    assert run_within(PROMPT, queues, queue_id, label).completed == 1
    assert said(caplog)[1:-1] == [
        "WARNING annotation_queue.batch: the storage fails, trying again: the storage is busy",
        "INFO annotation_queue.batch: the storage works again",
    ]


def test_a_lost_lease_is_logged(queues: AnnotationQueues, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "annotation_queue")
    queue_id = fill(queues, 1)

    def label(item: QueueItem) -> object:
        queues.update_progress(item.id, "model", item.annotation_state.UNSTARTED)
        return "too late"

    assert run_batch(queues, queue_id, label, annotator_id="model", limit=1).lost == 1
    item_id = next(queues.iter_items(queue_id)).id
    assert said(caplog) == [
        f"WARNING annotation_queue.batch: the claim on item {item_id!r} (call 'call-000') was lost, and its result dropped"
    ]


def test_no_payload_no_label_and_no_error_text_is_logged(queues: AnnotationQueues) -> None:
    queue = queues.create("queue", created_by="ann", label_schema={"type": "object", "maxProperties": 0})
    queue_id = fill(queues, 6)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s %(args)s"))
    log = logging.getLogger("annotation_queue")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)

    def label(item: QueueItem) -> Any:  # noqa: ANN401 - any label, and worse
        match item.call_id:
            case "call-001":
                raise KeyError(MARK)
            case "call-002":
                raise SkipItem(MARK)
            case "call-003":
                return {MARK}  # no JSON
            case "call-004":
                return {"label": MARK}
        return MARK

    try:
        queues.add_items(queue.id, [NewItem(call_id="x", payload={"key": MARK})], added_by="ann")
        for each in (queue_id, queue.id):
            run_within(PROMPT, queues, each, label, timeout=timedelta(seconds=30))
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    assert "failed after 3 attempts: KeyError" in written.getvalue()
    assert "InvalidLabel" in written.getvalue()
    assert MARK not in written.getvalue()


def test_nothing_is_shown_unless_the_application_says_so() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("annotation_queue").handlers)
