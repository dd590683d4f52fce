"""What a user would pick instead of the library, and the library itself behind the same calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from annotation_queue import ItemQuery, JsonValue, NewItem, QueueItem


class QueueContestant(Protocol):
    """Hands out items and takes them back done.

    Args:
        folder: Where its files are, or will be.
        synchronous: ``OFF``, ``NORMAL`` or ``FULL``, as SQLite means it.
    """

    name: ClassVar[str]
    on_disk: ClassVar[bool]
    in_queue_order: ClassVar[bool]
    """Whether a greater priority is served first; the others serve first come first."""

    def __init__(self, folder: Path, synchronous: str) -> None: ...

    def fill(self, items: Iterable[NewItem]) -> None:
        """Add what there is to do."""

    def claim(self) -> tuple[str, Any] | None:
        """Take the next item: its call_id, and what `complete` needs. None when there is none."""

    def complete(self, claim: Any, label: dict[str, JsonValue]) -> None:  # noqa: ANN401 - each has a handle of its own
        """Finish it."""

    def done(self) -> Sequence[str]:
        """Read the call_ids of what was finished, in any order."""

    def close(self) -> None:
        """Close its files."""


class PageContestant(Protocol):
    """Answers queries for pages of the aggregate view.

    Args:
        folder: Where its files will be.
        items: What it holds.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path, items: Sequence[QueueItem]) -> None: ...

    def page(self, query: ItemQuery) -> Sequence[Any]:
        """Give the whole rows of a page."""

    def answer(self, rows: Sequence[Any]) -> list[tuple[str, int | None]]:
        """Read the ids and positions of rows, to be checked."""

    def count(self) -> dict[int, int]:
        """Count the items by the rank of their state; no zero entries."""

    def close(self) -> None:
        """Close its files."""
