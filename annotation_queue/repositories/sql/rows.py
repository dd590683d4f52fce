"""Entities from rows and rows from entities, for every SQL storage."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import wraps
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import attrs

from annotation_queue.counters import FINISHED, SETTLED
from annotation_queue.errors import AnnotationQueueError, StorageCorrupt, StorageError
from annotation_queue.items import AnnotationQueue, make_queue
from annotation_queue.json_values import load_json, write_json
from annotation_queue.query import search_text
from annotation_queue.states import (
    COMPLETED,
    SKIPPED,
    UNREAD,
    AnnotationState,
    Progress,
    SkipPolicy,
    make_progress,
    unstarted,
)
from annotation_queue.values import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from annotation_queue.json_values import JsonValue

_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")

STATES: Final = tuple(AnnotationState)
"""The state of each rank."""
RANKS: Final = {state: rank for rank, state in enumerate(STATES)}
"""The rank of each state, which is what is stored."""
KIND_NAMES: Final = (*STATES, SETTLED, FINISHED)
"""What the columns of ``counters`` count."""
UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading rows can raise that hold what this library never writes."""
UNREAD_TEXT: Final = ""
"""Stands for `states.UNREAD` in statements, which leave the stored label as it is then. No JSON text is empty."""
ALWAYS_MICROS: Final = -62_135_596_800_000_000
"""`states.ALWAYS`, as it stands in the SQL files."""

_by_annotator: Final = attrgetter("annotator_id")
_MICROSECOND: Final = timedelta(microseconds=1)


class UnreadableRow(Exception):
    """Carries what reading a row raised to where the storage has a name; it is the cause."""


def reads_rows(read: Callable[_Given, _Read]) -> Callable[_Given, _Read]:
    """Mark a function that does nothing but build values out of rows: only what it raises means that the rows are damaged.

    Args:
        read: The function.

    Returns:
        The function; what it raises of `UNREADABLE` comes as an `UnreadableRow`.
    """

    @wraps(read)
    def marked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Read:
        try:
            return read(*args, **kwargs)
        except UNREADABLE as error:
            if isinstance(error, AnnotationQueueError):
                raise
            raise UnreadableRow(f"{type(error).__name__}: {error}") from error

    return marked


def explain_failure(error: BaseException | None, name: str) -> None:
    """Turn what came up within a transaction, and is neither the driver's error nor ours, into an error of ours.

    Args:
        error: What came up; None for nothing.
        name: What to call the storage.

    Raises:
        StorageCorrupt: Reading rows raised it, so that they hold what this library never wrote.
        StorageError: It is one of `UNREADABLE` from elsewhere. Arguments were checked by the service, and what a caller's code
            raises does not come this way; so either rows are damaged after all, or this library has a fault.
    """
    if isinstance(error, UnreadableRow):
        raise StorageCorrupt(
            f"{name} holds what this library never wrote ({error}); restore it from a backup"
        ) from error.__cause__
    if isinstance(error, UNREADABLE) and not isinstance(error, AnnotationQueueError):
        what = f"{type(error).__name__}: {error}"
        raise StorageError(
            f"a call on {name} failed ({what}) and nothing was written; let check() look whether what is stored is damaged, "
            "else this library has a fault"
        ) from error


def micros_or_none(moment: datetime | None) -> int | None:
    """Turn a UTC time into microseconds, None into NULL."""
    return None if moment is None else to_micros(moment)


def time_or_none(micros: int | None) -> datetime | None:
    """Turn microseconds into a UTC time, NULL into None."""
    return None if micros is None else from_micros(micros)


def json_or_none(value: JsonValue) -> str | None:
    """Turn a checked JSON value into compact text, None into NULL."""
    return None if value is None else write_json(value)


def value_or_none(text: str | None) -> Any:  # noqa: ANN401 - as `load_json`
    """Turn compact JSON text into a fresh value, NULL into None."""
    return None if text is None else load_json(text)


def queue_row(queue: AnnotationQueue) -> tuple[object, ...]:
    """List what is stored of a queue: the columns of ``add_queue`` in their order."""
    return (
        queue.id,
        queue.project_id,
        queue.name,
        search_text(queue.name),
        queue.description,
        json.dumps(queue.scorer_refs),
        queue.annotations_per_item,
        queue.skip_policy.value,
        queue.lease // _MICROSECOND,
        to_micros(queue.created_at),
        queue.created_by,
        to_micros(queue.updated_at),
        micros_or_none(queue.deleted_at),
    )


@reads_rows
def queue_of(row: Sequence[Any]) -> AnnotationQueue:
    """Rebuild a queue from the columns of ``queue_by_num``."""
    (
        queue_id,
        project_id,
        name,
        description,
        refs,
        needed,
        policy,
        lease,
        created_at,
        created_by,
        updated_at,
        deleted,
    ) = row
    return make_queue(
        id=queue_id,
        project_id=project_id,
        name=name,
        description=description,
        scorer_refs=tuple(json.loads(refs)),
        annotations_per_item=needed,
        skip_policy=SkipPolicy(policy),
        lease=timedelta(microseconds=lease),
        created_at=from_micros(created_at),
        created_by=created_by,
        updated_at=from_micros(updated_at),
        deleted_at=time_or_none(deleted),
    )


def progress_row(progress: Progress) -> tuple[object, ...]:
    """List what is stored of a progress: the columns of ``put_progress`` after item and annotator, in their order."""
    return (
        RANKS[progress.state],
        progress.token,
        micros_or_none(progress.lease_expires_at),
        UNREAD_TEXT if progress.annotation is UNREAD else json_or_none(progress.annotation),
        progress.reason,
        to_micros(progress.created_at),
        to_micros(progress.updated_at),
    )


def progress_of(item_id: str, annotator_id: str, row: Sequence[Any]) -> Progress:
    """Rebuild a progress from the columns of ``progresses`` that follow the annotator."""
    state, token, lease_expires_at, annotation, reason, created_at, updated_at = row
    return make_progress(
        item_id=item_id,
        annotator_id=annotator_id,
        state=STATES[state],
        token=token,
        lease_expires_at=time_or_none(lease_expires_at),
        annotation=value_or_none(annotation),
        reason=reason,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
    )


@reads_rows
def progresses_of(item_id: str, rows: Iterable[Sequence[Any]], text: Callable[[Any], str]) -> tuple[Progress, ...]:
    """Rebuild the progresses on an item.

    Args:
        item_id: The item.
        rows: The columns of ``progresses``, in any order.
        text: Gives the annotator that the first of them stands for.

    Returns:
        The progresses, by annotator id.
    """
    found = [progress_of(item_id, text(annotator), row) for annotator, *row in rows]
    found.sort(key=_by_annotator)
    return tuple(found)


def settled_by(completed: int, skipped: int, at: datetime) -> list[Progress]:
    """Make the progresses of an item that so many annotators completed and skipped."""
    states = [COMPLETED] * completed + [SKIPPED] * skipped
    return [attrs.evolve(unstarted("item", str(n), at), state=state) for n, state in enumerate(states)]
