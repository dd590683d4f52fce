"""What a patch changes on items, as the storages that speak SQL keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from annotation_queue.repositories.sql.rows import json_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from annotation_queue.items import ItemPatch

SAME: Final = object()
"""Stands for what stays as it is."""


class Patchable(Protocol):
    """What is read of an item that may change."""

    @property
    def priority_down(self) -> int:
        """The priority, as it sorts."""

    @property
    def display_fields(self) -> Any:  # noqa: ANN401 - a text, or its number
        """What is kept of the display fields."""

    @property
    def assignees(self) -> Any:  # noqa: ANN401 - as above
        """What is kept of the assignees."""

    @property
    def has_payload(self) -> Any:  # noqa: ANN401 - a boolean of SQL
        """Whether it has the payload that was compared with."""


@attrs.frozen
class StoredPatch:
    """What changes; `SAME` for what stays.

    Args:
        priority_down: The priority, as it sorts.
        payload: The payload as JSON text, or None.
        display_fields: What the storage keeps of display fields.
        assignees: What it keeps of assignees; None for nobody.
    """

    priority_down: Any = SAME
    payload: Any = SAME
    display_fields: Any = SAME
    assignees: Any = SAME

    @classmethod
    def of(
        cls,
        patch: ItemPatch,
        fields: Callable[[Sequence[str]], int | str],
        assignees: Callable[[Sequence[str]], int | str | None],
    ) -> StoredPatch:
        """Turn a patch into what is stored.

        Args:
            patch: The patch.
            fields: Gives what is kept of display fields.
            assignees: Gives what is kept of assignees.
        """
        given = patch.given
        return cls(
            priority_down=~given["priority"] if "priority" in given else SAME,
            payload=json_or_none(given["payload"]) if "payload" in given else SAME,
            display_fields=fields(given["display_fields"]) if "display_fields" in given else SAME,
            assignees=assignees(given["assignees"]) if "assignees" in given else SAME,
        )

    @property
    def compared(self) -> dict[str, object]:
        """The payload that a statement compares with, and whether it shall."""
        has_payload = self.payload is not SAME
        return {"compares_payload": has_payload, "payload": self.payload if has_payload else None}

    def changes(self, row: Patchable) -> bool:
        """Tell whether an item has not all of it already."""
        return (
            self.priority_down not in {SAME, row.priority_down}
            or (self.payload is not SAME and not row.has_payload)
            or self.display_fields not in {SAME, row.display_fields}
            or self.assignees not in {SAME, row.assignees}
        )

    def place(self, row: Patchable) -> int:
        """Give what an item's priority will be, as it sorts."""
        return row.priority_down if self.priority_down is SAME else int(self.priority_down)

    def reserved(self, row: Patchable) -> Any:  # noqa: ANN401 - what the storage keeps
        """Give what will be kept of an item's assignees."""
        return row.assignees if self.assignees is SAME else self.assignees


def given(column: str, patches: Iterable[tuple[int, StoredPatch]]) -> list[tuple[int, Any]]:
    """List items by number with what a column becomes, where it changes."""
    values = [(num, getattr(patch, column)) for num, patch in patches]
    return [(num, value) for num, value in values if value is not SAME]
