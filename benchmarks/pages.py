"""Pages, positions, deep offsets, single items and walks, nine of ten items completed.

What was tried and lost on SQLite at a million items: counting a position in its index, 142 ms for a page at N/2, and 240 to
280 ms for `get_item`, most of which was SQLite's choice to walk the order rather than sort the one row; blocks answer in
one millisecond. Descending indexes on generated columns beside the ascending ones: six more indexes for what reading groups
of an ascending one backwards gives as well. Comparing row values inside a block: 0.27 microseconds an item, against 0.05
where the range is cut into pieces that an index counts. Filters on columns that the walked index lacks: 5 to 9 ms a page, a
look-up in the table for each item passed; with operation and adder at the end of each index 1 to 3 ms. Blocks of 512 items:
1.9 ms at N/2, of 1,024 1.4, of 2,048 1.3, but then a rank among few items takes a fifth longer. Numbering the items of a
filtered page by one walk over all between them instead of counting each gap: 1.1 to 1.5 times as long.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import attrs

from annotation_queue import AnnotationState, ItemFilter, ItemQuery, SortBy
from benchmarks.contestants.joined import JoinedDuckDB, JoinedSQLite
from benchmarks.contestants.raw import RawSQLite
from benchmarks.contestants.scanned import Pandas, PlainList
from benchmarks.fixtures import OPS, new_items
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE, repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annotation_queue import ItemPage
    from benchmarks.contestants import PageContestant
    from benchmarks.fixtures import Filled
    from benchmarks.harness import Lap, Run

CONTESTANTS: Final[tuple[type[PageContestant], ...]] = (JoinedSQLite, PlainList, Pandas, JoinedDuckDB)
STORAGES: Final = {OURS_SQLITE: "SQLite", OURS_MEMORY: "memory"}
_QUESTION: Final = "pages"
_PAGE: Final = 50
_SMALL: Final = 10_000
_LARGE: Final = 1_000_000
_UNSTARTED: Final = ItemFilter(annotation_states={AnnotationState.UNSTARTED})


@attrs.frozen
class Work:
    """A page that is asked for.

    Args:
        name: What it is called.
        query: Makes the query for a queue of so many items.
        limit_ms: The line for SQLite, in milliseconds.
    """

    name: str
    query: Callable[[int], ItemQuery]
    limit_ms: float = 3.0


PAGES: Final = (
    Work("first page, queue order", lambda _size: ItemQuery(limit=_PAGE)),
    Work("first page, queue order, position", lambda _size: ItemQuery(limit=_PAGE, include_position=True)),
    Work("page at offset N/2, position", lambda size: ItemQuery(limit=_PAGE, offset=size // 2, include_position=True)),
    Work(
        "unstarted, first page, position",
        lambda _size: ItemQuery(filter=_UNSTARTED, limit=_PAGE, include_position=True),
    ),
    Work(
        "unstarted, offset N/20, position",
        lambda size: ItemQuery(filter=_UNSTARTED, limit=_PAGE, offset=size // 20, include_position=True),
        5.0,
    ),
    Work(
        "one op, newest update first, position",
        lambda _size: ItemQuery(
            filter=ItemFilter(call_op_name=OPS[3]),
            sort_by=[SortBy("updated_at", "desc")],
            limit=_PAGE,
            include_position=True,
        ),
    ),
    Work(
        "op asc, created desc, offset N/2, position",
        lambda size: ItemQuery(
            sort_by=[SortBy("call_op_name"), SortBy("created_at", "desc")],
            limit=_PAGE,
            offset=size // 2,
            include_position=True,
        ),
    ),
)


def measure(run: Run) -> None:
    """Race the pages at every size, then single items and walks at the largest."""
    medians: dict[tuple[str, str, int], float] = {}
    for size in run.settings.sizes:
        contestants = [kind(run.fixtures.scratch(), run.fixtures.items(size)) for kind in CONTESTANTS]
        for work in PAGES:
            found = race_page(run, _QUESTION, work, size, contestants)
            medians.update({(work.name, name, size): median for name, median in found.items()})
        for contestant in contestants:
            contestant.close()
    large, small = run.settings.size(_LARGE), min(run.settings.size(_SMALL), run.settings.sizes[-2])
    for name, storage in STORAGES.items():
        for work in PAGES:
            at_large, at_small = medians[work.name, name, large], medians[work.name, name, small]
            limit = work.limit_ms if name == OURS_SQLITE else 1.0
            run.at_most(f"{work.name}: {storage}", at_large, limit, asked=_LARGE, size=large, unit="ms")
            run.at_most(f"{work.name}: {storage}, growth", at_large / at_small, 2, asked=_LARGE, size=large)
    _measure_item(run, large)
    _measure_walk(run, large)


def race_page(
    run: Run, question: str, work: Work, size: int, contestants: Sequence[PageContestant]
) -> dict[str, float]:
    """Check that everybody gives the same page, then race them.

    Args:
        run: The run.
        question: The module that asks.
        work: The page.
        size: Among how many items.
        contestants: Who races beside ours; with `PlainList` among them, it is the oracle.

    Returns:
        The median of each in milliseconds.
    """
    query = work.query(size)
    calls: dict[str, Callable[[], Any]] = {}
    answers = {}
    for name, filled in zip(STORAGES, run.fixtures.worked(size), strict=True):
        calls[name] = _ask(filled, query)
        answers[name] = [(item.id, item.position_in_queue) for item in calls[name]().items]
    for contestant in contestants:
        calls[contestant.name] = _ask_contestant(contestant, query)
        answers[contestant.name] = contestant.answer(calls[contestant.name]())
    expected = answers.get(PlainList.name, answers[OURS_MEMORY])
    assert expected, f"{work.name} is an empty page"
    for name, answer in answers.items():
        assert answer == expected, f"{name} gives a wrong answer to {work.name}"
    laps = {name: repeated(call, at_most=200, seconds=run.settings.lap_seconds / 10) for name, call in calls.items()}
    return run.race(question, work.name, size, laps, unit="ms")


def _ask(filled: Filled, query: ItemQuery) -> Callable[[], ItemPage]:
    return lambda: filled.queues.query_items(filled.queue_id, query)


def _ask_contestant(contestant: PageContestant, query: ItemQuery) -> Callable[[], Sequence[Any]]:
    return lambda: contestant.page(query)


def _measure_item(run: Run, size: int) -> None:
    """Read items, spread over the queue, with their position in queue order."""
    laps = {}
    for name, filled in zip(STORAGES, run.fixtures.worked(size), strict=True):
        queues, queue_id = filled.queues, filled.queue_id
        step = max(1, size // 97)
        probes = []
        for offset in range(0, size, step):
            (item,) = queues.query_items(queue_id, ItemQuery(limit=1, offset=offset)).items
            assert queues.get_item(item.id, include_position=True).position_in_queue == offset + 1
            probes.append(item.id)
        laps[name] = _item_lap(filled, probes)
    medians = run.race(_QUESTION, "get_item with position", size, laps, unit="ms")
    for name, limit in ((OURS_SQLITE, 1.0), (OURS_MEMORY, 0.1)):
        work = f"get_item with position: {STORAGES[name]}"
        run.at_most(work, medians[name], limit, asked=_LARGE, size=size, unit="ms")


def _item_lap(filled: Filled, probes: Sequence[str]) -> Lap:
    def lap() -> tuple[int, float]:
        started = time.perf_counter()
        for item_id in probes:
            filled.queues.get_item(item_id, include_position=True)
        return len(probes), time.perf_counter() - started

    return lap


def _measure_walk(run: Run, size: int) -> None:
    """Walk over the whole queue by cursor, beside one statement that fetches bare tuples."""
    laps: dict[str, Lap] = {}
    expected = {item.id for item in run.fixtures.items(size)}
    for name, filled in zip(STORAGES, run.fixtures.worked(size), strict=True):
        walked = [item.id for item in filled.queues.iter_items(filled.queue_id)]
        assert len(walked) == size, f"{name} shows some items twice or never"
        assert set(walked) == expected
        laps[name] = _walk_lap(filled, size)
    raw = RawSQLite(run.fixtures.scratch(), "OFF")
    raw.fill(new_items(size))

    def raw_lap() -> tuple[int, float]:
        started = time.perf_counter()
        assert raw.walk() == size
        return size, time.perf_counter() - started

    laps["sqlite3 by hand, one statement"] = raw_lap
    rates = run.race(_QUESTION, "walk by cursor", size, laps, unit="/s")
    raw.close()
    for name, limit in ((OURS_SQLITE, 80_000), (OURS_MEMORY, 300_000)):
        run.at_least(f"walk by cursor: {STORAGES[name]}", rates[name], limit, asked=_LARGE, size=size, unit="/s")


def _walk_lap(filled: Filled, size: int) -> Lap:
    def lap() -> tuple[int, float]:
        started = time.perf_counter()
        deque(filled.queues.iter_items(filled.queue_id), maxlen=0)
        return size, time.perf_counter() - started

    return lap
