"""Every supported order and filter, and those over what annotating changes: ours beside ours.

What was tried and lost, in milliseconds for the first page of 1,000,000 items by annotator: sorting all with their names 411,
by the annotators' numbers 256, those of one annotator along the table 138, those of one state along an index that holds the
state 127. Along the index of the next field up to enough items of the first annotator: 0.6, and 186 where next to none are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annotation_queue import AnnotationState, ItemFilter, ItemQuery, SortBy
from benchmarks.contestants.scanned import PlainList
from benchmarks.fixtures import ANNOTATORS, OPS, USERS
from benchmarks.harness import OURS_MEMORY, OURS_SQLITE
from benchmarks.pages import STORAGES, Work, race_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.harness import Run

_QUESTION: Final = "orders"
_LARGE: Final = 1_000_000
_PAGE: Final = 50
_FIELDS: Final = ("created_at", "call_started_at", "call_op_name", "id")
_QUICK_FILTERS: Final = ("no filter", "one adder")
_DIRECTIONS: Final = ("asc", "desc")
_CHANGING: Final = ("updated_at", "annotation_state", "annotator_user_id")


def supported() -> dict[str, tuple[SortBy, ...]]:
    """Give the orders that are to be flat: alone, or before the time of creation."""
    orders: dict[str, tuple[SortBy, ...]] = {"queue order": ()}
    for name in _FIELDS:
        for direction in _DIRECTIONS:
            orders[f"{name} {direction}"] = (SortBy(name, direction),)
            if name != "created_at":
                for second in _DIRECTIONS:
                    sort = (SortBy(name, direction), SortBy("created_at", second))
                    orders[f"{name} {direction}, created_at {second}"] = sort
    return orders


def filters() -> dict[str, ItemFilter]:
    """Give one filter on each field, and sets of states."""
    return {
        "no filter": ItemFilter(),
        "one call": ItemFilter(call_id="call-00000123"),
        "one op": ItemFilter(call_op_name=OPS[7]),
        "one trace": ItemFilter(call_trace_id="trace-00000012"),
        "one adder": ItemFilter(added_by=USERS[0]),
        "completed": ItemFilter(annotation_states={AnnotationState.COMPLETED}),
        "unstarted or skipped": ItemFilter(annotation_states={AnnotationState.UNSTARTED, AnnotationState.SKIPPED}),
    }


def measure(run: Run) -> None:
    """Race every order under every filter at the largest size; the lines are for the slowest."""
    size = run.settings.sizes[-1]
    oracle = PlainList(run.fixtures.scratch(), run.fixtures.items(run.settings.sizes[0]))
    # The oracle is asked at the smallest size; at the largest one the two repositories are compared with each other.
    slowest: dict[str, tuple[float, str]] = dict.fromkeys(STORAGES, (0.0, ""))
    for order, sort_by in supported().items():
        for chosen, filter_ in filters().items():
            work = Work(f"{order}; {chosen}", _page(sort_by, filter_))
            _check(run, work, oracle)
            if run.settings.quick and chosen not in _QUICK_FILTERS:
                continue
            medians = race_page(run, _QUESTION, work, size, [])
            for name in STORAGES:
                slowest[name] = max(slowest[name], (medians[name], work.name))
    for name, limit in ((OURS_SQLITE, 3.0), (OURS_MEMORY, 1.0)):
        median, order = slowest[name]
        work_name = f"slowest supported order and filter ({order}): {STORAGES[name]}"
        run.at_most(work_name, median, limit, asked=_LARGE, size=size, unit="ms")
    _measure_changing(run, size, oracle)
    oracle.close()


def _page(
    sort_by: tuple[SortBy, ...], filter_: ItemFilter, annotator_id: str | None = None
) -> Callable[[int], ItemQuery]:
    query = ItemQuery(filter=filter_, sort_by=sort_by, limit=_PAGE, include_position=True, annotator_id=annotator_id)
    return lambda _size: query


def _check(run: Run, work: Work, oracle: PlainList) -> None:
    size = run.settings.sizes[0]
    query = work.query(size)
    expected = oracle.answer(oracle.page(query))
    assert expected, f"{work.name} is an empty page"
    for filled in run.fixtures.worked(size):
        page = filled.queues.query_items(filled.queue_id, query)
        assert [(item.id, item.position_in_queue) for item in page.items] == expected, f"wrong answer to {work.name}"


def _measure_changing(run: Run, size: int, oracle: PlainList) -> None:
    """Orders over what annotating changes, and an annotator's perspective: 100 ms per million items."""
    limit = max(3.0, 100.0 * size / 1_000_000)
    works = [
        Work(f"{name} {direction}", _page((SortBy(name, direction),), ItemFilter()))
        for name in _CHANGING
        for direction in _DIRECTIONS
    ]
    for work in works:
        _check(run, work, oracle)
    open_ones = ItemFilter(annotation_states={AnnotationState.UNSTARTED})
    works += [
        Work("an annotator's perspective", _page((), ItemFilter(), ANNOTATORS[0])),
        Work("unstarted in an annotator's perspective", _page((), open_ones, ANNOTATORS[0])),
    ]
    slowest: dict[str, tuple[float, str]] = dict.fromkeys(STORAGES, (0.0, ""))
    for work in works:
        medians = race_page(run, _QUESTION, work, size, [])
        for name in STORAGES:
            slowest[name] = max(slowest[name], (medians[name], work.name))
    for name, (median, order) in slowest.items():
        work_name = f"slowest order over what changes ({order}): {STORAGES[name]}"
        run.at_most(work_name, median, limit, asked=_LARGE, size=size, unit="ms")
