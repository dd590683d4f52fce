"""The cookbook's repository is short, needs one import of the library and passes the whole suite."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_queue.testing import RepositoryContract
from project.test_layout import lines_of_code
from testing import cookbook
from testing.cookbook import LMDBRepository

if TYPE_CHECKING:
    from annotation_queue import Repository

SOURCE = Path(cookbook.__file__).read_text(encoding="utf-8")
MOST_LINES = 300


def test_the_cookbook_is_short_and_imports_nothing_of_the_library_but_what_storages_use() -> None:
    assert lines_of_code(Path(cookbook.__file__)) < MOST_LINES
    imports = [
        ast.unparse(each) for each in ast.walk(ast.parse(SOURCE)) if isinstance(each, ast.Import | ast.ImportFrom)
    ]
    assert [line for line in imports if "annotation_queue" in line] == ["from annotation_queue import storage"]


@pytest.mark.slow
class TestLMDBRepository(RepositoryContract):
    """The whole contract, on a fresh folder each time."""

    @pytest.fixture(autouse=True)
    def _folders(self, tmp_path: Path) -> None:
        self.folders = (tmp_path / str(n) for n in itertools.count())

    def make_repository(self) -> Repository:
        return LMDBRepository(next(self.folders), is_durable=False)
