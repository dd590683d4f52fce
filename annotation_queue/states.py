"""The state machine, keyed per annotator: pure functions over one table; no storage, no clock."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs

from annotation_queue.construction import altered, optional, run_checks, trusted
from annotation_queue.errors import InvalidTransition
from annotation_queue.json_values import copy_json
from annotation_queue.values import check_id, check_integer, check_member, check_text, check_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from annotation_queue.construction import Check
    from annotation_queue.json_values import JsonValue


class AnnotationState(StrEnum):
    """What one annotator did with one item. The order of the members is their sort order."""

    UNSTARTED = "unstarted"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    SKIPPED = "skipped"


class SkipPolicy(StrEnum):
    """What a skip means for the item."""

    FINAL = "final"
    """A skip counts like a completion: it uses up one of the item's annotations."""
    REQUEUE = "requeue"
    """A skip only means that this annotator is not served the item again."""


class Policies(NamedTuple):
    """What of a queue decides when an item is finished.

    Args:
        annotations_per_item: How many annotators must complete an item, at least 1.
        skip_policy: What a skip means for the item.
    """

    annotations_per_item: int
    skip_policy: SkipPolicy


UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState
SETTLING: Final = frozenset({COMPLETED, SKIPPED})
"""The states that settle an item."""


class _Unread(Enum):
    UNREAD = "unread"

    def __repr__(self) -> str:
        return "UNREAD"


UNREAD: Final[Any] = _Unread.UNREAD
"""Stands for a label that was not read, since the decision does not rest on it; what is stored as the label stays."""
ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
"""The time from which on an item may be claimed that no hold keeps."""
LEASE_EXPIRED: Final = "lease expired"
"""The reason of the transition by which a grant releases an expired claim."""


check_state = partial(check_member, members=AnnotationState)


def _moves(pairs: Iterable[tuple[str, str]]) -> frozenset[tuple[AnnotationState, AnnotationState]]:
    return frozenset((check_state("moves", before), check_state("moves", after)) for before, after in pairs)


@attrs.frozen
class Workflow:
    """Which moves an annotator may make. A backend may bring a table of its own.

    Args:
        name: What errors call it.
        moves: Pairs of the state before and the state after. Staying in a state is always allowed and never a move.
    """

    name: str
    moves: frozenset[tuple[AnnotationState, AnnotationState]] = attrs.field(converter=_moves)


_FROM_UNSTARTED: Final = {(UNSTARTED, IN_PROGRESS), (UNSTARTED, COMPLETED), (UNSTARTED, SKIPPED)}
_FROM_IN_PROGRESS: Final = {(IN_PROGRESS, UNSTARTED), (IN_PROGRESS, COMPLETED), (IN_PROGRESS, SKIPPED)}
STANDARD: Final = Workflow("standard", _FROM_UNSTARTED | _FROM_IN_PROGRESS)
"""Work may be started, finished without starting, and released; what is finished stays."""
STRICT: Final = Workflow("strict", {(UNSTARTED, IN_PROGRESS)} | _FROM_IN_PROGRESS)
"""As STANDARD, but nothing is finished that was not started."""
REOPENABLE: Final = Workflow("reopenable", STANDARD.moves | {(COMPLETED, IN_PROGRESS), (SKIPPED, IN_PROGRESS)})
"""As STANDARD, and what is finished may be started again."""


@attrs.frozen(kw_only=True)
class Progress:
    """What one annotator did with one item: the state machine's instance.

    Args:
        item_id: The item.
        annotator_id: The annotator.
        state: Where it stands.
        token: How often it entered in_progress, by a claim or directly.
        lease_expires_at: When the hold ends, UTC; None unless in progress. At that instant it is expired.
        annotation: The label, any JSON value; None without one.
        reason: Why it came to this state, where that was said.
        created_at: When this annotator first touched the item, UTC.
        updated_at: When the state last changed, UTC; a heartbeat does not move it.
    """

    item_id: str
    annotator_id: str
    state: AnnotationState
    token: int
    lease_expires_at: datetime | None
    annotation: JsonValue
    reason: str | None
    created_at: datetime
    updated_at: datetime

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _PROGRESS_CHECKS)


@attrs.frozen(kw_only=True)
class Transition:
    """One change of one progress; an item's history is the list of them.

    Args:
        item_id: The item.
        annotator_id: Whose progress changed.
        from_state: The state before.
        to_state: The state after, never the same.
        at: When, UTC.
        reason: Why, where that was said.
    """

    item_id: str
    annotator_id: str
    from_state: AnnotationState
    to_state: AnnotationState
    at: datetime
    reason: str | None = None

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _TRANSITION_CHECKS)


