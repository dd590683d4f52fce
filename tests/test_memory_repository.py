from __future__ import annotations

import contextlib
import itertools
import random
import threading
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from annotation_queue import (
    REOPENABLE,
    SORT_FIELDS,
    AnnotationQueue,
    AnnotationQueues,
    AnnotationState,
    Change,
    Claim,
    ClaimLost,
    Conflict,
    InvalidValue,
    ItemFilter,
    ItemNotFound,
    ItemQuery,
    ItemRecord,
    JsonValue,
    NewItem,
    QueueItem,
    QueueNotFound,
    QueueQuery,
    SkipPolicy,
    SortBy,
    StorageError,
    Unavailable,
    Workflow,
)
from annotation_queue.records import change_of
from annotation_queue.repositories import sorted_keys, timed_keys
from annotation_queue.repositories.memory import MemoryRepository
from annotation_queue.repositories.memory_orders import MAX_ORDERS
from annotation_queue.states import COMPLETED, SKIPPED, STANDARD, UNSTARTED, advance, claimable_at, unstarted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = "project"
ANNOTATORS = ("ann", "bob", "cy", "Ä")


class _Clock:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def repository() -> Iterator[MemoryRepository]:
    with MemoryRepository() as made:
        yield made
        assert made.check() == ()


@pytest.fixture
def queues(repository: MemoryRepository, clock: _Clock) -> AnnotationQueues:
    return _service(repository, clock)


