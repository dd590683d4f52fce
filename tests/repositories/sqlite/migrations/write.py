"""Write the files that the tests open as what an earlier version left: `python tests/repositories/sqlite/migrations/write.py`.

For the newest schema version it writes, beside this module, ``sqlite_<version>.sql`` (all that such a file holds, as SQL) and
``sqlite_<version>.json`` (what the library answers about it). Once a version is released, its two files never change again.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[3]))

from annotation_queue import MemoryRepository, NewItem, Repository, SkipPolicy, SQLiteRepository
from annotation_queue.repositories.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from helpers.clocks import Clock
from helpers.faults import LEASE, OPERATIONS, all_of, plain, service, set_up
from helpers.histories import History

FOLDER: Final = Path(__file__).parent


def fill(repository: Repository) -> None:
    """Store some of everything that can be stored, deleted things and hostile texts too."""
    history = History(repository)
    for _ in range(30):
        history.step()
    for name, operation in OPERATIONS.items():
        clock = Clock()
        queues = service(repository, clock, name, f"project of {name}")
        scene = set_up(queues, needed=2)
        queues.claim(scene.queue_id, 'eve\'s \N{SNOWMAN} "x"; --', lease=LEASE / 2)
        clock.move(31.000001)
        operation(queues, scene)
    queues = service(repository, Clock(), "odd", "odd 'project' %_\\")
    odd = queues.create("Ärger\n\t", created_by="ann", scorer_refs=["a", "é"], skip_policy=SkipPolicy.REQUEUE)
    numbers: dict[str, Any] = {
        "least": -(2**63),
        "greatest": 2**63 - 1,
        "float": 0.1,
        "nested": [[[{}]]],
        "line\u2028": "\ue000\U0010ffff",
    }
    queues.add_items(
        odd.id,
        [
            NewItem(
                call_id="'; DROP TABLE queues; --", priority=2**63 - 1, payload=numbers, display_fields=["a.b", "ß"]
            ),
            NewItem(call_id="\n", priority=-(2**63), call_trace_id="trace", call_op_name="op %_"),
        ],
        added_by="ann",
    )


def answers(repository: Repository) -> dict[str, Any]:
    """Say all that can be read, by project."""
    projects = ["project", *(f"project of {name}" for name in OPERATIONS), "odd 'project' %_\\"]
    return {each: plain(all_of(service(repository, Clock(), "unused", each))) for each in projects}


def files_of(version: int) -> tuple[Path, Path]:
    """Name the two files of a schema version."""
    return FOLDER / f"sqlite_{version:04}.sql", FOLDER / f"sqlite_{version:04}.json"


def restore(version: int, path: Path) -> None:
    """Make the file that a schema version left."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(files_of(version)[0].read_text(encoding="utf-8"))


def main() -> None:
    """Write the two files of the newest schema version."""
    with tempfile.TemporaryDirectory() as folder, MemoryRepository() as memory:
        path = Path(folder) / "queues.db"
        with SQLiteRepository(path) as repository:
            for each in (repository, memory):
                fill(each)
            told = answers(repository)
            assert told == answers(memory)
            assert repository.check() == ()
        with closing(sqlite3.connect(path)) as connection:
            lines = [
                *connection.iterdump(),
                f"PRAGMA application_id = {APPLICATION_ID};",
                f"PRAGMA user_version = {SCHEMA_VERSION};",
            ]
    dump, answered = files_of(SCHEMA_VERSION)
    dump.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # A line for each project.
    texts = (f"{json.dumps(name)}: {json.dumps(each, separators=(',', ':'))}" for name, each in told.items())
    answered.write_text("{\n" + ",\n".join(texts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
