"""After `OutcomeUnknown`: what the docstring of each method says to do leads where one call would have led."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    Conflict,
    ItemFilter,
    ItemPatch,
    ItemQuery,
    MemoryRepository,
    NewItem,
    OutcomeUnknown,
    QueueNotFound,
)
from helpers.clocks import Clock
from helpers.memory import service

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_queue import AnnotationQueue

COMPLETED: Final = AnnotationState.COMPLETED
WRITES: Final = (
    *("add_queue", "get_or_create_queue", "replace_queue", "restore_queue", "add_items", "save", "claim"),
    *("update_items", "reprioritise", "reset", "remove_items", "restore_items", "purge"),
)


class Unsure:
    """A repository whose connection is lost during the next write, before or after that was stored."""

    def __init__(self, repository: MemoryRepository) -> None:
        self._repository = repository
        self.loses: bool | None = None
        """Whether the next write is stored; None if the connection holds."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._repository, name)
        if name not in WRITES or self.loses is None:
            return method

        def call(*args: Any, **options: Any) -> None:  # noqa: ANN401 - whatever the method takes
            stored, self.loses = self.loses, None
            if stored:
                method(*args, **options)
            raise OutcomeUnknown("the connection was lost")

        return call


class World:
    """A queue with three items of which Bob holds one, and what can be lost."""

    def __init__(self) -> None:
        self.memory = MemoryRepository()
        self.repository = Unsure(self.memory)
        self.queues = service(self.repository, Clock())  # type: ignore[arg-type]  # it has every method
        self.queue: AnnotationQueue = self.queues.create("queue", created_by="ann")
        new = [NewItem(call_id=call) for call in "abc"]
        self.items = [each.id for each in self.queues.add_items(self.queue.id, new, added_by="ann").added]
        claim = self.queues.claim(self.queue.id, "bob")
        assert isinstance(claim, Claim)
        self.claim = claim

    def once(self, call: Callable[[], object], *, stored: bool | None) -> None:
        """Make a call; whose answer is lost, unless ``stored`` is None."""
        self.repository.loses = stored
        if stored is None:
            call()
            return
        with pytest.raises(OutcomeUnknown):
            call()
        assert self.repository.loses is None, "the call wrote nothing"

    def dump(self) -> object:
        """List all that is stored, by what callers gave it."""
        queues = sorted(self.queues.query().queues, key=lambda queue: queue.name)
        return [
            (
                (queue.name, queue.description),
                [
                    (
                        item.call_id,
                        [
                            (each.annotator_id, each.state, each.token, each.annotation)
                            for each in self.queues.progress(item.id)
                        ],
                        [(each.from_state, each.to_state, each.annotation) for each in self.queues.history(item.id)],
                    )
                    for item in sorted(self.queues.query_items(queue.id).items, key=lambda item: item.call_id)
                ],
            )
            for queue in queues
        ]


# Each makes a call whose answer may be lost, and then does what the docstring says.


def create(world: World, *, stored: bool | None) -> None:
    def call() -> AnnotationQueue:
        return world.queues.create("new", created_by="ann", description="x", queue_id="mine")

    world.once(call, stored=stored)
    assert call() == world.queues.get("mine")
    with pytest.raises(Conflict):
        world.queues.create("another", created_by="ann", queue_id="mine")


def create_without_an_id(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.create("new", created_by="ann", description="x"), stored=stored)
    if "new" not in {queue.name for queue in world.queues.query().queues}:
        world.queues.create("new", created_by="ann", description="x")


def get_or_create(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.get_or_create("new", created_by="ann"), stored=stored)
    assert world.queues.get_or_create("new", created_by="ann").name == "new"


def update(world: World, *, stored: bool | None) -> None:
    def call() -> AnnotationQueue:
        return world.queues.update(world.queue.id, description="new")

    world.once(call, stored=stored)
    assert call() == world.queues.get(world.queue.id)


