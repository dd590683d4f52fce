"""Errors: their data, their one sentence, the builtin that each also is, and that they survive pickling."""

from __future__ import annotations

import copy
import pickle

import pytest

import annotation_queue.errors
from annotation_queue import (
    AnnotationQueueError,
    ClaimLost,
    Conflict,
    InvalidCursor,
    InvalidLabel,
    InvalidQuery,
    InvalidTransition,
    InvalidValue,
    ItemNotFound,
    NotFound,
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

EVERY_ERROR: list[tuple[AnnotationQueueError, dict[str, object], str, tuple[type[Exception], ...]]] = [
    (
        InvalidValue("priority", "bool True", "an integer"),
        {"field": "priority", "kind": "bool True", "expected": "an integer"},
        "priority: expected an integer, got bool True",
        (ValueError,),
    ),
    (
        InvalidLabel("annotation.grade", "7 is greater than 5", "a label that satisfies the queue's schema"),
        {"field": "annotation.grade", "kind": "7 is greater than 5"},
        "annotation.grade: expected a label that satisfies the queue's schema, got 7 is greater than 5",
        (InvalidValue, ValueError),
    ),
    (
        InvalidQuery("limit", "int -1", "an integer from 0"),
        {"field": "limit", "kind": "int -1", "expected": "an integer from 0"},
        "limit: expected an integer from 0, got int -1",
        (InvalidValue, ValueError),
    ),
    (
        InvalidCursor("cursor", "text that is none", "a cursor"),
        {"field": "cursor", "kind": "text that is none", "expected": "a cursor"},
        "cursor: expected a cursor, got text that is none",
        (InvalidQuery, InvalidValue, ValueError),
    ),
    (
        InvalidTransition("completed", "skipped", "standard"),
        {"from_state": "completed", "to_state": "skipped", "workflow": "standard"},
        "the standard workflow has no move from completed to skipped",
        (ValueError,),
    ),
    (NotFound("x"), {}, "x", (LookupError,)),
    (QueueNotFound("q-1"), {"queue_id": "q-1"}, "no queue 'q-1' in this project", (NotFound, LookupError)),
    (ItemNotFound("i-1"), {"item_id": "i-1"}, "no item 'i-1' in this project or queue", (NotFound, LookupError)),
    (
        Conflict("item 'a' kept changing"),
        {"what": "item 'a' kept changing"},
        "read it again and retry",
        (RuntimeError,),
    ),
    (
        ClaimLost("i-1", "ann", 3),
        {"item_id": "i-1", "annotator_id": "ann", "token": 3},
        "claim 3 of 'ann' on item 'i-1' is lost",
        (RuntimeError,),
    ),
    (StorageError("the disk is gone"), {"what": "the disk is gone"}, "the disk is gone", (OSError,)),
    (StorageBusy("locked"), {"what": "locked"}, "locked", (StorageError, TimeoutError)),
    (StorageUnreachable("down"), {"what": "down"}, "down", (StorageError, ConnectionError)),
    (StorageDenied("a replica"), {"what": "a replica"}, "a replica", (StorageError, PermissionError)),
    (StorageFull("full"), {"what": "full"}, "full", (StorageError, OSError)),
    (StorageCorrupt("torn"), {"what": "torn"}, "torn", (StorageError, OSError)),
    (
        SchemaVersionUnknown("a.db", 9, 2),
        {"what": "a.db", "found": 9, "supported": 2},
        "a.db has schema version 9, and this library knows versions up to 2; upgrade annotation-queue",
        (StorageError, OSError),
    ),
    (OutcomeUnknown("cut off"), {"what": "cut off"}, "cut off", (StorageError, ConnectionError)),
]
each_error = pytest.mark.parametrize(
    ("error", "data", "sentence", "bases"), EVERY_ERROR, ids=[type(row[0]).__name__ for row in EVERY_ERROR]
)


@each_error
def test_an_error_carries_its_data_says_one_sentence_and_is_a_fitting_builtin(
    error: AnnotationQueueError, data: dict[str, object], sentence: str, bases: tuple[type[Exception], ...]
) -> None:
    assert {name: getattr(error, name) for name in data} == data
    assert sentence in str(error)
    assert isinstance(error, AnnotationQueueError)
    assert all(isinstance(error, base) for base in bases)


@each_error
def test_an_error_survives_pickling_and_copying(
    error: AnnotationQueueError, data: dict[str, object], sentence: str, bases: tuple[type[Exception], ...]
) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301 - our own bytes
        assert type(again) is type(error)
        assert {name: getattr(again, name) for name in data} == data
        assert sentence in str(again)
        assert isinstance(again, bases)


def test_every_public_error_is_below_the_root_and_listed_here() -> None:
    made = {value for value in vars(annotation_queue.errors).values() if isinstance(value, type)}
    assert {error.__name__ for error in made} <= set(annotation_queue.__all__)
    assert made == {type(row[0]) for row in EVERY_ERROR} | {AnnotationQueueError}
    assert all(issubclass(error, AnnotationQueueError) for error in made)


def test_the_kinds_of_not_found_are_told_apart() -> None:
    assert not issubclass(QueueNotFound, ItemNotFound)
    assert not issubclass(ItemNotFound, QueueNotFound)
    assert not issubclass(ClaimLost, NotFound)
    assert not issubclass(InvalidTransition, InvalidValue)
