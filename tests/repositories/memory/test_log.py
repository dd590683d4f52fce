"""The log in memory: what pages of it and of labels cost."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, SupportsIndex

import pytest

from annotation_queue import AnnotationQueues, AnnotationState, LabelQuery, MemoryRepository, NewItem, Transition
from annotation_queue.repositories.memory.log import Log, Recent

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = datetime(2026, 1, 1, tzinfo=UTC)
LENGTH = 2_000


class Counted(list[Transition | None]):
    """A list that counts what is read of it."""

    reads = 0

    def __iter__(self) -> Iterator[Transition | None]:
        for each in super().__iter__():
            self.reads += 1
            yield each

    def __getitem__(self, at: SupportsIndex) -> Transition | None:  # type: ignore[override]  # no slices here
        self.reads += 1
        return super().__getitem__(at)


def test_a_page_of_a_long_log_reads_what_is_on_it_and_nothing_before() -> None:
    log = Log()
    for number in range(LENGTH):
        log.append(
            Transition(
                item_id=f"{number}",
                annotator_id="bob",
                from_state=AnnotationState.UNSTARTED,
                to_state=AnnotationState.IN_PROGRESS,
                at=AT,
            )
        )
    log.erase({f"{LENGTH - 8}"})
    log.transitions = counted = Counted(log.transitions)
    found, end = log.page(LENGTH - 10, 5)
    assert [each.item_id for each in found] == [f"{LENGTH - 10 + n}" for n in (0, 1, 3, 4, 5)]
    assert end == LENGTH - 4
    assert counted.reads <= 6 + 1
    assert log.page(LENGTH, 5) == ([], LENGTH)
    assert log.page(LENGTH + 7, 5) == ([], LENGTH + 7)


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_page_of_labels_passes_none_of_what_was_released(
    monkeypatch: pytest.MonkeyPatch, *, newest_first: bool
) -> None:
    repository = MemoryRepository()
    queues = AnnotationQueues(repository, "project")
    queue = queues.create("queue", created_by="ann", annotations_per_item=3)
    queues.add_items(queue.id, [NewItem(call_id=f"{n}") for n in range(100)], added_by="ann")
    for annotator_id, ends in (("eve", queues.release), ("bob", queues.complete), ("joe", queues.release)):
        for claim in queues.claim_batch(queue.id, annotator_id, 100):
            ends(claim)
    walked: list[object] = []
    walk = Recent.walk

    def counted(recent: Recent, after: int | None, *, newest_first: bool) -> Iterator[tuple[int, str]]:
        for each in walk(recent, after, newest_first=newest_first):
            walked.append(each)
            yield each

    monkeypatch.setattr(Recent, "walk", counted)
    page = queues.labels(queue.id, LabelQuery(limit=5, newest_first=newest_first))
    assert [each.progress.annotator_id for each in page.labels] == ["bob"] * 5
    assert len(walked) <= 6
    every = LabelQuery(states=frozenset(AnnotationState), newest_first=newest_first)
    assert len(queues.labels(queue.id, every).labels) == 300
    assert repository.check() == ()


def test_keys_are_kept_in_order_beside_no_more_older_entries_than_as_many_again_and_a_few() -> None:
    recent = Recent()
    last: dict[str, int] = {}

    def note(key: int) -> None:
        num = next(nums)
        recent.note(f"{key}", num)
        last[f"{key}"] = num
        assert len(recent._nums) == len(recent._keys) <= 2 * len(last) + 64

    nums = count(1)
    for key in range(LENGTH):
        note(key)
    for key in range(5, LENGTH):
        assert recent.discard(f"{key}") == last.pop(f"{key}")
        assert recent.discard(f"{key}") == 0
    for key in [*range(5), *range(LENGTH), *[7] * LENGTH]:
        note(key)
    assert recent.items() == sorted((num, key) for key, num in last.items())
