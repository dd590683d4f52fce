"""States, workflows and progresses, and what the progresses on an item amount to; no storage, no clock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import partial
from typing import Any, Final, NamedTuple

import attrs

from annotation_queue.construction import Check, altered, optional, run_checks, trusted
from annotation_queue.entities import Entity
from annotation_queue.json_values import JsonValue, copy_json
from annotation_queue.values import check_id, check_integer, check_member, check_text, check_time


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
class Workflow(Entity):
    """Which moves an annotator may make. A backend may bring a table of its own.

    Args:
        name: What errors call it.
        moves: Pairs of the state before and the state after. A pair of a state and itself allows revisions: another label or
            another reason in that state. To repeat what is so already is always allowed, and changes nothing.
    """

    name: str
    moves: frozenset[tuple[AnnotationState, AnnotationState]] = attrs.field(converter=_moves)


_FROM_UNSTARTED: Final = {(UNSTARTED, IN_PROGRESS), (UNSTARTED, COMPLETED), (UNSTARTED, SKIPPED)}
_FROM_IN_PROGRESS: Final = {(IN_PROGRESS, UNSTARTED), (IN_PROGRESS, COMPLETED), (IN_PROGRESS, SKIPPED)}
_DRAFTS: Final = {(IN_PROGRESS, IN_PROGRESS)}
_REVISIONS: Final = {(COMPLETED, COMPLETED), (SKIPPED, SKIPPED)}
STANDARD: Final = Workflow("standard", _FROM_UNSTARTED | _FROM_IN_PROGRESS | _DRAFTS | _REVISIONS)
"""Work may be started, finished without starting, and released. What is finished stays so; its label may be corrected."""
STRICT: Final = Workflow("strict", {(UNSTARTED, IN_PROGRESS)} | _FROM_IN_PROGRESS | _DRAFTS)
"""As STANDARD, but nothing is finished that was not started, and nothing that is finished changes."""
REOPENABLE: Final = Workflow("reopenable", STANDARD.moves | {(COMPLETED, IN_PROGRESS), (SKIPPED, IN_PROGRESS)})
"""As STANDARD, and what is finished may be started again."""


@attrs.frozen(kw_only=True)
class Progress(Entity):
    """What one annotator did with one item: the state machine's instance.

    Args:
        item_id: The item.
        annotator_id: The annotator.
        state: Where it stands.
        token: The fencing token. It rises with each step into in_progress, with each direct step from unstarted to completed or
            skipped, and with each override that leads to completed or skipped: a claim that is out never carries the token of
            what was done without it.
        lease_expires_at: When the hold ends, UTC; None unless in progress. At that instant it is expired.
        annotation: The label, or the draft of one; any JSON value, None without one.
        reason: Why it came to this state, if that was said.
        created_at: When this annotator first touched the item, UTC.
        updated_at: When the state, or the label of what is finished, last changed, UTC. Heartbeats and drafts do not move it.
        started_at: When it last entered in_progress, UTC; None if it never did.
        step: Which transition of the item's history changed it last, counted from 1; 0 if none did.
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
    started_at: datetime | None = None
    step: int = 0

    def __attrs_post_init__(self) -> None:
        """Check every field."""
        run_checks(self, _PROGRESS_CHECKS)


@attrs.frozen(kw_only=True)
class Transition(Entity):
    """One change of one progress; an item's history is the list of them, a queue's log that of all its items.

    Args:
        item_id: The item.
        annotator_id: Whose progress changed.
        from_state: The state before.
        to_state: The state after. The same for a revision of what is completed or skipped.
        at: When, UTC.
        reason: Why, if that was said.
        annotation: The label that a step to completed left, any JSON value; None for every other step.
        actor_id: Who did it: the annotator, or somebody on their behalf; None for what nobody did, an expired lease.
    """

    item_id: str
    annotator_id: str
    from_state: AnnotationState
    to_state: AnnotationState
    at: datetime
    reason: str | None = None
    annotation: JsonValue = None
    actor_id: str | None = None

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
    "started_at": optional(check_time),
    "step": partial(check_integer, minimum=0),
}
_TRANSITION_CHECKS: Final[dict[str, Check]] = {
    "item_id": check_id,
    "annotator_id": check_id,
    "from_state": check_state,
    "to_state": check_state,
    "at": check_time,
    "reason": optional(check_text),
    "annotation": copy_json,
    "actor_id": optional(check_id),
}

