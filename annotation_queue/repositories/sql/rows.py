"""Entities from rows and rows from entities, for every SQL storage."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import wraps
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

import attrs

from annotation_queue.construction import quick
from annotation_queue.counters import FINISHED, SETTLED
from annotation_queue.errors import AnnotationQueueError, StorageCorrupt, StorageError
from annotation_queue.items import AnnotationQueue, make_item, make_queue
from annotation_queue.json_values import load_json, spaced_json, write_json
from annotation_queue.labels import make_label, make_label_text
from annotation_queue.query import search_text
from annotation_queue.records import standing
from annotation_queue.states import (
    COMPLETED,
    SKIPPED,
    UNREAD,
    AnnotationState,
    Progress,
    SkipPolicy,
    make_progress,
    make_transition,
    unstarted,
)
from annotation_queue.values import from_micros, timestamp, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from annotation_queue.items import QueueItem
    from annotation_queue.json_values import JsonValue
    from annotation_queue.labels import Label, LabelText
    from annotation_queue.states import Transition

_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")

STATES: Final = tuple(AnnotationState)
"""The state of each rank."""
RANKS: Final = {state: rank for rank, state in enumerate(STATES)}
"""The rank of each state, which is what is stored."""
KIND_NAMES: Final = (*STATES, SETTLED, FINISHED)
"""What the columns of ``counters`` count."""
OWN_KINDS: Final = STATES[1:]
"""What of it is counted of each annotator, too."""
UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading rows can raise that hold what this library never writes."""
UNREAD_TEXT: Final = ""
"""Stands for `states.UNREAD`: a statement that writes it leaves the stored label as it is. No JSON text is empty."""
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


class StoredQueue(NamedTuple):
    """A queue as it stands in a storage.

    Args:
        num: Its number.
        revision: How often it was changed.
        queue: The queue.
    """

    num: int
    revision: int
    queue: AnnotationQueue


class QueueRow(NamedTuple):
    """The columns that ``queue_columns`` names, in its order."""

    id: str
    project_id: str
    name: str
    description: str
    scorer_refs: str
    annotations_per_item: int
    skip_policy: str
    lease: int
    label_schema: str | None
    is_paused: int
    created_at: int
    created_by: str
    updated_at: int
    deleted_at: int | None


class ItemRow(NamedTuple):
    """The columns that ``live_item_columns`` names, in its order. Each storage keeps a text as such, or by a number."""

    num: int
    revision: int
    steps: int
    id: str
    call_id: str
    call_started_at: int
    call_ended_at: int | None
    call_op_name: int | str
    call_trace_id: str
    display_fields: int | str
    added_by: int | str
    state: int
    annotator: int | str | None
    created_at: int
    updated_at: int
    priority_down: int
    assignees: int | str | None
    payload: str | None


class ProgressRow(NamedTuple):
    """The columns that ``progress_columns`` names, in its order."""

    annotator: int | str
    state: int
    token: int
    lease_expires_at: int | None
    annotation: str | None
    reason: str | None
    created_at: int
    updated_at: int
    started_at: int | None
    step: int


class TransitionRow(NamedTuple):
    """The columns that ``transition_columns`` names, in its order."""

    annotator: int | str
    from_state: int
    to_state: int
    at: int
    reason: str | None
    annotation: str | None
    actor: int | str | None


_progress_row: Final = quick(ProgressRow)
_transition_row: Final = quick(TransitionRow)


class Texts(NamedTuple):
    """How a storage reads the texts of an item out of its columns.

    Args:
        key: Gives the text of an id.
        op_name: Gives the name of an operation.
        user: Gives a user id.
        fields: Gives the display fields.
        assignees: Gives the assignees of an item that has some.
    """

    key: Callable[[Any], str]
    op_name: Callable[[Any], str]
    user: Callable[[Any], str]
    fields: Callable[[Any], tuple[str, ...]]
    assignees: Callable[[Any], tuple[str, ...]]


class Remembered(dict[Any, Any]):
    """What texts stand for, for the length of a page. Most are asked for again and again, and then no function is called.

    Args:
        read: Gives what one of them stands for.
    """

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read

    def __missing__(self, key: Any) -> Any:  # noqa: ANN401 - a column of any type
        self[key] = found = self._read(key)
        return found


def queue_values(queue: AnnotationQueue) -> dict[str, object]:
    """Give what is stored of a queue: column -> value."""
    row = QueueRow(
        id=queue.id,
        project_id=queue.project_id,
        name=queue.name,
        description=queue.description,
        scorer_refs=json.dumps(queue.scorer_refs),
        annotations_per_item=queue.annotations_per_item,
        skip_policy=queue.skip_policy.value,
        lease=queue.lease // _MICROSECOND,
        label_schema=json_or_none(queue.label_schema),
        is_paused=int(queue.is_paused),
        created_at=to_micros(queue.created_at),
        created_by=queue.created_by,
        updated_at=to_micros(queue.updated_at),
        deleted_at=micros_or_none(queue.deleted_at),
    )
    return {**row._asdict(), "search_name": search_text(queue.name)}


