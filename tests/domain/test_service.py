"""What the service does between what it reads and what it writes, and what its callers may rely on by name."""

from __future__ import annotations

import inspect
import pickle
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    Conflict,
    InvalidQuery,
    InvalidValue,
    ItemFilter,
    ItemNotFound,
    ItemPage,
    ItemQuery,
    MemoryRepository,
    NewItem,
    QueueNotFound,
    QueuePage,
)
from annotation_queue.moves import advance, grant
from annotation_queue.testing import Call, histories, play
from helpers.memory import service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue import AnnotationQueue, Change, ItemRecord, QueueItem
    from helpers.clocks import Clock

COMPLETED = AnnotationState.COMPLETED


class Overtaken(MemoryRepository):
    """A repository on which somebody else acts between what the service reads and what it does with that."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: list[Callable[[], object]] = []
        """What they do, one before each call that follows."""
        self.saves = 0

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """Save, too late."""
        self.saves += 1
        self._overtake()
        super().save(writes)

    def replace_queue(self, before: AnnotationQueue, after: AnnotationQueue) -> None:
        """Replace, too late."""
        self._overtake()
        super().replace_queue(before, after)

    def query_items(self, project_id: str, queue_id: str, query: ItemQuery) -> ItemPage:
        """Query, too late."""
        self._overtake()
        return super().query_items(project_id, queue_id, query)

    def _overtake(self) -> None:
        if self.acts:
            self.acts.pop(0)()


@attrs.frozen
class World:
    """A queue whose two items two annotators must complete, and Bob's claims on both."""

    repository: Overtaken
    queues: AnnotationQueues
    queue: AnnotationQueue
    items: tuple[QueueItem, ...]
    claims: tuple[Claim, ...]

    def overtake(self, *acts: Callable[[], object]) -> None:
        """Let others act before the next calls."""
        self.repository.acts += acts


@pytest.fixture
def world(clock: Clock) -> World:
    repository = Overtaken()
    queues = service(repository, clock)
    queue = queues.create("queue", created_by="ann", annotations_per_item=2)
    items = queues.add_items(queue.id, [NewItem(call_id=call) for call in "ab"], added_by="ann").added
    return World(repository, queues, queue, items, queues.claim_batch(queue.id, "bob", 2))


def test_an_update_that_was_overtaken_keeps_what_the_other_changed(world: World, clock: Clock) -> None:
    world.overtake(lambda: world.queues.update(world.queue.id, name="theirs"))
    at = clock.move(1)
    updated = world.queues.update(world.queue.id, description="ours")
    assert (updated.name, updated.description, updated.updated_at) == ("theirs", "ours", at)
    assert world.queues.get(world.queue.id) == updated


def test_an_update_that_was_overtaken_by_the_same_one_changes_nothing_more(world: World, clock: Clock) -> None:
    world.overtake(lambda: world.queues.update(world.queue.id, name="new"))
    first = clock.move(1)
    assert world.queues.update(world.queue.id, name="new").updated_at == first
    assert world.queues.get(world.queue.id).updated_at == first


def test_a_deletion_that_was_overtaken_deletes_what_is_there_now(world: World) -> None:
    world.overtake(lambda: world.queues.update(world.queue.id, name="theirs"))
    assert world.queues.delete(world.queue.id).name == "theirs"
    world_again = world.queues.create("another", created_by="ann")
    world.overtake(lambda: world.queues.delete(world_again.id))
    with pytest.raises(QueueNotFound):
        world.queues.update(world_again.id, name="ours")


def test_a_completion_that_was_overtaken_by_another_annotator_takes_effect_beside_theirs(world: World) -> None:
    (item, _), (claim, _) = world.items, world.claims
    world.overtake(lambda: world.queues.update_progress(item.id, "eve", COMPLETED, annotation="theirs"))
    world.queues.complete(claim, "ours")
    world.overtake(lambda: world.queues.update_progress(item.id, "fay", COMPLETED, annotation="hers"))
    world.queues.update_progress(item.id, "gus", COMPLETED, annotation="his")
    labels = [(each.annotator_id, each.annotation) for each in world.queues.progress(item.id)]
    assert labels == [("bob", "ours"), ("eve", "theirs"), ("fay", "hers"), ("gus", "his")]


