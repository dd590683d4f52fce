"""Pages of a state that one in 10,000 items has, strewn over the queue, with positions.

What was tried and lost on SQLite at a million items: reading the blocks that hold one of the wanted items, 12 to 13 ms a page.
Two thirds of a page are its positions: 35 microseconds each, of which 20 count what stands in the same block.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from annotation_queue import AnnotationState, ItemFilter, ItemQuery, MemoryRepository, SQLiteRepository
from benchmarks.fixtures import fill
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE, repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from annotation_queue import Claim, ItemPage, Repository
    from benchmarks.fixtures import Filled
    from benchmarks.harness import Run

_QUESTION: Final = "rare states"
_LARGE: Final = 1_000_000
_RARE: Final = 100
"""How many items are in such a state."""
_PAGE: Final = 50
_CLAIMED: Final = 1_000
_LIMITS: Final = {OURS_SQLITE: 3.0, OURS_MEMORY: 1.0}
_STORAGES: Final[dict[str, Callable[[Run], Repository]]] = {
    OURS_SQLITE: lambda run: SQLiteRepository(run.fixtures.scratch() / "rare.db", synchronous="OFF"),
    OURS_MEMORY: lambda _run: MemoryRepository(),
}


def measure(run: Run) -> None:
    """Race the storages in each of the states."""
    size = run.settings.size(_LARGE)
    for bring, states in (
        (_begin, (AnnotationState.IN_PROGRESS, AnnotationState.COMPLETED, AnnotationState.SKIPPED)),
        (_leave_some, (AnnotationState.UNSTARTED,)),
    ):
        filled = {name: fill(make(run), size) for name, make in _STORAGES.items()}
        for each in filled.values():
            bring(each, size)
        for state in states:
            _race(run, filled, state, size)
        for each in filled.values():
            each.repository.close()


def _begin(filled: Filled, size: int) -> None:
    """Bring a few items into each state that none begins in, and leave all others as they are."""
    queues = filled.queues
    claims = list(_some(filled, size))
    queues.complete_batch([(claim, {"label": "good"}) for claim in claims[::3]])
    for claim in claims[1::3]:
        queues.skip(claim, "unreadable")


def _some(filled: Filled, size: int) -> Iterable[Claim]:
    """Claim items at equal distances."""
    ids = [item.id for item in filled.queues.iter_items(filled.queue_id, ItemQuery(include_payload=False))]
    for item_id in islice(ids, 0, None, max(1, size // (3 * _RARE))):
        claim = filled.queues.claim_item(item_id, "ann-1")
        assert claim, "somebody has it"
        yield claim


def _leave_some(filled: Filled, size: int) -> None:
    """Complete all items but a few."""
    queues, number, kept = filled.queues, 0, []
    while claims := queues.claim_batch(filled.queue_id, "ann-1", _CLAIMED):
        left = {claim.item.id for n, claim in enumerate(claims, number) if n % max(1, size // _RARE) == 0}
        queues.complete_batch([(claim, {"label": "good"}) for claim in claims if claim.item.id not in left])
        kept += [claim for claim in claims if claim.item.id in left]
        number += len(claims)
    for claim in kept:
        queues.release(claim)


def _race(run: Run, filled: dict[str, Filled], state: AnnotationState, size: int) -> None:
    query = ItemQuery(filter=ItemFilter(annotation_states=[state]), limit=_PAGE, include_position=True)
    calls = {name: _ask(each, query) for name, each in filled.items()}
    answers = [[(item.id, item.position_in_queue) for item in call().items] for call in calls.values()]
    assert len(answers[0]) == _PAGE, f"too few items are {state}"
    assert answers[0] == answers[1], f"the storages differ in what is {state}"
    laps = {name: repeated(call, at_most=200, seconds=run.settings.lap_seconds / 10) for name, call in calls.items()}
    work = f"one in {size // _RARE:,} items {state.replace('_', ' ')}, first page, position"
    medians = run.race(_QUESTION, work, size, laps, unit="ms")
    for name, limit in _LIMITS.items():
        run.at_most(f"{work}: {name}", medians[name], limit, asked=_LARGE, size=size, unit="ms")


def _ask(filled: Filled, query: ItemQuery) -> Callable[[], ItemPage]:
    return lambda: filled.queues.query_items(filled.queue_id, query)
