"""The README's block on PostgreSQL runs, on the tests' own server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from annotation_queue import AnnotationQueues

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers.postgres import Database

README = Path(__file__).parents[3] / "README.md"
CONNINFO = "host=db.example dbname=labels"
SCHEMA = "annotation_queue"


@pytest.fixture
def _empty(database: Database) -> Iterator[None]:
    """Leave nothing of the schema that is the default."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        yield
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


@pytest.mark.usefixtures("_empty")
def test_the_readmes_block_on_postgresql_runs(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.repository(SCHEMA) as repository:
        AnnotationQueues(repository, "acme/chatbot").create("Reviews", created_by="ann")
    text = README.read_text(encoding="utf-8")
    assert text.count(CONNINFO) == 1
    (tmp_path / "README.md").write_text(text.replace(CONNINFO, database.dsn), encoding="utf-8")
    (example,) = (
        each
        for each in Sybil(parsers=[PythonCodeBlockParser()]).parse(tmp_path / "README.md")
        if "PostgresRepository" in each.parsed
    )
    example.evaluate()
    assert capsys.readouterr().out == "['Reviews']\n"
