"""Requests that may be repeated: an ``Idempotency-Key`` decides the ids of what is made, so that a repetition finds it.

Nothing is remembered for it, in no process: what the first request made has these ids, or it made nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
from copy import copy
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue.items import AddedItems
from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.sorting import SortBy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annotation_queue.queues import AnnotationQueues

_BITS: Final = 48


def keyed_ids(*key: str) -> Iterator[str]:
    """Make the ids that a key stands for: UUIDs of version 8, which sort as they are made.

    Args:
        key: The key, with whose it is.

    Yields:
        The ids.
    """
    digest = hashlib.sha256("\0".join(key).encode()).digest()
    high = int.from_bytes(digest[:10], "big")
    for number in itertools.count():
        value = (high << _BITS) | number
        # The version and the variant, as RFC 9562 places them.
        value = value & ~(0xF << 76) | (8 << 76)
        value = value & ~(0x3 << 62) | (0x2 << 62)
        yield str(uuid.UUID(int=value))


def create(queues: AnnotationQueues, arguments: Mapping[str, Any], *key: str) -> object:
    """Make a queue, or find the one that an equal request with this key made."""
    return queues.create(**{"queue_id": next(keyed_ids(*key))} | dict(arguments))


def add_items(queues: AnnotationQueues, arguments: Mapping[str, Any], *key: str) -> AddedItems:
    """Add items, and answer as the first time if a request with this key added them.

    Args:
        queues: The service.
        arguments: The arguments.
        key: As for `keyed_ids`.

    Returns:
        The answer.
    """
    items, ids = arguments["items"], keyed_ids(*key)
    keyed = copy(queues)
    keyed._new_id = lambda: next(ids)  # noqa: SLF001 - the same service but for its ids
    added = keyed.add_items(**arguments)
    if added.added or not items:
        return added
    made = frozenset(itertools.islice(keyed_ids(*key), len(items)))
    query = ItemQuery(filter=ItemFilter(id=made), sort_by=(SortBy("id"),))
    found = queues.query_items(arguments["queue_id"], query).items
    return attrs.evolve(added, added=found, duplicates=added.duplicates - len(found))