_PROGRESS_CHECKS: Final[dict[str, Check]] = {
    "item_id": check_id,
    "annotator_id": check_id,
    "state": check_state,
    "token": partial(check_integer, minimum=0),
    "lease_expires_at": optional(check_time),
    "annotation": copy_json,
    "reason": optional(check_text),
    "created_at": check_time,
    "updated_at": check_time,
}
_TRANSITION_CHECKS: Final[dict[str, Check]] = {
    "item_id": check_id,
    "annotator_id": check_id,
    "from_state": check_state,
    "to_state": check_state,
    "at": check_time,
    "reason": optional(check_text),
}

make_progress = trusted(Progress)
with_annotation: Callable[[Progress, JsonValue], Progress] = altered(Progress, ("annotation",))
"""Gives a progress another label or draft, unchecked."""
with_lease: Callable[[Progress, datetime | None], Progress] = altered(Progress, ("lease_expires_at",))
"""Gives a progress another end of its lease, unchecked."""
make_transition = trusted(Transition)


def unstarted(item_id: str, annotator_id: str, at: datetime) -> Progress:
    """Make the progress of an annotator who has not touched the item yet.

    Args:
        item_id: The item.
        annotator_id: The annotator.
        at: Now, UTC.

    Returns:
        An unstarted progress with token 0. It is not stored until it moves.
    """
    return make_progress(
        item_id=item_id,
        annotator_id=annotator_id,
        state=UNSTARTED,
        token=0,
        lease_expires_at=None,
        annotation=None,
        reason=None,
        created_at=at,
        updated_at=at,
    )


def advance(
    progress: Progress,
    to_state: AnnotationState,
    *,
    at: datetime,
    workflow: Workflow = STANDARD,
    lease_expires_at: datetime | None = None,
    annotation: JsonValue = None,
    reason: str | None = None,
) -> tuple[Progress, Transition | None]:
    """Move a progress to another state.

    Args:
        progress: Where it stands.
        to_state: Where it shall go.
        at: Now, UTC.
        workflow: Which moves there are.
        lease_expires_at: When the hold ends; used when the new state is in_progress.
        annotation: The label; None keeps the one that is there.
        reason: Why.

    Returns:
        The progress after the move and its transition; the same progress and None where it is in that state already.

    Raises:
        InvalidTransition: The workflow has no such move.

    >>> before = unstarted("item", "ann", datetime(2026, 1, 1, tzinfo=UTC))
    >>> after, transition = advance(before, AnnotationState.COMPLETED, at=before.updated_at, annotation="good")
    >>> after.state.value, after.annotation, transition.from_state.value
    ('completed', 'good', 'unstarted')
    """
    if to_state is progress.state:
        return progress, None
    check_move(workflow, progress.state, to_state)
    return _move(progress, to_state, at, lease_expires_at=lease_expires_at, annotation=annotation, reason=reason)


def check_move(workflow: Workflow, from_state: AnnotationState, to_state: AnnotationState) -> None:
    """Refuse a move that the workflow does not have.

    Raises:
        InvalidTransition: It has none from the one state to the other.
    """
    if (from_state, to_state) not in workflow.moves:
        raise InvalidTransition(from_state, to_state, workflow.name)


def _move(
    progress: Progress,
    to_state: AnnotationState,
    at: datetime,
    *,
    lease_expires_at: datetime | None = None,
    annotation: JsonValue = None,
    reason: str | None = None,
) -> tuple[Progress, Transition]:
    starts = to_state is IN_PROGRESS
    moved = make_progress(
        item_id=progress.item_id,
        annotator_id=progress.annotator_id,
        state=to_state,
        token=progress.token + starts,
        lease_expires_at=lease_expires_at if starts else None,
        annotation=progress.annotation if annotation is None else annotation,
        reason=reason,
        created_at=progress.created_at,
        updated_at=at,
    )
    transition = make_transition(
        item_id=progress.item_id,
        annotator_id=progress.annotator_id,
        from_state=progress.state,
        to_state=to_state,
        at=at,
        reason=reason,
    )
    return moved, transition


def grant(
    progresses: Sequence[Progress], item_id: str, annotator_id: str, *, at: datetime, expires_at: datetime
) -> tuple[tuple[Progress, ...], tuple[Transition, ...]]:
    """Give the annotator the item: release every expired hold on it, then start the annotator's progress.

    Args:
        progresses: Every progress on the item, by annotator id.
        item_id: The item.
        annotator_id: Who gets it; `claimable_at` says that they may.
        at: Now, UTC.
        expires_at: When the new hold ends, UTC.

    Returns:
        The progresses that changed, the annotator's last, and the transitions in their order.
    """
    changed: list[Progress] = []
    transitions: list[Transition] = []
    own: Progress | None = None
    for progress in progresses:
        current = progress
        if progress.state is IN_PROGRESS and is_expired(progress, at):
            current, transition = _move(progress, UNSTARTED, at, reason=LEASE_EXPIRED)
            transitions.append(transition)
        if progress.annotator_id == annotator_id:
            own = current
        elif current is not progress:
            changed.append(current)
    own = own or unstarted(item_id, annotator_id, at)
    started, transition = _move(own, IN_PROGRESS, at, lease_expires_at=expires_at)
    return (*changed, started), (*transitions, transition)


