"""The log in memory: what a page of it costs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, SupportsIndex

from annotation_queue import AnnotationState, Transition
from annotation_queue.repositories.memory.log import Log

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