@reads_rows
def queue_of(columns: Iterable[Any]) -> AnnotationQueue:
    """Rebuild a queue from the columns of a `QueueRow`."""
    row = QueueRow._make(columns)
    return make_queue(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        description=row.description,
        scorer_refs=tuple(json.loads(row.scorer_refs)),
        annotations_per_item=row.annotations_per_item,
        skip_policy=SkipPolicy(row.skip_policy),
        lease=timedelta(microseconds=row.lease),
        label_schema=value_or_none(row.label_schema),
        is_paused=bool(row.is_paused),
        created_at=from_micros(row.created_at),
        created_by=row.created_by,
        updated_at=from_micros(row.updated_at),
        deleted_at=time_or_none(row.deleted_at),
    )


def _item_of(
    row: ItemRow, queue: AnnotationQueue, texts: Texts, time: Callable[[int], datetime] = from_micros
) -> QueueItem:
    """Rebuild an item in the aggregate view.

    Args:
        row: Its columns.
        queue: The queue that it is in.
        texts: How its texts are read.
        time: How times are made that other rows have too.

    Returns:
        The item, without a position.
    """
    added_by = texts.user(row.added_by)
    created_at = time(row.created_at)
    return make_item(
        id=texts.key(row.id),
        project_id=queue.project_id,
        queue_id=queue.id,
        call_id=texts.key(row.call_id),
        call_started_at=created_at if row.call_started_at == row.created_at else from_micros(row.call_started_at),
        call_ended_at=time_or_none(row.call_ended_at),
        call_op_name=texts.op_name(row.call_op_name),
        call_trace_id=texts.key(row.call_trace_id),
        display_fields=texts.fields(row.display_fields),
        added_by=added_by,
        annotation_state=STATES[row.state],
        annotator_user_id=None if row.annotator is None else texts.user(row.annotator),
        created_at=created_at,
        created_by=added_by,
        updated_at=created_at if row.updated_at == row.created_at else time(row.updated_at),
        priority=~row.priority_down,
        payload=value_or_none(row.payload),
        assignees=() if row.assignees is None else texts.assignees(row.assignees),
    )


item_of = reads_rows(_item_of)


def progress_row(progress: Progress, annotator: int | str) -> ProgressRow:
    """Give what is stored of a progress. The label of a completed one stands in the transition that left it.

    Args:
        progress: The progress.
        annotator: What stands for its annotator.
    """
    # As in `progress_of`: mostly it began when it was made, and nothing else happened then.
    created_at = to_micros(progress.created_at)
    updated_at = created_at if progress.updated_at is progress.created_at else to_micros(progress.updated_at)
    started_at = created_at if progress.started_at is progress.created_at else micros_or_none(progress.started_at)
    lease_expires_at = micros_or_none(progress.lease_expires_at)
    annotation = None if progress.state is COMPLETED else label_text(progress.annotation)
    state, token, reason, step = RANKS[progress.state], progress.token, progress.reason, progress.step
    # By position, in the order of the columns: names would take longer than all the rest.
    return _progress_row(
        annotator, state, token, lease_expires_at, annotation, reason, created_at, updated_at, started_at, step
    )


def progress_of(
    item_id: str, annotator_id: str, row: ProgressRow, time: Callable[[int], datetime] = from_micros
) -> Progress:
    """Rebuild a progress from its columns; the label is `states.UNREAD` if it was not read."""
    # Mostly it began when it was made, and a time takes as long to make as the rest.
    created_at = time(row.created_at)
    return make_progress(
        item_id=item_id,
        annotator_id=annotator_id,
        state=STATES[row.state],
        token=row.token,
        lease_expires_at=time_or_none(row.lease_expires_at),
        annotation=UNREAD if row.annotation == UNREAD_TEXT else value_or_none(row.annotation),
        reason=row.reason,
        created_at=created_at,
        updated_at=time(row.updated_at),
        started_at=created_at if row.started_at == row.created_at else time_or_none(row.started_at),
        step=row.step,
    )


@reads_rows
def labels_of(rows: Iterable[tuple[Iterable[Any], Iterable[Any]]], queue: AnnotationQueue, texts: Texts) -> list[Label]:
    """Rebuild labels.

    Args:
        rows: For each, the columns of a `ProgressRow` and of the `ItemRow` of its item.
        queue: The queue that they are in.
        texts: How their texts are read.

    Returns:
        The labels in their order. Each has an item of its own, which its reader may change.
    """
    # A label and its item mostly changed last at the same time, and others with them.
    time = Remembered(from_micros).__getitem__
    found = []
    for of_progress, of_item in rows:
        row = ProgressRow._make(of_progress)
        item = _item_of(ItemRow._make(of_item), queue, texts, time)
        found.append(make_label(item=item, progress=progress_of(item.id, texts.user(row.annotator), row, time)))
    return found


