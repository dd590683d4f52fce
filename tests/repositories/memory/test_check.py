"""Memory: its check names whatever is kept beside what it is derived from and differs from it."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import Claim, ItemFilter, ItemQuery, NewItem, SortBy
from annotation_queue.repositories.memory import MemoryRepository
from annotation_queue.repositories.memory.claims import ClaimIndex, _Blocked
from annotation_queue.repositories.memory.item import StoredItem
from annotation_queue.repositories.memory.listings import Listing, Listings
from annotation_queue.repositories.memory.log import key_of
from annotation_queue.repositories.memory.queue import StoredQueue
from annotation_queue.repositories.memory.reservations import Reservations
from annotation_queue.repositories.memory.timed_keys import TimedKeys
from annotation_queue.states import COMPLETED, IN_PROGRESS, UNSTARTED
from helpers.memory import service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annotation_queue import Progress
    from helpers.clocks import Clock

BY_ID = ItemQuery(sort_by=[SortBy("id")]).order()
BY_CHANGE = ItemQuery(sort_by=[SortBy("updated_at")]).order()
OPEN = ItemFilter(annotation_states={UNSTARTED})
LATER = datetime(2100, 1, 1, tzinfo=UTC)
EARLIER = datetime(2000, 1, 1, tzinfo=UTC)
KEY = key_of("id-000002", "ann")


def done(queue: StoredQueue) -> StoredItem:
    """Give the item that Ann completed."""
    return queue.items["id-000002"]


def change(what: str, **fields: object) -> Callable[[StoredQueue], object]:
    """Put other values in the fields of something that an item has: of the first, where there are several."""

    def put(queue: StoredQueue) -> None:
        stored = done(queue)
        kept = getattr(stored, what)
        if isinstance(kept, tuple | list):
            setattr(stored, what, type(kept)([changed(kept[0]), *kept[1:]]))
        else:
            setattr(stored, what, changed(kept))

    def changed(entity: object) -> object:
        # Not by `attrs.evolve`, which checks every field: what is kept is no label, but packed.
        other = copy.copy(entity)
        for name, value in fields.items():
            object.__setattr__(other, name, value)
        return other

    return put


def twice_the_first(queue: StoredQueue) -> tuple[Progress, ...]:
    """Give the progresses on the item with the first one twice."""
    first, *others = done(queue).progresses
    return (first, first, *others)


def all_of_another_item(queue: StoredQueue) -> None:
    """Say of a progress and of a transition that they belong to another item."""
    change("progresses", item_id="id-000003")(queue)
    change("history", item_id="id-000003")(queue)


def first_listing(kept: Mapping[Any, Listing]) -> Listing:
    return next(iter(kept.values()))


QUEUE: list[tuple[str, Callable[[StoredQueue], object], str]] = [
    ("in_order", lambda queue: queue.in_order.remove(queue.in_order[0]), "queue order does not hold"),
    ("in_order", lambda queue: queue.in_order.remove(max(queue.in_order)), "queue order does not hold"),
    ("in_order", lambda queue: setattr(queue.in_order, "_length", 9), "queue order: the length"),
    ("calls", lambda queue: queue.calls.popitem(), "calls"),
    ("calls", lambda queue: queue.calls.update(more="id-000002"), "calls"),
    # Two items of the same call, of which the calls name one.
    ("calls", lambda queue: (change("item", call_id="1")(queue), queue.calls.pop("0")), "calls"),
    ("_in_state", lambda queue: queue._in_state.update({COMPLETED: 7}), "counts"),
    ("_settled", lambda queue: setattr(queue, "_settled", 5), "counts"),
    ("_finished", lambda queue: setattr(queue, "_finished", 5), "counts"),
    ("_by_annotator", lambda queue: queue._by_annotator.clear(), "counts"),
    ("_by_annotator", lambda queue: queue._by_annotator.update(eve={COMPLETED: 1}), "counts"),
    ("log", lambda queue: queue.log.transitions.pop(), "the log does not hold the histories"),
    ("log", lambda queue: queue.log.append(queue.log.transitions[0]), "the log does not hold the histories"),  # type: ignore[arg-type]  # it is there
    ("recent", lambda queue: queue.recent.discard(KEY), "order in which they last changed"),
    ("recent", lambda queue: queue.recent.note(KEY, 99), "order in which they last changed"),
    (
        "recently_settled",
        lambda queue: queue.recently_settled.note(KEY, 99),
        "the settled progresses are not in the order in which they last changed",
    ),
    ("_removed", lambda queue: queue._removed.update({KEY: 1}), "removed progresses do not stand"),
    ("_held_by", lambda queue: queue._held_by["cy"].pop(), "what 'cy' holds is not what"),
    ("_held_by", lambda queue: queue._held_by.setdefault("eve", {max(queue.in_order)}), "what 'eve' holds is not what"),
]
CLAIMS: list[tuple[str, Callable[[StoredQueue], object], str]] = [
    ("_open", lambda queue: queue.claims._open.remove(queue.claims._open[0]), "the open items are not"),
    ("_open", lambda queue: queue.claims._open.remove(max(queue.claims._open)), "the open items are not"),
    ("_open", lambda queue: queue.claims._open._maxima.clear(), "open items: the maxima"),
    ("_held", lambda queue: queue.claims._held.discard(next(queue.claims._held.items())[0]), "the held items are not"),
    ("_held", lambda queue: queue.claims._held.set(next(queue.claims._held.items())[0], LATER), "the held items are"),
    ("_held", lambda queue: setattr(queue.claims._held, "_floor", LATER), "held items: the floor"),
    ("_blocked", lambda queue: queue.claims._blocked.clear(), "blocked for"),
    (
        "reserved",
        lambda queue: queue.claims.reserved._unfinished.add(max(queue.in_order)),
        "the reserved items are not",
    ),
]
RESERVED: list[tuple[str, Callable[[StoredQueue], object], str]] = [
    ("_unfinished", lambda queue: queue.claims.reserved._unfinished.add(max(queue.in_order)), "reserved items are not"),
    ("_times", lambda queue: queue.claims.reserved._times.update(eve=TimedKeys()), "what is reserved for annotators"),
]
BLOCKED: list[tuple[str, Callable[[StoredQueue], object], str]] = [
    ("keys", lambda queue: queue.claims._blocked["ann"].keys.remove(done(queue).key), "'ann' are not those open"),
    ("keys", lambda queue: queue.claims._blocked["ann"].keys.add(max(queue.in_order)), "'ann' are not those open"),
    ("keys", lambda queue: setattr(queue.claims._blocked["ann"].keys, "_length", 9), "blocked for 'ann': the length"),
    ("waiting", lambda queue: queue.claims._blocked["ann"].waiting.set(done(queue).key, LATER), "'ann' holds"),
    (
        "waiting",
        lambda queue: queue.claims._blocked["cy"].waiting.discard(queue.items["id-000004"].key),
        "'cy' holds",
    ),
]
ITEM: list[tuple[str, Callable[[StoredQueue], object], str]] = [
    ("key", lambda queue: setattr(done(queue), "key", (1, *done(queue).key[1:])), "key"),
    ("progresses", lambda queue: setattr(done(queue), "progresses", ()), "standing"),
    ("progresses", lambda queue: setattr(done(queue), "progresses", done(queue).progresses * 2), "each once"),
    ("progresses", lambda queue: setattr(done(queue), "progresses", done(queue).progresses[::-1]), "sorted"),
    ("progresses", lambda queue: setattr(done(queue), "progresses", twice_the_first(queue)), "each once"),
    *(
        ("progresses", change("progresses", **{field: value}), "'ann' on item 'id-000002'")
        for field, value in {
            "token": 7,
            "lease_expires_at": LATER,
            "reason": "other",
            "created_at": LATER,
            "updated_at": LATER,
        }.items()
    ),
    ("progresses", change("progresses", item_id="id-000003"), "belongs to another item"),
    ("history", lambda queue: setattr(done(queue), "history", []), "'ann' on item 'id-000002'"),
    ("history", lambda queue: setattr(done(queue), "history", None), "'ann' on item 'id-000002'"),
    # It goes on from a state that nothing led to.
    ("history", change("history", from_state=COMPLETED), "breaks at"),
    ("history", change("history", annotator_id="eve"), "'eve' on item 'id-000002'"),
    ("history", change("history", item_id="id-000003"), "belongs to another item"),
    ("history", all_of_another_item, "belongs to another item"),
    ("history", change("history", at=LATER), "'ann' on item 'id-000002'"),
    *(
        ("standing", change("standing", **{field: value}), "standing")
        for field, value in {
            "state": IN_PROGRESS,
            "annotator_id": "eve",
            "completed": 2,
            "skipped": 1,
            "finished": True,
            "claimable_at": LATER,
        }.items()
    ),
    ("item", change("item", annotation_state=IN_PROGRESS), "the view"),
    ("item", change("item", annotator_user_id="eve"), "the view"),
    ("item", change("item", annotator_user_id="aaa"), "the view"),
    ("item", change("item", updated_at=EARLIER), "updated at"),
    ("item", change("item", priority=5), "key"),
    ("item", change("item", priority=-5), "key"),
    ("item", change("item", created_at=LATER), "key"),
    ("item", change("item", call_id="other"), "calls"),
    ("item", change("item", project_id="other"), "of project 'other'"),
    ("item", change("item", project_id="some other"), "of project 'some other'"),
]
ORDERS: list[tuple[str, Callable[[StoredQueue], object], str]] = [
    ("_orders", lambda queue: queue.orders.keys(BY_ID, None).remove(("id-000002",)), "order"),
    ("_orders", lambda queue: queue.orders.keys(BY_ID, None).remove(("id-000005",)), "does not hold"),
    ("_selections", lambda queue: queue.orders.select(BY_ID, None, OPEN, None).remove(("id-000005",)), "selection"),
    ("moving", lambda queue: queue.orders.moving.clear(), "not all listings that annotating moves follow"),
    ("moving", lambda queue: queue.orders.moving.append(first_listing(queue.orders._orders)), "or others do"),
    ("moving", lambda queue: queue.orders.moving.append(max(queue.orders.moving, key=id)), "or others do"),
    ("_values", lambda queue: queue.orders._values["added_by"]["ann"].clear(), "items by added_by"),
    ("_values", lambda queue: queue.orders._values["added_by"].update(eve={}), "items by added_by"),
]
LISTING: list[tuple[str, Callable[[StoredQueue], object], str]] = [
    ("keys", lambda queue: setattr(first_listing(queue.orders._orders).keys, "_length", 9), "the length"),
    ("_order", lambda queue: setattr(first_listing(queue.orders._orders), "_order", BY_CHANGE), "order"),
    ("_matches", lambda queue: setattr(first_listing(queue.orders._selections), "_matches", None), "selection"),
    (
        "_annotator_id",
        lambda queue: setattr([*queue.orders._selections.values()][1], "_annotator_id", "cy"),
        "selection",
    ),
    ("moves", lambda queue: setattr(first_listing(queue.orders._selections), "moves", False), "does not follow what"),
    ("moves", lambda queue: setattr(first_listing(queue.orders._orders), "moves", True), "does not follow what"),
]
KEPT = {
    StoredQueue: QUEUE,
    ClaimIndex: CLAIMS,
    Reservations: RESERVED,
    _Blocked: BLOCKED,
    StoredItem: ITEM,
    Listings: ORDERS,
    Listing: LISTING,
}
FACTS = {
    # The queue itself, what counts changes, what only points elsewhere, and what has rows of its own here.
    StoredQueue: {"queue", "policy_revision", "items", "claims", "orders"},
    ClaimIndex: {"_find"},
    Reservations: {"_find"},
    # A guess, which every search verifies.
    _Blocked: {"hint"},
    StoredItem: {"payload", "revision"},
    Listings: {"_in_order", "_items"},
    Listing: set(),
}
"""What stands for nothing but itself."""


@pytest.fixture
def stored(clock: Clock) -> tuple[MemoryRepository, StoredQueue]:
    """A queue with an item of each kind: completed by Ann and released by Bob, held twice, held once, untouched."""
    repository = MemoryRepository()
    queues = service(repository, clock)
    queue_id = queues.create("queue", created_by="ann", annotations_per_item=2, lease=timedelta(minutes=5)).id
    added = queues.add_items(queue_id, [NewItem(call_id=f"{n}") for n in range(4)], added_by="ann").added
    clock.now += timedelta(seconds=1)
    queues.update_progress(added[0].id, "ann", COMPLETED, annotation=["a"])
    claim = queues.claim(queue_id, "bob")
    assert isinstance(claim, Claim)
    queues.release(claim, "no time")
    for annotator_id in ("cy", "dan"):
        queues.update_progress(added[1].id, annotator_id, IN_PROGRESS)
    queues.update_progress(added[2].id, "cy", IN_PROGRESS)
    for query in (
        ItemQuery(sort_by=[SortBy("id")], filter=OPEN, annotator_id=None),
        ItemQuery(sort_by=[SortBy("annotation_state")], filter=ItemFilter(added_by="ann"), annotator_id="ann"),
        ItemQuery(sort_by=[SortBy("updated_at")], filter=ItemFilter(added_by="ann")),
    ):
        queue = repository._queues[queue_id]
        queue.orders.select(query.order(), query.annotator_id, query.filter, None)
    queue.orders.with_value("added_by", "ann")
    assert repository.check() == ()
    return repository, queue


@pytest.mark.parametrize(
    ("break_it", "what"),
    [pytest.param(*row, id=f"{kind.__name__}.{name}") for kind, rows in KEPT.items() for name, *row in rows],
)
def test_the_check_names_what_is_wrong(
    stored: tuple[MemoryRepository, StoredQueue], break_it: Callable[[Any], object], what: str
) -> None:
    repository, queue = stored
    break_it(queue)
    wrong = repository.check()
    assert any(what in each and queue.queue.id in each for each in wrong), wrong


def test_whatever_is_kept_is_a_fact_or_is_checked(stored: tuple[MemoryRepository, StoredQueue]) -> None:
    _, queue = stored
    for kind, rows in KEPT.items():
        with_dictionary = {StoredQueue: queue, Listings: queue.orders}.get(kind)
        names = set(kind.__dict__["__slots__"] if with_dictionary is None else vars(with_dictionary))
        assert names == {name for name, *_ in rows} | FACTS[kind]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda repository: repository._items.update(other=repository._items["id-000003"]),
        lambda repository: repository._items.update({"id-000003": repository._items["id-000004"]}),
        lambda repository: repository._queues.clear(),
        lambda repository: repository._queues.update(other=repository._queues["id-000001"]),
        lambda repository: repository._queues.update(another=repository._queues["id-000001"]),
    ],
)
def test_the_check_names_what_is_stored_under_another_id(
    stored: tuple[MemoryRepository, StoredQueue], break_it: Callable[[Any], object]
) -> None:
    repository, _ = stored
    break_it(repository)
    assert any("is stored under another id" in each for each in repository.check())


def test_a_check_goes_on_behind_a_broken_history(stored: tuple[MemoryRepository, StoredQueue]) -> None:
    repository, queue = stored
    change("history", from_state=COMPLETED)(queue)
    queue._settled = 5
    assert [what in " ".join(repository.check()) for what in ("breaks at", "counts")] == [True, True]
