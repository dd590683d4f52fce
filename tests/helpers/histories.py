"""A history of calls that is the same on every repository: what a writer writes, and what must be there of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from annotation_queue import AnnotationState, Claim, NewItem
from helpers.clocks import Clock
from helpers.faults import all_of, counting, plain, service

if TYPE_CHECKING:
    from annotation_queue import Repository


class History:
    """Calls on a repository, one commit each, which all change something.

    Args:
        repository: An empty one.
    """

    def __init__(self, repository: Repository) -> None:
        self._clock = Clock()
        self._queues = service(repository, self._clock, "unused")
        self._queue_id = ""
        self._claim: Claim | None = None
        self._second = ""
        self.steps = 0
        """How many calls were made."""

    def go_on(self, repository: Repository) -> None:
        """Go on with another repository on the same storage."""
        self._queues = service(repository, self._clock, "unused")

    def step(self) -> None:
        """Make the next call."""
        kind, round_ = self.steps % 6, self.steps // 6
        # A call that failed is made again at the same time, and with the same ids.
        self._clock.now = Clock().now + timedelta(seconds=self.steps)
        self._queues._new_id = counting(f"id-{self.steps:06}")
        if self.steps == 0:
            self._queue_id = self._queues.create("queue", created_by="ann", annotations_per_item=1 + round_ % 2).id
        elif kind == 0:
            self._queues.update(self._queue_id, description=f"round {round_}", annotations_per_item=1 + round_ % 2)
        elif kind == 1:
            news = [NewItem(call_id=f"{round_} {call}", payload={"text": call * 400}) for call in "abc"]
            self._second = self._queues.add_items(self._queue_id, news, added_by="ann").added[1].id
        elif kind == 2:
            claim = self._queues.claim(self._queue_id, f"annotator-{round_ % 3}")
            assert isinstance(claim, Claim)
            self._claim = claim
        elif kind == 3:
            self._queues.update_progress(self._second, "eve", AnnotationState.SKIPPED, reason="é")
        elif kind == 4:
            assert self._claim is not None
            self._queues.complete(self._claim, {"round": round_})
        else:
            assert self._queues.remove_items(self._queue_id, [self._second]) == 1
        self.steps += 1

    def stored(self) -> Any:  # noqa: ANN401 - as `plain`
        """Read all that is stored."""
        return plain(all_of(self._queues))


def stored_in(repository: Repository) -> Any:  # noqa: ANN401 - as `plain`
    """Read all that is stored in a repository that a history was written to."""
    return plain(all_of(service(repository, Clock(), "unused")))
