"""Resets of many items: one transaction, a list of items at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, ItemFilter, NewItem, SQLiteRepository
from annotation_queue.repositories.sql.chunks import CHUNK
from annotation_queue.repositories.sqlite.connections import Connections
from annotation_queue.repositories.sqlite.session import Session

if TYPE_CHECKING:
    from pathlib import Path

MANY = CHUNK + 200
COMPLETED = AnnotationState.COMPLETED


@pytest.mark.slow
@pytest.mark.parametrize("by_filter", [True, False])
def test_however_many_items_are_reset_it_is_one_transaction_that_holds_a_list_of_them_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_filter: bool
) -> None:
    read: list[int] = []
    begun: list[object] = []
    records, writing = Session.records, Connections.writing

    def count(session: Session, project_id: str, item_ids: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the method
        read.append(len(item_ids))
        return records(session, project_id, item_ids, *args, **options)

    def begin(connections: Connections) -> Any:  # noqa: ANN401 - as the method
        begun.append(connections)
        return writing(connections)

    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=str(n)) for n in range(MANY + 3)], added_by="ann")
        claims = queues.claim_batch(queue.id, "bob", MANY)
        queues.complete_batch([(claim, "label") for claim in claims])
        monkeypatch.setattr(Session, "records", count)
        monkeypatch.setattr(Connections, "writing", begin)
        which = ItemFilter() if by_filter else [claim.item.id for claim in claims]
        assert queues.reset(queue.id, which, actor_id="boss") == MANY
        # Items that nobody ever touched are not even read.
        assert read == [CHUNK, MANY - CHUNK]
        assert len(begun) == 1
        monkeypatch.undo()
        assert queues.reset(queue.id, which, actor_id="boss") == 0
        assert isinstance(queues.claim(queue.id, "bob"), Claim)
        assert queues.stats([queue.id])[0].by_state[COMPLETED] == 0
        assert repository.check() == ()
