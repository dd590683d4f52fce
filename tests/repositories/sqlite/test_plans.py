"""What SQLite does to answer a query: the supported orders need no sort and no scan of the items."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from annotation_queue import (
    AnnotationQueues,
    AnnotationState,
    ItemFilter,
    ItemPatch,
    ItemQuery,
    LabelQuery,
    NewItem,
    QueueQuery,
    SortBy,
    SQLiteRepository,
)
from annotation_queue.repositories.sqlite import stretches as sqlite_stretches
from annotation_queue.repositories.sqlite.queries import filters as sqlite_filters
from annotation_queue.repositories.sqlite.queries import states as sqlite_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from annotation_queue import QueueItem

DIRECTIONS = ("asc", "desc")
FIELDS: list[tuple[str, ...]] = [("created_at",), ("call_started_at",), ("call_op_name",), ("id",), ("updated_at",)]
FIELDS += [("call_started_at", "created_at"), ("call_op_name", "created_at"), ("priority", "created_at")]
SUPPORTED: list[tuple[SortBy, ...]] = [()] + [
    tuple(SortBy(field, direction) for field, direction in zip(fields, directions, strict=True))
    for fields in FIELDS
    for directions in product(DIRECTIONS, repeat=len(fields))
]


QUEUE_ORDERS: list[tuple[SortBy, ...]] = [(), (SortBy("id"),), (SortBy("id", "desc"),)] + [
    (SortBy(field, direction), SortBy("id", of_id))
    for field, direction, of_id in product(["name", "created_at", "updated_at"], DIRECTIONS, DIRECTIONS)
]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[SQLiteRepository]:
    with SQLiteRepository(tmp_path / "queues.db") as made:
        yield made


@pytest.fixture
def plans(repository: SQLiteRepository) -> Callable[[Callable[[], object]], list[str]]:
    """Run something, and list the steps of the plans of all that it read."""

    def run(call: Callable[[], object]) -> list[str]:
        statements: list[str] = []
        with repository._connections.reading() as connection:
            connection.set_trace_callback(statements.append)
        call()
        connection.set_trace_callback(None)
        reads = [text for text in statements if text.startswith("SELECT")]
        assert reads
        return [step[3] for text in reads for step in connection.execute(f"EXPLAIN QUERY PLAN {text}")]

    return run


@pytest.fixture
def queue(repository: SQLiteRepository) -> tuple[AnnotationQueues, str]:
    queues = AnnotationQueues(repository, "project")
    queue_id = queues.create("Triage", created_by="ann").id
    queues.add_items(
        queue_id, [NewItem(call_id=f"call-{n}", call_op_name=f"op-{n % 3}") for n in range(30)], added_by="ann"
    )
    queues.claim_batch(queue_id, "bob", 5)
    return queues, queue_id


def is_slow(step: str) -> bool:
    # What is scanned may be the page's own numbers, a count that stops at a limit, or nothing at all.
    bounded = any(sign in step for sign in ("wanted", "subquery", "CONSTANT"))
    return "TEMP B-TREE" in step or (step.startswith("SCAN") and not bounded)


@pytest.mark.parametrize("sort_by", SUPPORTED, ids=str)
def test_a_supported_order_is_read_without_a_sort_or_a_scan(
    plans: Callable[[Callable[[], object]], list[str]], queue: tuple[AnnotationQueues, str], sort_by: tuple[SortBy, ...]
) -> None:
    queues, queue_id = queue
    cursor = queues.query_items(queue_id, ItemQuery(sort_by=sort_by, limit=7)).next_cursor
    for query in (
        ItemQuery(sort_by=sort_by, limit=5, include_position=True, include_total=True),
        ItemQuery(sort_by=sort_by, limit=5, offset=10, include_position=True),
        ItemQuery(sort_by=sort_by, limit=5, cursor=cursor),
    ):
        steps = plans(lambda query=query: queues.query_items(queue_id, query))  # type: ignore[misc]
        assert [step for step in steps if is_slow(step)] == []


@pytest.mark.parametrize(("field", "direction"), [*product(["annotation_state", "annotator_user_id"], DIRECTIONS)])
def test_an_order_over_what_annotating_changes_is_read_along_the_lane_of_the_rest(
    plans: Callable[[Callable[[], object]], list[str]],
    queue: tuple[AnnotationQueues, str],
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    direction: str,
) -> None:
    # Otherwise so few items would be sorted, not walked along.
    monkeypatch.setattr(sqlite_filters, "FEW", 0)
    queues, queue_id = queue
    query = ItemQuery(sort_by=(SortBy(field, direction),), limit=20, include_position=True)
    steps = plans(lambda: queues.query_items(queue_id, query))
    assert [step for step in steps if is_slow(step)] == []
    assert any("work_by_id" in step for step in steps)


def test_unfinished_items_are_read_and_counted_along_the_indexes_that_hold_no_others(
    plans: Callable[[Callable[[], object]], list[str]], queue: tuple[AnnotationQueues, str]
) -> None:
    queues, queue_id = queue
    for claim in queues.claim_batch(queue_id, "cy", 9):
        queues.complete(claim)
    queues.update_items(queue_id, ItemFilter(call_op_name="op-1", finished=False), ItemPatch(assignees=["bob"]))
    wanted = ItemFilter(finished=False)
    page = ItemQuery(filter=wanted, limit=5, include_total=True)
    cursor = queues.query_items(queue_id, page).next_cursor
    shown = [item.id for item in queues.iter_items(queue_id, ItemQuery(filter=wanted))]
    assert shown == [item.id for item in queues.iter_items(queue_id) if item.annotation_state != "completed"]
    for query in (page, attrs.evolve(page, cursor=cursor), attrs.evolve(page, offset=3)):
        steps = plans(lambda query=query: queues.query_items(queue_id, query))  # type: ignore[misc]
        assert [step for step in steps if is_slow(step)] == []


def test_items_in_one_state_are_read_in_queue_order_without_a_sort(
    plans: Callable[[Callable[[], object]], list[str]],
    queue: tuple[AnnotationQueues, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queues, queue_id = queue
    claims = queues.claim_batch(queue_id, "carol", 6)
    for claim in claims[:3]:
        queues.complete(claim, "good")
    for claim in claims[3:]:
        queues.skip(claim)
    for sort, indexes in (
        (1 << 40, dict.fromkeys(AnnotationState, "order")),
        (0, {"unstarted": "order", "completed": "PRIMARY", "skipped": "skipped", "in_progress": "PRIMARY"}),
    ):
        monkeypatch.setattr(sqlite_states, "_SORT", sort)
        for state, index in indexes.items():
            query = ItemQuery(filter=ItemFilter(annotation_states=[state]), limit=5, include_position=True)
            steps = plans(lambda query=query: queues.query_items(queue_id, query))  # type: ignore[misc]
            # Where few items are found by something else than the order, they are sorted.
            assert [step for step in steps if is_slow(step) and "order" in index] == []
            assert any(index in step for step in steps)


@pytest.mark.parametrize("newest_first", [False, True])
def test_labels_are_read_in_the_order_of_the_log_without_a_sort_or_a_scan(
    plans: Callable[[Callable[[], object]], list[str]],
    queue: tuple[AnnotationQueues, str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    newest_first: bool,
) -> None:
    monkeypatch.setattr(sqlite_stretches, "SIZE", 8)
    queues, queue_id = queue
    queues.complete_batch([(claim, "good") for claim in queues.claim_batch(queue_id, "carol", 9)])
    for annotator_id in (None, "carol"):
        query = LabelQuery(newest_first=newest_first, annotator_id=annotator_id, limit=8)
        cursor = queues.labels(queue_id, query).next_cursor
        for part in (query, attrs.evolve(query, cursor=cursor)):
            steps = plans(lambda part=part: queues.labels(queue_id, part))  # type: ignore[misc]
            assert [step for step in steps if is_slow(step)] == []
            assert "SEARCH s USING PRIMARY KEY (queue=? AND kind=? AND num=? AND item>? AND item<?)" in steps
            assert "SEARCH l USING PRIMARY KEY (queue=? AND num>? AND num<?)" in steps


@pytest.mark.parametrize("field", ["id", "call_id", "call_trace_id", "call_op_name", "added_by"])
def test_an_equality_filter_finds_its_items_by_an_index(
    plans: Callable[[Callable[[], object]], list[str]], queue: tuple[AnnotationQueues, str], field: str
) -> None:
    queues, queue_id = queue
    (item,) = queues.query_items(queue_id, ItemQuery(limit=1)).items
    query = ItemQuery(filter=ItemFilter(**{field: getattr(item, field)}), limit=5)
    steps = plans(lambda: queues.query_items(queue_id, query))
    assert [step for step in steps if is_slow(step) and "TEMP" not in step] == []


@pytest.mark.parametrize("chosen", [ItemFilter(call_op_name="op-1"), ItemFilter(added_by="ann")], ids=["op", "adder"])
@pytest.mark.parametrize("sort_by", SUPPORTED, ids=str)
def test_a_walk_past_other_operations_or_adders_reads_nothing_but_its_index(
    plans: Callable[[Callable[[], object]], list[str]],
    queue: tuple[AnnotationQueues, str],
    monkeypatch: pytest.MonkeyPatch,
    sort_by: tuple[SortBy, ...],
    chosen: ItemFilter,
) -> None:
    # Otherwise so few items would be sorted, not walked along.
    monkeypatch.setattr(sqlite_filters, "FEW", 0)
    queues, queue_id = queue
    query = ItemQuery(filter=chosen, sort_by=sort_by, limit=5, include_position=True)
    steps = plans(lambda: queues.query_items(queue_id, query))
    assert any("COVERING INDEX work_" in step for step in steps)
    assert [step for step in steps if is_slow(step) or "w USING INDEX" in step] == []


def test_a_claim_and_a_completion_read_by_indexes_only(
    plans: Callable[[Callable[[], object]], list[str]], queue: tuple[AnnotationQueues, str]
) -> None:
    queues, queue_id = queue

    def work() -> None:
        claim = queues.claim(queue_id, "carol")
        assert claim
        queues.complete(claim, "good")

    assert [step for step in plans(work) if is_slow(step)] == []


def test_a_claim_costs_no_more_for_an_annotator_who_did_many_items_that_are_open_for_others(
    repository: SQLiteRepository,
) -> None:
    queues = AnnotationQueues(repository, "project")
    queue_id = queues.create("Triage", created_by="ann", annotations_per_item=3).id
    queues.add_items(queue_id, [NewItem(call_id=f"call-{n}") for n in range(1_200)], added_by="ann")
    queues.complete_batch([(claim, "good") for claim in queues.claim_batch(queue_id, "veteran", 1_000)])

    def steps_of_a_claim(annotator_id: str) -> int:
        queues.claim(queue_id, annotator_id)  # finds out where the annotator's open items begin
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        with repository._connections.reading() as connection:
            connection.set_progress_handler(count, 10)
        assert queues.claim(queue_id, annotator_id)
        with repository._connections.reading() as connection:
            connection.set_progress_handler(None, 10)
        return steps

    assert steps_of_a_claim("veteran") < 2 * steps_of_a_claim("fresh")


@pytest.fixture
def steps(repository: SQLiteRepository) -> Callable[[Callable[[], object]], int]:
    """Run something, and count the steps of SQLite's machine that it took."""

    def run(call: Callable[[], object]) -> int:
        taken = 0

        def count() -> int:
            nonlocal taken
            taken += 1
            return 0

        with repository._connections.reading() as connection:
            connection.set_progress_handler(count, 1)
        call()
        connection.set_progress_handler(None, 1)
        return taken

    return run