make_progress = trusted(Progress)
with_annotation: Callable[[Progress, JsonValue], Progress] = altered(Progress, ("annotation",))
"""Gives a progress another label or draft, unchecked."""
with_lease: Callable[[Progress, datetime | None], Progress] = altered(Progress, ("lease_expires_at",))
"""Gives a progress another end of its lease, unchecked."""
make_transition = trusted(Transition)
_of_somebody: Callable[..., Progress] = altered(Progress, ("item_id", "annotator_id", "created_at", "updated_at"))
_UNTOUCHED: Final = make_progress(
    item_id="",
    annotator_id="",
    state=UNSTARTED,
    token=0,
    lease_expires_at=None,
    annotation=None,
    reason=None,
    created_at=ALWAYS,
    updated_at=ALWAYS,
)


def unstarted(item_id: str, annotator_id: str, at: datetime) -> Progress:
    """Make the progress of an annotator who has not touched the item yet.

    Args:
        item_id: The item.
        annotator_id: The annotator.
        at: Now, UTC.

    Returns:
        An unstarted progress with token 0. It is not stored until it moves.
    """
    return _of_somebody(_UNTOUCHED, item_id, annotator_id, at, at)


def is_expired(progress: Progress, at: datetime) -> bool:
    """Tell whether the hold of a progress has run out: at the end of its lease it has."""
    return progress.lease_expires_at is not None and progress.lease_expires_at <= at


def aggregate(progresses: Iterable[Progress]) -> tuple[AnnotationState, str | None]:
    """Find the one state shown for an item, and whose it is.

    Args:
        progresses: Progresses on one item, in any order; one annotator's alone give that annotator's perspective.

    Returns:
        State and annotator of the progress that changed last among those that are not unstarted: the one with the greatest
        ``step``, whatever the clocks said; ties go to the greater annotator id. Without any, unstarted and None.
    """
    latest: Progress | None = None
    for progress in progresses:
        if progress.state is not UNSTARTED and (
            latest is None or (progress.step, progress.annotator_id) > (latest.step, latest.annotator_id)
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


def is_for(assignees: Collection[str], annotator_id: str) -> bool:
    """Tell whether an annotator may claim an item, as far as it is reserved: for them, or for nobody."""
    return not assignees or annotator_id in assignees


def claimable_at(
    progresses: Sequence[Progress], annotator_id: str | None, annotations_per_item: int, skip_policy: SkipPolicy
) -> datetime | None:
    """Say from when on an annotator may claim an item, if nothing happened but leases ending.

    With `is_for` the whole eligibility rule: an item may be claimed at a time exactly if this is not None and not later.

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
            return claimable_with(progress, free_at)
    return free_at


def claimable_with(own: Progress | None, free_at: datetime | None) -> datetime | None:
    """Say the same of an annotator by their progress on the item, if it is known from when on others may claim it.

    Args:
        own: The annotator's progress; None without one.
        free_at: What `claimable_at` gives for somebody who has no progress on it.

    Returns:
        What `claimable_at` gives for the annotator.
    """
    if own is None or free_at is None:
        return free_at
    return None if own.state in SETTLING else max(free_at, own.lease_expires_at or ALWAYS)


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


def fold_labels(transitions: Iterable[Transition]) -> dict[str, JsonValue]:
    """Replay an item's history for its labels.

    Args:
        transitions: The item's transitions, oldest first.

    Returns:
        The label of every annotator whose progress is completed, by annotator id.
    """
    labels: dict[str, JsonValue] = {}
    for transition in transitions:
        if transition.to_state is COMPLETED:
            labels[transition.annotator_id] = transition.annotation
        else:
            labels.pop(transition.annotator_id, None)
    return labels
