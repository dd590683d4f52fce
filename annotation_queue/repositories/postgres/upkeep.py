"""What a repository does now and then beside its calls: it keeps what they read short."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from annotation_queue.errors import QueueNotFound, StorageError
from annotation_queue.repositories.postgres.claims import first_place
from annotation_queue.repositories.postgres.session import Session

if TYPE_CHECKING:
    from annotation_queue.repositories.postgres.cache import Cache
    from annotation_queue.repositories.postgres.connections import Connections


def fold(connections: Connections, cache: Cache, session: Session) -> None:
    """Fold the counters of those queues to which this process has added many rows by now; later, if they are not committed yet.

    Args:
        connections: The connections to the schema.
        cache: What is known of it.
        session: What has added to counters.
    """
    cache.due.folds.update(queue for queue, rows in session.counted.items() if cache.counts_are_due(queue, rows))
    if cache.due.folds and not connections.is_joined:
        fold_due(connections, cache)


def fold_due(connections: Connections, cache: Cache) -> None:
    """Fold the counters of which this is due."""
    while cache.due.folds:
        # Another thread may be faster.
        with suppress(KeyError, StorageError):
            queue = cache.due.folds.pop()
            # It changes nothing that anybody sees.
            with Session(connections.one_statement(writes=True), cache, is_alone=True) as folding:
                folding.fold(queue)


def catch_up(connections: Connections, cache: Cache) -> None:
    """Do what calls that joined transactions have left to do, outside of these; only if nobody has to wait for a connection."""
    if connections.is_joined or not (cache.due.folds or cache.due.marks) or not connections.has_room:
        return
    fold_due(connections, cache)
    while cache.due.marks:
        with suppress(KeyError, StorageError, QueueNotFound):
            project_id, queue_id, annotator = cache.due.marks.pop()
            with Session(connections.reading(custom=True), cache) as session:
                first_place(session, session.queue(project_id, queue_id), annotator)
