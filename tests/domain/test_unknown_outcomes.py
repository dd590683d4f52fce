"""What to do after `OutcomeUnknown`: each recipe of the docstrings, whether the write was stored or not."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    ItemFilter,
    ItemQuery,
    MemoryRepository,
    NewItem,
    OutcomeUnknown,
    QueueNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Callable

COMPLETED = AnnotationState.COMPLETED
WRITES = ("add_queue", "replace_queue", "add_items", "remove_items", "reset", "claim", "save", "get_or_create_queue")


class Unreliable:
    """A repository whose connection dies at the next write: before it is stored, or after."""

    def __init__(self, repository: MemoryRepository, *, stores: bool) -> None:
        self._repository = repository
        self._stores = stores
        self.dies = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._repository, name)

        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the method takes and returns
            if not (self.dies and name in WRITES):
                return method(*args, **options)
            self.dies = False
            if self._stores:
                method(*args, **options)
            raise OutcomeUnknown("the connection died")

        return call


class World:
    """A queue of two items over a repository that fails when it is told to."""

    def __init__(self, *, stores: bool) -> None:
        self.unreliable = Unreliable(MemoryRepository(), stores=stores)
        self.queues = AnnotationQueues(self.unreliable, "project")
        self.queue_id = self.queues.create("queue", created_by="ann").id
        added = self.queues.add_items(self.queue_id, [NewItem(call_id=call) for call in "ab"], added_by="ann").added
        self.item_ids = [item.id for item in added]

    def lose(self, call: Callable[[], object]) -> None:
        """Make a call whose answer is lost."""
        self.unreliable.dies = True
        with pytest.raises(OutcomeUnknown):
            call()
        assert not self.unreliable.dies

    def claim(self) -> Claim:
        claim = self.queues.claim(self.queue_id, "ann")
        assert isinstance(claim, Claim)
        return claim


@pytest.fixture(params=[True, False], ids=["stored", "not stored"])
def world(request: pytest.FixtureRequest) -> World:
    return World(stores=request.param)


def test_create_with_an_id_may_be_repeated(world: World) -> None:
    def create() -> object:
        return world.queues.create("new", created_by="ann", queue_id="mine")

    world.lose(create)
    assert create() == world.queues.get("mine")
    assert len(world.queues.query().queues) == 2


def test_get_or_create_may_be_repeated(world: World) -> None:
    world.lose(lambda: world.queues.get_or_create("new", created_by="ann"))
    made = world.queues.get_or_create("new", created_by="ann")
    assert [each.id for each in world.queues.query().queues if each.name == "new"] == [made.id]


def test_update_may_be_repeated(world: World) -> None:
    world.lose(lambda: world.queues.update(world.queue_id, name="new"))
    assert world.queues.update(world.queue_id, name="new") == world.queues.get(world.queue_id)
    assert world.queues.get(world.queue_id).name == "new"


def test_delete_is_repeated_until_the_queue_is_not_found(world: World) -> None:
    world.lose(lambda: world.queues.delete(world.queue_id))
    with suppress(QueueNotFound):
        world.queues.delete(world.queue_id)
    with pytest.raises(QueueNotFound):
        world.queues.get(world.queue_id)


def test_an_addition_is_repeated_and_read_back_by_its_calls(world: World) -> None:
    new = [NewItem(call_id=call) for call in "bcd"]
    world.lose(lambda: world.queues.add_items(world.queue_id, new, added_by="ann"))
    again = world.queues.add_items(world.queue_id, new, added_by="ann")
    assert len(again.added) + again.duplicates == 3
    queries = [ItemQuery(filter=ItemFilter(call_id=call)) for call in "bcd"]
    read = [item for query in queries for item in world.queues.query_items(world.queue_id, query).items]
    assert [item.call_id for item in read] == ["b", "c", "d"]
    assert {item.id for item in again.added} <= {item.id for item in read}


def test_a_removal_may_be_repeated(world: World) -> None:
    world.lose(lambda: world.queues.remove_items(world.queue_id, world.item_ids))
    assert world.queues.remove_items(world.queue_id, world.item_ids) in {0, 2}
    assert world.queues.query_items(world.queue_id).items == ()


def test_a_claim_is_repeated_with_resume_and_strands_no_item(world: World) -> None:
    world.lose(lambda: world.queues.claim(world.queue_id, "ann"))
    claim = world.queues.claim(world.queue_id, "ann", resume=True)
    assert isinstance(claim, Claim)
    assert claim.item.id == world.item_ids[0]
    assert [held.ref for held in world.queues.holds(world.queue_id, "ann")] == [claim.ref]


def test_after_a_batch_of_claims_what_is_held_is_asked_for(world: World) -> None:
    world.lose(lambda: world.queues.claim_batch(world.queue_id, "ann", 2))
    held = world.queues.holds(world.queue_id, "ann") or world.queues.claim_batch(world.queue_id, "ann", 2)
    assert [claim.item.id for claim in held] == world.item_ids


@pytest.mark.parametrize(
    "name", ["complete", "complete_batch", "skip", "update_progress", "save_draft", "heartbeat", "reset"]
)
def test_what_may_be_repeated_writes_once(world: World, name: str) -> None:
    claim, queues = world.claim(), world.queues
    acts: dict[str, Callable[[], object]] = {
        "complete": lambda: queues.complete(claim, {"label": 1}),
        "complete_batch": lambda: queues.complete_batch([(claim.ref, {"label": 1})]),
        "skip": lambda: queues.skip(claim, "why"),
        "update_progress": lambda: queues.update_progress(claim.item.id, "ann", COMPLETED, annotation=1, reason="why"),
        "save_draft": lambda: queues.save_draft(claim, "draft"),
        "heartbeat": lambda: queues.heartbeat(claim),
        "reset": lambda: queues.reset(world.queue_id, [claim.item.id], actor_id="boss", reason="why"),
    }
    world.lose(acts[name])
    acts[name]()
    assert len(queues.history(claim.item.id)) == (1 if name in {"save_draft", "heartbeat"} else 2)
    (progress,) = queues.progress(claim.item.id)
    assert progress.annotation == {
        "complete": {"label": 1},
        "complete_batch": {"label": 1},
        "update_progress": 1,
        "save_draft": "draft",
    }.get(name)


def test_a_release_is_repeated_and_a_lost_claim_means_that_nothing_is_held(world: World) -> None:
    claim = world.claim()
    world.lose(lambda: world.queues.release(claim))
    with suppress(ClaimLost):
        world.queues.release(claim)
    assert world.queues.holds(world.queue_id, "ann") == ()
    assert len(world.queues.history(claim.item.id)) == 2
