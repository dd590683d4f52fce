"""What SQLite logs: migrations, and writers that were waited for."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from annotation_queue import AnnotationQueues, SQLiteRepository
from annotation_queue.repositories.sqlite import connections
from annotation_queue.repositories.sqlite.schema import SCHEMA_VERSION
from helpers.clocks import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_migration_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "annotation_queue")
    path = tmp_path / "labels.db"
    for _ in range(2):
        SQLiteRepository(path).close()
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("annotation_queue.sqlite", f"{path} was migrated from schema version 0 to {SCHEMA_VERSION}")
    ]


def test_a_writer_that_was_waited_for_long_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.db"
    waiting = threading.Event()

    def uniform(_least: float, most: float) -> float:
        waiting.set()
        return most

    with SQLiteRepository(path, synchronous="OFF", busy_timeout=PATIENCE) as repository, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(connections, "LONG_WAIT", 0.02)
        monkeypatch.setattr(random, "uniform", uniform)
        caplog.set_level(logging.INFO, "annotation_queue")
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writing = pool.submit(AnnotationQueues(repository, "project").create, "queue", created_by="ann")
        assert waiting.wait(PATIENCE)
        since = time.monotonic()
        wait_until(lambda: time.monotonic() - since > 0.05)
        writer.execute("ROLLBACK")
        writer.close()
        writing.result(PATIENCE)
    # A slow disk may be waited for again, and that the file was made may be logged too.
    record = next(each for each in caplog.records if "waited for" in each.getMessage())
    assert (record.name, record.levelname) == ("annotation_queue.sqlite", "INFO")
    assert record.getMessage().startswith(f"{path} was locked by another writer, which was waited for 0.")
