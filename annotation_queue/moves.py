"""The moves of the state machine: from a progress to the next one, with the transition that the history gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import attrs

from annotation_queue.construction import altered, trusted
from annotation_queue.errors import InvalidTransition, InvalidValue
from annotation_queue.json_values import JsonValue, same_json
from annotation_queue.states import (
    COMPLETED,
    IN_PROGRESS,
    LEASE_EXPIRED,
    SETTLING,
    STANDARD,
    UNSTARTED,
    AnnotationState,
    Progress,
    Transition,
    Workflow,
    is_expired,
    unstarted,
)


@attrs.frozen(kw_only=True)
class Wish:
    """What somebody wants for a progress, and when and how.

    Args:
        to_state: The state.
        at: Now, UTC.
        workflow: Which moves there are.
        annotation: The label; None keeps the one that is there.
        reason: Why.
        actor_id: Who wants it; None for the annotator.
        override: Whether it is done whatever the workflow.
    """

    to_state: AnnotationState
    at: datetime
    workflow: Workflow
    annotation: JsonValue = None
    reason: str | None = None
    actor_id: str | None = None
    override: bool = False


make_wish = trusted(Wish)


def advance(
    progress: Progress,
    to_state: AnnotationState,
    *,
    at: datetime,
    workflow: Workflow = STANDARD,
    lease_expires_at: datetime | None = None,
    annotation: JsonValue = None,
    reason: str | None = None,
    actor_id: str | None = None,
    override: bool = False,
    step: int | None = None,
) -> tuple[Progress, Transition | None]:
    """Move a progress to another state, or revise it in the state that it is in.

    Args:
        progress: Where it stands.
        to_state: Where it shall go.
        at: Now, UTC.
        workflow: Which moves there are.
        lease_expires_at: When the hold ends, UTC; used when the progress enters in_progress.
        annotation: The label; None keeps the one that is there.
        reason: Why. In the same state None keeps the reason that is there.
        actor_id: Who does it; None for the annotator.
        override: Whether this is done whatever the workflow. An override to unstarted clears the label and the reason; it
            changes nothing if the progress is unstarted already.
        step: The number that the transition will have in the item's history, counted from 1; None for the next one of this
            progress.

    Returns:
        The progress afterwards and its transition. The same progress and None if nothing changes: the same state without a
        label or with an equal one, and likewise the reason. The changed progress and None for a draft, which is no transition.

    Raises:
        InvalidTransition: The workflow has no such move.
        InvalidValue: An override to unstarted came with a label.

    >>> from datetime import UTC, datetime
    >>> from annotation_queue.states import AnnotationState
    >>> before = unstarted("item", "ann", datetime(2026, 1, 1, tzinfo=UTC))
    >>> done, transition = advance(before, AnnotationState.COMPLETED, at=before.updated_at, annotation="good")
    >>> done.state.value, done.annotation, transition.from_state.value
    ('completed', 'good', 'unstarted')
    >>> advance(done, AnnotationState.COMPLETED, at=before.updated_at, annotation="good") == (done, None)
    True
    >>> advance(done, AnnotationState.COMPLETED, at=before.updated_at, annotation="bad")[1].annotation
    'bad'
    """
    wish = make_wish(
        to_state=to_state,
        at=at,
        workflow=workflow,
        annotation=annotation,
        reason=reason,
        actor_id=actor_id,
        override=override,
    )
    return fulfil(progress, wish, lease_expires_at, step)


def fulfil(
    progress: Progress, wish: Wish, lease_expires_at: datetime | None = None, step: int | None = None
) -> tuple[Progress, Transition | None]:
    """Move or revise a progress as somebody wishes; result, errors and further arguments are those of `advance`."""
    to_state, annotation, reason = wish.to_state, wish.annotation, wish.reason
    clears = wish.override and to_state is UNSTARTED
    if clears and annotation is not None:
        raise InvalidValue("annotation", "a label", "None, since an override to unstarted clears the label")
    is_revision = to_state is progress.state
    # What was cleared has no reason any more, so a repeated override cannot be told by it.
    if is_revision and (clears or not _differs(progress, annotation, reason)):
        return progress, None
    if not wish.override:
        check_move(wish.workflow, progress.state, to_state)
    if annotation is None and not clears:
        annotation = progress.annotation
    if is_revision:
        reason = progress.reason if reason is None else reason
        if to_state is IN_PROGRESS:
            return _with_draft(progress, annotation, reason), None
    moved, transition = _move(
        progress,
        to_state,
        wish.at,
        progress.step + 1 if step is None else step,
        annotation,
        lease_expires_at=lease_expires_at,
        reason=reason,
        actor_id=progress.annotator_id if wish.actor_id is None else wish.actor_id,
        raises=wish.override or progress.state is UNSTARTED,
    )
    if clears:
        moved = _with_draft(moved, None, None)
    return moved, transition


_with_draft: Callable[..., Progress] = altered(Progress, ("annotation", "reason"))


def _differs(progress: Progress, annotation: JsonValue, reason: str | None) -> bool:
    return (annotation is not None and not same_json(annotation, progress.annotation)) or (
        reason is not None and reason != progress.reason
    )


def check_move(workflow: Workflow, from_state: AnnotationState, to_state: AnnotationState) -> None:
    """Refuse a move that the workflow does not have.

    Raises:
        InvalidTransition: It has none from the one state to the other.
    """
    if (from_state, to_state) not in workflow.moves:
        raise InvalidTransition(from_state, to_state, workflow.name)


_moved: Callable[..., Progress] = altered(
    Progress, ("state", "token", "lease_expires_at", "annotation", "reason", "updated_at", "started_at", "step")
)
# A transition has the item and the annotator of the progress that it is made of.
_transition_of: Callable[..., Transition] = altered(
    Transition, ("from_state", "to_state", "at", "reason", "annotation", "actor_id")
)


def _move(
    progress: Progress,
    to_state: AnnotationState,
    at: datetime,
    step: int,
    annotation: JsonValue,
    *,
    lease_expires_at: datetime | None,
    reason: str | None,
    actor_id: str | None,
    raises: bool,
) -> tuple[Progress, Transition]:
    token, started_at = progress.token, progress.started_at
    if to_state is IN_PROGRESS:
        token, started_at = token + 1, at
    else:
        token, lease_expires_at = token + (raises and to_state in SETTLING), None
    label = annotation if to_state is COMPLETED else None
    return (
        _moved(progress, to_state, token, lease_expires_at, annotation, reason, at, started_at, step),
        _transition_of(progress, progress.state, to_state, at, reason, label, actor_id),
    )


def grant(
    progresses: Sequence[Progress], item_id: str, annotator_id: str, *, at: datetime, expires_at: datetime, steps: int
) -> tuple[tuple[Progress, ...], tuple[Transition, ...]]:
    """Give the annotator the item: release every expired hold on it, then start the annotator's progress.

    Args:
        progresses: Every progress on the item, by annotator id; labels need not be read.
        item_id: The item.
        annotator_id: Who gets it; `states.claimable_at` says that they may.
        at: Now, UTC.
        expires_at: When the new hold ends, UTC.
        steps: How many transitions the item's history has.

    Returns:
        The progresses that changed, the annotator's last, and the transitions in their order.
    """
    changed: list[Progress] = []
    transitions: list[Transition] = []
    own: Progress | None = None
    for progress in progresses:
        current = progress
        if progress.state is IN_PROGRESS and is_expired(progress, at):
            step = steps + len(transitions) + 1
            current, transition = _move(
                progress,
                UNSTARTED,
                at,
                step,
                progress.annotation,
                lease_expires_at=None,
                reason=LEASE_EXPIRED,
                actor_id=None,
                raises=False,
            )
            transitions.append(transition)
        if progress.annotator_id == annotator_id:
            own = current
        elif current is not progress:
            changed.append(current)
    own = own or unstarted(item_id, annotator_id, at)
    step = steps + len(transitions) + 1
    started, transition = _move(
        own,
        IN_PROGRESS,
        at,
        step,
        own.annotation,
        lease_expires_at=expires_at,
        reason=None,
        actor_id=annotator_id,
        raises=True,
    )
    return (*changed, started), (*transitions, transition)


@attrs.frozen(kw_only=True)
class Reset:
    """What is put back to unstarted, and by whom.

    Args:
        annotator_id: Whose progresses; None for everybody's.
        at: Now, UTC.
        actor_id: Who does it.
        reason: Why; it stands in the history.
    """

    annotator_id: str | None
    at: datetime
    actor_id: str
    reason: str | None


def reset(
    progresses: Sequence[Progress], wanted: Reset, *, steps: int
) -> tuple[tuple[Progress, ...], tuple[Transition, ...]]:
    """Put progresses on an item back to unstarted, whatever the workflow.

    Args:
        progresses: Every progress on the item, by annotator id; labels need not be read.
        wanted: Whose progresses, and by whom.
        steps: How many transitions the item's history has.

    Returns:
        The progresses that changed and their transitions, both by annotator id.
    """
    changed: list[Progress] = []
    transitions: list[Transition] = []
    for progress in progresses:
        if progress.state is not UNSTARTED and wanted.annotator_id in {None, progress.annotator_id}:
            moved, transition = advance(
                progress,
                UNSTARTED,
                at=wanted.at,
                reason=wanted.reason,
                actor_id=wanted.actor_id,
                override=True,
                step=steps + len(changed) + 1,
            )
            changed.append(moved)
            transitions += [] if transition is None else [transition]
    return tuple(changed), tuple(transitions)
