"""How many bytes bulk changes write, temporary files too: a number that no machine's speed changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from annotation_queue import AnnotationQueues, NewItem, SQLiteRepository

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS: Final = 3_000
MOST: Final = {"add": 3_000, "rank": 3_000, "remove": 4_000, "restore": 4_000}
"""How many bytes each change may write for an item: what touches the same pages again must not write them again."""
_COUNTERS: Final = Path("/proc/self/io")


def _written() -> int:
    return int(dict(line.split(": ") for line in _COUNTERS.read_text().splitlines())["wchar"])


@pytest.mark.skipif(not _COUNTERS.exists(), reason="only Linux counts what a process writes")
def test_a_bulk_change_writes_each_page_that_it_touches_about_once(tmp_path: Path) -> None:
    bytes_each: dict[str, float] = {}

    def count(kind: str, change: Callable[[], object]) -> None:
        before = _written()
        change()
        bytes_each[kind] = (_written() - before) / ITEMS

    with SQLiteRepository(tmp_path / "queues.db", synchronous="OFF") as repository:
        queues = AnnotationQueues(repository, "project")
        queue = queues.create("Triage", created_by="ann")
        ids = [f"call-{n}" for n in range(ITEMS)]
        count("add", lambda: queues.add_items(queue.id, [NewItem(call_id=each) for each in ids], added_by="ann"))
        ids = [item.id for item in queues.iter_items(queue.id)]
        count("rank", lambda: queues.reprioritise(queue.id, {each: n * 7_919 % ITEMS for n, each in enumerate(ids, 1)}))
        assert [*repository.check()] == []
        # Every second item has neighbours that stay on all of its pages.
        count("remove", lambda: queues.remove_items(queue.id, ids[::2]))
        assert [*repository.check()] == []
        count("restore", lambda: queues.restore_items(queue.id, ids[::2]))
        assert [*repository.check()] == []
    assert {kind: n for kind, n in bytes_each.items() if n > MOST[kind]} == {}
