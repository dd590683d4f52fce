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
    Transition,
)
from helpers.clocks import Clock
from helpers.faults import Operation, Scene, all_of, outcome, plain, service, set_up

if TYPE_CHECKING:
    from collections.abc import Callable

IN_PROGRESS, COMPLETED, SKIPPED = AnnotationState.IN_PROGRESS, AnnotationState.COMPLETED, AnnotationState.SKIPPED


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
    "complete, as it was": lambda queues, it: queues.complete(it.claim, "first"),
    "complete_batch, as it was": lambda queues, it: queues.complete_batch([(it.claim, "first")]),
    "skip, as it was": lambda queues, it: queues.skip(it.claim, "first"),
    "complete as it was, directly": lambda queues, it: queues.update_progress(
        it.claim.item.id, "bob", COMPLETED, annotation="first", queue_id=it.queue_id
    ),
}
HELD: Final = {"live", "expired"}
"""Nobody else was granted the item: its holder may still do everything."""
NO_OPS: Final = {
    ("completed", "complete, as it was"),
    ("completed", "complete_batch, as it was"),
    ("completed", "complete as it was, directly"),
    ("skipped", "skip, as it was"),
    *((fate, "start directly") for fate in ("live", "expired", "taken over by the same annotator")),
    *((fate, "start directly") for fate in ("released and claimed again", "completed and reopened")),
}
"""What is there already: it succeeds and changes nothing."""
REVISIONS: Final = {
    ("completed", "complete"): (COMPLETED, "late", None),
    ("completed", "complete_batch"): (COMPLETED, "late", None),
    ("completed", "complete directly"): (COMPLETED, "late", None),
    ("skipped", "skip"): (SKIPPED, None, "late"),
    ("taken over by the same annotator and completed", "complete directly"): (COMPLETED, "late", None),
    ("taken over by the same annotator and completed", "complete as it was, directly"): (COMPLETED, "first", None),
}
"""Bob says something else where he is done, with the claim that still carries his token or without any: one step more in the
history, and the state, the label and the reason that it leaves."""
FINAL: Final = {
    "completed",
    "skipped",
    "taken over by the same annotator and completed",
    "taken over by the same annotator and skipped",
}
"""Bob is done with the item, and nothing moves him away from there; what he says of it he may still revise."""


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


def _check_revision(world: World, act: str, state: AnnotationState, annotation: str | None, reason: str | None) -> None:
    """Let Bob revise what he said: one step more, and nothing else of his progress differs."""
    item_id = world.scene.claim.item.id
    (was,), told = world.others.progress(item_id), world.others.history(item_id)
    assert (was.annotator_id, was.state) == ("bob", state)
    world.clock.move(1)
    answer = outcome(ACTS[act], world.zombie, world.scene)
    assert not isinstance(answer, Exception), answer
    now = world.clock()
    progress = attrs.evolve(was, annotation=annotation, reason=reason, updated_at=now, step=len(told) + 1)
    step = Transition(
        item_id=item_id,
        annotator_id="bob",
        from_state=state,
        to_state=state,
        at=now,
        reason=reason,
        annotation=annotation,
        actor_id="bob",
    )
    for queues in (world.others, world.zombie):
        assert queues.progress(item_id) == (progress,)
        assert queues.history(item_id) == (*told, step)
    # Said once more it is there already.
    stored = plain(all_of(world.others))
    assert not isinstance(outcome(ACTS[act], world.zombie, world.scene), Exception)
    assert plain(all_of(world.others)) == stored


def check_zombie(world: World, fate: str, act: str) -> None:
    """Let something happen to Bob's claim, and Bob act on it then.

    Raises:
        AssertionError: The answer is not what it has to be, or something stale was written.
    """
    FATES[fate](world)
    if (fate, act) in REVISIONS:
        _check_revision(world, act, *REVISIONS[fate, act])
        return
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
