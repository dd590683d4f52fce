"""The log of a queue on PostgreSQL: whoever follows it misses nothing, whatever order transactions commit in."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from annotation_queue import AnnotationQueues, AnnotationState, Claim, ItemFilter, LabelQuery, NewItem
from annotation_queue.moves import advance
from annotation_queue.records import change_of
from annotation_queue.repositories.postgres import claims as postgres_claims
from annotation_queue.states import COMPLETED, SKIPPED, UNSTARTED, unstarted
from annotation_queue.values import utc_now
from helpers.clocks import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue import Label, Transition
    from annotation_queue.repositories.postgres import PostgresRepository
    from annotation_queue.repositories.postgres.session import Session
    from helpers.postgres import Database

ITEMS = 6


@pytest.fixture
def queue_id(queues: AnnotationQueues) -> str:
    """A queue in which everybody may label every item."""
    queue = queues.create("queue", created_by="ann", annotations_per_item=99)
    queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(ITEMS)], added_by="ann")
    return queue.id


class Follower:
    """Follows a queue's log, page by page.

    Args:
        queues: The service.
        queue_id: The queue.
        limit: Most transitions of a page.
    """

    def __init__(self, queues: AnnotationQueues, queue_id: str, limit: int) -> None:
        self.seen: list[Transition] = []
        self._queues, self._queue_id, self._limit = queues, queue_id, limit
        self._cursor: str | None = None

    def follow(self) -> int:
        """Read all that is new, and say how much that was."""
        before = len(self.seen)
        while True:
            page = self._queues.changes(self._queue_id, after=self._cursor, limit=self._limit)
            self.seen += page.transitions
            self._cursor = page.cursor
            if not page.transitions:
                return len(self.seen) - before


def held_back(repository: PostgresRepository, item_id: str, annotator_id: str) -> Iterator[None]:
    """Complete an item in a transaction that commits when the iterator is asked for the second time."""
    (record,) = repository.get_records("project", [item_id], with_items=False).values()
    own = next((each for each in record.progresses if each.annotator_id == annotator_id), None)
    at = utc_now()
    progress, transition = advance(
        own or unstarted(item_id, annotator_id, at),
        COMPLETED,
        at=at,
        annotation=annotator_id,
        step=record.steps + 1,
    )
    assert transition is not None
    revision: Any = record.revision
    with repository._writing([revision.queue]) as session:
        session.store([(record, change_of(record, (progress,), (transition,)))])
        yield
    yield


@pytest.mark.parametrize("seed", range(6))
def test_a_follower_sees_every_transition_once_and_those_of_an_item_in_order_whoever_commits_when(
    repository: PostgresRepository, queues: AnnotationQueues, queue_id: str, seed: int
) -> None:
    draw = random.Random(seed)  # noqa: S311 - a history of a test
    items = [item.id for item in queues.query_items(queue_id).items]
    follower = Follower(queues, queue_id, draw.choice([1, 2, 1_000]))
    open_ones: dict[str, Iterator[None]] = {}
    for number in range(60):
        free = [item for item in items if item not in open_ones]
        if free and len(open_ones) < 4 and draw.random() < 0.5:
            item = draw.choice(free)
            open_ones[item] = held_back(repository, item, f"held {number}")
            next(open_ones[item])
        elif open_ones and draw.random() < 0.4:
            next(open_ones.pop(draw.choice([*open_ones])))
        elif free:
            queues.update_progress(draw.choice(free), f"at once {number}", draw.choice([COMPLETED, SKIPPED]))
        follower.follow()
    for each in open_ones.values():
        next(each)
    follower.follow()
    histories = {item: queues.history(item) for item in items}
    assert len(follower.seen) == sum(map(len, histories.values()))
    for item, history in histories.items():
        assert tuple(each for each in follower.seen if each.item_id == item) == history


def test_nothing_is_shown_behind_a_transaction_that_is_still_under_way(
    repository: PostgresRepository, queues: AnnotationQueues, queue_id: str
) -> None:
    first, second, *_ = [item.id for item in queues.query_items(queue_id).items]
    follower = Follower(queues, queue_id, 10)
    slow = held_back(repository, first, "slow")
    next(slow)
    queues.update_progress(second, "fast", COMPLETED)
    assert follower.follow() == 0
    next(slow)
    assert follower.follow() == 2
    assert [each.annotator_id for each in follower.seen] == ["slow", "fast"]


def test_a_claim_leaves_alone_what_a_younger_transaction_changed_meanwhile(
    repository: PostgresRepository, queues: AnnotationQueues
) -> None:
    queue = queues.create("queue", created_by="ann")
    queues.add_items(queue.id, [NewItem(call_id="a")], added_by="ann")
    held = queues.claim(queue.id, "bob")
    assert isinstance(held, Claim)
    num = repository._num(queue.id)

    def granted(session: Session) -> int:
        return len(
            postgres_claims.claim(
                session, num, "project", queue.id, "eve", limit=1, at=utc_now(), lease=timedelta(seconds=60)
            )
        )

    with repository._writing([num], custom=True) as session:
        # The transaction has its number now, and what comes meanwhile has a greater one.
        session.composed("SELECT pg_current_xact_id()", ())
        queues.release(held)
        assert granted(session) == 0
    with repository._writing([num], custom=True) as session:
        assert granted(session) == 1
    follower = Follower(queues, queue.id, 10)
    follower.follow()
    assert tuple(follower.seen) == queues.history(held.item.id)


def test_a_schema_that_was_moved_to_another_cluster_goes_on_behind_what_it_had(
    database: Database, make_repository: Callable[..., PostgresRepository]
) -> None:
    with make_repository() as repository:
        schema = repository._connections.schema
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("queue", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id=str(number)) for number in range(3)], added_by="ann")
        first, second, _ = [item.id for item in queues.query_items(queue.id).items]
        queues.update_progress(first, "bob", COMPLETED)
    with closing(psycopg.connect(database.dsn, autocommit=True)) as admin:
        admin.execute(f"SET search_path TO {schema}")
        # As a dump of a cluster that has seen many more transactions than this one.
        admin.execute("UPDATE log SET tx = tx + 1000000000")
        admin.execute("UPDATE work SET tx = tx + 1000000000 WHERE tx > 0")
        admin.execute("UPDATE annotation_queue_schema SET cluster = 'elsewhere'")
    for _ in range(2):
        with make_repository() as repository:
            queues = AnnotationQueues(repository, "project")
            follower = Follower(queues, queue.id, 1)
            assert follower.follow() == len(follower.seen) >= 1
            queues.update_progress(second, f"eve {len(follower.seen)}", COMPLETED)
            assert follower.follow() == 1
            assert repository.check() == ()
            assert [each.item_id for each in follower.seen] == [first] + [second] * (len(follower.seen) - 1)


def walked(queues: AnnotationQueues, queue_id: str, query: LabelQuery) -> list[Label]:
    """Read labels page by page."""
    labels: list[Label] = []
    cursor: str | None = None
    while True:
        page = queues.labels(queue_id, attrs.evolve(query, cursor=cursor))
        labels += page.labels
        cursor = page.next_cursor
        if cursor is None:
            return labels


def test_pages_of_labels_are_read_along_the_log_or_from_few_items(queues: AnnotationQueues, queue_id: str) -> None:
    items = [item.id for item in queues.query_items(queue_id).items]
    for annotator_id in ("bob", "eve", "x" * 300):
        for item in items:
            queues.update_progress(item, annotator_id, COMPLETED, annotation=f"{annotator_id} {item}")
    queues.update_progress(items[0], "bob", COMPLETED, annotation="corrected")
    for query, expected in [
        (LabelQuery(annotator_id="x" * 300, limit=2), items),
        (LabelQuery(annotator_id="bob", limit=4), [*items[1:], items[0]]),
        (LabelQuery(annotator_id="bob", limit=4, newest_first=True), [items[0], *items[:0:-1]]),
        (LabelQuery(filter=ItemFilter(id=items[0]), limit=1), [items[0]] * 3),
        (LabelQuery(filter=ItemFilter(call_id="3"), limit=1, newest_first=True), [items[3]] * 3),
        (LabelQuery(filter=ItemFilter(annotation_states=[UNSTARTED]), limit=1), []),
        (LabelQuery(states=[AnnotationState.IN_PROGRESS], limit=1), []),
    ]:
        labels = walked(queues, queue_id, query)
        assert [label.item.id for label in labels] == expected
    assert labels == []
    corrected = queues.labels(queue_id, LabelQuery(newest_first=True, limit=1)).labels[0]
    assert (corrected.item.id, corrected.progress.annotation) == (items[0], "corrected")


def test_the_store_keeps_a_label_once(
    database: Database, repository: PostgresRepository, queues: AnnotationQueues, queue_id: str
) -> None:
    (item, *_) = queues.query_items(queue_id).items
    queues.update_progress(item.id, "bob", COMPLETED, annotation="the label")
    with closing(psycopg.connect(database.dsn)) as admin:
        admin.execute(f"SET search_path TO {repository._connections.schema}")
        assert admin.execute("SELECT annotation FROM progresses").fetchall() == [(None,)]
        assert admin.execute("SELECT annotation FROM log").fetchall() == [('"the label"',)]


def test_throughput_reads_only_what_was_settled_within_the_window(
    repository: PostgresRepository, queue_id: str
) -> None:
    clock = Clock()
    queues = AnnotationQueues(repository, "project", clock=clock)
    items = [item.id for item in queues.query_items(queue_id).items]
    for number, item in enumerate(items):
        queues.update_progress(item, "bob", AnnotationState.IN_PROGRESS)
        clock.move(10)
        queues.update_progress(item, "bob", COMPLETED, annotation=number)
        clock.move(50)
    pace = queues.throughput(queue_id, window=timedelta(minutes=3))
    assert (pace.settled, pace.median_seconds, pace.by_annotator) == (3, 10.0, {"bob": 3})


def test_a_name_that_many_want_at_once_is_given_to_one_queue(repository: PostgresRepository) -> None:
    projects = ["project", "another"]
    with ThreadPoolExecutor(8) as threads:
        made = list(
            threads.map(
                lambda number: AnnotationQueues(repository, projects[number % 2]).get_or_create(
                    "name", created_by="ann"
                ),
                range(32),
            )
        )
    assert {(queue.project_id, queue.id) for queue in made} == {(queue.project_id, queue.id) for queue in made[:2]}