def test_a_completion_that_was_overtaken_by_a_release_is_lost(world: World) -> None:
    claim, _ = world.claims
    world.overtake(lambda: world.queues.release(claim))
    with pytest.raises(ClaimLost):
        world.queues.complete(claim, "late")
    (progress,) = world.queues.progress(claim.item.id)
    assert (progress.state, progress.annotation) == (AnnotationState.UNSTARTED, None)


def test_a_batch_that_was_overtaken_completes_what_is_still_held(world: World) -> None:
    first, second = world.claims
    world.overtake(lambda: world.queues.release(first), lambda: world.queues.heartbeat(second))
    lost, completed = world.queues.complete_batch([(first, 1), (second, 2)])
    assert isinstance(lost, ClaimLost)
    assert not isinstance(completed, ClaimLost)
    assert completed.annotation_state is COMPLETED
    assert [each.annotation for each in world.queues.progress(second.item.id)] == [2]


def test_what_never_stops_changing_is_a_conflict_at_last_and_nothing_is_written(world: World) -> None:
    claim, _ = world.claims
    for call in (lambda: world.queues.complete(claim, 1), lambda: world.queues.complete_batch([(claim, 1)])):
        world.overtake(*[lambda: MemoryRepository.save(world.repository, [_touch(world, claim)])] * 10_000)
        world.repository.saves = 0
        with pytest.raises(Conflict, match="kept changing"):
            call()
        assert world.repository.saves > 100
        world.repository.acts.clear()
    assert [each.annotation for each in world.queues.progress(claim.item.id)] == [None]
    assert len(world.queues.history(claim.item.id)) == 1


def _touch(world: World, claim: Claim) -> tuple[ItemRecord, Change]:
    """What a heartbeat of Bob's would write."""
    written: list[tuple[ItemRecord, Change]] = []

    class Noting:
        def __getattr__(self, name: str) -> object:
            return written.extend if name == "save" else getattr(world.repository, name)

    AnnotationQueues(Noting(), "project", clock=lambda: claim.expires_at).heartbeat(claim)  # type: ignore[arg-type]  # all that a heartbeat needs
    (change,) = written
    return change


def test_an_item_that_is_removed_while_it_is_looked_for_is_not_found(world: World) -> None:
    item, _ = world.items
    world.overtake(lambda: world.queues.remove_items(world.queue.id, [item.id]))
    with pytest.raises(ItemNotFound) as missing:
        world.queues.get_item(item.id, include_position=True)
    assert missing.value.item_id == item.id


@pytest.mark.parametrize("limit", [1, 499, 500, 501, 750, 1_000, 1_100, 1_200, 1_300, None])
def test_a_walk_of_several_pages_ends_where_its_limit_or_the_queue_does(clock: Clock, limit: int | None) -> None:
    queues = service(MemoryRepository(), clock)
    queue_id = queues.create("queue", created_by="ann").id
    added = queues.add_items(queue_id, [NewItem(call_id=str(n)) for n in range(1_200)], added_by="ann").added
    assert tuple(queues.iter_items(queue_id, ItemQuery(limit=limit))) == added[:limit]
    assert tuple(queues.iter_items(queue_id, ItemQuery(limit=limit, offset=7))) == added[7:][:limit]


def test_a_page_of_many_that_shows_the_last_item_has_no_next_one(clock: Clock) -> None:
    queues = service(MemoryRepository(), clock)
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id=str(number)) for number in range(300)], added_by="ann")
    assert queues.query_items(queue_id, ItemQuery(limit=300)).next_cursor is None
    assert queues.query_items(queue_id, ItemQuery(limit=299)).next_cursor is not None


