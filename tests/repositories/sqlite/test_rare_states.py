"""Pages of states that few items are in: whatever finds them, the answers are the same, and no page passes all the others."""

from __future__ import annotations

import itertools
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, ItemFilter, ItemQuery, NewItem, SortBy, SQLiteRepository
from annotation_queue.repositories.sqlite import blocks as sqlite_blocks
from annotation_queue.repositories.sqlite.queries import states
from annotation_queue.repositories.sqlite.queries.states import RareStates
from helpers.pairs import stored_and_remembered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UNSTARTED, IN_PROGRESS, COMPLETED, SKIPPED = STATES = (*AnnotationState,)
SOME_STATES: Final = [some for n in range(1, 4) for some in itertools.combinations(STATES, n)]
ORDERS: Final = [
    (),
    (SortBy("priority", "desc"), SortBy("created_at", "desc")),
    (SortBy("created_at"),),
    (SortBy("call_op_name"),),
    (SortBy("annotation_state"),),
    (SortBy("annotation_state", "desc"), SortBy("created_at")),
]
ITEMS: Final = 20_480
EACH: Final = 512
PAGE: Final = 20


def put(queues: AnnotationQueues, item_id: str, state: AnnotationState) -> None:
    """Bring an item that nobody has into a state."""
    if state is not UNSTARTED:
        queues.update_progress(item_id, "bob", state)


@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize("common", [UNSTARTED, COMPLETED, SKIPPED], ids=str)
@pytest.mark.parametrize("listed", [(), (UNSTARTED,), (COMPLETED,), (UNSTARTED, COMPLETED), STATES], ids=" and ".join)
def test_the_items_of_a_state_are_the_same_whatever_finds_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listed: Sequence[AnnotationState],
    common: AnnotationState,
    *,
    reserved: bool,
) -> None:
    monkeypatch.setattr(sqlite_blocks, "SIZE", 4)
    monkeypatch.setattr(states, "_SORT", 0)
    ranks = {[*STATES].index(state) for state in listed}
    monkeypatch.setattr(RareStates, "_apart", lambda _self, rank: 0 if rank in ranks else 1 << 40)
    pages: list[list[object]] = []
    with stored_and_remembered(tmp_path / "queues.db") as pair:
        for queues in pair:
            queue = queues.create("queue", created_by="ann", annotations_per_item=2)
            news = [
                NewItem(
                    call_id=f"{n}", call_op_name=f"op-{n % 3}", assignees=["bob", "cy"] if reserved and n % 5 else []
                )
                for n in range(60)
            ]
            ids = [item.id for item in queues.add_items(queue.id, news, added_by="ann").added]
            for n, item_id in enumerate(ids):
                put(queues, item_id, STATES[n % 19] if n % 19 < len(STATES) else common)
            # Labels that were put back or came twice, items that came back, and such as another annotator has settled.
            for item_id in ids[4:12]:
                queues.update_progress(item_id, "bob", COMPLETED, actor_id="ann", override=True)
            queues.reset(queue.id, ids[2:12], actor_id="ann")
            queues.update_progress(ids[21], "bob", COMPLETED, annotation=2)
            queues.update_progress(ids[21], "cy", COMPLETED, annotation=2)
            queues.remove_items(queue.id, ids[40:42])
            queues.restore_items(queue.id, ids[41:42])
            found: list[object] = []
            for some, sort_by, limit, offset in product((None, *SOME_STATES), ORDERS, (3, 4, None), (0, 1)):
                query = ItemQuery(
                    filter=ItemFilter(annotation_states=some),
                    sort_by=sort_by,
                    limit=limit,
                    offset=offset,
                    include_position=True,
                    include_total=True,
                )
                page = queues.query_items(queue.id, query)
                found.append((query, [(item.call_id, item.position_in_queue) for item in page.items], page.total))
            pages.append(found)
    assert pages[0] == pages[1]


def steps_of(
    repository: SQLiteRepository, queues: AnnotationQueues, queue_id: str, query: ItemQuery
) -> tuple[int, int]:
    """Read a page; give how many items are on it, and how many steps of SQLite's machine it took."""
    (connection,) = repository._connections._idle
    taken = itertools.count()
    connection.set_progress_handler(lambda: 0 * next(taken), 1)
    found = len(queues.query_items(queue_id, query).items)
    connection.set_progress_handler(None, 1)
    return found, next(taken)


@pytest.fixture(scope="module", params=STATES, ids=str)
def strewn(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, str, AnnotationState]:
    """Make a queue in which one of 512 items is in a state, and all others are in another one."""
    path = tmp_path_factory.mktemp("strewn") / "queues.db"
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, (NewItem(call_id=f"{n}") for n in range(ITEMS)), added_by="ann")
        if request.param is UNSTARTED:
            claims = queues.claim_batch(queue.id, "bob", ITEMS)
            queues.complete_batch([(claim, 1) for n, claim in enumerate(claims) if n % EACH])
            for claim in claims[::EACH]:
                queues.release(claim)
        else:
            ids = [item.id for item in queues.iter_items(queue.id)]
            for item_id in ids[::EACH]:
                put(queues, item_id, request.param)
    return path, queue.id, request.param


@pytest.mark.parametrize("sort_by", ORDERS[:3], ids=str)
def test_a_page_of_a_state_passes_few_of_the_items_among_which_it_is_strewn(
    strewn: tuple[Path, str, AnnotationState], sort_by: tuple[SortBy, ...]
) -> None:
    path, queue_id, state = strewn
    with SQLiteRepository(path, synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        query = ItemQuery(filter=ItemFilter(annotation_states=[state]), sort_by=sort_by, limit=PAGE)
        found, steps = steps_of(repository, queues, queue_id, query)
        assert found == PAGE
        # In the blocks that it would have to read stand as many items as it has, 512 times.
        assert steps < PAGE * EACH, steps


def test_a_page_of_a_state_whose_items_stand_together_reads_no_more_of_them_than_it_shows(tmp_path: Path) -> None:
    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, (NewItem(call_id=f"{n}") for n in range(ITEMS)), added_by="ann")
        queues.complete_batch([(claim, 1) for claim in queues.claim_batch(queue.id, "bob", ITEMS // 6)])
        query = ItemQuery(filter=ItemFilter(annotation_states=[COMPLETED]), limit=PAGE)
        found, steps = steps_of(repository, queues, queue.id, query)
        assert found == PAGE
        assert steps < ITEMS // 6, steps