def delete(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.delete(world.queue.id), stored=stored)
    if stored is False:
        world.queues.delete(world.queue.id)
    with pytest.raises(QueueNotFound):
        world.queues.delete(world.queue.id)


def add_items(world: World, *, stored: bool | None) -> None:
    calls = ["c", "d", "e"]

    def call() -> object:
        return world.queues.add_items(world.queue.id, [NewItem(call_id=each) for each in calls], added_by="ann")

    world.once(call, stored=stored)
    if stored is not None:
        added = world.queues.add_items(world.queue.id, [NewItem(call_id=each) for each in calls], added_by="ann")
        assert len(added.added) + added.duplicates == 3
        assert bool(added.added) is not stored
    for each in calls:
        query = ItemQuery(filter=ItemFilter(call_id=each))
        assert [item.call_id for item in world.queues.query_items(world.queue.id, query).items] == [each]


def remove_items(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.remove_items(world.queue.id, world.items[1:]), stored=stored)
    if stored is not None:
        assert world.queues.remove_items(world.queue.id, world.items[1:]) == (0 if stored else 2)


def update_items(world: World, *, stored: bool | None) -> None:
    patch = ItemPatch(priority=7, payload={"a": 1})
    world.once(lambda: world.queues.update_items(world.queue.id, ItemFilter(), patch), stored=stored)
    if stored is not None:
        assert world.queues.update_items(world.queue.id, ItemFilter(), patch) == (0 if stored else 3)


def reprioritise(world: World, *, stored: bool | None) -> None:
    priorities = {world.items[2]: 9, world.items[1]: -1}
    world.once(lambda: world.queues.reprioritise(world.queue.id, priorities), stored=stored)
    if stored is not None:
        assert world.queues.reprioritise(world.queue.id, priorities) == (0 if stored else 2)


def restore_items(world: World, *, stored: bool | None) -> None:
    world.queues.remove_items(world.queue.id, world.items)
    world.once(lambda: world.queues.restore_items(world.queue.id, world.items), stored=stored)
    if stored is not None:
        assert world.queues.restore_items(world.queue.id, world.items) == (0 if stored else 3)


def restore(world: World, *, stored: bool | None) -> None:
    world.queues.delete(world.queue.id)
    world.once(lambda: world.queues.restore(world.queue.id), stored=stored)
    assert world.queues.restore(world.queue.id).deleted_at is None


def purge(world: World, *, stored: bool | None) -> None:
    world.queues.remove_items(world.queue.id, world.items[1:])
    at = datetime(2100, 1, 1, tzinfo=UTC)
    world.once(lambda: world.queues.purge(removed_before=at), stored=stored)
    if stored is not None:
        assert world.queues.purge(removed_before=at).items == (0 if stored else 2)


def claim_item(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.claim_item(world.items[2], "eve"), stored=stored)
    held = world.queues.holds(world.queue.id, "eve") or (world.queues.claim_item(world.items[2], "eve"),)
    assert [(each.item.call_id, each.token) for each in held if isinstance(each, Claim)] == [("c", 1)]


def claim(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.claim(world.queue.id, "eve", resume=True), stored=stored)
    held = world.queues.claim(world.queue.id, "eve", resume=True)
    assert isinstance(held, Claim)
    assert (held.item.call_id, held.token) == ("b", 1)
    assert [each.ref for each in world.queues.holds(world.queue.id, "eve")] == [held.ref]


def claim_batch(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.claim_batch(world.queue.id, "eve", 2), stored=stored)
    held = world.queues.holds(world.queue.id, "eve") or world.queues.claim_batch(world.queue.id, "eve", 2)
    assert [each.item.call_id for each in held] == ["b", "c"]


def heartbeat(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.heartbeat(world.claim), stored=stored)
    assert world.queues.heartbeat(world.claim).ref == world.claim.ref


def heartbeat_batch(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.heartbeat_batch([world.claim]), stored=stored)
    assert [each.token for each in world.queues.heartbeat_batch([world.claim])] == [1]


def save_draft(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.save_draft(world.claim, {"a": 1}), stored=stored)
    assert world.queues.save_draft(world.claim, {"a": 1}).ref == world.claim.ref