def store_queues(repository: SQLiteRepository, count: int, project_id: str = "project") -> AnnotationQueues:
    """Store queues of which many share their name and the time of their creation."""
    queues = AnnotationQueues(repository, project_id)
    template = queues.create("Triage", created_by="ann", description="d" * 100)
    with repository._connections.writing() as connection:
        connection.execute(
            "INSERT INTO queues (id, project_id, name, search_name, description, scorer_refs, annotations_per_item, "
            "skip_policy, lease, created_at, created_by, updated_at) SELECT q.id || n.value, project_id, name || n.value % 3, "
            "search_name || n.value % 3, description, scorer_refs, annotations_per_item, skip_policy, lease, created_at, "
            "created_by, updated_at + n.value % 2 FROM json_each(?) AS n, queues AS q WHERE q.id = ?",
            (json.dumps(list(range(count - 1))), template.id),
        )
    return queues


@pytest.mark.parametrize("sort_by", QUEUE_ORDERS, ids=str)
def test_a_page_of_queues_is_read_without_a_sort_or_a_scan(
    plans: Callable[[Callable[[], object]], list[str]], repository: SQLiteRepository, sort_by: tuple[SortBy, ...]
) -> None:
    queues = store_queues(repository, 60)
    cursor = queues.query(QueueQuery(sort_by=sort_by, limit=25)).next_cursor
    for query in (
        QueueQuery(sort_by=sort_by, limit=5),
        QueueQuery(sort_by=sort_by, limit=5, offset=7),
        QueueQuery(sort_by=sort_by, limit=5, cursor=cursor),
        QueueQuery(sort_by=sort_by, limit=5, cursor=cursor, name="e2"),
    ):
        read = plans(lambda query=query: queues.query(query))  # type: ignore[misc]
        assert [step for step in read if "TEMP B-TREE" in step or step.startswith("SCAN q")] == []
        assert any("INDEX queues_by_" in step for step in read)


