"""Every combination of what a query can ask for has the answer of the independent model."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from annotation_queue import MemoryRepository, SQLiteRepository
from annotation_queue.repositories.memory import queries as memory_queries
from annotation_queue.repositories.sqlite.queries import filters as sqlite_filters
from annotation_queue.testing.products import ASPECTS, ProductBench, chosen, product_size, thinned
from helpers.faults import NIGHTLY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unmeasured

THINNED = 1_000
STEP = 1 if NIGHTLY else 23
"""One in so many of the whole product. It has nothing in common with the number of values of any aspect."""


@pytest.fixture(params=[False, True], ids=["", "nothing is few"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProductBench]:
    """The model beside both embedded storages, as they are, and as they answer where much is stored."""
    if request.param:
        monkeypatch.setattr(memory_queries, "_FEW", 1)
        monkeypatch.setattr(memory_queries, "_GLANCE", 1)
        monkeypatch.setattr(sqlite_filters, "FEW", 0)
    with MemoryRepository() as memory, SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as sqlite:
        yield ProductBench({"memory": memory, "sqlite": sqlite})


def test_the_thinned_selection_has_every_pair_of_values_of_two_aspects() -> None:
    selection = [thinned(number) for number in range(THINNED)]
    for one, other in combinations(ASPECTS, 2):
        met = {(repr(each[one]), repr(each[other])) for each in selection}
        assert len(met) == len(ASPECTS[one]) * len(ASPECTS[other]), f"{one} and {other}"


def test_the_whole_product_has_every_combination_once() -> None:
    numbers = range(0, product_size(), product_size() // 500)
    assert len({repr(chosen(number)) for number in numbers}) == len(numbers)
    assert [*chosen(product_size() - 1).values()] == [values[-1] for values in ASPECTS.values()]


def test_a_selection_of_all_that_a_query_can_ask_for_has_the_answers_of_the_model(bench: ProductBench) -> None:
    matched = {bench.ask_product(thinned(number)) for number in range(THINNED)}
    assert {0, 1, 4, 12} <= matched


@pytest.mark.slow(seconds=10)
def test_many_combinations_of_what_a_query_can_ask_for_have_the_answers_of_the_model(bench: ProductBench) -> None:
    for number in range(0, product_size(), STEP):
        bench.ask_product(chosen(number))
