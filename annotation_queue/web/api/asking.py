"""On whose behalf: an argument that names the asker is the asker, and nobody acts under another's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annotation_queue.items import ClaimRef
from annotation_queue.values import check_id
from annotation_queue.web.access import Action
from annotation_queue.web.requests import Denied

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annotation_queue.web.access import Principal
    from annotation_queue.wire.v1.operations import Operation


def with_asker(operation: Operation, sent: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
    """Fill in who asks, if that is left out.

    Args:
        operation: The operation.
        sent: What was sent.
        principal: Who asks.

    Returns:
        What was sent, with the asker's name.
    """
    name = "annotator_id" if operation.name == "update_progress" else operation.asker
    return dict(sent) if name is None else {name: principal.user_id} | dict(sent)


def check_asker(operation: Operation, arguments: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
    """Refuse what is asked in another's name.

    Args:
        operation: The operation.
        arguments: Its arguments.
        principal: Who asks.

    Returns:
        The arguments, with the asker as the actor on another's progress.

    Raises:
        Denied: They name somebody else as the asker, or a claim of somebody else's.
    """
    is_update = operation.name == "update_progress"
    name = "actor_id" if is_update else operation.asker
    named = None if name is None else arguments.get(name)
    if operation.asker is not None:
        check_id(operation.asker, named)  # the service has no use for it in every call
    if _is_other(named, principal):
        raise Denied(403, f"{name}: nobody asks in another's name; leave it out")
    if any(ref.annotator_id != principal.user_id for ref in _refs(arguments)):
        raise Denied(403, "claim: it is another annotator's")
    if is_update and _is_other(arguments["annotator_id"], principal):
        return dict(arguments) | {"actor_id": principal.user_id}
    return dict(arguments)


def action_of(operation: Operation, arguments: Mapping[str, Any], principal: Principal) -> Action:
    """Say what the asker needs the right to do."""
    if operation.name == "update_progress" and (
        arguments["annotator_id"] != principal.user_id or arguments.get("override") is True
    ):
        return Action.OVERRIDE
    return Action(operation.action)


def _is_other(named: object, principal: Principal) -> bool:
    # What is no text is nobody's name: the service refuses it.
    return isinstance(named, str) and named not in {"", principal.user_id}


def _refs(arguments: Mapping[str, Any]) -> Iterator[ClaimRef]:
    if isinstance(claim := arguments.get("claim"), ClaimRef):
        yield claim
    yield from arguments.get("claims", ())
    yield from (claim for claim, _ in arguments.get("results", ()))
