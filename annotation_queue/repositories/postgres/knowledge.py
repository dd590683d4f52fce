"""What the server knows of its tables, which its plans rest on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from annotation_queue.errors import StorageError
from annotation_queue.query import ItemFilter
from annotation_queue.repositories.postgres.session import Session
from annotation_queue.repositories.sql.chunks import CHUNK

if TYPE_CHECKING:
    from collections.abc import Collection

    from annotation_queue.repositories.postgres.cache import Cache
    from annotation_queue.repositories.postgres.connections import Connections

_MANY: Final = CHUNK
"""From how many items on that are new or change it is worth a look."""


def look_at_tables(
    connections: Connections, cache: Cache, items: Collection[object] | ItemFilter, queue_id: str | None = None
) -> None:
    """Have the server look at its tables if many items are concerned, of which it would know nothing until it does by itself.

    Args:
        connections: The connections to the schema.
        cache: What is known of it.
        items: The items, or how they are chosen: then nobody knows how many they are, and nothing is done.
        queue_id: The queue of items that are there, of which it may know already; None if the items are new. If it believes
            that the queue has fewer, it would read all of it for each list of them.

    Raises:
        QueueNotFound: There is no such queue.
    """
    # Citus refuses to be asked in a transaction that has read the schema's version.
    if isinstance(items, ItemFilter) or len(items) < _MANY or connections.is_joined or connections.is_distributed:
        return
    with suppress(StorageError), Session(connections.writing(()), cache) as session:
        if queue_id is None or session.believed(session.num(queue_id)) < len(items):
            session.analyze()
