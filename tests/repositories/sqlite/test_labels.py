"""Pages of labels along the log, whose stretches count the labels that are in them."""

from __future__ import annotations

from itertools import count, product
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from annotation_queue import AnnotationQueues, AnnotationState, ItemFilter, LabelQuery, NewItem, SQLiteRepository
from annotation_queue.repositories.sqlite import stretches
from annotation_queue.repositories.sqlite.queries import filters
from helpers.teams import at_work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL: Final = frozenset(AnnotationState)
COMPLETED, SKIPPED = frozenset({AnnotationState.COMPLETED}), frozenset({AnnotationState.SKIPPED})
QUERIES: Final = [
    LabelQuery(annotator_id=who, states=states, newest_first=newest, filter=chosen, limit=3)
    for who, states, newest, chosen in product(
        [None, "x", "nobody"],
        [COMPLETED | SKIPPED, COMPLETED, SKIPPED, ALL],
        [True, False],
        [ItemFilter(), ItemFilter(call_op_name="op-1")],
    )
]


@pytest.mark.parametrize("seed", range(4))
def test_every_page_of_labels_is_the_one_that_memory_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(stretches, "SIZE", 4)
    # Otherwise so few items would be read one by one, not along the log.
    monkeypatch.setattr(filters, "FEW", 0)
    with at_work(tmp_path / "queues.db", seed, steps=120) as both:
        assert len(both[0].labels("queue").labels) > 12
        for query in QUERIES:
            stored, remembered = (
                [
                    (label.item.id, label.progress)
                    for label in queues.iter_labels("queue", attrs.evolve(query, limit=None))
                ]
                for queues in both
            )
            assert stored == remembered, query
            part, paged = query, []
            while True:
                page = both[0].labels("queue", part)
                paged += [(label.item.id, label.progress) for label in page.labels]
                if page.next_cursor is None:
                    break
                part = attrs.evolve(part, cursor=page.next_cursor)
            assert paged == remembered, query


SIZE: Final = 128
KEPT: Final = 200
"""How many labels stay, in front of or behind all that is taken back."""


class Busy:
    """A queue with room for what bob and eve label, 200 items each, and many items to which something else happens.

    Args:
        repository: Its repository.
        many: To how many.
    """

    def __init__(self, repository: SQLiteRepository, many: int) -> None:
        self.repository = repository
        self.queues = AnnotationQueues(repository, "project")
        self.many = many
        self.queues.create("Triage", created_by="ann", queue_id="queue")
        news = [NewItem(call_id=f"{n}") for n in range(2 * KEPT + many)]
        self.queues.add_items("queue", news, added_by="ann")

    def complete(self, annotator_id: str, items: int) -> list[str]:
        claims = self.queues.claim_batch("queue", annotator_id, items)
        assert len(claims) == items
        self.queues.complete_batch([(claim, "good") for claim in claims])
        return [claim.item.id for claim in claims]

    def steps(self, query: LabelQuery) -> tuple[list[str], int]:
        """Read a page, and count the steps of SQLite's machine that it took."""
        taken = count()
        with self.repository._connections.reading() as connection:
            connection.set_progress_handler(lambda: 0 * next(taken), 1)
        page = self.queues.labels("queue", query)
        connection.set_progress_handler(None, 1)
        return [label.progress.annotator_id for label in page.labels], next(taken)


def released(busy: Busy) -> None:
    for claim in busy.queues.claim_batch("queue", "cy", busy.many):
        busy.queues.release(claim)


def put_back(busy: Busy) -> None:
    assert busy.queues.reset("queue", busy.complete("cy", busy.many), actor_id="ann") == busy.many


def removed(busy: Busy) -> None:
    assert busy.queues.remove_items("queue", busy.complete("cy", busy.many)) == busy.many


def skipped(busy: Busy) -> None:
    for claim in busy.queues.claim_batch("queue", "cy", busy.many):
        busy.queues.skip(claim)


HAPPENED: Final = [
    (released, "eve", LabelQuery(newest_first=True)),
    (put_back, "eve", LabelQuery(newest_first=True)),
    (removed, "eve", LabelQuery(newest_first=True)),
    (released, "bob", LabelQuery(newest_first=True, annotator_id="bob")),
    (skipped, "bob", LabelQuery(newest_first=True, annotator_id="bob")),
    (skipped, "eve", LabelQuery(newest_first=True, states=COMPLETED)),
]


def assert_flat(folder: Path, work: Callable[[Busy], None], whose: str, query: LabelQuery) -> None:
    """See that a page costs no more after ten times as much work, but for one counter of each stretch that is passed."""
    taken = []
    for many in (500, 5_000):
        with SQLiteRepository(folder / f"{many}.db", synchronous="OFF") as repository:
            busy = Busy(repository, many)
            work(busy)
            page, steps = busy.steps(attrs.evolve(query, limit=20))
            assert page == [whose] * 20
            taken.append(steps)
    assert taken[1] < 2 * taken[0]


@pytest.mark.parametrize(("happened", "whose", "query"), HAPPENED, ids=lambda each: getattr(each, "__name__", ""))
def test_the_newest_labels_cost_no_more_however_much_came_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happened: Callable[[Busy], None], whose: str, query: LabelQuery
) -> None:
    def work(busy: Busy) -> None:
        busy.complete("bob", KEPT)
        busy.complete("eve", KEPT)
        happened(busy)

    monkeypatch.setattr(stretches, "SIZE", SIZE)
    assert_flat(tmp_path, work, whose, query)


def test_the_oldest_labels_cost_no_more_however_much_was_put_back_in_front_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(busy: Busy) -> None:
        put_back(busy)
        busy.complete("eve", KEPT)

    monkeypatch.setattr(stretches, "SIZE", SIZE)
    assert_flat(tmp_path, work, "eve", LabelQuery())
