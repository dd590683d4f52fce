"""Decisions: whatever is called in whatever order, the log tells all of it, and what changes nothing writes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation_queue import (
    REOPENABLE,
    STANDARD,
    STRICT,
    AnnotationQueues,
    AnnotationState,
    Claim,
    ClaimLost,
    InvalidTransition,
    ItemFilter,
    ItemPatch,
    MemoryRepository,
    NewItem,
    Workflow,
)
from annotation_queue.json_values import same_json
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, UNSTARTED, aggregate, fold, fold_labels
from annotation_queue.testing.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue import Change, ItemRecord, QueueItem

MOVES: Final = [(before, after) for before in AnnotationState for after in AnnotationState]
ANNOTATORS: Final = ("ann", "bob")
LABELS: Final = (None, 1, True, 1.0, {"a": [1]}, "text")


class Step(NamedTuple):
    """A call, and by how much the clock moves before it."""

    name: str
    item: int
    who: str
    state: AnnotationState
    label: Any
    reason: str | None
    seconds: int


class Counting(MemoryRepository):
    """A repository that counts what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.saves = 0
        self.overtaken: dict[str, Callable[[], object]] = {}
        """Name of a method -> what somebody else does before it takes effect the next time."""

    def get_records(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the repository
        self.overtaken.pop("get_records", int)()
        return super().get_records(*args, **kwargs)

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        self.overtaken.pop("save", int)()
        self.saves += 1
        super().save(writes)

    def reset(self, *args: Any) -> int:  # noqa: ANN401 - those of the repository
        self.overtaken.pop("reset", int)()
        count = super().reset(*args)
        self.saves += count > 0
        return count


class World:
    """A queue of two items, and what everybody was told of them."""

    def __init__(self, workflow: Workflow, needed: int = 2) -> None:
        self.repository, self.clock, self.workflow = Counting(), Clock(), workflow
        self.queues = AnnotationQueues(self.repository, "project", workflow=workflow, clock=self.clock)
        self.queue_id = self.queues.create("queue", created_by="ann", annotations_per_item=needed).id
        added = self.queues.add_items(self.queue_id, [NewItem(call_id=call) for call in "ab"], added_by="ann").added
        self.items = tuple(item.id for item in added)
        self.updated = {item.id: item.updated_at for item in added}
        self.claims: list[Claim] = []
        self.acknowledged: list[tuple[str, str, object]] = []
        """Item, annotator and label of everything that was said to be completed."""

    def call(self, step: Step) -> None:
        self.clock.move(step.seconds)
        name, who, label = step.name, step.who, step.label
        claim = self.claims[step.item % len(self.claims)] if self.claims else None
        before, saves = self.stored(), self.repository.saves
        try:
            shown = self._act(step, self.items[step.item % 2], claim)
        except (ClaimLost, InvalidTransition):
            shown = None
            name = "refused"
        if name == "refused":
            assert (self.repository.saves, self.stored()) == (saves, before)
        if self.repository.saves == saves and name not in {"claim", "resume"}:
            assert self.stored() == before
        if self.stored() == before and name not in {"claim", "resume", "heartbeat", "draft"}:
            assert self.repository.saves == saves
        if shown is not None and shown.annotation_state is COMPLETED:
            who = claim.annotator_id if claim is not None and name in {"complete", "skip", "release"} else who
            (own,) = [each for each in self.queues.progress(shown.id) if each.annotator_id == who]
            assert label is None or name not in {"complete", "move", "override"} or same_json(own.annotation, label)
            self.acknowledged.append((shown.id, who, own.annotation))

    def _act(self, step: Step, item_id: str, claim: Claim | None) -> QueueItem | None:
        name, _, who, state, label, reason, _ = step
        queues = self.queues
        if name in {"claim", "resume"}:
            granted = queues.claim(self.queue_id, who, resume=name == "resume")
            self.claims += [granted] if isinstance(granted, Claim) else []
        elif name == "move":
            return queues.update_progress(item_id, who, state, annotation=label, reason=reason)
        elif name == "override":
            label = None if state is UNSTARTED else label
            return queues.update_progress(
                item_id, who, state, annotation=label, reason=reason, actor_id="boss", override=True
            )
        elif name == "reset":
            queues.reset(self.queue_id, [item_id], actor_id="boss", reason=reason)
        elif claim is not None:
            by_claim: dict[str, Callable[[], object]] = {
                "complete": lambda: queues.complete(claim.ref, label),
                "skip": lambda: queues.skip(claim, reason),
                "release": lambda: queues.release(claim, reason),
                "heartbeat": lambda: queues.heartbeat(claim.ref),
                "draft": lambda: queues.save_draft(claim, label),
            }
            shown = by_claim[name]()
            return None if isinstance(shown, Claim) else shown  # type: ignore[return-value]
        return None

    def stored(self) -> object:
        return [
            (self.queues.get_item(each), self.queues.progress(each), self.queues.history(each)) for each in self.items
        ]

    def check(self) -> None:
        assert self.repository.check() == ()
        log = self.queues.changes(self.queue_id).transitions
        for item_id in self.items:
            item, progresses = self.queues.get_item(item_id), self.queues.progress(item_id)
            history = self.queues.history(item_id)
            assert tuple(each for each in log if each.item_id == item_id) == history
            assert fold(history) == {each.annotator_id: each.state for each in progresses}
            labels = fold_labels(history)
            completed = {each.annotator_id: each.annotation for each in progresses if each.state is COMPLETED}
            assert labels.keys() == completed.keys()
            assert all(same_json(label, completed[who]) for who, label in labels.items())
            assert item.updated_at >= self.updated[item_id]
            self.updated[item_id] = item.updated_at
            assert (item.annotation_state, item.annotator_user_id) == aggregate(progresses)
            last = max((each for each in progresses if each.state is not UNSTARTED), key=lambda p: p.step, default=None)
            assert item.annotator_user_id == (None if last is None else last.annotator_id)
        for item_id, who, label in self.acknowledged:
            assert any(
                (each.item_id, each.annotator_id) == (item_id, who) and same_json(each.annotation, label)
                for each in log
                if each.to_state is COMPLETED
            )


workflows = st.sampled_from((STANDARD, STRICT, REOPENABLE)) | st.sets(st.sampled_from(MOVES)).map(
    lambda moves: Workflow("random", moves)
)
NAMES: Final = ("claim", "resume", "move", "override", "reset", "complete", "skip", "release", "heartbeat", "draft")
steps = st.builds(
    Step,
    st.sampled_from(NAMES),
    st.integers(0, 3),
    st.sampled_from(ANNOTATORS),
    st.sampled_from(AnnotationState),
    st.sampled_from(LABELS),
    st.sampled_from((None, "why", "because")),
    st.sampled_from((0, 0, 1, -1, 100, 400, -1_000)),
)


@settings(max_examples=60, deadline=None)
@given(workflows, st.integers(1, 2), st.lists(steps, max_size=12))
def test_whatever_is_called_the_log_tells_the_states_and_every_label_that_was_acknowledged(
    workflow: Workflow, needed: int, given_steps: list[Step]
) -> None:
    world = World(workflow, needed)
    for step in given_steps:
        world.call(step)
        world.check()


def held(workflow: Workflow = STANDARD) -> tuple[World, Claim]:
    world = World(workflow)
    claim = world.queues.claim(world.queue_id, "ann")
    assert isinstance(claim, Claim)
    return world, claim


REPEATED: Final[dict[str, Callable[[AnnotationQueues, Claim], object]]] = {
    "complete": lambda queues, claim: queues.complete(claim, {"a": 1, "b": 2}),
    "complete without the label": lambda queues, claim: queues.complete(claim),
    "complete with the keys in another order": lambda queues, claim: queues.complete(claim.ref, {"b": 2, "a": 1}),
    "complete_batch": lambda queues, claim: queues.complete_batch([(claim, {"a": 1, "b": 2})]),
    "update_progress": lambda queues, claim: queues.update_progress(claim.item.id, "ann", COMPLETED),
    "an override": lambda queues, claim: queues.update_progress(
        claim.item.id, "ann", COMPLETED, annotation={"a": 1, "b": 2}, actor_id="boss", override=True
    ),
    "a reset of nobody's": lambda queues, claim: queues.reset(
        claim.item.queue_id, [claim.item.id, "unknown"], actor_id="boss", annotator_id="eve"
    ),
}


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("workflow", [STANDARD, STRICT, REOPENABLE], ids=lambda each: each.name)
def test_what_changes_nothing_writes_nothing(workflow: Workflow, name: str) -> None:
    world, claim = held(workflow)
    world.queues.complete(claim, {"a": 1, "b": 2})
    before, saves = world.stored(), world.repository.saves
    world.clock.move(60)
    REPEATED[name](world.queues, claim)
    assert world.repository.saves == saves
    assert world.stored() == before


@pytest.mark.parametrize("override", [False, True])
def test_putting_back_what_is_unstarted_is_no_change_however_often_and_why_it_is_asked_for(*, override: bool) -> None:
    world, claim = held()
    options: dict[str, Any] = {"actor_id": "boss", "override": override}
    world.queues.update_progress(claim.item.id, "ann", UNSTARTED, reason="redo", **options)
    before, saves = world.stored(), world.repository.saves
    world.queues.update_progress(claim.item.id, "ann", UNSTARTED, reason="redo", **options)
    assert (world.stored(), world.repository.saves) == (before, saves)


def test_a_revision_under_a_workflow_without_it_is_refused_and_writes_nothing() -> None:
    world, claim = held(STRICT)
    world.queues.complete(claim, "first")
    before, saves = world.stored(), world.repository.saves
    for revise in (
        lambda: world.queues.complete(claim, "second"),
        lambda: world.queues.complete_batch([(claim.ref, "second")]),
        lambda: world.queues.update_progress(claim.item.id, "ann", COMPLETED, reason="why"),
    ):
        with pytest.raises(InvalidTransition) as refused:
            revise()
        assert (refused.value.from_state, refused.value.to_state) == (COMPLETED, COMPLETED)
    assert (world.stored(), world.repository.saves) == (before, saves)


def test_a_draft_under_a_workflow_without_drafts_is_refused_and_writes_nothing() -> None:
    world, claim = held(Workflow("no drafts", STRICT.moves - {(IN_PROGRESS, IN_PROGRESS)}))
    before, saves = world.stored(), world.repository.saves
    with pytest.raises(InvalidTransition):
        world.queues.save_draft(claim, "draft")
    with pytest.raises(InvalidTransition):
        world.queues.update_progress(claim.item.id, "ann", IN_PROGRESS, annotation="draft")
    assert (world.stored(), world.repository.saves) == (before, saves)


ENDED: Final[dict[str, Callable[[World, Claim], object]]] = {
    "released": lambda world, claim: world.queues.release(claim),
    "expired, and granted to others": lambda world, claim: (
        world.clock.move(1_000),
        world.queues.claim(claim.item.queue_id, "bob"),
    ),
    "reset": lambda world, claim: world.queues.reset(world.queue_id, [claim.item.id], actor_id="boss"),
    "overridden": lambda world, claim: world.queues.update_progress(
        claim.item.id, "ann", UNSTARTED, actor_id="boss", override=True
    ),
}
SETTLED: Final[dict[str, dict[str, Any]]] = {
    "directly": {},
    "by an override": {"actor_id": "boss", "override": True},
}


@pytest.mark.parametrize("state", [COMPLETED, SKIPPED])
@pytest.mark.parametrize("how", SETTLED)
@pytest.mark.parametrize("ended", ENDED)
def test_a_stale_claim_never_completes_what_was_done_without_it(ended: str, how: str, state: AnnotationState) -> None:
    world, claim = held()
    ENDED[ended](world, claim)
    world.queues.update_progress(claim.item.id, "ann", state, annotation="theirs", **SETTLED[how])
    before, saves = world.stored(), world.repository.saves
    acts: list[Callable[[], object]] = [
        lambda: world.queues.complete(claim, "stale"),
        lambda: world.queues.complete(claim),
        lambda: world.queues.skip(claim, "stale"),
        lambda: world.queues.release(claim),
        lambda: world.queues.heartbeat(claim),
        lambda: world.queues.save_draft(claim, "stale"),
    ]
    for act in acts:
        with pytest.raises(ClaimLost):
            act()
    (lost,) = world.queues.complete_batch([(claim, "stale")])
    assert isinstance(lost, ClaimLost)
    assert (world.stored(), world.repository.saves) == (before, saves)


@pytest.mark.parametrize("state", [IN_PROGRESS, COMPLETED, SKIPPED])
def test_a_claim_is_lost_when_an_override_settled_what_it_held(state: AnnotationState) -> None:
    world, claim = held()
    if state is not IN_PROGRESS:
        world.queues.update_progress(claim.item.id, "ann", state, annotation="mine")
    world.queues.update_progress(claim.item.id, "ann", COMPLETED, annotation="chief's", actor_id="boss", override=True)
    with pytest.raises(ClaimLost):
        world.queues.complete(claim, "stale")
    assert [each.annotation for each in world.queues.progress(claim.item.id)] == ["chief's"]


def test_claims_on_the_same_item_and_by_other_names_are_carried_out_one_after_the_other() -> None:
    world, claim = held()
    other = world.queues.claim(world.queue_id, "bob")
    assert isinstance(other, Claim)
    assert other.item.id == claim.item.id
    results = world.queues.complete_batch(
        [(claim, 1), (other.ref, 2), (claim.ref, 3), (attrs.evolve(claim, token=9), 4)]
    )
    assert [getattr(each, "annotation_state", None) for each in results] == [COMPLETED, COMPLETED, COMPLETED, None]
    assert [each.annotation for each in world.queues.progress(claim.item.id)] == [3, 2]
    assert [each.annotation for each in world.queues.history(claim.item.id)] == [None, None, 1, 2, 3]


def test_the_aggregate_is_that_of_the_last_step_when_the_clock_went_back() -> None:
    world, claim = held()
    other = world.queues.claim(world.queue_id, "bob")
    assert isinstance(other, Claim)
    world.clock.move(10)
    world.queues.complete(claim)
    late = world.queues.get_item(claim.item.id).updated_at
    world.clock.move(-1_000)
    shown = world.queues.skip(other)
    item = world.queues.get_item(claim.item.id)
    assert (item.annotation_state, item.annotator_user_id, item.updated_at) == (SKIPPED, "bob", late)
    assert shown.updated_at == late


LATER: Final = datetime(2027, 1, 1, tzinfo=UTC)
LEAVES: Final[dict[str, tuple[ItemFilter, Callable[[World, str], object]]]] = {
    "in another state": (
        ItemFilter(annotation_states={COMPLETED}),
        lambda world, item_id: world.queues.update_progress(item_id, "bob", SKIPPED),
    ),
    "open again": (
        ItemFilter(finished=True),
        lambda world, item_id: world.queues.update_progress(item_id, "bob", UNSTARTED, actor_id="boss", override=True),
    ),
    "changed too late": (
        ItemFilter(updated_until=LATER, annotation_states={COMPLETED, SKIPPED}),
        lambda world, item_id: (
            world.clock.move(366 * 24 * 3600),
            world.queues.update_progress(item_id, "bob", SKIPPED),
        ),
    ),
    "reserved for somebody else": (
        ItemFilter(assignee="bob"),
        lambda world, item_id: world.queues.update_items(world.queue_id, [item_id], ItemPatch(assignees=["eve"])),
    ),
    "removed": (ItemFilter(), lambda world, item_id: world.queues.remove_items(world.queue_id, [item_id])),
}


@pytest.mark.parametrize("left", LEAVES)
def test_a_reset_by_a_filter_passes_over_what_has_left_the_filter_before_its_only_step(left: str) -> None:
    wanted, leave = LEAVES[left]
    world = World(STANDARD)
    for item_id in world.items:
        for who in ("ann", "bob") if left == "open again" else ("ann",):
            world.queues.update_progress(item_id, who, COMPLETED, annotation=who)
    world.queues.update_items(world.queue_id, world.items, ItemPatch(assignees=["bob"]))
    first, second = world.items
    expected = len(world.queues.progress(second))
    world.repository.overtaken["reset"] = lambda: leave(world, first)
    assert world.queues.reset(world.queue_id, wanted, actor_id="boss") == expected
    assert {each.state for each in world.queues.progress(second)} == {UNSTARTED}
    if left != "removed":
        assert "ann" in {each.annotator_id for each in world.queues.progress(first) if each.state is COMPLETED}
    assert world.repository.check() == ()


def test_a_reset_by_a_filter_takes_what_has_entered_the_filter_before_its_only_step() -> None:
    world = World(STANDARD)
    first, second = world.items
    world.queues.update_progress(first, "ann", COMPLETED, annotation="first")
    world.repository.overtaken["reset"] = lambda: world.queues.update_progress(second, "ann", COMPLETED)
    assert world.queues.reset(world.queue_id, ItemFilter(annotation_states={COMPLETED}), actor_id="boss") == 2
    assert [each.item_id for each in world.queues.changes(world.queue_id).transitions[-2:]] == [first, second]
    assert world.repository.saves == 3