def test_a_claim_holds_its_item_however_often_the_annotator_started_it(clock: Clock) -> None:
    queues = service(MemoryRepository(), clock)
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id="a")], added_by="ann")
    for _ in range(300):
        claim = queues.claim(queue_id, "bob")
        assert isinstance(claim, Claim)
        queues.release(claim)
    claim = queues.claim(queue_id, "bob")
    assert isinstance(claim, Claim)
    assert claim.token == 301
    # As it comes back from elsewhere: equal to what was handed out, and no part of it the same object.
    claim = pickle.loads(pickle.dumps(claim))  # noqa: S301 - our own bytes
    assert queues.complete(queues.heartbeat(claim), "label").annotation_state is COMPLETED
    assert queues.complete(claim, "label").annotation_state is COMPLETED
    assert len(queues.history(claim.item.id)) == 602
    assert queues.complete(claim, "again").annotation_state is COMPLETED
    assert [each.annotation for each in queues.progress(claim.item.id)] == ["again"]
    assert [each.annotation for each in queues.history(claim.item.id)[-2:]] == ["label", "again"]


class Copying:
    """A repository that takes and gives copies, as from another process: equal to the original, and never the same."""

    def __init__(self, repository: MemoryRepository) -> None:
        self._repository = repository

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the method takes and returns
            # What adds items takes an iterable that may fail and a function, which cannot be copied.
            kept = 2 if name == "add_items" else len(args)
            answer = getattr(self._repository, name)(*_copy(args[:kept]), *args[kept:], **_copy(options))
            return _copy(answer)

        return call


def _copy(value: Any) -> Any:  # noqa: ANN401 - anything
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


@settings(max_examples=12)
@given(histories(max_size=20))
def test_what_is_equal_need_not_be_the_same_object(history: list[Call]) -> None:
    with MemoryRepository() as repository:
        play(history, Copying(repository))
        assert repository.check() == ()


def test_what_is_equal_to_an_id_is_that_id(clock: Clock) -> None:
    with MemoryRepository() as repository:
        queues = service(Copying(repository), clock)  # type: ignore[arg-type]  # it has every method
        queue = queues.create("queue", created_by="ann", annotations_per_item=2)
        (item,) = queues.add_items(queue.id, [NewItem(call_id="call-1", call_op_name="op")], added_by="ann").added
        claim = queues.claim(queue.id, "bob")
        assert isinstance(claim, Claim)
        assert queues.complete(_copy(claim), "label").annotation_state is COMPLETED
        assert queues.complete(_copy(claim), "label").annotation_state is COMPLETED
        again = queues.claim(queue.id, "bob")
        assert not again
        seen = queues.get_item(_copy(item.id), annotator_id=_copy("bob"))
        assert (seen.annotation_state, seen.annotator_user_id) == (COMPLETED, "bob")
        for wanted in (ItemFilter(call_id="call-1"), ItemFilter(call_op_name="op"), ItemFilter(added_by="ann")):
            query = _copy(ItemQuery(filter=wanted, annotator_id="bob"))
            assert queues.query_items(queue.id, query).items == (seen,)
            assert query.filter.matches(item, finished=False)
        assert queues.query_items(queue.id, ItemQuery(filter=ItemFilter(annotation_states={COMPLETED}))).items == (
            queues.get_item(item.id),
        )
        assert queues.remove_items(_copy(queue.id), [_copy(item.id)]) == 1


def test_a_time_that_is_equal_to_the_one_from_which_on_all_may_claim_is_that_time(clock: Clock) -> None:
    with MemoryRepository() as repository:
        queues = service(Copying(repository), clock)  # type: ignore[arg-type]  # it has every method
        queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id
        (item,) = queues.add_items(queue_id, [NewItem(call_id="call-1")], added_by="ann").added
        for who, state in (
            ("bob", AnnotationState.IN_PROGRESS),
            ("cy", AnnotationState.IN_PROGRESS),
            ("bob", AnnotationState.UNSTARTED),
            ("cy", COMPLETED),
            ("eve", AnnotationState.IN_PROGRESS),
            ("eve", COMPLETED),
        ):
            queues.update_progress(item.id, who, state)
            assert repository.check() == ()
        assert not queues.claim(queue_id, "bob")