@pytest.fixture(scope="module", autouse=True)
def _short_blocks() -> Iterator[None]:
    """Let few items fill many blocks of the indexes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_keys, "_FULL", 4)
        patch.setattr(timed_keys, "_FULL", 3)
        yield


def _service(repository: MemoryRepository, clock: _Clock, workflow: Workflow = STANDARD) -> AnnotationQueues:
    counter = itertools.count(1)
    return AnnotationQueues(
        repository, PROJECT, clock=clock, new_id=lambda: f"id-{next(counter):06}", workflow=workflow
    )


def _make(new: NewItem, queue: AnnotationQueue) -> QueueItem:
    raise AssertionError(new, queue)


# Claims, beside a scan over all items


def _scan(queues: AnnotationQueues, queue_id: str, annotator_id: str) -> list[tuple[datetime, str]]:
    """List when the annotator may claim each item that they ever may, in queue order, by the rule itself."""
    queue = queues.get(queue_id)
    times = [
        (
            claimable_at(queues.progress(item.id), annotator_id, queue.annotations_per_item, queue.skip_policy),
            item.id,
        )
        for item in queues.query_items(queue_id).items
    ]
    return [(time, item_id) for time, item_id in times if time is not None]


class _History:
    """Random calls on one queue; each claim is compared with what a scan finds."""

    def __init__(self, seed: int, repository: MemoryRepository, clock: _Clock) -> None:
        self.random = random.Random(seed)  # noqa: S311 - examples, no secrets
        self.clock = clock
        self.queues = _service(repository, clock, workflow=REOPENABLE)
        self.queue_id = self.queues.create(
            "queue", created_by="ann", annotations_per_item=self.random.randint(1, 3), lease=timedelta(seconds=20)
        ).id
        self.claims: list[Claim] = []
        self.calls = itertools.count()

    def step(self) -> None:
        steps = [self.claim] * 5 + [self.finish] * 4 + [self.move] * 3
        steps += [self.add, self.remove, self.update, self.heartbeat, self.policy]
        self.random.choice(steps)()

    def annotator(self) -> str:
        return self.random.choice(ANNOTATORS)

    def claim(self) -> None:
        annotator_id, at = self.annotator(), self.clock.now
        expected = _scan(self.queues, self.queue_id, annotator_id)
        first = next((item_id for time, item_id in expected if time <= at), None)
        got = self.queues.claim(self.queue_id, annotator_id)
        if isinstance(got, Unavailable):
            assert first is None
            assert got.retry_at == min((time for time, _ in expected), default=None)
        else:
            assert got.item.id == first
            self.claims.append(got)

    def finish(self) -> None:
        if self.claims:
            claim = self.claims.pop(self.random.randrange(len(self.claims)))
            finish: Callable[[Claim], QueueItem] = self.random.choice(
                [self.queues.complete, self.queues.complete, self.queues.skip, self.queues.release]
            )
            with contextlib.suppress(ClaimLost):
                finish(claim)

    def move(self) -> None:
        self.clock.now += timedelta(seconds=self.random.choice([-7, 0.5, 3, 10, 25]))

    def add(self) -> None:
        new = [
            NewItem(call_id=f"call-{next(self.calls)}", priority=self.random.randint(-1, 1))
            for _ in range(self.random.randint(0, 12))
        ]
        self.queues.add_items(self.queue_id, new, added_by="ann")

    def some_item(self) -> QueueItem | None:
        items = self.queues.query_items(self.queue_id).items
        return self.random.choice(items) if items else None

    def remove(self) -> None:
        if item := self.some_item():
            assert self.queues.remove_items(self.queue_id, [item.id, "nothing", item.id]) == 1

    def update(self) -> None:
        if item := self.some_item():
            state = self.random.choice([state for state in AnnotationState if state is not UNSTARTED])
            annotator_id = self.annotator()
            own = next((each for each in self.queues.progress(item.id) if each.annotator_id == annotator_id), None)
            if own is None or own.state is UNSTARTED:
                self.queues.update_progress(item.id, annotator_id, state, annotation=[{"a": 1}])

    def heartbeat(self) -> None:
        if self.claims:
            place = self.random.randrange(len(self.claims))
            try:
                self.claims[place] = self.queues.heartbeat(self.claims[place])
            except ClaimLost:
                del self.claims[place]

    def policy(self) -> None:
        self.queues.update(
            self.queue_id,
            annotations_per_item=self.random.randint(1, 3),
            skip_policy=self.random.choice(list(SkipPolicy)),
        )


@pytest.mark.parametrize("seed", range(12))
def test_claims_find_what_a_scan_finds_in_any_history(seed: int, repository: MemoryRepository, clock: _Clock) -> None:
    history = _History(seed, repository, clock)
    history.add()
    for _ in range(120):
        history.step()
        assert repository.check() == ()


def test_an_annotator_who_saw_most_items_is_given_the_first_other_one(
    repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=3).id
    added = queues.add_items(queue_id, [NewItem(call_id=f"{n:03}") for n in range(100)], added_by="ann").added
    unseen = {7, 8, 40, 97}
    for number, item in enumerate(added):
        if number not in unseen:
            queues.update_progress(item.id, "bob", COMPLETED)
    assert repository.check() == ()
    # The guess where the search starts is once too early, once too late and once right.
    first, second = (queues.claim(queue_id, "bob") for _ in range(2))
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    queues.release(first)
    again, third, fourth = (queues.claim(queue_id, "bob") for _ in range(3))
    assert [claim.item.call_id for claim in (first, second, again, third, fourth) if isinstance(claim, Claim)] == [
        "007",
        "008",
        "007",
        "040",
        "097",
    ]
    assert not queues.claim(queue_id, "bob")


def test_the_time_to_retry_passes_over_holds_on_items_that_the_annotator_has_done(
    repository: MemoryRepository, queues: AnnotationQueues, clock: _Clock
) -> None:
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id
    done, full, later = queues.add_items(queue_id, [NewItem(call_id=each) for each in "123"], added_by="ann").added
    queues.update_progress(done.id, "bob", COMPLETED)
    # Ann's hold keeps the first item from others for 10 s; bob has done it. Two holds keep each of the other two.
    for annotator_id, limit, seconds in (("ann", 1, 10), ("ann", 2, 30), ("cy", 1, 20), ("cy", 1, 25)):
        assert len(queues.claim_batch(queue_id, annotator_id, limit, lease=timedelta(seconds=seconds))) == limit
    assert [item_id for _, item_id in _scan(queues, queue_id, "bob")] == [full.id, later.id]
    nothing = queues.claim(queue_id, "bob")
    assert isinstance(nothing, Unavailable)
    assert nothing.retry_at == clock.now + timedelta(seconds=20)
    assert repository.check() == ()


def test_a_lease_beyond_the_calendar_grants_nothing(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id="call")], added_by="ann")
    late = datetime(9999, 12, 31, tzinfo=UTC)
    with pytest.raises(InvalidValue):
        repository.claim(PROJECT, queue_id, "ann", limit=2, at=late, lease=timedelta(days=1))
    assert queues.stats([queue_id])[0].by_state[UNSTARTED] == 1


# Pages, beside sorting and filtering all items


def _compare(sort_by: tuple[SortBy, ...]) -> Callable[[QueueItem, QueueItem], int]:
    states = list(AnnotationState)

    def compare(left: QueueItem, right: QueueItem) -> int:
        for by in (*sort_by, SortBy("id")):
            a, b = getattr(left, by.field), getattr(right, by.field)
            if a != b:
                if a is None or b is None:
                    return 1 if a is None else -1
                if isinstance(a, AnnotationState):
                    a, b = states.index(a), states.index(b)
                return -1 if (a < b) == (by.direction == "asc") else 1
        return 0

    return compare


DEFAULT_SORT = (SortBy("priority", "desc"), SortBy("created_at"))


def _assert_page(queues: AnnotationQueues, queue_id: str, query: ItemQuery, all_items: list[QueueItem]) -> None:
    """Compare a page, and the walk by cursor from it, with sorting and filtering all items of the view."""
    ordered = sorted(all_items, key=cmp_to_key(_compare(query.sort_by or DEFAULT_SORT)))
    numbered = [attrs.evolve(item, position_in_queue=place) for place, item in enumerate(ordered, 1)]
    matching = [item for item in numbered if query.filter.matches(item)]
    if not query.include_position:
        matching = [attrs.evolve(item, position_in_queue=None) for item in matching]
    stop = None if query.limit is None else query.offset + query.limit
    page = queues.query_items(queue_id, query)
    assert list(page.items) == matching[query.offset : stop]
    assert page.total == (len(matching) if query.include_total else None)
    walked = list(page.items)
    while page.next_cursor is not None:
        page = queues.query_items(queue_id, attrs.evolve(query, offset=0, cursor=page.next_cursor))
        walked += page.items
    assert walked == (matching[query.offset :] if query.limit else walked)


@pytest.mark.parametrize("seed", range(6))
def test_pages_show_what_sorting_and_filtering_all_items_shows(
    seed: int, repository: MemoryRepository, clock: _Clock
) -> None:
    history = _History(seed, repository, clock)
    rng, queues, queue_id = history.random, history.queues, history.queue_id
    queues.add_items(
        queue_id,
        [
            NewItem(
                call_id=f"c{number}",
                call_op_name=rng.choice(["é", "_", "10", "9", "rare" if number == 5 else "9"]),
                call_trace_id=f"trace-{number % 7}",
                call_ended_at=rng.choice([None, clock.now - timedelta(seconds=number % 3)]),
                priority=rng.randint(-1, 1),
                payload={"n": [number]} if number % 2 else None,
            )
            for number in range(60)
        ],
        added_by="ann",
    )
    for round_ in range(60):
        history.step()
        annotator_id = rng.choice([None, None, "ann", "nobody"])
        all_items = [queues.get_item(item.id, annotator_id=annotator_id) for item in queues.query_items(queue_id).items]
        fields = rng.sample(sorted(SORT_FIELDS), rng.randint(0, 2))
        item_filter = ItemFilter(
            id=rng.choice([None] * 9 + [all_items[0].id if all_items else "x"]),
            call_id=rng.choice([None] * 9 + ["c7", "gone"]),
            call_op_name=rng.choice([None, None, "9", "rare", "é", "none"]),
            call_trace_id=rng.choice([None, None, None, "trace-3"]),
            added_by=rng.choice([None, None, "ann", "bob"]),
            annotation_states=rng.choice([None, None, set(), {COMPLETED}, {UNSTARTED}, {UNSTARTED, SKIPPED}]),
        )
        query = ItemQuery(
            filter=item_filter if round_ % 3 else ItemFilter(annotation_states=item_filter.annotation_states),
            sort_by=[SortBy(field, rng.choice(["asc", "desc"])) for field in fields],
            limit=rng.choice([None, 0, 1, 3, 10]),
            offset=rng.choice([0, 0, 1, 20, 100]),
            include_position=rng.choice([True, False]),
            include_total=rng.choice([True, False]),
            annotator_id=annotator_id,
        )
        _assert_page(queues, queue_id, query, all_items)
        assert repository.check() == ()


def test_more_orders_than_are_kept_answer_right(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id=f"{n}", priority=-n) for n in range(9)], added_by="ann")
    sorts = [(SortBy(field, direction),) for field in sorted(SORT_FIELDS) for direction in ("asc", "desc")]
    assert len(sorts) > MAX_ORDERS
    for sort_by in sorts * 2:
        items = list(queues.query_items(queue_id).items)
        _assert_page(queues, queue_id, ItemQuery(sort_by=sort_by, include_position=True), items)
        queues.claim(queue_id, "ann")
    assert len(repository._queues[queue_id].orders._orders) == MAX_ORDERS


def test_items_that_come_and_go_are_found_by_value(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    rare = ItemQuery(filter=ItemFilter(call_op_name="rare"))
    for number in range(3):
        shown = queues.query_items(queue_id, rare).items
        assert [item.call_id for item in shown] == ([str(number - 1)] if number else [])
        queues.remove_items(queue_id, [item.id for item in shown])
        new = [
            NewItem(call_id=str(number), call_op_name="rare"),
            *(NewItem(call_id=f"{number}-{n}") for n in range(40)),
        ]
        queues.add_items(queue_id, new, added_by="ann")
        assert repository.check() == ()


def test_queues_are_found_by_name_and_walked_in_order(
    repository: MemoryRepository, queues: AnnotationQueues, clock: _Clock
) -> None:
    names = ["Straße", "STRASSE 2", "other", "strasse 3"]
    made = [queues.create(name, created_by="ann") for name in names]
    AnnotationQueues(repository, "another", clock=clock).create("strasse of others", created_by="ann")
    queues.delete(made[3].id)
    query = QueueQuery(name="strasse", sort_by=[SortBy("name", "desc")], limit=1)
    page = queues.query(query)
    assert [queue.name for queue in page.queues] == ["Straße"]
    page = queues.query(attrs.evolve(query, cursor=page.next_cursor))
    assert [queue.name for queue in page.queues] == ["STRASSE 2"]
    assert page.next_cursor is None


# Adding and saving


def test_items_may_be_read_from_the_repository_that_they_are_added_to(queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    read: list[int] = []

    def generate() -> Iterator[NewItem]:
        for number in range(3):
            # Another thread gets through too: the lock is not held while items are generated.
            other = threading.Thread(target=lambda: read.append(queues.stats([queue_id])[0].total_items))
            other.start()
            other.join(10)
            yield NewItem(call_id=f"{number % 2}")

    outcome = queues.add_items(queue_id, generate(), added_by="ann")
    assert ([item.call_id for item in outcome.added], outcome.duplicates, read) == (["0", "1"], 1, [0, 0, 0])


def test_a_queue_that_is_deleted_while_its_items_are_generated_gets_none(queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id

    def generate() -> Iterator[NewItem]:
        yield NewItem(call_id="call")
        queues.delete(queue_id)

    with pytest.raises(QueueNotFound):
        queues.add_items(queue_id, generate(), added_by="ann")


def test_nothing_is_read_for_a_queue_that_does_not_exist(repository: MemoryRepository) -> None:
    unread = iter([NewItem(call_id="call")])
    with pytest.raises(QueueNotFound):
        repository.add_items(PROJECT, "none", unread, _make)
    assert next(unread).call_id == "call"


@pytest.mark.parametrize("ids", [["x", "x"], ["x", "id-taken"]])
def test_an_id_that_is_taken_is_a_conflict_and_nothing_is_added(
    ids: list[str], repository: MemoryRepository, queues: AnnotationQueues, clock: _Clock
) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    taken = AnnotationQueues(repository, PROJECT, clock=clock, new_id=lambda: "id-taken")
    taken.add_items(queue_id, [NewItem(call_id="old")], added_by="ann")
    taken.remove_items(queue_id, ["id-taken"])
    given = iter(ids)
    clashing = AnnotationQueues(repository, PROJECT, clock=clock, new_id=lambda: next(given))
    with pytest.raises(Conflict):
        clashing.add_items(queue_id, [NewItem(call_id="1"), NewItem(call_id="2")], added_by="ann")
    assert queues.query_items(queue_id).items == ()
    with pytest.raises(Conflict):
        repository.add_queue(queues.get(queue_id))


def test_an_error_while_items_are_made_adds_nothing(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id="old")], added_by="ann")
    seen: list[str] = []

    def make(new: NewItem, _queue: AnnotationQueue) -> QueueItem:
        seen.append(new.call_id)
        if new.call_id == "bad":
            raise RuntimeError
        return attrs.evolve(queues.query_items(queue_id).items[0], id=new.call_id, call_id=new.call_id)

    with pytest.raises(RuntimeError):
        repository.add_items(PROJECT, queue_id, [NewItem(call_id=each) for each in ("a", "old", "a", "bad", "b")], make)
    assert seen == ["a", "bad"]
    assert queues.stats([queue_id])[0].total_items == 1


def _started(repository: MemoryRepository, item_id: str, annotator_id: str) -> tuple[ItemRecord, Change]:
    record = repository.get_record(PROJECT, item_id)
    own = unstarted(item_id, annotator_id, record.item.created_at)
    moved, transition = advance(own, COMPLETED, at=record.item.created_at)
    assert transition is not None
    return record, change_of(record, (moved,), (transition,))


def test_a_write_is_a_conflict_after_any_change_it_did_not_see(
    repository: MemoryRepository, queues: AnnotationQueues
) -> None:
    def later(change: Callable[[str, str], object]) -> None:
        queue_id = queues.create("queue", created_by="ann").id
        item, other = queues.add_items(queue_id, [NewItem(call_id="1"), NewItem(call_id="2")], added_by="ann").added
        writes = [_started(repository, other.id, "bob"), _started(repository, item.id, "bob")]
        change(queue_id, item.id)
        repository.save(writes)

    changes: list[Callable[[str, str], object]] = [
        lambda _, item_id: queues.update_progress(item_id, "ann", COMPLETED),
        lambda queue_id, item_id: queues.remove_items(queue_id, [item_id]),
        lambda queue_id, _: queues.update(queue_id, annotations_per_item=2),
        lambda queue_id, _: queues.update(queue_id, skip_policy=SkipPolicy.REQUEUE),
        lambda queue_id, _: queues.delete(queue_id),
    ]
    for change in changes:
        with pytest.raises(Conflict):
            later(change)
    stored = [queue.id for queue in queues.query().queues]
    assert sum(each.settled_items for each in queues.stats(stored)) == 1
    later(lambda queue_id, _: queues.update(queue_id, name="renamed"))


def test_a_queue_is_replaced_only_as_it_was_read(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    before = queues.create("queue", created_by="ann")
    after = queues.update(before.id, name="renamed")
    with pytest.raises(Conflict):
        repository.replace_queue(before, attrs.evolve(before, name="lost"))
    queues.delete(before.id)
    with pytest.raises(QueueNotFound):
        repository.replace_queue(after, attrs.evolve(after, name="lost"))


def _spoil(value: Any) -> None:  # noqa: ANN401 - whatever JSON was handed out
    value["deep"].append("changed")


def test_nothing_handed_in_or_out_is_shared(repository: MemoryRepository, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    payload: dict[str, Any] = {"deep": [{"n": 1}]}
    label: dict[str, Any] = {"deep": [1]}
    new = NewItem(call_id="call", payload=payload)
    (added,) = queues.add_items(queue_id, [new], added_by="ann").added
    claim = queues.claim(queue_id, "ann")
    assert isinstance(claim, Claim)
    record, change = _started(repository, added.id, "bob")
    labelled = attrs.evolve(change.progresses[0], annotation=label)
    given = labelled.annotation
    repository.save([(record, attrs.evolve(change, progresses=(labelled,)))])
    handed_out = [
        new.payload,
        added.payload,
        claim.item.payload,
        record.item.payload,
        queues.get_item(added.id).payload,
        queues.query_items(queue_id).items[0].payload,
    ]
    for each in handed_out:
        assert each == {"deep": [{"n": 1}]}
        _spoil(each)
    _spoil(given)
    for _ in range(2):
        shown = queues.progress(added.id)[1].annotation
        assert shown == {"deep": [1]}
        _spoil(shown)
        assert queues.get_item(added.id).payload == {"deep": [{"n": 1}]}


@pytest.mark.parametrize("label", ["text", '{"a":1}', "null", 7, 0.5, False, [], {}, [None]])
def test_a_label_comes_back_as_it_was_given(label: JsonValue, queues: AnnotationQueues) -> None:
    queue_id = queues.create("queue", created_by="ann").id
    (item,) = queues.add_items(queue_id, [NewItem(call_id="call")], added_by="ann").added
    queues.update_progress(item.id, "ann", COMPLETED, annotation=label)
    shown = queues.progress(item.id)[0].annotation
    assert (shown, type(shown)) == (label, type(label))


# Reach, life and threads


def test_another_projects_and_deleted_things_are_not_found(
    repository: MemoryRepository, queues: AnnotationQueues, clock: _Clock
) -> None:
    queue_id, empty_id = (queues.create(name, created_by="ann").id for name in ("queue", "empty"))
    first, second = queues.add_items(queue_id, [NewItem(call_id="1"), NewItem(call_id="2")], added_by="ann").added
    others = AnnotationQueues(repository, "another", clock=clock)
    with pytest.raises(ItemNotFound):
        others.get_item(first.id)
    with pytest.raises(QueueNotFound):
        others.get_item(first.id, queue_id=queue_id)
    with pytest.raises(ItemNotFound):
        queues.get_item(first.id, queue_id=empty_id)
    assert queues.remove_items(empty_id, [first.id]) == 0
    queues.remove_items(queue_id, [first.id])
    with pytest.raises(ItemNotFound):
        queues.history(first.id)
    queues.delete(queue_id)
    for item in (first, second):
        with pytest.raises(QueueNotFound):
            queues.history(item.id)


def test_a_closed_repository_refuses_everything() -> None:
    repository = MemoryRepository()
    queues = AnnotationQueues(repository, PROJECT)
    queue = queues.create("queue", created_by="ann")
    (item,) = queues.add_items(queue.id, [NewItem(call_id="call")], added_by="ann").added
    record, change = _started(repository, item.id, "ann")
    repository.close()
    repository.close()
    calls: list[Callable[[], object]] = [
        lambda: repository.add_queue(queue),
        lambda: queues.get(queue.id),
        queues.query,
        lambda: queues.update(queue.id, name="renamed"),
        lambda: queues.add_items(queue.id, [], added_by="ann"),
        lambda: queues.get_item(item.id),
        lambda: repository.save([(record, change)]),
        lambda: repository.save([]),
        lambda: queues.query_items(queue.id),
        lambda: queues.remove_items(queue.id, []),
        lambda: queues.claim(queue.id, "ann"),
        lambda: queues.history(item.id),
        lambda: queues.stats([]),
        repository.check,
    ]
    for call in calls:
        with pytest.raises(StorageError, match="closed"):
            call()


def test_many_threads_complete_every_item_once(repository: MemoryRepository) -> None:
    queues = AnnotationQueues(repository, PROJECT)
    queue_id = queues.create("queue", created_by="ann").id
    queues.add_items(queue_id, [NewItem(call_id=f"{n}") for n in range(1_000)], added_by="ann")
    done: list[str] = []

    def work(name: str) -> None:
        while claim := queues.claim(queue_id, name):
            queues.complete(claim)
            done.append(claim.item.id)

    threads = [threading.Thread(target=work, args=(f"worker-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == len(set(done)) == 1_000
    assert queues.stats([queue_id])[0].finished_items == 1_000


@pytest.mark.parametrize(
    ("break_it", "what"),
    [
        (lambda queue: setattr(queue, "_settled", 5), "counts"),
        (lambda queue: setattr(queue, "_finished", 5), "counts"),
        (lambda queue: queue._by_annotator.clear(), "counts"),
        (lambda queue: queue.calls.clear(), "calls"),
        (lambda queue: queue.in_order.remove(queue.in_order[0]), "queue order"),
        (lambda queue: queue.in_state[COMPLETED].remove(queue.in_state[COMPLETED][0]), "in state completed"),
        (lambda queue: queue.claims._open.remove(queue.claims._open[0]), "open items"),
        (lambda queue: queue.claims._held.set(queue.in_order[0], datetime.now(UTC)), "held items"),
        (lambda queue: queue.claims._blocked.clear(), "blocked for"),
        (lambda queue: queue.orders.keys(ItemQuery(sort_by=[SortBy("id")]).order()).remove(("id-000002",)), "order"),
        (lambda queue: queue.orders.with_value("added_by", "ann").clear(), "items by added_by"),
        (lambda queue: setattr(next(queue.live()), "history", []), "history"),
        (lambda queue: setattr(next(queue.live()), "progresses", ()), "standing"),
        (lambda queue: setattr(next(queue.live()), "progresses", next(queue.live()).progresses * 2), "each once"),
    ],
)
def test_the_check_names_what_is_wrong(break_it: Callable[[Any], object], what: str, clock: _Clock) -> None:
    repository = MemoryRepository()
    queues = _service(repository, clock)
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=2).id
    added = queues.add_items(queue_id, [NewItem(call_id=f"{n}") for n in range(3)], added_by="ann").added
    queues.update_progress(added[0].id, "ann", COMPLETED)
    assert repository.check() == ()
    break_it(repository._queues[queue_id])
    wrong = repository.check()
    assert any(what in each and queue_id in each for each in wrong), wrong
