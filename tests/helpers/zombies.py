"""Zombies: a holder acts on its claim after something else happened to it; nothing stale may ever be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue import (
    REOPENABLE,
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    InvalidTransition,
    ItemNotFound,
    NewItem,
    QueueNotFound,
    Repository,
)
from helpers.clocks import Clock
from helpers.faults import Operation, Scene, all_of, outcome, plain, service, set_up

if TYPE_CHECKING:
    from collections.abc import Callable

IN_PROGRESS, COMPLETED = AnnotationState.IN_PROGRESS, AnnotationState.COMPLETED


@attrs.frozen
class World:
    """Two services over the same storage, and a scene whose items need one annotator each.

    Args:
        zombie: The service of the holder, on a connection of its own; it has read its claim already.
        others: The service of everybody else.
        scene: The scene.
        clock: The clock of both.
    """

    zombie: AnnotationQueues
    others: AnnotationQueues
    scene: Scene
    clock: Clock

    def claim(self, annotator_id: str) -> Claim:
        """Claim the item of the scene."""
        claim = self.others.claim(self.scene.queue_id, annotator_id)
        assert isinstance(claim, Claim)
        assert claim.item.id == self.scene.claim.item.id
        return claim


def world_of(ours: Repository, theirs: Repository, name: str = "project") -> World:
    """Give Bob a claim, in a project of its own.

    Args:
        ours: The repository of the holder.
        theirs: The repository of everybody else, on the same storage.
        name: Of the project, and of all ids in it.
    """
    clock = Clock()
    zombie = service(ours, clock, f"{name}-zombie", name)
    scene = set_up(zombie, needed=1)
    zombie.heartbeat(scene.claim)
    return World(zombie, service(theirs, clock, f"{name}-others", name), scene, clock)


def _expire(world: World) -> object:
    return world.clock.move(60)


def _take_over(world: World, annotator_id: str = "eve") -> Claim:
    _expire(world)
    return world.claim(annotator_id)


def _reopen(world: World) -> None:
    world.others.complete(world.scene.claim, "first")
    again = AnnotationQueues(world.others._repository, world.others.project_id, workflow=REOPENABLE, clock=world.clock)
    again.update_progress(world.scene.claim.item.id, "bob", IN_PROGRESS)


FATES: Final[dict[str, Callable[[World], object]]] = {
    "live": lambda _: None,
    "expired": _expire,
    "taken over": _take_over,
    "taken over and completed": lambda it: it.others.complete(_take_over(it), "theirs"),
    "taken over and skipped": lambda it: it.others.skip(_take_over(it)),
    "taken over and released": lambda it: it.others.release(_take_over(it)),
    "taken over and expired": lambda it: (_take_over(it), _expire(it)),
    "taken over by the same annotator": lambda it: _take_over(it, "bob"),
    "taken over by the same annotator and completed": lambda it: it.others.complete(_take_over(it, "bob"), "theirs"),
    "taken over by the same annotator and skipped": lambda it: it.others.skip(_take_over(it, "bob"), "theirs"),
    "released": lambda it: it.others.release(it.scene.claim),
    "released and claimed again": lambda it: (it.others.release(it.scene.claim), it.claim("bob")),
    "completed": lambda it: it.others.complete(it.scene.claim, "first"),
    "skipped": lambda it: it.others.skip(it.scene.claim, "first"),
    "completed and reopened": _reopen,
    "item deleted": lambda it: it.others.remove_items(it.scene.queue_id, [it.scene.claim.item.id]),
    "item deleted and added again": lambda it: (
        it.others.remove_items(it.scene.queue_id, [it.scene.claim.item.id]),
        it.others.add_items(it.scene.queue_id, [NewItem(call_id="x", priority=1)], added_by="ann"),
    ),
    "queue deleted": lambda it: it.others.delete(it.scene.queue_id),
    "everything deleted": lambda it: (
        it.others.remove_items(it.scene.queue_id, it.scene.item_ids),
        it.others.delete(it.scene.queue_id),
    ),
}
ACTS: Final[dict[str, Operation]] = {
    "complete": lambda queues, it: queues.complete(it.claim, "late"),
    "complete_batch": lambda queues, it: queues.complete_batch([(it.claim, "late")]),
    "skip": lambda queues, it: queues.skip(it.claim, "late"),
    "release": lambda queues, it: queues.release(it.claim, "late"),
    "heartbeat": lambda queues, it: queues.heartbeat(it.claim),
    "start directly": lambda queues, it: queues.update_progress(it.claim.item.id, "bob", IN_PROGRESS),
    "complete directly": lambda queues, it: queues.update_progress(
        it.claim.item.id, "bob", COMPLETED, annotation="late", queue_id=it.queue_id
    ),
}
HELD: Final = {"live", "expired"}
"""Nobody else was granted the item: its holder may still do everything."""
NO_OPS: Final = {
    ("completed", "complete"),
    ("completed", "complete_batch"),
    ("completed", "complete directly"),
    ("skipped", "skip"),
    ("taken over by the same annotator and completed", "complete directly"),
    *((fate, "start directly") for fate in ("live", "expired", "taken over by the same annotator")),
    *((fate, "start directly") for fate in ("released and claimed again", "completed and reopened")),
}
"""What is there already: it succeeds and changes nothing."""
FINAL: Final = {
    "completed",
    "skipped",
    "taken over by the same annotator and completed",
    "taken over by the same annotator and skipped",
}
"""Bob is done with the item, and nothing moves him away from there."""


def expected(fate: str, act: str) -> type[Exception] | None:
    """Say which error an act must raise; None where it succeeds."""
    if (fate, act) in NO_OPS:
        return None
    if fate in {"queue deleted", "everything deleted"}:
        return QueueNotFound
    if act.endswith("directly"):
        # It needs no claim, so only what the item and Bob's own state forbid is refused.
        if fate.startswith("item deleted"):
            return ItemNotFound
        return InvalidTransition if fate in FINAL else None
    return None if fate in HELD else ClaimLost


def check_zombie(world: World, fate: str, act: str) -> None:
    """Let something happen to Bob's claim, and Bob act on it then.

    Raises:
        AssertionError: The answer is not what it has to be, or something stale was written.
    """
    FATES[fate](world)
    before = plain(all_of(world.others))
    answer = outcome(ACTS[act], world.zombie, world.scene)
    if isinstance(answer, tuple):
        (answer,) = answer
    error = expected(fate, act)
    if error is None:
        assert not isinstance(answer, Exception), answer
        assert (plain(all_of(world.others)) == before) == (
            (fate, act) in NO_OPS or (fate, act) == ("live", "heartbeat")
        )
        return
    assert type(answer) is error
    if isinstance(answer, ClaimLost):
        claim = world.scene.claim
        assert (answer.item_id, answer.annotator_id, answer.token) == (claim.item.id, "bob", claim.token)
    assert plain(all_of(world.others)) == before
    assert plain(all_of(world.zombie)) == before
