"""What every part of the service shares: reading, deciding, and writing until nobody was faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from annotation_queue.construction import trusted
from annotation_queue.errors import ClaimLost, Conflict
from annotation_queue.ids import uuid7
from annotation_queue.records import change_of, view
from annotation_queue.states import STANDARD, Workflow, aggregate
from annotation_queue.values import check_id, check_text, check_time, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from annotation_queue.items import QueueItem
    from annotation_queue.records import Change, ItemRecord
    from annotation_queue.repository import Repository
    from annotation_queue.states import Progress, Transition

Decide: TypeAlias = "Callable[[Progress | None, ItemRecord], tuple[Progress, Transition | None]]"
"""Gives a progress as it shall be and its transition; the same progress, or no transition for an annotator without one, where
nothing changes. It may raise."""

_ATTEMPTS: Final = 1_000


@attrs.frozen
class Decision:
    """How to change one progress.

    Args:
        item_id: The item.
        read: Gives the item, in any view, and reads what the decision rests on; again after somebody else was faster.
        annotator_id: Whose progress changes.
        decide: What it shall be.
    """

    item_id: str
    read: Callable[[], tuple[QueueItem, ItemRecord]]
    annotator_id: str
    decide: Decide


make_decision = trusted(Decision)


class Service:
    """The base of the service: the repository, the project, and what is injected.

    Args:
        repository: Where everything is stored.
        project_id: The project.
        workflow: Which moves an annotator may make.
        clock: Tells the time, timezone-aware.
        new_id: Makes ids.
    """

    def __init__(
        self,
        repository: Repository,
        project_id: str,
        *,
        workflow: Workflow = STANDARD,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._repository = repository
        self._project_id = check_id("project_id", project_id)
        self._workflow = workflow
        self._clock = clock
        self._new_id = new_id

    @property
    def project_id(self) -> str:
        """The project whose queues these are."""
        return self._project_id

    def _now(self) -> datetime:
        return check_time("clock", self._clock())

    def _item(self, item_id: str, queue_id: str | None) -> QueueItem:
        if queue_id is not None:
            queue_id = check_id("queue_id", queue_id)
        return self._repository.get_item(self._project_id, check_id("item_id", item_id), queue_id)

    def _record(self, item_id: str, queue_id: str | None) -> ItemRecord:
        return self._repository.get_record(self._project_id, item_id, queue_id)

    def _change(self, decision: Decision) -> tuple[QueueItem, Progress]:
        """Carry out a decision; give the item in the annotator's perspective, and the progress."""
        for _ in range(_ATTEMPTS):
            outcome, write = _carry_out(decision)
            if write is None or self._is_saved((write,)):
                return outcome
        raise Conflict("the item kept changing")

    def _change_all(self, decisions: Callable[[], Iterable[Decision]]) -> list[QueueItem | ClaimLost]:
        """Carry out decisions about different items in one atomic step, but for those whose claim is lost."""
        for _ in range(_ATTEMPTS):
            outcomes: list[QueueItem | ClaimLost] = []
            writes: list[tuple[ItemRecord, Change]] = []
            for decision in decisions():
                try:
                    (item, _progress), write = _carry_out(decision)
                except ClaimLost as error:
                    outcomes.append(error)
                    continue
                outcomes.append(item)
                if write is not None:
                    writes.append(write)
            if not writes or self._is_saved(writes):
                return outcomes
        raise Conflict("the items kept changing")

    def _is_saved(self, writes: Sequence[tuple[ItemRecord, Change]]) -> bool:
        """Save, and tell whether nobody was faster."""
        try:
            self._repository.save(writes)
        except Conflict:
            return False
        return True


def _carry_out(decision: Decision) -> tuple[tuple[QueueItem, Progress], tuple[ItemRecord, Change] | None]:
    item, record = decision.read()
    own = progress_of(record, decision.annotator_id)
    progress, transition = decision.decide(own, record)
    if progress is own or (own is None and transition is None):
        return (view(item, aggregate((progress,)), updated_at=record.updated_at), progress), None
    change = change_of(record, (progress,), () if transition is None else (transition,))
    shown = view(item, aggregate((progress,)), updated_at=change.updated_at)
    return (shown, progress), (record, change)


def progress_of(record: ItemRecord, annotator_id: str) -> Progress | None:
    """Find an annotator's progress in a record; None where there is none."""
    for progress in record.progresses:
        if progress.annotator_id == annotator_id:
            return progress
    return None


def check_reason(reason: str | None) -> str | None:
    """Accept a reason or none."""
    return None if reason is None else check_text("reason", reason)
