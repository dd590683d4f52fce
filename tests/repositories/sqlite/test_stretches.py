"""Pages and positions by time of update: out of the log, whose stretches count what they tell of, and out of an index."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count, product
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from annotation_queue import (
    AnnotationQueues,
    ItemFilter,
    ItemQuery,
    NewItem,
    SortBy,
    SQLiteRepository,
)
from annotation_queue.repositories.sqlite import stretches
from annotation_queue.repositories.sqlite.connections import Connections
from annotation_queue.repositories.sqlite.queries import filters, ranks, updates
from annotation_queue.repositories.sqlite.schema import MIGRATIONS, prepare
from helpers.teams import at_work
from repositories.sqlite.migrations import write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEWEST: Final = (SortBy("updated_at", "desc"),)
ORDERS: Final = [
    (SortBy("updated_at", of_time), SortBy("id", of_id)) for of_time, of_id in product(("asc", "desc"), repeat=2)
]
FILTERS: Final = [
    ItemFilter(),
    ItemFilter(call_op_name="op-1"),
    ItemFilter(finished=True),
    ItemFilter(annotation_states=["unstarted"]),
    ItemFilter(annotation_states=["completed"]),
    ItemFilter(annotation_states=["unstarted", "in_progress", "completed"]),
    ItemFilter(annotation_states=["completed", "skipped"], call_op_name="op-1"),
]


@pytest.fixture(params=[0, 400], ids=["each ranked alone", "ranked together"])
def small_stretches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have stretches of four entries."""
    monkeypatch.setattr(stretches, "SIZE", 4)
    monkeypatch.setattr(updates, "_NEAR", request.param)
    monkeypatch.setattr(ranks, "_NEAR", 5)
    # Otherwise so few items would be sorted, not read along the log.
    monkeypatch.setattr(filters, "FEW", 0)


@pytest.mark.usefixtures("small_stretches")
@pytest.mark.parametrize("seed", range(2))
def test_every_page_by_update_is_the_one_that_memory_gives(tmp_path: Path, seed: int) -> None:
    with at_work(tmp_path / "queues.db", seed, steps=50) as both:
        for sort_by, chosen in product(ORDERS, FILTERS):
            first = ItemQuery(filter=chosen, sort_by=sort_by, limit=9, include_position=True)
            for offset in (0, 1, 6, 17):
                query = attrs.evolve(first, offset=offset)
                pages = [queues.query_items("queue", query) for queues in both]
                assert pages[0].items == pages[1].items, query
            walks: list[list[tuple[str, int | None]]] = []
            for queues in both:
                walks.append([])
                query, more = first, True
                while more:
                    page = queues.query_items("queue", query)
                    walks[-1] += [(item.id, item.position_in_queue) for item in page.items]
                    query, more = attrs.evolve(first, cursor=page.next_cursor), page.next_cursor is not None
            assert walks[0] == walks[1], first


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, tuple[SQLiteRepository, AnnotationQueues]]]:
    """Two queues of which half is completed and half untouched; the second has ten times as much of everything."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(stretches, "SIZE", 128)
        made = {}
        for size in (300, 3_000):
            path = tmp_path_factory.mktemp("worked") / "queues.db"
            repository = stack.enter_context(SQLiteRepository(path, synchronous="OFF"))
            queues = AnnotationQueues(repository, "project")
            queues.create("Triage", created_by="ann", queue_id="queue")
            news = (NewItem(call_id=f"{n}", call_op_name=f"op-{n % 5}") for n in range(size))
            queues.add_items("queue", news, added_by="ann")
            for n in range(size // 60):
                claims = [*queues.claim_batch("queue", "bob", 30)]
                if n < 2:
                    queues.release(claims.pop(0))
                queues.complete_batch([(claim, "good") for claim in claims])
            made[size] = repository, queues
        yield made


def only(*states: str) -> ItemFilter:
    return ItemFilter(annotation_states=states)


PAGES: Final[dict[str, Callable[[int], ItemQuery]]] = {
    "the first": lambda _: ItemQuery(sort_by=NEWEST),
    "in the middle": lambda size: ItemQuery(sort_by=NEWEST, offset=size // 3),
    "oldest first": lambda _: ItemQuery(sort_by=[SortBy("updated_at")]),
    "one op": lambda _: ItemQuery(sort_by=NEWEST, filter=ItemFilter(call_op_name="op-3")),
    "completed": lambda _: ItemQuery(sort_by=NEWEST, filter=only("completed")),
    "completed, oldest first": lambda _: ItemQuery(sort_by=[SortBy("updated_at")], filter=only("completed")),
    "completed, in the middle": lambda size: ItemQuery(sort_by=NEWEST, filter=only("completed"), offset=size // 3),
    "unstarted": lambda _: ItemQuery(sort_by=NEWEST, filter=only("unstarted")),
    "unstarted, further on": lambda _: ItemQuery(sort_by=NEWEST, filter=only("unstarted"), offset=60),
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_by_update_with_its_positions_costs_no_more_after_ten_times_as_many_changes(
    worked: dict[int, tuple[SQLiteRepository, AnnotationQueues]], monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setattr(stretches, "SIZE", 128)
    monkeypatch.setattr(filters, "FEW", 0)
    monkeypatch.setattr(ranks, "_NEAR", 30)
    taken = []
    for size, (repository, queues) in worked.items():
        query = attrs.evolve(PAGES[page](size), limit=20, include_position=True)
        steps = count()
        with repository._connections.reading() as connection:
            connection.set_progress_handler(lambda steps=steps: 0 * next(steps), 1)  # type: ignore[misc]
        found = queues.query_items("queue", query)
        connection.set_progress_handler(None, 1)
        assert len(found.items) == 20
        taken.append(next(steps))
    assert taken[1] < 2 * taken[0]


def test_a_file_of_version_1_gets_its_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "SIZE", 4)
    path = tmp_path / "left.db"
    write.restore(1, path)
    smaller = [statement.replace("1024", "4").replace("1023", "3") for statement in MIGRATIONS[1]]
    connections = Connections(str(path), "OFF", 1.0)
    prepare(connections, [MIGRATIONS[0], smaller])
    with connections.reading() as connection:
        ((told,),) = connection.execute("SELECT sum(completed) FROM counters WHERE kind = 3").fetchall()
        ((of_all,),) = connection.execute("SELECT sum(completed) FROM counters WHERE kind = 4 AND num = 0")
        ((of_each,),) = connection.execute("SELECT sum(completed) FROM counters WHERE kind = 4 AND num > 0")
    connections.close()
    assert of_all == of_each > 0
    assert told > 0
    with SQLiteRepository(path) as repository:
        assert repository.check() == ()
