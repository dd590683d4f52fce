"""EvalGuard's update of an item's state: its messages, what they do here, and what it answers when it refuses."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

import attrs

from annotation_queue.errors import AnnotationQueueError, ItemNotFound, NotFound
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, UNSTARTED, AnnotationState
from annotation_queue.wire import weave
from annotation_queue.wire.converter import BadMessage, Id, load, open_message, read, write

__all__ = ["BadMessage", "State", "StateBody", "StateRes", "load", "read", "refusal", "update", "write"]


class State(StrEnum):
    """The states as EvalGuard calls them."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    SKIPPED = "skipped"


STATES: Final[dict[State, AnnotationState]] = {
    State.PENDING: UNSTARTED,
    State.IN_PROGRESS: IN_PROGRESS,
    State.COMPLETED: COMPLETED,
    State.SKIPPED: SKIPPED,
}
"""What EvalGuard's states are here."""


@open_message
@attrs.frozen(kw_only=True)
class StateBody:
    """Where the annotator's state on an item shall go.

    Args:
        item_id: The item. Published as a UUID; any id that an item has is accepted.
        state: The new state; pending gives back what was in progress.
    """

    item_id: Id
    state: State


@attrs.frozen(kw_only=True)
class StateRes:
    """The change was made, or was there already.

    Args:
        success: Always true.
    """

    success: bool = True


def update(projects: "Iterable[AnnotationQueues]", body: StateBody, *, annotator_id: str) -> StateRes:
    """Move an annotator's state on an item.

    Args:
        projects: The services for the projects in which the annotator may do so: the request names none, and an item's id is
            unique in all of them.
        body: The request.
        annotator_id: Whose state: the user that the credentials name.

    Returns:
        The answer.

    Raises:
        NotFound: None of the projects has such an item.
        InvalidTransition: The workflow has no such move.
    """
    for queues in projects:
        try:
            queues.update_progress(body.item_id, annotator_id, STATES[body.state])
        except NotFound:
            continue
        return StateRes()
    raise ItemNotFound(body.item_id)


def refusal(error: AnnotationQueueError) -> tuple[int, dict[str, Any]]:
    """Say how EvalGuard answers an error: as Weave does, but it has no 422, so a body that does not fit is 400."""
    status, body = weave.refusal(error)
    return {422: 400}.get(status, status), body
