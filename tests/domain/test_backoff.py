"""The growing waits between tries."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from annotation_queue.backoff import Backoff


def test_waits_double_up_to_a_bound() -> None:
    longest = Backoff(first=0.5, longest=30.0, chance=lambda: 0.0)
    assert [longest.wait(failures) for failures in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert longest.wait(10_000) == 30.0


def test_a_part_of_each_wait_is_random() -> None:
    for spread, expected in ((0.0, 2.0), (0.5, 1.0), (1.0, 0.0)):
        assert Backoff(first=2.0, longest=9.0, spread=spread, chance=lambda: 1.0).wait(1) == expected


@given(first=st.floats(0, 1e6), longest=st.floats(0, 1e6), spread=st.floats(0, 1), failures=st.integers(1, 1 << 70))
def test_no_wait_is_negative_or_longer_than_the_bound(
    first: float, longest: float, spread: float, failures: int
) -> None:
    wait = Backoff(first=first, longest=longest, spread=spread).wait(failures)
    assert math.isfinite(wait)
    assert 0 <= wait <= longest
