"""Pages, positions and single items on a PostgreSQL server, at two sizes in turn: how long they take, and how that grows.

What was tried and lost at a million items, as processor time of client and server: a running sum over all blocks of an order
for each of its columns, instead of one over those of the group that is left, and blocks of 512 items instead of 1,024. A page
at N/2 of an order with two directions took nearly twice as long. What was won since: blocks are passed from whichever end the
order begins at, no further than needed, and groups are counted from the block that was found. To plan the statements took the
server longer than to execute them; now they are kept. Half of what was left was to count the items of a block one by one: now a
great group begins with a block, and what is in one is counted from its nearer end, or from the item that was found. A statement
for each part of a page that has a direction of its own became one for all.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, TypeAlias

from annotation_queue import ItemQuery, SortBy
from annotation_queue.repositories.memory import MemoryRepository
from benchmarks.fixtures import complete, fill
from benchmarks.harness import race, repeated
from benchmarks.orders import supported
from benchmarks.postgres import OursOnPostgres, folder_of, started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annotation_queue import Repository
    from benchmarks.fixtures import Filled
    from benchmarks.harness import Run

Answer: TypeAlias = "list[tuple[str, int | None]]"
"""What is shown: ids and positions."""
Work: TypeAlias = "Callable[[Filled, int], Callable[[], Answer]]"
"""Makes the call for a queue of so many items."""

_QUESTION: Final = "postgres_pages"
_PAGE: Final = 50
_SMALL: Final = 10_000
_LARGE: Final = 1_000_000
_MOST_MS: Final = 5.0
_MOST_GROWTH: Final = 2.0
_COMPLETED: Final = 5_000
"""How many items are completed at most."""
_CALLS: Final = 20
"""How often a lap asks, at most."""
_DIRECTIONS: Final = ("asc", "desc")
_CHANGING: Final = ("updated_at", "annotation_state", "annotator_user_id")


def measure(run: Run) -> None:
    """Ask for a page in the middle of every order, for single items, and for first pages by what annotating changes."""
    server = started(run)
    if server is None:
        return
    sizes = run.settings.sizes
    large = run.settings.size(_LARGE)
    small = min(run.settings.size(_SMALL), max((size for size in sizes if size < large), default=large))
    try:
        with (
            OursOnPostgres(folder_of(run, server), "NORMAL").repository as here,
            OursOnPostgres(folder_of(run, server), "NORMAL").repository as there,
            MemoryRepository() as memory,
        ):
            oracle = _worked(memory, small)
            queues = {small: _worked(here, small), large: _worked(there, large)}
            for line, works in _works().items():
                _judge(run, line, works, queues, oracle)
    finally:
        server.remove()


def _works() -> dict[str, dict[str, Work]]:
    """Give what is asked for, by the line that is for the slowest of it."""
    in_order = {
        f"priority {first}, created_at {second}": (SortBy("priority", first), SortBy("created_at", second))
        for first, second in product(_DIRECTIONS, repeat=2)
    }
    changing = {
        f"{name} {direction}": (SortBy(name, direction),) for name, direction in product(_CHANGING, _DIRECTIONS)
    }
    return {
        "page at N/2 with positions": {
            name: _page(sort_by, is_deep=True) for name, sort_by in (supported() | in_order).items()
        },
        "item with its position": {"any": _item},
        "first page with positions by what annotating changes": {
            name: _page(sort_by, is_deep=False) for name, sort_by in changing.items()
        },
    }


def _worked(repository: Repository, size: int) -> Filled:
    filled = fill(repository, size)
    complete(filled, "ann", min(_COMPLETED, size // 10))
    return filled


def _page(sort_by: tuple[SortBy, ...], *, is_deep: bool) -> Work:
    def work(filled: Filled, size: int) -> Callable[[], Answer]:
        query = ItemQuery(sort_by=sort_by, limit=_PAGE, offset=size // 2 if is_deep else 0, include_position=True)

        def ask() -> Answer:
            page = filled.queues.query_items(filled.queue_id, query)
            return [(item.id, item.position_in_queue) for item in page.items]

        return ask

    return work


def _item(filled: Filled, size: int) -> Callable[[], Answer]:
    (middle,) = filled.queues.query_items(filled.queue_id, ItemQuery(limit=1, offset=size // 2)).items

    def ask() -> Answer:
        item = filled.queues.get_item(middle.id, include_position=True)
        return [(item.id, item.position_in_queue)]

    return ask


def _judge(run: Run, line: str, works: Mapping[str, Work], queues: Mapping[int, Filled], oracle: Filled) -> None:
    """Ask at both sizes in turn, the small queue also what memory gives; the lines are for the slowest and what grows most."""
    small, large = queues
    slowest, most = (0.0, ""), (0.0, "")
    for name, work in works.items():
        calls = {size: work(filled, size) for size, filled in queues.items()}
        assert calls[small]() == work(oracle, small)(), f"wrong answer to {line}: {name}"
        assert calls[large](), f"{line}, {name}: an empty page"
        seconds = run.settings.lap_seconds / 4
        laps = {f"{size}": repeated(call, at_most=_CALLS, seconds=seconds) for size, call in calls.items()}
        medians = {}
        for size, values in race(laps, run.settings.rounds, run.settings.budget).items():
            in_ms = tuple(1_000 * value for value in values)
            medians[int(size)] = run.note(
                _QUESTION, f"{line}: {name}", OursOnPostgres.name, size=int(size), unit="ms", values=in_ms
            )
        slowest = max(slowest, (medians[large], name))
        most = max(most, (medians[large] / medians[small], name))
    for (measured, name), limit, what, unit in (
        (slowest, _MOST_MS, "slowest", "ms"),
        (most, _MOST_GROWTH, "growth", "x"),
    ):
        run.at_most(f"{line}, {what} ({name}): PostgreSQL", measured, limit, asked=_LARGE, size=large, unit=unit)