BY_NAME: list[tuple[Callable[..., object], str, str]] = [
    (AnnotationQueues, "repository project_id", "workflow clock new_id"),
    (
        AnnotationQueues.create,
        "self name",
        "created_by description scorer_refs annotations_per_item skip_policy lease label_schema is_paused queue_id",
    ),
    (
        AnnotationQueues.get_or_create,
        "self name",
        "created_by description scorer_refs annotations_per_item skip_policy lease label_schema is_paused",
    ),
    (AnnotationQueues.get, "self queue_id", ""),
    (AnnotationQueues.query, "self query", ""),
    (
        AnnotationQueues.update,
        "self queue_id",
        "name description scorer_refs annotations_per_item skip_policy lease label_schema is_paused",
    ),
    (AnnotationQueues.delete, "self queue_id", ""),
    (AnnotationQueues.stats, "self queue_ids", ""),
    (AnnotationQueues.add_items, "self queue_id items", "added_by"),
    (AnnotationQueues.get_item, "self item_id", "queue_id annotator_id include_position"),
    (AnnotationQueues.query_items, "self queue_id query", ""),
    (AnnotationQueues.iter_items, "self queue_id query", ""),
    (AnnotationQueues.remove_items, "self queue_id which", ""),
    (AnnotationQueues.claim, "self queue_id annotator_id", "lease resume"),
    (AnnotationQueues.holds, "self queue_id annotator_id", ""),
    (AnnotationQueues.claim_batch, "self queue_id annotator_id limit", "lease"),
    (AnnotationQueues.heartbeat, "self claim", "lease"),
    (AnnotationQueues.heartbeat_batch, "self claims", "lease"),
    (AnnotationQueues.save_draft, "self claim annotation", "lease"),
    (AnnotationQueues.complete, "self claim annotation", ""),
    (AnnotationQueues.complete_batch, "self results", ""),
    (AnnotationQueues.skip, "self claim reason", ""),
    (AnnotationQueues.release, "self claim reason", ""),
    (
        AnnotationQueues.update_progress,
        "self item_id annotator_id state",
        "queue_id annotation reason actor_id override",
    ),
    (AnnotationQueues.reset, "self queue_id which", "actor_id annotator_id reason"),
    (AnnotationQueues.labels, "self queue_id query", ""),
    (AnnotationQueues.iter_labels, "self queue_id query", ""),
    (AnnotationQueues.changes, "self queue_id", "after limit"),
    (AnnotationQueues.throughput, "self queue_id", "window"),
    (AnnotationQueues.using, "self repository", ""),
    (AnnotationQueues.progress, "self item_id", ""),
    (AnnotationQueues.history, "self item_id", ""),
    (MemoryRepository.claim, "self project_id queue_id annotator_id", "limit at lease"),
    (
        advance,
        "progress to_state",
        "at workflow lease_expires_at annotation reason actor_id override step",
    ),
    (grant, "progresses item_id annotator_id", "at expires_at steps"),
    (ItemPage, "", "items next_cursor total"),
    (QueuePage, "", "queues next_cursor"),
]


@pytest.mark.parametrize(("call", "either", "by_name"), BY_NAME, ids=lambda each: getattr(each, "__qualname__", ""))
def test_every_argument_may_be_given_by_name_and_options_only_so(
    call: Callable[..., object], either: str, by_name: str
) -> None:
    kinds = {name: parameter.kind for name, parameter in inspect.signature(call).parameters.items()}
    assert kinds == {
        **dict.fromkeys(either.split(), inspect.Parameter.POSITIONAL_OR_KEYWORD),
        **dict.fromkeys(by_name.split(), inspect.Parameter.KEYWORD_ONLY),
    }


def test_a_message_names_a_short_id_by_itself_and_a_long_one_by_its_place(clock: Clock) -> None:
    with MemoryRepository() as repository:
        queues = service(repository, clock)
        for item_id, place in (("item", "priorities['item']"), ("i" * 100_000, "priorities[1]")):
            with pytest.raises(InvalidValue) as refused:
                queues.reprioritise("queue", {"first": 1, item_id: "high"})  # type: ignore[dict-item]  # refused
            assert refused.value.field == place


def test_an_offset_together_with_a_cursor_is_refused_in_words_that_say_what_to_do() -> None:
    with pytest.raises(InvalidQuery) as refused:
        ItemQuery(offset=5, cursor="cursor")
    assert str(refused.value) == "offset: expected 0 together with a cursor, got int 5"
