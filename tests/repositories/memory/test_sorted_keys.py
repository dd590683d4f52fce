from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue.repositories.memory import sorted_keys
from annotation_queue.repositories.memory.sorted_keys import SortedKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = st.integers(0, 60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sets(NUMBERS, min_size=1, max_size=1)),
        st.tuples(st.just("update"), st.sets(NUMBERS, max_size=30)),
        st.tuples(st.just("discard"), st.sets(NUMBERS, min_size=1, max_size=12)),
        st.tuples(st.just("read"), st.sets(NUMBERS, min_size=1, max_size=1)),
    ),
    max_size=30,
)


@pytest.fixture(scope="module", autouse=True)
def _short_blocks() -> Iterator[None]:
    """Let few keys fill many blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_keys, "_FULL", 4)
        yield


def _assert_reads_like(keys: SortedKeys, model: list[tuple[int]], probe: tuple[int]) -> None:
    assert keys.bisect_left(probe) == bisect_left(model, probe)
    assert keys.bisect_right(probe) == bisect_right(model, probe)
    assert (probe in keys) == (probe in model)
    assert [keys[rank] for rank in range(len(model))] == model
    for rank in (0, len(model) // 2, len(model), len(model) + 1):
        assert list(keys.iter_from(rank)) == model[rank:]


@given(start=st.sets(NUMBERS), steps=STEPS)
def test_it_reads_like_a_sorted_list_after_any_changes(start: set[int], steps: list[tuple[str, set[int]]]) -> None:
    keys, model = SortedKeys((number,) for number in start), {(number,) for number in start}
    for what, numbers in steps:
        given_keys = {(number,) for number in numbers}
        if what == "add":
            for key in given_keys - model:
                keys.add(key)
            model |= given_keys
        elif what == "update":
            keys.update(given_keys - model)
            model |= given_keys
        elif what == "discard":
            for key in given_keys:
                assert keys.discard(key) == (key in model)
            model -= given_keys
        else:
            _assert_reads_like(keys, sorted(model), *given_keys)
        assert keys.check() == ()
        assert list(keys) == sorted(model)
        assert len(keys) == len(model)
        assert keys.first() == min(model, default=None)
    _assert_reads_like(keys, sorted(model), (30,))


def test_a_rank_that_nobody_has_is_an_index_error() -> None:
    keys = SortedKeys([(1,), (2,)])
    for rank in (-1, 2):
        with pytest.raises(IndexError):
            keys[rank]
    with pytest.raises(IndexError):
        SortedKeys()[0]


def test_removing_what_is_not_there_is_a_key_error_and_changes_nothing() -> None:
    keys = SortedKeys([(1,), (3,)])
    for number in (0, 2, 4):
        with pytest.raises(KeyError):
            keys.remove((number,))
    assert list(keys) == [(1,), (3,)]
    keys.remove((1,))
    assert list(keys) == [(3,)]


def test_a_few_keys_join_many_one_by_one() -> None:
    keys = SortedKeys((number,) for number in range(0, 100, 2))
    keys.update([(51,), (7,)])
    assert list(keys) == sorted([*((number,) for number in range(0, 100, 2)), (7,), (51,)])
    assert keys.check() == ()


@given(st.sets(NUMBERS))
def test_keys_that_are_sorted_already_are_taken_as_they_are(numbers: set[int]) -> None:
    model = [(number,) for number in sorted(numbers)]
    keys = SortedKeys.of_sorted(list(model))
    assert keys.check() == ()
    _assert_reads_like(keys, model, (30,))


def test_the_check_names_what_is_wrong() -> None:
    def broken(attribute: str, value: object) -> tuple[str, ...]:
        keys = SortedKeys([(1,), (2,), (3,)])
        assert keys[0] == (1,)  # builds the tree
        setattr(keys, attribute, value)
        return keys.check()

    assert "keys are out of order or repeated" in broken("_blocks", [[(2,), (1,)], [(3,)]])
    assert "keys are out of order or repeated" in broken("_blocks", [[(1,), (1,)], [(3,)]])
    assert "a block is empty or too long" in broken("_blocks", [[], [(1,), (2,), (3,)]])
    assert "a block is empty or too long" in broken("_blocks", [[(number,) for number in range(5)]])
    for maximum in (0, 9):
        assert broken("_maxima", [(2,), (maximum,)]) == ("the maxima are not those of the blocks",)
    for length in (2, 4):
        assert broken("_length", length) == ("the length is not the number of keys",)
    for count in (1, 9):
        assert broken("_tree", [0, count, 3]) == ("the tree does not count the keys",)