def complete(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.complete(world.claim.ref, {"a": 1}), stored=stored)
    assert world.queues.complete(world.claim.ref, {"a": 1}).annotation_state is COMPLETED


def correct(world: World, *, stored: bool | None) -> None:
    world.queues.complete(world.claim, "wrong")
    world.once(lambda: world.queues.complete(world.claim, "right"), stored=stored)
    assert world.queues.complete(world.claim, "right").annotation_state is COMPLETED


def complete_batch(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.complete_batch([(world.claim, "good")]), stored=stored)
    (item,) = world.queues.complete_batch([(world.claim, "good")])
    assert not isinstance(item, ClaimLost)


def skip(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.skip(world.claim, "tired"), stored=stored)
    assert world.queues.skip(world.claim, "tired").annotation_state is AnnotationState.SKIPPED


def release(world: World, *, stored: bool | None) -> None:
    world.once(lambda: world.queues.release(world.claim, "tired"), stored=stored)
    if stored is False:
        world.queues.release(world.claim, "tired")
    with pytest.raises(ClaimLost):
        world.queues.release(world.claim, "tired")
    assert world.queues.holds(world.queue.id, "bob") == ()


def update_progress(world: World, *, stored: bool | None) -> None:
    for state in (AnnotationState.IN_PROGRESS, COMPLETED):

        def call(state: AnnotationState = state) -> object:
            return world.queues.update_progress(world.items[1], "eve", state, annotation=[state], reason="why")

        world.once(call, stored=stored)
        call()


def override(world: World, *, stored: bool | None) -> None:
    world.queues.complete(world.claim, "good")
    for state, label in ((AnnotationState.SKIPPED, "x"), (COMPLETED, "y"), (AnnotationState.UNSTARTED, None)):

        def call(state: AnnotationState = state, label: str | None = label) -> object:
            return world.queues.update_progress(
                world.items[0], "bob", state, annotation=label, reason="wrong", actor_id="boss", override=True
            )

        world.once(call, stored=stored)
        call()


def reset(world: World, *, stored: bool | None) -> None:
    world.queues.complete(world.claim, "good")
    world.once(lambda: world.queues.reset(world.queue.id, world.items, actor_id="boss", reason="x"), stored=stored)
    if stored is not None:
        moved = world.queues.reset(world.queue.id, world.items, actor_id="boss", reason="x")
        assert moved == (0 if stored else 1)


RECIPES: list[Callable[..., None]] = [
    *(create, create_without_an_id, get_or_create, update, delete, add_items, remove_items, claim, claim_batch),
    *(heartbeat, heartbeat_batch, save_draft, complete, correct, complete_batch, skip, release),
    *(update_progress, override, reset, claim_item),
    *(update_items, reprioritise, restore_items, restore, purge),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
@pytest.mark.parametrize("stored", [True, False])
def test_what_the_docstring_says_leads_where_one_call_leads(recipe: Callable[..., None], *, stored: bool) -> None:
    once, lost = World(), World()
    recipe(once, stored=None)
    recipe(lost, stored=stored)
    assert lost.dump() == once.dump()
    assert lost.memory.check() == ()


READS: Final = {
    *("get", "query", "stats", "get_item", "query_items", "iter_items", "holds", "progress", "history", "labels"),
    *("iter_labels", "changes", "throughput", "using", "project_id", "repository"),
}


def test_every_method_that_writes_says_what_to_do_after_an_unknown_outcome_and_has_a_recipe() -> None:
    methods = {name: made for name, made in inspect.getmembers(AnnotationQueues) if not name.startswith("_")}
    writes = {name: inspect.getdoc(made) or "" for name, made in methods.items() if name not in READS}
    says_nothing = [
        name for name, said in writes.items() if "may be repeated" not in said and "OutcomeUnknown" not in said
    ]
    assert says_nothing == []
    assert writes.keys() - {recipe.__name__ for recipe in RECIPES} == set()
