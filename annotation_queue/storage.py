"""What whoever writes a repository needs: the contract, the values, the rules, and how entities become bytes.

A repository stores and compares. `Repository` says what each method has to do, and its docstrings are the contract; what a
state, a view, a page or a claimable item is, is said by the functions here. There are three ways to use them, from the least
work to the fastest answers:

- A storage that can read a whole queue hands it to the ``scan_...`` functions and stores what they decide.
- One that keeps indexes asks `standing`, `claimable_at`, `grant` and `put_back` for each item, and keeps what they gave beside
  it.
- One that can sort and cut pages makes them with `ItemQuery.order`, `ItemQuery.after` and `ItemQuery.page`.

`dump_entity` and `load_entity` turn entities into bytes and back; `write_json`, `load_json`, `to_micros` and `from_micros` do
so with single values. `annotation_queue.testing` has the contract as tests.

>>> at = from_micros(1_750_000_000_000_000)
>>> item = QueueItem(id="i", project_id="p", queue_id="q", call_id="c", call_started_at=at, created_at=at, created_by="ann",
...     updated_at=at)
>>> load_entity(QueueItem, dump_entity(item)) == item
True
"""

from __future__ import annotations

import json
from typing import Final, TypeVar

from annotation_queue.changes import ChangePage, Settlement, change_cursor, is_settlement, place_of_cursor
from annotation_queue.converters import make_converter
from annotation_queue.counters import FINISHED, SETTLED, counts_of, stats_of
from annotation_queue.errors import (
    Conflict,
    ItemNotFound,
    OutcomeUnknown,
    QueueNotFound,
    SchemaVersionUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnreachable,
)
from annotation_queue.items import (
    AddedItems,
    AnnotationQueue,
    Claim,
    ItemPatch,
    NewItem,
    Purged,
    QueueItem,
    QueueStats,
    Unavailable,
    UnavailableReason,
    copy_payload,
    copy_queue,
    explain_unavailable,
    patched,
    same_queue,
)
from annotation_queue.json_values import JsonValue, load_json, write_json
from annotation_queue.labels import Label, LabelPage, LabelQuery, LabelText, LabelTextPage, text_of
from annotation_queue.moves import Reset, grant
from annotation_queue.query import ItemFilter, ItemPage, ItemQuery, QueuePage, QueueQuery, search_text
from annotation_queue.records import (
    NEW,
    Change,
    ItemRecord,
    Standing,
    change_of,
    item_of,
    merge,
    own_progress,
    put_back,
    standing,
    view,
)
from annotation_queue.repository import CountsRemoved, ReadsLabelTexts, Repository
from annotation_queue.scans import (
    after_change,
    claim_of,
    in_queue_order,
    scan_additions,
    scan_changes,
    scan_claims,
    scan_holds,
    scan_items,
    scan_labels,
    scan_queues,
    scan_resets,
    scan_restorations,
    scan_selection,
    scan_settlements,
    scan_stats,
    seen_by,
    shown_record,
)
from annotation_queue.sorting import QUEUE_ORDER, STATE_RANKS, Direction, FieldKind, Order, SortBy, SortField
from annotation_queue.states import (
    ALWAYS,
    UNREAD,
    AnnotationState,
    Policies,
    Progress,
    SkipPolicy,
    Transition,
    aggregate,
    claimable_at,
    is_expired,
    is_finished,
    is_for,
    with_annotation,
)
from annotation_queue.values import from_micros, lease_end, to_micros

__all__ = [
    "ALWAYS",
    "FINISHED",
    "NEW",
    "QUEUE_ORDER",
    "SETTLED",
    "STATE_RANKS",
    "UNREAD",
    "AddedItems",
    "AnnotationQueue",
    "AnnotationState",
    "Change",
    "ChangePage",
    "Claim",
    "Conflict",
    "CountsRemoved",
    "Direction",
    "FieldKind",
    "ItemFilter",
    "ItemNotFound",
    "ItemPage",
    "ItemPatch",
    "ItemQuery",
    "ItemRecord",
    "JsonValue",
    "Label",
    "LabelPage",
    "LabelQuery",
    "LabelText",
    "LabelTextPage",
    "NewItem",
    "Order",
    "OutcomeUnknown",
    "Policies",
    "Progress",
    "Purged",
    "QueueItem",
    "QueueNotFound",
    "QueuePage",
    "QueueQuery",
    "QueueStats",
    "ReadsLabelTexts",
    "Repository",
    "Reset",
    "SchemaVersionUnknown",
    "Settlement",
    "SkipPolicy",
    "SortBy",
    "SortField",
    "Standing",
    "StorageBusy",
    "StorageCorrupt",
    "StorageDenied",
    "StorageError",
    "StorageFull",
    "StorageUnreachable",
    "Transition",
    "Unavailable",
    "UnavailableReason",
    "after_change",
    "aggregate",
    "change_cursor",
    "change_of",
    "claim_of",
    "claimable_at",
    "copy_payload",
    "copy_queue",
    "counts_of",
    "dump_entity",
    "explain_unavailable",
    "from_micros",
    "grant",
    "in_queue_order",
    "is_expired",
    "is_finished",
    "is_for",
    "is_settlement",
    "item_of",
    "lease_end",
    "load_entity",
    "load_json",
    "merge",
    "own_progress",
    "patched",
    "place_of_cursor",
    "put_back",
    "same_queue",
    "scan_additions",
    "scan_changes",
    "scan_claims",
    "scan_holds",
    "scan_items",
    "scan_labels",
    "scan_queues",
    "scan_resets",
    "scan_restorations",
    "scan_selection",
    "scan_settlements",
    "scan_stats",
    "search_text",
    "seen_by",
    "shown_record",
    "standing",
    "stats_of",
    "text_of",
    "to_micros",
    "view",
    "with_annotation",
    "write_json",
]

_Entity = TypeVar("_Entity")
_CONVERTER: Final = make_converter()


def dump_entity(entity: object) -> bytes:
    """Write an entity, or an attrs class of yours that holds entities, as JSON in UTF-8; `load_entity` reads it.

    Args:
        entity: What to write. Its labels and payloads were checked when it was made.

    Returns:
        Compact JSON; keys keep their order.
    """
    return write_json(_CONVERTER.unstructure(entity)).encode()


def load_entity(kind: type[_Entity], written: bytes) -> _Entity:
    """Read what `dump_entity` wrote.

    Args:
        kind: The class of what was written.
        written: The bytes.

    Returns:
        A fresh one that nobody else holds, with every field checked.

    Raises:
        StorageCorrupt: The bytes are not what `dump_entity` writes for this class.
    """
    try:
        return _CONVERTER.structure(json.loads(written), kind)
    except Exception as error:
        raise StorageCorrupt(
            f"the storage holds what this library never wrote for a {kind.__name__} ({error})"
        ) from error