@pytest.mark.parametrize("sort_by", QUEUE_ORDERS, ids=str)
def test_a_page_of_queues_costs_what_is_on_it_however_many_there_are(
    steps: Callable[[Callable[[], object]], int], repository: SQLiteRepository, sort_by: tuple[SortBy, ...]
) -> None:
    few, many = store_queues(repository, 100, "few"), store_queues(repository, 5_000, "many")
    taken = []
    for queues, behind in ((few, 50), (many, 50), (many, 4_000)):
        cursor = queues.query(QueueQuery(sort_by=sort_by, limit=behind)).next_cursor
        for at in (None, cursor):
            query = QueueQuery(sort_by=sort_by, limit=20, cursor=at)
            assert len(queues.query(query).queues) == 20
            taken.append(steps(lambda query=query, queues=queues: queues.query(query)))  # type: ignore[misc]
    assert max(taken) < 2 * min(taken)


def test_a_queue_that_is_named_a_thousand_times_is_counted_once(
    steps: Callable[[Callable[[], object]], int], queue: tuple[AnnotationQueues, str]
) -> None:
    queues, queue_id = queue
    once = steps(lambda: queues.stats([queue_id]))
    assert steps(lambda: queues.stats([queue_id] * 1_000)) <= once
    assert queues.stats([queue_id] * 3) == queues.stats([queue_id]) * 3


