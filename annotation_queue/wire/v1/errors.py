"""Errors of one shape: ``{"error": "claim_lost", "message": ..., ...their data}``, and the same errors again from it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final

from annotation_queue import errors
from annotation_queue.errors import (
    AnnotationQueueError,
    ClaimLost,
    Conflict,
    InvalidTransition,
    InvalidValue,
    NotFound,
    OutcomeUnknown,
    StorageBusy,
    StorageError,
    StorageFull,
)

# The first that an error is an instance of decides.
_STATUSES: Final[tuple[tuple[type[AnnotationQueueError], int], ...]] = (
    (InvalidValue, 422),
    (InvalidTransition, 409),
    (NotFound, 404),
    (Conflict, 409),
    (ClaimLost, 409),
    (StorageBusy, 503),
    (StorageFull, 507),
    (OutcomeUnknown, 503),
)
_HIDDEN: Final[tuple[tuple[type[StorageError], str], ...]] = (
    (StorageBusy, "the storage behind the server is busy; nothing was written, so try again"),
    (StorageFull, "the storage behind the server is full; nothing was written"),
    (OutcomeUnknown, "the server lost its storage while it wrote, so the write may or may not be there"),
    (StorageError, "the storage behind the server failed"),
)
"""What is said of a storage: nothing of where it is, and what is in it."""


def name_of(error: type[AnnotationQueueError]) -> str:
    """Give the name of a class of errors.

    >>> name_of(ClaimLost)
    'claim_lost'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).lower()


KINDS: Final[Mapping[str, type[AnnotationQueueError]]] = {
    name_of(each): each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, AnnotationQueueError)
}
"""Every class of errors, by its name."""


def status_of(error: AnnotationQueueError) -> int:
    """Give the status number of an error."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def write_error(error: AnnotationQueueError) -> dict[str, Any]:
    """Turn an error into a JSON object; one of the storage tells nothing of it."""
    known = next(kind for kind in type(error).__mro__ if kind in KINDS.values())
    if isinstance(error, StorageError):
        what = next(words for kind, words in _HIDDEN if isinstance(error, kind))
        data = {name: getattr(error, name, None) for name in _data_of(known)} | {"what": what}
        return {"error": name_of(known), "message": what} | data
    data = {name: getattr(error, name) for name in _data_of(known)}
    return {"error": name_of(known), "message": str(error)} | data


def read_error(body: Mapping[str, Any]) -> AnnotationQueueError | None:
    """Make the error again.

    Args:
        body: What `write_error` gave.

    Returns:
        The error, with the same data; None if it is none of this library.
    """
    kind = KINDS.get(body.get("error", ""))
    if kind is None or not all(name in body for name in _data_of(kind)):
        return None
    return kind(**{name: body[name] for name in _data_of(kind)})


def _data_of(kind: type[AnnotationQueueError]) -> tuple[str, ...]:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return tuple(each.name for each in parameters if each.name != "self" and each.kind is each.POSITIONAL_OR_KEYWORD)
