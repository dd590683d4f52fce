"""Histories of calls in any workflow: the check of a history finds nothing wrong with them, and finds every planted damage."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue import (
    REOPENABLE,
    STANDARD,
    STRICT,
    AnnotationState,
    ClaimLost,
    InvalidTransition,
    InvalidValue,
    ItemFilter,
    MemoryRepository,
    NewItem,
    Workflow,
)
from annotation_queue.json_values import same_json
from annotation_queue.repositories.history_check import history_problems
from annotation_queue.states import COMPLETED, IN_PROGRESS, SKIPPED, UNSTARTED, fold, fold_labels
from helpers.clocks import Clock
from helpers.memory import service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annotation_queue import AnnotationQueues, Change, ClaimRef, ItemRecord, JsonValue, Progress, Transition

ANNOTATORS: Final = ("ann", "bob")
PAIRS: Final = [(before, after) for before in AnnotationState for after in AnnotationState]

Call = tuple[str, dict[str, Any]]


class Counting(MemoryRepository):
    """A repository that counts what is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.saves = 0

    def save(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """Save, and count it."""
        self.saves += 1
        super().save(writes)


def calls() -> st.SearchStrategy[list[Call]]:
    labels = st.sampled_from([None, "good", "bad", 1, True, 1.0, {"a": [1], "b": 2}, {"b": 2, "a": [1]}])
    reasons = st.sampled_from([None, None, "why", ""])
    items, who, which = st.integers(0, 1), st.sampled_from(ANNOTATORS), st.integers(0, 20)

    def call(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
        return st.tuples(st.just(name), st.fixed_dictionaries(arguments))

    moves = call(
        "move",
        item=items,
        who=who,
        state=st.sampled_from(AnnotationState),
        label=labels,
        reason=reasons,
        override=st.sampled_from([False, False, True]),
    )
    return st.lists(
        st.one_of(
            moves,
            moves,
            call("claim", who=who, resume=st.booleans()),
            call("finish", which=which, how=st.sampled_from(["complete", "complete", "skip", "release"]), said=labels),
            call("draft", which=which, label=labels),
            call("heartbeat", which=which),
            call("reset", item=items, who=st.none() | who, reason=reasons),
            call("wait", seconds=st.sampled_from([-100, -1, 0, 5, 400])),
        ),
        max_size=25,
    )


class Game:
    """Makes calls on two items, and looks after each at all that has to hold."""

    def __init__(self, workflow: Workflow, needed: int) -> None:
        self.workflow, self.clock, self.repository = workflow, Clock(), Counting()
        self.queues: AnnotationQueues = service(self.repository, self.clock, workflow)
        self.queue = self.queues.create("queue", created_by="eve", annotations_per_item=needed)
        new = [NewItem(call_id="a"), NewItem(call_id="b")]
        self.items = [item.id for item in self.queues.add_items(self.queue.id, new, added_by="eve").added]
        self.claims: list[ClaimRef] = []
        self.stale: set[ClaimRef] = set()
        self.acknowledged: dict[tuple[str, str], list[JsonValue]] = {}
        self.before = self.dump()

    def dump(self) -> dict[str, tuple[Any, ...]]:
        return {
            item_id: (self.queues.get_item(item_id), self.queues.progress(item_id), self.queues.history(item_id))
            for item_id in self.items
        }

    def own(self, item_id: str, who: str) -> Progress | None:
        return next((each for each in self.before[item_id][1] if each.annotator_id == who), None)

    def play(self, made: list[Call]) -> None:
        for name, arguments in made:
            saves = self.repository.saves
            refused = getattr(self, name)(**arguments)
            after = self.dump()
            prolongs = name in {"draft", "heartbeat", "claim"} and not refused
            if refused or (after == self.before and not prolongs):
                assert after == self.before
                assert self.repository.saves == saves, "what changed nothing was written"
            self.look(after)
            self.before = after

    # Calls: each gives the error that was raised, or None

    def wait(self, seconds: float) -> None:
        self.clock.move(seconds)

    def move(
        self,
        *,
        item: int,
        who: str,
        state: AnnotationState,
        label: Any,  # noqa: ANN401 - any label
        reason: str | None,
        override: bool,
    ) -> object:
        item_id = self.items[item]
        own = self.own(item_id, who)
        from_state = UNSTARTED if own is None else own.state
        clears = override and state is UNSTARTED
        says_more = (label is not None and not same_json(label, own and own.annotation)) or reason not in {
            None,
            own and own.reason,
        }
        allowed = override or (from_state, state) in self.workflow.moves
        is_nothing = from_state is state and (not says_more or clears)
        actor_id = "boss" if override else None
        call = partial(self.queues.update_progress, item_id, who, state, annotation=label, reason=reason)
        if clears and label is not None:
            with pytest.raises(InvalidValue):
                call(actor_id=actor_id, override=True)
            return InvalidValue
        if not allowed and not is_nothing:
            with pytest.raises(InvalidTransition):
                call()
            return InvalidTransition
        saves = self.repository.saves
        call(actor_id=actor_id, override=override)
        assert (self.repository.saves == saves) is is_nothing
        if state is COMPLETED and label is not None:
            self.acknowledged.setdefault((item_id, who), []).append(label)
        if override and state in {COMPLETED, SKIPPED} and not is_nothing:
            self.stale |= {ref for ref in self.claims if (ref.item_id, ref.annotator_id) == (item_id, who)}
        return None

    def claim(self, *, who: str, resume: bool) -> object:
        if (UNSTARTED, IN_PROGRESS) not in self.workflow.moves and not (
            resume and self.queues.holds(self.queue.id, who)
        ):
            with pytest.raises(InvalidTransition):
                self.queues.claim(self.queue.id, who, resume=resume)
            return InvalidTransition
        held = [each.ref for each in self.queues.holds(self.queue.id, who)]
        if claim := self.queues.claim(self.queue.id, who, resume=resume):
            if resume and held:
                assert claim.ref == held[0]
            self.claims.append(claim.ref)
        return None

    def finish(self, which: int, how: str, said: Any) -> object:  # noqa: ANN401 - any label
        if not self.claims:
            return None
        ref = self.claims[which % len(self.claims)]
        said = None if how != "complete" and not isinstance(said, str) else said
        act: dict[str, Callable[[], object]] = {
            "complete": lambda: self.queues.complete(ref, said),
            "skip": lambda: self.queues.skip(ref, said),
            "release": lambda: self.queues.release(ref, said),
        }
        refused = self.act(ref, act[how])
        if refused is None and how == "complete" and said is not None:
            self.acknowledged.setdefault((ref.item_id, ref.annotator_id), []).append(said)
        return refused

    def draft(self, which: int, label: Any) -> object:  # noqa: ANN401 - any label
        if not self.claims:
            return ClaimLost
        ref = self.claims[which % len(self.claims)]
        refused = self.act(ref, lambda: self.queues.save_draft(ref, label))
        if refused is None and label is not None:
            (own,) = (each for each in self.queues.progress(ref.item_id) if each.annotator_id == ref.annotator_id)
            assert same_json(own.annotation, label)
        return refused

    def heartbeat(self, which: int) -> object:
        if not self.claims:
            return ClaimLost
        ref = self.claims[which % len(self.claims)]
        return self.act(ref, lambda: self.queues.heartbeat(ref))

    def act(self, ref: ClaimRef, call: Callable[[], object]) -> object:
        if ref in self.stale:
            with pytest.raises(ClaimLost):
                call()
            return ClaimLost
        try:
            call()
        except (ClaimLost, InvalidTransition) as error:
            return error
        return None

    def reset(self, item: int, who: str | None, reason: str | None) -> object:
        item_id = self.items[item]
        wanted = [
            each for each in self.before[item_id][1] if each.state is not UNSTARTED and who in {None, each.annotator_id}
        ]
        which = [item_id, "nothing", item_id] if reason else ItemFilter(id=item_id)
        put_back = partial(self.queues.reset, self.queue.id, which, actor_id="boss", annotator_id=who, reason=reason)
        assert put_back() == len(wanted)
        saves = self.repository.saves
        assert put_back() == 0
        assert self.repository.saves == saves
        return None

    # What has to hold

    def look(self, after: dict[str, tuple[Any, ...]]) -> None:
        log = self.queues.changes(self.queue.id).transitions
        for item_id, (item, progresses, history) in after.items():
            old_item, _, old_history = self.before[item_id]
            assert item.updated_at >= old_item.updated_at
            assert history[: len(old_history)] == old_history
            assert tuple(each for each in log if each.item_id == item_id) == history
            assert fold(history) == {each.annotator_id: each.state for each in progresses}
            completed = {each.annotator_id: each.annotation for each in progresses if each.state is COMPLETED}
            assert same_json(fold_labels(history), completed)
            shown = [each for each in progresses if each.state is not UNSTARTED]
            last = max(shown, key=lambda each: each.step, default=None)
            assert (item.annotation_state, item.annotator_user_id) == (
                (UNSTARTED, None) if last is None else (last.state, last.annotator_id)
            )
            told = {"created_at": item.created_at, "updated_at": item.updated_at}
            assert list(history_problems(item_id, history, progresses, **told)) == []
            self.remember_stale(item_id, progresses)
            for who in ANNOTATORS:
                left = [each.annotation for each in history if each.annotator_id == who and each.to_state is COMPLETED]
                for label in self.acknowledged.get((item_id, who), []):
                    assert any(same_json(label, each) for each in left), "an acknowledged label is not in the log"
        assert self.repository.check() == ()

    def remember_stale(self, item_id: str, progresses: Sequence[Progress]) -> None:
        """Note the claims whose hold has ended without them: released, expired, reset, or followed by another."""
        now = {each.annotator_id: each for each in progresses}
        for ref in self.claims:
            if ref.item_id == item_id:
                own = now[ref.annotator_id]
                if own.state is UNSTARTED or own.token != ref.token:
                    self.stale.add(ref)


workflows = st.sampled_from([STANDARD, STRICT, REOPENABLE]) | st.builds(
    Workflow, st.just("custom"), st.sets(st.sampled_from(PAIRS), min_size=6)
)


@given(workflows, st.integers(1, 2), calls())
def test_whatever_is_called_the_log_tells_what_is_stored(workflow: Workflow, needed: int, made: list[Call]) -> None:
    Game(workflow, needed).play(made)


@pytest.fixture
def rich() -> Game:
    """An item with drafts, revisions, an override, an expiry and a skip behind it."""
    game = Game(REOPENABLE, 2)
    queues, (item_id, _) = game.queues, game.items
    claim = queues.claim(game.queue.id, "ann")
    assert claim
    queues.complete(claim, "good")
    game.clock.move(1)
    queues.complete(claim, "better")
    queues.claim_batch(game.queue.id, "bob", 1)
    game.clock.move(400)
    queues.claim(game.queue.id, "bob")
    queues.update_progress(item_id, "bob", SKIPPED, reason="tired")
    game.clock.move(-1_000)
    queues.update_progress(item_id, "ann", COMPLETED, annotation="best", actor_id="boss", override=True)
    game.clock.move(2_000)
    queues.update_progress(item_id, "cy", IN_PROGRESS, annotation="a draft")
    return game


def problems(game: Game, **damage: Any) -> list[str]:  # noqa: ANN401 - what is damaged
    item_id = game.items[0]
    item, progresses, history = game.dump()[item_id]
    told = {"history": history, "progresses": progresses, "updated_at": item.updated_at, **damage}
    return list(history_problems(item_id, created_at=item.created_at, **told))


def damaged(game: Game) -> Iterator[tuple[str, dict[str, Any]]]:
    item, progresses, history = game.dump()[game.items[0]]
    moment = timedelta(microseconds=1)
    yield "updated_at", {"updated_at": item.updated_at - moment}
    for place in range(len(history)):
        yield f"no transition {place}", {"history": history[:place] + history[place + 1 :]}
    for place, each in enumerate(progresses):
        others = progresses[:place] + progresses[place + 1 :]
        yield f"no progress {place}", {"progresses": others}
        wrong: dict[str, Any] = {
            "token": each.token + 9,
            "step": each.step + 1,
            "created_at": each.created_at - moment,
            "updated_at": each.updated_at - moment,
            "started_at": each.updated_at + moment,
            "lease_expires_at": each.updated_at if each.lease_expires_at is None else None,
            "state": SKIPPED if each.state is COMPLETED else COMPLETED,
        }
        if each.state in {COMPLETED, SKIPPED}:
            wrong["reason"] = "another"
        if each.state is COMPLETED:
            wrong["annotation"] = "another"
        for name, value in wrong.items():
            yield f"{name} of {each.annotator_id}", {"progresses": (*others, attrs.evolve(each, **{name: value}))}
    stranger = attrs.evolve(progresses[0], annotator_id="stranger")
    yield "a stranger", {"progresses": (*progresses, stranger)}
    yield "a label", {"history": _with_label(history, "another")}


def _with_label(history: Sequence[Transition], label: str) -> tuple[Transition, ...]:
    (place,) = [place for place, each in enumerate(history) if each.annotation == "best"]
    return (*history[:place], attrs.evolve(history[place], annotation=label), *history[place + 1 :])


def test_every_planted_damage_is_found(rich: Game) -> None:
    assert problems(rich) == []
    assert [name for name, damage in damaged(rich) if not problems(rich, **damage)] == []


@pytest.mark.parametrize("flag", ["no", "false", 0, 1, None])
def test_what_is_neither_true_nor_false_overrides_and_resumes_nothing(flag: Any) -> None:  # noqa: ANN401 - what must be refused
    game = Game(STANDARD, 1)
    with pytest.raises(InvalidValue, match="override: expected True or False"):
        game.queues.update_progress(game.items[0], "ann", COMPLETED, actor_id="boss", override=flag)
    with pytest.raises(InvalidValue, match="resume: expected True or False"):
        game.queues.claim(game.queue.id, "ann", resume=flag)
    assert game.dump() == game.before


def test_an_override_says_who_does_it() -> None:
    game = Game(STANDARD, 1)
    with pytest.raises(InvalidValue, match="actor_id: expected the id of whoever overrides, got None"):
        game.queues.update_progress(game.items[0], "ann", COMPLETED, override=True)
    assert game.dump() == game.before


def test_a_draft_needs_no_lease_that_can_end() -> None:
    game = Game(STANDARD, 1)
    game.queues.update_progress(game.items[0], "ann", IN_PROGRESS)
    game.clock.now = game.clock.now.replace(year=9999, month=12, day=31, hour=23, minute=59)
    game.queues.update_progress(game.items[0], "ann", IN_PROGRESS, annotation="a draft")
    assert [each.annotation for each in game.queues.progress(game.items[0])] == ["a draft"]