REMOVING_TO_ADDING: Final = 1.03
"""How many steps of SQLite's machine it may take to remove items that nobody touched, for each that it took to add them."""


def test_to_remove_an_item_that_nobody_touched_takes_few_steps_and_looks_at_nothing_that_it_has_not(
    repository: SQLiteRepository, steps: Callable[[Callable[[], object]], int]
) -> None:
    queues = AnnotationQueues(repository, "project")
    queue_id = queues.create("Triage", created_by="ann").id
    added: list[QueueItem] = []
    new = [NewItem(call_id=f"call-{n}") for n in range(1_000)]
    to_add = steps(lambda: added.extend(queues.add_items(queue_id, new, added_by="ann").added))
    reserved = queues.add_items(queue_id, [NewItem(call_id="own", assignees=["bob"])], added_by="ann").added
    statements: list[str] = []
    with repository._connections.reading() as connection:
        connection.set_trace_callback(statements.append)
    taken = steps(lambda: queues.remove_items(queue_id, [item.id for item in added]))
    plain = [text for text in statements if "reservations" in text or "progresses" in text]
    queues.remove_items(queue_id, [reserved[0].id])
    connection.set_trace_callback(None)
    assert plain == []
    assert [text for text in statements if "DELETE FROM reservations" in text]
    assert taken < REMOVING_TO_ADDING * to_add
