"""The README's block on PostgreSQL runs, on the tests' own server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from annotation_queue import AnnotationQueues, NewItem

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
        connection.execute("CREATE TABLE public.invoices (annotator text, call_id text)")
        yield
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; DROP TABLE public.invoices")


@pytest.mark.usefixtures("_empty")
def test_the_readmes_block_on_postgresql_runs(database: Database, tmp_path: Path) -> None:
    with database.repository(SCHEMA) as repository:
        queues = AnnotationQueues(repository, "acme/chatbot")
        queue = queues.create("Reviews", created_by="ann")
        queues.add_items(queue.id, [NewItem(call_id="call-1")], added_by="ann")
    text = README.read_text(encoding="utf-8")
    assert text.count(CONNINFO) == 1
    (tmp_path / "README.md").write_text(text.replace(CONNINFO, database.dsn), encoding="utf-8")
    (example,) = (
        each
        for each in Sybil(parsers=[PythonCodeBlockParser()]).parse(tmp_path / "README.md")
        if "PostgresRepository" in each.parsed
    )
    example.evaluate()
    with database.repository(SCHEMA) as repository:
        (label,) = AnnotationQueues(repository, "acme/chatbot").iter_labels(queue.id)
    assert label.progress.annotation == {"stars": 4}
    with psycopg.connect(database.dsn) as connection:
        assert connection.execute("TABLE public.invoices").fetchall() == [("bob", "call-1")]
