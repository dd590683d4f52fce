"""The cookbook's repository is short, needs one import of the library and passes the whole suite."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

from annotation_queue import AnnotationQueues, AnnotationState, ItemFilter, NewItem
from annotation_queue.testing import (
    ChangesContract,
    Clock,
    Contract,
    HoldsContract,
    LabelsContract,
    RepositoryContract,
    StatisticsContract,
)
from project.test_layout import lines_of_code
from testing import cookbook
from testing.cookbook import LMDBRepository

if TYPE_CHECKING:
    from annotation_queue import Repository

pytestmark = pytest.mark.unmeasured

SOURCE = Path(cookbook.__file__).read_text(encoding="utf-8")
MOST_LINES = 300


def test_the_cookbook_is_short_and_imports_nothing_of_the_library_but_what_storages_use() -> None:
    assert lines_of_code(Path(cookbook.__file__)) < MOST_LINES
    imports = [
        ast.unparse(each) for each in ast.walk(ast.parse(SOURCE)) if isinstance(each, ast.Import | ast.ImportFrom)
    ]
    assert [line for line in imports if "annotation_queue" in line] == ["from annotation_queue import storage"]


def test_what_is_purged_is_in_no_table_any_more(tmp_path: Path) -> None:
    clock = Clock()
    with LMDBRepository(tmp_path, is_durable=False) as repository:
        queues = AnnotationQueues(repository, "project", clock=clock)
        for name in ("kept", "deleted"):
            queue = queues.create(name, created_by="ann")
            for call in (f"{name} queue, removed item", f"{name} queue, live item"):
                (item,) = queues.add_items(queue.id, [NewItem(call_id=call)], added_by="ann").added
                queues.update_progress(item.id, "bob", AnnotationState.COMPLETED, annotation=f"label: {call}")
            queues.remove_items(queue.id, ItemFilter(call_id=f"{name} queue, removed item"))
        queues.delete(queue.id)
        clock.move(1)
        purged = queues.purge(removed_before=clock.now)
        assert (purged.items, purged.queues) == (1, 1)

    with lmdb.open(str(tmp_path), max_dbs=4) as folder, folder.begin() as stored:
        tables = [folder.open_db(name, txn=stored, create=False) for name in (b"queues", b"items", b"log")]
        values = [bytes(value) for table in tables for _, value in stored.cursor(db=table)]
    assert any(b"label: kept queue, live item" in value for value in values)
    assert not any(b"removed item" in value or b"deleted" in value.replace(b"deleted_at", b"") for value in values)


class OnAFolder(Contract):
    """On a fresh folder each time."""

    @pytest.fixture(autouse=True)
    def _folders(self, tmp_path: Path) -> None:
        self.folders = (tmp_path / str(n) for n in itertools.count())

    def make_repository(self) -> Repository:
        return LMDBRepository(next(self.folders), is_durable=False)


class TestLMDBRepositoryInPart(OnAFolder, HoldsContract, LabelsContract, ChangesContract, StatisticsContract):
    """What shows whether all that storage authors are offered is used, for the fast run."""


@pytest.mark.slow
@pytest.mark.thinned
class TestLMDBRepository(OnAFolder, RepositoryContract):
    """The whole contract."""

    histories_per_example = 1 / 3
    many = 80