def is_expired(progress: Progress, at: datetime) -> bool:
    """Tell whether the hold of a progress has run out: at the end of its lease it has."""
    return progress.lease_expires_at is not None and progress.lease_expires_at <= at


def aggregate(progresses: Iterable[Progress]) -> tuple[AnnotationState, str | None]:
    """Find the one state shown for an item, and whose it is.

    Args:
        progresses: Progresses on one item, in any order; one annotator's alone give that annotator's perspective.

    Returns:
        State and annotator of the progress that changed last among those that are not unstarted; ties go to the greater
        annotator id. Without any, unstarted and None.
    """
    latest: Progress | None = None
    for progress in progresses:
        if progress.state is not UNSTARTED and (
            latest is None or (progress.updated_at, progress.annotator_id) > (latest.updated_at, latest.annotator_id)
        ):
            latest = progress
    return (UNSTARTED, None) if latest is None else (latest.state, latest.annotator_id)


def count_settling(progresses: Iterable[Progress]) -> tuple[int, int]:
    """Count the annotators who completed an item, and those who skipped it."""
    completed = skipped = 0
    for progress in progresses:
        completed += progress.state is COMPLETED
        skipped += progress.state is SKIPPED
    return completed, skipped


def open_slots(completed: int, skipped: int, annotations_per_item: int, skip_policy: SkipPolicy) -> int:
    """Say how many annotations an item still needs.

    Args:
        completed: How many annotators completed it.
        skipped: How many skipped it.
        annotations_per_item: How many the queue asks for.
        skip_policy: Whether a skip counts.

    Returns:
        The number, 0 or less for a finished item.
    """
    return annotations_per_item - completed - (skipped if skip_policy is SkipPolicy.FINAL else 0)


def is_finished(completed: int, skipped: int, annotations_per_item: int, skip_policy: SkipPolicy) -> bool:
    """Tell whether an item needs nothing more. Arguments are those of `open_slots`."""
    return open_slots(completed, skipped, annotations_per_item, skip_policy) <= 0


def slot_free_at(progresses: Iterable[Progress], slots: int) -> datetime | None:
    """Say from when on fewer holds are live than an item has open slots, if nothing happened but leases ending.

    Args:
        progresses: Every progress on the item.
        slots: What `open_slots` gives for it.

    Returns:
        `ALWAYS`, or the end of the lease that has to run out first, UTC; None where the item is finished.
    """
    if slots <= 0:
        return None
    ends = [each.lease_expires_at for each in progresses if each.lease_expires_at is not None]
    return ALWAYS if len(ends) < slots else sorted(ends)[len(ends) - slots]


def claimable_at(
    progresses: Sequence[Progress], annotator_id: str | None, annotations_per_item: int, skip_policy: SkipPolicy
) -> datetime | None:
    """Say from when on an annotator may claim an item, if nothing happened but leases ending.

    The whole eligibility rule: an item may be claimed at a time exactly if this is not None and not later.

    Args:
        progresses: Every progress on the item.
        annotator_id: Who wants it; None for somebody who has no progress on it.
        annotations_per_item: How many annotators the queue asks for.
        skip_policy: Whether a skip counts.

    Returns:
        `ALWAYS`, or the end of the lease that has to run out first, UTC; None where the item is finished or this annotator
        completed or skipped it.
    """
    free_at = slot_free_at(progresses, open_slots(*count_settling(progresses), annotations_per_item, skip_policy))
    for progress in progresses:
        if progress.annotator_id == annotator_id:
            if free_at is None or progress.state in SETTLING:
                return None
            return max(free_at, progress.lease_expires_at or ALWAYS)
    return free_at


def fold(transitions: Iterable[Transition]) -> dict[str, AnnotationState]:
    """Replay an item's history.

    Args:
        transitions: The item's transitions, oldest first.

    Returns:
        The state of every annotator's progress, by annotator id.

    Raises:
        ValueError: A transition starts from another state than the one before it led to.
    """
    states: dict[str, AnnotationState] = {}
    for transition in transitions:
        if states.get(transition.annotator_id, UNSTARTED) is not transition.from_state:
            raise ValueError(f"the history of item {transition.item_id!r} breaks at {transition}")
        states[transition.annotator_id] = transition.to_state
    return states
