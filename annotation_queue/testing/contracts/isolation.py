"""Projects are apart: whatever ids one is given, it reads and changes nothing of another."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import attrs
import pytest

from annotation_queue.errors import ClaimLost, Conflict, InvalidCursor, ItemNotFound, NotFound, QueueNotFound
from annotation_queue.items import AnnotationQueue, Claim, ItemPatch, NewItem, QueueItem
from annotation_queue.query import ItemFilter, ItemQuery, QueueQuery
from annotation_queue.queues import AnnotationQueues
from annotation_queue.states import AnnotationState
from annotation_queue.testing.contracts.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable


COMPLETED = AnnotationState.COMPLETED


@attrs.frozen
class Project:
    """A project with a queue in which something happened."""

    queues: AnnotationQueues
    queue: AnnotationQueue
    items: tuple[QueueItem, ...]
    claim: Claim
    gone: QueueItem

    def everything(self) -> list[object]:
        """Read all that the project stores."""
        return [
            (
                queue,
                self.queues.stats([queue.id]),
                self.queues.labels(queue.id),
                self.queues.changes(queue.id).transitions,
                self.queues.holds(queue.id, "bob"),
                [
                    (item, self.queues.progress(item.id), self.queues.history(item.id))
                    for item in self.queues.iter_items(queue.id, ItemQuery(include_position=True))
                ],
            )
            for queue in self.queues.query().queues
        ]


Operation = tuple[str, type[Exception], "Callable[[Project, Project], object]"]

_PATCH = ItemPatch(priority=9)

# What one project does with the ids of another, and what it is told.
REFUSED: list[Operation] = [
    ("get", QueueNotFound, lambda us, them: us.queues.get(them.queue.id)),
    ("update", QueueNotFound, lambda us, them: us.queues.update(them.queue.id, name="ours")),
    ("update", QueueNotFound, lambda us, them: us.queues.update(them.queue.id)),
    ("delete", QueueNotFound, lambda us, them: us.queues.delete(them.queue.id)),
    ("stats", QueueNotFound, lambda us, them: us.queues.stats([them.queue.id])),
    ("stats", QueueNotFound, lambda us, them: us.queues.stats([us.queue.id, them.queue.id])),
    (
        "add_items",
        QueueNotFound,
        lambda us, them: us.queues.add_items(them.queue.id, [NewItem(call_id="x")], added_by="ann"),
    ),
    ("update_items", QueueNotFound, lambda us, them: us.queues.update_items(them.queue.id, ItemFilter(), _PATCH)),
    ("reprioritise", QueueNotFound, lambda us, them: us.queues.reprioritise(them.queue.id, {them.items[0].id: 1})),
    ("restore_items", QueueNotFound, lambda us, them: us.queues.restore_items(them.queue.id, [them.items[3].id])),
    ("restore", QueueNotFound, lambda us, them: us.queues.restore(them.gone.queue_id)),
    ("claim_item", ItemNotFound, lambda us, them: us.queues.claim_item(them.items[0].id, "bob")),
    ("get_item", ItemNotFound, lambda us, them: us.queues.get_item(them.items[0].id)),
    ("get_item", ItemNotFound, lambda us, them: us.queues.get_item(them.items[3].id)),
    ("get_item", ItemNotFound, lambda us, them: us.queues.get_item(them.gone.id)),
    ("get_item", ItemNotFound, lambda us, them: us.queues.get_item(them.items[0].id, include_position=True)),
    ("get_item", ItemNotFound, lambda us, them: us.queues.get_item(them.items[0].id, queue_id=us.queue.id)),
    ("get_item", QueueNotFound, lambda us, them: us.queues.get_item(them.items[0].id, queue_id=them.queue.id)),
    ("get_item", QueueNotFound, lambda us, them: us.queues.get_item(us.items[0].id, queue_id=them.queue.id)),
    ("query_items", QueueNotFound, lambda us, them: us.queues.query_items(them.queue.id)),
    ("iter_items", QueueNotFound, lambda us, them: list(us.queues.iter_items(them.queue.id))),
    ("remove_items", QueueNotFound, lambda us, them: us.queues.remove_items(them.queue.id, [them.items[0].id])),
    ("remove_items", QueueNotFound, lambda us, them: us.queues.remove_items(them.queue.id, [us.items[0].id])),
    ("update_progress", ItemNotFound, lambda us, them: us.queues.update_progress(them.items[0].id, "eve", COMPLETED)),
    ("update_progress", ItemNotFound, lambda us, them: us.queues.update_progress(them.items[1].id, "bob", COMPLETED)),
    ("update_progress", ItemNotFound, lambda us, them: us.queues.update_progress(them.gone.id, "bob", COMPLETED)),
    (
        "update_progress",
        ItemNotFound,
        lambda us, them: us.queues.update_progress(them.items[0].id, "eve", COMPLETED, queue_id=us.queue.id),
    ),
    (
        "update_progress",
        QueueNotFound,
        lambda us, them: us.queues.update_progress(them.items[0].id, "eve", COMPLETED, queue_id=them.queue.id),
    ),
    ("progress", ItemNotFound, lambda us, them: us.queues.progress(them.items[1].id)),
    ("progress", ItemNotFound, lambda us, them: us.queues.progress(them.gone.id)),
    ("history", ItemNotFound, lambda us, them: us.queues.history(them.items[1].id)),
    ("history", ItemNotFound, lambda us, them: us.queues.history(them.gone.id)),
    ("claim", QueueNotFound, lambda us, them: us.queues.claim(them.queue.id, "eve")),
    ("claim_batch", QueueNotFound, lambda us, them: us.queues.claim_batch(them.queue.id, "eve", 5)),
    ("claim_batch", QueueNotFound, lambda us, them: us.queues.claim_batch(them.queue.id, "eve", 0)),
    ("heartbeat", QueueNotFound, lambda us, them: us.queues.heartbeat(them.claim)),
    ("complete", QueueNotFound, lambda us, them: us.queues.complete(them.claim, "ours")),
    ("complete_batch", QueueNotFound, lambda us, them: us.queues.complete_batch([(us.claim, 1), (them.claim, 1)])),
    ("skip", QueueNotFound, lambda us, them: us.queues.skip(them.claim)),
    ("release", QueueNotFound, lambda us, them: us.queues.release(them.claim)),
    ("save_draft", QueueNotFound, lambda us, them: us.queues.save_draft(them.claim, "ours")),
    ("heartbeat_batch", QueueNotFound, lambda us, them: us.queues.heartbeat_batch([us.claim, them.claim])),
    ("holds", QueueNotFound, lambda us, them: us.queues.holds(them.queue.id, "bob")),
    ("claim", QueueNotFound, lambda us, them: us.queues.claim(them.queue.id, "bob", resume=True)),
    ("labels", QueueNotFound, lambda us, them: us.queues.labels(them.queue.id)),
    ("iter_labels", QueueNotFound, lambda us, them: list(us.queues.iter_labels(them.queue.id))),
    ("changes", QueueNotFound, lambda us, them: us.queues.changes(them.queue.id)),
    (
        "changes",
        InvalidCursor,
        lambda us, them: us.queues.changes(us.queue.id, after=them.queues.changes(them.queue.id).cursor),
    ),
    ("throughput", QueueNotFound, lambda us, them: us.queues.throughput(them.queue.id)),
    ("reset", QueueNotFound, lambda us, them: us.queues.reset(them.queue.id, [them.items[1].id], actor_id="us")),
    ("reset", QueueNotFound, lambda us, them: us.queues.reset(them.queue.id, ItemFilter(), actor_id="us")),
    ("create", Conflict, lambda us, them: us.queues.create("queue", created_by="ann", queue_id=them.queue.id)),
    ("heartbeat", ClaimLost, lambda us, them: us.queues.heartbeat(them.claim.ref)),
    ("save_draft", ClaimLost, lambda us, them: us.queues.save_draft(them.claim.ref, "ours")),
    ("complete", ClaimLost, lambda us, them: us.queues.complete(them.claim.ref, "ours")),
    ("skip", ClaimLost, lambda us, them: us.queues.skip(them.claim.ref)),
    ("release", ClaimLost, lambda us, them: us.queues.release(them.claim.ref)),
    ("heartbeat", ClaimLost, lambda us, them: us.queues.heartbeat(moved(them.claim, us))),
    ("complete", ClaimLost, lambda us, them: us.queues.complete(moved(them.claim, us), "ours")),
    ("skip", ClaimLost, lambda us, them: us.queues.skip(moved(them.claim, us))),
    ("release", ClaimLost, lambda us, them: us.queues.release(moved(them.claim, us))),
]

# Those that take no id, or answer it with nothing.
ANSWERED = {"query", "query_items", "remove_items", "purge", "get_or_create", "project_id", "repository", "using"}


def moved(claim: Claim, us: Project) -> Claim:
    """Pretend that a claim is on an item of our own queue."""
    return attrs.evolve(claim, item=attrs.evolve(claim.item, project_id=us.queues.project_id, queue_id=us.queue.id))


class IsolationContract(Contract):
    """Projects are apart: whatever ids one is given, it reads and changes nothing of another."""

    @pytest.fixture
    def make_project(self, make_queues: Callable[..., AnnotationQueues]) -> Callable[[str], Project]:
        """Make projects that look the same but for their ids."""

        def make(project_id: str) -> Project:
            queues = make_queues(project_id)
            queue = queues.create("queue", created_by="ann", annotations_per_item=2)
            news = [NewItem(call_id=call, payload={"secret": project_id}) for call in "abcd"]
            items = queues.add_items(queue.id, news, added_by="ann").added
            claim = queues.claim(queue.id, "bob")
            assert isinstance(claim, Claim)
            queues.update_progress(items[1].id, "bob", COMPLETED, annotation="secret")
            queues.remove_items(queue.id, [items[3].id])
            deleted = queues.create("gone", created_by="ann")
            gone = queues.add_items(deleted.id, [NewItem(call_id="a")], added_by="ann").added[0]
            queues.delete(deleted.id)
            return Project(queues, queue, items, claim, gone)

        return make

    def test_every_method_is_tried(self) -> None:
        public = {name for name, _ in inspect.getmembers(AnnotationQueues) if not name.startswith("_")}
        assert {name for name, _, _ in REFUSED} | ANSWERED == public

    @pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in REFUSED))
    def test_what_belongs_to_another_project_is_not_found_and_nothing_changes(
        self, make_project: Callable[[str], Project], name: str
    ) -> None:
        us, them = make_project("one"), make_project("two")
        unknown = attrs.evolve(
            them,
            queue=attrs.evolve(them.queue, id="unknown"),
            items=tuple(attrs.evolve(item, id="unknown") for item in them.items),
            claim=attrs.evolve(them.claim, item=attrs.evolve(them.claim.item, id="unknown", queue_id="unknown")),
            gone=attrs.evolve(them.gone, id="unknown"),
        )
        before = us.everything(), them.everything()
        for _, error, operation in (each for each in REFUSED if each[0] == name):
            with pytest.raises(error) as refused:
                operation(us, them)
            assert "secret" not in str(refused.value)
            # What another project holds and what nobody holds look the same.
            if isinstance(refused.value, NotFound):
                with pytest.raises(error) as nobodys:
                    operation(us, unknown)
                assert type(nobodys.value) is type(refused.value)
        assert (us.everything(), them.everything()) == before

    def test_a_batch_of_completions_loses_a_claim_of_another_project_and_keeps_its_own(
        self,
        make_project: Callable[[str], Project],
    ) -> None:
        us, them = make_project("one"), make_project("two")
        before = them.everything()
        lost, done = us.queues.complete_batch([(moved(them.claim, us), "ours"), (us.claim, "ours")])
        assert isinstance(lost, ClaimLost)
        assert isinstance(done, QueueItem)
        assert them.everything() == before

    def test_lists_show_a_projects_own_and_pass_over_ids_of_another(
        self, make_project: Callable[[str], Project]
    ) -> None:
        us, them = make_project("one"), make_project("two")
        before = them.everything()
        assert us.queues.query().queues == (us.queue,)
        assert us.queues.query(QueueQuery(name="queue")).queues == (us.queue,)
        for name in ("id", "call_id"):
            wanted = ItemFilter(**{name: getattr(them.items[0], name)})
            found = us.queues.query_items(us.queue.id, ItemQuery(filter=wanted)).items
            assert found == (() if name == "id" else (us.queues.get_item(us.items[0].id),))
        assert us.queues.remove_items(us.queue.id, [item.id for item in them.items]) == 0
        assert us.queues.reset(us.queue.id, [item.id for item in them.items], actor_id="us") == 0
        assert us.queues.get_or_create("queue", created_by="ann") == us.queue
        assert {label.item.queue_id for label in us.queues.labels(us.queue.id).labels} == {us.queue.id}
        assert {each.item_id for each in us.queues.changes(us.queue.id).transitions} == {
            item.id for item in us.items[:2]
        }
        us.queues.create("new", created_by="ann")
        assert them.everything() == before

    def test_the_same_annotator_works_in_each_project_as_if_there_were_no_other(
        self,
        make_project: Callable[[str], Project],
    ) -> None:
        us, them = make_project("one"), make_project("two")
        before = them.everything()
        for _ in range(5):
            claim = us.queues.claim(us.queue.id, "bob")
            if claim:
                us.queues.complete(claim)
        us.queues.complete(us.claim, "label")
        us.queues.update(us.queue.id, annotations_per_item=1)
        us.queues.remove_items(us.queue.id, [us.items[2].id])
        assert them.everything() == before
        assert them.queues.complete(them.claim).annotation_state is COMPLETED

    @pytest.mark.parametrize("other", ["PROJECT", "project ", "projec", "project%", "_roject", "pröject", "project'"])
    def test_projects_whose_names_are_alike_are_apart(self, make_project: Callable[[str], Project], other: str) -> None:
        us, them = make_project("project"), make_project(other)
        assert us.queues.query().queues == (us.queue,)
        assert them.queues.query().queues == (them.queue,)
        with pytest.raises(QueueNotFound):
            us.queues.get(them.queue.id)
        us.queues.delete(us.queue.id)
        assert them.queues.get(them.queue.id) == them.queue
