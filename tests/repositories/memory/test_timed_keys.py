from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_queue.repositories.memory import timed_keys
from annotation_queue.repositories.memory.timed_keys import TimedKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = st.tuples(st.integers(0, 40))
TIMES = st.integers(0, 9).map(lambda seconds: START + timedelta(seconds=seconds))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.lists(st.tuples(KEYS, TIMES), min_size=1, max_size=8)),
        st.tuples(st.just("discard"), st.lists(st.tuples(KEYS, TIMES), min_size=1, max_size=8)),
        st.tuples(st.just("read"), st.lists(st.tuples(KEYS, TIMES), min_size=1, max_size=3)),
    ),
    max_size=40,
)


@pytest.fixture(scope="module", autouse=True)
def _short_blocks() -> Iterator[None]:
    """Let few keys fill many blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timed_keys, "_FULL", 3)
        yield


@given(STEPS)
def test_it_finds_what_a_scan_finds_after_any_changes(
    steps: list[tuple[str, list[tuple[tuple[int], datetime]]]],
) -> None:
    keys, model = TimedKeys(), dict[tuple[int], datetime]()
    for what, pairs in steps:
        for key, time in pairs:
            if what == "set":
                keys.set(key, time)
                model[key] = time
            elif what == "discard":
                assert keys.discard(key) == (model.pop(key, None) is not None)
            else:
                due = sorted(each for each, until in model.items() if until <= time)
                assert keys.first(time) == next(iter(due), None)
                assert keys.first(time, key) == next((each for each in due if each > key), None)
                assert keys.earliest() == min(model.values(), default=None)
            assert keys.check() == ()
        assert list(keys.items()) == sorted(model.items())
        assert len(keys) == len(model)


def test_the_check_names_what_is_wrong() -> None:
    later, sooner = START + timedelta(seconds=1), START - timedelta(seconds=1)

    def broken(attribute: str, value: object) -> tuple[str, ...]:
        keys = TimedKeys()
        for number in (1, 2):
            keys.set((number,), START)
        assert keys.first(START) == (1,)  # builds the tree
        setattr(keys, attribute, value)
        return keys.check()

    assert broken("_keys", [[(2,), (1,)]])[0] == "keys are out of order or repeated"
    assert broken("_keys", [[(2,), (2,)]]) == ("keys are out of order or repeated",)
    assert "a block is empty or too long" in broken("_keys", [[(1,), (2,)], []])
    assert "a block is empty or too long" in broken("_keys", [[(-1,), (0,), (1,), (2,)]])
    for times in ([START], [START] * 3):
        assert broken("_times", [times]) == ("a block has not one time for each key",)
    for maximum in (0, 9):
        assert broken("_maxima", [(maximum,)]) == ("the maxima are not those of the blocks",)
    for length in (1, 4):
        assert broken("_length", length) == ("the length is not the number of keys",)
    for bounds in ([later], [], [START, START]):
        assert "a bound is later than a time of its block" in broken("_bounds", bounds)
    assert broken("_floor", later) == ("the floor is later than a time",)
    # It may be sooner: it spares a search, and decides nothing.
    assert broken("_floor", sooner) == ()
    for leaf in (sooner, later):
        assert broken("_tree", [leaf, leaf]) == ("the tree is not that of the bounds",)
