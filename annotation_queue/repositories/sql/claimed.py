"""What claims left, remembered for a while, so that who holds an item need not read it again to finish it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation_queue.records import Change, ItemRecord

_MOST: Final = 10_000
"""Of how many claims it is remembered what they left."""


class Claimed:
    """The records that claims left, each for who claimed.

    They may be outdated: `Repository.save` refuses a change that rests on one that is. Everything is dropped when there is too
    much. Safe to share between threads, without a lock that a fork could leave locked.
    """

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], ItemRecord] = {}

    def keep(self, annotator_id: str, record: ItemRecord) -> None:
        """Keep the record that a claim left."""
        if len(self._records) >= _MOST:
            self._records.clear()
        self._records[record.item_id, annotator_id] = record

    def take(self, project_id: str, item_id: str, annotator_id: str) -> ItemRecord | None:
        """Give the record that a claim in a project left, once; None if none is kept."""
        record = self._records.pop((item_id, annotator_id), None)
        return record if record is not None and record.queue.project_id == project_id else None

    def forget(self, writes: Sequence[tuple[ItemRecord, Change]]) -> None:
        """Forget what claims left of items that were changed since."""
        for record, change in writes:
            for progress in change.progresses:
                self._records.pop((record.item_id, progress.annotator_id), None)
