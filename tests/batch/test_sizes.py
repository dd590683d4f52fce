"""How many items a run claims at once."""

from __future__ import annotations

import time

from annotation_queue.batch.sizes import BatchSize


def _sizes(*, seconds_an_item: float, batches: int) -> list[int]:
    """Claim a batch as soon as the one before is done, and list how large they are."""
    size = BatchSize(least=1)
    now = time.monotonic()
    sizes: list[int] = []
    for _ in range(batches):
        count = int(size)
        size.add(count, in_flight=0, since=now)
        now += count * seconds_an_item
        sizes.append(count)
    return sizes


def test_batches_of_fast_labelers_grow_to_the_largest_in_a_few_steps() -> None:
    assert _sizes(seconds_an_item=0.001, batches=7) == [1, 1, 4, 16, 64, 64, 64]


def test_batches_of_slow_labelers_are_half_a_seconds_work_and_leave_the_rest_to_others() -> None:
    assert _sizes(seconds_an_item=0.09, batches=5) == [1, 1, 4, 5, 5]
    assert _sizes(seconds_an_item=2.0, batches=5) == [1, 1, 1, 1, 1]