@reads_rows
def label_texts_of(rows: Iterable[Iterable[Any]], texts: Texts) -> list[LabelText]:
    """Rebuild labels as texts.

    Args:
        rows: For each, what is stored of the fields of a `labels.LabelText`, in their order.
        texts: How their texts are read.

    Returns:
        The labels in their order.
    """
    # What many labels say is parsed once, and so is the time of those that were stored together.
    label, time = Remembered(_spaced).__getitem__, Remembered(_time_text).__getitem__
    return [
        make_label_text(
            item_id=texts.key(item_id),
            call_id=texts.key(call_id),
            annotator_id=texts.user(annotator),
            state=STATES[state].value,
            annotation=label(annotation),
            reason=reason,
            updated_at=time(updated_at),
        )
        for item_id, call_id, annotator, state, annotation, reason, updated_at in rows
    ]


def _spaced(text: str | None) -> str:
    return spaced_json(value_or_none(text))


def _time_text(micros: int) -> str:
    return timestamp(from_micros(micros))


@reads_rows
def progresses_of(item_id: str, rows: Iterable[Iterable[Any]], text: Callable[[Any], str]) -> tuple[Progress, ...]:
    """Rebuild the progresses on an item.

    Args:
        item_id: The item.
        rows: The columns of a `ProgressRow` each, in any order.
        text: Gives the annotator that the first of them stands for.

    Returns:
        The progresses, by annotator id.
    """
    found = [progress_of(item_id, text(row.annotator), row) for row in map(ProgressRow._make, rows)]
    found.sort(key=_by_annotator)
    return tuple(found)


def transition_row(transition: Transition, annotator: int | str, actor: int | str | None) -> TransitionRow:
    """Give what is stored of a transition.

    Args:
        transition: The transition.
        annotator: What stands for its annotator.
        actor: What stands for who did it; None for nobody.
    """
    from_state, to_state, at = RANKS[transition.from_state], RANKS[transition.to_state], to_micros(transition.at)
    return _transition_row(
        annotator, from_state, to_state, at, transition.reason, label_text(transition.annotation), actor
    )


@reads_rows
def transition_of(item_id: str, row: TransitionRow, text: Callable[[Any], str]) -> Transition:
    """Rebuild a transition.

    Args:
        item_id: The item.
        row: Its columns.
        text: Gives the annotator or the actor that one of them stands for.
    """
    return make_transition(
        item_id=item_id,
        annotator_id=text(row.annotator),
        from_state=STATES[row.from_state],
        to_state=STATES[row.to_state],
        at=from_micros(row.at),
        reason=row.reason,
        annotation=value_or_none(row.annotation),
        actor_id=None if row.actor is None else text(row.actor),
    )


def history_of(item_id: str, rows: Iterable[Iterable[Any]], text: Callable[[Any], str]) -> tuple[Transition, ...]:
    """Rebuild the history of an item.

    Args:
        item_id: The item.
        rows: The columns of a `TransitionRow` each, oldest first.
        text: Gives the annotator or the actor that one of them stands for.

    Returns:
        The transitions, oldest first.
    """
    return tuple(transition_of(item_id, row, text) for row in map(TransitionRow._make, rows))


def label_text(label: JsonValue) -> str | None:
    """Give what is stored of a label or a draft."""
    return UNREAD_TEXT if label is UNREAD else json_or_none(label)


class Refreshed(NamedTuple):
    """What a change of policies does to an item that nobody holds.

    Args:
        claimable_at: From when on it may be claimed, in microseconds; None if it is finished now.
        finished: 1 if it is finished now and was not, -1 if it was and is not, else 0.
    """

    claimable_at: int | None
    finished: int


def refreshed(completed: int, skipped: int, was: AnnotationQueue, now: AnnotationQueue) -> Refreshed | None:
    """Say what a change of policies does to the items that nobody holds and as many annotators completed and skipped.

    Args:
        completed: How many annotators completed each of them.
        skipped: How many skipped it.
        was: The queue with its old policies.
        now: The queue with its new ones.

    Returns:
        What changes; None if nothing does.
    """
    states = [COMPLETED] * completed + [SKIPPED] * skipped
    progresses = [
        attrs.evolve(unstarted("item", str(n), was.created_at), state=state) for n, state in enumerate(states)
    ]
    old, new = standing(progresses, was), standing(progresses, now)
    return None if new == old else Refreshed(micros_or_none(new.claimable_at), new.finished - old.finished)
