"""What each argument of each call may be: the whole vocabulary of random histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from annotation_queue.states import SETTLING, AnnotationState, SkipPolicy
from annotation_queue.testing.comparison import PROJECTS, WORKFLOWS
from annotation_queue.testing.examples import (
    ANNOTATIONS,
    ANNOTATORS,
    FILTERS,
    PATCHES,
    QUEUE_SORTS,
    SCHEMAS,
    SHAPES,
    SORTS,
    STEPS,
    TEXTS,
)

RIGHT, STRANGER, UNKNOWN = "right", "the other project's", "unknown"
OLD_CLAIMS: Final = 12
OLD_WALKS: Final = 6
CALL_IDS: Final = (*TEXTS, *(f"call {number}" for number in range(80)))

_QUEUE: Final = range(12)
_ITEM: Final = range(1_000)
_AIM: Final = (RIGHT,) * 14 + (STRANGER, UNKNOWN)
_LEASE: Final = (None, timedelta(seconds=1), timedelta(minutes=10))
_LIMIT: Final = (None, 0, 1, 2, 3, 1000)
_CLAIM: Final = range(OLD_CLAIMS)
_LABEL_STATES: Final = (SETTLING, {"completed"}, {"in_progress", "unstarted"}, set(AnnotationState), set[str]())
_WINDOW: Final = (timedelta(hours=1), timedelta(microseconds=1), timedelta(minutes=1), timedelta(days=36_500))
_BY_REF: Final = (False, True)
_REASON: Final = (None, "", "too hard", "é\N{GRINNING FACE}")

ARGUMENTS: Final[Mapping[str, Mapping[str, Sequence[Any]]]] = {
    "create": {
        "project": PROJECTS,
        "name": TEXTS,
        "needed": (1, 2, 3),
        "policy": tuple(SkipPolicy),
        "lease": (timedelta(minutes=5), timedelta(minutes=1)),
        "id_is_taken": (False,) * 5 + (True,),
    },
    "create_again": {
        "queue": _QUEUE,
        "aim": _AIM,
        "changed": ("nothing", "nothing", "the name", "the schema", "the id"),
    },
    "get_or_create": {"project": PROJECTS, "name": TEXTS[:3], "needed": (1, 2)},
    "prescribe": {"queue": _QUEUE, "aim": _AIM, "schema": (None, None, None, None, *SCHEMAS)},
    "query": {
        "project": PROJECTS,
        "name": (None, *TEXTS),
        "sort_by": QUEUE_SORTS,
        "limit": _LIMIT,
        "offset": (0, 0, 1, 100),
    },
    "update": {
        "queue": _QUEUE,
        "aim": _AIM,
        "name": (None, *TEXTS),
        "needed": (None, 1, 2, 3),
        "policy": (None, *SkipPolicy),
    },
    "delete": {"queue": _QUEUE, "aim": _AIM},
    "look": {
        "what": ("queue", "statistics", "items", "item", "progress", "history", "changes"),
        "queue": _QUEUE,
        "item": _ITEM,
        "aim": _AIM,
    },
    "add_items": {
        "queue": _QUEUE,
        "aim": _AIM,
        "first": range(len(CALL_IDS)),
        "count": range(6),
        "shape": range(len(SHAPES)),
        "added_by": ("a", "É"),
        "end": ("well",) * 6 + ("an interruption", "a taken id"),
    },
    "get_item": {
        "item": _ITEM,
        "aim": _AIM,
        "queue": (None, *_QUEUE),
        "annotator": (None, *ANNOTATORS),
        "include_position": (False, True),
    },
    "query_items": {
        "queue": _QUEUE,
        "aim": _AIM,
        "item_filter": FILTERS,
        "item": (None, None, None, *_ITEM[:4]),
        "sort_by": SORTS,
        "limit": _LIMIT,
        "offset": (0, 0, 1, 2, 100),
        "annotator": (None, *ANNOTATORS),
        "include_position": (False, True),
        "include_total": (False, True),
        "include_payload": (True, True, False),
        "by_walking": (False, False, True),
    },
    "go_on": {
        "walk": range(OLD_WALKS),
        "changed": (
            *("nothing",) * 6,
            "the limit",
            "the filter",
            "the order",
            "the perspective",
            "the states",
            "the direction",
            "the project",
            "the cursor",
        ),
    },
    "remove_items": {
        "queue": _QUEUE,
        "aim": _AIM,
        "item": _ITEM,
        "count": range(1, 4),
        "item_filter": (None,) * 20 + FILTERS[1:],
    },
    "update_items": {
        "queue": _QUEUE,
        "aim": _AIM,
        "item": _ITEM,
        "count": range(1, 4),
        "item_filter": (*(None,) * len(FILTERS), *FILTERS),
        "patch": PATCHES,
    },
    "reprioritise": {
        "queue": _QUEUE,
        "aim": _AIM,
        "item": _ITEM,
        "count": range(1, 5),
        "first": (0, 1, -2, 1 << 40),
        "step": (1, 0, -1),
    },
    "restore_items": {"queue": _QUEUE, "aim": _AIM, "item": _ITEM, "count": range(1, 4)},
    "restore": {"queue": _QUEUE, "aim": _AIM},
    "purge": {
        "project": PROJECTS,
        "ago": (timedelta(minutes=1), timedelta(), timedelta(hours=1), timedelta(microseconds=-1)),
    },
    "pause": {"queue": _QUEUE, "aim": _AIM, "is_paused": (*(False,) * 5, True)},
    "update_progress": {
        "item": _ITEM,
        "aim": _AIM,
        "queue": (None, None, None, *_QUEUE[:3]),
        "annotator": ANNOTATORS,
        "state": tuple(AnnotationState),
        "workflow": tuple(WORKFLOWS),
        "annotation": ANNOTATIONS,
        "reason": _REASON,
        "actor": (None, None, *ANNOTATORS[:2]),
        "override": (False, False, False, True),
    },
    "reset": {
        "queue": _QUEUE,
        "aim": _AIM,
        "item": _ITEM,
        "count": range(1, 4),
        "item_filter": (None, None, None, *FILTERS[1:]),
        "annotator": (None, *ANNOTATORS),
        "actor": ANNOTATORS,
        "reason": _REASON,
    },
    "claim": {"queue": _QUEUE, "aim": _AIM, "annotator": ANNOTATORS, "lease": _LEASE, "resume": (False, False, True)},
    "claim_item": {"item": _ITEM, "aim": _AIM, "annotator": ANNOTATORS, "lease": _LEASE},
    "claim_batch": {
        "queue": _QUEUE,
        "aim": _AIM,
        "annotator": ANNOTATORS,
        "limit": (0, 1, 2, 5),
        "lease": _LEASE,
    },
    "holds": {"queue": _QUEUE, "aim": _AIM, "annotator": ANNOTATORS},
    "heartbeat": {"claim": _CLAIM, "aim": _AIM, "lease": _LEASE, "by_ref": _BY_REF},
    "heartbeat_batch": {"claim": _CLAIM, "aim": _AIM, "count": range(5), "lease": _LEASE, "by_ref": _BY_REF},
    "save_draft": {
        "claim": _CLAIM,
        "aim": _AIM,
        "workflow": tuple(WORKFLOWS),
        "annotation": ANNOTATIONS,
        "lease": _LEASE,
        "by_ref": _BY_REF,
    },
    "complete": {
        "claim": _CLAIM,
        "aim": _AIM,
        "workflow": tuple(WORKFLOWS),
        "annotation": ANNOTATIONS,
        "by_ref": _BY_REF,
    },
    "complete_batch": {
        "claim": _CLAIM,
        "aim": _AIM,
        "count": range(5),
        "workflow": tuple(WORKFLOWS),
        "annotation": ANNOTATIONS,
        "by_ref": _BY_REF,
    },
    "skip": {"claim": _CLAIM, "aim": _AIM, "workflow": tuple(WORKFLOWS), "reason": _REASON, "by_ref": _BY_REF},
    "release": {"claim": _CLAIM, "aim": _AIM, "workflow": tuple(WORKFLOWS), "reason": _REASON, "by_ref": _BY_REF},
    "labels": {
        "queue": _QUEUE,
        "aim": _AIM,
        "item_filter": (*FILTERS[:1] * len(FILTERS), *FILTERS),
        "annotator": (*(None,) * len(ANNOTATORS), *ANNOTATORS),
        "states": _LABEL_STATES,
        "newest_first": (False, True),
        "include_payload": (True, True, False),
        "limit": _LIMIT,
        "by_walking": (False, False, True),
    },
    "changes": {"queue": _QUEUE, "aim": _AIM, "limit": (1, 2, 3, 1_000)},
    "throughput": {"queue": _QUEUE, "aim": _AIM, "window": _WINDOW},
    "wait": {"step": (*STEPS, "to the end of a lease", "to just before it")},
    "take_over": {"annotator": ANNOTATORS, "lease": _LEASE},
}
"""By name of the call, what each of its arguments may be; the first is the plainest.

An index counts, modulo how many there are, the live things and the last deleted ones. An aim ``the other project's`` or
``unknown`` makes the call miss.
"""
